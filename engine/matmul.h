/* engine/matmul.h - activation rows times weight matrices, on all threads.
 *
 * Weights of quantized types: the rows are rounded to 8 bits once per call, whatever the number of
 * matrices, and again where one with super-blocks follows one without or the other way round;
 * strips of weights then meet blocks of rows that stay in the second-level cache, read in one
 * stream where they are packed and by way of struct kern_wide where they are not. F32, F16 and
 * BF16: one row alone goes through kern.rows; several rows share each tile of weights, which is
 * turned into floats once, and go through kern.tile. All ways give the same bits (kern.h), so the
 * choice is one of speed. */
#ifndef ENGINE_MATMUL_H
#define ENGINE_MATMUL_H

#include "engine/kern.h"
#include "engine/pool.h"
#include "engine/weights.h"

struct matmul {
	const struct kern *kern;
	struct pool *pool;
	size_t max_rows, max_cols;
	float *scratch; /* [threads][...] */
	size_t thread_floats;
	size_t block_bytes;    /* of rounded rows that meet a strip together */
	struct kern_acts acts; /* rounded rows, [max_rows] */
};

/* Floats of scratch that matmul_init wants: calls have at most max_rows rows and max_cols columns
 * (a multiple of 16, or rounded up to one). */
size_t matmul_scratch(const struct kern *k, unsigned threads, size_t max_rows, size_t max_cols);

/* Fill *m. scratch (64-byte aligned, the caller's) must outlive it. */
void matmul_init(struct matmul *m, const struct kern *k, struct pool *pool, size_t max_rows,
		 size_t max_cols, float *scratch);

/* Rows x [rows][ldx]. With make, row r is there once make(arg, r, NULL) has been called: by any
 * thread, once, for each row, before it is used (while it is still in the cache of the one that
 * rounds). Rows that are passing nobody else wants: make may be given room for one instead, where
 * the row is only rounded, and x stays as it was. */
struct matmul_in {
	const float *x;
	size_t ldx, rows;
	void (*make)(void *arg, size_t r, float *room);
	void *arg;
	bool passing;
};

/* y[r * ldy + i] = W x[r] + bias. With up (matmul_pairs), y = silu(y) * (up x[r] + its bias), and
 * up_y, [rows][ldy], is scratch. With plus, plus[r * ldy + i] += y[r * ldy + i], and y is scratch:
 * both happen while results are in the cache. */
struct matmul_out {
	const struct weight *w;
	float *y;
	size_t ldy;
	float *plus;
	const struct weight *up;
	float *up_y;
};

/* b may be `up` of a: its shape is the same, and so are the rows that it wants. */
bool matmul_pairs(const struct weight *a, const struct weight *b);

/* All outs read the same rows; their weights have equally many columns. */
void matmul_run(const struct matmul *m, const struct matmul_out *outs, unsigned n_outs,
		const struct matmul_in *in);

#endif
