#include "engine/batch.h"

#include <stdlib.h>
#include <string.h>

int batch_init(struct batch *b, uint32_t max_rows)
{
	b->spans = calloc(max_rows, sizeof(*b->spans));
	b->there = calloc(max_rows, sizeof(const struct model_part *));
	return b->spans && b->there ? 0 : ERR_NOMEM;
}

void batch_finish(struct batch *b)
{
	free(b->spans);
	free((void *)b->there);
}

static uint32_t most(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

uint32_t batch_first(const struct batch *b, const struct model_part *p)
{
	return most(most(p->kv->first, b->first), p->from);
}

uint32_t batch_last(const struct batch *b, const struct model_part *p)
{
	return least(least(p->kv->last, b->last), p->until ? p->until : UINT32_MAX);
}

bool batch_ends(const struct batch *b, const struct model_part *p)
{
	return batch_last(b, p) == least(p->kv->last, b->last);
}

/* Rows from `from` on move to `to`, which is no later. */
static void shift(struct batch *b, uint32_t to, uint32_t from, uint32_t rows)
{
	const size_t turn = (size_t)b->rope->pairs * 2;

	memmove(b->x + to * b->dim, b->x + from * b->dim, rows * b->dim * sizeof(*b->x));
	memmove(b->turns + to * turn, b->turns + from * turn, rows * turn * sizeof(*b->turns));
}

/* Returns whether any did. */
static bool leave(struct batch *b, uint32_t layer)
{
	const uint32_t before = b->n_there;
	uint32_t from = 0;

	b->n_there = b->rows = 0;
	for (uint32_t i = 0; i < before; i++) {
		const struct model_part *p = b->there[i];

		if (batch_last(b, p) == layer) {
			memcpy(p->x, b->x + from * b->dim, p->rows * b->dim * sizeof(*b->x));
		} else {
			if (b->rows != from)
				shift(b, b->rows, from, p->rows);
			b->there[b->n_there++] = p;
			b->rows += p->rows;
		}
		from += p->rows;
	}
	return b->n_there != before;
}

static void join(struct batch *b, const struct model_part *p)
{
	const size_t turn = (size_t)b->rope->pairs * 2;

	memcpy(b->x + b->rows * b->dim, p->x, p->rows * b->dim * sizeof(*b->x));
	for (uint32_t r = 0; r < p->rows; r++)
		rope_turn(b->rope, p->kv->length + r, b->turns + (b->rows + r) * turn);
	b->there[b->n_there++] = p;
	b->rows += p->rows;
}

static void list_spans(struct batch *b)
{
	uint32_t row = 0;

	b->n_spans = 0;
	for (uint32_t i = 0; i < b->n_there; i++) {
		const struct model_part *p = b->there[i];

		for (uint32_t r = 0; r < p->rows; r += ATTENTION_ROWS)
			b->spans[b->n_spans++] = (struct attention_span){
				.kv = p->kv,
				.row = row + r,
				.rows = p->rows - r < ATTENTION_ROWS ? p->rows - r : ATTENTION_ROWS,
				.pos = p->kv->length + r,
			};
		row += p->rows;
	}
}

void batch_tap(const struct batch *b, const struct model_part *parts, uint32_t n_parts,
	       uint32_t layer)
{
	uint32_t from = 0;

	for (uint32_t i = 0; i < b->n_there; i++) {
		const struct model_part *p = b->there[i];

		if (p->tap && p->tap_layer == layer)
			memcpy(p->tap, b->x + from * b->dim, p->rows * b->dim * sizeof(*b->x));
		from += p->rows;
	}
	for (uint32_t i = 0; i < n_parts; i++) {
		const struct model_part *p = &parts[i];

		if (p->tap && p->tap_layer == layer && batch_last(b, p) == layer)
			memcpy(p->tap, p->x, p->rows * b->dim * sizeof(*b->x));
	}
}

void batch_move(struct batch *b, const struct model_part *parts, uint32_t n_parts, uint32_t layer)
{
	bool moved = leave(b, layer);

	for (uint32_t i = 0; i < n_parts; i++) {
		const struct model_part *p = &parts[i];

		if (batch_first(b, p) == layer && batch_last(b, p) > layer) {
			join(b, p);
			moved = true;
		}
	}
	if (moved)
		list_spans(b);
}
