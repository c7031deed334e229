/* A topic is refused, or topic_put writes it again. */
#include <stdlib.h>
#include <string.h>

#include "schema/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char again[TOPIC_MAX];
	struct topic t;

	if (topic_get(&t, (const char *)data, len))
		return 0;
	topic_put(again, &t);
	if (strlen(again) != len || memcmp(again, data, len) != 0)
		abort();
	return 0;
}
