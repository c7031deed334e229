/* tests/test_codec.c - the front door of the codec: both ends in step, guards, damaged chunks. */
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

#include "base/rng.h"
#include "codec/codec.h"
#include "codec/squeeze.h"
#include "tests/tiny_cal.h"

#define MOST_DIM  256
#define MOST_ROWS 5
#define VOCAB     50u
#define SIZE      3.0f
#define CAP       (MOST_ROWS * (MOST_DIM * 4 + 512))

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

/* An encoder and a decoder of the same split. */
struct pair {
	size_t dim;
	struct cal *cal;
	struct codec_work *work;
	struct codec_state *sender, *receiver;
	struct codec_spec spec;
	float x[MOST_ROWS * MOST_DIM], y[MOST_ROWS * MOST_DIM];
	uint32_t ids[MOST_ROWS];
	uint8_t bytes[CAP];
	struct codec_bytes out;
	struct err e;
};

static struct cal *calibration(size_t dim, uint64_t seed)
{
	struct tiny_cal conf = { .dim = (uint32_t)dim,
				 .k = (uint32_t)dim,
				 .features = 8,
				 .vocab = VOCAB,
				 .n_splits = 1,
				 .size = SIZE,
				 .seed = seed };

	return tiny_cal_make(&conf);
}

static void set_spec(struct pair *p, const char *text)
{
	if (spec_parse(&p->spec, text, &p->e))
		fail_msg("%s: %s", text, p->e.text);
}

static struct pair *pair_create(size_t dim, struct cal *cal, const char *spec)
{
	struct pair *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->dim = dim;
	p->cal = cal;
	assert_int_equal(codec_work_create(&p->work, dim, MOST_ROWS), 0);
	assert_int_equal(codec_state_create(&p->sender, dim, cal, tiny_cal_split(cal, 1)), 0);
	assert_int_equal(codec_state_create(&p->receiver, dim, cal, tiny_cal_split(cal, 1)), 0);
	set_spec(p, spec);
	return p;
}

static void pair_destroy(struct pair *p)
{
	codec_work_destroy(p->work);
	codec_state_destroy(p->sender);
	codec_state_destroy(p->receiver);
	cal_close(p->cal);
	free(p);
}

/* Rows of positions pos on, and their tokens. */
static void make_rows(struct pair *p, uint64_t seed, uint32_t pos, size_t n)
{
	tiny_cal_rows(seed, pos, n, p->dim, SIZE, p->x);
	for (size_t i = 0; i < n; i++)
		p->ids[i] = (uint32_t)(rng_u64(seed, 1000000 + pos + i) % VOCAB);
}

static int encode(struct pair *p, size_t n, bool ids)
{
	const struct codec_rows rows = { p->x, ids ? p->ids : NULL, n };

	p->out = (struct codec_bytes){ .dst = p->bytes, .cap = codec_bound(&p->spec, p->dim, n) };
	assert_true(p->out.cap <= sizeof(p->bytes));
	return codec_encode(&p->spec, p->work, p->sender, &rows, &p->out, &p->e);
}

static struct codec_chunk chunk_of(const struct pair *p, size_t n, bool ids)
{
	return (struct codec_chunk){ .id = p->out.id,
				     .src = p->bytes,
				     .len = p->out.len,
				     .ids = ids ? p->ids : NULL,
				     .dim = p->dim,
				     .n = n };
}

static int decode(struct pair *p, size_t n, bool ids)
{
	struct codec_chunk c = chunk_of(p, n, ids);

	return codec_decode(p->work, p->receiver, &c, p->y, &p->e);
}

static void cross(struct pair *p, size_t n, bool ids)
{
	if (encode(p, n, ids))
		fail_msg("encode: %s", p->e.text);
	if (decode(p, n, ids))
		fail_msg("decode: %s", p->e.text);
	assert_int_equal(codec_state_hash(p->sender), codec_state_hash(p->receiver));
}

static double square(const float *a, const float *b, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++) {
		double v = (double)a[i] - (b ? (double)b[i] : 0);

		sum += v * v;
	}
	return sum;
}

