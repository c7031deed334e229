/* tests/test_attention.c - attention over long caches: right, and the same bits in any company. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine/attention.h"

#define DEPTH (6 * ATTENTION_SEGMENT + 200)
#define HEADS 6
#define DIM   10
#define DIM_V 12
#define OUT   (HEADS * DIM_V)

static const struct model_hparams hp = { .n_layers = 2,
					 .dim = HEADS * DIM,
					 .n_heads = HEADS,
					 .n_kv_heads = 2,
					 .head_dim = DIM,
					 .head_dim_v = DIM_V };

/* Two caches of random keys and values, and what was asked of them. One for each type. */
struct hall {
	const struct kern *kern;
	struct kv *kv[2];
	float *keys, *values, *queries; /* [DEPTH] rows, of the first cache */
};

static struct hall halls[KV_TYPE_COUNT];

static float *numbers(uint64_t seed, size_t n, float size)
{
	float *x = malloc(n * sizeof(*x));

	assert_non_null(x);
	for (size_t i = 0; i < n; i++)
		x[i] = ((float)rng_unit(seed, i) - 0.5f) * size;
	return x;
}

static void open_hall(struct hall *h, enum kv_type type)
{
	assert_int_equal(kern_pick(&h->kern, NULL), 0);
	h->keys = numbers(1, (size_t)DEPTH * 2 * DIM, 6);
	h->values = numbers(2, (size_t)DEPTH * 2 * DIM_V, 2);
	h->queries = numbers(3, (size_t)DEPTH * HEADS * DIM, 6);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(kv_create(&h->kv[i], NULL, &hp, 0, 2, DEPTH, type), 0);
		for (uint32_t pos = 0; pos < DEPTH; pos++) {
			const uint32_t from = i ? DEPTH - 1 - pos : pos;

			kv_put(h->kv[i], h->kern, 1, pos, h->keys + (size_t)from * 2 * DIM,
			       h->values + (size_t)from * 2 * DIM_V);
		}
	}
}

static void close_hall(struct hall *h)
{
	kv_destroy(h->kv[0]);
	kv_destroy(h->kv[1]);
	free(h->keys);
	free(h->values);
	free(h->queries);
}

/* n rows on so many threads. q and out follow the rows of the spans. */
static void run(const struct hall *h, unsigned threads, const struct attention_span *spans,
		size_t n_spans, const float *q, float *out)
{
	const size_t floats = (attention_scratch(&hp, threads) + 15) / 16 * 16;
	struct attention a = { .kern = h->kern, .n_heads = HEADS };

	a.scratch = aligned_alloc(64, floats * sizeof(float));
	assert_non_null(a.scratch);
	for (size_t i = 0; i < floats; i++)
		a.scratch[i] = NAN; /* what is not set is seen */
	assert_int_equal(pool_create(&a.pool, threads), 0);
	attention_run(&a, spans, n_spans, 1, q, out);
	pool_destroy(a.pool);
	free(a.scratch);
}

/* Row `pos` of a cache alone, on one thread. */
static void run_alone(const struct hall *h, unsigned cache, uint32_t pos, float *out)
{
	const struct attention_span span = { .kv = h->kv[cache], .rows = 1, .pos = pos };

	run(h, 1, &span, 1, h->queries + (size_t)pos * HEADS * DIM, out);
}

static void plain(const struct hall *h, uint32_t pos, uint32_t head, double out[DIM_V])
{
	const float *q = h->queries + ((size_t)pos * HEADS + head) * DIM;
	double sum = 0;

	memset(out, 0, DIM_V * sizeof(*out));
	for (uint32_t p = 0; p <= pos; p++) {
		const size_t row = (size_t)p * 2 + head / 3;
		double s = 0, weight;

		for (unsigned i = 0; i < DIM; i++)
			s += (double)q[i] * h->keys[row * DIM + i];
		weight = exp(s / sqrt(DIM));
		sum += weight;
		for (unsigned i = 0; i < DIM_V; i++)
			out[i] += weight * h->values[row * DIM_V + i];
	}
	for (unsigned i = 0; i < DIM_V; i++)
		out[i] /= sum;
}

static const uint32_t places[] = { 0,    1,    62,   63,   64,   65,   1022,     1023,
				   1024, 1025, 2047, 2048, 3071, 5000, DEPTH - 1 };

#define N_PLACES (sizeof(places) / sizeof(places[0]))

/* One head's key or value as the first cache has it, keys turned back -> x. */
static void recall_head(const struct hall *h, const struct kv_place *at, float *x)
{
	const struct kv *kv = h->kv[0];
	float stored[KV_BLOCK], turned[KV_BLOCK];
	uint8_t row[4 * KV_BLOCK];

	kv_get_row(kv, at, row);
	kern_at(0)->dequant(kv->format, row, stored, at->key ? kv->key_row : kv->value_row);
	if (at->key && kv_has_blocks(kv->type)) {
		kern_at(0)->rotate(turned, stored, 1 / (32 * KV_KEY_SCALE), KV_BLOCK);
		memcpy(stored, turned, sizeof(turned));
	}
	memcpy(x, stored, (at->key ? DIM : DIM_V) * sizeof(*x));
}

