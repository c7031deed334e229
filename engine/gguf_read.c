/* engine/gguf_read.c - the bytes before the weights.
 *
 *   "GGUF", u32 version, u64 tensors, u64 keys
 *   keys:    string key, u32 type, value       (array: u32 item type, u64 count, items)
 *   tensors: string name, u32 n_dims, u64 dims[n_dims], u32 type, u64 offset
 *   padding to the alignment; tensor offsets count from here
 *
 * Every number is held against the bytes that are left before it is used for anything. */
#include "engine/gguf_file.h"

#include <stdlib.h>
#include <string.h>

#define KV_BYTES_MIN     14 /* 8 + a key of 1, 4, a value of 1 */
#define TENSOR_BYTES_MIN 33 /* 8 + a name of 1, 4, 8, 4, 8 */

struct cursor {
	const uint8_t *data;
	size_t pos, len; /* pos <= len */
};

/* The next n bytes; NULL (ERR_FORMAT) when there are not so many. */
static const uint8_t *take(struct cursor *c, uint64_t n, struct err *e)
{
	const uint8_t *bytes = c->data + c->pos;

	if (n > c->len - c->pos) {
		err_set(e, ERR_FORMAT, "%llu bytes wanted at offset %zu, the file has %zu more",
			(unsigned long long)n, c->pos, c->len - c->pos);
		return NULL;
	}
	c->pos += (size_t)n;
	return bytes;
}

static int take_u32(struct cursor *c, uint32_t *v, struct err *e)
{
	const uint8_t *bytes = take(c, 4, e);

	if (!bytes)
		return ERR_FORMAT;
	*v = (uint32_t)gguf_number(bytes, 4);
	return 0;
}

static int take_u64(struct cursor *c, uint64_t *v, struct err *e)
{
	const uint8_t *bytes = take(c, 8, e);

	if (!bytes)
		return ERR_FORMAT;
	*v = gguf_number(bytes, 8);
	return 0;
}

static int take_str(struct cursor *c, struct gguf_str *s, struct err *e)
{
	const uint8_t *bytes;
	uint64_t len;
	int rc = take_u64(c, &len, e);

	if (rc)
		return rc;
	bytes = take(c, len, e);
	if (!bytes)
		return ERR_FORMAT;
	s->text = (const char *)bytes;
	s->len = (size_t)len;
	return 0;
}

/* A key or name: printed in messages and compared as C text, so no control characters. */
static int take_name(struct cursor *c, struct gguf_str *s, size_t max, struct err *e)
{
	int rc = take_str(c, s, e);

	if (rc)
		return rc;
	if (s->len == 0 || s->len > max)
		return err_set(e, ERR_FORMAT, "name of %zu bytes, 1..%zu allowed", s->len, max);
	for (size_t i = 0; i < s->len; i++) {
		uint8_t byte = (uint8_t)s->text[i];

		if (byte < 0x20 || byte == 0x7f)
			return err_set(e, ERR_FORMAT, "name with the control character %u", byte);
	}
	return 0;
}