/* Each row is within delta, and what the calibration's own rounding adds. */
static void check_error(const struct pair *p, size_t n, double delta)
{
	for (size_t r = 0; r < n; r++) {
		const float *x = p->x + r * p->dim, *y = p->y + r * p->dim;

		if (square(x, y, p->dim) > delta * square(x, NULL, p->dim))
			fail_msg("row %zu: %g", r, square(x, y, p->dim) / square(x, NULL, p->dim));
	}
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

static void without_a_calibration_there_is_no_prediction_and_no_state(void **state)
{
	struct pair *p = pair_create(24, NULL, "tabq:predict=tokens");

	(void)state;
	for (uint32_t pos = 0; pos < 10; pos++) {
		make_rows(p, 3, pos, 1);
		cross(p, 1, true);
		assert_int_equal(p->out.id, CODEC_TABQ | CODEC_RANS);
		assert_int_equal(codec_needs(p->out.id), CODEC_NOTHING);
		assert_int_equal(codec_state_hash(p->sender), 0);
	}
	pair_destroy(p);
}

static void a_chunk_that_needs_what_is_not_here_is_refused(void **state)
{
	struct pair *p = pair_create(24, calibration(24, 1), "tabq:predict=tokens");
	struct codec_chunk c;

	(void)state;
	make_rows(p, 3, 0, 2);
	assert_int_equal(encode(p, 2, true), 0);
	assert_int_equal(codec_needs(p->out.id), CODEC_STATE_AND_TOKENS);
	assert_int_equal(decode(p, 2, false), ERR_STATE);
	assert_non_null(strstr(p->e.text, "tokens"));
	c = chunk_of(p, 2, true);
	assert_int_equal(codec_decode(p->work, NULL, &c, p->y, &p->e), ERR_STATE);
	assert_non_null(strstr(p->e.text, "calibration"));
	p->ids[1] = VOCAB;
	assert_int_equal(decode(p, 2, true), ERR_FORMAT);
	assert_int_equal(encode(p, 2, true), ERR_FORMAT);
	p->ids[1] = 0;
	c = chunk_of(p, MOST_ROWS + 1, true);
	assert_int_equal(codec_decode(p->work, p->receiver, &c, p->y, &p->e), ERR_LIMIT);
	c.n = 0;
	assert_int_equal(codec_decode(p->work, p->receiver, &c, p->y, &p->e), ERR_LIMIT);
	c.n = 2;
	c.dim = 25;
	assert_int_equal(codec_decode(p->work, p->receiver, &c, p->y, &p->e), ERR_LIMIT);
	pair_destroy(p);
}

static void ids_that_nobody_gave_out_are_unknown(void **state)
{
	struct pair *p = pair_create(24, calibration(24, 1), "tabq");
	unsigned known = 0;

	(void)state;
	make_rows(p, 3, 0, 1);
	assert_int_equal(encode(p, 1, true), 0);
	for (unsigned id = 0; id < 1000; id++) {
		known += codec_known(id);
		assert_true(codec_known(id) == (strcmp(codec_name(id), "unknown") != 0));
		if (codec_known(id))
			continue;
		assert_int_equal(codec_needs(id), CODEC_NOTHING);
		p->out.id = (uint8_t)id;
		if (id < 256)
			assert_int_equal(decode(p, 1, true), ERR_UNSUPPORTED);
	}
	assert_int_equal(known, PLAIN_COUNT + CODEC_FORMS * SPEC_AUTO);
	pair_destroy(p);
}

/* Any finite floats: by their bits, of one sign, mostly zero, alternating extremes. */
static void wild_rows(struct pair *p, uint64_t seed, size_t n)
{
	for (size_t i = 0; i < n * p->dim; i++) {
		const uint64_t r = rng_u64(seed, i);
		uint32_t bits = (uint32_t)r;
		float v;

		memcpy(&v, &bits, sizeof(v));
		if (!(fabsf(v) < 0x1p50f))
			v = (float)(int32_t)bits;
		switch (seed % 5) {
		case 1:
			v = r % 50 ? 0 : v;
			break;
		case 2:
			v = i % 2 ? 0x1.fffffep49f : -0x1.fffffep49f;
			break;
		case 3:
			v = (float)(r % 100) * 0x1p-140f;
			break;
		case 4:
			v = r % 20 ? (float)rng_unit(seed, i + 1000000) : v;
			break;
		default:
			break;
		}
		p->x[i] = v;
	}
}

static void no_input_takes_more_than_the_bound(void **state)
{
	static const char *const specs[] = {
		"tabq",
		"tabq:delta=0.000001,min=16,max=16,tau=off",
		"tabq:entropy=lz4",
		"tabq:entropy=none,max=16",
		"tabq:tau=2",
		"tabq:tau=abs:0.5,delta=0.5",
		"tabq:predict=none,delta=0.000001,max=16",
	};
	static const size_t dims[] = { 1, 2, 31, 33, 96, 256 };

	(void)state;
	for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++) {
		struct pair *p = pair_create(dims[d], calibration(dims[d], 1), "tabq");

		for (uint64_t seed = 0; seed < 70; seed++) {
			const size_t n = 1 + seed % MOST_ROWS;

			set_spec(p, specs[seed % 7]);
			wild_rows(p, seed, n);
			memset(p->ids, 0, sizeof(p->ids));
			memset(p->bytes, 0xa5, sizeof(p->bytes));
			if (encode(p, n, true))
				fail_msg("seed %u: %s", (unsigned)seed, p->e.text);
			assert_true(p->out.len <= p->out.cap);
			assert_int_equal(p->bytes[p->out.cap], 0xa5);
			if (decode(p, n, true))
				fail_msg("seed %u: %s", (unsigned)seed, p->e.text);
			assert_int_equal(codec_state_hash(p->sender),
					 codec_state_hash(p->receiver));
			p->out.cap--;
			assert_int_equal(codec_encode(&p->spec, p->work, p->sender,
						      &(struct codec_rows){ p->x, NULL, n },
						      &p->out, &p->e),
					 ERR_LIMIT);
		}
		pair_destroy(p);
	}
}

