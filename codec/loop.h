/* codec/loop.h - the loops over the elements of a row that must be fast.
 *
 * A table per instruction set, all of plain C and vectors of the compiler; sums of floats have one
 * order, 16 lanes and a fixed tree, without fused operations. So every table gives the same bits.
 * SPLITMQ_ISA=ref asks for the reference, =plain for what there
 * is without special instructions. Any thread. */
#ifndef CODEC_LOOP_H
#define CODEC_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/rans.h"
#include "codec/symbols.h"

/* Of |u|, u = y or y times the inverse of its class; elements beyond a limit do not count. */
struct loop_sums {
	float abs, square, most;
	uint32_t n;
};

/* Elements that wait for their sign. */
struct loop_fold {
	unsigned taken[RANS_LANES]; /* in each lane */
	unsigned full;              /* lanes with RANS_PAYLOAD of them */
};

struct loop {
	const char *name;

	/* inverse [dim] or NULL */
	struct loop_sums (*sums)(const float *y, const float *inverse, size_t dim, float limit);

	/* first place from `from` on where not |u| <= limit; dim: there is none */
	size_t (*beyond)(const float *y, const float *inverse, size_t from, size_t dim,
			 float limit);

	/* error[j]: squared error of rounding y to multiples of step[j], j < 2 */
	void (*errors)(const float *y, size_t dim, const float step[2], float error[2]);

	/* q: y / step, rounded half to even, |q| <= ROW_MOST */
	void (*round)(const float *y, size_t dim, float step, int16_t *q);

	/* y = q * step */
	void (*restore)(const int16_t *q, size_t dim, float step, float *y);

	/* all |q| or-ed: as many bits as the largest has; |q| <= ROW_MOST */
	int (*width)(const int16_t *q, size_t dim);

	/* |x| < limit for all of x, and no NaN */
	bool (*below)(const float *x, size_t dim, float limit);

	/* Elements of one table, with `lanes` states, 1 or RANS_LANES: encode q[i-1] down to
	 * q[first], or decode q[i] up to q[dim-1]; i and first are multiples of lanes. They stop
	 * before one that has no symbol, and where there may be no room or no words, and return i
	 * as it is then. NULL in the reference, which goes element by element. */
	size_t (*put)(struct rans_out *o, unsigned lanes, const struct symbols_put *t,
		      const int16_t *q, size_t first, size_t i);
	size_t (*get)(struct rans_in *in, unsigned lanes, const struct symbols_get *t, int16_t *q,
		      size_t i, size_t dim);

	/* The same where the table of q[j] is by[class[j]], by[0] without classes, none with raw
	 * bits; and where signs may be folded: those of elements before stop[lane], or of the next
	 * ones that can be, which end when every lane is full. stop, fold: NULL for none. get_each
	 * also goes on where words are few, which it has to watch then. */
	size_t (*put_each)(struct rans_out *o, unsigned lanes, const struct symbols *by,
			   const int8_t *class, const size_t *stop, const int16_t *q, size_t first,
			   size_t i);
	size_t (*get_each)(struct rans_in *in, unsigned lanes, const struct symbols *by,
			   const int8_t *class, struct loop_fold *fold, int16_t *q, size_t i,
			   size_t dim);
};

extern const struct loop loop_ref, loop_plain;
#ifdef CODEC_X86
extern const struct loop loop_avx2;
#endif

/* The best that this machine has. */
const struct loop *loop_pick(void);

#endif
