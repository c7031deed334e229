/* tests/test_codec_isa.c - whatever a machine has, the codec gives the same bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "codec/codec.h"
#include "codec/dot.h"
#include "codec/loop.h"
#include "codec/row.h"
#include "codec/stream.h"

#define MOST_DIM  2600
#define MOST_ROWS 3
#define SHIFT     3 /* elements that a row may begin after its allocation */
#define VARIANTS  2

/* Words of SPLITMQ_ISA; the last one is none of them: what the machine has. */
static const char *const variants[VARIANTS] = { "plain", "best" };
static const size_t dims[] = { 1,   2,   7,   15,   16,   17,   31,   33,   63,
			       255, 256, 257, 1023, 1024, 1027, 1040, 2049, MOST_DIM };

static void use(const char *isa)
{
	assert_int_equal(setenv("SPLITMQ_ISA", isa, 1), 0);
}

static const struct loop *loop_of(const char *isa)
{
	use(isa);
	return loop_pick();
}

/* Kinds of rows: Gaussian, heavy tails, sparse, zeros, all alike, over many octaves. */
enum { KINDS = 6 };

static void make_row(float *x, size_t dim, unsigned kind, uint64_t seed)
{
	for (size_t i = 0; i < dim; i++) {
		const double a = rng_unit(seed, 2 * i), b = rng_unit(seed, 2 * i + 1);
		const double gauss = sqrt(-2 * log(a + 1e-12)) * cos(6.283185307 * b);

		x[i] = (float)gauss;
		if (kind == 1)
			x[i] = (float)(gauss / (0.003 + a));
		else if (kind == 2)
			x[i] = a < 0.97 ? (float)gauss * 0.01f : (float)gauss;
		else if (kind == 3)
			x[i] = i % 64 ? 0 : -0.0f;
		else if (kind == 4)
			x[i] = b < 0.5 ? 1 : -1;
		else if (kind == 5)
			x[i] = (float)(gauss * exp2(60 * a - 30));
	}
}

static void same_sums(const struct loop *a, const struct loop *b, const float *x,
		      const float *inverse, size_t dim, float limit)
{
	const struct loop_sums s = a->sums(x, inverse, dim, limit);
	const struct loop_sums t = b->sums(x, inverse, dim, limit);

	assert_memory_equal(&s, &t, sizeof(s));
	for (size_t i = 0; i <= dim; i += 1 + dim / 7)
		assert_int_equal(a->beyond(x, inverse, i, dim, limit),
				 b->beyond(x, inverse, i, dim, limit));
}

static void same_loops(const struct loop *a, const struct loop *b, const float *x,
		       const float *inverse, size_t dim)
{
	static int16_t qa[MOST_DIM], qb[MOST_DIM];
	static float ya[MOST_DIM], yb[MOST_DIM];
	static const float steps[][2] = { { 0.25f, 0.2726f }, { 1e-6f, 1.1e-6f }, { 64, 70 } };

	same_sums(a, b, x, NULL, dim, FLT_MAX);
	same_sums(a, b, x, NULL, dim, 1);
	same_sums(a, b, x, inverse, dim, 0.7f);
	assert_int_equal(a->below(x, dim, 1), b->below(x, dim, 1));
	for (unsigned i = 0; i < 3; i++) {
		float ea[2], eb[2];

		a->errors(x, dim, steps[i], ea);
		b->errors(x, dim, steps[i], eb);
		assert_memory_equal(ea, eb, sizeof(ea));
		a->round(x, dim, steps[i][0], qa);
		b->round(x, dim, steps[i][0], qb);
		assert_memory_equal(qa, qb, dim * sizeof(*qa));
		assert_int_equal(a->width(qa, dim), b->width(qa, dim));
		a->restore(qa, dim, steps[i][1], ya);
		b->restore(qa, dim, steps[i][1], yb);
		assert_memory_equal(ya, yb, dim * sizeof(*ya));
	}
}

