/* tests/test_kv_layers.c - layers that change hands are the same bits as if they never had.
 *
 * On the gateway model's weights: rows through a cache that was joined, cut, or filled beside, and
 * through one that was whole from the beginning. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine/kv.h"
#include "engine/kv_layers.h"
#include "engine/kv_rows.h"

#define ROWS 71 /* more than a page */
#define MORE 5  /* rows that come after the change */

struct bench {
	struct gguf *g;
	struct model *m;
	struct model_hparams hp;
	float *in, *x, *expected; /* [ROWS + MORE][d] */
};

static void open_bench(struct bench *b)
{
	const char *root = getenv("SPLITMQ_ROOT");
	struct model_conf conf = { .threads = 1, .max_rows = 64 };
	struct err e;
	char path[512];
	size_t n;

	snprintf(path, sizeof(path), "%s/models/gateway.gguf", root ? root : ".");
	if (gguf_open(&b->g, path, &e) || model_read_hparams(&b->hp, b->g, &e))
		fail_msg("%s", e.text);
	conf.last = b->hp.n_layers;
	if (model_open(&b->m, b->g, &conf, &e))
		fail_msg("%s", e.text);
	n = (size_t)(ROWS + MORE) * b->hp.dim;
	b->in = malloc(n * sizeof(float));
	b->x = malloc(n * sizeof(float));
	b->expected = malloc(n * sizeof(float));
	assert_true(b->in && b->x && b->expected);
	for (size_t i = 0; i < n; i++)
		b->in[i] = (float)rng_unit(3, i) - 0.5f;
}

static void close_bench(struct bench *b)
{
	model_close(b->m);
	gguf_close(b->g);
	free(b->in);
	free(b->x);
	free(b->expected);
}

static struct kv *cache(const struct bench *b, struct kv_budget *budget, uint32_t first,
			uint32_t last, enum kv_type type)
{
	struct kv *kv = NULL;

	assert_int_equal(kv_create(&kv, budget, &b->hp, first, last, ROWS + MORE, type), 0);
	return kv;
}

static void forward(struct bench *b, struct kv *kv, uint32_t rows)
{
	assert_int_equal(model_forward(b->m, kv, b->x, rows), 0);
}

static void load(struct bench *b, uint32_t pos, uint32_t rows)
{
	memcpy(b->x, b->in + (size_t)pos * b->hp.dim, rows * b->hp.dim * sizeof(float));
}

/* What a cache of layers [first, L) that was whole all the time gives for the last rows. */
static void expect(struct bench *b, uint32_t first, enum kv_type type)
{
	struct kv *whole = cache(b, NULL, first, b->hp.n_layers, type);

	load(b, 0, ROWS);
	forward(b, whole, ROWS);
	load(b, ROWS, MORE);
	forward(b, whole, MORE);
	memcpy(b->expected, b->x, (size_t)MORE * b->hp.dim * sizeof(float));
	kv_destroy(whole);
}

static void check_more(struct bench *b, struct kv *kv)
{
	load(b, ROWS, MORE);
	forward(b, kv, MORE);
	assert_memory_equal(b->x, b->expected, (size_t)MORE * b->hp.dim * sizeof(float));
}

/* Brief: none below, one, and all. */
static uint32_t another_split(uint32_t split, uint32_t n_layers)
{
	return BRIEF && split == 1 ? n_layers : split + 1;
}

static void a_joined_cache_is_one_that_was_whole(void **state)
{
	struct bench b;

	(void)state;
	open_bench(&b);
	for (unsigned t = 0; t < KV_TYPE_COUNT; t++) {
		for (uint32_t split = 0; split <= b.hp.n_layers;
		     split = another_split(split, b.hp.n_layers)) {
			struct kv_budget budget = { .limit_bytes = SIZE_MAX };
			struct kv *low = cache(&b, &budget, 0, split, (enum kv_type)t);
			struct kv *high = cache(&b, &budget, split, b.hp.n_layers, (enum kv_type)t);
			const uint64_t both = budget.booked_bytes;
			struct kv *stays = split % 2 ? low : high;
			struct kv *gives = split % 2 ? high : low;

			expect(&b, 0, (enum kv_type)t);
			load(&b, 0, ROWS);
			forward(&b, low, ROWS);
			forward(&b, high, ROWS);
			assert_int_equal(kv_layers_join(stays, gives), 0);
			kv_layers_settle(gives);
			kv_layers_settle(stays);
			assert_int_equal(kv_size_bytes(gives), 0);
			kv_destroy(gives);
			assert_int_equal(budget.booked_bytes, both);
			check_more(&b, stays);
			kv_destroy(stays);
			assert_int_equal(budget.booked_bytes, 0);
		}
	}
	close_bench(&b);
}

