/* tools/cmd.h - the subcommands of `splitmq`: one file each, tools/cmd_<name>.c.
 *
 * A command reads its options by its table (daemon/options.h), prints results on stdout and all
 * else on stderr, and returns the exit status: CMD_OK, CMD_FAILED or CMD_USAGE. */
#ifndef TOOLS_CMD_H
#define TOOLS_CMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "schema/json.h"

enum { CMD_OK = 0, CMD_FAILED = 1, CMD_USAGE = 2 };

/* "splitmq NAME: text" on stderr. Returns CMD_FAILED. */
int cmd_fail(const char *name, const struct err *e);

/* The same once, however often the text comes in a row: a broker that is not there is not there at
 * every try. said: what was said last, "" at first. */
#define CMD_SAID_MAX 256
void cmd_say_once(const char *name, char said[static CMD_SAID_MAX], const char *text);

/* From now on SIGINT and SIGTERM end nothing: who writes a file looks whether they came, and takes
 * it away. */
void cmd_catch_interrupt(void);
bool cmd_interrupted(void);

/* For OPTIONS_TAKEN: a word of KV_TYPE_WORDS -> enum kv_type; a codec's SPEC -> const char *. */
int cmd_take_kv(void *place, const char *text, struct err *e);
int cmd_take_codec(void *place, const char *text, struct err *e);

/* Whole file (stdin for "-") -> malloc'ed, NUL-terminated *text of *len <= max_bytes bytes. */
MUST_CHECK int cmd_read_file(const char *path, size_t max_bytes, char **text, size_t *len,
			     struct err *e);

/* "1,2,3", or "@FILE" holding ids separated by commas or white space -> malloc'ed *ids, *n >= 1. */
MUST_CHECK int cmd_read_ids(const char *text, uint32_t **ids, size_t *n, struct err *e);

/* root as one line on stdout; it is freed in any case. ERR_NOMEM. */
MUST_CHECK int cmd_print_json(struct json *root, struct err *e);

#endif
