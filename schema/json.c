#include "schema/json.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "schema/scan.h"
#include "schema/utf8.h"

/* A struct json is a cJSON, never looked into by anybody else. cJSON keeps one global (the place
 * of the last syntax error) that its parser writes; we never read it. */

#define MEMBERS_MAX 256                /* of one object: bounds the search for duplicate keys */
#define EXACT_MAX   9007199254740992.0 /* 2^53: integers above are not exact in a double */
#define NUMBER_CAP  32
#define SHOWN_CAP   40 /* bytes of a bad value that an error quotes */

/* cJSON ends strings at NUL. So a NUL inside is this pair in its trees, and nowhere else: no UTF-8
 * has it, and nothing else gets in. */
#define NUL_PAIR   "\xc0\x80"
#define NUL_ESCAPE "\\u0000"

/* A bit of cJSON's `type` that cJSON does not use: something could not be added here. */
#define LOST_CHILD (1 << 20)

static const cJSON *in(const struct json *v)
{
	return (const cJSON *)v;
}

static cJSON *out(struct json *v)
{
	return (cJSON *)v;
}

static struct json *wrap(cJSON *v)
{
	return (struct json *)v;
}

void json_set_alloc(void *(*alloc)(size_t), void (*release)(void *))
{
	cJSON_Hooks hooks = { .malloc_fn = alloc, .free_fn = release };

	cJSON_InitHooks(alloc ? &hooks : NULL);
}

/* ---- parsing ---- */

static int check_members(const cJSON *object, struct err *e)
{
	size_t n = 0;

	for (const cJSON *m = object->child; m; m = m->next) {
		if (++n > MEMBERS_MAX)
			return err_set(e, ERR_FORMAT, "an object with more than %d keys",
				       MEMBERS_MAX);
		for (const cJSON *earlier = object->child; earlier != m; earlier = earlier->next) {
			if (!strcmp(earlier->string, m->string))
				return err_set(e, ERR_FORMAT, "key \"%.40s\" appears twice",
					       m->string);
		}
	}
	return 0;
}

/* What the text alone cannot show: duplicate keys, numbers beyond a double. Recurses at most
 * SCAN_DEPTH_MAX deep. */
static int check_tree(const cJSON *v, struct err *e)
{
	int rc = 0;

	if (cJSON_IsNumber(v) && !isfinite(v->valuedouble))
		return err_set(e, ERR_FORMAT, "a number that is too large");
	if (cJSON_IsObject(v))
		rc = check_members(v, e);
	for (const cJSON *child = v->child; child && !rc; child = child->next)
		rc = check_tree(child, e);
	return rc;
}

static bool only_space(const char *src, const char *end)
{
	while (src < end && (*src == ' ' || *src == '\t' || *src == '\r' || *src == '\n'))
		src++;
	return src >= end;
}

/* NUL characters of text as it is in our trees: UTF-8 has no such byte. */
static size_t count_nuls(const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += text[i] == NUL_PAIR[0];
	return n;
}

/* Where the parser came to in what it was given, as an offset in what we were given. */
static size_t offset_of(const char *src, const char *end)
{
	const size_t len = (size_t)(end - src);

	return len + count_nuls(src, len) * (strlen(NUL_ESCAPE) - strlen(NUL_PAIR));
}

/* src[0..len), which was scanned, into dst with a pair for each \u0000: a backslash is in a string
 * and has something behind it. Returns the length. */
static size_t pair_nuls(char *dst, const char *src, size_t len)
{
	size_t n = 0, i = 0;

	while (i < len) {
		const size_t escape = src[i] == '\\' ? 2 : 1;
		const bool nul = escape == 2 && len - i >= strlen(NUL_ESCAPE) &&
				 !memcmp(src + i, NUL_ESCAPE, strlen(NUL_ESCAPE));

		memcpy(dst + n, nul ? NUL_PAIR : src + i, escape);
		n += escape;
		i += nul ? strlen(NUL_ESCAPE) : escape;
	}
	return n;
}

static int parse(struct json **root, const char *src, size_t len, struct err *e)
{
	const char *end = src;
	cJSON *v;
	int rc = 0;

	v = cJSON_ParseWithLengthOpts(src, len, &end, false);
	if (!v) /* cJSON does not tell; running out of memory is the rarer of the two */
		return err_set(e, ERR_FORMAT, "not JSON at offset %zu", offset_of(src, end));
	if (!only_space(end, src + len))
		rc = err_set(e, ERR_FORMAT, "more text after the JSON value, at offset %zu",
			     offset_of(src, end));
	if (!rc)
		rc = check_tree(v, e);
	if (rc) {
		cJSON_Delete(v);
		return rc;
	}
	*root = wrap(v);
	return 0;
}

