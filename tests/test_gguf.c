/* tests/test_gguf.c - GGUF in memory: what is found in it, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "engine/gguf.h"
#include "tests/gguf_sample.h"
#include "tests/gguf_walk.h"

static unsigned sink; /* what is read only to be read */

/* Open a copy that ends where the allocation ends, so that a sanitizer sees one byte too far. When
 * it opens, read all of it. Returns the code. */
static int try_bytes(const uint8_t *data, size_t len, struct err *e)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct gguf *g = NULL;
	int rc;

	if (len)
		memcpy(copy, data, len);
	memset(e, 0, sizeof(*e));
	rc = gguf_open_memory(&g, copy, len, e);
	if (rc) {
		assert_null(g);
		assert_int_equal(rc, e->code);
		assert_true(rc < 0 && e->text[0]);
	} else {
		walk_gguf(g);
		gguf_close(g);
	}
	free(copy);
	return rc;
}

/* b is refused with `code`, for a reason that has both words. Frees b. */
static void refused(struct build *b, int code, const char *word, const char *other)
{
	struct err e;
	int rc = try_bytes(b->data, b->len, &e);

	if (rc != code || !strstr(e.text, word) || !strstr(e.text, other))
		fail_msg("code %d instead of %d, \"%s\" without \"%s\" or \"%s\"", rc, code, e.text,
			 word, other);
	free(b->data);
}

static void keys_and_tensors_of_both_versions_are_found(void **state)
{
	(void)state;
	for (uint32_t version = 2; version <= 3; version++) {
		struct build b = sample(version);
		struct gguf *g = open_ok(&b);
		const struct gguf_tensor *t;

		assert_int_equal(gguf_version(g), version);
		assert_int_equal(gguf_file_bytes(g), b.len);
		assert_string_equal(gguf_path(g), "(memory)");
		assert_int_equal(gguf_n_kv(g), 17);
		assert_int_equal(gguf_n_tensors(g), 3);
		assert_null(gguf_find(g, "general.alignmen"));
		assert_null(gguf_find_tensor(g, "blk.0.ww"));
		assert_memory_equal(gguf_kv_at(g, 1)->key.text, "general.alignment", 17);
		t = gguf_find_tensor(g, "blk.1.w");
		assert_ptr_equal(t, gguf_tensor_at(g, 2));
		assert_int_equal(t->type, QUANT_F16);
		assert_int_equal(t->n_dims, 4);
		assert_int_equal(t->dims[0], 3);
		assert_int_equal(t->n_rows, 2);
		assert_int_equal(t->bytes, 12);
		assert_int_equal(t->offset % 64, 0);
		assert_ptr_equal(t->data, b.data + t->offset);
		assert_int_equal(gguf_find_tensor(g, "blk.0.w")->data[2], 1);
		assert_int_equal(gguf_find_tensor(g, "token_embd.weight")->dims[3], 1);
		walk_gguf(g);
		gguf_close(g);
		free(b.data);
	}
}

static void integers_of_any_width_are_taken_when_they_fit(void **state)
{
	struct build b = sample(3);
	struct gguf *g = open_ok(&b);
	uint32_t v = 1;
	uint64_t w = 1;
	struct err e;

	(void)state;
	assert_int_equal(gguf_get_u32(g, "n.u8", &v, &e), 0);
	assert_int_equal(v, 200);
	assert_int_equal(gguf_get_u32(g, "n.u16", &v, &e), 0);
	assert_int_equal(v, 65535);
	assert_int_equal(gguf_get_u64(g, "n.i32", &w, &e), 0);
	assert_int_equal(w, 7);
	assert_int_equal(gguf_get_u64(g, "n.u64", &w, &e), 0);
	assert_true(w == UINT64_MAX);
	assert_int_equal(gguf_get_u32(g, "n.u64", &v, &e), ERR_FORMAT);
	assert_non_null(strstr(e.text, "n.u64"));
	assert_int_equal(gguf_get_u32(g, "n.i16", &v, &e), ERR_FORMAT);
	assert_non_null(strstr(e.text, "-2"));
	assert_int_equal(gguf_get_u64(g, "n.i64", &w, &e), ERR_FORMAT);
	assert_int_equal(gguf_get_u32(g, "n.f32", &v, &e), ERR_FORMAT);
	assert_int_equal(gguf_get_u32(g, "n.bool", &v, &e), ERR_FORMAT);
	assert_int_equal(gguf_get_u32(g, "a.i16", &v, &e), ERR_FORMAT);
	assert_int_equal(gguf_get_u32(g, "n.none", &v, &e), ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "n.none"));
	assert_int_equal(v, 65535); /* failures leave it alone */
	assert_true(w == UINT64_MAX);
	gguf_close(g);
	free(b.data);
}