/* Keys and values of the first cache become what is left of them there. */
static void recall(struct hall *h)
{
	for (uint32_t i = 0; i < 2 * DEPTH; i++) {
		const struct kv_place key = { 1, i % 2, i / 2, true };
		const struct kv_place value = { 1, i % 2, i / 2, false };

		recall_head(h, &key, h->keys + (size_t)i * DIM);
		recall_head(h, &value, h->values + (size_t)i * DIM_V);
	}
}

static void compare_with_softmax(struct hall *h)
{
	recall(h);
	for (unsigned i = 0; i < N_PLACES; i++) {
		float got[OUT];
		double want[DIM_V];

		run_alone(h, 0, places[i], got);
		for (unsigned k = 0; k < OUT; k++) {
			if (k % DIM_V == 0)
				plain(h, places[i], k / DIM_V, want);
			if (!(fabs((double)got[k] - want[k % DIM_V]) <= 1e-5))
				fail_msg("%s, position %u: %g, not %g",
					 kv_type_name(h->kv[0]->type), places[i], (double)got[k],
					 want[k % DIM_V]);
		}
	}
}

static void sums_over_segments_are_those_of_softmax(void **state)
{
	(void)state;
	for (unsigned type = 0; type < KV_TYPE_COUNT; type++)
		compare_with_softmax(&halls[type]);
}

/* Rows [pos, pos + n) of the first cache, as prefill cuts them, and each of them alone. */
static void compare_chunk(const struct hall *h, uint32_t pos, uint32_t n, unsigned threads)
{
	struct attention_span spans[16];
	float *out = numbers(4, n * (size_t)OUT, 1), alone[OUT];
	size_t n_spans = 0;

	for (uint32_t r = 0; r < n; r += ATTENTION_ROWS)
		spans[n_spans++] = (struct attention_span){
			.kv = h->kv[0],
			.row = r,
			.rows = n - r < ATTENTION_ROWS ? n - r : ATTENTION_ROWS,
			.pos = pos + r,
		};
	run(h, threads, spans, n_spans, h->queries + (size_t)pos * HEADS * DIM, out);
	for (uint32_t r = 0; r < n; r++) {
		run_alone(h, 0, pos + r, alone);
		assert_memory_equal(out + r * (size_t)OUT, alone, sizeof(alone));
	}
	free(out);
}

/* Rows of all places in both caches, each alone. */
static void run_each_alone(const struct hall *h, float *out)
{
	for (unsigned i = 0; i < 2 * N_PLACES; i++)
		run_alone(h, i / N_PLACES, places[i % N_PLACES], out + i * (size_t)OUT);
}

/* Tokens of both caches together: few pairs, which the threads share in rounds. */
static void compare_tokens(const struct hall *h, unsigned threads, const float *alone)
{
	struct attention_span spans[N_PLACES];
	float *q = numbers(5, N_PLACES * HEADS * (size_t)DIM, 1);
	float *out = numbers(6, N_PLACES * OUT, 1);

	for (unsigned n = 1; n <= N_PLACES; n += 1 + n / 3) {
		for (unsigned i = 0; i < n; i++) {
			const uint32_t pos = places[N_PLACES - 1 - i];

			spans[i] = (struct attention_span){
				.kv = h->kv[i % 2], .row = i, .rows = 1, .pos = pos
			};
			memcpy(q + (size_t)i * HEADS * DIM, h->queries + (size_t)pos * HEADS * DIM,
			       HEADS * DIM * sizeof(*q));
		}
		run(h, threads, spans, n, q, out);
		for (unsigned i = 0; i < n; i++) {
			const size_t nth = i % 2 * N_PLACES + N_PLACES - 1 - i;

			assert_memory_equal(out + i * (size_t)OUT, alone + nth * OUT,
					    OUT * sizeof(*out));
		}
	}
	free(q);
	free(out);
}

static void a_row_is_the_same_in_any_company(void **state)
{
	float *alone = numbers(7, 2 * N_PLACES * OUT, 1);

	(void)state;
	for (unsigned type = 0; type < KV_TYPE_COUNT; type++) {
		const struct hall *h = &halls[type];

		compare_chunk(h, 0, 70, 1);
		compare_chunk(h, 1019, 13, 1);
		compare_chunk(h, 2045, 7, 2);
		compare_chunk(h, 3070, 1, 3);
		compare_chunk(h, DEPTH - 11, 11, 5);
		run_each_alone(h, alone);
		compare_tokens(h, 2, alone);
		compare_tokens(h, 9, alone);
	}
	free(alone);
}

static int open_halls(void **state)
{
	(void)state;
	for (unsigned type = 0; type < KV_TYPE_COUNT; type++)
		open_hall(&halls[type], (enum kv_type)type);
	return 0;
}

static int close_halls(void **state)
{
	(void)state;
	for (unsigned type = 0; type < KV_TYPE_COUNT; type++)
		close_hall(&halls[type]);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_over_segments_are_those_of_softmax),
		cmocka_unit_test(a_row_is_the_same_in_any_company),
	};

	return cmocka_run_group_tests(tests, open_halls, close_halls);
}
