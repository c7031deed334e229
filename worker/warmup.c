#include "worker/warmup.h"

#include "base/clock.h"
#include "engine/kv_rows.h"

#define ROWS        12u /* steps of one row, ... */
#define REPEATS     3u  /* ... and of other sizes */
#define MAX_ROWS    64u
#define HEADS       8u /* rows of a step that are answered, at most */

#define CHUNK_CLASS 6 /* of cost.h, that MAX_ROWS belong to */
#define N_SIZES     3
static const uint32_t sizes[N_SIZES] = { 1, 8, MAX_ROWS };

#define DEEP    512u /* positions that are made up, if there is room */
#define CONTEXT (1u + 2 * (ROWS + REPEATS * (8u + MAX_ROWS)))

static void fill(struct segment *seg, uint32_t rows)
{
	for (uint32_t i = 0; i < rows * seg->hp.dim; i++)
		seg->x[i] = (float)(i * 7919u % 255u) / 255 - 0.5F;
}

/* What a step's answers take, us; a prompt has one. */
static uint32_t answer(struct segment *seg, uint32_t rows)
{
	const struct sampler_params greedy = { .top_p = 1, .repeat_penalty = 1 };
	const uint64_t begun_us = clock_now_us();
	const float *x[HEADS];
	uint32_t id;
	bool end;

	for (uint32_t i = 0; i < rows; i++)
		x[i] = seg->x + (size_t)i * seg->hp.dim;
	model_logits_of(seg->model, x, rows, seg->logits);
	for (uint32_t i = 0; i < rows; i++)
		(void)!segment_pick(seg, &greedy, seg->logits + (size_t)i * seg->hp.n_vocab, NULL,
				    0, i, &id, &end, NULL);
	return (uint32_t)(clock_now_us() - begun_us);
}

/* One step; *s is what it took if that is less than before. False when it failed. */
static bool step(struct segment *seg, struct kv *kv, uint32_t layers, uint32_t rows,
		 struct tempo_step *s)
{
	const double at = kv_length(kv) + rows / 2.0;
	struct tempo_step now = { .row_layers = (double)rows * layers,
				  .layers = layers,
				  .row_layer_positions = rows * layers * at };

	fill(seg, rows);
	now.layers_us = (uint32_t)clock_now_us();
	if (model_forward(seg->model, kv, seg->x, rows))
		return false;
	now.layers_us = (uint32_t)clock_now_us() - now.layers_us;
	now.answers = rows <= HEADS ? rows : 1;
	now.rest_us = answer(seg, now.answers);
	if (!(s->layers > 0) || now.layers_us + now.rest_us < s->layers_us + s->rest_us)
		*s = now;
	return true;
}

/* A cache for some layers; false when there is no room for it. */
static bool begin(struct segment *seg, uint32_t layers, uint32_t context_tokens, struct kv **kv)
{
	struct err e;

	return !segment_begin(seg, kv, seg->first, seg->first + layers, context_tokens,
			      seg->kv_type, &e);
}

/* Some steps, none that is expected to end later than that. */
static bool repeat(struct segment *seg, struct kv *kv, uint32_t layers, uint32_t rows,
		   uint64_t latest_us, struct tempo_step *best)
{
	const unsigned n = rows == 1 ? ROWS : REPEATS;
	bool fine = true;

	for (unsigned i = 0; fine && i < n && clock_now_us() <= latest_us; i++)
		fine = step(seg, kv, layers, rows, best);
	return fine;
}

/* The same steps again, behind many positions. */
static bool repeat_deep(struct segment *seg, struct kv *kv, uint32_t layers, uint32_t rows,
			uint64_t latest_us, const struct tempo_step *early, struct tempo *p)
{
	const uint32_t length = kv_length(kv);
	struct tempo_step late = { 0 };
	bool fine;

	if (rows > 1 && rows < MAX_ROWS) /* nothing that the others would not tell */
		return true;
	if (kv_rows_make_up(kv, DEEP))
		return true;
	fine = repeat(seg, kv, layers, rows, latest_us, &late);
	tempo_deeper(p, early, &late);
	kv_truncate(kv, length);
	return fine;
}

/* The fastest step of each size through all layers, as far as time allows; returns what a row took
 * by itself. */
static uint64_t run_all(struct segment *seg, uint32_t layers, struct tempo *p)
{
	struct tempo_step first = { 0 };
	uint64_t row_us = 0, end_us;
	struct kv *kv;
	bool fine;

	if (!begin(seg, layers, CONTEXT + DEEP, &kv) && !begin(seg, layers, CONTEXT, &kv))
		return 0;
	fine = step(seg, kv, layers, 1, &first); /* brings the weights in */
	end_us = clock_now_us() + WARMUP_US / 2;
	for (unsigned i = 0; fine && i < N_SIZES; i++) {
		struct tempo_step best = { 0 }; /* others may use the machine now */

		/* Of a large model's single rows fewer, so that there is time for a deep one. */
		fine = repeat(seg, kv, layers, sizes[i],
			      i ? end_us - row_us * sizes[i] : end_us - WARMUP_US / 4, &best);
		tempo_learn(p, &best);
		row_us = i ? row_us : best.layers_us + best.rest_us;
		if (fine)
			fine = repeat_deep(seg, kv, layers, sizes[i], end_us - row_us * sizes[i],
					   &best, p);
	}
	segment_end(seg, kv);
	return row_us;
}

/* A chunk through as many layers as there is time for, if its rows take as long as single ones. */
static void run_chunk(struct segment *seg, uint32_t layers, uint64_t row_us, struct tempo *p)
{
	const uint64_t n = WARMUP_US / 2 * layers / (row_us * MAX_ROWS);
	struct tempo_step s = { 0 };
	struct kv *kv;

	layers = n < 1 ? 1 : n < layers ? (uint32_t)n : layers;
	if (!begin(seg, layers, CONTEXT, &kv))
		return;
	if (step(seg, kv, layers, MAX_ROWS, &s))
		tempo_learn(p, &s);
	segment_end(seg, kv);
}

void warmup_run(struct segment *seg, struct tempo *p)
{
	const uint32_t layers = seg->last - seg->first;
	const uint64_t row_us = layers ? run_all(seg, layers, p) : 0;

	if (row_us && !p->layer.classes[CHUNK_CLASS].n)
		run_chunk(seg, layers, row_us, p);
}
