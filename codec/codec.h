/* codec/codec.h - rows of hidden states <-> bytes on the wire.
 *
 * What is common to both ends of a session is a codec_state: the row before as it was decoded, and
 * what its chunk said. Chunks are encoded and decoded in the same order; the state's hash, which
 * travels with each chunk that needs it, proves that both ends did. Buffers that need not outlive a
 * call are a codec_work, one per thread. Encode and decode allocate nothing, and give the same bits
 * on every machine (the bytes of LZ4 are those of its library). A state or work belongs to one
 * thread at a time. The bytes are described in schema/PROTOCOL.md, section "Codecs".
 * Source: arXiv 2511.04002 (TS, TAB-Q); prediction and entropy stage: docs/codec.md. */
#ifndef CODEC_CODEC_H
#define CODEC_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/cal.h"
#include "codec/spec.h"

/* The codec byte of a frame: a plain_id, or CODEC_TABQ | form | predict << 2. Append only. */
#define CODEC_TABQ 0x40
enum codec_form { CODEC_PACKED, CODEC_RANS, CODEC_LZ4, CODEC_FORMS };

struct codec_work;
struct codec_state;

/* For chunks of up to rows rows of dim elements. ERR_NOMEM. */
MUST_CHECK int codec_work_create(struct codec_work **out, size_t dim, size_t rows);
void codec_work_destroy(struct codec_work *w);

/* cal, split: what to predict with; NULL: no prediction. Both must outlive the state. ERR_NOMEM. */
MUST_CHECK int codec_state_create(struct codec_state **out, size_t dim, const struct cal *cal,
				  const struct cal_split *split);
void codec_state_destroy(struct codec_state *s);

/* As new: position 0 of a session, or of an epoch. */
void codec_state_reset(struct codec_state *s);

/* The state goes back for drafts: chunks that may turn out not to have been. Before one is encoded
 * or decoded the state is marked with its position. Before any chunk (a draft too, then first) it
 * returns to that chunk's position: to what it was when that was marked, if it was; marks at pos
 * and behind it are forgotten. The newest CODEC_MARKS are kept; a reset forgets all. */
#define CODEC_MARKS 4u
void codec_state_mark(struct codec_state *s, uint32_t pos);
void codec_state_return(struct codec_state *s, uint32_t pos);

/* Of all chunks since the reset, and of the calibration. */
uint16_t codec_state_hash(const struct codec_state *s);

/* Work out what the state alone says of the next row, in advance, so that the next encode or decode
 * need not: for when nobody waits. NULL is fine; no result depends on it. */
void codec_state_foresee(struct codec_state *s);

/* Bytes of memory of a work. */
size_t codec_work_bytes(size_t dim, size_t rows);

/* Bytes of memory of a state. */
size_t codec_state_bytes(size_t dim);

/* Most bytes that rows rows of dim elements can take. */
size_t codec_bound(const struct codec_spec *spec, size_t dim, size_t rows);

struct codec_rows {
	const float *x;      /* [n][dim] */
	const uint32_t *ids; /* [n] their tokens, when the other end knows them; else NULL */
	size_t n;
};

struct codec_bytes {
	uint8_t *dst; /* cap >= codec_bound() */
	size_t cap, len;
	uint8_t id; /* the codec byte */
};

/* rows -> out->dst, out->len, out->id; *s is moved on. ERR_NOT_FINITE (naming row and element) when
 * a value is NaN, infinite or too large; ERR_LIMIT when cap is too small or there are more rows
 * than w is for. Then nothing is written and *s is as before. */
MUST_CHECK int codec_encode(const struct codec_spec *spec, struct codec_work *w,
			    struct codec_state *s, const struct codec_rows *rows,
			    struct codec_bytes *out, struct err *e);

struct codec_chunk {
	unsigned id; /* the codec byte */
	const uint8_t *src;
	size_t len;
	const uint32_t *ids; /* [n] tokens of its rows, or NULL: not known here */
	size_t dim, n;       /* as the frame claims */
};

/* chunk -> x [n][dim]; *s is moved on. s may be NULL for a chunk that needs none (codec_needs).
 * ERR_FORMAT, ERR_UNSUPPORTED for an unknown id, ERR_NOT_FINITE; ERR_STATE when the chunk needs
 * what is not here: tokens, a calibration; ERR_LIMIT when n or dim are more than w is for. After an
 * error x and *s hold nothing of use: reset. */
MUST_CHECK int codec_decode(struct codec_work *w, struct codec_state *s,
			    const struct codec_chunk *chunk, float *x, struct err *e);

/* What a codec byte says: true for one that we know. */
bool codec_known(unsigned id);

/* What decoding needs besides the bytes; nothing for a codec byte that is refused anyway. */
enum codec_need { CODEC_NOTHING, CODEC_STATE, CODEC_STATE_AND_TOKENS };
enum codec_need codec_needs(unsigned id);

/* "f16", "tabq rans rows": for people. A constant string. */
const char *codec_name(unsigned id);

#endif
