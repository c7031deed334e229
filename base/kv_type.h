/* base/kv_type.h - the numbers of a KV cache: their words in files, messages and options. */
#ifndef BASE_KV_TYPE_H
#define BASE_KV_TYPE_H

#include "base/err.h"

enum kv_type { KV_F16, KV_F32, KV_Q8_0, KV_Q4_0, KV_TYPE_COUNT };

#define KV_TYPE_WORDS "f16|f32|q8_0|q4_0" /* all of them, for tables of keys and for --help */
#define KV_TYPE_MAX   8                   /* bytes of a word, NUL included */

/* "f16", ... -> *type; ERR_CONFIG otherwise. */
MUST_CHECK int kv_type_parse(enum kv_type *type, const char *word);
const char *kv_type_name(enum kv_type type);

#endif
