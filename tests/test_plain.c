#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/le.h"
#include "base/rng.h"
#include "codec/plain.h"

#define DIM  37 /* no multiple of any vector width */
#define ROWS 5

/* Rows whose sizes spread over many powers of two, as hidden states do. */
static void make_rows(float *x, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++) {
		double size = exp2(24 * rng_unit(seed, 2 * i) - 12);

		x[i] = (float)(size * (2 * rng_unit(seed, 2 * i + 1) - 1));
	}
}

static void round_trip(enum plain_id id, const float *x, float *y, size_t dim, size_t rows)
{
	size_t cap = plain_bound(id, dim, rows), len = 0;
	uint8_t *coded = malloc(cap);
	struct err e;

	assert_non_null(coded);
	if (plain_encode(id, x, dim, rows, coded, cap, &len, &e))
		fail_msg("%s", e.text);
	assert_true(len <= cap);
	if (plain_decode(id, coded, len, dim, rows, y, &e))
		fail_msg("%s", e.text);
	free(coded);
}

static void f32_changes_no_bit(void **state)
{
	float x[ROWS * DIM], y[ROWS * DIM];

	(void)state;
	make_rows(x, ROWS * DIM, 1);
	x[0] = -0.0f;
	x[1] = FLT_MAX;
	x[2] = -FLT_TRUE_MIN;
	round_trip(PLAIN_F32, x, y, DIM, ROWS);
	assert_memory_equal(x, y, sizeof(x));
}

/* Half of the distance between neighbours: 2^-11 relative, 2^-25 where halves are subnormal. */
static void f16_is_within_half_a_step(void **state)
{
	float x[ROWS * DIM], y[ROWS * DIM];

	(void)state;
	make_rows(x, ROWS * DIM, 2);
	round_trip(PLAIN_F16, x, y, DIM, ROWS);
	for (size_t i = 0; i < ROWS * DIM; i++)
		assert_true(fabsf(y[i] - x[i]) <= fmaxf(fabsf(x[i]) * 0x1p-11f, 0x1p-25f));
}

/* Half of the row's scale, plus the rounding of the scale itself and of quotient and product. */
static void q8_is_within_half_a_step_of_each_row(void **state)
{
	float x[ROWS * DIM], y[ROWS * DIM];

	(void)state;
	make_rows(x, ROWS * DIM, 3);
	round_trip(PLAIN_Q8, x, y, DIM, ROWS);
	for (size_t r = 0; r < ROWS; r++) {
		float most = 0;

		for (size_t i = r * DIM; i < (r + 1) * DIM; i++)
			most = fmaxf(most, fabsf(x[i]));
		for (size_t i = r * DIM; i < (r + 1) * DIM; i++)
			assert_true(fabsf(y[i] - x[i]) <= most / 254 + 4 * FLT_EPSILON * most);
	}
}

static void q8_rounds_ties_to_even(void **state)
{
	const float x[8] = { 127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f };
	const float want[8] = { 127, 0, 2, 2, 0, -2, -2, 126 };
	float y[8];

	(void)state;
	round_trip(PLAIN_Q8, x, y, 8, 1);
	for (size_t i = 0; i < 8; i++)
		assert_true(y[i] == want[i]);
}

static void a_row_of_zeros_or_of_next_to_nothing_becomes_zeros(void **state)
{
	const float x[3 * 2] = { 0, -0.0f, FLT_TRUE_MIN, -FLT_MIN, 127 * FLT_MIN, 0 };
	float y[3 * 2];

	(void)state;
	round_trip(PLAIN_Q8, x, y, 2, 3);
	for (size_t i = 0; i < 4; i++)
		assert_true(y[i] == 0);
	assert_true(y[4] == 127 * FLT_MIN);
}

static void encode_refused(enum plain_id id, float bad, const char *why)
{
	float x[3 * 4] = { 0 };
	uint8_t dst[64], before[64];
	size_t len = 77;
	struct err e;

	x[2 * 4 + 1] = bad;
	memset(dst, 0xa5, sizeof(dst));
	memcpy(before, dst, sizeof(dst));
	assert_int_equal(plain_encode(id, x, 4, 3, dst, sizeof(dst), &len, &e), ERR_NOT_FINITE);
	if (!strstr(e.text, "row 2, element 1") || !strstr(e.text, why))
		fail_msg("\"%s\" does not name row, element and \"%s\"", e.text, why);
	assert_memory_equal(dst, before, sizeof(dst));
	assert_int_equal(len, 77);
}

