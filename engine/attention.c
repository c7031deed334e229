#include "engine/attention.h"

#include <math.h>
#include <string.h>

/* Positions that are converted at a time: keys or values of all stay in the first-level cache. */
#define PART 16

/* Pairs per thread from which on a pair is not shared: the threads come out even as it is. */
#define PAIRS_PER_THREAD 4

/* What the threads share. A pair is a span and a key/value head. */
struct job {
	const struct attention *a;
	const struct attention_span *spans;
	size_t n_pairs;
	uint32_t layer, group; /* query heads per key/value head */
	uint32_t rows;         /* of the largest span */
	const float *q;
	float *out;

	/* A round in which threads share pairs: segments from `segment` on, n_slots - first_slot of
	 * each pair. Slot 0 of a pair holds what was joined so far. */
	uint32_t segment, n_slots, first_slot;
};

/* What the rows of a span gather in one segment. */
struct sums {
	float *out; /* [rows][group][D_v]: sum of exp(score - top) * value */
	float *top; /* [rows][group]: largest score */
	float *sum; /* [rows][group]: of exp(score - top) */
};

/* A pair, and a thread's scratch for it. */
struct work {
	const struct job *job;
	const struct attention_span *span;
	const struct kv *kv;
	const struct kern *kern;
	uint32_t head, group;
	float *part;    /* [PART] stored rows, for caches that are not f32 */
	float *queries; /* [ATTENTION_ROWS][group] stored rows, for caches that rotate */
	float *scores;  /* [ATTENTION_ROWS][group][ATTENTION_BLOCK] */
};

/* Floats of a thread's scratch. */
struct sizes {
	size_t part, queries, scores, work; /* work: all three */
};

static size_t lines(size_t floats)
{
	return (floats + 15) / 16 * 16;
}

static struct sizes sizes_of(uint32_t dim, uint32_t dim_v, size_t group)
{
	const size_t row = KV_ROW_MAX(dim), row_v = KV_ROW_MAX(dim_v);
	struct sizes s = {
		.part = lines(PART * (row > row_v ? row : row_v)),
		.queries = lines(ATTENTION_ROWS * group * row),
		.scores = lines(ATTENTION_ROWS * group * ATTENTION_BLOCK),
	};

	s.work = s.part + s.queries + s.scores;
	return s;
}

/* Floats of the sums of one span of so many rows. */
static size_t sums_floats(uint32_t dim_v, size_t group, uint32_t rows)
{
	return lines(rows * group * (dim_v + 2));
}

/* After the threads' own: what they gather, which is two sums of the largest span for each. */
size_t attention_scratch(const struct model_hparams *hp, unsigned threads)
{
	const size_t group = hp->n_heads / hp->n_kv_heads;
	const struct sizes s = sizes_of(hp->head_dim, hp->head_dim_v, group);

	return threads * (s.work + 2 * sums_floats(hp->head_dim_v, group, ATTENTION_ROWS));
}

static struct work work_for(const struct job *j, size_t pair, unsigned thread)
{
	const uint32_t n_heads = j->spans->kv->n_heads;
	const struct attention_span *span = &j->spans[pair / n_heads];
	const struct sizes s = sizes_of(span->kv->head_dim, span->kv->head_dim_v, j->group);
	float *mine = j->a->scratch + thread * s.work;

	return (struct work){ .job = j,
			      .span = span,
			      .kv = span->kv,
			      .kern = j->a->kern,
			      .head = (uint32_t)(pair % n_heads),
			      .group = j->group,
			      .part = mine,
			      .queries = mine + s.part,
			      .scores = mine + s.part + s.queries };
}

/* Sums number `slot` of all. */
static struct sums sums_at(const struct job *j, size_t slot)
{
	const struct kv *kv = j->spans->kv;
	const struct sizes s = sizes_of(kv->head_dim, kv->head_dim_v, j->group);
	const size_t sets = (size_t)j->rows * j->group;
	float *at = j->a->scratch + pool_threads(j->a->pool) * s.work +
		    slot * sums_floats(kv->head_dim_v, j->group, j->rows);

