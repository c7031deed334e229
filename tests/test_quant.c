#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/rng.h"
#include "engine/quant.h"

#define ROW_MAX 2048 /* elements of the largest reference */

/* crc: CRC-32C of 8 blocks of random bytes (see random_blocks), dequantized by this code when it
 * was bit-equal to the conformance values; so that the layouts are pinned where those are
 * absent. */
static const struct {
	enum quant_type type;
	const char *name; /* and of the files NAME.raw, NAME.f32 */
	unsigned elements, bytes;
	uint32_t crc;
} types[] = {
	{ QUANT_F32, "F32", 1, 4, 0xc0b82802 },
	{ QUANT_F16, "F16", 1, 2, 0xc7485d11 },
	{ QUANT_Q4_0, "Q4_0", 32, 18, 0x8655ab38 },
	{ QUANT_Q4_1, "Q4_1", 32, 20, 0xb889ff36 },
	{ QUANT_Q5_0, "Q5_0", 32, 22, 0xddb8ec70 },
	{ QUANT_Q5_1, "Q5_1", 32, 24, 0x7b0d5954 },
	{ QUANT_Q8_0, "Q8_0", 32, 34, 0xd21b3840 },
	{ QUANT_Q2_K, "Q2_K", 256, 84, 0xda989272 },
	{ QUANT_Q3_K, "Q3_K", 256, 110, 0x275ad47a },
	{ QUANT_Q4_K, "Q4_K", 256, 144, 0xc250ec0d },
	{ QUANT_Q5_K, "Q5_K", 256, 176, 0xad16449f },
	{ QUANT_Q6_K, "Q6_K", 256, 210, 0x2d6354e1 },
	{ QUANT_IQ4_NL, "IQ4_NL", 32, 18, 0x18679153 },
	{ QUANT_IQ4_XS, "IQ4_XS", 256, 136, 0x10387b6f },
	{ QUANT_BF16, "BF16", 1, 2, 0x6889f18b },
};

#define N_TYPES (sizeof(types) / sizeof(types[0]))

static float float_of(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

/* The file NAME.EXT of the references; its length, or 0 when it is not there. */
static size_t read_reference(const char *name, const char *ext, void *dst, size_t cap)
{
	const char *given = getenv("SPLITMQ_CONFORMANCE"), *root = getenv("SPLITMQ_ROOT");
	char path[4096];
	size_t len;
	FILE *f;

	if (given)
		snprintf(path, sizeof(path), "%s/dequant/%s.%s", given, name, ext);
	else
		snprintf(path, sizeof(path), "%s/../shared/conformance/given/dequant/%s.%s",
			 root ? root : ".", name, ext);
	f = fopen(path, "rb");
	if (!f)
		return 0;
	len = fread(dst, 1, cap, f);
	fclose(f);
	return len;
}

static void every_type_equals_the_reference_bit_for_bit(void **state)
{
	static uint8_t raw[ROW_MAX * 4];
	static float want[ROW_MAX], got[ROW_MAX + 1];
	unsigned seen = 0;

	(void)state;
	for (size_t i = 0; i < N_TYPES; i++) {
		size_t bytes = read_reference(types[i].name, "raw", raw, sizeof(raw));
		size_t n = bytes / types[i].bytes * types[i].elements;

		if (!bytes)
			continue;
		assert_int_equal(read_reference(types[i].name, "f32", want, sizeof(want)), 4 * n);
		got[n] = 12345;
		quant_dequant_row(types[i].type, raw, got, n);
		if (memcmp(got, want, 4 * n))
			fail_msg("%s differs from the reference", types[i].name);
		assert_true(got[n] == 12345);
		seen++;
	}
	if (!seen) {
		print_message("no conformance files (SPLITMQ_CONFORMANCE is not set)\n");
		skip();
	}
	assert_int_equal(seen, N_TYPES - 1); /* F32 has no reference and needs none */
}

static void random_blocks(uint8_t *raw, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		raw[i] = (uint8_t)rng_u64(seed, i);
}

static void the_layouts_stay_as_they_were_when_checked(void **state)
{
	uint8_t raw[8 * 210];
	float x[8 * 256];

	(void)state;
	for (size_t i = 0; i < N_TYPES; i++) {
		size_t n = 8 * types[i].elements;
		uint32_t crc;

		random_blocks(raw, 8 * types[i].bytes, types[i].type);
		quant_dequant_row(types[i].type, raw, x, n);
		for (size_t j = 0; j < n; j++) {
			if (isnan(x[j])) /* which NaN is up to the processor */
				x[j] = 0;
		}
		crc = crc32c(0, x, n * sizeof(x[0]));
		if (crc != types[i].crc)
			fail_msg("%s: CRC 0x%08x instead of 0x%08x", types[i].name, crc,
				 types[i].crc);
	}
}

static void a_block_is_read_at_any_address(void **state)
{
	uint8_t raw[2 * 210], moved[2 * 210 + 8];
	float want[512], got[512];

	(void)state;
	for (size_t i = 0; i < N_TYPES; i++) {
		size_t n = 2 * types[i].elements, bytes = 2 * types[i].bytes;

		random_blocks(raw, bytes, 99);
		quant_dequant_row(types[i].type, raw, want, n);
		for (size_t shift = 1; shift < 8; shift++) {
			memcpy(moved + shift, raw, bytes);
			quant_dequant_row(types[i].type, moved + shift, got, n);
			assert_memory_equal(got, want, n * sizeof(got[0]));
		}
	}
}

/* Each case can be worked out by hand: factors of 1 (0x3c00) and few codes. */
static void small_blocks_are_what_the_format_says(void **state)
{
	uint8_t q4[18] = { 0x00, 0x3c, 0xf0 }; /* d = 1, element 0: code 0, element 16: code 15 */
	uint8_t q8[34] = { 0x00, 0x38, 0x80, 0x7f };      /* d = 0.5, codes -128, 127 */
	uint8_t q6[210] = { [208] = 0x00, [209] = 0x3c }; /* d = 1, all scales 0 but one */
	float x[256];

	(void)state;
	quant_dequant_row(QUANT_Q4_0, q4, x, 32);
	assert_true(x[0] == -8 && x[16] == 7 && x[1] == -8 && x[31] == -8);
	quant_dequant_row(QUANT_Q8_0, q8, x, 32);
	assert_true(x[0] == -64 && x[1] == 63.5f && x[2] == 0);
	q6[192 + 15] = 0xff; /* scale -1 of the last sixteen */
	q6[127] = 0xf0;      /* low bits of the last element: 15 */
	q6[191] = 0x80;      /* high bits: 2, together 47 */
	quant_dequant_row(QUANT_Q6_K, q6, x, 256);
	assert_true(x[255] == -15 && x[254] == 32 && x[239] == 0);
}

static void the_table_of_types_is_that_of_the_format(void **state)
{
	unsigned known = 0;

	(void)state;
	for (size_t i = 0; i < N_TYPES; i++) {
		assert_string_equal(quant_name(types[i].type), types[i].name);
		assert_int_equal(quant_block_elements(types[i].type), types[i].elements);
		assert_int_equal(quant_block_bytes(types[i].type), types[i].bytes);
		assert_int_equal(quant_row_bytes(types[i].type, 512),
				 512 / types[i].elements * types[i].bytes);
	}
	for (unsigned number = 0; number < 70000; number++) {
		if (quant_name(number))
			known++;
		else
			assert_int_equal(quant_block_elements(number) + quant_block_bytes(number),
					 0);
	}
	assert_int_equal(known, N_TYPES);
	assert_null(quant_name(UINT32_MAX));
}

static void every_half_comes_back(void **state)
{
	(void)state;
	for (uint32_t h = 0; h < 0x10000; h++) {
		float f = quant_f16_to_f32((uint16_t)h);

		if ((h & 0x7c00) == 0x7c00 && h & 0x3ff) /* NaN; a quiet bit may be added */
			assert_true(isnan(f) && isnan(quant_f16_to_f32(quant_f32_to_f16(f))));
		else
			assert_int_equal(quant_f32_to_f16(f), h);
	}
}

static void a_half_has_the_value_of_its_fields(void **state)
{
	(void)state;
	for (uint16_t h = 0; h < 0x7c00; h++) {
		int exponent = h >> 10, mantissa = h & 0x3ff;
		double want =
			exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);

		assert_true(quant_f16_to_f32(h) == want);
		assert_true(quant_f16_to_f32(h | 0x8000) == -want);
	}
	assert_true(signbit(quant_f16_to_f32(0x8000)));
	assert_true(quant_f16_to_f32(0x7c00) == INFINITY && quant_f16_to_f32(0xfc00) == -INFINITY);
}

