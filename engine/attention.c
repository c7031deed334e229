#include "engine/attention.h"

#include <math.h>
#include <string.h>

/* What the threads share. */
struct job {
	const struct attention *a;
	const struct kv *kv;
	uint32_t layer, pos, rows;
	uint32_t group; /* query heads per key/value head */
	const float *q;
	float *out;
	float scale;
};

/* One thread's scratch. */
struct work {
	float *keys;    /* [ATTENTION_BLOCK] stored rows, for caches that are not f32 */
	float *values;  /* likewise */
	float *queries; /* [ATTENTION_ROWS][group] stored rows, for caches that rotate */
	float *scores;  /* [group][ATTENTION_BLOCK] */
	float *top;     /* [ATTENTION_ROWS][group]: largest score so far */
	float *sum;     /* [ATTENTION_ROWS][group]: of exp(score - top) */
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

static struct work split_scratch(const struct job *j, float *scratch)
{
	struct work w = { .keys = scratch };

	w.values = w.keys + ATTENTION_BLOCK * KV_ROW_MAX(j->kv->head_dim);
	w.queries = w.values + ATTENTION_BLOCK * KV_ROW_MAX(j->kv->head_dim_v);
	w.scores = w.queries + ATTENTION_ROWS * j->group * KV_ROW_MAX(j->kv->head_dim);
	w.top = w.scores + (size_t)ATTENTION_BLOCK * j->group;
	w.sum = w.top + (size_t)ATTENTION_ROWS * j->group;
	return w;
}

/* n stored rows at src as f32: the cache itself, or converted into buf. */
static const float *load(const struct job *j, const uint8_t *src, size_t row, uint32_t n,
			 float *buf)
{
	if (j->kv->type == KV_F32)
		return (const float *)(const void *)src;
	j->a->kern->dequant(j->kv->format, src, buf, n * row);
	return buf;
}

/* Join one block's scores [n] and values to what a query has gathered: out holds the sum of
 * exp(score - top) * value. */
static void join(const struct job *j, float *scores, uint32_t n, const float *values, float *top,
		 float *sum, float *out)
{
	const struct kern *k = j->a->kern;
	const size_t dim = j->kv->head_dim_v;
	float block_top;

	k->scale(scores, j->scale, n);
	block_top = k->max(scores, n);
	if (block_top > *top) {
		float shrink = kern_exp(*top - block_top);

		*sum *= shrink;
		k->scale(out, shrink, dim);
		*top = block_top;
	}
	*sum += k->exp_sum(scores, n, *top);
	k->mix(out, scores, values, j->kv->value_row, n, dim);
}

/* The block of n positions from `from` on, for row r and all query heads of one group. */
static void attend(const struct job *j, const struct work *w, uint32_t r, uint32_t n,
		   const float *keys, const float *values, const float *q, float *out)
{
	struct kern_tile t = { .w = keys,
			       .ldw = j->kv->key_row,
			       .nw = n,
			       .x = q,
			       .ldx = j->kv->key_row,
			       .nx = j->group,
			       .out = w->scores,
			       .ldo = ATTENTION_BLOCK,
			       .n = j->kv->key_row };

	j->a->kern->tile(&t);
	for (uint32_t g = 0; g < j->group; g++)
		join(j, w->scores + (size_t)g * ATTENTION_BLOCK, n, values,
		     &w->top[r * j->group + g], &w->sum[r * j->group + g],
		     out + (size_t)g * j->kv->head_dim_v);
}

static float *out_of(const struct job *j, uint32_t row, uint32_t head)
{
	return j->out + ((size_t)row * j->a->n_heads + (size_t)head * j->group) * j->kv->head_dim_v;
}

static const float *query_of(const struct job *j, uint32_t row, uint32_t head)
{
	return j->q + ((size_t)row * j->a->n_heads + (size_t)head * j->group) * j->kv->head_dim;
}

/* Queries of n rows from `first` on as the keys lie in the cache: [n][group] stored rows. */
static void rotate_queries(const struct job *j, const struct work *w, uint32_t first, uint32_t n,
			   uint32_t head)
{
	const size_t dim = j->kv->head_dim, row = j->kv->key_row;

	for (uint32_t r = 0; r < n; r++) {
		const float *q = query_of(j, first + r, head);

		for (uint32_t g = 0; g < j->group; g++)
			j->a->kern->rotate(w->queries + ((size_t)r * j->group + g) * row,
					   q + g * dim, KV_QUERY_SCALE, dim);
	}
}

static void begin(const struct job *j, const struct work *w, uint32_t first, uint32_t n,
		  uint32_t head)
{
	for (uint32_t i = 0; i < n * j->group; i++) {
		w->top[i] = -INFINITY;
		w->sum[i] = 0;
	}
	for (uint32_t r = 0; r < n; r++)
		memset(out_of(j, first + r, head), 0,
		       (size_t)j->group * j->kv->head_dim_v * sizeof(float));
}

static void finish(const struct job *j, const struct work *w, uint32_t first, uint32_t n,
		   uint32_t head)
{
	for (uint32_t r = 0; r < n; r++) {
		for (uint32_t g = 0; g < j->group; g++)
			j->a->kern->scale(out_of(j, first + r, head) +
						  (size_t)g * j->kv->head_dim_v,
					  1.0f / w->sum[r * j->group + g], j->kv->head_dim_v);
	}
}

/* One key/value head, and up to ATTENTION_ROWS rows. */
static void run_item(void *arg, size_t item, unsigned thread)
{
	const struct job *j = arg;
	const uint32_t head = (uint32_t)(item % j->kv->n_heads);
	const uint32_t first = (uint32_t)(item / j->kv->n_heads) * ATTENTION_ROWS;
	const uint32_t n = j->rows - first < ATTENTION_ROWS ? j->rows - first : ATTENTION_ROWS;
	const uint32_t end = j->pos + first + n; /* of the positions that the last row sees */
	const struct kv *kv = j->kv;
	const uint8_t *all_keys = kv_keys(kv, j->layer, head);
	const uint8_t *all_values = kv_values(kv, j->layer, head);
	const bool rotates = kv_rotates(kv->type);
	const size_t mine = scratch_floats(kv->head_dim, kv->head_dim_v, j->group) * thread;
	struct work w = split_scratch(j, j->a->scratch + mine);

	begin(j, &w, first, n, head);
	if (rotates)
		rotate_queries(j, &w, first, n, head);
	for (uint32_t from = 0; from < end; from += ATTENTION_BLOCK) {
		uint32_t here = end - from < ATTENTION_BLOCK ? end - from : ATTENTION_BLOCK;
		const float *keys =
			load(j, all_keys + from * kv->key_bytes, kv->key_row, here, w.keys);
		const float *values =
			load(j, all_values + from * kv->value_bytes, kv->value_row, here, w.values);

		for (uint32_t r = 0; r < n; r++) {
			uint32_t sees = j->pos + first + r + 1; /* positions of this row */

			const float *q = rotates ? w.queries + r * j->group * kv->key_row
						 : query_of(j, first + r, head);

			if (sees > from)
				attend(j, &w, r, sees - from < here ? sees - from : here, keys,
				       values, q, out_of(j, first + r, head));
		}
	}
	finish(j, &w, first, n, head);
}

void attention_run(const struct attention *a, const struct kv *kv, uint32_t layer, uint32_t pos,
		   uint32_t rows, const float *q, float *out)
{
	struct job j = { .a = a,
			 .kv = kv,
			 .layer = layer,
			 .pos = pos,
			 .rows = rows,
			 .group = a->n_heads / kv->n_heads,
			 .q = q,
			 .out = out,
			 .scale = 1.0f / sqrtf((float)kv->head_dim) };

	pool_run(a->pool, run_item, &j,
		 (size_t)kv->n_heads * ((rows + ATTENTION_ROWS - 1) / ATTENTION_ROWS));
}