static void floats_bools_and_strings_keep_their_types(void **state)
{
	struct build b = sample(3);
	struct gguf *g = open_ok(&b);
	struct gguf_str s = { NULL, 0 };
	bool yes = false;
	float f = 9;
	struct err e;

	(void)state;
	assert_int_equal(gguf_get_f32(g, "n.f32", &f, &e), 0);
	assert_true(f == 0.5f);
	assert_int_equal(gguf_get_f32(g, "n.f64", &f, &e), 0);
	assert_true(f == -0.25f);
	assert_int_equal(gguf_get_f32(g, "n.u8", &f, &e), ERR_FORMAT);
	assert_int_equal(gguf_get_f32(g, "x", &f, NULL), ERR_NOT_FOUND);
	assert_int_equal(gguf_get_bool(g, "n.bool", &yes, &e), 0);
	assert_true(yes);
	assert_int_equal(gguf_get_bool(g, "n.u8", &yes, &e), ERR_FORMAT);
	assert_int_equal(gguf_get_str(g, "general.architecture", &s, &e), 0);
	assert_int_equal(s.len, 5);
	assert_memory_equal(s.text, "llama", 5);
	assert_int_equal(gguf_get_str(g, "a.str", &s, &e), ERR_FORMAT);
	assert_int_equal(s.len, 5);
	gguf_close(g);
	free(b.data);
}

static void arrays_are_read_item_by_item(void **state)
{
	struct build b = sample(3);
	struct gguf *g = open_ok(&b);
	const struct gguf_kv *kv = gguf_find(g, "a.str");
	const uint8_t *cursor = kv->data;
	struct gguf_str s;

	(void)state;
	assert_int_equal(kv->count, 3);
	s = gguf_next_str(&cursor);
	assert_memory_equal(s.text, "one", s.len);
	assert_int_equal(gguf_next_str(&cursor).len, 0);
	s = gguf_next_str(&cursor);
	assert_int_equal(s.len, 5);
	assert_memory_equal(s.text, "three", 5);
	kv = gguf_find(g, "a.i16");
	assert_true(gguf_int_at(kv, 0) == -1 && gguf_float_at(kv, 1) == 9);
	kv = gguf_find(g, "a.f32");
	assert_true(gguf_float_at(kv, 0) == 1.5 && gguf_int_at(kv, 1) == -3);
	kv = gguf_find(g, "a.bool");
	assert_true(gguf_int_at(kv, 0) == 0 && gguf_int_at(kv, 1) == 1);
	assert_int_equal(gguf_find(g, "a.none")->count, 0);
	assert_true(gguf_int_at(gguf_find(g, "n.i8"), 0) == -128);
	assert_true(gguf_int_at(gguf_find(g, "n.i64"), 0) == INT64_MIN);
	assert_true(gguf_int_at(gguf_find(g, "n.u64"), 0) == INT64_MAX);
	assert_true(gguf_float_at(gguf_find(g, "n.u64"), 0) == 0x1p64);
	assert_true(gguf_uint_at(gguf_find(g, "n.u64"), 0) == UINT64_MAX);
	assert_true(gguf_uint_at(gguf_find(g, "n.u8"), 0) == 200);
	assert_true(gguf_uint_at(gguf_find(g, "n.i8"), 0) == 0);
	gguf_close(g);
	free(b.data);
}

static void a_number_that_is_not_finite_is_refused(void **state)
{
	static const double bad[] = { NAN, INFINITY, -INFINITY, 1e300 };
	static const int64_t nearest[] = { 0, INT64_MAX, INT64_MIN, INT64_MAX };
	float f = 9;
	struct err e;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct build b = { 0 };
		struct gguf *g;

		build_header(&b, 3, 0, 1);
		build_key(&b, "x", GGUF_F64), build_f64(&b, bad[i]);
		g = open_ok(&b);
		assert_int_equal(gguf_get_f32(g, "x", &f, &e), ERR_FORMAT);
		assert_true(f == 9);
		assert_true(gguf_int_at(gguf_kv_at(g, 0), 0) == nearest[i]);
		gguf_close(g);
		free(b.data);
	}
}