static void layers_that_are_cut_off_are_given_up_later(void **state)
{
	struct kv_budget budget = { .limit_bytes = SIZE_MAX };
	struct kv *kv, *cut = NULL;
	struct bench b;

	(void)state;
	open_bench(&b);
	kv = cache(&b, &budget, 0, b.hp.n_layers, KV_F16);
	assert_int_equal(kv_layers_cut(&cut, kv, b.hp.n_layers + 1), ERR_LIMIT);
	assert_int_equal(kv_layers_cut(&cut, kv, 2), 0);
	assert_int_equal(kv_layers_last(kv), 2);
	assert_int_equal(kv_layers_first(cut), 2);
	assert_int_equal(kv_layers_last(cut), b.hp.n_layers);
	kv_layers_settle(cut);
	kv_layers_settle(kv);
	assert_int_equal(budget.booked_bytes, kv_bytes(&b.hp, b.hp.n_layers, ROWS + MORE, KV_F16));
	load(&b, 0, ROWS);
	forward(&b, kv, ROWS);
	kv_destroy(cut);
	assert_int_equal(budget.booked_bytes, kv_bytes(&b.hp, 2, ROWS + MORE, KV_F16));
	assert_int_equal(budget.booked_bytes, kv_size_bytes(kv));
	forward(&b, kv, 1);
	kv_destroy(kv);
	assert_int_equal(budget.booked_bytes, 0);
	close_bench(&b);
}

/* Either side of a cut goes on, and both are the whole again. */
static void layers_below_a_cut_are_those_of_a_cut_above(void **state)
{
	struct kv_budget budget = { .limit_bytes = SIZE_MAX };
	struct kv *kv, *below = NULL;
	struct bench b;

	(void)state;
	open_bench(&b);
	expect(&b, 0, KV_F16);
	kv = cache(&b, &budget, 0, b.hp.n_layers, KV_F16);
	load(&b, 0, ROWS);
	forward(&b, kv, ROWS);
	assert_int_equal(kv_layers_cut_below(&below, kv, b.hp.n_layers + 1), ERR_LIMIT);
	assert_int_equal(kv_layers_cut_below(&below, kv, 2), 0);
	assert_int_equal(kv_layers_first(kv), 2);
	assert_int_equal(kv_layers_last(kv), b.hp.n_layers);
	assert_int_equal(kv_layers_first(below), 0);
	assert_int_equal(kv_layers_last(below), 2);
	kv_layers_settle(below);
	kv_layers_settle(kv);
	assert_int_equal(kv_size_bytes(below), kv_bytes(&b.hp, 2, ROWS + MORE, KV_F16));
	assert_int_equal(budget.booked_bytes, kv_size_bytes(kv) + kv_size_bytes(below));
	assert_int_equal(kv_layers_join(kv, below), 0);
	kv_layers_settle(kv);
	kv_layers_settle(below);
	kv_destroy(below);
	check_more(&b, kv);
	kv_destroy(kv);
	assert_int_equal(budget.booked_bytes, 0);
	close_bench(&b);
}

static void layers_that_are_given_up_give_their_memory_back(void **state)
{
	struct kv_budget budget = { .limit_bytes = SIZE_MAX };
	struct bench b;
	struct kv *kv;

	(void)state;
	open_bench(&b);
	kv = cache(&b, &budget, 0, b.hp.n_layers, KV_F16);
	load(&b, 0, ROWS);
	forward(&b, kv, ROWS);
	assert_int_equal(kv_layers_keep(kv, 2, b.hp.n_layers + 1), ERR_LIMIT);
	assert_int_equal(kv_layers_keep(kv, 2, b.hp.n_layers), 0);
	assert_int_equal(kv_layers_keep(kv, 1, b.hp.n_layers), ERR_LIMIT);
	assert_int_equal(kv_layers_first(kv), 2);
	kv_layers_settle(kv);
	assert_int_equal(budget.booked_bytes,
			 kv_bytes(&b.hp, b.hp.n_layers - 2, ROWS + MORE, KV_F16));
	assert_int_equal(budget.booked_bytes, kv_size_bytes(kv));
	kv_destroy(kv);
	kv = cache(&b, &budget, 1, b.hp.n_layers, KV_F16);
	expect(&b, 2, KV_F16);
	kv_destroy(kv);
	kv = cache(&b, &budget, 2, b.hp.n_layers, KV_F16);
	load(&b, 0, ROWS);
	forward(&b, kv, ROWS);
	check_more(&b, kv);
	kv_destroy(kv);
	assert_int_equal(budget.booked_bytes, 0);
	close_bench(&b);
}

