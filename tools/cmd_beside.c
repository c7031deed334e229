/* tools/cmd_beside.c - commands that are programs of their own, beside this one. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/cmd.h"
#include "tools/commands.h"

const struct options_table cmd_beside_options = {
	.summary = "learn to predict rows, and what a split costs"
};

/* argv[0] NAME becomes the program splitmq-NAME in the folder of this one; only errors return. */
int cmd_beside(int argc, char **argv)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);
	char *name;

	(void)argc;
	if (n < 0) {
		fprintf(stderr, "splitmq %s: /proc/self/exe: %s\n", argv[0], strerror(errno));
		return CMD_FAILED;
	}
	path[n] = '\0';
	name = strrchr(path, '/') + 1;
	snprintf(name, 64, "splitmq-%.40s", argv[0]);
	execv(path, argv);
	fprintf(stderr, "splitmq %s: %s: %s\n", argv[0], path, strerror(errno));
	return CMD_FAILED;
}
