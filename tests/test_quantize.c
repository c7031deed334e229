#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/rng.h"
#include "engine/quantize.h"

#define N 4096 /* a row: 16 super-blocks */

enum shape { GAUSS, LAPLACE, HEAVY, SHAPES };

/* nmse: most that error^2 / signal^2 may be, by shape; measured, and 2 % on top. For the Gaussian
 * compare 6 dB a bit: -21.8 dB of Q4_0 is 3.6 bits' worth of a code without entropy stage.
 * gain: error against rounding to nearest (naive, below), at most, on any shape.
 * crc: of the encoded bytes of one fixed row; see QUANTIZE_VERSION. */
static const struct {
	enum quant_type type;
	double nmse[SHAPES];
	double gain;
	unsigned sub; /* elements under one scale; 0: plain */
	int lo, hi;
	int scale_hi; /* of the few-bit scales; 0: f16 scales */
	uint32_t crc;
} types[] = {
	{ QUANT_F16, { 4.5e-08, 4.4e-08, 4.9e-08 }, 1.00, 0, 0, 0, 0, 0x282a8a1d },
	{ QUANT_BF16, { 2.8e-06, 2.8e-06, 3.0e-06 }, 1.00, 0, 0, 0, 0, 0xecae8b6a },
	{ QUANT_Q8_0, { 2.4e-05, 3.7e-05, 5.3e-05 }, 0.90, 32, -127, 127, 0, 0xac8eb872 },
	{ QUANT_Q6_K, { 2.8e-04, 4.2e-04, 5.4e-04 }, 0.85, 16, -32, 31, 127, 0xa35424a0 },
	{ QUANT_Q5_K, { 1.3e-03, 1.7e-03, 1.9e-03 }, 0.83, 32, 0, 31, 63, 0xccacbadb },
	{ QUANT_Q5_1, { 1.2e-03, 1.6e-03, 1.8e-03 }, 0.82, 32, 0, 31, 0, 0xb7098e17 },
	{ QUANT_Q5_0, { 1.7e-03, 2.7e-03, 3.6e-03 }, 0.95, 32, -16, 15, 0, 0x1286b8cb },
	{ QUANT_Q4_K, { 5.1e-03, 7.0e-03, 7.8e-03 }, 0.82, 32, 0, 15, 63, 0xc1be9354 },
	{ QUANT_Q4_1, { 5.1e-03, 6.9e-03, 7.7e-03 }, 0.82, 32, 0, 15, 0, 0xc5b8cbbe },
	{ QUANT_Q4_0, { 7.0e-03, 1.1e-02, 1.5e-02 }, 0.96, 32, -8, 7, 0, 0x2c332c58 },
	{ QUANT_Q3_K, { 2.2e-02, 3.0e-02, 3.6e-02 }, 0.93, 16, -4, 3, 31, 0xff4432f3 },
	{ QUANT_Q2_K, { 6.9e-02, 8.6e-02, 8.9e-02 }, 0.65, 16, 0, 3, 15, 0x377a89f8 },
};

#define N_TYPES (sizeof(types) / sizeof(types[0]))

/* Rows as weights have them: around 0, of about 0.02. */
static void fill(float *x, size_t n, enum shape shape, uint64_t seed)
{
	for (size_t i = 0; i < n; i++) {
		double u = rng_unit(seed, 3 * i) + 1e-12, v = rng_unit(seed, 3 * i + 1);
		double gauss = sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
		double scale = sqrt(-log(rng_unit(seed, 3 * i + 2) + 1e-12));

		if (shape == LAPLACE)
			gauss = v < 0.5 ? log(u) : -log(u);
		else if (shape == HEAVY) /* now and then ten times as large */
			gauss /= scale + 0.1;
		x[i] = (float)(0.02 * gauss);
	}
}

static double error_of(const float *x, const float *y, const float *w, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (w ? (double)w[i] : 1) * ((double)x[i] - (double)y[i]) *
		       ((double)x[i] - (double)y[i]);
	return sum;
}

static double energy(const float *x, size_t n)
{
	static const float zeros[N];

	return error_of(x, zeros, NULL, n);
}

/* There and back. */
static void round_trip(enum quant_type type, const float *x, const float *w, float *y, size_t n)
{
	static uint8_t bytes[4 * N];

	assert_int_equal(quantize_row(type, x, w, bytes, n), 0);
	quant_dequant_row(type, bytes, y, n);
}

