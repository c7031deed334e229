/* tests/gguf_walk.h - touch every byte that an opened file claims to have, as later code would.
 *
 * A sanitizer then sees whatever the reader has believed too easily. */
#ifndef TESTS_GGUF_WALK_H
#define TESTS_GGUF_WALK_H

#include <stdlib.h>
#include <string.h>

#include "engine/gguf.h"

/* Stop the program, under a sanitizer with a trace: the file was opened, but a promise is
 * broken. */
static inline void walk_must(bool truth)
{
	if (!truth)
		abort();
}

static inline unsigned walk_bytes(const void *bytes, size_t n)
{
	const uint8_t *p = bytes;
	unsigned sum = 0;

	while (n--)
		sum += p[n];
	return sum;
}

static inline unsigned walk_kv(const struct gguf *g, const struct gguf_kv *kv)
{
	unsigned sum = walk_bytes(kv->key.text, kv->key.len);
	const uint8_t *cursor = kv->data;
	char key[256];

	walk_must(kv->type < GGUF_VALUE_TYPE_COUNT && kv->item_type < GGUF_VALUE_TYPE_COUNT);
	walk_must(kv->type == GGUF_ARRAY || (kv->type == kv->item_type && kv->count == 1));
	walk_must(kv->item_type != GGUF_ARRAY);
	if (kv->key.len < sizeof(key)) {
		memcpy(key, kv->key.text, kv->key.len);
		key[kv->key.len] = '\0';
		walk_must(gguf_find(g, key) == kv);
	}
	for (uint64_t i = 0; i < kv->count; i++) {
		if (kv->item_type == GGUF_STRING) {
			struct gguf_str s = gguf_next_str(&cursor);

			sum += walk_bytes(s.text, s.len);
		} else {
			sum += (unsigned)gguf_int_at(kv, i);
			sum += (unsigned)gguf_uint_at(kv, i);
			sum += gguf_float_at(kv, i) > 0;
		}
	}
	return sum;
}

static inline unsigned walk_tensor(const struct gguf *g, const struct gguf_tensor *t)
{
	float row[1024];

	walk_must(gguf_find_tensor(g, t->name) == t);
	walk_must(t->n_dims >= 1 && t->n_dims <= GGUF_MAX_DIMS);
	walk_must(t->n_rows == t->dims[1] * t->dims[2] * t->dims[3]);
	walk_must(t->bytes == t->n_rows * quant_row_bytes(t->type, t->dims[0]) && t->bytes > 0);
	walk_must(t->offset + t->bytes <= gguf_file_bytes(g));
	if (t->dims[0] <= 1024)
		quant_dequant_row(t->type, t->data, row, t->dims[0]);
	return walk_bytes(t->data, t->bytes);
}

static inline void walk_gguf(const struct gguf *g)
{
	volatile unsigned kept; /* or else the compiler might leave out the reads */
	char hash[GGUF_HASH_LEN + 1];
	unsigned sum = 0;
	struct err e;

	for (size_t i = 0; i < gguf_n_kv(g); i++)
		sum += walk_kv(g, gguf_kv_at(g, i));
	for (size_t i = 0; i < gguf_n_tensors(g); i++)
		sum += walk_tensor(g, gguf_tensor_at(g, i));
	if (!gguf_hash(g, hash, &e))
		walk_must(strlen(hash) == GGUF_HASH_LEN);
	kept = sum;
	(void)kept;
}

#endif
