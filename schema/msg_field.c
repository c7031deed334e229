#include "schema/msg_field.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEX_DIGITS 16

int field_get_text(const struct json *o, const char *key, enum field_need need, char *dst,
		   size_t cap, struct err *e)
{
	const char *v = NULL;
	int rc = json_get_str(o, key, need, cap - 1, &v, e);

	if (!rc && v)
		memcpy(dst, v, strlen(v) + 1);
	return rc;
}

int field_get_name(const struct json *o, const char *key, enum field_need need,
		   char dst[static TOPIC_NAME_MAX + 1], struct err *e)
{
	const char *v = NULL;
	int rc = json_get_str(o, key, need, TOPIC_NAME_MAX, &v, e);

	if (rc || !v)
		return rc;
	if (!topic_name_ok(v))
		return err_set(e, ERR_FORMAT,
			       "key \"%s\" must be a name of 1..%d characters A-Z a-z 0-9 _ . -",
			       key, TOPIC_NAME_MAX);
	memcpy(dst, v, strlen(v) + 1);
	return 0;
}

static bool is_lower_hex(const char *v, size_t len)
{
	return strlen(v) == len && strspn(v, "0123456789abcdef") == len;
}

/* `digits` lower-case hex digits, NUL-terminated. */
static int get_digits(const struct json *o, const char *key, enum field_need need, size_t digits,
		      char *dst, struct err *e)
{
	const char *v = NULL;
	int rc = json_get_str(o, key, need, SIZE_MAX, &v, e);

	if (rc || !v)
		return rc;
	if (!is_lower_hex(v, digits))
		return err_set(e, ERR_FORMAT, "key \"%s\" must be %zu lower-case hex digits", key,
			       digits);
	memcpy(dst, v, digits + 1);
	return 0;
}

int field_get_hash(const struct json *o, const char *key, enum field_need need,
		   char dst[static MSG_HASH_LEN + 1], struct err *e)
{
	return get_digits(o, key, need, MSG_HASH_LEN, dst, e);
}

int field_get_calibration(const struct json *o, const char *key, enum field_need need,
			  char dst[static MSG_CALIBRATION_LEN + 1], struct err *e)
{
	return get_digits(o, key, need, MSG_CALIBRATION_LEN, dst, e);
}

int field_get_spec(const struct json *o, const char *key, enum field_need need,
		   char dst[static MSG_SPEC_MAX], struct err *e)
{
	const char *v = NULL;
	int rc = json_get_str(o, key, need, MSG_SPEC_MAX - 1, &v, e);

	if (rc || !v)
		return rc;
	for (const char *c = v; *c || c == v; c++) {
		if (*c <= ' ' || *c > '~')
			return err_set(e, ERR_FORMAT, "key \"%s\" must be printable ASCII", key);
	}
	memcpy(dst, v, strlen(v) + 1);
	return 0;
}

int field_get_kv(const struct json *o, const char *key, char dst[static KV_TYPE_MAX], struct err *e)
{
	enum kv_type type;
	const char *v = NULL;
	int rc = json_get_str(o, key, false, SIZE_MAX, &v, e);

	if (rc || !v)
		return rc;
	if (kv_type_parse(&type, v))
		return err_set(e, ERR_FORMAT, "key \"%s\" must be one of " KV_TYPE_WORDS, key);
	memcpy(dst, v, strlen(v) + 1);
	return 0;
}

int field_get_class(const struct json *o, const char *key, enum msg_class *class, struct err *e)
{
	const char *v = NULL;
	int rc = json_get_str(o, key, false, SIZE_MAX, &v, e);

	if (rc || !v)
		return rc;
	if (!v[0] || msg_class_parse(class, v))
		return err_set(e, ERR_FORMAT, "key \"%s\" must be one of " MSG_CLASS_WORDS, key);
	return 0;
}

int field_get_front(const struct json *o, const char *key, enum field_need need,
		    char dst[static MSG_FRONT_MAX], struct err *e)
{
	const char *v = NULL;
	int rc = json_get_str(o, key, need, MSG_FRONT_MAX - 1, &v, e);

	if (rc || !v)
		return rc;
	if (!topic_name_ok(v))
		return err_set(e, ERR_FORMAT,
			       "key \"%s\" must be 1..%d characters A-Z a-z 0-9 _ . -", key,
			       MSG_FRONT_MAX - 1);
	memcpy(dst, v, strlen(v) + 1);
	return 0;
}

int field_get_count(const struct json *o, const char *key, uint64_t *v, struct err *e)
{
	return json_get_u64(o, key, false, 0, FIELD_EXACT_MAX, v, e);
}

int field_get_ms(const struct json *o, const char *key, double *v, struct err *e)
{
	return json_get_f64(o, key, false, 0, 1e9, v, e);
}

int field_get_list(const struct json *o, const char *key, const struct field_list *l, void *items,
		   uint32_t *n, struct err *e)
{
	const struct json *arr = json_get(o, key);
	uint32_t count = 0;

	*n = 0;
	if (!arr)
		return 0;
	if (!json_is_array(arr))
		return err_set(e, ERR_FORMAT, "key \"%s\" must be an array of objects", key);
	for (const struct json *v = json_array_at(arr, 0); v; v = json_next(v)) {
		if (count == l->max)
			return err_set(e, ERR_FORMAT, "key \"%s\" has more than %u elements", key,
				       l->max);
		if (!json_is_object(v))
			return err_set(e, ERR_FORMAT, "key \"%s\", element %u is not an object",
				       key, count);
		if (l->get((char *)items + count * l->stride, v, e))
			return err_wrap(e, "%s[%u]", key, count);
		count++;
	}
	*n = count;
	return 0;
}

