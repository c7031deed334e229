#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine/expand.h"
#include "engine/matmul.h"
#include "engine/pack.h"

#define COLS 768
#define OUTS 75
/* More than any table takes at a time. */
#define ROWS 210

static uint64_t counter;

static float uniform(float lo, float hi)
{
	return lo + (hi - lo) * (float)rng_unit(7, counter++);
}

/* A matrix as in a file, and packed if it can be. */
struct matrix {
	struct weight w;
	uint8_t *raw, *packed;
};

/* Random bytes; every float in them is small, whatever the layout: no two bytes have a large
 * exponent. */
static void make_matrix(struct matrix *m, enum quant_type type, size_t n_rows, size_t cols)
{
	const size_t bytes = quant_row_bytes(type, cols);

	memset(m, 0, sizeof(*m));
	m->raw = malloc(n_rows * bytes);
	assert_non_null(m->raw);
	for (size_t i = 0; i < n_rows * bytes; i++)
		m->raw[i] = (uint8_t)(rng_u64(8, counter++) & 0x3f);
	m->w.rows = (struct kern_rows){
		.type = type, .data = m->raw, .row_bytes = bytes, .n_rows = n_rows
	};
	m->w.cols = cols;
	m->w.bias = malloc(n_rows * sizeof(float));
	assert_non_null(m->w.bias);
	for (size_t i = 0; i < n_rows; i++)
		m->w.bias[i] = uniform(-1, 1);
}

static void pack_matrix(struct matrix *m)
{
	const struct kern_rows *r = &m->w.rows;
	const size_t bytes = pack_strip_bytes(r->type, m->w.cols);

	m->packed = malloc((r->n_rows + 15) / 16 * bytes);
	assert_non_null(m->packed);
	for (size_t i = 0; i < r->n_rows; i += 16)
		pack_strip(r->type, r->data + i * r->row_bytes, r->row_bytes,
			   r->n_rows - i < 16 ? r->n_rows - i : 16, m->w.cols,
			   m->packed + i / 16 * bytes);
	m->w.strips = (struct kern_strips){
		.type = r->type, .data = m->packed, .strip_bytes = bytes, .blocks = m->w.cols / 32
	};
}

static void free_matrix(struct matrix *m)
{
	free(m->raw);
	free(m->packed);
	free(m->w.bias);
}

/* By the definition, one output at a time. */
static float one_output(const struct matrix *m, const float *x, size_t i)
{
	static struct kern_wide wide[COLS / 32];
	static int8_t q[COLS];
	static float step[COLS / 32];
	static int16_t sum[COLS / 32 * 2];
	struct kern_acts a = {
		.blocks = m->w.cols / 32, .ld = m->w.cols / 32, .q = q, .step = step, .sum = sum
	};
	struct kern_rows row = m->w.rows;
	float out[16];

	row.data += i * row.row_bytes;
	row.n_rows = 1;
	if (!expand_knows(row.type)) {
		kern_at(0)->rows(&row, x, m->w.cols, out);
		return out[0] + m->w.bias[i];
	}
	a.group = kern_group(row.type);
	kern_at(0)->quantize(x, m->w.cols, a.group, q, step, sum);
	expand_rows(row.type, row.data, row.row_bytes, 1, m->w.cols, wide);
	kern_at(0)->wide(wide, expand_mins(row.type), &a, 0, 1, out, 16);
	return out[0] + m->w.bias[i];
}

struct rig {
	unsigned made[ROWS];
	atomic_uint rooms; /* rows that were made elsewhere */
	struct matmul m;
	struct pool *pool;
	float *scratch, *x, *y, *plus;
};