size_t gguf_value_bytes(enum gguf_value_type type)
{
	static const uint8_t bytes[GGUF_VALUE_TYPE_COUNT] = {
		[GGUF_U8] = 1,  [GGUF_I8] = 1,  [GGUF_U16] = 2, [GGUF_I16] = 2,
		[GGUF_U32] = 4, [GGUF_I32] = 4, [GGUF_F32] = 4, [GGUF_BOOL] = 1,
		[GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
	};

	return bytes[type];
}

static int take_type(struct cursor *c, enum gguf_value_type *type, struct err *e)
{
	uint32_t number;
	int rc = take_u32(c, &number, e);

	if (rc)
		return rc;
	if (number >= GGUF_VALUE_TYPE_COUNT)
		return err_set(e, ERR_FORMAT, "no value type has the number %u", number);
	*type = number;
	return 0;
}

static int check_bools(const uint8_t *items, uint64_t count, struct err *e)
{
	for (uint64_t i = 0; i < count; i++) {
		if (items[i] > 1)
			return err_set(e, ERR_FORMAT, "a bool must be 0 or 1, not %u", items[i]);
	}
	return 0;
}

/* `count` values of type, which follow each other without padding. */
static int take_items(struct cursor *c, enum gguf_value_type type, uint64_t count, struct err *e)
{
	size_t left = c->len - c->pos, each = type == GGUF_STRING ? 8 : gguf_value_bytes(type);
	const uint8_t *items;
	struct gguf_str s;
	int rc = 0;

	if (count > left / each)
		return err_set(
			e, ERR_FORMAT,
			"%llu items of at least %zu bytes at offset %zu, the file has %zu more",
			(unsigned long long)count, each, c->pos, left);
	if (type == GGUF_STRING) {
		for (uint64_t i = 0; !rc && i < count; i++)
			rc = take_str(c, &s, e);
		return rc;
	}
	items = take(c, count * each, e);
	if (!items)
		return ERR_FORMAT;
	return type == GGUF_BOOL ? check_bools(items, count, e) : 0;
}

static int take_value(struct cursor *c, struct gguf_kv *kv, struct err *e)
{
	int rc = take_type(c, &kv->type, e);

	if (rc)
		return rc;
	kv->item_type = kv->type;
	kv->count = 1;
	if (kv->type == GGUF_ARRAY) {
		rc = take_type(c, &kv->item_type, e);
		if (!rc && kv->item_type == GGUF_ARRAY)
			rc = err_set(e, ERR_UNSUPPORTED, "an array of arrays");
		if (!rc)
			rc = take_u64(c, &kv->count, e);
		if (rc)
			return rc;
	}
	kv->data = c->data + c->pos;
	return take_items(c, kv->item_type, kv->count, e);
}

static int take_kv(struct cursor *c, struct gguf_kv *kv, struct err *e)
{
	size_t at = c->pos;
	int rc = take_name(c, &kv->key, GGUF_KEY_MAX, e);

	if (rc) {
		err_wrap(e, "key at offset %zu", at);
		return rc;
	}
	rc = take_value(c, kv, e);
	if (rc)
		err_wrap(e, "key %.*s at offset %zu", (int)kv->key.len, kv->key.text, at);
	return rc;
}

static int take_dims(struct cursor *c, struct gguf_tensor *t, struct err *e)
{
	int rc = take_u32(c, &t->n_dims, e);

	if (!rc && (t->n_dims == 0 || t->n_dims > GGUF_MAX_DIMS))
		rc = err_set(e, ERR_FORMAT, "%u dimensions, 1..%d allowed", t->n_dims,
			     GGUF_MAX_DIMS);
	for (unsigned i = 0; i < GGUF_MAX_DIMS; i++) {
		t->dims[i] = 1;
		if (!rc && i < t->n_dims)
			rc = take_u64(c, &t->dims[i], e);
		if (!rc && t->dims[i] == 0)
			rc = err_set(e, ERR_FORMAT, "dimension %u is zero", i);
	}
	return rc;
}

static int take_tensor_type(struct cursor *c, struct gguf_tensor *t, struct err *e)
{
	uint32_t number;
	int rc = take_u32(c, &number, e);

	if (rc)
		return rc;
	if (!quant_name(number))
		return err_set(e, ERR_UNSUPPORTED, "tensors of type number %u are not supported",
			       number);
	t->type = number;
	return 0;
}

/* n_rows and bytes, from dims and type. */
static int measure(struct gguf_tensor *t, struct err *e)
{
	unsigned elements = quant_block_elements(t->type);
	size_t bytes;

	if (t->dims[0] % elements)
		return err_set(e, ERR_FORMAT, "rows of %llu elements, %s wants a multiple of %u",
			       (unsigned long long)t->dims[0], quant_name(t->type), elements);
	if (__builtin_mul_overflow(t->dims[0] / elements, quant_block_bytes(t->type), &bytes) ||
	    __builtin_mul_overflow(t->dims[1], t->dims[2], &t->n_rows) ||
	    __builtin_mul_overflow(t->n_rows, t->dims[3], &t->n_rows) ||
	    __builtin_mul_overflow(bytes, t->n_rows, &t->bytes))
		return err_set(e, ERR_FORMAT, "more bytes than memory can have");
	return 0;
}

static int take_tensor_body(struct cursor *c, struct gguf_tensor *t, struct err *e)
{
	int rc = take_dims(c, t, e);

	if (!rc)
		rc = take_tensor_type(c, t, e);
	if (!rc)
		rc = measure(t, e);
	if (!rc)
		rc = take_u64(c, &t->offset, e); /* from the start of the weights, so far */
	return rc;
}

static int take_tensor(struct cursor *c, struct gguf_tensor *t, char *name, struct err *e)
{
	size_t at = c->pos;
	struct gguf_str s;
	int rc = take_name(c, &s, GGUF_NAME_MAX, e);

	if (rc) {
		err_wrap(e, "tensor at offset %zu", at);
		return rc;
	}
	memcpy(name, s.text, s.len);
	name[s.len] = '\0';
	t->name = name;
	rc = take_tensor_body(c, t, e);
	if (rc)
		err_wrap(e, "tensor %s at offset %zu", name, at);
	return rc;
}

/* "GGUF" and the version; *c is left after them. */
static int take_magic(struct gguf *g, struct cursor *c, struct err *e)
{
	if (g->len < 8 || memcmp(g->data, "GGUF", 4))
		return err_set(e, ERR_FORMAT, "not a GGUF file");
	g->version = (unsigned)gguf_number(g->data + 4, 4);
	c->pos = 8;
	if (g->version == 0x02000000 || g->version == 0x03000000)
		return err_set(e, ERR_UNSUPPORTED,
			       "a big-endian GGUF file; only little-endian is read");
	if (g->version != 2 && g->version != 3)
		return err_set(e, ERR_VERSION, "GGUF version %u; 2 and 3 are read", g->version);
	return 0;
}

/* How many keys and tensors; arrays for them, once the file is known to have room for so many. */
static int take_counts(struct gguf *g, struct cursor *c, struct err *e)
{
	uint64_t tensors, keys;
	size_t left;
	int rc = take_u64(c, &tensors, e);

	if (!rc)
		rc = take_u64(c, &keys, e);
	if (rc)
		return rc;
	left = c->len - c->pos;
	if (keys > left / KV_BYTES_MIN || tensors > left / TENSOR_BYTES_MIN)
		return err_set(e, ERR_FORMAT,
			       "%llu keys and %llu tensors in the %zu bytes after offset %zu",
			       (unsigned long long)keys, (unsigned long long)tensors, left, c->pos);
	g->n_kv = (size_t)keys;
	g->n_tensors = (size_t)tensors;
	g->kv = calloc(g->n_kv + 1, sizeof(*g->kv));
	g->kv_by_key = calloc(g->n_kv + 1, sizeof(*g->kv_by_key));
	g->tensors = calloc(g->n_tensors + 1, sizeof(*g->tensors));
	g->tensor_by_name = calloc(g->n_tensors + 1, sizeof(*g->tensor_by_name));
	g->names = calloc(g->n_tensors + 1, GGUF_NAME_MAX + 1);
	if (!g->kv || !g->kv_by_key || !g->tensors || !g->tensor_by_name || !g->names)
		return err_set(e, ERR_NOMEM, "list of keys and tensors");
	return 0;
}

static int find_alignment(struct gguf *g, struct err *e)
{
	uint32_t n = GGUF_ALIGNMENT;
	int rc = 0;

	if (gguf_find(g, "general.alignment"))
		rc = gguf_get_u32(g, "general.alignment", &n, e);
	if (rc)
		return rc;
	if (n < 8 || n > GGUF_ALIGNMENT_MAX || n & (n - 1))
		return err_set(e, ERR_FORMAT,
			       "key general.alignment must be a power of two in 8..%u, not %u",
			       GGUF_ALIGNMENT_MAX, n);
	g->alignment = n;
	return 0;
}

/* Make the offset absolute, and see that the bytes are there. */
static int place(const struct gguf *g, struct gguf_tensor *t, struct err *e)
{
	if (t->offset % g->alignment)
		return err_set(e, ERR_FORMAT, "tensor %s: offset %llu is not a multiple of %zu",
			       t->name, (unsigned long long)t->offset, g->alignment);
	if (g->data_start > g->len || t->offset > g->len - g->data_start ||
	    t->bytes > g->len - g->data_start - t->offset)
		return err_set(e, ERR_FORMAT,
			       "tensor %s: %zu bytes at offset %zu + %llu, the file ends at %zu",
			       t->name, t->bytes, g->data_start, (unsigned long long)t->offset,
			       g->len);
	t->offset += g->data_start;
	t->data = g->data + t->offset;
	return 0;
}

int gguf_read(struct gguf *g, struct err *e)
{
	struct cursor c = { g->data, 0, g->len };
	int rc = take_magic(g, &c, e);

	if (!rc)
		rc = take_counts(g, &c, e);
	for (size_t i = 0; !rc && i < g->n_kv; i++)
		rc = take_kv(&c, &g->kv[i], e);
	for (size_t i = 0; !rc && i < g->n_tensors; i++)
		rc = take_tensor(&c, &g->tensors[i], g->names + i * (GGUF_NAME_MAX + 1), e);
	if (!rc)
		rc = gguf_index_keys(g, e);
	if (!rc)
		rc = find_alignment(g, e);
	if (rc)
		return rc;
	g->data_start = (c.pos + g->alignment - 1) & ~(g->alignment - 1);
	for (size_t i = 0; !rc && i < g->n_tensors; i++)
		rc = place(g, &g->tensors[i], e);
	if (!rc)
		rc = gguf_index_tensors(g, e);
	return rc;
}