static void what_no_plain_can_carry_is_refused_by_row_and_element(void **state)
{
	(void)state;
	for (unsigned id = 0; id < PLAIN_COUNT; id++) {
		encode_refused((enum plain_id)id, NAN, "nan");
		encode_refused((enum plain_id)id, INFINITY, "inf");
		encode_refused((enum plain_id)id, -INFINITY, "-inf");
	}
	encode_refused(PLAIN_F16, 65520, "f16");
	encode_refused(PLAIN_F16, -65520, "f16");
}

static void the_largest_values_survive(void **state)
{
	float x[2] = { 65519.99f, -65504 }, y[2];

	(void)state;
	round_trip(PLAIN_F16, x, y, 2, 1);
	assert_true(y[0] == 65504 && y[1] == -65504);
	/* either carried or refused by the encoder; never sent in a form that cannot be decoded */
	for (float v = FLT_MAX; v > FLT_MAX * 0.9999999f; v = nextafterf(v, 0)) {
		uint8_t coded[16];
		size_t len;
		int rc;

		x[0] = v;
		x[1] = -v;
		rc = plain_encode(PLAIN_Q8, x, 2, 1, coded, sizeof(coded), &len, NULL);
		if (!rc)
			rc = plain_decode(PLAIN_Q8, coded, len, 2, 1, y, NULL);
		else
			assert_int_equal(rc, ERR_NOT_FINITE);
		assert_true(rc == ERR_NOT_FINITE || (rc == 0 && isfinite(y[0])));
	}
	x[0] = FLT_MAX / 2;
	round_trip(PLAIN_Q8, x, y, 2, 1);
}

static void a_buffer_that_is_too_small_is_refused(void **state)
{
	float x[2 * 3] = { 0 };
	uint8_t dst[64];
	size_t len;

	(void)state;
	for (unsigned id = 0; id < PLAIN_COUNT; id++) {
		enum plain_id spec = (enum plain_id)id;
		size_t bound = plain_bound(spec, 3, 2);

		assert_int_equal(plain_encode(spec, x, 3, 2, dst, bound - 1, &len, NULL),
				 ERR_LIMIT);
		assert_int_equal(plain_encode(spec, x, 3, 2, dst, bound, &len, NULL), 0);
		assert_int_equal(len, bound);
	}
}

static void claims_that_do_not_match_the_bytes_are_refused(void **state)
{
	uint8_t src[256] = { 0 };
	float x[64];

	(void)state;
	for (unsigned id = 0; id < PLAIN_COUNT; id++) {
		size_t len = plain_bound((enum plain_id)id, 4, 3);

		memset(src, id == PLAIN_Q4 ? 0x88 : 0, sizeof(src));
		for (unsigned r = 0; id == PLAIN_Q4 && r < 3; r++)
			le_put32(src + r * (len / 3), 0);
		assert_int_equal(plain_decode(id, src, len, 4, 3, x, NULL), 0);
		assert_int_equal(plain_decode(id, src, len - 1, 4, 3, x, NULL), ERR_FORMAT);
		assert_int_equal(plain_decode(id, src, len + 1, 4, 3, x, NULL), ERR_FORMAT);
		assert_int_equal(plain_decode(id, src, len, 4, 2, x, NULL), ERR_FORMAT);
		assert_int_equal(plain_decode(id, src, 0, 4, 0, x, NULL), ERR_FORMAT);
		assert_int_equal(plain_decode(id, src, len, 0, 3, x, NULL), ERR_FORMAT);
		assert_int_equal(plain_decode(id, src, len, SIZE_MAX / 2 + 1, 2, x, NULL),
				 ERR_FORMAT);
		assert_int_equal(plain_decode(id, src, len, 4, SIZE_MAX / 4, x, NULL), ERR_FORMAT);
	}
	assert_int_equal(plain_decode(PLAIN_COUNT, src, 12, 4, 3, x, NULL), ERR_UNSUPPORTED);
	assert_int_equal(plain_decode(255, src, 12, 4, 3, x, NULL), ERR_UNSUPPORTED);
}

static int decode_q8(uint32_t scale_bits, int8_t q)
{
	uint8_t src[4 + 2] = { 0 };
	float x[2];

	le_put32(src, scale_bits);
	src[5] = (uint8_t)q;
	return plain_decode(PLAIN_Q8, src, sizeof(src), 2, 1, x, NULL);
}