static void every_prefix_is_refused(void **state)
{
	struct build b = sample(3);
	struct err e;

	(void)state;
	for (size_t len = 0; len < b.len; len++) {
		int rc = try_bytes(b.data, len, &e);

		if (rc != ERR_FORMAT)
			fail_msg("prefix of %zu bytes: code %d, %s", len, rc, e.text);
	}
	assert_int_equal(try_bytes(b.data, b.len, &e), 0);
	free(b.data);
}

static void no_corrupted_byte_can_crash(void **state)
{
	struct build b = sample(3);
	unsigned opened = 0, all = 0;
	struct err e;

	(void)state;
	for (size_t i = 0; i < b.len; i++) {
		uint8_t good = b.data[i];

		for (unsigned k = 0; k < 20; k++) {
			static const uint8_t put[] = { 0, 1, 0x7f, 0x80, 0xff };

			if (k < 8) /* one bit; one more, one less; extremes; then anything */
				b.data[i] = good ^ (uint8_t)(1u << k);
			else if (k < 10)
				b.data[i] = (uint8_t)(good + (k == 8 ? 1 : -1));
			else if (k < 15)
				b.data[i] = put[k - 10];
			else
				b.data[i] = (uint8_t)rng_u64(i, k);
			opened += try_bytes(b.data, b.len, &e) == 0;
			all++;
		}
		b.data[i] = good;
	}
	/* Both happen: damage to weights, text and numbers is not seen, damage to the structure
	 * is. */
	assert_in_range(opened, all / 10, all * 9 / 10);
	free(b.data);
}

static void no_extreme_size_anywhere_can_crash(void **state)
{
	static const uint64_t extremes[] = { 0,
					     1,
					     2,
					     9,
					     13,
					     0x7f,
					     0xff,
					     0x7fff,
					     0xffff,
					     1u << 20,
					     0x7fffffff,
					     0x80000000,
					     0xffffffff,
					     0x100000000,
					     1ull << 60,
					     (1ull << 61) - 1,
					     1ull << 62,
					     INT64_MAX,
					     1ull << 63,
					     UINT64_MAX - 64,
					     UINT64_MAX - 1,
					     UINT64_MAX };
	struct build b = sample(3);
	struct err e;

	(void)state;
	for (size_t i = 4; i + 8 <= b.len; i++) {
		uint8_t good[8];

		memcpy(good, b.data + i, 8);
		for (size_t k = 0; k < sizeof(extremes) / sizeof(extremes[0]); k++) {
			for (size_t byte = 0; byte < 8; byte++)
				b.data[i + byte] = (uint8_t)(extremes[k] >> 8 * byte);
			sink += (unsigned)try_bytes(b.data, b.len, &e);
			memcpy(b.data + i + 4, good + 4, 4); /* the same in 32 bits */
			sink += (unsigned)try_bytes(b.data, b.len, &e);
			memcpy(b.data + i, good, 8);
		}
	}
	free(b.data);
}

static void what_is_no_gguf_of_ours_is_named(void **state)
{
	struct build b = { 0 };

	(void)state;
	build_bytes(&b, "GGML\3\0\0\0................", 24);
	refused(&b, ERR_FORMAT, "not a GGUF", "");
	b = sample(3);
	memcpy(b.data + 4, "\0\0\0\3", 4);
	refused(&b, ERR_UNSUPPORTED, "big-endian", "");
	b = sample(1);
	refused(&b, ERR_VERSION, "version 1", "");
	b = sample(4);
	refused(&b, ERR_VERSION, "version 4", "");
}

static void counts_beyond_the_file_allocate_nothing(void **state)
{
	struct build b = { 0 };

	(void)state;
	build_header(&b, 3, 0, 1ull << 40);
	refused(&b, ERR_FORMAT, "keys", "1099511627776");
	b = (struct build){ 0 };
	build_header(&b, 3, UINT64_MAX, 0);
	refused(&b, ERR_FORMAT, "tensors", "18446744073709551615");
	b = (struct build){ 0 };
	build_header(&b, 3, 0, 1);
	build_key_array(&b, "k", GGUF_STRING, 1ull << 61), build_u64(&b, 0);
	refused(&b, ERR_FORMAT, "key k at offset 24", "2305843009213693952 items");
	b = (struct build){ 0 };
	build_header(&b, 3, 0, 1);
	build_key(&b, "some.key", GGUF_STRING), build_u64(&b, UINT64_MAX);
	refused(&b, ERR_FORMAT, "key some.key at offset 24", "the file has 0 more");
}

