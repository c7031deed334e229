/* engine/imatrix.h - importance of the columns of weight matrices: how large their inputs are.
 *
 * The error that a changed weight W[i][j] makes in the output is its change times input j, so a
 * column counts with the mean square of its input over some text. `splitmq calibrate` collects,
 * `splitmq quantize --imatrix` uses it (quantize_row). Biases and the embedding have none.
 *
 * The file, little-endian: "SMQI", u32 version 1, u32 n; n times { u16 name bytes (1..64), name,
 * u64 rows seen, u32 columns (1..2^24), f32 mean squares [columns] }; u32 CRC-32C of all before.
 * Names differ; mean squares are finite and >= 0. */
#ifndef ENGINE_IMATRIX_H
#define ENGINE_IMATRIX_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/gguf.h"
#include "engine/model.h"

/* --- collecting --- */

/* Places of a layer whose input rows are seen, and the matrices that read them. */
enum imatrix_site {
	IMATRIX_ATTENTION, /* attn_q, attn_k, attn_v: [d] */
	IMATRIX_MIXED,     /* attn_output: [H D_v] */
	IMATRIX_FEED,      /* ffn_gate, ffn_up: [d] */
	IMATRIX_DOWN,      /* ffn_down: [ff] */
	IMATRIX_SITES,
	IMATRIX_HEAD = IMATRIX_SITES /* output: [d]; of no layer */
};

struct imatrix_sums;

/* For a model, or the segments of one (model_observe on each of them). ERR_NOMEM. */
MUST_CHECK int imatrix_sums_create(struct imatrix_sums **out, const struct model_hparams *hp);
void imatrix_sums_destroy(struct imatrix_sums *s);

/* Add rows of x [rows][columns of the site]. Called by the engine on the compute thread; sums are
 * f64 in row order, so that the same text gives the same bytes whatever the threads. */
void imatrix_sums_add(struct imatrix_sums *s, uint32_t layer, enum imatrix_site site,
		      const float *x, uint32_t rows);

/* Bytes of a file -> malloc'ed *bytes, the caller's. Sites that saw no row are left out. `tied`:
 * the head is the embedding, and its entry is that of token_embd.weight. ERR_NOMEM. */
MUST_CHECK int imatrix_sums_encode(const struct imatrix_sums *s, bool tied, uint8_t **bytes,
				   size_t *len);

/* The same into a file (PATH.tmp-PID, then renamed). g: the model, to see whether it is tied. */
MUST_CHECK int imatrix_sums_save(const struct imatrix_sums *s, const struct gguf *g,
				 const char *path, struct err *e);

/* --- using --- */

struct imatrix;

/* Check len bytes, which are copied. ERR_FORMAT, ERR_VERSION or ERR_NOMEM. */
MUST_CHECK int imatrix_decode(struct imatrix **out, const void *bytes, size_t len, struct err *e);
MUST_CHECK int imatrix_open(struct imatrix **out, const char *path, struct err *e);
void imatrix_close(struct imatrix *m);

/* Hash of the file's bytes: part of the identity of what was quantized with it. */
const char *imatrix_hash(const struct imatrix *m);

size_t imatrix_count(const struct imatrix *m);

/* *mean [cols] of the tensor `name` is lent until close; NULL when it has no entry. ERR_FORMAT
 * when the entry has another number of columns: it belongs to another model. */
MUST_CHECK int imatrix_find(const struct imatrix *m, const char *name, uint64_t cols,
			    const float **mean, struct err *e);

#endif