int json_parse(struct json **root, const char *src, size_t len, struct err *e)
{
	size_t nuls;
	char *copy;
	int rc;

	if (!len)
		return err_set(e, ERR_FORMAT, "empty text is not JSON");
	rc = scan_json(src, len, &nuls, e);
	if (rc || !nuls)
		return rc ? rc : parse(root, src, len, e);
	copy = malloc(len);
	if (!copy)
		return err_set(e, ERR_FORMAT, "no memory for %zu bytes of JSON", len);
	rc = parse(root, copy, pair_nuls(copy, src, len), e);
	free(copy);
	return rc;
}

void json_free(struct json *root)
{
	cJSON_Delete(out(root));
}

/* ---- reading ---- */

bool json_is_object(const struct json *v)
{
	return cJSON_IsObject(in(v));
}

const struct json *json_get(const struct json *obj, const char *key)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(in(obj), key);

	return cJSON_IsNull(v) ? NULL : (const struct json *)v;
}

/* The value as an error may quote it. */
static const char *shown(char dst[static SHOWN_CAP], const cJSON *v)
{
	if (cJSON_IsNumber(v))
		snprintf(dst, SHOWN_CAP, "%.17g", v->valuedouble);
	else if (cJSON_IsString(v))
		snprintf(dst, SHOWN_CAP, "a string");
	else if (cJSON_IsBool(v))
		snprintf(dst, SHOWN_CAP, "%s", cJSON_IsTrue(v) ? "true" : "false");
	else
		snprintf(dst, SHOWN_CAP, "%s", cJSON_IsArray(v) ? "an array" : "an object");
	return dst;
}

/* The member of that key; NULL with *rc 0 when it may be missing, else with ERR_FORMAT. */
static const cJSON *find(const struct json *obj, const char *key, bool need, int *rc, struct err *e)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(in(obj), key);

	*rc = 0;
	if (v && !cJSON_IsNull(v))
		return v;
	if (need)
		*rc = err_set(e, ERR_FORMAT, "key \"%s\" is missing", key);
	return NULL;
}

static bool is_integer(const cJSON *v, uint64_t min, uint64_t max)
{
	double d = v->valuedouble;

	if (!cJSON_IsNumber(v) || d != floor(d) || d < 0 || d > EXACT_MAX)
		return false;
	return (uint64_t)d >= min && (uint64_t)d <= max;
}

int json_get_u64(const struct json *obj, const char *key, bool need, uint64_t min, uint64_t max,
		 uint64_t *v, struct err *e)
{
	char bad[SHOWN_CAP];
	int rc;
	const cJSON *found = find(obj, key, need, &rc, e);

	if (!found)
		return rc;
	if (!is_integer(found, min, max))
		return err_set(e, ERR_FORMAT,
			       "key \"%s\" must be an integer in %" PRIu64 "..%" PRIu64 ", not %s",
			       key, min, max, shown(bad, found));
	*v = (uint64_t)found->valuedouble;
	return 0;
}

int json_get_u32(const struct json *obj, const char *key, bool need, uint32_t min, uint32_t max,
		 uint32_t *v, struct err *e)
{
	uint64_t wide = *v;
	int rc = json_get_u64(obj, key, need, min, max, &wide, e);

	if (!rc)
		*v = (uint32_t)wide;
	return rc;
}

int json_get_f64(const struct json *obj, const char *key, bool need, double min, double max,
		 double *v, struct err *e)
{
	char bad[SHOWN_CAP];
	int rc;
	const cJSON *found = find(obj, key, need, &rc, e);

	if (!found)
		return rc;
	if (!cJSON_IsNumber(found) || !(found->valuedouble >= min && found->valuedouble <= max))
		return err_set(e, ERR_FORMAT, "key \"%s\" must be a number in %g..%g, not %s", key,
			       min, max, shown(bad, found));
	*v = found->valuedouble;
	return 0;
}

int json_get_bool(const struct json *obj, const char *key, bool need, bool *v, struct err *e)
{
	char bad[SHOWN_CAP];
	int rc;
	const cJSON *found = find(obj, key, need, &rc, e);

	if (!found)
		return rc;
	if (!cJSON_IsBool(found))
		return err_set(e, ERR_FORMAT, "key \"%s\" must be true or false, not %s", key,
			       shown(bad, found));
	*v = cJSON_IsTrue(found);
	return 0;
}

static bool has_nul(const char *held)
{
	return strchr(held, NUL_PAIR[0]);
}

int json_get_str(const struct json *obj, const char *key, bool need, size_t max_len, const char **v,
		 struct err *e)
{
	char bad[SHOWN_CAP];
	int rc;
	const cJSON *found = find(obj, key, need, &rc, e);

