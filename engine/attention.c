#include "engine/attention.h"

#include <math.h>
#include <string.h>

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
	int8_t *codes;  /* [KV_BLOCK * ATTENTION_BLOCK] of one block of a page */
	float *queries; /* [ATTENTION_ROWS][group] stored rows of keys, scaled */
	float *scores;  /* [ATTENTION_ROWS][group][ATTENTION_BLOCK], then weights */
	float *stepped; /* the same: weights times the steps of a block's rows */
};

/* Floats of a thread's scratch. */
struct sizes {
	size_t codes, queries, scores, work; /* work: all, scores twice */
};

static size_t lines(size_t floats)
{
	return (floats + 15) / 16 * 16;
}

static struct sizes sizes_of(uint32_t dim, size_t group)
{
	struct sizes s = {
		.codes = lines(KV_BLOCK * ATTENTION_BLOCK / sizeof(float)),
		.queries = lines(ATTENTION_ROWS * group * KV_ROW_MAX(dim)),
		.scores = lines(ATTENTION_ROWS * group * ATTENTION_BLOCK),
	};

	s.work = s.codes + s.queries + 2 * s.scores;
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
	const struct sizes s = sizes_of(hp->head_dim, group);

	return threads * (s.work + 2 * sums_floats(hp->head_dim_v, group, ATTENTION_ROWS));
}

static struct work work_for(const struct job *j, size_t pair, unsigned thread)
{
	const uint32_t n_heads = j->spans->kv->n_heads;
	const struct attention_span *span = &j->spans[pair / n_heads];
	const struct sizes s = sizes_of(span->kv->head_dim, j->group);
	float *mine = j->a->scratch + thread * s.work;

	return (struct work){ .job = j,
			      .span = span,
			      .kv = span->kv,
			      .kern = j->a->kern,
			      .head = (uint32_t)(pair % n_heads),
			      .group = j->group,
			      .codes = (int8_t *)mine,
			      .queries = mine + s.codes,
			      .scores = mine + s.codes + s.queries,
			      .stepped = mine + s.codes + s.queries + s.scores };
}

/* Sums number `slot` of all. */
static struct sums sums_at(const struct job *j, size_t slot)
{
	const struct kv *kv = j->spans->kv;
	const struct sizes s = sizes_of(kv->head_dim, j->group);
	const size_t sets = (size_t)j->rows * j->group;
	float *at = j->a->scratch + pool_threads(j->a->pool) * s.work +
		    slot * sums_floats(kv->head_dim_v, j->group, j->rows);

	return (struct sums){ at, at + sets * kv->head_dim_v, at + sets * (kv->head_dim_v + 1) };
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

/* Queries as the keys lie in the cache, scaled: [rows][group] stored rows. */
static void take_queries(const struct work *w)
{
	const size_t dim = w->kv->head_dim, row = w->kv->key_row;
	const float scale = 1.0f / sqrtf((float)dim);
	float *to = w->queries;

	for (uint32_t r = 0; r < w->span->rows; r++) {
		const float *q = w->job->q + at(w, r, dim);

		for (uint32_t g = 0; g < w->group; g++, q += dim, to += row) {
			if (kv_has_blocks(w->kv->type)) {
				w->kern->rotate(to, q, scale * KV_QUERY_SCALE, dim);
			} else {
				memcpy(to, q, dim * sizeof(*q));
				w->kern->scale(to, scale, dim);
			}
		}
	}
}

/* A page of a head, and the one that follows (NULL: none), which is asked for meanwhile: pages of a
 * head do not follow each other in memory, so nothing else foresees them. */
struct page {
	const uint8_t *keys, *values;
	const uint8_t *next_keys, *next_values;
	uint32_t from, n; /* first position; how many the last row sees */
	uint32_t rows;    /* how many there is room for */
};

static struct page page_at(const struct work *w, uint32_t nth)
{
	const uint32_t layer = w->job->layer, head = w->head, from = nth * ATTENTION_BLOCK;
	const uint32_t last = w->span->rows - 1;
	struct page p = { .keys = kv_keys(w->kv, layer, head, nth),
			  .values = kv_values(w->kv, layer, head, nth),
			  .from = from,
			  .n = seen(w, last, from, ATTENTION_BLOCK),
			  .rows = kv_page_rows(w->kv, nth) };

