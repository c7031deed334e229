#include "engine/attention.h"

#include <math.h>
#include <string.h>

/* What the threads share. */
struct job {
	const struct attention *a;
	const struct attention_span *spans;
	uint32_t layer;
	const float *q;
	float *out;
};

/* One span and one key/value head, and a thread's scratch for them. */
struct work {
	const struct job *job;
	const struct attention_span *span;
	const struct kv *kv;
	const struct kern *kern;
	uint32_t head, group; /* query heads per key/value head */
	float *keys;          /* [ATTENTION_BLOCK] stored rows, for caches that are not f32 */
	float *values;        /* likewise */
	float *queries;       /* [ATTENTION_ROWS][group] stored rows, for caches that rotate */
	float *scores;        /* [group][ATTENTION_BLOCK] */
	float *top;           /* [ATTENTION_ROWS][group]: largest score so far */
	float *sum;           /* [ATTENTION_ROWS][group]: of exp(score - top) */
};

static size_t scratch_floats(uint32_t dim, uint32_t dim_v, size_t group)
{
	return ATTENTION_BLOCK * (KV_ROW_MAX(dim) + KV_ROW_MAX(dim_v) + group) +
	       ATTENTION_ROWS * group * (KV_ROW_MAX(dim) + 2);
}

size_t attention_scratch(const struct model_hparams *hp)
{
	return scratch_floats(hp->head_dim, hp->head_dim_v, hp->n_heads / hp->n_kv_heads);
}

static void split_scratch(struct work *w, unsigned thread)
{
	const struct kv *kv = w->kv;

	w->keys = w->job->a->scratch +
		  scratch_floats(kv->head_dim, kv->head_dim_v, w->group) * thread;
	w->values = w->keys + ATTENTION_BLOCK * KV_ROW_MAX(kv->head_dim);
	w->queries = w->values + ATTENTION_BLOCK * KV_ROW_MAX(kv->head_dim_v);
	w->scores = w->queries + ATTENTION_ROWS * w->group * KV_ROW_MAX(kv->head_dim);
	w->top = w->scores + (size_t)ATTENTION_BLOCK * w->group;
	w->sum = w->top + (size_t)ATTENTION_ROWS * w->group;
}

/* n stored rows at src as f32: the cache itself, or converted into buf. */
static const float *load(const struct work *w, const uint8_t *src, size_t row, uint32_t n,
			 float *buf)
{
	if (w->kv->type == KV_F32)
		return (const float *)(const void *)src;
	w->kern->dequant(w->kv->format, src, buf, n * row);
	return buf;
}

/* Join one block's scores [n] and values to what a query has gathered: out holds the sum of
 * exp(score - top) * value. */
static void join(const struct work *w, float *scores, uint32_t n, const float *values, float *top,
		 float *sum, float *out)
{
	const struct kern *k = w->kern;
	const size_t dim = w->kv->head_dim_v;
	float block_top;

	k->scale(scores, 1.0f / sqrtf((float)w->kv->head_dim), n);
	block_top = k->max(scores, n);
	if (block_top > *top) {
		float shrink = kern_exp(*top - block_top);

		*sum *= shrink;
		k->scale(out, shrink, dim);
		*top = block_top;
	}
	*sum += k->exp_sum(scores, n, *top);
	k->mix(out, scores, values, w->kv->value_row, n, dim);
}

/* What this group of heads of row r of the span gathers: [group][D_v]. */
static float *out_of(const struct work *w, uint32_t r)
{
	const size_t row = w->span->row + r, first = (size_t)w->head * w->group;

	return w->job->out + (row * w->job->a->n_heads + first) * w->kv->head_dim_v;
}

/* Their queries: [group][D]. */
static const float *query_of(const struct work *w, uint32_t r)
{
	const size_t row = w->span->row + r, first = (size_t)w->head * w->group;

	return w->job->q + (row * w->job->a->n_heads + first) * w->kv->head_dim;
}

