/* tools/cmd.h - the subcommands of `splitmq`: one file each, tools/cmd_<name>.c.
 *
 * A command parses its own options with getopt_long, prints results on stdout and all else on
 * stderr, and returns the exit status: CMD_OK, CMD_FAILED or CMD_USAGE. */
#ifndef TOOLS_CMD_H
#define TOOLS_CMD_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { CMD_OK = 0, CMD_FAILED = 1, CMD_USAGE = 2 };

struct cmd {
	const char *name;
	const char *summary; /* one line for the list */
	const char *usage;   /* shown by --help: synopsis, then options with defaults */
	int (*run)(int argc, char **argv); /* argv[0] is the command's name; optind is 1 */
};

/* The table, ended by a row without a name. */
extern const struct cmd cmd_table[];

/* "splitmq NAME: text" on stderr. */
int cmd_fail(const char *name, const struct err *e);                     /* returns CMD_FAILED */
int cmd_usage(const char *name, const char *fmt, ...) PRINTF_LIKE(2, 3); /* returns CMD_USAGE */

/* --help of the command on stdout; returns CMD_OK. */
int cmd_help(const char *name);

/* Decimal number in min..max -> *v, else a usage message naming the option. 0 or CMD_USAGE. */
MUST_CHECK int cmd_u64(const char *name, const char *option, const char *text,
		       unsigned long long min, unsigned long long max, unsigned long long *v);
MUST_CHECK int cmd_f64(const char *name, const char *option, const char *text, double min,
		       double max, double *v);

/* Whole file (stdin for "-") -> malloc'ed, NUL-terminated *text of *len <= max_bytes bytes. */
MUST_CHECK int cmd_read_file(const char *path, size_t max_bytes, char **text, size_t *len,
			     struct err *e);

/* "1,2,3", or "@FILE" holding ids separated by commas or white space -> malloc'ed *ids, *n >= 1. */
MUST_CHECK int cmd_read_ids(const char *text, uint32_t **ids, size_t *n, struct err *e);

#endif
