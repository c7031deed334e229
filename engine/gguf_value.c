/* engine/gguf_value.c - metadata values as C types. Their bytes were checked when the file was
 * opened. */
#include "engine/gguf_file.h"

#include <math.h>
#include <string.h>

static bool is_integer(enum gguf_value_type type)
{
	return type <= GGUF_I32 || type == GGUF_U64 || type == GGUF_I64;
}

static bool is_signed(enum gguf_value_type type)
{
	return type == GGUF_I8 || type == GGUF_I16 || type == GGUF_I32 || type == GGUF_I64;
}

static bool is_float(enum gguf_value_type type)
{
	return type == GGUF_F32 || type == GGUF_F64;
}

/* Two's complement of the width, widened. */
static int64_t signed_at(const uint8_t *p, size_t bytes)
{
	uint64_t sign = (uint64_t)1 << (8 * bytes - 1);
	uint64_t v = gguf_number(p, bytes);

	return v & sign ? -(int64_t)(sign - (v ^ sign) - 1) - 1 : (int64_t)v;
}

static double float_at(const uint8_t *p, enum gguf_value_type type)
{
	uint64_t bits = gguf_number(p, gguf_value_bytes(type));
	uint32_t bits32 = (uint32_t)bits;
	double d;
	float f;

	if (type == GGUF_F64) {
		memcpy(&d, &bits, sizeof(d));
		return d;
	}
	memcpy(&f, &bits32, sizeof(f));
	return f;
}

int64_t gguf_int_at(const struct gguf_kv *kv, uint64_t i)
{
	size_t bytes = gguf_value_bytes(kv->item_type);
	const uint8_t *p = kv->data + i * bytes;
	uint64_t v;
	double d;

	if (is_signed(kv->item_type))
		return signed_at(p, bytes);
	if (is_float(kv->item_type)) {
		d = float_at(p, kv->item_type);
		if (isnan(d))
			return 0;
		if (fabs(d) >= 0x1p63)
			return d < 0 ? INT64_MIN : INT64_MAX;
		return (int64_t)d;
	}
	v = bytes ? gguf_number(p, bytes) : 0;
	return v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

uint64_t gguf_uint_at(const struct gguf_kv *kv, uint64_t i)
{
	int64_t v;

	if (kv->item_type == GGUF_U64)
		return gguf_number(kv->data + 8 * i, 8);
	v = gguf_int_at(kv, i);
	return v > 0 ? (uint64_t)v : 0;
}

double gguf_float_at(const struct gguf_kv *kv, uint64_t i)
{
	size_t bytes = gguf_value_bytes(kv->item_type);
	const uint8_t *p = kv->data + i * bytes;

	if (is_float(kv->item_type))
		return float_at(p, kv->item_type);
	if (kv->item_type == GGUF_U64)
		return (double)gguf_uint_at(kv, i);
	return (double)gguf_int_at(kv, i);
}

struct gguf_str gguf_next_str(const uint8_t **cursor)
{
	struct gguf_str s = { (const char *)*cursor + 8, (size_t)gguf_number(*cursor, 8) };

	*cursor += 8 + s.len;
	return s;
}

/* The value of key, of a type that `fits`. */
static int get(const struct gguf *g, const char *key, bool (*fits)(enum gguf_value_type),
	       const char *what, const struct gguf_kv **kv, struct err *e)
{
	*kv = gguf_find(g, key);
	if (!*kv)
		return err_set(e, ERR_NOT_FOUND, "key %s is missing", key);
	if (!fits((*kv)->type))
		return err_set(e, ERR_FORMAT, "key %s is not %s", key, what);
	return 0;
}

static int get_uint(const struct gguf *g, const char *key, uint64_t max, uint64_t *v, struct err *e)
{
	const struct gguf_kv *kv;
	uint64_t got;
	int rc = get(g, key, is_integer, "an integer", &kv, e);

	if (rc)
		return rc;
	if (is_signed(kv->type) && gguf_int_at(kv, 0) < 0)
		return err_set(e, ERR_FORMAT, "key %s must not be negative, is %lld", key,
			       (long long)gguf_int_at(kv, 0));
	got = gguf_number(kv->data, gguf_value_bytes(kv->type));
	if (got > max)
		return err_set(e, ERR_FORMAT, "key %s is %llu, at most %llu allowed", key,
			       (unsigned long long)got, (unsigned long long)max);
	*v = got;
	return 0;
}

int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *v, struct err *e)
{
	uint64_t wide = 0;
	int rc = get_uint(g, key, UINT32_MAX, &wide, e);

	if (!rc)
		*v = (uint32_t)wide;
	return rc;
}

int gguf_get_u64(const struct gguf *g, const char *key, uint64_t *v, struct err *e)
{
	return get_uint(g, key, UINT64_MAX, v, e);
}

int gguf_get_f32(const struct gguf *g, const char *key, float *v, struct err *e)
{
	const struct gguf_kv *kv;
	float got;
	int rc = get(g, key, is_float, "a floating-point number", &kv, e);

	if (rc)
		return rc;
	got = (float)float_at(kv->data, kv->type);
	if (!isfinite(got))
		return err_set(e, ERR_FORMAT, "key %s is not a finite number", key);
	*v = got;
	return 0;
}

static bool is_bool(enum gguf_value_type type)
{
	return type == GGUF_BOOL;
}

int gguf_get_bool(const struct gguf *g, const char *key, bool *v, struct err *e)
{
	const struct gguf_kv *kv;
	int rc = get(g, key, is_bool, "a bool", &kv, e);

	if (!rc)
		*v = kv->data[0] != 0;
	return rc;
}

static bool is_str(enum gguf_value_type type)
{
	return type == GGUF_STRING;
}

int gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *v, struct err *e)
{
	const struct gguf_kv *kv;
	const uint8_t *cursor;
	int rc = get(g, key, is_str, "a string", &kv, e);

	if (rc)
		return rc;
	cursor = kv->data;
	*v = gguf_next_str(&cursor);
	return 0;
}