	if (!found)
		return rc;
	if (!cJSON_IsString(found))
		return err_set(e, ERR_FORMAT, "key \"%s\" must be a string, not %s", key,
			       shown(bad, found));
	if (has_nul(found->valuestring))
		return err_set(e, ERR_FORMAT, "key \"%s\" must not have a NUL character (\\u0000)",
			       key);
	if (strlen(found->valuestring) > max_len)
		return err_set(e, ERR_FORMAT, "key \"%s\" is longer than %zu bytes", key, max_len);
	*v = found->valuestring;
	return 0;
}

/* held, as our trees have it, into dst with a NUL for each pair; one behind it. */
static void split_pairs(char *dst, const char *held, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		const bool nul = held[i] == NUL_PAIR[0];

		*dst++ = nul ? '\0' : held[i];
		i += nul;
	}
	*dst = '\0';
}

int json_get_text(const struct json *obj, const char *key, size_t max_len, char **v, size_t *len,
		  struct err *e)
{
	char bad[SHOWN_CAP], *copy;
	size_t n, held;
	int rc;
	const cJSON *found = find(obj, key, true, &rc, e);

	if (!found)
		return rc;
	if (!cJSON_IsString(found))
		return err_set(e, ERR_FORMAT, "key \"%s\" must be a string, not %s", key,
			       shown(bad, found));
	held = strlen(found->valuestring);
	n = held - count_nuls(found->valuestring, held);
	if (n > max_len)
		return err_set(e, ERR_FORMAT, "key \"%s\" is longer than %zu bytes", key, max_len);
	copy = malloc(n + 1);
	if (!copy)
		return err_set(e, ERR_NOMEM, "key \"%s\": out of memory", key);
	split_pairs(copy, found->valuestring, held);
	*v = copy;
	*len = n;
	return 0;
}

size_t json_array_len(const struct json *arr)
{
	size_t n = 0;

	for (const struct json *v = json_array_at(arr, 0); v; v = json_next(v))
		n++;
	return n;
}

const struct json *json_array_at(const struct json *arr, size_t i)
{
	const cJSON *v = cJSON_IsArray(in(arr)) ? in(arr)->child : NULL;

	while (v && i--)
		v = v->next;
	return (const struct json *)v;
}

const struct json *json_next(const struct json *element)
{
	return (const struct json *)in(element)->next;
}

bool json_is_array(const struct json *v)
{
	return cJSON_IsArray(in(v));
}

const char *json_str(const struct json *v)
{
	const char *held = cJSON_GetStringValue(in(v));

	return held && !has_nul(held) ? held : NULL;
}

int json_u64(const struct json *v, uint64_t max, uint64_t *value)
{
	if (!v || !is_integer(in(v), 0, max))
		return ERR_FORMAT;
	*value = (uint64_t)in(v)->valuedouble;
	return 0;
}

int json_f64(const struct json *v, double *value)
{
	if (!cJSON_IsNumber(in(v)))
		return ERR_FORMAT;
	*value = in(v)->valuedouble;
	return 0;
}

const struct json *json_member_at(const struct json *obj, size_t i, const char **key)
{
	const cJSON *v = cJSON_IsObject(in(obj)) ? in(obj)->child : NULL;

	while (v && i--)
		v = v->next;
	if (v)
		*key = v->string;
	return (const struct json *)v;
}

/* ---- writing ---- */

struct json *json_object(void)
{
	return wrap(cJSON_CreateObject());
}

/* Hand item (NULL: out of memory) over to parent, which may be NULL for the same reason. Returns
 * the item as it now stands there, or NULL. */
static struct json *add(struct json *parent, const char *key, cJSON *item)
{
	bool added = false;

	if (parent && item)
		added = key ? cJSON_AddItemToObject(out(parent), key, item)
			    : cJSON_AddItemToArray(out(parent), item);
	if (added)
		return wrap(item);
	if (parent)
		out(parent)->type |= LOST_CHILD;
	cJSON_Delete(item);
	return NULL;
}

struct json *json_add_object(struct json *obj, const char *key)
{
	return add(obj, key, cJSON_CreateObject());
}

struct json *json_add_array(struct json *obj, const char *key)
{
	return add(obj, key, cJSON_CreateArray());
}

struct json *json_push_object(struct json *arr)
{
	return add(arr, NULL, cJSON_CreateObject());
}

/* As our trees have it; each byte that is not UTF-8 becomes U+FFFD. */
static cJSON *make_text(const char *v, size_t len)
{
	char *held = malloc(3 * len + 1), *to = held;
	cJSON *item;

	for (size_t i = 0; held && i < len;) {
		const size_t c = utf8_char_len(v + i, len - i);
		const char *from = !c ? "\xef\xbf\xbd" : v[i] ? v + i : NUL_PAIR;
		const size_t n = !c ? 3 : v[i] ? c : 2;

		memcpy(to, from, n);
		to += n;
		i += c ? c : 1;
	}
	if (held)
		*to = '\0';
	item = held ? cJSON_CreateString(held) : NULL;
	free(held);
	return item;
}

