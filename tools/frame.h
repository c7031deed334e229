/* tools/frame.h - the values of a frame's body, for `watch` and `decode`. */
#ifndef TOOLS_FRAME_H
#define TOOLS_FRAME_H

#include "base/err.h"
#include "schema/wire.h"

#define FRAME_MAX_VALUES (1u << 24) /* a frame that claims more shows its header only */

/* body[h->body_len] -> malloc'ed *x [rows][dim], or *x = NULL when one frame alone does not tell:
 * rows that are predicted from earlier ones. Errors of codec_decode; ERR_NOMEM. */
MUST_CHECK int frame_values(const struct wire_hdr *h, const uint8_t *body, float **x,
			    struct err *e);

#endif
