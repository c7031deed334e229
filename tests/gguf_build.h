/* tests/gguf_build.h - GGUF bytes made in memory, right or deliberately wrong.
 *
 *	struct build b = { 0 };
 *	build_header(&b, 3, n_tensors, n_keys);
 *	build_key_u32(&b, "general.alignment", 64);
 *	build_tensor(&b, "x", QUANT_F32, 1, (uint64_t[]){ 8 }, offset);
 *	build_pad(&b, 64);
 *	build_bytes(&b, weights, 32);
 *	... b.data, b.len ...
 *	free(b.data);
 *
 * For tests only: stops the program when memory runs out. */
#ifndef TESTS_GGUF_BUILD_H
#define TESTS_GGUF_BUILD_H

#include <stdlib.h>
#include <string.h>

#include "engine/gguf.h"

struct build {
	uint8_t *data; /* the caller frees */
	size_t len, cap;
};

static inline void build_bytes(struct build *b, const void *bytes, size_t n)
{
	if (n > b->cap - b->len) {
		b->cap = 2 * (b->len + n);
		b->data = realloc(b->data, b->cap);
		if (!b->data)
			abort();
	}
	if (n)
		memcpy(b->data + b->len, bytes, n);
	b->len += n;
}

/* Little-endian number of n bytes. */
static inline void build_number(struct build *b, uint64_t v, size_t n)
{
	uint8_t bytes[8];

	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)(v >> 8 * i);
	build_bytes(b, bytes, n);
}

static inline void build_u32(struct build *b, uint32_t v)
{
	build_number(b, v, 4);
}

static inline void build_u64(struct build *b, uint64_t v)
{
	build_number(b, v, 8);
}

static inline void build_f32(struct build *b, float v)
{
	uint32_t bits;

	memcpy(&bits, &v, sizeof(bits));
	build_u32(b, bits);
}

static inline void build_f64(struct build *b, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof(bits));
	build_u64(b, bits);
}

static inline void build_str(struct build *b, const char *s)
{
	build_u64(b, strlen(s));
	build_bytes(b, s, strlen(s));
}

static inline void build_header(struct build *b, uint32_t version, uint64_t tensors, uint64_t keys)
{
	build_bytes(b, "GGUF", 4);
	build_u32(b, version);
	build_u64(b, tensors);
	build_u64(b, keys);
}

/* Key and type; the value is the caller's. */
static inline void build_key(struct build *b, const char *key, uint32_t type)
{
	build_str(b, key);
	build_u32(b, type);
}

static inline void build_key_u32(struct build *b, const char *key, uint32_t v)
{
	build_key(b, key, GGUF_U32);
	build_u32(b, v);
}

static inline void build_key_f32(struct build *b, const char *key, float v)
{
	build_key(b, key, GGUF_F32);
	build_f32(b, v);
}

static inline void build_key_bool(struct build *b, const char *key, uint8_t v)
{
	build_key(b, key, GGUF_BOOL);
	build_number(b, v, 1);
}

static inline void build_key_str(struct build *b, const char *key, const char *v)
{
	build_key(b, key, GGUF_STRING);
	build_str(b, v);
}

/* Key, item type and count; the items are the caller's. */
static inline void build_key_array(struct build *b, const char *key, uint32_t item_type,
				   uint64_t count)
{
	build_key(b, key, GGUF_ARRAY);
	build_u32(b, item_type);
	build_u64(b, count);
}

/* One row of the tensor list; offset counts from the start of the weights. */
static inline void build_tensor(struct build *b, const char *name, uint32_t type, uint32_t n_dims,
				const uint64_t *dims, uint64_t offset)
{
	build_str(b, name);
	build_u32(b, n_dims);
	for (uint32_t i = 0; i < n_dims; i++)
		build_u64(b, dims[i]);
	build_u32(b, type);
	build_u64(b, offset);
}

/* Zeros up to the next multiple of alignment. */
static inline void build_pad(struct build *b, size_t alignment)
{
	while (b->len % alignment)
		build_number(b, 0, 1);
}

#endif