/* Around the middle of each two neighbours: below goes down, above goes up, the middle goes to
 * even. */
static void floats_round_to_the_nearest_half_ties_to_even(void **state)
{
	(void)state;
	for (uint16_t h = 0; h < 0x7bff; h++) {
		float middle = (quant_f16_to_f32(h) + quant_f16_to_f32(h + 1)) / 2;
		uint16_t even = h & 1 ? h + 1 : h;

		assert_int_equal(quant_f32_to_f16(middle), even);
		assert_int_equal(quant_f32_to_f16(-middle), even | 0x8000);
		assert_int_equal(quant_f32_to_f16(nextafterf(middle, 0)), h);
		assert_int_equal(quant_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
	}
}

static void floats_beyond_the_halves_are_infinite_zero_or_nan(void **state)
{
	(void)state;
	assert_int_equal(quant_f32_to_f16(nextafterf(65520, 0)), 0x7bff);
	assert_int_equal(quant_f32_to_f16(65520), 0x7c00);
	assert_int_equal(quant_f32_to_f16(-3e38f), 0xfc00);
	assert_int_equal(quant_f32_to_f16(INFINITY), 0x7c00);
	assert_int_equal(quant_f32_to_f16(0x1p-26f), 0);
	assert_int_equal(quant_f32_to_f16(-0x1p-149f), 0x8000);
	for (uint32_t payload = 1; payload < 1u << 23; payload <<= 1)
		assert_true(
			isnan(quant_f16_to_f32(quant_f32_to_f16(float_of(0x7f800000 | payload)))));
	assert_true(quant_bf16_to_f32(0x3f80) == 1 && quant_bf16_to_f32(0xc040) == -3);
	assert_true(isnan(quant_bf16_to_f32(0x7fc0)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_equals_the_reference_bit_for_bit),
		cmocka_unit_test(the_layouts_stay_as_they_were_when_checked),
		cmocka_unit_test(a_block_is_read_at_any_address),
		cmocka_unit_test(small_blocks_are_what_the_format_says),
		cmocka_unit_test(the_table_of_types_is_that_of_the_format),
		cmocka_unit_test(every_half_comes_back),
		cmocka_unit_test(a_half_has_the_value_of_its_fields),
		cmocka_unit_test(floats_round_to_the_nearest_half_ties_to_even),
		cmocka_unit_test(floats_beyond_the_halves_are_infinite_zero_or_nan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