static void rig_open(struct rig *r, const struct kern *k, unsigned threads)
{
	assert_int_equal(pool_create(&r->pool, threads), 0);
	r->scratch = aligned_alloc(64, (matmul_scratch(k, threads, ROWS, COLS) + 15) / 16 * 64);
	r->x = malloc(ROWS * (COLS + 3) * sizeof(float));
	r->y = malloc(3 * ROWS * (OUTS + 1) * sizeof(float));
	r->plus = malloc(ROWS * (OUTS + 1) * sizeof(float));
	assert_true(r->scratch && r->x && r->y && r->plus);
	matmul_init(&r->m, k, r->pool, ROWS, COLS, r->scratch);
	for (size_t i = 0; i < ROWS * (COLS + 3); i++)
		r->x[i] = uniform(-2, 2);
}

static void rig_close(struct rig *r)
{
	pool_destroy(r->pool);
	free(r->scratch);
	free(r->x);
	free(r->y);
	free(r->plus);
}

/* Row r is only there once this has run. */
static void make_row(void *arg, size_t r, float *room)
{
	struct rig *rig = arg;
	float *x = rig->x + r * (COLS + 3), *to = room ? room : x;

	rig->made[r]++;
	rig->rooms += room != NULL;
	for (size_t i = 0; i < COLS; i++)
		to[i] = x[i] + 0.125f;
}

/* Two matrices of one x, the first once more behind the other: all outputs, and nothing beside
 * them. */
static void check_run(struct rig *r, const struct matrix *a, const struct matrix *b, size_t rows)
{
	const size_t ldx = COLS + 3, ldy = OUTS + 1;
	float *y = r->y, *z = r->y + ROWS * ldy, *again = r->y + 2 * ROWS * ldy, mark;
	const bool made = rows % 2;
	const struct matmul_out outs[] = { { .w = &a->w, .y = y, .ldy = ldy },
					   { .w = &b->w, .y = z, .ldy = ldy, .plus = r->plus },
					   { .w = &a->w, .y = again, .ldy = ldy } };
	const struct matmul_in in = {
		.x = r->x, .ldx = ldx, .rows = rows, .make = made ? make_row : NULL, .arg = r
	};

	memset(y, 0x5a, 3 * ROWS * ldy * sizeof(*y));
	memcpy(&mark, y, sizeof(mark));
	memset(r->made, 0, sizeof(r->made));
	for (size_t i = 0; i < ROWS * ldy; i++)
		r->plus[i] = (float)(i % 7);
	matmul_run(&r->m, outs, 3, &in);
	assert_memory_equal(again, y, ROWS * ldy * sizeof(*y));
	for (size_t j = 0; j < ROWS; j++)
		assert_int_equal(r->made[j], made && j < rows);
	for (size_t j = 0; j < rows; j += 1 + j / 8) {
		for (size_t i = 0; i < OUTS; i += 1 + i % 5) {
			float want = one_output(a, r->x + j * ldx, i);

			if (memcmp(&y[j * ldy + i], &want, sizeof(want)))
				fail_msg("%s, %zu rows: output %zu of row %zu is %a, not %a",
					 quant_name(a->w.rows.type), rows, i, j,
					 (double)y[j * ldy + i], (double)want);
		}
		assert_memory_equal(&y[j * ldy + OUTS], &mark, sizeof(mark));
		for (size_t i = 0; i < b->w.rows.n_rows; i++) {
			float want = one_output(b, r->x + j * ldx, i);

			want = (float)((j * ldy + i) % 7) + want;
			assert_memory_equal(&r->plus[j * ldy + i], &want, sizeof(want));
		}
		assert_true(r->plus[j * ldy + b->w.rows.n_rows] ==
			    (float)((j * ldy + b->w.rows.n_rows) % 7));
	}
}

