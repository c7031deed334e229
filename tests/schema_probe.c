/* tests/schema_probe.c - what the program itself says of control messages, for check_schemas.py.
 *
 *   schema_probe samples   the messages of msg_samples.c, one per line, as they are sent
 *   schema_probe judge     for each line of stdin "ok", or the sentence of the error */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/msg_samples.h"

#define LINE_MAX_BYTES (1 << 20)

static int print_samples(void)
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

static int judge_lines(void)
{
	static char line[LINE_MAX_BYTES];

	while (fgets(line, sizeof(line), stdin)) {
		struct msg m;
		struct err e;

		if (msg_parse(&m, line, strlen(line), MSG_PROMPT, &e)) {
			printf("%s\n", e.text);
			continue;
		}
		printf("ok\n");
		msg_finish(&m);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "samples"))
		return print_samples();
	if (argc == 2 && !strcmp(argv[1], "judge"))
		return judge_lines();
	fprintf(stderr, "usage: schema_probe samples|judge\n");
	return 2;
}
