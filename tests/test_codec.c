/* tests/test_codec.c - the front door of the codec: both ends in step, what it saves and what it
 * costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "tests/codec_pair.h"

/* Allocations of the code under test. */
static unsigned long allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_malloc(size_t size)
{
	allocations++;
	return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	allocations++;
	return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	allocations++;
	return __real_realloc(p, size);
}

static const struct {
	const char *spec;
	double delta;
} turns[] = {
	{ "f16", 1e-6 },
	{ "tabq:delta=0.001", 3e-3 },
	{ "tabq:delta=0.05", 0.06 },
	{ "q8", 1e-3 },
	{ "tabq:delta=0.01,entropy=lz4", 0.015 },
	{ "tabq:delta=0.01,entropy=none,predict=rows", 0.015 },
	{ "tabq:delta=0.002,predict=none", 0.0021 },
	{ "tabq:delta=0.03,predict=rows", 0.04 },
	{ "tabq:delta=0.02,predict=tokens,tau=off", 0.03 },
	{ "tabq:delta=0.02,predict=tokens,entropy=lz4,max=3", 1 },
	{ "q4", 0.1 },
	{ "f32", 0 },
};

#define TURNS (sizeof(turns) / sizeof(turns[0]))

/* Hundreds of chunks; what they are coded in changes between any two. */
static void run_turns(size_t dim)
{
	struct pair *p = pair_create(dim, calibration(dim, 1), "f32");
	uint32_t pos = 0;

	for (uint64_t i = 0; i < 600; i++) {
		const uint64_t r = rng_u64(dim, i);
		const size_t turn = r % TURNS, n = 1 + (r >> 8) % MOST_ROWS;

		set_spec(p, turns[turn].spec);
		make_rows(p, 7, pos, n);
		cross(p, n, r >> 20 & 1);
		check_error(p, n, turns[turn].delta);
		pos += (uint32_t)n;
	}
	pair_destroy(p);
}

static void both_ends_stay_in_step_whatever_the_codec_changes_to(void **state)
{
	(void)state;
	run_turns(24);
	run_turns(96);
}

/* Every form and prediction; the first chunk of a session and later ones. */
static void errors_do_not_add_up(void **state)
{
	struct pair *p = pair_create(96, calibration(96, 1), "tabq:delta=0.01");

	(void)state;
	for (uint32_t pos = 0; pos < 500; pos++) {
		make_rows(p, 8, pos, 1);
		cross(p, 1, true);
		check_error(p, 1, 0.0125);
	}
	pair_destroy(p);
}

static void prediction_saves_bytes(void **state)
{
	size_t len[3] = { 0 };
	static const char *const specs[] = { "tabq:predict=none", "tabq:predict=rows",
					     "tabq:predict=tokens" };

	(void)state;
	for (unsigned k = 0; k < 3; k++) {
		struct pair *p = pair_create(96, calibration(96, 1), specs[k]);

		for (uint32_t pos = 0; pos < 100; pos++) {
			make_rows(p, 9, pos, 1);
			cross(p, 1, true);
			assert_int_equal(p->out.id, CODEC_TABQ | CODEC_RANS | k << 2);
			len[k] += p->out.len;
		}
		pair_destroy(p);
	}
	assert_true(len[1] * 10 < len[0] * 9);
	assert_in_range(len[2], 1, len[1] * 21 / 20); /* these tokens say nothing */
}

static size_t cost_after(const char *before)
{
	struct pair *p = pair_create(96, calibration(96, 1), before);
	size_t len;

	make_rows(p, 5, 20, 1);
	cross(p, 1, true);
	set_spec(p, "tabq:predict=rows");
	cross(p, 1, true); /* the same row once more */
	len = p->out.len;
	pair_destroy(p);
	return len;
}

static void a_row_is_predicted_from_one_in_whatever_codec(void **state)
{
	static const char *const specs[] = { "f32", "f16", "q8", "tabq:predict=none" };
	const size_t usual = cost_after("tabq:predict=rows");

	(void)state;
	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
		assert_in_range(cost_after(specs[i]), usual * 9 / 10, usual * 11 / 10);
}

