/* codec/codec.h - rows of hidden states <-> bytes on the wire.
 *
 * Pure, allocates nothing, deterministic and identical on every ISA. Any thread. The bytes are
 * described in schema/PROTOCOL.md, section "Codecs". */
#ifndef CODEC_CODEC_H
#define CODEC_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Numbers travel in frames: append only. */
enum codec_id { CODEC_F32 = 0, CODEC_F16 = 1, CODEC_Q8 = 2, CODEC_COUNT };

struct codec_spec {
	enum codec_id id;
};

/* "f32", "f16", "q8" -> *spec. ERR_CONFIG with the list of what is allowed. */
MUST_CHECK int codec_parse(struct codec_spec *spec, const char *text, struct err *e);

/* The SPEC string of spec -> dst; a constant string for now. */
const char *codec_name(enum codec_id id);

/* Most bytes that rows rows of dim elements can take. */
size_t codec_bound(const struct codec_spec *spec, size_t dim, size_t rows);

/* x [rows][dim] f32 -> dst[cap], *len bytes. cap >= codec_bound(). ERR_NOT_FINITE (naming row and
 * element in e) when a value is NaN or infinite, or would decode as infinite; nothing is written
 * then. ERR_LIMIT when cap is too small. */
MUST_CHECK int codec_encode(const struct codec_spec *spec, const float *x, size_t dim, size_t rows,
			    uint8_t *dst, size_t cap, size_t *len, struct err *e);

/* src[len] -> x [rows][dim]. id, dim and rows are the frame's claims: ERR_FORMAT when len does not
 * match them, ERR_UNSUPPORTED for an unknown id, ERR_NOT_FINITE when a decoded value is not finite;
 * x holds nothing of use then. */
MUST_CHECK int codec_decode(unsigned id, const uint8_t *src, size_t len, size_t dim, size_t rows,
			    float *x, struct err *e);

#endif