	if (seen(w, last, from + ATTENTION_BLOCK, 1)) {
		p.next_keys = kv_keys(w->kv, layer, head, nth + 1);
		p.next_values = kv_values(w->kv, layer, head, nth + 1);
	}
	return p;
}

/* The codes of a block, as they lie at src or, of Q4_0, made of n bytes there. */
static const int8_t *codes(const struct work *w, const uint8_t *src, size_t n)
{
	if (w->kv->type == KV_Q8_0)
		return (const int8_t *)src;
	w->kern->nibbles(src, w->codes, n);
	return w->codes;
}

/* Scores of a page whose keys have blocks. */
static void score_blocks(const struct work *w, struct kern_mix *m, const struct page *p)
{
	const size_t block = quant_block_bytes(w->kv->format), skip = p->rows * sizeof(uint16_t);

	m->type = KERN_I8;
	m->nv = KV_BLOCK;
	m->ahead_bytes = block * ATTENTION_BLOCK;
	for (size_t i = 0; i < w->kv->key_row / KV_BLOCK; i++) {
		const size_t at = i * block * p->rows;

		m->w = w->queries + i * KV_BLOCK;
		m->steps = p->keys + at;
		m->v = codes(w, p->keys + at + skip, p->rows * KV_BLOCK / 2);
		m->ahead = p->next_keys ? p->next_keys + at : NULL;
		m->fresh = i == 0;
		w->kern->mix(m);
	}
}

/* Scores of all rows with what the last one sees of a page; and with a few positions behind that,
 * which nobody looks at: whole registers are faster. */
static void score(const struct work *w, const struct page *p)
{
	const struct kv *kv = w->kv;
	const size_t columns = lines(p->n);
	struct kern_mix m = {
		.y = w->scores,
		.w = w->queries,
		.v = p->keys,
		.ahead = p->next_keys,
		.ahead_bytes = kv->key_bytes * ATTENTION_BLOCK,
		.type = kv->type == KV_F16 ? KERN_F16 : KERN_F32,
		.ldy = ATTENTION_BLOCK,
		.ldw = kv->key_row,
		.ldv = p->rows,
		.ny = (size_t)w->span->rows * w->group,
		.nv = kv->key_row,
		.n = columns < p->rows ? columns : p->rows,
		.fresh = true,
	};

	if (kv_has_blocks(kv->type))
		score_blocks(w, &m, p);
	else
		w->kern->mix(&m);
}

static void weigh(const struct work *w, const struct sums *s, const struct page *p)
{
	const size_t dim = w->kv->head_dim_v;

	for (uint32_t r = 0; r < w->span->rows; r++) {
		const size_t set = (size_t)r * w->group;
		const struct kern_weigh k = { .x = w->scores + set * ATTENTION_BLOCK,
					      .y = s->out + set * dim,
					      .top = s->top + set,
					      .sum = s->sum + set,
					      .ldx = ATTENTION_BLOCK,
					      .ldy = dim,
					      .nx = w->group,
					      .n = seen(w, r, p->from, ATTENTION_BLOCK),
					      .dim = dim };

		if (k.n)
			w->kern->weigh(&k);
	}
}

/* Rows that see all of a page take m's values together, others one by one what they see of it. */
static void mix_rows(const struct work *w, struct kern_mix *m, const struct page *p)
{
	const uint32_t rows = w->span->rows, group = w->group;
	const bool all = seen(w, 0, p->from, ATTENTION_BLOCK) == p->n;
	float *y = m->y;
	const float *weights = m->w;

	m->ny = all ? rows * group : group;
	for (uint32_t r = 0; r < rows; r += all ? rows : 1) {
		m->y = y + (size_t)r * group * m->ldy;
		m->w = weights + (size_t)r * group * ATTENTION_BLOCK;
		m->nv = seen(w, r, p->from, ATTENTION_BLOCK);
		w->kern->mix(m);
	}
}

/* Columns [from, from + most) of the values, as far as there are such. */
static void mix_codes(const struct work *w, const struct sums *s, const struct page *p,
		      struct kern_mix m, size_t from, size_t most)
{
	const size_t dim = w->kv->head_dim_v;

	if (from >= dim)
		return;
	m.y = s->out + from;
	m.n = dim - from < most ? dim - from : most;
	m.ldv = most;
	mix_rows(w, &m, p);
}

/* Values that have blocks: their steps go into the weights. */
static void mix_blocks(const struct work *w, const struct sums *s, const struct page *p,
		       struct kern_mix m)
{
	const size_t block = quant_block_bytes(w->kv->format), skip = p->rows * sizeof(uint16_t);
	struct kern_stretch k = { .dst = w->stepped,
				  .src = w->scores,
				  .ldd = ATTENTION_BLOCK,
				  .lds = ATTENTION_BLOCK,
				  .nx = (size_t)w->span->rows * w->group,
				  .n = p->n };

	m.w = w->stepped;
	m.type = KERN_I8;
	for (size_t i = 0; i < w->kv->value_row / KV_BLOCK; i++) {
		const size_t at = i * block * p->rows;
		const int8_t *v = codes(w, p->values + at + skip, p->n * KV_BLOCK / 2);

		k.steps = p->values + at;
		w->kern->stretch(&k);
		m.v = v;
		m.ahead = p->next_values ? p->next_values + at : NULL;
		m.ahead_bytes = block * ATTENTION_BLOCK;
		if (w->kv->type == KV_Q8_0) {
			mix_codes(w, s, p, m, i * KV_BLOCK, KV_BLOCK);
			continue;
		}
		mix_codes(w, s, p, m, i * KV_BLOCK, KV_BLOCK / 2);
		m.v = v + p->n * KV_BLOCK / 2;
		m.ahead = NULL;
		mix_codes(w, s, p, m, i * KV_BLOCK + KV_BLOCK / 2, KV_BLOCK / 2);
	}
}

static void mix(const struct work *w, const struct sums *s, const struct page *p)
{
	const struct kv *kv = w->kv;
	struct kern_mix m = { .y = s->out,
			      .w = w->scores,
			      .v = p->values,
			      .ahead = p->next_values,
			      .ahead_bytes = kv->value_bytes * ATTENTION_BLOCK,
			      .type = kv->type == KV_F16 ? KERN_F16 : KERN_F32,
			      .ldy = kv->head_dim_v,
			      .ldw = ATTENTION_BLOCK,
			      .ldv = kv->value_row,
			      .n = kv->head_dim_v };

	if (kv_has_blocks(kv->type))
		mix_blocks(w, s, p, m);
	else
		mix_rows(w, &m, p);
}

static void run_page(const struct work *w, const struct sums *s, uint32_t nth)
{
	const struct page p = page_at(w, nth);

	score(w, &p);
	weigh(w, s, &p);
	mix(w, s, &p);
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
	take_queries(w);
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
