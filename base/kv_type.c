#include "base/kv_type.h"

#include <string.h>

static const char names[KV_TYPE_COUNT][KV_TYPE_MAX] = {
	[KV_F16] = "f16",
	[KV_F32] = "f32",
	[KV_Q8_0] = "q8_0",
	[KV_Q4_0] = "q4_0",
};

int kv_type_parse(enum kv_type *type, const char *word)
{
	for (unsigned i = 0; i < KV_TYPE_COUNT; i++) {
		if (!strcmp(names[i], word)) {
			*type = (enum kv_type)i;
			return 0;
		}
	}
	return ERR_CONFIG;
}

const char *kv_type_name(enum kv_type type)
{
	return names[type];
}