	return (struct sums){ at, at + sets * kv->head_dim_v, at + sets * (kv->head_dim_v + 1) };
}

/* A head's keys or values in a page. */
struct rows {
	const uint8_t *here;
	const uint8_t *next; /* the same in the page that will be read after this; or NULL */
	size_t row, bytes;   /* of a stored row: elements and bytes */
	uint32_t n;
};

/* PART rows from `first` on (fewer at the end) as f32: the cache itself, or converted into the
 * scratch. The same rows of the next page are asked for meanwhile: pages of a head do not follow
 * each other in memory, so nothing else foresees them. */
static const float *load(const struct work *w, const struct rows *rows, uint32_t first)
{
	const uint32_t n = rows->n - first < PART ? rows->n - first : PART;
	const uint8_t *src = rows->here + first * rows->bytes;

	for (size_t i = 0; rows->next && i < n * rows->bytes; i += 64)
		__builtin_prefetch(rows->next + first * rows->bytes + i);
	if (w->kv->type == KV_F32)
		return (const float *)(const void *)src;
	w->kern->dequant(w->kv->format, src, w->part, n * rows->row);
	return w->part;
}

/* Row r of the span in a tensor [rows][H][dim], at this group of heads. */
static size_t at(const struct work *w, uint32_t r, size_t dim)
{
	const size_t row = w->span->row + r, first = (size_t)w->head * w->group;

	return (row * w->job->a->n_heads + first) * dim;
}

/* Positions in [from, from + most) that row r sees. */
static uint32_t seen(const struct work *w, uint32_t r, uint32_t from, uint32_t most)
{
	const uint32_t end = w->span->pos + r + 1;
	const uint32_t n = end > from ? end - from : 0;

	return n < most ? n : most;
}

/* Queries as the keys lie in the cache: [rows][group] stored rows. */
static void rotate_queries(const struct work *w)
{
	const size_t dim = w->kv->head_dim, row = w->kv->key_row;

	for (uint32_t r = 0; r < w->span->rows; r++) {
		const float *q = w->job->q + at(w, r, dim);

		for (uint32_t g = 0; g < w->group; g++)
			w->kern->rotate(w->queries + ((size_t)r * w->group + g) * row, q + g * dim,
					KV_QUERY_SCALE, dim);
	}
}

/* Scores of the positions from + part .. of a page. */
static void score(const struct work *w, const float *keys, uint32_t from, uint32_t part)
{
	const struct kv *kv = w->kv;

	for (uint32_t r = 0; r < w->span->rows; r++) {
		const struct kern_tile t = {
			.w = keys,
			.ldw = kv->key_row,
			.nw = seen(w, r, from + part, PART),
			.x = kv_rotates(kv->type) ? w->queries + r * w->group * kv->key_row
						  : w->job->q + at(w, r, kv->head_dim),
			.ldx = kv->key_row,
			.nx = w->group,
			.out = w->scores + (size_t)r * w->group * ATTENTION_BLOCK + part,
			.ldo = ATTENTION_BLOCK,
			.n = kv->key_row,
		};

		w->kern->tile(&t);
	}
}

/* Scores [n] of a query become weights; what it has gathered shrinks when a larger one came. */
static void weigh(const struct work *w, const struct sums *s, float *scores, uint32_t n, size_t set)
{
	const struct kern *k = w->kern;
	const size_t dim = w->kv->head_dim_v;
	float top;

	k->scale(scores, 1.0f / sqrtf((float)w->kv->head_dim), n);
	top = k->max(scores, n);
	if (top > s->top[set]) {
		float shrink = kern_exp(s->top[set] - top);

		s->sum[set] *= shrink;
		k->scale(s->out + set * dim, shrink, dim);
		s->top[set] = top;
	}
	s->sum[set] += k->exp_sum(scores, n, s->top[set]);
}

