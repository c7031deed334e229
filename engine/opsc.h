/* engine/opsc.h - one-point split compression: a GGUF file with the layers before a boundary in one
 * precision and the others in another, whole or cut to a slice.
 *
 *	rule                                     type
 *	norms, biases, rope_freqs (one row)      as they are
 *	matrices of layers [0, boundary)         front
 *	matrices of layers [boundary, L)         back
 *	token_embd                               embed; default: front, but not below Q4_K
 *	output                                   head; default: back, but not below Q6_K
 *	token_embd without output ("tied")       head; default: the finer of both defaults
 *
 * A default is never finer than the source. A matrix whose rows are no whole blocks of the type
 * gets the next finer type that fits: Q2_K and Q3_K become Q4_0, Q4_K Q4_1, Q5_K Q5_1, Q6_K Q8_0,
 * and what has no blocks of 32 F16.
 *
 * The output says what it is made of: GGUF_ID_KEY is a hash over the source's identity, the type of
 * every tensor and the importance file, so that a whole file and all slices of the same recipe are
 * the same model to agent and worker. When no type changes it is the source's own identity.
 * GGUF_SOURCE_KEY says what all recipes of one model have in common.
 * Source: arXiv 2511.04002 (OPSC). */
#ifndef ENGINE_OPSC_H
#define ENGINE_OPSC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/gguf.h"
#include "engine/imatrix.h"
#include "engine/model.h"

/* Instead of an enum quant_type: leave the type of the source, or use the default. */
#define OPSC_KEEP    ((unsigned)QUANT_TYPE_END)
#define OPSC_DEFAULT ((unsigned)QUANT_TYPE_END + 1)

struct opsc_conf {
	unsigned front, back;           /* enum quant_type or OPSC_KEEP */
	unsigned embed, head;           /* or OPSC_DEFAULT */
	uint32_t boundary;              /* 0..L */
	uint32_t first, last;           /* slice; [0, L) for all */
	const struct imatrix *imatrix;  /* or NULL; lent */
};

struct opsc_tensor {
	const struct gguf_tensor *from;
	enum quant_type type;
	size_t bytes;      /* under type */
	const float *mean; /* importance of its columns, or NULL; lent by the imatrix */
	enum quant_type wanted; /* other than type: its blocks do not fit the rows */
	bool in_slice;
};

struct opsc_plan {
	const struct gguf *source;
	struct model_hparams hp;
	struct model_slice slice;    /* of the output */
	bool tied;                   /* the head is the embedding */
	struct opsc_tensor *tensors; /* [n], in file order; all of the source */
	size_t n;
	size_t n_changed, n_fell_back, n_without_mean; /* of all; the last: changed ones */
	char id[GGUF_HASH_LEN + 1];
	char source_id[GGUF_HASH_LEN + 1]; /* gguf_source */
};

/* Decide, without writing. g is lent until finish. ERR_LIMIT for a boundary or slice outside the
 * model or the source's own slice, ERR_UNSUPPORTED to change types in a slice (its recipe needs
 * the whole), errors of gguf_hash and imatrix_find. */
MUST_CHECK int opsc_plan_init(struct opsc_plan *p, const struct gguf *g,
			      const struct opsc_conf *conf, struct err *e);
void opsc_plan_finish(struct opsc_plan *p);

/* Bytes of the weights that layers [first, last), with embedding and head, will have. */
size_t opsc_bytes(const struct opsc_plan *p, uint32_t first, uint32_t last, bool embed, bool head);

/* Bytes of all tensors of the slice. */
size_t opsc_slice_bytes(const struct opsc_plan *p);

/* Called now and then with how many of the slice's bytes are there; false stops the work. */
struct opsc_watch {
	bool (*go_on)(void *arg, uint64_t done_bytes);
	void *arg;
};

/* Write it to path: all metadata, general.file_type (of the type with most bytes), identity and
 * slice. Uses about 2 MiB a thread. ERR_IO, ERR_NOMEM, ERR_CANCELLED, or, naming tensor and row,
 * ERR_NOT_FINITE and ERR_LIMIT of quantize_row. path is then as it was. */
MUST_CHECK int opsc_write(const struct opsc_plan *p, const char *path, unsigned threads,
			  const struct opsc_watch *watch, struct err *e);

#endif
