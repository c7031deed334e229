/* tests/test_kv_vectors.c - golden KV frames: what a cache gives and takes, byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kv_rows.h"
#include "tests/vector.h"

#define CONTEXT 128

static const char *const vectors[KV_TYPE_COUNT] = { "kv_f16", "kv_f32", "kv_q8_0", "kv_q4_0" };

struct golden {
	uint8_t frame[VECTOR_FRAME];
	size_t frame_len;
	struct wire_hdr hdr;
	uint32_t crc;
	float input[VECTOR_VALUES], decoded[VECTOR_VALUES]; /* [layers][rows][dim] */
	size_t values;
	struct model_hparams hp; /* as far as caches look at it */
	enum kv_type type;
};

static struct wire_hdr header_of(const struct json *o, enum kv_type type)
{
	return (struct wire_hdr){
		.kind = WIRE_KV,
		.flags = vector_flags(json_get(o, "flags")),
		.codec = (uint8_t)type,
		.state = (uint16_t)vector_number(o, "upto", true),
		.session = strtoull(vector_word(o, "session", true), NULL, 16),
		.epoch = vector_number(o, "epoch", true),
		.seq = vector_number(o, "seq", true),
		.pos = vector_number(o, "pos", true),
		.rows = vector_number(o, "rows", true),
		.dim = vector_number(o, "dim", true),
		.split = (uint16_t)vector_number(o, "split", true),
		.body_len = vector_number(o, "body_len", true),
	};
}

static void load(struct golden *g, enum kv_type type)
{
	static char text[VECTOR_TEXT];
	const char *name = vectors[type];
	struct json *o;
	struct err e;

	*g = (struct golden){ .type = type };
	if (json_parse(&o, text, vector_read_file(name, ".json", text, sizeof(text)), &e))
		fail_msg("%s", e.text);
	assert_string_equal(vector_word(o, "codec", true), kv_type_name(type));
	g->hdr = header_of(o, type);
	g->crc = (uint32_t)strtoul(vector_word(o, "crc", true), NULL, 16);
	g->hp = (struct model_hparams){
		.n_layers = 8,
		.n_kv_heads = vector_number(o, "heads", true),
		.head_dim = vector_number(o, "key_elements", true),
		.head_dim_v = vector_number(o, "value_elements", true),
	};
	g->values = (size_t)(g->hdr.state - g->hdr.split) * g->hdr.rows * g->hdr.dim;
	vector_values(json_get(o, "input"), g->input, (uint32_t)g->values);
	vector_values(json_get(o, "decoded"), g->decoded, (uint32_t)g->values);
	json_free(o);
	g->frame_len = vector_read_file(name, ".bin", g->frame, sizeof(g->frame));
}

/* Bytes of type `from` through a cache of type `to`, at position 0 -> dst. Returns their number. */
static size_t through(const struct golden *g, enum kv_type from, const void *src, size_t len,
		      enum kv_type to, uint8_t dst[static VECTOR_FRAME])
{
	const struct kv_rows_range r = { g->hdr.split, g->hdr.state, 0, g->hdr.rows };
	struct kv *kv = NULL;
	size_t n;

	assert_int_equal(kv_create(&kv, NULL, &g->hp, r.first, r.last, CONTEXT, to), 0);
	assert_int_equal(kv_rows_put(kv, from, &r, src, len), 0);
	n = kv_rows_bytes(kv) * (r.last - r.first) * r.rows;
	assert_int_equal(kv_rows_get(kv, &r, dst, VECTOR_FRAME), 0);
	kv_destroy(kv);
	return n;
}

static void a_header_says_type_and_layers(void **state)
{
	(void)state;
	for (unsigned t = 0; t < KV_TYPE_COUNT; t++) {
		struct wire_hdr h;
		struct golden g;
		uint8_t head[WIRE_HDR_LEN];

		load(&g, (enum kv_type)t);
		assert_int_equal(wire_get_hdr(&h, g.frame, g.frame_len, NULL), 0);
		assert_int_equal(h.kind, WIRE_KV);
		assert_int_equal(h.codec, t);
		assert_int_equal(h.state, g.hdr.state);
		assert_int_equal(h.split, g.hdr.split);
		assert_int_equal(h.body_len, g.hdr.body_len);
		wire_put_hdr(head, &g.hdr, g.frame + WIRE_HDR_LEN);
		assert_memory_equal(head, g.frame, WIRE_HDR_LEN);
	}
}

static void a_cache_gives_the_golden_bytes(void **state)
{
	(void)state;
	for (unsigned t = 0; t < KV_TYPE_COUNT; t++) {
		uint8_t made[VECTOR_FRAME];
		struct golden g;

		load(&g, (enum kv_type)t);
		assert_int_equal(
			through(&g, KV_F32, g.input, g.values * sizeof(float), g.type, made),
			g.hdr.body_len);
		assert_memory_equal(made, g.frame + WIRE_HDR_LEN, g.hdr.body_len);
	}
}

static void a_cache_of_floats_has_what_the_golden_bytes_mean(void **state)
{
	(void)state;
	for (unsigned t = 0; t < KV_TYPE_COUNT; t++) {
		uint8_t made[VECTOR_FRAME];
		struct golden g;

		load(&g, (enum kv_type)t);
		assert_int_equal(
			through(&g, g.type, g.frame + WIRE_HDR_LEN, g.hdr.body_len, KV_F32, made),
			g.values * sizeof(float));
		assert_memory_equal(made, g.decoded, g.values * sizeof(float));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_header_says_type_and_layers),
		cmocka_unit_test(a_cache_gives_the_golden_bytes),
		cmocka_unit_test(a_cache_of_floats_has_what_the_golden_bytes_mean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