static float to_half(float f)
{
	return quant_f16_to_f32(quant_f32_to_f16(f));
}

/* Step and offset that just cover n numbers. */
static void cover(const float *x, unsigned n, int lo, int hi, float *step, float *offset)
{
	float min = 0, max = 0, peak = 0;

	for (unsigned i = 0; i < n; i++) {
		min = fminf(min, x[i]);
		max = fmaxf(max, x[i]);
		if (fabsf(x[i]) > fabsf(peak))
			peak = x[i];
	}
	*offset = lo ? 0 : min;
	*step = lo ? peak / (float)lo : (max - min) / (float)hi;
}

/* What rounding to nearest without a search makes of a row: scales that cover each sub-block, and
 * few-bit scales that cover these. */
static void naive(size_t t, const float *x, float *y, size_t n)
{
	const unsigned sub = types[t].sub, block = quant_block_elements(types[t].type);
	float step[16], offset[16];

	for (size_t at = 0; at < n; at += block) {
		float d = 0, dmin = 0;

		for (unsigned j = 0; j < block / sub; j++) {
			cover(x + at + j * sub, sub, types[t].lo, types[t].hi, &step[j],
			      &offset[j]);
			d = fmaxf(d, fabsf(step[j]));
			dmin = fmaxf(dmin, -offset[j]);
		}
		d = to_half(d / (float)types[t].scale_hi);
		dmin = to_half(dmin / (float)types[t].scale_hi);
		for (unsigned i = 0; i < block; i++) {
			float s = to_half(step[i / sub]), o = to_half(offset[i / sub]), code;

			if (types[t].scale_hi) {
				s = d * rintf(step[i / sub] / d);
				o = dmin > 0 ? dmin * rintf(offset[i / sub] / dmin) : 0;
			}
			code = s != 0 ? rintf((x[at + i] - o) / s) : 0;
			code = fminf(fmaxf(code, (float)types[t].lo), (float)types[t].hi);
			y[at + i] = s * code + o;
		}
	}
}

static void the_error_is_as_small_as_promised_and_below_plain_rounding(void **state)
{
	static float x[N], y[N], z[N];

	(void)state;
	for (size_t t = 0; t < N_TYPES; t++) {
		for (enum shape shape = GAUSS; shape < SHAPES; shape++) {
			double got, plain;

			fill(x, N, shape, 11 + shape);
			round_trip(types[t].type, x, NULL, y, N);
			got = error_of(x, y, NULL, N);
			if (types[t].sub)
				naive(t, x, z, N);
			plain = types[t].sub ? error_of(x, z, NULL, N) : got;
			if (getenv("SPLITMQ_SHOW"))
				print_message("%s shape %d: %.4e, %.3f of plain rounding\n",
					      quant_name(types[t].type), shape, got / energy(x, N),
					      got / plain);
			if (got > types[t].nmse[shape] * energy(x, N))
				fail_msg("%s shape %d: error %g", quant_name(types[t].type), shape,
					 got / energy(x, N));
			if (got > types[t].gain * plain)
				fail_msg("%s shape %d: %g of plain rounding",
					 quant_name(types[t].type), shape, got / plain);
		}
	}
}

static void importance_moves_the_error_to_where_it_matters_less(void **state)
{
	static float x[N], w[N], y[N], z[N];

	(void)state;
	fill(x, N, GAUSS, 5);
	for (size_t i = 0; i < N; i++)
		w[i] = expf(4 * (float)rng_unit(6, i)) * 1e-6f; /* 1 to 55, in some unit */
	for (size_t t = 2; t < N_TYPES; t++) {
		double with, without;

		round_trip(types[t].type, x, w, y, N);
		round_trip(types[t].type, x, NULL, z, N);
		with = error_of(x, y, w, N);
		without = error_of(x, z, w, N);
		if (getenv("SPLITMQ_SHOW"))
			print_message("%s: weighted error %.3f of that without\n",
				      quant_name(types[t].type), with / without);
		if (with > 0.97 * without)
			fail_msg("%s: %g with importance, %g without", quant_name(types[t].type),
				 with, without);
	}
}

