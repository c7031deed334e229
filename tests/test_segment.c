/* tests/test_segment.c - a process' share of the bundled model: what its caches take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/segment.h"

#define CONTEXT 512u

/* Layers [0, 4) of 8; a budget of 0: plenty. */
static void open_front(struct segment *s, uint64_t budget_bytes)
{
	const char *root = getenv("SPLITMQ_ROOT");
	struct err e = { 0 };
	char path[512];

	snprintf(path, sizeof(path), "%s/models/gateway.gguf", root ? root : ".");
	if (segment_open(s,
			 &(struct segment_conf){ .path = path,
						 .kv = "q4_0",
						 .last = 4,
						 .embed = true,
						 .threads = 1,
						 .max_rows = 16,
						 .context_tokens = CONTEXT,
						 .memory_budget_bytes = budget_bytes },
			 &e))
		fail_msg("%s", e.text);
}

static void a_session_is_charged_for_the_type_of_its_cache(void **state)
{
	struct kv *kv[KV_TYPE_COUNT];
	struct segment s;
	uint64_t empty;

	(void)state;
	open_front(&s, 1u << 30);
	empty = s.budget.booked_bytes;
	for (unsigned i = 0; i < KV_TYPE_COUNT; i++) {
		uint64_t before = s.budget.booked_bytes;
		size_t bytes = kv_bytes(&s.hp, 4, CONTEXT, (enum kv_type)i);

		assert_int_equal(segment_begin(&s, &kv[i], 0, 4, CONTEXT, (enum kv_type)i, NULL),
				 0);
		assert_int_equal(s.budget.booked_bytes - before, bytes);
	}
	for (unsigned i = 0; i < KV_TYPE_COUNT; i++)
		segment_end(&s, kv[i]);
	segment_end(&s, NULL);
	assert_int_equal(s.budget.booked_bytes, empty);
	segment_close(&s);
}

/* Weights stay in memory once they have run, so they are booked for good; those of layers that a
 * session before had are not booked twice. */
static void layers_beyond_the_expected_ones_are_booked_once(void **state)
{
	struct kv *kv[2] = { NULL, NULL };
	struct segment s;
	uint64_t empty;
	size_t more;

	(void)state;
	open_front(&s, 1u << 30);
	empty = s.budget.booked_bytes;
	more = segment_weight_bytes(&s, 0, 6, true, false) -
	       segment_weight_bytes(&s, 0, 4, true, false);
	assert_true(more > 0);
	assert_int_equal(segment_begin(&s, &kv[0], 4, 6, CONTEXT, KV_F16, NULL), 0);
	assert_int_equal(segment_begin(&s, &kv[1], 3, 6, CONTEXT, KV_F16, NULL), 0);
	segment_end(&s, kv[0]);
	segment_end(&s, kv[1]);
	assert_int_equal(s.budget.booked_bytes, empty + more);
	assert_int_equal(s.weight_bytes, segment_weight_bytes(&s, 0, 6, true, false));
	segment_close(&s);
}

static void what_is_too_large_in_f32_may_fit_in_q4_0(void **state)
{
	struct kv *kv = NULL;
	struct segment s;
	struct err e = { 0 };
	size_t coarse;
	uint64_t used;
	char most[64];

	(void)state;
	open_front(&s, 1u << 30);
	coarse = kv_bytes(&s.hp, 4, CONTEXT, KV_Q4_0);
	used = s.budget.booked_bytes;
	segment_close(&s);
	open_front(&s, used + coarse);
	assert_int_equal(segment_begin(&s, &kv, 0, 4, CONTEXT, KV_F32, &e), ERR_LIMIT);
	assert_non_null(strstr(e.text, "512 tokens in f32 "));
	/* 18 bytes instead of 128 for 32 elements */
	snprintf(most, sizeof(most), "at most %u tokens", CONTEXT * 18 / 128);
	assert_non_null(strstr(e.text, most));
	assert_int_equal(segment_begin(&s, &kv, 0, 4, CONTEXT, KV_Q4_0, &e), 0);
	assert_int_equal(s.budget.booked_bytes, s.budget.limit_bytes);
	segment_end(&s, kv);
	segment_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_is_charged_for_the_type_of_its_cache),
		cmocka_unit_test(layers_beyond_the_expected_ones_are_booked_once),
		cmocka_unit_test(what_is_too_large_in_f32_may_fit_in_q4_0),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