int field_get_hex(const struct json *o, const char *key, uint64_t *v, struct err *e)
{
	const char *text = NULL;
	int rc = json_get_str(o, key, true, SIZE_MAX, &text, e);

	if (rc)
		return rc;
	if (!is_lower_hex(text, HEX_DIGITS))
		return err_set(e, ERR_FORMAT, "key \"%s\" must be %d lower-case hex digits", key,
			       HEX_DIGITS);
	*v = strtoull(text, NULL, 16);
	return 0;
}

int field_get_session(const struct json *o, uint64_t *session, uint32_t *epoch, struct err *e)
{
	int rc = field_get_hex(o, "session", session, e);

	if (rc)
		return rc;
	if (!*session)
		return err_set(e, ERR_FORMAT, "key \"session\" must not be 0");
	return json_get_u32(o, "epoch", true, 0, UINT32_MAX, epoch, e);
}

int field_get_ids(const struct json *o, const char *key, enum field_need need, uint32_t *ids,
		  size_t max, uint32_t *n, struct err *e)
{
	const struct json *arr = json_get(o, key);
	uint32_t count = 0;

	if (!arr && !need) {
		*n = 0;
		return 0;
	}
	if (!json_is_array(arr))
		return err_set(e, ERR_FORMAT, "key \"%s\" must be an array of token ids", key);
	for (const struct json *v = json_array_at(arr, 0); v; v = json_next(v)) {
		uint64_t id;

		if (count == max)
			return err_set(e, ERR_FORMAT, "key \"%s\" has more than %zu ids", key, max);
		if (json_u64(v, FIELD_VOCAB_MAX - 1, &id))
			return err_set(e, ERR_FORMAT, "key \"%s\", element %u is not a token id",
				       key, (unsigned)count);
		ids[count++] = (uint32_t)id;
	}
	*n = count;
	return 0;
}

/* In the order of the bits MSG_TEMPERATURE ... MSG_SEED. */
static const char *const sampling_keys[] = { "temperature",    "top_k",       "top_p", "min_p",
					     "repeat_penalty", "repeat_last", "seed" };

static unsigned keys_given(const struct json *o)
{
	unsigned given = 0;

	for (unsigned i = 0; i < sizeof(sampling_keys) / sizeof(sampling_keys[0]); i++)
		given |= json_get(o, sampling_keys[i]) ? 1u << i : 0;
	return given;
}

int field_get_sampling(const struct json *o, struct msg_sampling *s, unsigned *given, struct err *e)
{
	int rc;

	*s = msg_sampling_defaults();
	*given = keys_given(o);
	if ((rc = json_get_f64(o, "temperature", false, 0, 10, &s->temperature, e)) ||
	    (rc = json_get_u32(o, "top_k", false, 0, FIELD_VOCAB_MAX, &s->top_k, e)) ||
	    (rc = json_get_f64(o, "top_p", false, 0.0001, 1, &s->top_p, e)) ||
	    (rc = json_get_f64(o, "min_p", false, 0, 0.9999, &s->min_p, e)) ||
	    (rc = json_get_f64(o, "repeat_penalty", false, 0.01, 10, &s->repeat_penalty, e)) ||
	    (rc = json_get_u32(o, "repeat_last", false, 0, MSG_IDS_MAX, &s->repeat_last, e)))
		return rc;
	return json_get_u64(o, "seed", false, 0, FIELD_EXACT_MAX - 1, &s->seed, e);
}

void field_add_text(struct json *o, const char *key, const char *v)
{
	if (v[0])
		json_add_str(o, key, v);
}

void field_add_hex(struct json *o, const char *key, uint64_t v)
{
	char digits[HEX_DIGITS + 1];

	snprintf(digits, sizeof(digits), "%016" PRIx64, v);
	json_add_str(o, key, digits);
}

void field_add_session(struct json *o, uint64_t session, uint32_t epoch)
{
	field_add_hex(o, "session", session);
	json_add_u64(o, "epoch", epoch);
}

void field_add_ids(struct json *o, const char *key, const uint32_t *ids, size_t n)
{
	struct json *arr = json_add_array(o, key);

	for (size_t i = 0; i < n; i++)
		json_push_u64(arr, ids[i]);
}

void field_add_sampling(struct json *o, const struct msg_sampling *s, unsigned given)
{
	if (given & MSG_TEMPERATURE)
		json_add_f64(o, "temperature", s->temperature);
	if (given & MSG_TOP_K)
		json_add_u64(o, "top_k", s->top_k);
	if (given & MSG_TOP_P)
		json_add_f64(o, "top_p", s->top_p);
	if (given & MSG_MIN_P)
		json_add_f64(o, "min_p", s->min_p);
	if (given & MSG_REPEAT_PENALTY)
		json_add_f64(o, "repeat_penalty", s->repeat_penalty);
	if (given & MSG_REPEAT_LAST)
		json_add_u64(o, "repeat_last", s->repeat_last);
	if (given & MSG_SEED)
		json_add_u64(o, "seed", s->seed);
}

void field_add_count(struct json *o, const char *key, uint64_t v)
{
	if (v)
		json_add_u64(o, key, v);
}

void field_add_ms(struct json *o, const char *key, double v)
{
	json_add_f64(o, key, round(v * 1000) / 1000);
}

void field_add_fine(struct json *o, const char *key, double v)
{
	if (v >= 0.5e-6) /* less would print as 0, which means not known */
		json_add_f64(o, key, round(v * 1e6) / 1e6);
}