static void importance_of_one_size_or_none_changes_nothing(void **state)
{
	static float x[N], w[N], y[N], z[N];
	static const float all[] = { 1, 1e-30f, 1e30f, 0 };

	(void)state;
	fill(x, N, LAPLACE, 8);
	for (size_t t = 0; t < N_TYPES; t++) {
		round_trip(types[t].type, x, NULL, z, N);
		for (size_t k = 0; k < 4; k++) {
			for (size_t i = 0; i < N; i++)
				w[i] = all[k];
			round_trip(types[t].type, x, w, y, N);
			/* scaled weights may round otherwise, but not by much */
			assert_true(error_of(x, y, NULL, N) <= 1.0001 * error_of(x, z, NULL, N));
		}
	}
}

static void what_has_been_quantized_stays_as_it_is(void **state)
{
	static float x[N], y[N], z[N];

	(void)state;
	for (size_t t = 0; t < N_TYPES; t++) {
		for (enum shape shape = GAUSS; shape < SHAPES; shape++) {
			/* an f16 offset, or scales of scales, are found again only nearly */
			double most = types[t].scale_hi ? 0.05 * types[t].nmse[shape]
				      : types[t].lo == 0 && types[t].sub ? 1e-6
									 : 0,
			       lost;

			fill(x, N, shape, 21 + shape);
			round_trip(types[t].type, x, NULL, y, N);
			round_trip(types[t].type, y, NULL, z, N);
			lost = error_of(y, z, NULL, N) / energy(y, N);
			if (getenv("SPLITMQ_SHOW"))
				print_message("%s shape %d again: %g\n", quant_name(types[t].type),
					      shape, lost);
			if (lost > most)
				fail_msg("%s shape %d: %g lost the second time",
					 quant_name(types[t].type), shape, lost);
		}
	}
}

static void zeros_constants_and_tiny_numbers_come_out_sane(void **state)
{
	static float x[N], y[N];

	(void)state;
	for (size_t t = 0; t < N_TYPES; t++) {
		const enum quant_type type = types[t].type;

		memset(x, 0, sizeof(x));
		round_trip(type, x, NULL, y, N);
		assert_true(energy(y, N) == 0);
		for (int sign = -1; sign <= 1; sign += 2) {
			for (size_t i = 0; i < N; i++)
				x[i] = 0.75f * (float)sign;
			round_trip(type, x, NULL, y, N);
			assert_true(error_of(x, y, NULL, N) <= 3e-5 * energy(x, N));
		}
		for (size_t i = 0; i < N; i++)
			x[i] = (i & 1 ? 1 : -1) * 1e-41f; /* subnormal */
		round_trip(type, x, NULL, y, N);
		for (size_t i = 0; i < N; i++)
			assert_true(fabsf(y[i]) <= 1e-40f);
		for (size_t i = 0; i < N; i++)
			x[i] = (float)rng_unit(3, i) * 1e-7f; /* around the smallest f16 */
		round_trip(type, x, NULL, y, N);
		for (size_t i = 0; i < N; i++)
			assert_true(fabsf(y[i]) <= 4e-7f);
	}
}

static void one_outlier_does_not_cost_the_rest_of_the_row(void **state)
{
	static float x[N], y[N];

	(void)state;
	for (size_t t = 2; t < N_TYPES; t++) {
		const unsigned block = quant_block_elements(types[t].type);

		fill(x, N, GAUSS, 9);
		x[1] = 300;
		round_trip(types[t].type, x, NULL, y, N);
		assert_true(fabsf(y[1] - 300) <= 300 * 0.02f);
		assert_true(error_of(x + block, y + block, NULL, N - block) <=
			    1.2 * types[t].nmse[GAUSS] * energy(x + block, N - block));
	}
}

static void large_numbers_are_kept_and_too_large_ones_refused(void **state)
{
	static float x[N], y[N];
	static uint8_t bytes[4 * N];

	(void)state;
	fill(x, N, GAUSS, 4);
	x[77] = 3e38f;
	for (size_t t = 0; t < N_TYPES; t++) {
		assert_int_equal(quantize_row(types[t].type, x, NULL, bytes, N),
				 types[t].type == QUANT_BF16 ? 0 : ERR_LIMIT);
	}
	assert_int_equal(quantize_row(QUANT_F32, x, NULL, bytes, N), 0);
	for (size_t i = 0; i < N; i++)
		x[i] = i % 3 ? 65504 : -65504;
	for (size_t t = 0; t < N_TYPES; t++) {
		round_trip(types[t].type, x, NULL, y, N);
		for (size_t i = 0; i < N; i++)
			assert_true(isfinite(y[i]));
		assert_true(error_of(x, y, NULL, N) <= 0.02 * energy(x, N));
	}
	for (size_t i = 0; i < N; i++)
		x[i] = FLT_MAX; /* nearer to infinity than to the largest BF16, which it becomes */
	round_trip(QUANT_BF16, x, NULL, y, N);
	assert_true(isfinite(y[0]));
}