static void mix(const struct work *w, const struct sums *s, const float *values, uint32_t from,
		uint32_t part)
{
	const size_t dim = w->kv->head_dim_v;

	for (uint32_t r = 0; r < w->span->rows; r++) {
		const size_t set = (size_t)r * w->group;
		const struct kern_mix m = {
			.y = s->out + set * dim,
			.w = w->scores + set * ATTENTION_BLOCK + part,
			.v = values,
			.ldy = dim,
			.ldw = ATTENTION_BLOCK,
			.ldv = w->kv->value_row,
			.ny = w->group,
			.nv = seen(w, r, from + part, PART),
			.n = dim,
		};

		w->kern->mix(&m);
	}
}

static void run_page(const struct work *w, const struct sums *s, uint32_t page)
{
	const struct kv *kv = w->kv;
	const uint32_t layer = w->job->layer, head = w->head, from = page * ATTENTION_BLOCK;
	const uint32_t n = seen(w, w->span->rows - 1, from, ATTENTION_BLOCK); /* by the last row */
	const bool more = seen(w, w->span->rows - 1, from + ATTENTION_BLOCK, 1);
	const struct rows keys = { kv_keys(kv, layer, head, page),
				   more ? kv_keys(kv, layer, head, page + 1) : NULL, kv->key_row,
				   kv->key_bytes, n };
	const struct rows values = { kv_values(kv, layer, head, page),
				     more ? kv_values(kv, layer, head, page + 1) : NULL,
				     kv->value_row, kv->value_bytes, n };

	for (uint32_t i = 0; i < n; i += PART)
		score(w, load(w, &keys, i), from, i);
	for (uint32_t r = 0; r < w->span->rows; r++) {
		const uint32_t mine = seen(w, r, from, ATTENTION_BLOCK);

		for (size_t set = r * w->group; mine && set < (size_t)(r + 1) * w->group; set++)
			weigh(w, s, w->scores + set * ATTENTION_BLOCK, mine, set);
	}
	for (uint32_t i = 0; i < n; i += PART)
		mix(w, s, load(w, &values, i), from, i);
}

static uint32_t n_segments(const struct attention_span *s)
{
	return (s->pos + s->rows + ATTENTION_SEGMENT - 1) / ATTENTION_SEGMENT;
}

static void run_segment(const struct work *w, const struct sums *s, uint32_t segment)
{
	const uint32_t pages = ATTENTION_SEGMENT / ATTENTION_BLOCK;
	const uint32_t end = w->span->pos + w->span->rows;
	const size_t sets = (size_t)w->span->rows * w->group;

	for (size_t i = 0; i < sets; i++) {
		s->top[i] = -INFINITY;
		s->sum[i] = 0;
	}
	memset(s->out, 0, sets * w->kv->head_dim_v * sizeof(*s->out));
	if (kv_rotates(w->kv->type))
		rotate_queries(w);
	for (uint32_t p = segment * pages; p < (segment + 1) * pages; p++) {
		if (p * ATTENTION_BLOCK < end)
			run_page(w, s, p);
	}
}

/* What one query has gathered in a segment joins what it has from those before. */
static void join_query(const struct work *w, const struct sums *all, const struct sums *s,
		       size_t set)
{
	const size_t dim = w->kv->head_dim_v;
	const float top = s->top[set] > all->top[set] ? s->top[set] : all->top[set];
	const float before = kern_exp(all->top[set] - top), now = kern_exp(s->top[set] - top);

	w->kern->scale(all->out + set * dim, before, dim);
	w->kern->scale(s->out + set * dim, now, dim);
	w->kern->add(all->out + set * dim, s->out + set * dim, dim);
	all->sum[set] = all->sum[set] * before + s->sum[set] * now;
	all->top[set] = top;
}

static void join_segment(const struct work *w, const struct sums *all, const struct sums *s,
			 uint32_t segment)
{
	for (uint32_t r = 0; r < w->span->rows; r++) {
		if (!seen(w, r, segment * ATTENTION_SEGMENT, 1))
			continue;
		for (size_t set = r * w->group; set < (size_t)(r + 1) * w->group; set++)
			join_query(w, all, s, set);
	}
}

