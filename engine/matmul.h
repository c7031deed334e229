/* engine/matmul.h - activation rows times weight matrices, on all threads.
 *
 * One row alone goes through kern.rows; several rows share each tile of weights, which is
 * dequantized once into a scratch that fits the second-level cache, and go through kern.tile. Both
 * give the same bits (kern.h), so the choice is one of speed. */
#ifndef ENGINE_MATMUL_H
#define ENGINE_MATMUL_H

#include "engine/kern.h"
#include "engine/pool.h"
#include "engine/weights.h"

/* Weight rows of a tile. */
#define MATMUL_TILE 16

struct matmul {
	const struct kern *kern;
	struct pool *pool;
	float *scratch; /* [threads][MATMUL_TILE * max_cols] */
	size_t max_cols;
};

/* y[r * ldy + i] = W x[r] + bias */
struct matmul_out {
	const struct weight *w;
	float *y;
	size_t ldy;
};

/* All outs read the same x [rows][ldx]; their weights have equally many columns, <= max_cols. */
void matmul_run(const struct matmul *m, const struct matmul_out *outs, unsigned n_outs,
		const float *x, size_t ldx, size_t rows);

#endif
