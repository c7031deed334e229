#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/le.h"
#include "base/rng.h"
#include "codec/packed.h"

#define MOST_DIM  1000
#define MOST_ROWS 4

struct rows {
	struct row row[MOST_ROWS];
	int16_t q[MOST_ROWS * MOST_DIM];
	struct row_outlier outliers[MOST_ROWS * ROW_OUTLIERS(MOST_DIM)];
};

static struct rows in, out; /* large: not on the stack */
static uint8_t buf[MOST_ROWS * MOST_DIM * 3];

static void prepare(struct rows *r, size_t n, size_t dim)
{
	memset(r, 0, sizeof(*r));
	for (size_t i = 0; i < n; i++) {
		r->row[i].q = r->q + i * dim;
		r->row[i].outliers = r->outliers + i * ROW_OUTLIERS(dim);
	}
}

/* Rows whose widest element has `bits`, with as many outliers as there is room for. */
static void make_rows(size_t n, size_t dim, unsigned bits)
{
	const int most = (1 << (bits - 1)) - 1;

	prepare(&in, n, dim);
	for (size_t r = 0; r < n; r++) {
		struct row *row = &in.row[r];

		row->step = (uint16_t)(rng_u64(dim, r) % ROW_STEPS);
		for (size_t i = 0; i < dim; i++)
			row->q[i] =
				(int16_t)((int)(rng_u64(r, i) % (2u * (unsigned)most + 1)) - most);
		row->q[dim - 1] = (int16_t)(r % 2 ? -most : most);
		row->n_outliers = r ? ROW_OUTLIERS(dim) : 0;
		for (uint32_t k = 0; k < row->n_outliers; k++)
			row->outliers[k] = (struct row_outlier){ k, -1e30f + (float)k };
	}
}

static void rows_of_every_width_come_back(void **state)
{
	static const size_t dims[] = { 1, 2, 3, 7, 8, 9, 16, 31, 32, 33, 100, 1000 };

	(void)state;
	for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++) {
		for (unsigned bits = 1; bits <= ROW_MAX_BITS; bits++) {
			const size_t n = 1 + bits % MOST_ROWS, dim = dims[d];
			size_t len;

			make_rows(n, dim, bits);
			len = packed_len(in.row, n, dim);
			assert_true(len <= packed_bound(dim, n) && len < sizeof(buf));
			memset(buf, 0xa5, sizeof(buf));
			packed_put(in.row, n, dim, buf);
			assert_int_equal(buf[len], 0xa5);
			prepare(&out, n, dim);
			assert_int_equal(packed_get(out.row, n, dim, buf, len), 0);
			assert_memory_equal(in.q, out.q, n * dim * sizeof(*in.q));
			assert_memory_equal(in.outliers, out.outliers, sizeof(in.outliers));
			for (size_t r = 0; r < n; r++) {
				assert_int_equal(in.row[r].step, out.row[r].step);
				assert_int_equal(in.row[r].n_outliers, out.row[r].n_outliers);
			}
			assert_int_equal(packed_get(out.row, n, dim, buf, len + 1), ERR_FORMAT);
			for (size_t k = 0; k < len; k += 1 + k / 50)
				assert_int_equal(packed_get(out.row, n, dim, buf, k), ERR_FORMAT);
		}
	}
}

/* One row of 4 elements of 3 bits with one outlier: 5 + 8 + 2 bytes. */
static int get_changed(size_t at, uint8_t v)
{
	size_t len;

	make_rows(1, 4, 3);
	in.row[0].n_outliers = 1;
	in.row[0].outliers[0] = (struct row_outlier){ 2, 5 };
	len = packed_len(in.row, 1, 4);
	assert_int_equal(len, 15);
	packed_put(in.row, 1, 4, buf);
	buf[at] = v;
	prepare(&out, 1, 4);
	return packed_get(out.row, 1, 4, buf, len);
}

static void bytes_that_no_encoder_writes_are_refused(void **state)
{
	(void)state;
	assert_int_equal(get_changed(5, 3), 0);              /* another place */
	assert_int_equal(get_changed(5, 4), ERR_FORMAT);     /* outside the row */
	assert_int_equal(get_changed(1, 8), ERR_FORMAT);     /* step 2048 and more */
	assert_int_equal(get_changed(2, 0), ERR_FORMAT);     /* no bits */
	assert_int_equal(get_changed(2, 17), ERR_FORMAT);    /* too many */
	assert_int_equal(get_changed(3, 2), ERR_FORMAT);     /* more outliers than there is room */
	assert_int_equal(get_changed(12, 0x7e), 0);          /* large, but finite */
	assert_int_equal(get_changed(12, 0x7f), ERR_FORMAT); /* no number */
	assert_int_equal(get_changed(14, 0xff), ERR_FORMAT); /* bits behind the last element */
	assert_int_equal(get_changed(13, 4), ERR_FORMAT);    /* -4 of 3 bits: 3 is the most */
}

static void outliers_that_are_not_finite_or_out_of_order_are_refused(void **state)
{
	(void)state;
	make_rows(1, 64, 2);
	in.row[0].n_outliers = 2;
	in.row[0].outliers[0] = (struct row_outlier){ 7, 1 };
	in.row[0].outliers[1] = (struct row_outlier){ 7, 1 };
	for (uint32_t second = 6; second < 9; second++) {
		in.row[0].outliers[1].at = second;
		packed_put(in.row, 1, 64, buf);
		prepare(&out, 1, 64);
		assert_int_equal(packed_get(out.row, 1, 64, buf, packed_len(in.row, 1, 64)),
				 second > 7 ? 0 : ERR_FORMAT);
	}
	in.row[0].outliers[1].value = INFINITY;
	packed_put(in.row, 1, 64, buf);
	assert_int_equal(packed_get(out.row, 1, 64, buf, packed_len(in.row, 1, 64)), ERR_FORMAT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_of_every_width_come_back),
		cmocka_unit_test(bytes_that_no_encoder_writes_are_refused),
		cmocka_unit_test(outliers_that_are_not_finite_or_out_of_order_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