/* Two matrices of one type as one, added to what is there; of rows that may be made elsewhere. */
static void check_gated(struct rig *r, const struct matrix *a, const struct matrix *b, size_t rows)
{
	const size_t ldx = COLS + 3, ldy = OUTS + 1;
	float *end = r->y + 2 * rows * ldy, mark;
	const bool passing = rows % 2, rounds = expand_knows(a->w.rows.type);
	const struct matmul_out out = { .w = &a->w,
					.y = r->y,
					.ldy = ldy,
					.plus = r->plus,
					.up = &b->w,
					.up_y = r->y + rows * ldy };
	const struct matmul_in in = {
		.x = r->x, .ldx = ldx, .rows = rows, .make = make_row, .arg = r, .passing = passing
	};

	memset(r->y, 0x5a, 3 * ROWS * ldy * sizeof(*r->y));
	memcpy(&mark, r->y, sizeof(mark));
	r->rooms = 0;
	for (size_t i = 0; i < ROWS * ldy; i++)
		r->plus[i] = (float)(i % 7);
	assert_true(matmul_pairs(&a->w, &b->w));
	matmul_run(&r->m, &out, 1, &in);
	assert_int_equal(r->rooms, passing && rounds ? rows : 0);
	for (size_t j = 0; j < rows; j++) {
		for (size_t i = 0; i < COLS && r->rooms; i++)
			r->x[j * ldx + i] += 0.125f;
		if (BRIEF && j % 5 && j + 1 < rows)
			continue; /* the definition is nearly all of the time */
		for (size_t i = 0; i < OUTS; i += 1 + i % 3) {
			float want = one_output(a, r->x + j * ldx, i);
			const float up = one_output(b, r->x + j * ldx, i);

			r->m.kern->silu_mul(&want, &up, 1);
			want = (float)((j * ldy + i) % 7) + want;
			assert_memory_equal(&r->plus[j * ldy + i], &want, sizeof(want));
		}
		assert_true(r->plus[j * ldy + OUTS] == (float)((j * ldy + OUTS) % 7));
	}
	assert_memory_equal(end, &mark, sizeof(mark));
}

static void check_all(struct rig *r, const struct matrix *a, const struct matrix *b,
		      const struct matrix *twin)
{
	static const size_t n_rows[] = { 1, 2, 3, 9, 40, ROWS };

	for (size_t i = 0; i < sizeof(n_rows) / sizeof(n_rows[0]); i++) {
		check_run(r, a, b, n_rows[i]);
		check_gated(r, a, twin, n_rows[i]);
	}
}

/* Also packed, where the type can be, or only that. */
static void check_type(struct rig *r, enum quant_type type, bool only_packed)
{
	struct matrix a, b, twin;

	make_matrix(&a, type, OUTS, COLS);
	make_matrix(&b, type % 2 ? QUANT_Q4_0 : QUANT_F16, 5, COLS);
	make_matrix(&twin, type, OUTS, COLS);
	if (!only_packed)
		check_all(r, &a, &b, &twin);
	if (pack_knows(type)) {
		pack_matrix(&a);
		pack_matrix(&twin);
		check_all(r, &a, &b, &twin);
	}
	free_matrix(&twin);
	free_matrix(&a);
	free_matrix(&b);
}

static void products_are_those_of_the_definition(void **state)
{
	struct rig r;

	(void)state;
	rig_open(&r, kern_at(kern_at(1) ? 1 : 0), 3);
	for (unsigned type = 0; type < QUANT_TYPE_END; type++) {
		if (quant_name(type))
			check_type(&r, type, false);
	}
	rig_close(&r);
}

/* Tables above the first one differ in what is packed. */
static void packed_products_of_the_best_table_are_those_of_the_definition(void **state)
{
	unsigned best = 0;
	struct rig r;

	(void)state;
	while (kern_at(best + 1))
		best++;
	rig_open(&r, kern_at(best), 3);
	for (unsigned type = 0; type < QUANT_TYPE_END; type++) {
		if (quant_name(type) && pack_knows(type))
			check_type(&r, type, true);
	}
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(products_are_those_of_the_definition),
		cmocka_unit_test(packed_products_of_the_best_table_are_those_of_the_definition),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