/* Rows that are run again through a view of a cache that goes on meanwhile: the same rows come
 * out, and the cache is as it was. */
static void a_view_runs_rows_again(void **state)
{
	const uint32_t split = 3, upto = 2;
	struct kv *kv, *view = NULL;
	struct bench b;
	float *first;

	(void)state;
	open_bench(&b);
	first = malloc((size_t)ROWS * b.hp.dim * sizeof(float));
	assert_non_null(first);
	expect(&b, 0, KV_F16);
	kv = cache(&b, NULL, 0, upto, KV_F16);
	load(&b, 0, ROWS);
	forward(&b, kv, ROWS);
	memcpy(first, b.x, (size_t)ROWS * b.hp.dim * sizeof(float));
	kv_destroy(kv);

	kv = cache(&b, NULL, 0, b.hp.n_layers, KV_F16);
	load(&b, 0, ROWS);
	forward(&b, kv, ROWS);
	assert_int_equal(kv_layers_view(&view, kv, split, b.hp.n_layers + 1), ERR_LIMIT);
	assert_int_equal(kv_layers_view(&view, kv, 0, upto), 0);
	for (uint32_t pos = 0; pos < ROWS; pos += 7) {
		const uint32_t n = ROWS - pos < 7 ? ROWS - pos : 7;

		load(&b, pos, n);
		forward(&b, view, n);
		assert_memory_equal(b.x, first + (size_t)pos * b.hp.dim,
				    n * b.hp.dim * sizeof(float));
	}
	kv_destroy(view);
	check_more(&b, kv);
	kv_destroy(kv);
	free(first);
	close_bench(&b);
}

/* All layers of kv, one after the other, for rows at its end. */
static void step_by_step(struct bench *b, struct kv *kv, struct kv *view, uint32_t rows)
{
	const uint32_t pos = kv_length(kv);

	load(b, pos, rows);
	for (uint32_t l = kv_layers_first(kv); l < kv_layers_last(kv); l++) {
		kv_layers_aim(view, l, l + 1, pos);
		forward(b, view, rows);
	}
	kv_layers_reach(kv, pos + rows);
}

static void a_view_goes_layer_by_layer(void **state)
{
	struct kv *kv, *view = NULL;
	struct bench b;

	(void)state;
	open_bench(&b);
	expect(&b, 1, KV_Q8_0);
	kv = cache(&b, NULL, 1, b.hp.n_layers, KV_Q8_0);
	assert_int_equal(kv_layers_view(&view, kv, 1, b.hp.n_layers), 0);
	step_by_step(&b, kv, view, 16);
	step_by_step(&b, kv, view, 1);
	step_by_step(&b, kv, view, ROWS - 17);
	kv_destroy(view);
	assert_int_equal(kv_length(kv), ROWS);
	check_more(&b, kv);
	kv_destroy(kv);
	close_bench(&b);
}

static void what_does_not_meet_is_not_joined(void **state)
{
	struct bench b;
	struct kv *a, *c, *d, *view;

	(void)state;
	open_bench(&b);
	a = cache(&b, NULL, 0, 2, KV_F16);
	c = cache(&b, NULL, 3, 4, KV_F16);
	assert_int_equal(kv_layers_join(a, c), ERR_STATE); /* a gap */
	d = cache(&b, NULL, 2, 3, KV_F32);
	assert_int_equal(kv_layers_join(a, d), ERR_STATE); /* another type */
	kv_destroy(d);
	d = cache(&b, NULL, 2, 3, KV_F16);
	load(&b, 0, 1);
	forward(&b, d, 1);
	assert_int_equal(kv_layers_join(a, d), ERR_STATE); /* not as long */
	kv_truncate(d, 0);
	assert_int_equal(kv_layers_view(&view, d, 2, 3), 0);
	assert_int_equal(kv_layers_join(a, view), ERR_STATE);
	assert_int_equal(kv_layers_join(a, d), 0);
	assert_int_equal(kv_layers_join(a, c), 0);
	assert_int_equal(kv_layers_last(a), 4);
	kv_destroy(a);
	kv_destroy(c);
	kv_destroy(d);
	kv_destroy(view);
	close_bench(&b);
}