static void what_is_not_finite_is_refused_wherever_it_is(void **state)
{
	static const float bad[] = { NAN, INFINITY, -INFINITY };
	static float x[N], w[N];
	static uint8_t bytes[4 * N];

	(void)state;
	for (size_t i = 0; i < N; i++)
		w[i] = 1;
	for (size_t t = 0; t < N_TYPES; t++) {
		for (size_t k = 0; k < 9; k++) {
			size_t at = (size_t[]){ 0, 31, N - 1 }[k / 3];

			x[at] = bad[k % 3];
			assert_int_equal(quantize_row(types[t].type, x, NULL, bytes, N),
					 ERR_NOT_FINITE);
			x[at] = 0;
			w[at] = bad[k % 3];
			assert_int_equal(quantize_row(types[t].type, x, w, bytes, N),
					 ERR_NOT_FINITE);
			w[at] = -1;
			assert_int_equal(quantize_row(types[t].type, x, w, bytes, N),
					 ERR_NOT_FINITE);
			w[at] = 1;
		}
	}
}

static void types_are_known_by_name_and_those_that_cannot_be_written_refused(void **state)
{
	enum quant_type type = QUANT_F32;
	uint8_t bytes[136];
	float x[256] = { 0 };

	(void)state;
	for (size_t t = 0; t < N_TYPES; t++) {
		assert_true(quantize_can(types[t].type));
		assert_int_equal(quantize_parse(&type, quant_name(types[t].type)), 0);
		assert_int_equal(type, types[t].type);
	}
	assert_int_equal(quantize_parse(&type, "q4_k"), 0);
	assert_int_equal(type, QUANT_Q4_K);
	assert_int_equal(quantize_parse(&type, "IQ4_XS"), ERR_USAGE);
	assert_int_equal(quantize_parse(&type, "Q4"), ERR_USAGE);
	assert_int_equal(quantize_parse(&type, ""), ERR_USAGE);
	assert_false(quantize_can(QUANT_IQ4_NL) || quantize_can(4) || quantize_can(1000));
	assert_int_equal(quantize_row(QUANT_IQ4_XS, x, NULL, bytes, 256), ERR_UNSUPPORTED);
}

/* A row without a call of libm, so that it is the same everywhere. */
static void the_bytes_are_those_of_this_version(void **state)
{
	static float x[N], w[N];
	static uint8_t bytes[4 * N];

	(void)state;
	for (size_t i = 0; i < N; i++) {
		double u = rng_unit(1, 2 * i) + rng_unit(1, 2 * i + 1) - 1;

		x[i] = (float)(u * u * u);
		w[i] = (float)rng_unit(2, i);
	}
	for (size_t t = 0; t < N_TYPES; t++) {
		size_t len = quant_row_bytes(types[t].type, N);
		uint32_t crc;

		assert_int_equal(quantize_row(types[t].type, x, NULL, bytes, N), 0);
		crc = crc32c(0, bytes, len);
		assert_int_equal(quantize_row(types[t].type, x, w, bytes, N), 0);
		crc = crc32c(crc, bytes, len);
		if (getenv("SPLITMQ_SHOW"))
			print_message("%s: CRC 0x%08x\n", quant_name(types[t].type), crc);
		else if (crc != types[t].crc)
			fail_msg("%s: CRC 0x%08x; other bytes want another QUANTIZE_VERSION",
				 quant_name(types[t].type), crc);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_error_is_as_small_as_promised_and_below_plain_rounding),
		cmocka_unit_test(importance_moves_the_error_to_where_it_matters_less),
		cmocka_unit_test(importance_of_one_size_or_none_changes_nothing),
		cmocka_unit_test(what_has_been_quantized_stays_as_it_is),
		cmocka_unit_test(zeros_constants_and_tiny_numbers_come_out_sane),
		cmocka_unit_test(one_outlier_does_not_cost_the_rest_of_the_row),
		cmocka_unit_test(large_numbers_are_kept_and_too_large_ones_refused),
		cmocka_unit_test(what_is_not_finite_is_refused_wherever_it_is),
		cmocka_unit_test(types_are_known_by_name_and_those_that_cannot_be_written_refused),
		cmocka_unit_test(the_bytes_are_those_of_this_version),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