static struct build one_value(uint32_t type)
{
	struct build b = { 0 };

	build_header(&b, 3, 0, 1);
	build_key(&b, "some.key", type);
	return b;
}

static void values_that_make_no_sense_name_their_key(void **state)
{
	struct build b = one_value(13);

	(void)state;
	build_u64(&b, 0);
	refused(&b, ERR_FORMAT, "some.key", "13");
	b = one_value(GGUF_BOOL);
	build_number(&b, 2, 1);
	refused(&b, ERR_FORMAT, "some.key", "bool");
	b = one_value(GGUF_ARRAY);
	build_u32(&b, GGUF_BOOL), build_u64(&b, 3), build_bytes(&b, "\0\1\3", 3);
	refused(&b, ERR_FORMAT, "some.key", "bool");
	b = one_value(GGUF_ARRAY);
	build_u32(&b, GGUF_ARRAY), build_u64(&b, 1), build_u32(&b, GGUF_U8), build_u64(&b, 0);
	refused(&b, ERR_UNSUPPORTED, "some.key", "array of arrays");
	b = one_value(GGUF_ARRAY);
	build_u32(&b, 99), build_u64(&b, 0);
	refused(&b, ERR_FORMAT, "some.key", "99");
}

static struct build with_alignment(uint32_t alignment)
{
	struct build b = { 0 };

	build_header(&b, 3, 1, 1);
	build_key_u32(&b, "general.alignment", alignment);
	build_tensor(&b, "x", QUANT_F32, 1, (uint64_t[]){ 1 }, 0);
	build_pad(&b, alignment && alignment <= 1u << 21 ? alignment : 1);
	build_f32(&b, 1);
	return b;
}

static void the_alignment_is_a_sane_power_of_two(void **state)
{
	static const uint32_t bad[] = { 0, 1, 4, 12, 33, 1u << 21, UINT32_MAX };
	struct build b;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		b = with_alignment(bad[i]);
		refused(&b, ERR_FORMAT, "general.alignment", "power of two");
	}
	for (uint32_t good = 8; good <= 1u << 20; good *= 2) {
		b = with_alignment(good);
		assert_int_equal(try_bytes(b.data, b.len, &e), 0);
		free(b.data);
	}
	b = (struct build){ 0 };
	build_header(&b, 3, 0, 1);
	build_key_str(&b, "general.alignment", "32");
	refused(&b, ERR_FORMAT, "general.alignment", "integer");
}

static void tensor_dimensions_are_held_against_type_and_file(void **state)
{
	static const struct {
		uint32_t type, n_dims;
		uint64_t dims[5], offset;
		int code;
		const char *word;
	} cases[] = {
		{ QUANT_F32, 1, { 1024 }, 0, 0, "" },
		{ QUANT_F32, 4, { 2, 4, 8, 16 }, 0, 0, "" },
		{ QUANT_F32, 1, { 1025 }, 0, ERR_FORMAT, "4100 bytes at offset" },
		{ QUANT_F32, 1, { 1024 }, 32, ERR_FORMAT, "the file ends at" },
		{ QUANT_F32, 1, { 1 }, 4096, ERR_FORMAT, "the file ends at" },
		{ QUANT_F32, 1, { 1 }, 4, ERR_FORMAT, "multiple of 32" },
		{ QUANT_F32, 1, { 1 }, UINT64_MAX - 31, ERR_FORMAT, "the file ends at" },
		{ QUANT_F32, 0, { 0 }, 0, ERR_FORMAT, "0 dimensions" },
		{ QUANT_F32, 5, { 1, 1, 1, 1, 1 }, 0, ERR_FORMAT, "5 dimensions" },
		{ QUANT_F32, 2, { 8, 0 }, 0, ERR_FORMAT, "dimension 1 is zero" },
		{ QUANT_Q8_0,
		  2,
		  { 48, 2 },
		  0,
		  ERR_FORMAT,
		  "48 elements, Q8_0 wants a multiple of 32" },
		{ QUANT_Q6_K, 1, { 32 }, 0, ERR_FORMAT, "multiple of 256" },
		{ QUANT_F32, 2, { 1ull << 32, 1ull << 32 }, 0, ERR_FORMAT, "more bytes" },
		{ QUANT_F32, 1, { 1ull << 62 }, 0, ERR_FORMAT, "more bytes" },
		{ QUANT_F32, 4, { 1, 1ull << 32, 1ull << 32, 1 }, 0, ERR_FORMAT, "more bytes" },
		{ QUANT_F32,
		  4,
		  { 1, 1ull << 32, 1ull << 16, 1ull << 16 },
		  0,
		  ERR_FORMAT,
		  "more bytes" },
		{ 4, 1, { 32 }, 0, ERR_UNSUPPORTED, "type number 4" },
		{ 16, 1, { 256 }, 0, ERR_UNSUPPORTED, "type number 16" },
		{ UINT32_MAX, 1, { 32 }, 0, ERR_UNSUPPORTED, "4294967295" },
	};
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct build b =
			one_tensor(cases[i].type, cases[i].n_dims, cases[i].dims, cases[i].offset);

		if (cases[i].code) {
			refused(&b, cases[i].code, "tensor w", cases[i].word);
		} else {
			assert_int_equal(try_bytes(b.data, b.len, &e), 0);
			free(b.data);
		}
	}
}

