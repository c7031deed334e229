/* tests/test_vectors.c - golden frames of tabq, alone and as a session: what the agent encodes and
 * the worker decodes. With SPLITMQ_UPDATE_VECTORS they are written (schema/vectors/make.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/head.h"
#include "base/le.h"
#include "codec/cal.h"
#include "codec/codec.h"
#include "tests/vector.h"
#include "worker/tail.h"

static const char *const vectors[] = {
	"tabq_packed", "tabq_rans",   "tabq_raw",    "tabq_escape", "tabq_lanes",
	"tabq_lz4",    "tabq_seq_1",  "tabq_seq_2",  "tabq_seq_3",  "tabq_seq_4",
	"tabq_seq_5",  "tabq_seq_6",  "tabq_seq_7",  "tabq_seq_8",  "tabq_seq_9",
	"tabq_seq_10", "tabq_seq_11", "tabq_seq_12", "tabq_seq_13", "tabq_seq_14",
	"tabq_seq_15", "tabq_seq_16", "tabq_seq_17", "tabq_seq_18", "tabq_features",
};
#define N_VECTORS  (sizeof(vectors) / sizeof(vectors[0]))
#define CAL_BYTES  4096
#define TOKEN_SIZE 4u

/* One end of a session. */
struct end {
	struct cal *cal;
	struct codec_state *state;
	struct codec_work *work;
};

static void close_end(struct end *n)
{
	codec_work_destroy(n->work);
	codec_state_destroy(n->state);
	cal_close(n->cal);
	*n = (struct end){ 0 };
}

static struct cal *open_cal(const char *name)
{
	uint8_t bytes[CAL_BYTES];
	struct cal *cal = NULL;
	struct err e;

	if (cal_parse(&cal, bytes, vector_read_file(name, "", bytes, sizeof(bytes)), &e))
		fail_msg("%s", e.text);
	return cal;
}

/* For v, which may go on with what n has. */
static void prepare(struct end *n, const struct vector *v)
{
	const struct cal_split *split = NULL;
	struct err e;

	if (v->follows)
		return;
	close_end(n);
	if (v->calibration[0]) {
		n->cal = open_cal(v->calibration);
		assert_int_equal(cal_use(n->cal, v->hdr.split, &split, &e), 0);
		assert_non_null(split);
	}
	assert_int_equal(codec_state_create(&n->state, v->hdr.dim, n->cal, split), 0);
	assert_int_equal(codec_work_create(&n->work, v->hdr.dim, 8), 0);
}

/* The agent's frame for the input of v -> v->frame and its header. */
static void encode(struct end *n, struct vector *v)
{
	uint8_t *body = v->frame + WIRE_HDR_LEN;
	size_t told = v->hdr.flags & WIRE_IDS ? TOKEN_SIZE * (size_t)v->n_tokens : 0;
	struct head_job job = {
		.pos = v->hdr.pos,
		.rows = v->hdr.rows,
		.ids = v->tokens,
		.tell_ids = v->n_tokens,
		.draft = v->hdr.flags & WIRE_DRAFT,
		.codec = v->spec,
		.state = n->state,
		.bytes = body + told,
		.cap = sizeof(v->frame) - WIRE_HDR_LEN - told,
	};

	if (head_encode(&job, n->work, v->input))
		fail_msg("%s", job.err.text);
	for (size_t i = 0; i < told / TOKEN_SIZE; i++)
		le_put32(body + TOKEN_SIZE * i, v->tokens[i]);
	v->hdr.codec = job.codec_id;
	v->hdr.state = job.state_hash;
	v->hdr.body_len = (uint32_t)(told + job.len);
	wire_put_hdr(v->frame, &v->hdr, body);
	v->frame_len = WIRE_HDR_LEN + v->hdr.body_len;
}

