/* config/value.h - one value: text of a file -> field of a struct, and back. Pure; any thread. */
#ifndef CONFIG_VALUE_H
#define CONFIG_VALUE_H

#include <stdio.h>

#include "base/err.h"
#include "config/keys.h"

/* text -> the field of k in conf. dir (may be "", else ends in '/') is put before a relative path.
 * ERR_CONFIG saying what would be right: "must be an integer 1..65535, not \"x\"". */
MUST_CHECK int value_set(void *conf, const struct key *k, const char *text, const char *dir,
			 struct err *e);

/* The field of k as YAML: quoted text, a number, or auto. */
void value_print(const void *conf, const struct key *k, FILE *out);

/* The field of a text key. */
const char *value_text(const void *conf, const struct key *k);

#endif
