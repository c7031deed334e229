#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/le.h"
#include "codec/plain.h"
#include "schema/wire.h"
#include "tests/vector.h"

static const char *const vectors[] = { "rows_f32", "rows_f16",  "rows_q8",
				       "rows_q4",  "rows_fill", "logits" };
#define N_VECTORS (sizeof(vectors) / sizeof(vectors[0]))

static void a_described_frame_is_written_byte_for_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_VECTORS; i++) {
		uint8_t made[VECTOR_FRAME];
		struct vector v;
		size_t len;

		vector_load(&v, vectors[i], true);
		assert_int_equal(plain_encode((enum plain_id)v.hdr.codec, v.input, v.hdr.dim,
					      v.hdr.rows, made + WIRE_HDR_LEN,
					      sizeof(made) - WIRE_HDR_LEN, &len, NULL),
				 0);
		assert_int_equal(len, v.hdr.body_len);
		wire_put_hdr(made, &v.hdr, made + WIRE_HDR_LEN);
		assert_int_equal(v.frame_len, WIRE_HDR_LEN + len);
		assert_memory_equal(made, v.frame, v.frame_len);
		assert_int_equal(le_get32(made + 44), v.crc);
	}
}

static void a_described_frame_is_read_value_for_value(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_VECTORS; i++) {
		struct wire_hdr h = { 0 };
		float x[VECTOR_VALUES];
		struct vector v;
		struct err e;

		vector_load(&v, vectors[i], true);
		assert_true(wire_is_frame(v.frame, v.frame_len));
		assert_int_equal(wire_get_hdr(&h, v.frame, v.frame_len, &e), 0);
		assert_int_equal(h.kind, v.hdr.kind);
		assert_int_equal(h.flags, v.hdr.flags);
		assert_int_equal(h.codec, v.hdr.codec);
		assert_true(h.session == v.hdr.session);
		assert_int_equal(h.epoch, v.hdr.epoch);
		assert_int_equal(h.seq, v.hdr.seq);
		assert_int_equal(h.pos, v.hdr.pos);
		assert_int_equal(h.rows, v.hdr.rows);
		assert_int_equal(h.dim, v.hdr.dim);
		assert_int_equal(h.split, v.hdr.split);
		assert_int_equal(h.body_len, v.hdr.body_len);
		assert_int_equal(plain_decode(h.codec, v.frame + WIRE_HDR_LEN, h.body_len, h.dim,
					      h.rows, x, NULL),
				 0);
		assert_memory_equal(x, v.decoded, h.rows * h.dim * sizeof(x[0]));
	}
}

/* Where the sanitizer sees a byte read too many; true when the copy is a good frame. */
static bool reads(const uint8_t *frame, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct wire_hdr h;
	struct err e;
	int rc;

	assert_non_null(copy);
	memcpy(copy, frame, len);
	rc = wire_get_hdr(&h, copy, len, &e);
	free(copy);
	return rc == 0;
}

static void every_prefix_of_a_frame_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_VECTORS; i++) {
		struct vector v;

		vector_load(&v, vectors[i], true);
		for (size_t len = 0; len < v.frame_len; len++)
			assert_false(reads(v.frame, len));
		v.frame[v.frame_len] = 0;
		assert_false(reads(v.frame, v.frame_len + 1));
		assert_true(reads(v.frame, v.frame_len));
	}
}