/* What the worker makes of a body. */
static int decode_body(struct end *n, const struct vector *v, const struct wire_hdr *h,
		       const uint8_t *body, float *x)
{
	struct tail_job *job = calloc(1, sizeof(*job) + h->body_len);
	int rc;

	assert_non_null(job);
	job->hdr = *h;
	job->codec = n->state;
	job->has_token = v->n_tokens && !(h->flags & WIRE_IDS);
	job->token = v->tokens[0];
	memcpy(job->body, body, h->body_len);
	rc = tail_decode(job, n->work, x);
	free(job);
	return rc;
}

static int decode(struct end *n, const struct vector *v, float *x)
{
	struct wire_hdr h = { 0 };

	assert_int_equal(wire_get_hdr(&h, v->frame, v->frame_len, NULL), 0);
	assert_int_equal(h.codec, v->hdr.codec);
	assert_int_equal(h.state, v->hdr.state);
	assert_int_equal(h.flags, v->hdr.flags);
	return decode_body(n, v, &h, v->frame + WIRE_HDR_LEN, x);
}

static void read_again(struct end *n, const struct vector *v)
{
	float x[VECTOR_VALUES];

	assert_int_equal(decode(n, v, x), 0);
	assert_memory_equal(x, v->decoded, v->hdr.rows * v->hdr.dim * sizeof(x[0]));
}

static void a_described_chunk_is_written_byte_for_byte(void **state)
{
	struct end n = { 0 }, other = { 0 };

	(void)state;
	for (size_t i = 0; i < N_VECTORS; i++) {
		struct vector v, made;

		vector_load(&v, vectors[i], true);
		made = v;
		prepare(&n, &v);
		encode(&n, &made);
		assert_int_equal(made.hdr.codec, v.hdr.codec);
		assert_int_equal(made.hdr.state, v.hdr.state);
		if ((v.hdr.codec & CODEC_TABQ) && (v.hdr.codec & 3) == CODEC_LZ4) {
			prepare(&other, &v); /* another liblz4 may find other repetitions */
			read_again(&other, &made);
			continue;
		}
		assert_int_equal(made.frame_len, v.frame_len);
		assert_memory_equal(made.frame, v.frame, v.frame_len);
		assert_int_equal(le_get32(made.frame + 44), v.crc);
	}
	close_end(&n);
	close_end(&other);
}

static void a_described_chunk_is_read_value_for_value(void **state)
{
	struct end n = { 0 };

	(void)state;
	for (size_t i = 0; i < N_VECTORS; i++) {
		struct vector v;

		vector_load(&v, vectors[i], true);
		prepare(&n, &v);
		read_again(&n, &v);
		if (n.cal)
			assert_string_equal(n.cal->id, v.calibration_id);
	}
	close_end(&n);
}

/* A body without its last byte, and one with a byte more. A coded stream of one lane is little more
 * than a number, and now and then another number is a stream too: the frame's CRC is what guards
 * against cuts. All else is refused. */
static void a_chunk_of_another_length_is_refused(void **state)
{
	struct end n = { 0 };
	unsigned tried = 0, read = 0;

	(void)state;
	for (size_t i = 0; i < N_VECTORS; i++) {
		for (unsigned more = 0; more < 2; more++) {
			float x[VECTOR_VALUES];
			struct wire_hdr h;
			struct vector v;
			int r;

			for (size_t k = 0; k <= i; k++) { /* the session up to here */
				vector_load(&v, vectors[k], true);
				prepare(&n, &v);
				if (k < i)
					read_again(&n, &v);
			}
			if (v.hdr.body_len < 3)
				continue;
			h = v.hdr;
			h.body_len += more ? 1u : (uint32_t)-1;
			v.frame[v.frame_len] = 0;
			r = decode_body(&n, &v, &h, v.frame + WIRE_HDR_LEN, x);
			assert_true(r == ERR_FORMAT || (r == 0 && v.spec.entropy == SPEC_RANS));
			tried++;
			read += r == 0;
		}
	}
	assert_true(read * 10 <= tried);
	close_end(&n);
}

