/* tests/print_samples.c - the messages of msg_samples.c, one per line, as the program sends them. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/msg_samples.h"

int main(void)
{
	for (size_t i = 0; i < msg_samples_count(); i++) {
		struct msg m = msg_samples_at(i);
		char *text;
		size_t len;

		if (msg_print(&m, &text, &len)) {
			fprintf(stderr, "sample %zu: cannot be printed\n", i);
			return 1;
		}
		printf("%s\n", text);
		free(text);
	}
	return 0;
}