static void every_flip_of_one_bit_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_VECTORS; i++) {
		struct vector v;

		vector_load(&v, vectors[i], true);
		for (size_t bit = 0; bit < 8 * v.frame_len; bit++) {
			v.frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_false(reads(v.frame, v.frame_len));
			v.frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
}

/* A good frame, one field of which a test then spoils. */
static const struct wire_hdr good = {
	.kind = WIRE_ROWS,
	.session = 1,
	.rows = 1,
	.dim = 1,
	.codec = PLAIN_F32,
	.body_len = 4,
};
static const uint8_t body[4] = { 1, 2, 3, 4 };

static int get(const uint8_t *hdr, struct err *e)
{
	uint8_t frame[WIRE_HDR_LEN + sizeof(body)];
	struct wire_hdr h;

	memcpy(frame, hdr, WIRE_HDR_LEN);
	memcpy(frame + WIRE_HDR_LEN, body, sizeof(body));
	return wire_get_hdr(&h, frame, sizeof(frame), e);
}

static void refused(struct wire_hdr h, int code, const char *why)
{
	uint8_t hdr[WIRE_HDR_LEN];
	struct err e = { 0 };

	wire_put_hdr(hdr, &h, body);
	assert_int_equal(get(hdr, &e), code);
	if (!strstr(e.text, why))
		fail_msg("\"%s\" does not say \"%s\"", e.text, why);
}

/* good with one byte changed and the CRC made to fit again. */
static void byte_refused(size_t at, uint8_t value, int code, const char *why)
{
	uint8_t hdr[WIRE_HDR_LEN];
	struct err e = { 0 };

	wire_put_hdr(hdr, &good, body);
	assert_int_equal(get(hdr, &e), 0);
	hdr[at] = value;
	le_put32(hdr + 44, crc32c(crc32c(0, hdr, 44), body, sizeof(body)));
	assert_int_equal(get(hdr, &e), code);
	if (!strstr(e.text, why))
		fail_msg("\"%s\" does not say \"%s\"", e.text, why);
}

static void what_a_header_may_not_say_is_refused_by_name(void **state)
{
	struct wire_hdr h;

	(void)state;
	byte_refused(0, '{', ERR_FORMAT, "magic");
	byte_refused(1, 'q', ERR_FORMAT, "magic");
	byte_refused(2, 2, ERR_VERSION, "version 2");
	byte_refused(2, 0, ERR_VERSION, "version 0");
	byte_refused(38, 1, ERR_FORMAT, "reserved");
	byte_refused(39, 128, ERR_FORMAT, "reserved");
	byte_refused(4, 64, ERR_FORMAT, "flags 0x40");
	byte_refused(4, 32, ERR_FORMAT, "draft");
	byte_refused(4, 33, ERR_FORMAT, "draft");
	byte_refused(4, 36, ERR_FORMAT, "draft");
	byte_refused(4, 39, ERR_FORMAT, "draft");
	byte_refused(4, 45, ERR_FORMAT, "draft");
	byte_refused(4, 52, ERR_FORMAT, "draft");
	byte_refused(4, 17, ERR_FORMAT, "two answers");
	byte_refused(4, 24, ERR_FORMAT, "two answers");
	byte_refused(4, 10, ERR_FORMAT, "logits of a fill");
	byte_refused(43, 1, ERR_FORMAT, "4 arrived");
#define REFUSED(field, value, code, why) (h = good, h.field = (value), refused(h, code, why))
	REFUSED(kind, 0, ERR_FORMAT, "kind 0");
	REFUSED(kind, WIRE_KV, ERR_FORMAT, "layers 0 to 0");
	REFUSED(kind, WIRE_KIND_END, ERR_FORMAT, "kind 4");
	REFUSED(session, 0, ERR_FORMAT, "session 0");
	REFUSED(rows, 0, ERR_FORMAT, "0 rows");
	REFUSED(rows, WIRE_MAX_ROWS + 1, ERR_FORMAT, "65537 rows");
	REFUSED(dim, 0, ERR_FORMAT, "0 elements");
	REFUSED(dim, WIRE_MAX_DIM + 1, ERR_FORMAT, "1048577 elements");
	REFUSED(pos, WIRE_MAX_POS, ERR_FORMAT, "at position 1048576");
	REFUSED(pos, UINT32_MAX, ERR_FORMAT, "at position 4294967295");
	REFUSED(split, WIRE_MAX_SPLIT + 1, ERR_FORMAT, "split 4097");
#undef REFUSED
	h = good;
	h.flags = WIRE_SAMPLE | WIRE_IDS | WIRE_DRAFT;
	refused(h, ERR_FORMAT, "draft that follows on nothing");
	h.rows = 2;
	h.pos = 1;
	refused(h, ERR_FORMAT, "draft that is not one row");
	h = good;
	h.kind = WIRE_KV;
	h.split = 3;
	h.state = 3;
	refused(h, ERR_FORMAT, "layers 3 to 3");
	h.state = WIRE_MAX_SPLIT + 1;
	refused(h, ERR_FORMAT, "layers 3 to 4097");
	h.state = 4;
	h.flags = WIRE_IDS;
	refused(h, ERR_FORMAT, "flags 0x04");
	h = good;
	h.flags = WIRE_TELL;
	h.kind = WIRE_KV;
	h.state = 4;
	refused(h, ERR_FORMAT, "flags 0x10");
	h = good;
	h.kind = WIRE_LOGITS;
	h.flags = WIRE_SAMPLE;
	refused(h, ERR_FORMAT, "flags 0x01");
}

static void a_draft_is_one_row_with_its_token(void **state)
{
	uint8_t frame[WIRE_HDR_LEN + sizeof(body)];
	struct wire_hdr h = good, got;
	struct err e;

	(void)state;
	h.flags = WIRE_SAMPLE | WIRE_IDS | WIRE_DRAFT;
	h.pos = 1;
	wire_put_hdr(frame, &h, body);
	memcpy(frame + WIRE_HDR_LEN, body, sizeof(body));
	assert_int_equal(wire_get_hdr(&got, frame, sizeof(frame), &e), 0);
	assert_int_equal(got.flags, h.flags);
	h.body_len = 3; /* no room for the token */
	wire_put_hdr(frame, &h, body);
	assert_int_equal(wire_get_hdr(&got, frame, sizeof(frame) - 1, &e), ERR_FORMAT);
	assert_non_null(strstr(e.text, "draft"));
}

static void keys_and_values_are_of_a_range_of_layers(void **state)
{
	uint8_t frame[WIRE_HDR_LEN + sizeof(body)];
	struct wire_hdr h = good, got;

	(void)state;
	h.kind = WIRE_KV;
	h.flags = WIRE_SAMPLE;
	h.seq = 3 << 16 | 1;
	h.split = 2;
	h.state = 4;
	wire_put_hdr(frame, &h, body);
	memcpy(frame + WIRE_HDR_LEN, body, sizeof(body));
	assert_int_equal(wire_get_hdr(&got, frame, sizeof(frame), NULL), 0);
	assert_int_equal(got.kind, WIRE_KV);
	assert_int_equal(got.split, 2);
	assert_int_equal(got.state, 4);
	assert_true(wire_is_fill(&got));
	h.kind = WIRE_ROWS;
	assert_false(wire_is_fill(&h));
	h.flags |= WIRE_FILL;
	assert_true(wire_is_fill(&h));
}

static void a_refused_frame_leaves_the_header_alone(void **state)
{
	uint8_t frame[WIRE_HDR_LEN] = "SQ";
	struct wire_hdr h, before;

	(void)state;
	memset(&h, 0x5a, sizeof(h));
	memcpy(&before, &h, sizeof(h));
	assert_int_equal(wire_get_hdr(&h, frame, sizeof(frame), NULL), ERR_VERSION);
	assert_memory_equal(&h, &before, sizeof(h));
}

static void the_first_byte_tells_frames_from_messages(void **state)
{
	(void)state;
	assert_false(wire_is_frame((const uint8_t *)"{}", 2));
	assert_false(wire_is_frame((const uint8_t *)"S", 0));
	assert_false(wire_is_frame((const uint8_t *)" {", 2));
	assert_true(wire_is_frame((const uint8_t *)"S", 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_described_frame_is_written_byte_for_byte),
		cmocka_unit_test(a_described_frame_is_read_value_for_value),
		cmocka_unit_test(every_prefix_of_a_frame_is_refused),
		cmocka_unit_test(every_flip_of_one_bit_is_refused),
		cmocka_unit_test(what_a_header_may_not_say_is_refused_by_name),
		cmocka_unit_test(a_draft_is_one_row_with_its_token),
		cmocka_unit_test(keys_and_values_are_of_a_range_of_layers),
		cmocka_unit_test(a_refused_frame_leaves_the_header_alone),
		cmocka_unit_test(the_first_byte_tells_frames_from_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
