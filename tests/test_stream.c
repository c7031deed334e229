#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "codec/packed.h"
#include "codec/rans.h"
#include "codec/stream.h"
#include "tools/source.h"

#define MOST_DIM  4096
#define MOST_ROWS 12
#define CAP       (MOST_ROWS * (MOST_DIM * 8 + 16384))

/* Rows and the buffers that they live in. */
struct rows {
	struct row row[MOST_ROWS];
	int16_t q[MOST_ROWS * MOST_DIM];
	struct row_outlier outliers[MOST_ROWS * ROW_OUTLIERS(MOST_DIM)];
};

static struct rows in, out; /* large: not on the stack */
static int8_t classes[MOST_DIM];
static uint8_t buf[CAP];

static void prepare(struct rows *r, size_t n, size_t dim)
{
	memset(r, 0, sizeof(*r));
	for (size_t i = 0; i < n; i++) {
		r->row[i].q = r->q + i * dim;
		r->row[i].outliers = r->outliers + i * ROW_OUTLIERS(dim);
	}
}

static uint64_t roll(uint64_t seed, uint64_t *n, uint64_t below)
{
	return rng_u64(seed, (*n)++) % below;
}

/* Outliers at rising places, q = 0 there. */
static void make_outliers(struct row *r, size_t dim, uint64_t seed, uint64_t *n)
{
	const uint32_t want = (uint32_t)roll(seed, n, ROW_OUTLIERS(dim) + 1);
	uint32_t at = 0;

	for (uint32_t k = 0; k < want; k++) {
		at += (uint32_t)roll(seed, n, 30);
		if (at >= dim)
			break;
		r->outliers[k].at = at;
		r->outliers[k].value = (float)roll(seed, n, 1 << 30) * 1.7f - 1e9f;
		r->q[at++] = 0;
		r->n_outliers = k + 1;
	}
}

/* wild 0: as the encoder makes them; 1: any numbers under any table. */
static void make_rows(size_t n, size_t dim, uint64_t seed, bool wild)
{
	uint64_t count = 0;

	prepare(&in, n, dim);
	for (size_t i = 0; i < dim; i++)
		classes[i] = (int8_t)((int)roll(seed, &count, wild ? 121 : 13) - (wild ? 60 : 6));
	for (size_t r = 0; r < n; r++) {
		struct row *row = &in.row[r];
		const unsigned width = 1 + (unsigned)roll(seed, &count, wild ? 15 : 6);

		row->step = (uint16_t)roll(seed, &count, ROW_STEPS);
		row->gain = (uint8_t)(wild ? roll(seed, &count, ROW_GAINS)
					   : ROW_GAIN_T + TABLES_ZERO + 4 * (width - 2));
		row->shape = (uint8_t)roll(seed, &count, 4);
		for (size_t i = 0; i < dim; i++) {
			int q = (int)roll(seed, &count, 2u << width) - (1 << width);

			row->q[i] = (int16_t)(q < -ROW_MOST ? -ROW_MOST : q);
		}
		if (roll(seed, &count, 3) == 0)
			make_outliers(row, dim, seed, &count);
	}
}

static void check_same(size_t n, size_t dim)
{
	for (size_t r = 0; r < n; r++) {
		const struct row *a = &in.row[r], *b = &out.row[r];

		assert_int_equal(a->step, b->step);
		assert_int_equal(a->gain, b->gain);
		assert_int_equal(a->shape, b->shape);
		assert_int_equal(a->n_outliers, b->n_outliers);
		assert_memory_equal(a->outliers, b->outliers, a->n_outliers * sizeof(*a->outliers));
		assert_memory_equal(a->q, b->q, dim * sizeof(*a->q));
	}
}

/* Streams that were cut. Few of them are streams as well; frames have a CRC for that. */
static unsigned cut, cut_unseen;

static void count_cut(int rc)
{
	assert_true(rc == 0 || rc == ERR_FORMAT);
	cut++;
	cut_unseen += !rc;
}

static void most_streams_that_are_cut_are_refused(void **state)
{
	(void)state;
	assert_true(cut > 1000);
	if (cut_unseen * 50 > cut)
		fail_msg("%u of %u were taken", cut_unseen, cut);
}

/* There and back; returns the length. */
static size_t round_trip(size_t n, size_t dim, const int8_t *class, const struct stream_before *b)
{
	struct stream_before put = *b, get = *b;
	uint8_t *begin = NULL, *again;
	size_t len;

	assert_true(stream_put(in.row, n, dim, class, &put, buf, CAP, &begin));
	len = (size_t)(buf + CAP - begin);
	prepare(&out, n, dim);
	assert_int_equal(stream_get(out.row, n, dim, class, &get, begin, len), 0);
	check_same(n, dim);
	assert_true(put.any && get.any);
	assert_int_equal(put.step, in.row[n - 1].step);
	assert_int_equal(put.step, get.step);
	assert_int_equal(put.gain, get.gain);
	assert_int_equal(put.shape, get.shape);
	put = get = *b;
	count_cut(stream_get(out.row, n, dim, class, &get, begin, len - 1));
	assert_false(stream_put(in.row, n, dim, class, &put, buf, len - 1, &again));
	put = *b;
	assert_true(stream_put(in.row, n, dim, class, &put, buf, len, &again));
	assert_ptr_equal(again, buf);
	return len;
}

static void any_rows_come_back(size_t dim, size_t most_rows, unsigned seeds)
{
	for (uint64_t seed = 0; seed < seeds; seed++) {
		const size_t n = 1 + seed % most_rows;
		const struct stream_before b = { seed % 2, (uint16_t)(seed * 97 % ROW_STEPS),
						 (uint8_t)(seed * 31), seed % 4 };

		make_rows(n, dim, seed * 10000 + dim, seed % 3 == 0);
		round_trip(n, dim, seed % 5 ? classes : NULL, &b);
	}
}