/* Layers [first, last) of `from`, some rows at a time, to a cache beside; then joined. */
static void carry(struct bench *b, struct kv *from, struct kv *to, uint32_t first, uint32_t last)
{
	const size_t cap = kv_rows_position_bytes(&b->hp, kv_rows_type(from)) * 9 * (last - first);
	uint8_t *bytes = malloc(cap);

	assert_non_null(bytes);
	for (uint32_t pos = 0; pos < ROWS; pos += 9) {
		struct kv_rows_range r = { first, last, pos, ROWS - pos < 9 ? ROWS - pos : 9 };
		const size_t n = cap / 9 * r.rows;

		assert_int_equal(kv_rows_get(from, &r, bytes, n - 1), ERR_LIMIT);
		assert_int_equal(kv_rows_get(from, &r, bytes, cap), 0);
		assert_int_equal(kv_rows_put(to, kv_rows_type(from), &r, bytes, n), 0);
		assert_int_equal(kv_rows_put(to, kv_rows_type(from), &r, bytes, n), ERR_STATE);
	}
	assert_int_equal(kv_length(to), ROWS);
	free(bytes);
}

static void keys_and_values_travel_as_bytes(void **state)
{
	struct bench b;

	(void)state;
	open_bench(&b);
	for (unsigned t = 0; t < KV_TYPE_COUNT; t++) {
		const enum kv_type type = (enum kv_type)t;
		struct kv *low = cache(&b, NULL, 0, 3, type);
		struct kv *high = cache(&b, NULL, 3, b.hp.n_layers, type);
		struct kv *side = cache(&b, NULL, 1, 3, type);

		expect(&b, 1, type);
		kv_destroy(low);
		low = cache(&b, NULL, 1, 3, type);
		load(&b, 0, ROWS);
		forward(&b, low, ROWS);
		forward(&b, high, ROWS);
		carry(&b, low, side, 1, 3);
		assert_int_equal(kv_layers_join(high, side), 0);
		check_more(&b, high);
		kv_destroy(low);
		kv_destroy(high);
		kv_destroy(side);
	}
	close_bench(&b);
}

static void bytes_that_do_not_fit_are_refused(void **state)
{
	struct bench b;
	struct kv *kv;
	struct kv_rows_range r = { 1, 3, 0, 2 };
	uint8_t *bytes;
	size_t n;
	const uint16_t nan = 0x7e00;

	(void)state;
	open_bench(&b);
	kv = cache(&b, NULL, 1, 3, KV_F16);
	n = kv_rows_position_bytes(&b.hp, KV_F16) * 4;
	bytes = calloc(1, n);
	assert_non_null(bytes);
	assert_int_equal(kv_rows_put(kv, KV_F16, &r, bytes, n - 1), ERR_FORMAT);
	assert_int_equal(kv_rows_put(kv, KV_F32, &r, bytes, n), ERR_FORMAT);
	r.first = 2;
	assert_int_equal(kv_rows_put(kv, KV_F16, &r, bytes, n), ERR_STATE);
	r.first = 1;
	r.rows = ROWS + MORE + 1;
	assert_int_equal(kv_rows_put(kv, KV_F16, &r, bytes, n), ERR_CONTEXT);
	r.rows = 2;
	memcpy(bytes + n - 2, &nan, 2);
	assert_int_equal(kv_rows_put(kv, KV_F16, &r, bytes, n), ERR_NOT_FINITE);
	assert_int_equal(kv_length(kv), 0);
	free(bytes);
	kv_destroy(kv);
	close_bench(&b);
}

static void made_up_positions_are_attended_to_like_others(void **state)
{
	struct bench b;

	(void)state;
	open_bench(&b);
	for (unsigned t = 0; t < KV_TYPE_COUNT; t++) {
		struct kv *kv = cache(&b, NULL, 1, 3, (enum kv_type)t);

		assert_int_equal(kv_rows_make_up(kv, ROWS + MORE + 1), ERR_CONTEXT);
		assert_int_equal(kv_length(kv), 0);
		assert_int_equal(kv_rows_make_up(kv, 3), 0);
		assert_int_equal(kv_rows_make_up(kv, ROWS - 3), 0);
		assert_int_equal(kv_length(kv), ROWS);
		memcpy(b.x, b.in, b.hp.dim * sizeof(float));
		assert_int_equal(model_forward(b.m, kv, b.x, 1), 0);
		for (uint32_t i = 0; i < b.hp.dim; i++)
			assert_true(isfinite(b.x[i]));
		kv_destroy(kv);
	}
	close_bench(&b);
}