/* Two tensors of 16 and 16 floats at the given offsets. */
static struct build two_tensors(const char *first, const char *second, uint64_t a,
				uint64_t b_offset)
{
	struct build b = { 0 };

	build_header(&b, 3, 2, 0);
	build_tensor(&b, first, QUANT_F32, 1, (uint64_t[]){ 16 }, a);
	build_tensor(&b, second, QUANT_F32, 1, (uint64_t[]){ 16 }, b_offset);
	build_pad(&b, 32);
	for (int i = 0; i < 64; i++)
		build_u64(&b, 0);
	return b;
}

static void no_two_tensors_share_a_byte_or_a_name(void **state)
{
	struct build b = two_tensors("a", "b", 64, 0);
	struct err e;

	(void)state;
	assert_int_equal(try_bytes(b.data, b.len, &e), 0);
	free(b.data);
	b = two_tensors("a", "b", 64, 32);
	refused(&b, ERR_FORMAT, "tensor a", "overlaps b");
	b = two_tensors("a", "b", 64, 64);
	refused(&b, ERR_FORMAT, "overlaps", "b");
	b = two_tensors("blk.0.attn_q.weight", "blk.0.attn_q.weight", 0, 64);
	refused(&b, ERR_FORMAT, "blk.0.attn_q.weight", "twice");
}

static void no_key_is_there_twice(void **state)
{
	struct build b = { 0 };

	(void)state;
	build_header(&b, 3, 0, 3);
	build_key_u32(&b, "llama.block_count", 1);
	build_key_u32(&b, "llama.block_coun", 1);
	build_key_str(&b, "llama.block_count", "2");
	refused(&b, ERR_FORMAT, "llama.block_count", "twice");
}

static void names_are_short_and_printable(void **state)
{
	char name[66];
	struct build b;
	struct err e;

	(void)state;
	memset(name, 'n', sizeof(name));
	name[65] = '\0';
	b = two_tensors("a", name, 0, 64);
	refused(&b, ERR_FORMAT, "tensor at offset", "65 bytes");
	name[64] = '\0';
	b = two_tensors("a", name, 0, 64);
	assert_int_equal(try_bytes(b.data, b.len, &e), 0);
	free(b.data);
	b = two_tensors("a", "", 0, 64);
	refused(&b, ERR_FORMAT, "tensor at offset", "0 bytes");
	b = two_tensors("a", "red\033[31m", 0, 64);
	refused(&b, ERR_FORMAT, "tensor at offset", "control character 27");
	b = (struct build){ 0 };
	build_header(&b, 3, 0, 1);
	build_key_u32(&b, "two\nlines", 1);
	refused(&b, ERR_FORMAT, "key at offset 24", "control character 10");
}

static void a_key_may_have_65535_bytes(void **state)
{
	char *key = malloc(65537);
	struct err e;

	(void)state;
	memset(key, 'k', 65536);
	for (size_t len = 65535; len <= 65536; len++) {
		struct build b = { 0 };

		key[len] = '\0';
		build_header(&b, 3, 0, 1);
		build_key_u32(&b, key, 1);
		assert_int_equal(try_bytes(b.data, b.len, &e), len == 65535 ? 0 : ERR_FORMAT);
		free(b.data);
		key[len] = 'k';
	}
	free(key);
}