static cJSON *make_string(const char *v)
{
	return utf8_is_valid(v) ? cJSON_CreateString(v) : make_text(v, strlen(v));
}

/* Digits as they stand: cJSON would print by way of a double. */
static cJSON *make_u64(uint64_t v)
{
	char digits[NUMBER_CAP];

	snprintf(digits, sizeof(digits), "%" PRIu64, v);
	return cJSON_CreateRaw(digits);
}

void json_add_str(struct json *obj, const char *key, const char *v)
{
	add(obj, key, make_string(v));
}

void json_add_text(struct json *obj, const char *key, const char *v, size_t len)
{
	add(obj, key, make_text(v, len));
}

void json_push_str(struct json *arr, const char *v)
{
	add(arr, NULL, make_string(v));
}

void json_add_u64(struct json *obj, const char *key, uint64_t v)
{
	add(obj, key, make_u64(v));
}

void json_push_u64(struct json *arr, uint64_t v)
{
	add(arr, NULL, make_u64(v));
}

/* The shortest digits that read back as v: cJSON's own printing may lose the last bits. */
static void put_f64(char dst[static NUMBER_CAP], double v)
{
	for (int precision = 6; precision <= DBL_DECIMAL_DIG; precision++) {
		snprintf(dst, NUMBER_CAP, "%.*g", precision, v);
		if (strtod(dst, NULL) == v)
			break;
	}
}

void json_add_f64(struct json *obj, const char *key, double v)
{
	char digits[NUMBER_CAP];

	if (!isfinite(v))
		return;
	put_f64(digits, v);
	add(obj, key, cJSON_CreateRaw(digits));
}

void json_add_bool(struct json *obj, const char *key, bool v)
{
	add(obj, key, cJSON_CreateBool(v));
}

static bool is_whole(const cJSON *v)
{
	if (v->type & LOST_CHILD)
		return false;
	for (const cJSON *child = v->child; child; child = child->next) {
		if (!is_whole(child))
			return false;
	}
	return true;
}

/* Only what was parsed holds numbers; what we write holds their digits. */
static bool has_numbers(const cJSON *v)
{
	if (cJSON_IsNumber(v))
		return true;
	for (const cJSON *child = v->child; child; child = child->next) {
		if (has_numbers(child))
			return true;
	}
	return false;
}

/* Numbers into digits, as json_add_f64 writes them. False: out of memory. */
static bool spell_numbers(cJSON *v)
{
	if (cJSON_IsNumber(v)) {
		char *digits = cJSON_malloc(NUMBER_CAP);

		if (!digits)
			return false;
		put_f64(digits, v->valuedouble);
		v->valuestring = digits;
		v->type = cJSON_Raw;
	}
	for (cJSON *child = v->child; child; child = child->next) {
		if (!spell_numbers(child))
			return false;
	}
	return true;
}

/* JSON with an escape for each pair, in place of `printed`; NULL: out of memory. */
static char *escape_nuls(char *printed)
{
	const size_t len = strlen(printed), nuls = count_nuls(printed, len);
	char *text, *to;

	if (!nuls)
		return printed;
	text = to = cJSON_malloc(len + nuls * strlen(NUL_ESCAPE) + 1);
	for (size_t i = 0; text && i < len; i++) {
		const bool nul = printed[i] == NUL_PAIR[0];

		memcpy(to, nul ? NUL_ESCAPE : printed + i, nul ? strlen(NUL_ESCAPE) : 1);
		to += nul ? strlen(NUL_ESCAPE) : 1;
		i += nul;
	}
	if (text)
		*to = '\0';
	cJSON_free(printed);
	return text;
}

static int print(const struct json *root, bool indented, char **text, size_t *len)
{
	cJSON *copy = NULL;
	const cJSON *v = in(root);
	char *printed = NULL;

	if (!root || !is_whole(v))
		return ERR_NOMEM;
	if (has_numbers(v))
		v = copy = cJSON_Duplicate(v, true);
	if (v && (!copy || spell_numbers(copy)))
		printed = indented ? cJSON_Print(v) : cJSON_PrintUnformatted(v);
	cJSON_Delete(copy);
	if (printed)
		printed = escape_nuls(printed);
	if (!printed)
		return ERR_NOMEM;
	*text = printed;
	*len = strlen(printed);
	return 0;
}

int json_print(const struct json *root, char **text, size_t *len)
{
	return print(root, false, text, len);
}

int json_print_indented(const struct json *root, char **text, size_t *len)
{
	return print(root, true, text, len);
}