static void loops_over_a_row_agree_at_every_length_and_place(void **state)
{
	static float x[MOST_DIM + SHIFT], inverse[MOST_DIM + SHIFT];

	(void)state;
	for (size_t i = 0; i < MOST_DIM + SHIFT; i++)
		inverse[i] = row_unclass((int)(i % 41) - 20);
	for (unsigned v = 0; v < VARIANTS; v++) {
		const struct loop *ref = loop_of("ref"), *loop = loop_of(variants[v]);

		assert_string_equal(ref->name, "ref");
		for (size_t dim = 1; dim <= 100; dim++) {
			const size_t at = dim % (SHIFT + 1);

			make_row(x, dim + at, (unsigned)dim % KINDS, dim);
			same_loops(ref, loop, x + at, inverse + at, dim);
		}
		make_row(x, MOST_DIM, 1, 7);
		same_loops(ref, loop, x + 1, inverse, MOST_DIM - 1);
	}
}

static void sums_of_products_agree_at_every_length_and_place(void **state)
{
	static int8_t bytes[400 + SHIFT];
	static int16_t words[400 + SHIFT], small[400];
	static float x[400];
	const struct dot *dots[2];

	(void)state;
	use("ref");
	dots[0] = dot_pick();
	use("best");
	dots[1] = dot_pick();
	make_row(x, 400, 0, 3);
	for (unsigned i = 0; i < 400 + SHIFT; i++) {
		bytes[i] = (int8_t)(i % 5 ? (int)(rng_u64(1, i) % 256) - 128 : -128);
		words[i] = (int16_t)(rng_u64(2, i) % 65536 - 32768);
		small[i % 400] = (int16_t)(i % 3 ? (int)(rng_u64(3, i) % 2047) - 1023 : -1023);
	}
	for (size_t n = 0; n <= 400; n++) {
		const int8_t *a = bytes + n % (SHIFT + 1);
		const int16_t *b = words + n % (SHIFT + 1);
		float y[2][2];

		for (unsigned v = 0; v < 2; v++) {
			y[v][0] = dots[v]->i16_f32(b, x, n);
			y[v][1] = dots[v]->i8_f32(a, x, n);
		}
		assert_int_equal(dots[0]->i8_i16(a, small, n), dots[1]->i8_i16(a, small, n));
		assert_memory_equal(y[0], y[1], sizeof(y[0]));
	}
}

static void a_single_bad_element_is_seen_anywhere(void **state)
{
	static const float bad[] = { NAN, INFINITY, -INFINITY, 1, -1 };
	float x[70] = { 0 };

	(void)state;
	for (unsigned v = 0; v < VARIANTS; v++) {
		const struct loop *loop = loop_of(variants[v]);

		for (size_t dim = 1; dim <= 70; dim++) {
			for (size_t at = 0; at < dim; at++) {
				x[at] = bad[(at + dim) % 5];
				assert_false(loop->below(x, dim, 1));
				assert_int_equal(loop->beyond(x, NULL, 0, dim, 0.5f), at);
				x[at] = 0;
			}
			assert_true(loop->below(x, dim, 1));
		}
	}
}

/* Bytes and rows of x by what is in use. */
static size_t code(const struct codec_spec *spec, const float *x, size_t dim, size_t n,
		   uint8_t *bytes, size_t cap, float *y)
{
	const struct codec_rows rows = { .x = x, .n = n };
	struct codec_bytes out = { .dst = bytes, .cap = cap };
	struct codec_chunk chunk = { .src = bytes, .dim = dim, .n = n };
	struct codec_work *w = NULL;
	struct err e;

	assert_int_equal(codec_work_create(&w, dim, n), 0);
	assert_int_equal(codec_encode(spec, w, NULL, &rows, &out, &e), 0);
	chunk.id = out.id;
	chunk.len = out.len;
	assert_int_equal(codec_decode(w, NULL, &chunk, y, &e), 0);
	codec_work_destroy(w);
	return out.len;
}