/* A chunk whose receiver heard another past: the hashes differ. */
static void the_hash_tells_a_lost_a_repeated_and_another_chunk(void **state)
{
	struct pair *p = pair_create(24, calibration(24, 1), "tabq:entropy=none"), *q;
	uint16_t before;

	(void)state;
	q = pair_create(24, calibration(24, 2), "tabq");
	assert_int_not_equal(codec_state_hash(p->sender), codec_state_hash(q->sender));
	pair_destroy(q);
	for (uint32_t pos = 0; pos < 10; pos++) {
		make_rows(p, 3, pos, 1);
		before = codec_state_hash(p->sender);
		cross(p, 1, true);
		assert_int_not_equal(before, codec_state_hash(p->sender));
	}
	assert_int_equal(decode(p, 1, true), 0); /* once more */
	assert_int_not_equal(codec_state_hash(p->sender), codec_state_hash(p->receiver));
	codec_state_reset(p->sender);
	codec_state_reset(p->receiver);
	assert_int_equal(codec_state_hash(p->sender), codec_state_hash(p->receiver));
	make_rows(p, 3, 0, 1);
	cross(p, 1, true);
	make_rows(p, 3, 1, 1);
	assert_int_equal(encode(p, 1, true), 0); /* lost */
	assert_int_not_equal(codec_state_hash(p->sender), codec_state_hash(p->receiver));
	pair_destroy(p);
}

static void the_hash_tells_another_token(void **state)
{
	struct pair *p = pair_create(24, calibration(24, 1), "tabq:predict=tokens");

	(void)state;
	make_rows(p, 3, 0, 2);
	assert_int_equal(encode(p, 2, true), 0);
	p->ids[0] = (p->ids[0] + 1) % VOCAB;
	assert_int_equal(decode(p, 2, true), 0);
	assert_int_not_equal(codec_state_hash(p->sender), codec_state_hash(p->receiver));
	pair_destroy(p);
}

static void encoding_and_decoding_allocate_nothing(void **state)
{
	struct pair *p = pair_create(96, calibration(96, 1), "f32");
	unsigned long before = allocations;

	(void)state;
	assert_true(before > 0);
	for (size_t i = 0; i < TURNS; i++) {
		set_spec(p, turns[i].spec);
		make_rows(p, 1, (uint32_t)i * 5, 5);
		codec_state_foresee(p->sender);
		cross(p, 5, true);
	}
	assert_true(allocations == before);
	pair_destroy(p);
}

/* The bytes of all turns, and the last element they come to, with one set of kernels -> a hash of
 * them. The two ends now and then foresee what comes. */
static uint64_t run_with(const char *isa, bool foresee)
{
	struct pair *p = pair_create(96, calibration(96, 1), "f32");
	uint64_t hash = 1;

	if (isa)
		setenv("SPLITMQ_ISA", isa, 1);
	for (uint32_t i = 0; i < 100; i++) {
		set_spec(p, turns[i % TURNS].spec);
		make_rows(p, 1, i * 3, 3);
		if (foresee && rng_u64(9, i) % 3)
			codec_state_foresee(p->sender);
		if (foresee && rng_u64(10, i) % 3)
			codec_state_foresee(p->receiver);
		cross(p, 3, i % 2);
		for (size_t k = 0; k < p->out.len; k++)
			hash = rng_u64(hash, p->bytes[k]);
		hash = rng_u64(hash, (uint64_t)(int64_t)(p->y[3 * 96 - 1] * 1e6f));
	}
	unsetenv("SPLITMQ_ISA");
	pair_destroy(p);
	return hash;
}

static void every_instruction_set_writes_the_same_bytes(void **state)
{
	(void)state;
	assert_true(run_with("ref", false) == run_with(NULL, false));
}

static void what_is_foreseen_changes_nothing(void **state)
{
	(void)state;
	assert_true(run_with(NULL, true) == run_with(NULL, false));
}

static void a_state_is_small(void **state)
{
	(void)state;
	assert_true(codec_state_bytes(4096) < 192 * 1024);
	codec_state_destroy(NULL);
	codec_work_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ends_stay_in_step_whatever_the_codec_changes_to),
		cmocka_unit_test(errors_do_not_add_up),
		cmocka_unit_test(prediction_saves_bytes),
		cmocka_unit_test(a_row_is_predicted_from_one_in_whatever_codec),
		cmocka_unit_test(the_hash_tells_a_lost_a_repeated_and_another_chunk),
		cmocka_unit_test(the_hash_tells_another_token),
		cmocka_unit_test(encoding_and_decoding_allocate_nothing),
		cmocka_unit_test(every_instruction_set_writes_the_same_bytes),
		cmocka_unit_test(what_is_foreseen_changes_nothing),
		cmocka_unit_test(a_state_is_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