static void many_keys_and_tensors_open_quickly(void **state)
{
	enum { MANY = 50000 };
	struct build b = { 0 };
	uint64_t begin;
	char name[32];
	struct err e;

	(void)state;
	build_header(&b, 3, MANY, MANY);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "key.%u", MANY - i);
		build_key_u32(&b, name, i);
	}
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "tensor.%u", i * 7919 % MANY);
		build_tensor(&b, name, QUANT_F32, 1, (uint64_t[]){ 8 }, 32ull * (MANY - 1 - i));
	}
	build_pad(&b, 32);
	for (unsigned i = 0; i < MANY * 4; i++)
		build_u64(&b, 0);
	begin = clock_now_ms();
	assert_int_equal(try_bytes(b.data, b.len, &e), 0);
	/* n log n takes 0.1 s; n squared 10 s, and more under a sanitizer */
	assert_true(clock_now_ms() - begin < 5000);
	free(b.data);
}

static void a_vocabulary_without_tensors_opens(void **state)
{
	struct build b = { 0 };
	struct gguf *g;
	char hash[GGUF_HASH_LEN + 1];

	(void)state;
	build_header(&b, 3, 0, 1);
	build_key_str(&b, "tokenizer.ggml.model", "gpt2");
	assert_true(b.len % 32 != 0); /* there is no padding at the end */
	g = open_ok(&b);
	assert_int_equal(gguf_n_tensors(g), 0);
	assert_null(gguf_find_tensor(g, "x"));
	assert_int_equal(gguf_hash(g, hash, NULL), 0);
	gguf_close(g);
	free(b.data);
	b = (struct build){ 0 };
	build_header(&b, 2, 0, 0);
	g = open_ok(&b);
	assert_null(gguf_find(g, "x"));
	gguf_close(g);
	free(b.data);
}

/* The linker sends these calls here (tests/meson.build): the n-th allocation from now fails. */
static unsigned fail_after = UINT32_MAX;

void *__real_calloc(size_t n, size_t size);
char *__real_strdup(const char *s);
void *__wrap_calloc(size_t n, size_t size);
char *__wrap_strdup(const char *s);

void *__wrap_calloc(size_t n, size_t size)
{
	return fail_after-- == 0 ? NULL : __real_calloc(n, size);
}

char *__wrap_strdup(const char *s)
{
	return fail_after-- == 0 ? NULL : __real_strdup(s);
}

static void every_allocation_may_fail(void **state)
{
	struct build b = sample(3);
	unsigned n = 0;
	struct gguf *g;
	struct err e;
	int rc;

	(void)state;
	do {
		g = NULL;
		fail_after = n++;
		rc = gguf_open_memory(&g, b.data, b.len, &e);
		fail_after = UINT32_MAX;
		assert_true(rc == 0 || (rc == ERR_NOMEM && !g));
	} while (rc);
	assert_int_equal(n, 8); /* seven allocations */
	gguf_close(g);
	free(b.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_and_tensors_of_both_versions_are_found),
		cmocka_unit_test(integers_of_any_width_are_taken_when_they_fit),
		cmocka_unit_test(floats_bools_and_strings_keep_their_types),
		cmocka_unit_test(arrays_are_read_item_by_item),
		cmocka_unit_test(a_number_that_is_not_finite_is_refused),
		cmocka_unit_test(every_prefix_is_refused),
		cmocka_unit_test(no_corrupted_byte_can_crash),
		cmocka_unit_test(no_extreme_size_anywhere_can_crash),
		cmocka_unit_test(what_is_no_gguf_of_ours_is_named),
		cmocka_unit_test(counts_beyond_the_file_allocate_nothing),
		cmocka_unit_test(values_that_make_no_sense_name_their_key),
		cmocka_unit_test(the_alignment_is_a_sane_power_of_two),
		cmocka_unit_test(tensor_dimensions_are_held_against_type_and_file),
		cmocka_unit_test(no_two_tensors_share_a_byte_or_a_name),
		cmocka_unit_test(no_key_is_there_twice),
		cmocka_unit_test(names_are_short_and_printable),
		cmocka_unit_test(a_key_may_have_65535_bytes),
		cmocka_unit_test(many_keys_and_tensors_open_quickly),
		cmocka_unit_test(a_vocabulary_without_tensors_opens),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