static void chunks_are_the_same_bytes(void **state)
{
	static const char *const specs[] = { "tabq:delta=0.01", "tabq:delta=0.3,min=1",
					     "tabq:delta=0.00001,max=16", "tabq:tau=3,max=5" };
	static float x[MOST_ROWS * MOST_DIM + SHIFT], y[2][MOST_ROWS * MOST_DIM];
	static uint8_t bytes[2][MOST_ROWS * MOST_DIM * 4];

	(void)state;
	for (unsigned k = 0; k < sizeof(dims) / sizeof(dims[0]) * KINDS * 4; k++) {
		const size_t dim = dims[k / (KINDS * 4)], n = 1 + k % MOST_ROWS, at = k % SHIFT;
		struct codec_spec spec;
		struct err e;
		size_t len, cap;

		assert_int_equal(spec_parse(&spec, specs[k % 4], &e), 0);
		for (size_t r = 0; r < n; r++)
			make_row(x + at + r * dim, dim, (k / 4 + (unsigned)(r > 1)) % KINDS, k + r);
		cap = codec_bound(&spec, dim, n);
		assert_true(cap <= sizeof(bytes[0]));
		use("ref");
		len = code(&spec, x + at, dim, n, bytes[0], cap, y[0]);
		for (unsigned v = 0; v < VARIANTS; v++) {
			use(variants[v]);
			assert_int_equal(code(&spec, x + at, dim, n, bytes[1], cap, y[1]), len);
			assert_memory_equal(bytes[0], bytes[1], len);
			assert_memory_equal(y[0], y[1], n * dim * sizeof(float));
		}
	}
}

#define GUARD 64 /* bytes before a buffer that nobody may touch */

/* The stream of a row, in a buffer that ends at buf + GUARD + cap. */
static const uint8_t *stream_of(const struct row *r, size_t dim, const int8_t *class, uint8_t *buf,
				size_t cap)
{
	struct stream_before before = { .any = false };
	uint8_t *begin = NULL;
	bool fits;

	memset(buf, 0xa5, GUARD);
	fits = stream_put(r, 1, dim, class, &before, buf + GUARD, cap, &begin);
	for (size_t i = 0; i < GUARD; i++)
		assert_int_equal(buf[i], 0xa5);
	return fits ? begin : NULL;
}

/* Returns its length; 0: it does not fit. */
static size_t same_stream(const struct row *r, struct row *back, size_t dim, const int8_t *class,
			  size_t cap, const char *isa)
{
	static uint8_t a[MOST_DIM * 5], b[MOST_DIM * 5];
	struct stream_before before = { .any = false };
	const uint8_t *p, *q;
	size_t len;

	assert_true(GUARD + cap <= sizeof(a));
	use("ref");
	p = stream_of(r, dim, class, a, cap);
	use(isa);
	q = stream_of(r, dim, class, b, cap);
	assert_int_equal(!p, !q);
	if (!p)
		return 0;
	len = (size_t)(a + GUARD + cap - p);
	assert_int_equal(b + GUARD + cap - q, len);
	assert_memory_equal(p, q, len);
	assert_int_equal(stream_get(back, 1, dim, class, &before, q, len), 0);
	assert_memory_equal(back->q, r->q, dim * sizeof(*r->q));
	return len;
}

static void streams_of_classed_rows_are_the_same_bytes(void **state)
{
	static float y[MOST_DIM], inverse[MOST_DIM];
	static int8_t class[MOST_DIM];
	static int16_t q[2][MOST_DIM];
	static struct row_outlier outliers[2][ROW_OUTLIERS(MOST_DIM)];
	const struct row_classes classes = { .class = class, .inverse = inverse };
	const struct row_conf conf = { .bits_min = 1, .bits_max = ROW_MAX_BITS };

	(void)state;
	for (unsigned k = 0; k < sizeof(dims) / sizeof(dims[0]) * KINDS; k++) {
		const size_t dim = dims[k / KINDS];
		struct row r = { .q = q[0], .outliers = outliers[0] };
		struct row back = { .q = q[1], .outliers = outliers[1] };

		for (size_t i = 0; i < dim; i++) {
			class[i] = (int8_t)((int)(i * 40 / dim) - 20);
			inverse[i] = row_unclass(class[i]);
		}
		make_row(y, dim, k % KINDS, k);
		for (size_t i = 0; k % 2 && i < dim; i++)
			y[i] /= inverse[i];
		use("ref");
		row_quantize(&conf, y, &classes, dim, 0.02f * row_energy(y, dim), &r);
		for (unsigned v = 0; v < VARIANTS; v++)
			assert_true(same_stream(&r, &back, dim, class, 4 * dim + 400, variants[v]));
	}
}