static void what_cannot_be_sent_is_refused_and_changes_nothing(void **state)
{
	static const float bad[] = { NAN, INFINITY, -INFINITY, 0x1p50f, -0x1p100f };
	struct pair *p = pair_create(24, calibration(24, 1), "tabq");

	(void)state;
	make_rows(p, 3, 0, 1);
	cross(p, 1, true);
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
		uint8_t before[CAP];
		uint16_t hash = codec_state_hash(p->sender);

		make_rows(p, 3, 1, 3);
		p->x[2 * 24 + 5] = bad[k];
		memset(p->bytes, 0x5a, sizeof(p->bytes));
		memcpy(before, p->bytes, sizeof(before));
		assert_int_equal(encode(p, 3, true), ERR_NOT_FINITE);
		if (!strstr(p->e.text, "row 2, element 5"))
			fail_msg("\"%s\" does not name row and element", p->e.text);
		assert_memory_equal(before, p->bytes, sizeof(before));
		assert_int_equal(hash, codec_state_hash(p->sender));
		make_rows(p, 3, 1 + (uint32_t)k, 1);
		cross(p, 1, true);
		check_error(p, 1, 0.02);
	}
	pair_destroy(p);
}

/* A calibration whose numbers are finite, but not what is made of them. */
static void a_calibration_that_blows_rows_up_is_told_of(void **state)
{
	struct pair *p = pair_create(24, calibration(24, 1), "tabq");
	const struct cal_split *s = tiny_cal_split(p->cal, 1);
	uint16_t hash;

	(void)state;
	make_rows(p, 3, 0, 1);
	cross(p, 1, true);
	hash = codec_state_hash(p->sender);
	for (unsigned i = 0; i < 24; i++)
		s->forward_scale[i] = FLT_MAX;
	make_rows(p, 3, 1, 2);
	assert_int_equal(encode(p, 2, true), ERR_NOT_FINITE);
	assert_non_null(strstr(p->e.text, "row 0"));
	assert_int_equal(hash, codec_state_hash(p->sender));
	set_spec(p, "f32"); /* needs no components, but makes them */
	cross(p, 2, true);
	for (unsigned i = 0; i < 24; i++)
		s->forward_scale[i] = 1e-6f;
	set_spec(p, "tabq");
	cross(p, 2, true);
	pair_destroy(p);
}

/* Rows of zeros, first and after others, alone and many. */
static void rows_of_zeros_cost_next_to_nothing(void **state)
{
	static const size_t dims[] = { 1, 24, 96, 256 };

	(void)state;
	for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++) {
		struct pair *p = pair_create(dims[d], NULL, "tabq");

		for (size_t n = 1; n <= MOST_ROWS; n++) {
			memset(p->x, 0, sizeof(p->x));
			cross(p, n, false);
			if (p->out.len >= n * (dims[d] / 50 + 8))
				fail_msg("%zu rows of %zu zeros: %zu bytes", n, dims[d],
					 p->out.len);
			assert_true(square(p->y, NULL, n * dims[d]) == 0);
		}
		pair_destroy(p);
	}
}

static void rows_that_repeat_are_left_to_lz4(void **state)
{
	struct pair *p = pair_create(96, NULL, "tabq");
	size_t different;

	(void)state;
	make_rows(p, 3, 0, MOST_ROWS);
	cross(p, MOST_ROWS, false);
	assert_int_equal(p->out.id, CODEC_TABQ | CODEC_RANS);
	different = p->out.len;
	for (size_t r = 1; r < MOST_ROWS; r++)
		memcpy(p->x + r * 96, p->x, 96 * sizeof(*p->x));
	cross(p, MOST_ROWS, false);
	assert_int_equal(p->out.id, CODEC_TABQ | CODEC_LZ4);
	assert_true(p->out.len * 2 < different);
	pair_destroy(p);
}