/* The block's first n positions, for row r and all query heads of the group. */
static void attend(const struct work *w, uint32_t r, uint32_t n, const float *keys,
		   const float *values)
{
	const struct kv *kv = w->kv;
	const struct kern_tile t = {
		.w = keys,
		.ldw = kv->key_row,
		.nw = n,
		.x = kv_rotates(kv->type) ? w->queries + (size_t)r * w->group * kv->key_row
					  : query_of(w, r),
		.ldx = kv->key_row,
		.nx = w->group,
		.out = w->scores,
		.ldo = ATTENTION_BLOCK,
		.n = kv->key_row,
	};

	w->kern->tile(&t);
	for (uint32_t g = 0; g < w->group; g++)
		join(w, w->scores + (size_t)g * ATTENTION_BLOCK, n, values,
		     &w->top[r * w->group + g], &w->sum[r * w->group + g],
		     out_of(w, r) + (size_t)g * kv->head_dim_v);
}

/* Queries as the keys lie in the cache: [rows][group] stored rows. */
static void rotate_queries(const struct work *w)
{
	const size_t dim = w->kv->head_dim, row = w->kv->key_row;

	for (uint32_t r = 0; r < w->span->rows; r++) {
		const float *q = query_of(w, r);

		for (uint32_t g = 0; g < w->group; g++)
			w->kern->rotate(w->queries + ((size_t)r * w->group + g) * row, q + g * dim,
					KV_QUERY_SCALE, dim);
	}
}

static void begin(const struct work *w)
{
	for (uint32_t i = 0; i < w->span->rows * w->group; i++) {
		w->top[i] = -INFINITY;
		w->sum[i] = 0;
	}
	for (uint32_t r = 0; r < w->span->rows; r++)
		memset(out_of(w, r), 0, (size_t)w->group * w->kv->head_dim_v * sizeof(float));
	if (kv_rotates(w->kv->type))
		rotate_queries(w);
}

static void finish(const struct work *w)
{
	const size_t dim = w->kv->head_dim_v;

	for (uint32_t r = 0; r < w->span->rows; r++) {
		for (uint32_t g = 0; g < w->group; g++)
			w->kern->scale(out_of(w, r) + g * dim, 1.0f / w->sum[r * w->group + g],
				       dim);
	}
}

static void run_page(const struct work *w, uint32_t page)
{
	const struct kv *kv = w->kv;
	const uint32_t layer = w->job->layer, from = page * ATTENTION_BLOCK;
	const uint32_t end = w->span->pos + w->span->rows; /* of what the last row sees */
	const uint32_t here = end - from < ATTENTION_BLOCK ? end - from : ATTENTION_BLOCK;
	const float *keys = load(w, kv_keys(kv, layer, w->head, page), kv->key_row, here, w->keys);
	const float *values =
		load(w, kv_values(kv, layer, w->head, page), kv->value_row, here, w->values);

	for (uint32_t r = 0; r < w->span->rows; r++) {
		uint32_t sees = w->span->pos + r + 1; /* positions of this row */

		if (sees > from)
			attend(w, r, sees - from < here ? sees - from : here, keys, values);
	}
}

/* One key/value head of one span. */
static void run_item(void *arg, size_t item, unsigned thread)
{
	const struct job *j = arg;
	const uint32_t n_heads = j->spans->kv->n_heads;
	const struct attention_span *span = &j->spans[item / n_heads];
	struct work w = { .job = j,
			  .span = span,
			  .kv = span->kv,
			  .kern = j->a->kern,
			  .head = (uint32_t)(item % n_heads),
			  .group = j->a->n_heads / n_heads };

	split_scratch(&w, thread);
	begin(&w);
	for (uint32_t page = 0; page * ATTENTION_BLOCK < span->pos + span->rows; page++)
		run_page(&w, page);
	finish(&w);
}

void attention_run(const struct attention *a, const struct attention_span *spans, size_t n_spans,
		   uint32_t layer, const float *q, float *out)
{
	struct job j = { .a = a, .spans = spans, .layer = layer, .q = q, .out = out };

	pool_run(a->pool, run_item, &j, n_spans * spans->kv->n_heads);
}
