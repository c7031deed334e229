/* A message is refused, or what is printed of it is read again and printed the same. */
#include <stdlib.h>
#include <string.h>

#include "schema/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static char *print(struct msg *m, size_t *len)
{
	char *text;

	if (msg_print(m, &text, len))
		abort();
	msg_finish(m);
	return text;
}

static void read_and_write_back(const char *src, size_t len, enum msg_type want)
{
	struct msg m;
	struct err e;
	char *once, *twice;
	size_t once_len, twice_len;

	if (msg_parse(&m, src, len, want, &e))
		return;
	once = print(&m, &once_len);
	if (msg_parse(&m, once, once_len, MSG_TYPE_COUNT, &e))
		abort();
	twice = print(&m, &twice_len);
	if (once_len != twice_len || memcmp(once, twice, once_len) != 0)
		abort();
	free(once);
	free(twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct msg_peek p;

	read_and_write_back((const char *)data, len, MSG_PROMPT);
	read_and_write_back((const char *)data, len, MSG_TYPE_COUNT);
	(void)msg_peek(&p, (const char *)data, len);
	return 0;
}