/* A second chunk in each form and prediction -> p->bytes. What the encoder would not choose LZ4 for
 * is squeezed here. */
static void chunk_in(struct pair *p, unsigned form, unsigned predict, size_t n)
{
	char text[SPEC_MAX];

	snprintf(text, sizeof(text), "tabq:delta=0.01,entropy=%s,predict=%s",
		 form == CODEC_RANS ? "rans" : "none",
		 spec_predict_name((enum spec_predict)predict));
	set_spec(p, text);
	codec_state_reset(p->sender);
	codec_state_reset(p->receiver);
	make_rows(p, 4, 0, 1);
	cross(p, 1, true);
	make_rows(p, 4, 1, n);
	assert_int_equal(encode(p, n, true), 0);
	if (form == CODEC_LZ4) {
		void *memory = malloc(squeeze_memory());
		uint8_t copy[CAP];

		assert_non_null(memory);
		memcpy(copy, p->bytes, p->out.len);
		p->out.len = squeeze(memory, copy, p->out.len, p->bytes, sizeof(p->bytes));
		p->out.id = (uint8_t)(CODEC_TABQ | CODEC_LZ4 | predict << 2);
		free(memory);
	}
	assert_int_equal(p->out.id, CODEC_TABQ | form | predict << 2);
	assert_true(p->out.len > 0);
}

/* As a hostile peer would send it: an error, or rows of finite numbers, from the state after the
 * first chunk. */
static void decode_damaged(struct pair *p, const struct codec_chunk *c)
{
	uint8_t *copy = malloc(c->len + 1);
	struct codec_chunk damaged = *c;
	int rc;

	assert_non_null(copy);
	memcpy(copy, c->src, c->len); /* its own allocation, for sanitizers */
	damaged.src = realloc(copy, c->len ? c->len : 1);
	assert_non_null(damaged.src);
	rc = codec_decode(p->work, p->receiver, &damaged, p->y, &p->e);
	if (rc)
		assert_true(rc == ERR_FORMAT || rc == ERR_NOT_FINITE);
	for (size_t i = 0; !rc && i < c->n * c->dim; i++)
		assert_true(isfinite(p->y[i]));
	free((void *)(uintptr_t)damaged.src);
}

static void damage_all(struct pair *p, unsigned form, unsigned predict)
{
	const size_t n = 2;
	struct codec_chunk c;

	chunk_in(p, form, predict, n);
	c = chunk_of(p, n, true);
	assert_int_equal(decode(p, n, true), 0);
	for (size_t i = 0; i < c.len; i++) {
		const uint8_t kept = p->bytes[i];

		for (unsigned v = 1; v < 256; v += v < 8 || v > 247 ? 1 : 16) {
			p->bytes[i] = (uint8_t)(kept ^ v);
			decode_damaged(p, &c);
		}
		p->bytes[i] = kept;
	}
	for (c.len = 0; c.len < p->out.len; c.len++)
		decode_damaged(p, &c);
}

static void damaged_chunks_are_refused_or_finite(void **state)
{
	struct pair *p = pair_create(24, calibration(24, 1), "tabq");

	(void)state;
	for (unsigned form = 0; form < CODEC_FORMS; form++) {
		for (unsigned predict = 0; predict < SPEC_AUTO; predict++)
			damage_all(p, form, predict);
	}
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
	assert_true(codec_state_bytes(4096) < 64 * 1024);
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
		cmocka_unit_test(without_a_calibration_there_is_no_prediction_and_no_state),
		cmocka_unit_test(a_chunk_that_needs_what_is_not_here_is_refused),
		cmocka_unit_test(ids_that_nobody_gave_out_are_unknown),
		cmocka_unit_test(no_input_takes_more_than_the_bound),
		cmocka_unit_test(what_cannot_be_sent_is_refused_and_changes_nothing),
		cmocka_unit_test(a_calibration_that_blows_rows_up_is_told_of),
		cmocka_unit_test(rows_of_zeros_cost_next_to_nothing),
		cmocka_unit_test(rows_that_repeat_are_left_to_lz4),
		cmocka_unit_test(damaged_chunks_are_refused_or_finite),
		cmocka_unit_test(encoding_and_decoding_allocate_nothing),
		cmocka_unit_test(every_instruction_set_writes_the_same_bytes),
		cmocka_unit_test(what_is_foreseen_changes_nothing),
		cmocka_unit_test(a_state_is_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