static void finish(const struct work *w, const struct sums *all)
{
	const size_t dim = w->kv->head_dim_v;

	for (uint32_t r = 0; r < w->span->rows; r++) {
		float *out = w->job->out + at(w, r, dim);

		memcpy(out, all->out + r * w->group * dim, w->group * dim * sizeof(*out));
		for (uint32_t g = 0; g < w->group; g++)
			w->kern->scale(out + g * dim, 1.0f / all->sum[r * w->group + g], dim);
	}
}

/* All segments of a pair, one after the other. */
static void run_pair(void *arg, size_t pair, unsigned thread)
{
	const struct job *j = arg;
	const struct work w = work_for(j, pair, thread);
	const struct sums all = sums_at(j, 2 * (size_t)thread),
			  s = sums_at(j, 2 * (size_t)thread + 1);

	run_segment(&w, &all, 0);
	for (uint32_t i = 1; i < n_segments(w.span); i++) {
		run_segment(&w, &s, i);
		join_segment(&w, &all, &s, i);
	}
	finish(&w, &all);
}

/* One segment of a pair, in a round. */
static void run_share(void *arg, size_t item, unsigned thread)
{
	const struct job *j = arg;
	const size_t pair = item % j->n_pairs;
	const uint32_t nth = (uint32_t)(item / j->n_pairs);
	const struct work w = work_for(j, pair, thread);
	const struct sums s = sums_at(j, pair * j->n_slots + j->first_slot + nth);

	if (j->segment + nth < n_segments(w.span))
		run_segment(&w, &s, j->segment + nth);
}

/* The segments of a round join slot 0; after the last one of a pair, its result is ready. */
static void join_shares(void *arg, size_t pair, unsigned thread)
{
	const struct job *j = arg;
	const struct work w = work_for(j, pair, thread);
	const struct sums all = sums_at(j, pair * j->n_slots);
	const uint32_t n = n_segments(w.span);

	for (uint32_t slot = 1; slot < j->n_slots; slot++) {
		const struct sums s = sums_at(j, pair * j->n_slots + slot);
		const uint32_t segment = j->segment + slot - j->first_slot;

		if (segment < n)
			join_segment(&w, &all, &s, segment);
	}
	if (j->segment < n && j->segment + j->n_slots - j->first_slot >= n)
		finish(&w, &all);
}

/* As many segments at a time as there is scratch for. */
static void run_rounds(struct job *j, uint32_t segments)
{
	while (j->segment < segments) {
		const uint32_t n = j->n_slots - j->first_slot;

		pool_run(j->a->pool, run_share, j, j->n_pairs * n);
		pool_run(j->a->pool, join_shares, j, j->n_pairs);
		j->segment += n;
		j->first_slot = 1;
	}
}

void attention_run(const struct attention *a, const struct attention_span *spans, size_t n_spans,
		   uint32_t layer, const float *q, float *out)
{
	const struct kv *kv = spans->kv;
	const unsigned threads = pool_threads(a->pool);
	struct job j = { .a = a,
			 .spans = spans,
			 .n_pairs = n_spans * kv->n_heads,
			 .layer = layer,
			 .group = a->n_heads / kv->n_heads,
			 .rows = 1,
			 .q = q,
			 .out = out };
	uint32_t segments = 0;
	size_t slots;

	for (size_t i = 0; i < n_spans; i++) {
		segments = n_segments(&spans[i]) > segments ? n_segments(&spans[i]) : segments;
		j.rows = spans[i].rows > j.rows ? spans[i].rows : j.rows;
	}
	slots = 2 * threads * sums_floats(kv->head_dim_v, j.group, ATTENTION_ROWS) /
		sums_floats(kv->head_dim_v, j.group, j.rows);
	j.n_slots = (uint32_t)(slots / j.n_pairs < segments ? slots / j.n_pairs : segments);
	if (threads > 1 && j.n_pairs < (size_t)threads * PAIRS_PER_THREAD && j.n_slots > 1)
		run_rounds(&j, segments);
	else
		pool_run(a->pool, run_pair, &j, j.n_pairs);
}
