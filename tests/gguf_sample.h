/* tests/gguf_sample.h - whole GGUF files in memory that are right. Include it after cmocka.h. */
#ifndef TESTS_GGUF_SAMPLE_H
#define TESTS_GGUF_SAMPLE_H

#include "tests/gguf_build.h"

/* Every value type, arrays of numbers and strings, three tensors of different types; the last byte
 * of the file is the last byte of a tensor. */
static inline struct build sample(uint32_t version)
{
	struct build b = { 0 };
	uint8_t block[34] = { 0x00, 0x3c, 1, 2, 3 }; /* Q8_0: d = 1 */

	build_header(&b, version, 3, 17);
	build_key_str(&b, "general.architecture", "llama");
	build_key_u32(&b, "general.alignment", 64);
	build_key(&b, "n.u8", GGUF_U8), build_number(&b, 200, 1);
	build_key(&b, "n.i8", GGUF_I8), build_number(&b, 0x80, 1);
	build_key(&b, "n.u16", GGUF_U16), build_number(&b, 65535, 2);
	build_key(&b, "n.i16", GGUF_I16), build_number(&b, 0xfffe, 2);
	build_key(&b, "n.i32", GGUF_I32), build_u32(&b, 7);
	build_key(&b, "n.u64", GGUF_U64), build_u64(&b, UINT64_MAX);
	build_key(&b, "n.i64", GGUF_I64), build_u64(&b, 1ull << 63);
	build_key_f32(&b, "n.f32", 0.5f);
	build_key(&b, "n.f64", GGUF_F64), build_f64(&b, -0.25);
	build_key_bool(&b, "n.bool", 1);
	build_key_array(&b, "a.str", GGUF_STRING, 3);
	build_str(&b, "one"), build_str(&b, ""), build_str(&b, "three");
	build_key_array(&b, "a.i16", GGUF_I16, 2), build_number(&b, 0xffff, 2),
		build_number(&b, 9, 2);
	build_key_array(&b, "a.f32", GGUF_F32, 2), build_f32(&b, 1.5f), build_f32(&b, -3);
	build_key_array(&b, "a.bool", GGUF_BOOL, 2), build_number(&b, 0, 1), build_number(&b, 1, 1);
	build_key_array(&b, "a.none", GGUF_STRING, 0);
	build_tensor(&b, "token_embd.weight", QUANT_F32, 2, (uint64_t[]){ 4, 2 }, 0);
	build_tensor(&b, "blk.0.w", QUANT_Q8_0, 1, (uint64_t[]){ 32 }, 128);
	build_tensor(&b, "blk.1.w", QUANT_F16, 4, (uint64_t[]){ 3, 1, 2, 1 }, 64);
	build_pad(&b, 64);
	for (int i = 0; i < 8; i++)
		build_f32(&b, (float)i);
	build_pad(&b, 64);
	for (int i = 0; i < 6; i++)
		build_number(&b, 0x3c00, 2);
	build_pad(&b, 64);
	build_bytes(&b, block, sizeof(block));
	return b;
}

static inline struct gguf *open_ok(const struct build *b)
{
	struct gguf *g = NULL;
	struct err e;

	if (gguf_open_memory(&g, b->data, b->len, &e))
		fail_msg("%s", e.text);
	return g;
}

/* A file of one tensor "w" as given, with 4096 bytes behind the header. */
static inline struct build one_tensor(uint32_t type, uint32_t n_dims, const uint64_t *dims,
				      uint64_t offset)
{
	struct build b = { 0 };

	build_header(&b, 3, 1, 0);
	build_tensor(&b, "w", type, n_dims, dims, offset);
	build_pad(&b, 32);
	for (int i = 0; i < 512; i++)
		build_u64(&b, 0);
	return b;
}

#endif