/* All numbers of layers [first, last). */
static uint8_t *bytes_of(const struct bench *b, struct kv *kv, uint32_t first, uint32_t last,
			 size_t *n)
{
	const struct kv_rows_range r = { first, last, 0, ROWS };
	uint8_t *bytes;

	*n = kv_rows_position_bytes(&b->hp, kv_rows_type(kv)) * ROWS * (last - first);
	bytes = malloc(*n);
	assert_non_null(bytes);
	assert_int_equal(kv_rows_get(kv, &r, bytes, *n), 0);
	return bytes;
}

static void check_same(const struct bench *b, struct kv *x, struct kv *y, uint32_t last)
{
	size_t n, m;
	uint8_t *xs = bytes_of(b, x, 0, last, &n), *ys = bytes_of(b, y, 0, last, &m);

	assert_int_equal(n, m);
	assert_memory_equal(xs, ys, n);
	free(xs);
	free(ys);
}

/* |x - y| / |y| of two caches in f32. */
static double apart(const struct bench *b, struct kv *x, struct kv *y)
{
	size_t n;
	float *xs = (float *)(void *)bytes_of(b, x, 0, b->hp.n_layers, &n);
	float *ys = (float *)(void *)bytes_of(b, y, 0, b->hp.n_layers, &n);
	double off = 0, all = 0;

	for (size_t i = 0; i < n / sizeof(float); i++) {
		off += (double)(xs[i] - ys[i]) * (double)(xs[i] - ys[i]);
		all += (double)ys[i] * (double)ys[i];
	}
	free(xs);
	free(ys);
	return sqrt(off / all);
}

/* Layer by layer, some rows at a time. */
static struct kv *recast(const struct bench *b, const struct kv *of, enum kv_type type)
{
	struct kv *kv = NULL;

	assert_int_equal(kv_rows_like(&kv, of, &b->hp, type), 0);
	for (uint32_t l = 0; l < b->hp.n_layers; l++) {
		for (uint32_t p = 0; p < kv_length(of); p += 3) {
			const uint32_t left = kv_length(of) - p;
			const struct kv_rows_range r = { l, l + 1, p, left < 3 ? left : 3 };

			assert_int_equal(kv_rows_copy(kv, of, &r), 0);
		}
	}
	kv_layers_reach(kv, kv_length(of));
	return kv;
}

/* In the first layer keys and values do not depend on the cache: there a cache that was brought to
 * a type is, bit for bit, one that had it from the beginning. */
static void another_type_means_the_same(void **state)
{
	static const double near[KV_TYPE_COUNT] = {
		[KV_F16] = 4e-4, [KV_F32] = 0, [KV_Q8_0] = 0.01, [KV_Q4_0] = 0.15
	};
	struct kv_budget budget = { .limit_bytes = SIZE_MAX };
	struct bench b;

	(void)state;
	open_bench(&b);
	for (unsigned t = 0; t < KV_TYPE_COUNT; t++) {
		struct kv *kv = cache(&b, &budget, 0, b.hp.n_layers, KV_F32), *as = NULL;
		struct kv *fresh = cache(&b, NULL, 0, b.hp.n_layers, (enum kv_type)t), *back = NULL;

		load(&b, 0, ROWS);
		forward(&b, kv, ROWS);
		load(&b, 0, ROWS);
		forward(&b, fresh, ROWS);
		as = recast(&b, kv, (enum kv_type)t);
		assert_int_equal(budget.booked_bytes, kv_size_bytes(kv) + kv_size_bytes(as));
		assert_int_equal(kv_length(as), ROWS);
		assert_int_equal(kv_rows_type(as), t);
		check_same(&b, as, fresh, 1);
		back = recast(&b, as, KV_F32);
		assert_true(apart(&b, back, kv) <= near[t]);
		kv_destroy(kv);
		kv_destroy(as);
		kv_destroy(back);
		kv_destroy(fresh);
	}
	assert_int_equal(budget.booked_bytes, 0);
	close_bench(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_joined_cache_is_one_that_was_whole),
		cmocka_unit_test(layers_below_a_cut_are_those_of_a_cut_above),
		cmocka_unit_test(layers_that_are_given_up_give_their_memory_back),
		cmocka_unit_test(layers_that_are_cut_off_are_given_up_later),
		cmocka_unit_test(a_view_runs_rows_again),
		cmocka_unit_test(a_view_goes_layer_by_layer),
		cmocka_unit_test(what_does_not_meet_is_not_joined),
		cmocka_unit_test(keys_and_values_travel_as_bytes),
		cmocka_unit_test(made_up_positions_are_attended_to_like_others),
		cmocka_unit_test(bytes_that_do_not_fit_are_refused),
		cmocka_unit_test(another_type_means_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