static void a_stream_needs_no_byte_more_than_it_has(void **state)
{
	static int16_t q[2][MOST_DIM];
	static const int8_t class[MOST_DIM];
	const size_t most = 4 * 1500;

	(void)state;
	for (unsigned k = 0; k < 24 * VARIANTS; k++) {
		const size_t dim = dims[6 + k % 12] < 1500 ? dims[6 + k % 12] : 1500;
		const char *isa = variants[k / 24];
		const int spread = 15 + (int)(k % 3); /* all with a symbol, or a few without */
		struct row r = { .step = 800, .gain = ROW_GAIN_T + 24, .q = q[0] };
		struct row back = { .q = q[1] };
		size_t len;

		for (size_t i = 0; i < dim; i++)
			q[0][i] = (int16_t)((int)(rng_u64(k, i) % (2u * (unsigned)spread + 1)) -
					    spread);
		len = same_stream(&r, &back, dim, k % 24 < 12 ? NULL : class, most, isa);
		assert_true(len > 0);
		for (size_t cap = len > 70 ? len - 70 : 0; cap < len + 4; cap++)
			assert_int_equal(
				same_stream(&r, &back, dim, k % 24 < 12 ? NULL : class, cap, isa),
				cap < len ? 0 : len);
	}
}

static void a_reciprocal_divides_every_state(void **state)
{
	struct symbols_put t = { .cum = NULL };

	(void)state;
	for (unsigned table = 0; table < TABLES_SHAPES * TABLES_SCALES; table++) {
		symbols_for_put(&t, tables_cum[table / TABLES_SCALES][table % TABLES_SCALES]);
		for (unsigned i = 0; i < 2 * TABLES_MOST + 1; i++) {
			const struct symbols_code *c = &t.code[i];
			const uint32_t freq = (1u << TABLES_BITS) - c->rest;

			for (unsigned k = 0; k < 300; k++) {
				uint64_t r = rng_u64(table * 31 + i, k);
				uint32_t x = c->most - (uint32_t)(r % ((uint64_t)c->most + 1));

				if (k < 200) /* next to a multiple */
					x = x / freq * freq - (k & 1);
				x = k == 0 || x > c->most ? c->most : x;
				assert_int_equal(x * c->reciprocal >> SYMBOLS_SHIFT, x / freq);
			}
		}
	}
}

static void a_slot_has_the_code_of_its_symbol(void **state)
{
	static struct symbols_get t;

	(void)state;
	for (unsigned table = 0; table < TABLES_SHAPES * TABLES_SCALES; table++) {
		const uint16_t *cum = tables_cum[table / TABLES_SCALES][table % TABLES_SCALES];

		symbols_for_get(&t, cum);
		for (uint32_t slot = 0; slot <= RANS_MASK; slot++) {
			const unsigned symbol = rans_find_ref(cum, slot), code = t.code[slot];

			if (symbol == TABLES_ESCAPE) {
				assert_int_equal(code, SYMBOLS_ESCAPE);
				continue;
			}
			assert_int_equal(t.range[code].start, cum[symbol]);
			assert_int_equal(t.range[code].freq, cum[symbol + 1] - cum[symbol]);
			assert_int_equal((int)code - TABLES_MOST,
					 symbol % 2 ? -(int)(symbol / 2 + 1) : (int)(symbol / 2));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loops_over_a_row_agree_at_every_length_and_place),
		cmocka_unit_test(sums_of_products_agree_at_every_length_and_place),
		cmocka_unit_test(a_single_bad_element_is_seen_anywhere),
		cmocka_unit_test(chunks_are_the_same_bytes),
		cmocka_unit_test(streams_of_classed_rows_are_the_same_bytes),
		cmocka_unit_test(a_stream_needs_no_byte_more_than_it_has),
		cmocka_unit_test(a_reciprocal_divides_every_state),
		cmocka_unit_test(a_slot_has_the_code_of_its_symbol),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
