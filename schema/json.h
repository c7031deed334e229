/* schema/json.h - JSON values, read and written; the only file that knows cJSON.
 *
 * One owner per tree; any thread, one at a time. Readers check type and range and name the key. */
#ifndef SCHEMA_JSON_H
#define SCHEMA_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct json; /* a value; children are owned by their root */

/* Exactly one value in src[0..len), nothing but white space after it, nesting <= 32, at most 256
 * keys in an object and none of them twice, strings in UTF-8, keys without NUL, numbers that fit a
 * double. ERR_FORMAT with the offset or the key (also where memory runs out: the parser does not
 * tell the two apart). */
MUST_CHECK int json_parse(struct json **out, const char *src, size_t len, struct err *e);
void json_free(struct json *root);

/* Readers. `need` false: a missing (or null) key leaves *v as it is and returns 0. ERR_FORMAT
 * otherwise: `key "split" must be an integer in 0..32, not 40`. Strings live as long as the root;
 * those with a NUL character are refused.
 * Integers are exact to 2^53; larger ones are refused. */
MUST_CHECK int json_get_u64(const struct json *obj, const char *key, bool need, uint64_t min,
			    uint64_t max, uint64_t *v, struct err *e);
MUST_CHECK int json_get_u32(const struct json *obj, const char *key, bool need, uint32_t min,
			    uint32_t max, uint32_t *v, struct err *e);
MUST_CHECK int json_get_f64(const struct json *obj, const char *key, bool need, double min,
			    double max, double *v, struct err *e);
MUST_CHECK int json_get_bool(const struct json *obj, const char *key, bool need, bool *v,
			     struct err *e);
MUST_CHECK int json_get_str(const struct json *obj, const char *key, bool need, size_t max_len,
			    const char **v, struct err *e);

/* A string that may have NUL characters -> *v of *len bytes, malloc'ed, and a NUL behind them.
 * ERR_FORMAT, ERR_NOMEM. */
MUST_CHECK int json_get_text(const struct json *obj, const char *key, size_t max_len, char **v,
			     size_t *len, struct err *e);

/* The member of that key; NULL when there is none, or null. */
const struct json *json_get(const struct json *obj, const char *key);

bool json_is_object(const struct json *v);
bool json_is_array(const struct json *v);
size_t json_array_len(const struct json *arr);
const struct json *json_array_at(const struct json *arr, size_t i);
const struct json *json_next(const struct json *element); /* the one after it; NULL at the end */
const char *json_str(const struct json *v);		  /* NULL: no string, or with NUL in it */
MUST_CHECK int json_u64(const struct json *v, uint64_t max, uint64_t *out); /* ERR_FORMAT */
MUST_CHECK int json_f64(const struct json *v, double *out);		    /* ERR_FORMAT */

/* Walk an object's members in order: *key and the value; NULL at the end. */
const struct json *json_member_at(const struct json *obj, size_t i, const char **key);

/* Writers. A failed allocation is remembered in the tree and reported by json_print alone; parents
 * may be NULL because of one. */
struct json *json_object(void);
struct json *json_add_object(struct json *obj, const char *key);
struct json *json_add_array(struct json *obj, const char *key);
struct json *json_push_object(struct json *arr);

/* Bytes of v that are not UTF-8 become U+FFFD. */
void json_add_str(struct json *obj, const char *key, const char *v);
void json_push_str(struct json *arr, const char *v);
void json_add_text(struct json *obj, const char *key, const char *v, size_t len); /* NUL or not */

/* Exact digits, above 2^53 as well. */
void json_add_u64(struct json *obj, const char *key, uint64_t v);
void json_push_u64(struct json *arr, uint64_t v);

/* The shortest digits that read back as v; NaN and infinity are left out. */
void json_add_f64(struct json *obj, const char *key, double v);
void json_add_bool(struct json *obj, const char *key, bool v);

/* One line, no trailing newline, malloc'ed (the caller frees). root stays the caller's.
 * ERR_NOMEM. */
MUST_CHECK int json_print(const struct json *root, char **out, size_t *len);

/* The same over several lines, for people. */
MUST_CHECK int json_print_indented(const struct json *root, char **out, size_t *len);

/* For tests of memory exhaustion, before anything else runs: what trees are made of. NULL, NULL
 * stands for malloc and free. */
void json_set_alloc(void *(*alloc)(size_t), void (*release)(void *));

#endif