static void rows_of_few_elements_come_back(void **state)
{
	(void)state;
	for (size_t dim = 1; dim <= 40; dim++)
		any_rows_come_back(dim, MOST_ROWS, 40);
}

static void rows_around_the_limit_of_lanes_come_back(void **state)
{
	(void)state;
	for (size_t dim = 1023; dim <= 1025; dim++)
		any_rows_come_back(dim, 4, 12);
	any_rows_come_back(MOST_DIM, MOST_ROWS, 7);
}

/* Each gain (so each table and number of raw bits) under each shape, with numbers that need
 * escapes and with the extremes. */
static void every_gain_and_shape_carries_every_number(void **state)
{
	static const int16_t numbers[] = { 0,     1,     -1,     2,     15,    -15,  16,
					   -16,   17,    -17,    100,   255,   -256, 4095,
					   -4096, 16384, -16385, 32767, -32767 };
	const size_t dim = sizeof(numbers) / sizeof(numbers[0]);
	const struct stream_before none = { 0 };

	(void)state;
	for (unsigned gain = 0; gain < ROW_GAINS; gain++) {
		for (uint8_t shape = 0; shape < 4; shape++) {
			prepare(&in, 1, dim);
			memcpy(in.row[0].q, numbers, sizeof(numbers));
			in.row[0].gain = (uint8_t)gain;
			in.row[0].shape = shape;
			in.row[0].step = (uint16_t)(gain * 7);
			round_trip(1, dim, NULL, &none);
		}
	}
}

static double bits_of(const uint16_t *cum, unsigned symbol)
{
	return TABLES_BITS - log2((double)(cum[symbol + 1] - cum[symbol]));
}

/* Ideal length of rows without classes, escapes and raw bits, whose heads do not change. */
static double ideal_bits(size_t n, size_t dim)
{
	const double rare = -log2(1 - 1 / 64.0), same = bits_of(tables_cum[2][TABLES_ZERO], 0);
	double bits = rare + 11 + 8 + 2 + (double)(n - 1) * (rare + 2 * same + 1);

	for (size_t r = 0; r < n; r++) {
		const uint16_t *cum = tables_cum[in.row[r].shape][in.row[r].gain - ROW_GAIN_T];

		for (size_t i = 0; i < dim; i++) {
			int q = in.row[r].q[i];

			assert_true(abs(q) <= TABLES_MOST);
			bits += bits_of(cum, (unsigned)(q < 0 ? -2 * q - 1 : 2 * q));
		}
	}
	return bits;
}

static void the_length_is_that_of_the_tables(void **state)
{
	static const size_t dims[] = { 1, 8, 64, 300, 1024, 4096 };
	static float x[MOST_DIM];
	const struct stream_before none = { 0 };

	(void)state;
	for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++) {
		for (unsigned t = 0; t <= TABLES_ZERO + 4; t += 4) {
			const size_t dim = dims[d], n = 1 + t % 3;
			double ideal, got;

			prepare(&in, n, dim);
			for (size_t r = 0; r < n; r++) {
				source_row(SOURCE_GAUSS, 1000 * t + r, x, dim);
				in.row[r].gain = (uint8_t)(ROW_GAIN_T + t);
				in.row[r].step = 800;
				for (size_t i = 0; i < dim; i++)
					in.row[r].q[i] = (int16_t)rint((double)x[i] *
								       exp2(t / 4.0 - 5) * 1.25);
			}
			ideal = ideal_bits(n, dim) / 8;
			got = (double)round_trip(n, dim, NULL, &none);
			/* more lanes than there are signs to carry cost their first states */
			if (got > ideal * 1.015 + 10 + 2 * rans_lanes(dim))
				fail_msg("dim %zu, t %u: %g bytes, %.1f by the tables", dim, t, got,
					 ideal);
		}
	}
}

/* Every bit of a stream, and every length: refused, or rows that are in range. */
static void damaged_streams_are_refused_or_rows_in_range(void **state)
{
	const struct stream_before none = { 0 };
	const size_t n = 3, dim = 40;

	(void)state;
	for (uint64_t seed = 0; seed < 12; seed++) {
		uint8_t copy[4096];
		struct stream_before b;
		size_t len;

		make_rows(n, dim, seed, seed % 2);
		len = round_trip(n, dim, classes, &none);
		assert_true(len <= sizeof(copy));
		memcpy(copy, buf, len);
		for (size_t bit = 0; bit < 8 * len; bit++) {
			copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
			b = none;
			prepare(&out, n, dim);
			if (!stream_get(out.row, n, dim, classes, &b, copy, len)) {
				for (size_t i = 0; i < n * dim; i++)
					assert_in_range(out.q[i] + ROW_MOST, 0, 2 * ROW_MOST);
				for (size_t r = 0; r < n; r++) {
					assert_true(out.row[r].step < ROW_STEPS);
					assert_true(out.row[r].n_outliers <= ROW_OUTLIERS(dim));
				}
			}
			copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		for (size_t k = 0; k < len; k++) {
			b = none;
			count_cut(stream_get(out.row, n, dim, classes, &b, copy, k));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_of_few_elements_come_back),
		cmocka_unit_test(rows_around_the_limit_of_lanes_come_back),
		cmocka_unit_test(every_gain_and_shape_carries_every_number),
		cmocka_unit_test(the_length_is_that_of_the_tables),
		cmocka_unit_test(damaged_streams_are_refused_or_rows_in_range),
		cmocka_unit_test(most_streams_that_are_cut_are_refused), /* of all tests above */
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