static void bytes_that_no_encoder_writes_are_refused(void **state)
{
	float x[1];
	uint8_t nan32[4], inf16[2];

	(void)state;
	assert_int_equal(decode_q8(0x3f800000u, 5), 0);
	assert_int_equal(decode_q8(0x3f800000u, -128), ERR_FORMAT);
	assert_int_equal(decode_q8(0xbf800000u, 5), ERR_FORMAT);     /* negative */
	assert_int_equal(decode_q8(0x80000000u, 0), ERR_FORMAT);     /* minus zero */
	assert_int_equal(decode_q8(0x00000001u, 5), ERR_FORMAT);     /* subnormal */
	assert_int_equal(decode_q8(0x7f800000u, 0), ERR_NOT_FINITE); /* infinity */
	assert_int_equal(decode_q8(0x7fc00000u, 0), ERR_NOT_FINITE); /* NaN */
	assert_int_equal(decode_q8(0x7f7fffffu, 2), ERR_NOT_FINITE); /* overflows */
	le_put32(nan32, 0x7fc00000u);
	assert_int_equal(plain_decode(PLAIN_F32, nan32, 4, 1, 1, x, NULL), ERR_NOT_FINITE);
	le_put16(inf16, 0xfc00u);
	assert_int_equal(plain_decode(PLAIN_F16, inf16, 2, 1, 1, x, NULL), ERR_NOT_FINITE);
}

/* A seventh of the largest is the step of q4; half of it, and rounding. */
static void q4_is_within_half_a_step_of_each_row(void **state)
{
	float x[ROWS * DIM], y[ROWS * DIM];

	(void)state;
	make_rows(x, ROWS * DIM, 4);
	round_trip(PLAIN_Q4, x, y, DIM, ROWS);
	for (size_t r = 0; r < ROWS; r++) {
		float most = 0;

		for (size_t i = r * DIM; i < (r + 1) * DIM; i++)
			most = fmaxf(most, fabsf(x[i]));
		for (size_t i = r * DIM; i < (r + 1) * DIM; i++)
			assert_true(fabsf(y[i] - x[i]) <= most / 14 + 4 * FLT_EPSILON * most);
	}
}

static void every_half_survives_the_way_through_a_float(void **state)
{
	(void)state;
	for (uint32_t h = 0; h < 65536; h++) {
		float f = half_to_f32((uint16_t)h);

		if (isnan(f))
			assert_true((half_from_f32(f) & 0x7fffu) > 0x7c00u);
		else
			assert_int_equal(half_from_f32(f), h);
	}
	assert_true(half_to_f32(1) == 0x1p-24f);
	assert_true(half_to_f32(0x7bff) == 65504);
}

/* Between two neighbours: the middle goes to the even one, the floats beside it to the nearer. */
static void a_float_becomes_the_nearest_half(void **state)
{
	(void)state;
	for (uint16_t h = 0; h < 0x7bff; h++) {
		uint16_t up = (uint16_t)(h + 1), even = h & 1 ? up : h;
		float middle = (half_to_f32(h) + half_to_f32(up)) / 2; /* exact */

		assert_int_equal(half_from_f32(middle), even);
		assert_int_equal(half_from_f32(-middle), even | 0x8000);
		assert_int_equal(half_from_f32(nextafterf(middle, 0)), h);
		assert_int_equal(half_from_f32(nextafterf(middle, INFINITY)), up);
	}
	assert_int_equal(half_from_f32(nextafterf(65520, 0)), 0x7bff);
	assert_int_equal(half_from_f32(65520), 0x7c00);
	assert_int_equal(half_from_f32(INFINITY), 0x7c00);
	assert_int_equal(half_from_f32(FLT_TRUE_MIN), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(f32_changes_no_bit),
		cmocka_unit_test(f16_is_within_half_a_step),
		cmocka_unit_test(q8_is_within_half_a_step_of_each_row),
		cmocka_unit_test(q8_rounds_ties_to_even),
		cmocka_unit_test(q4_is_within_half_a_step_of_each_row),
		cmocka_unit_test(a_row_of_zeros_or_of_next_to_nothing_becomes_zeros),
		cmocka_unit_test(what_no_plain_can_carry_is_refused_by_row_and_element),
		cmocka_unit_test(the_largest_values_survive),
		cmocka_unit_test(a_buffer_that_is_too_small_is_refused),
		cmocka_unit_test(claims_that_do_not_match_the_bytes_are_refused),
		cmocka_unit_test(bytes_that_no_encoder_writes_are_refused),
		cmocka_unit_test(every_half_survives_the_way_through_a_float),
		cmocka_unit_test(a_float_becomes_the_nearest_half),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
