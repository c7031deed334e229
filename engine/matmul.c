#include "engine/matmul.h"

#include <assert.h>

/* Rows of x from which on dequantizing a tile into memory pays. */
#define MANY_ROWS 3

/* Weight rows per item when there is little to do per row. */
#define FEW_ROWS_ITEM 64

struct job {
	const struct matmul *m;
	const struct matmul_out *outs;
	unsigned n_outs;
	const float *x;
	size_t ldx, rows;
	size_t item_rows; /* weight rows per item */
};

static size_t n_items(const struct job *j, unsigned out)
{
	return (j->outs[out].w->rows.n_rows + j->item_rows - 1) / j->item_rows;
}

static void add_bias(const struct job *j, const struct matmul_out *out, size_t first, size_t n)
{
	for (size_t r = 0; out->w->bias && r < j->rows; r++)
		j->m->kern->add(out->y + r * out->ldy + first, out->w->bias + first, n);
}

/* F32 weights are used where they are, others by way of the thread's scratch. */
static void run_tile(const struct job *j, const struct matmul_out *out, struct kern_rows w,
		     size_t first, float *scratch)
{
	struct kern_tile t = { .x = j->x,
			       .ldx = j->ldx,
			       .nx = j->rows,
			       .out = out->y + first,
			       .ldo = out->ldy,
			       .nw = w.n_rows,
			       .ldw = out->w->cols,
			       .n = out->w->cols };

	if (w.type == QUANT_F32) {
		t.w = (const float *)(const void *)w.data;
	} else {
		for (size_t i = 0; i < w.n_rows; i++)
			j->m->kern->dequant(w.type, w.data + i * w.row_bytes, scratch + i * t.ldw,
					    t.n);
		t.w = scratch;
	}
	j->m->kern->tile(&t);
}

static void run_item(void *arg, size_t item, unsigned thread)
{
	const struct job *j = arg;
	const struct matmul_out *out = j->outs;
	struct kern_rows w;
	size_t first;

	for (unsigned i = 0; item >= n_items(j, i); i++, out++)
		item -= n_items(j, i);
	w = out->w->rows;
	first = item * j->item_rows;
	w.data += first * w.row_bytes;
	w.n_rows = w.n_rows - first < j->item_rows ? w.n_rows - first : j->item_rows;
	if (j->rows >= MANY_ROWS || w.type == QUANT_F32) {
		run_tile(j, out, w, first, j->m->scratch + thread * MATMUL_TILE * j->m->max_cols);
	} else {
		for (size_t r = 0; r < j->rows; r++)
			j->m->kern->rows(&w, j->x + r * j->ldx, out->w->cols,
					 out->y + r * out->ldy + first);
	}
	add_bias(j, out, first, w.n_rows);
}

void matmul_run(const struct matmul *m, const struct matmul_out *outs, unsigned n_outs,
		const float *x, size_t ldx, size_t rows)
{
	struct job j = { .m = m,
			 .outs = outs,
			 .n_outs = n_outs,
			 .x = x,
			 .ldx = ldx,
			 .rows = rows,
			 .item_rows = rows >= MANY_ROWS ? MATMUL_TILE : FEW_ROWS_ITEM };
	size_t items = 0;

	for (unsigned i = 0; i < n_outs; i++) {
		assert(outs[i].w->cols == outs[0].w->cols && outs[i].w->cols <= m->max_cols);
		items += n_items(&j, i);
	}
	pool_run(m->pool, run_item, &j, items);
}