/* The second chunk of a session for a worker that did not see the first one, or not its token. */
static void a_chunk_from_another_past_is_refused_as_state(void **state)
{
	struct vector first, second;
	float x[VECTOR_VALUES];
	struct end n = { 0 };

	(void)state;
	vector_load(&first, "tabq_seq_1", true);
	vector_load(&second, "tabq_seq_2", true);
	prepare(&n, &first);
	assert_int_equal(decode(&n, &second, x), ERR_STATE);
	read_again(&n, &first);
	second.n_tokens = 0;
	assert_int_equal(decode(&n, &second, x), ERR_STATE);
	close_end(&n);
	snprintf(first.calibration, sizeof(first.calibration), "%s", "");
	prepare(&n, &first); /* a worker without calibration */
	assert_int_equal(decode(&n, &first, x), ERR_STATE);
	snprintf(first.calibration, sizeof(first.calibration), "%s", "tiny_features.cal");
	prepare(&n, &first); /* with another one */
	assert_int_equal(decode(&n, &first, x), ERR_STATE);
	close_end(&n);
}

static void tokens_that_cannot_be_are_refused(void **state)
{
	float x[VECTOR_VALUES];
	struct end n = { 0 };
	struct wire_hdr h;
	struct vector v;

	(void)state;
	vector_load(&v, "tabq_features", true);
	prepare(&n, &v);
	h = v.hdr;
	h.body_len = TOKEN_SIZE * h.rows - 1;
	assert_int_equal(decode_body(&n, &v, &h, v.frame + WIRE_HDR_LEN, x), ERR_FORMAT);
	h = v.hdr;
	le_put32(v.frame + WIRE_HDR_LEN + TOKEN_SIZE, n.cal->n_vocab);
	assert_int_equal(decode_body(&n, &v, &h, v.frame + WIRE_HDR_LEN, x), ERR_FORMAT);
	close_end(&n);
}

static void same_file(const struct cal *cal, const uint8_t *bytes, size_t len)
{
	uint8_t *printed = NULL;
	size_t n = 0;

	assert_int_equal(cal_print(cal, &printed, &n), 0);
	assert_int_equal(n, len);
	assert_memory_equal(printed, bytes, len);
	free(printed);
}

static void a_golden_calibration_is_printed_as_it_was_read(void **state)
{
	static const char *const names[] = { "tiny.cal", "tiny_features.cal" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct cal *cal = open_cal(names[i]);
		uint8_t bytes[CAL_BYTES];
		size_t len = vector_read_file(names[i], "", bytes, sizeof(bytes));
		const struct cal_split *split;

		same_file(cal, bytes, len);
		for (uint32_t k = 0; k < cal->n_splits; k++) /* now from the arrays */
			assert_int_equal(cal_use(cal, cal->splits[k].split, &split, NULL), 0);
		same_file(cal, bytes, len);
		cal_close(cal);
	}
}

static void update(void **state)
{
	struct end n = { 0 };

	(void)state;
	for (size_t i = 0; i < N_VECTORS; i++) {
		char path[4096];
		struct vector v;
		FILE *f;

		vector_load(&v, vectors[i], false);
		prepare(&n, &v);
		encode(&n, &v);
		vector_path(path, vectors[i], ".bin");
		f = fopen(path, "wb");
		assert_non_null(f);
		assert_int_equal(fwrite(v.frame, 1, v.frame_len, f), v.frame_len);
		assert_int_equal(fclose(f), 0);
	}
	close_end(&n);
}

int main(void)
{
	const struct CMUnitTest updates[] = { cmocka_unit_test(update) };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_described_chunk_is_written_byte_for_byte),
		cmocka_unit_test(a_described_chunk_is_read_value_for_value),
		cmocka_unit_test(a_chunk_of_another_length_is_refused),
		cmocka_unit_test(a_chunk_from_another_past_is_refused_as_state),
		cmocka_unit_test(tokens_that_cannot_be_are_refused),
		cmocka_unit_test(a_golden_calibration_is_printed_as_it_was_read),
	};

	if (getenv("SPLITMQ_UPDATE_VECTORS"))
		return cmocka_run_group_tests(updates, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
