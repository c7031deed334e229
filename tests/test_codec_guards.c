/* tests/test_codec_guards.c - the front door of the codec: what it refuses, bounds that no input
 * breaks, damaged chunks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "codec/squeeze.h"
#include "tests/codec_pair.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_calibration_there_is_no_prediction_and_no_state),
		cmocka_unit_test(a_chunk_that_needs_what_is_not_here_is_refused),
		cmocka_unit_test(ids_that_nobody_gave_out_are_unknown),
		cmocka_unit_test(no_input_takes_more_than_the_bound),
		cmocka_unit_test(what_cannot_be_sent_is_refused_and_changes_nothing),
		cmocka_unit_test(a_calibration_that_blows_rows_up_is_told_of),
		cmocka_unit_test(rows_of_zeros_cost_next_to_nothing),
		cmocka_unit_test(rows_that_repeat_are_left_to_lz4),
		cmocka_unit_test(damaged_chunks_are_refused_or_finite),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
