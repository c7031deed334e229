/* tests/test_segment.c - a process' share of the bundled model: what its caches take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/memory.h"
#include "daemon/segment.h"
#include "engine/kv_layers.h"
#include "engine/kv_rows.h"

#define CONTEXT 512u

/* Layers [0, 4) of 8; a budget of 0: plenty. */
static int try_front(struct segment *s, uint64_t budget_bytes, uint64_t reserve_bytes,
		     struct err *e)
{
	const char *root = getenv("SPLITMQ_ROOT");
	char path[512];

	snprintf(path, sizeof(path), "%s/models/gateway.gguf", root ? root : ".");
	return segment_open(s,
			    &(struct segment_conf){ .path = path,
						    .kv = "q4_0",
						    .last = 4,
						    .embed = true,
						    .threads = 1,
						    .max_rows = 16,
						    .context_tokens = CONTEXT,
						    .memory_budget_bytes = budget_bytes,
						    .memory_reserve_bytes = reserve_bytes },
			    e);
}

static void open_front(struct segment *s, uint64_t budget_bytes)
{
	struct err e = { 0 };

	if (try_front(s, budget_bytes, 0, &e))
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

/* 8 heads of 32 that meet a key and a value, of 589824 numbers in a layer's matrices. */
static void attention_to_a_position_is_a_share_of_a_layer(void **state)
{
	struct segment s;

	(void)state;
	open_front(&s, 1u << 30);
	assert_true(fabs(segment_attention_work(&s.hp) - 512.0 / 589824) < 1e-9);
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
	assert_int_equal(s.weight_bytes, segment_weight_bytes(&s, 0, 6, false, false));
	segment_close(&s);
}

static void what_is_too_large_in_f32_may_fit_in_q4_0(void **state)
{
	struct kv *kv = NULL;
	struct segment s;
	struct err e = { 0 };
	char most[64];

	(void)state;
	open_front(&s, 1u << 30);
	s.budget.limit_bytes = s.budget.booked_bytes + kv_bytes(&s.hp, 4, CONTEXT, KV_Q4_0);
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

/* What is missing, and the longest context, in a sentence of segment_open. */
static void read_refusal(const struct err *e, unsigned long long *missing, unsigned *most)
{
	const char *at = strstr(e->text, "does not fit: ");

	assert_non_null(at);
	assert_int_equal(sscanf(at, "does not fit: %llu bytes more than", missing), 1);
	at = strstr(e->text, "(at most ");
	assert_non_null(at);
	assert_int_equal(sscanf(at, "(at most %u tokens", most), 1);
}

static void a_refusal_names_what_would_be_enough(void **state)
{
	unsigned long long missing, missing_then;
	struct segment s;
	struct err e = { 0 };
	unsigned most;

	(void)state;
	assert_int_equal(try_front(&s, 1 << 20, 0, &e), ERR_LIMIT);
	read_refusal(&e, &missing, &most);
	assert_non_null(strstr(e.text, "the memory budget"));
	assert_int_equal(most, 0);
	/* a second process image is a little larger than the first, and then it fits */
	assert_int_equal(try_front(&s, (1 << 20) + missing + (1 << 20), 0, &e), 0);
	segment_close(&s);
	assert_int_equal(try_front(&s, (1 << 20) + missing / 2, 0, &e), ERR_LIMIT);
	read_refusal(&e, &missing_then, &most);
	assert_true(missing_then < missing);
}

static void what_is_left_to_others_counts(void **state)
{
	struct segment s;
	struct err e = { 0 };
	unsigned long long missing;
	unsigned most;

	(void)state;
	assert_int_equal(try_front(&s, 1u << 30, UINT64_C(1) << 60, &e), ERR_LIMIT);
	read_refusal(&e, &missing, &most);
	assert_non_null(strstr(e.text, "the memory that is available"));
	assert_true(missing > UINT64_C(1) << 59);
}

/* The other sessions' bytes count for a session, not for the question what could be at all. */
static void a_session_alone_has_the_room_of_all(void **state)
{
	const struct segment_ask ask = { .last = 4, .context_tokens = CONTEXT, .kv = KV_F16 };
	struct room_answer now, alone;
	struct segment s;
	struct kv *kv;

	(void)state;
	open_front(&s, 1u << 30);
	s.budget.limit_bytes = s.budget.booked_bytes + kv_bytes(&s.hp, 4, CONTEXT, KV_F16) + 100;
	assert_int_equal(segment_begin(&s, &kv, 0, 4, CONTEXT, KV_F16, NULL), 0);
	segment_book(&s, 90);
	segment_judge(&s, &ask, false, &now);
	segment_judge(&s, &ask, true, &alone);
	assert_int_equal(now.missing_bytes, now.need_bytes - 10);
	assert_int_equal(now.most_tokens, 0);
	assert_int_equal(alone.missing_bytes, 0);
	assert_int_equal(alone.most_tokens, CONTEXT);
	segment_unbook(&s, 90);
	segment_end(&s, kv);
	segment_close(&s);
}

/* What a session has given up, or has in another form, is not taken for its own. */
static void a_cache_that_changes_is_counted_as_it_is(void **state)
{
	struct kv *kv, *other;
	struct segment s;

	(void)state;
	open_front(&s, 1u << 30);
	assert_int_equal(segment_begin(&s, &kv, 0, 4, CONTEXT, KV_F16, NULL), 0);
	assert_int_equal(s.sessions_bytes, kv_bytes(&s.hp, 4, CONTEXT, KV_F16));
	assert_int_equal(kv_layers_keep(kv, 0, 1), 0);
	segment_resized(&s, kv);
	assert_int_equal(s.sessions_bytes, kv_bytes(&s.hp, 1, CONTEXT, KV_F16));
	assert_int_equal(kv_rows_like(&other, kv, &s.hp, KV_Q8_0), 0);
	segment_added(&s, other);
	assert_int_equal(s.sessions_bytes, kv_bytes(&s.hp, 1, CONTEXT, KV_F16) +
						   kv_bytes(&s.hp, 1, CONTEXT, KV_Q8_0));
	segment_end(&s, kv);
	assert_int_equal(s.sessions_bytes, kv_bytes(&s.hp, 1, CONTEXT, KV_Q8_0));
	segment_end(&s, other);
	assert_int_equal(s.sessions_bytes, 0);
	segment_close(&s);
}

/* Sanitizers keep shadows of everything. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EXACT false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define EXACT false
#endif
#endif
#ifndef EXACT
#define EXACT true
#endif

/* What was booked is what the process then has in memory, within 5 % (and 512 KiB, for so small a
 * model). */
static void bookings_are_what_the_process_takes(void **state)
{
	uint32_t ids[16] = { 0 };
	uint64_t got, booked;
	struct segment s;
	struct err e = { 0 };
	struct kv *kv;

	(void)state;
	if (!EXACT)
		skip();
	open_front(&s, 1u << 30);
	assert_int_equal(segment_begin(&s, &kv, 0, 8, CONTEXT, KV_F32, &e), 0);
	for (uint32_t pos = 0; pos < CONTEXT; pos += 16) {
		assert_int_equal(model_embed(s.model, ids, 16, s.x), 0);
		assert_int_equal(segment_forward(&s, kv, pos, 16, 0, NULL, &e), 0);
	}
	got = memory_resident_bytes();
	booked = s.budget.booked_bytes;
	print_message("booked %llu, resident %llu\n", (unsigned long long)booked,
		      (unsigned long long)got);
	assert_in_range(got, booked - booked / 20 - (512 << 10),
			booked + booked / 20 + (512 << 10));
	segment_end(&s, kv);
	segment_close(&s);
}

/* No token waits for the kernel to find a page, and what is booked is what is taken. */
static void buffers_are_in_memory_before_the_first_row(void **state)
{
	const char *root = getenv("SPLITMQ_ROOT");
	struct segment_conf c = { .kv = "f16",
				  .embed = true,
				  .threads = 1,
				  .max_rows = 8192, /* far more than weights and files take */
				  .context_tokens = CONTEXT };
	char path[512];
	struct segment s;
	struct err e = { 0 };
	uint64_t before, grown;

	(void)state;
	if (!EXACT)
		skip();
#ifdef M_PERTURB
	(void)mallopt(M_PERTURB, 0); /* else malloc writes to all that it gives */
#endif
	snprintf(path, sizeof(path), "%s/models/gateway.gguf", root ? root : ".");
	c.path = path;
	before = memory_resident_bytes();
	if (segment_open(&s, &c, &e))
		fail_msg("%s", e.text);
	grown = memory_resident_bytes() - before;
	assert_true(s.scratch_bytes > 64u << 20);
	assert_true(grown > s.scratch_bytes / 4 * 3); /* the codec's are the owner's */
	segment_close(&s);
}

/* What is in memory and not booked comes to light; what is booked stays so. */
static void weighing_again_books_what_is_in_memory(void **state)
{
	struct segment s;
	uint64_t booked, base, resident;

	(void)state;
	open_front(&s, 1u << 30);
	booked = s.budget.booked_bytes += 1u << 29; /* more than this process has */
	segment_settle(&s);
	assert_int_equal(s.budget.booked_bytes, booked);
	s.budget.booked_bytes = 1u << 20;
	base = s.base_bytes;
	segment_settle(&s);
	resident = memory_resident_bytes();
	if (resident)
		assert_in_range(s.budget.booked_bytes, resident - (1u << 20), resident);
	assert_int_equal(s.base_bytes - base, s.budget.booked_bytes - (1u << 20));
	segment_close(&s);
}

/* 16 rows of a session through all layers -> x [16][d], freed by the caller. */
static float *run(struct segment *s)
{
	const size_t bytes = 16 * s->hp.dim * sizeof(float);
	float *x = malloc(bytes);
	uint32_t ids[16];
	struct err e = { 0 };
	struct kv *kv;

	assert_non_null(x);
	for (uint32_t i = 0; i < 16; i++)
		ids[i] = 3 * i;
	assert_int_equal(segment_begin(s, &kv, 0, 8, CONTEXT, KV_F32, &e), 0);
	assert_int_equal(model_embed(s->model, ids, 16, s->x), 0);
	assert_int_equal(segment_forward(s, kv, 0, 16, 0, NULL, &e), 0);
	memcpy(x, s->x, bytes);
	segment_end(s, kv);
	return x;
}

static void weights_that_were_given_back_come_again(void **state)
{
	struct segment s;
	uint64_t expected, resident;
	float *x[3];

	(void)state;
	open_front(&s, 1u << 30);
	expected = s.budget.booked_bytes;
	x[0] = run(&s);
	assert_true(s.budget.booked_bytes > expected);
	segment_release(&s, (struct segment_range){ 0, 4, false });
	assert_int_equal(s.budget.booked_bytes, expected);
	assert_false(s.held.head);
	x[1] = run(&s);
	resident = memory_resident_bytes();
	segment_release(&s, (struct segment_range){ 0 });
	assert_int_equal(s.weight_bytes, 0);
	assert_int_equal(s.budget.booked_bytes,
			 expected - segment_weight_bytes(&s, 0, 4, false, false));
	if (EXACT)
		assert_true(resident - memory_resident_bytes() >
			    segment_weight_bytes(&s, 0, 8, false, false) * 3 / 4);
	x[2] = run(&s);
	assert_int_equal(s.weight_bytes, segment_weight_bytes(&s, 0, 8, false, true));
	for (unsigned i = 1; i < 3; i++)
		assert_memory_equal(x[i], x[0], 16 * s.hp.dim * sizeof(float));
	for (unsigned i = 0; i < 3; i++)
		free(x[i]);
	segment_close(&s);
}

/* What the owner has elsewhere is neither asked for nor booked. */
static void layers_that_are_lent_whole_take_nothing(void **state)
{
	const struct segment_ask ask = { .last = 4, .context_tokens = 8, .kv = KV_F16 };
	struct room_answer a;
	struct segment s;
	struct kv *kv;

	(void)state;
	open_front(&s, 1u << 30);
	segment_release(&s, (struct segment_range){ 0 });
	segment_judge(&s, &ask, false, &a);
	assert_int_equal(a.need_bytes, segment_weight_bytes(&s, 0, 4, false, false) +
					       kv_bytes(&s.hp, 4, 8, KV_F16));
	s.lent_last = 4;
	s.lent_whole = true;
	segment_judge(&s, &ask, false, &a);
	assert_int_equal(a.need_bytes, kv_bytes(&s.hp, 4, 8, KV_F16));
	assert_int_equal(segment_begin(&s, &kv, 0, 4, 8, KV_F16, NULL), 0);
	assert_int_equal(s.weight_bytes, 0);
	segment_end(&s, kv);
	segment_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_is_charged_for_the_type_of_its_cache),
		cmocka_unit_test(attention_to_a_position_is_a_share_of_a_layer),
		cmocka_unit_test(layers_beyond_the_expected_ones_are_booked_once),
		cmocka_unit_test(what_is_too_large_in_f32_may_fit_in_q4_0),
		cmocka_unit_test(a_refusal_names_what_would_be_enough),
		cmocka_unit_test(what_is_left_to_others_counts),
		cmocka_unit_test(a_session_alone_has_the_room_of_all),
		cmocka_unit_test(a_cache_that_changes_is_counted_as_it_is),
		cmocka_unit_test(bookings_are_what_the_process_takes),
		cmocka_unit_test(buffers_are_in_memory_before_the_first_row),
		cmocka_unit_test(weighing_again_books_what_is_in_memory),
		cmocka_unit_test(weights_that_were_given_back_come_again),
		cmocka_unit_test(layers_that_are_lent_whole_take_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
