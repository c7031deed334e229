/* daemon/options.h - the options of a program or command as one table, from which they are read,
 * checked and explained.
 *
 *	static const struct options_row options[] = {
 *		{ 'm', "model", "FILE", OPTIONS_TEXT(struct conf, model),
 *		  .help = "GGUF file", .needed = true },
 *		{ 0, "delay-ms", "D", OPTIONS_SCALED_U32(struct conf, delay_us, 0, 60000, 1000),
 *		  .help = "of the link, one way", .unit = "ms" },
 *		{ 0, "json", NULL, OPTIONS_FLAG(struct conf, json),
 *		  .help = "JSON instead of text" },
 *	};
 *
 * Values go into a struct of the caller's, which holds the defaults before; --help shows those.
 * What is wrong is said on stderr: the option, its value, the limits; for an unknown option the one
 * that is nearest. -h and --help are in every table by themselves; long options may be shortened as
 * long as it is clear which one is meant. Texts stay those of argv. Main thread: getopt_long keeps
 * its state in globals. */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define OPTIONS_LIST_MOST 64 /* numbers of a list, at most */

struct options_list {
	uint32_t v[OPTIONS_LIST_MOST];
	unsigned n;
};

enum options_kind {
	OPTIONS_IS_FLAG,
	OPTIONS_IS_TEXT,
	OPTIONS_IS_U32,
	OPTIONS_IS_U64,
	OPTIONS_IS_F64,
	OPTIONS_IS_F32,
	OPTIONS_IS_LIST,
	OPTIONS_IS_TAKEN,
};

struct options_row {
	char letter;       /* 0: none */
	const char *name;  /* without "--"; an operand: as --help calls it, such as "IN" */
	const char *value; /* what --help calls the value; NULL: a flag, or an operand */
	enum options_kind kind;
	size_t place; /* in the caller's struct */
	/* OPTIONS_IS_TAKEN: text -> *place; the words of e follow the option's name. Any ERR_*. */
	int (*take)(void *place, const char *text, struct err *e);
	double min, max; /* of numbers, in the option's unit; shown unless max is as OPTIONS_ANY */
	double scale;  /* what is kept is the value times this, rounded; 0: 1, whole numbers only */
	unsigned most; /* numbers of a list */
	const char *help;
	const char *unit;   /* of numbers; NULL: the help says what is counted */
	const char *preset; /* what --help says of the default; NULL: what the struct holds, or the
			     * empty text: nothing */
	size_t given;       /* OPTIONS_GIVEN: a bool that becomes true; 0: none */
	bool needed;        /* wrong without it */
	bool operand;       /* no option, but the next word that is none; OPTIONS_TEXT */
};

#define OPTIONS_ANY 1.8446744073709552e19 /* 2^64: no limit but that of the type */

/* Offset of a field whose type is checked by the compiler. */
#define OPTIONS_PLACE(conf, field, type)                                                           \
	(offsetof(conf, field) + 0 * sizeof(_Generic(((conf *)0)->field, type : 0)))

#define OPTIONS_FLAG(conf, field) .kind = OPTIONS_IS_FLAG, .place = OPTIONS_PLACE(conf, field, bool)
#define OPTIONS_TEXT(conf, field)                                                                  \
	.kind = OPTIONS_IS_TEXT, .place = OPTIONS_PLACE(conf, field, const char *)
#define OPTIONS_U32(conf, field, min_, max_)                                                       \
	.kind = OPTIONS_IS_U32, .place = OPTIONS_PLACE(conf, field, uint32_t), .min = (min_),      \
	.max = (max_)
#define OPTIONS_U64(conf, field, min_, max_)                                                       \
	.kind = OPTIONS_IS_U64, .place = OPTIONS_PLACE(conf, field, uint64_t), .min = (min_),      \
	.max = (double)(max_)
#define OPTIONS_F64(conf, field, min_, max_)                                                       \
	.kind = OPTIONS_IS_F64, .place = OPTIONS_PLACE(conf, field, double), .min = (min_),        \
	.max = (max_)
#define OPTIONS_F32(conf, field, min_, max_)                                                       \
	.kind = OPTIONS_IS_F32, .place = OPTIONS_PLACE(conf, field, float), .min = (min_),         \
	.max = (max_)
#define OPTIONS_SCALED_U32(conf, field, min_, max_, scale_)                                        \
	OPTIONS_U32(conf, field, min_, max_), .scale = (scale_)
#define OPTIONS_SCALED_U64(conf, field, min_, max_, scale_)                                        \
	OPTIONS_U64(conf, field, min_, max_), .scale = (scale_)
/* 1..most_ numbers with commas between them. */
#define OPTIONS_LIST(conf, field, min_, max_, most_)                                               \
	.kind = OPTIONS_IS_LIST, .place = OPTIONS_PLACE(conf, field, struct options_list),         \
	.min = (min_), .max = (max_), .most = (most_)
/* take_ gets the address of the field; OPTIONS_TAKEN_ALL: of the struct. */
#define OPTIONS_TAKEN(conf, field, take_)                                                          \
	.kind = OPTIONS_IS_TAKEN, .place = offsetof(conf, field), .take = (take_)
#define OPTIONS_TAKEN_ALL(take_)   .kind = OPTIONS_IS_TAKEN, .place = 0, .take = (take_)

#define OPTIONS_GIVEN(conf, field) (OPTIONS_PLACE(conf, field, bool) + 1)

struct options_table {
	const char *program;  /* "splitmq synth": messages begin with it */
	const char *summary;  /* one line, or NULL */
	const char *synopsis; /* what follows the program, a form a line; NULL: "[OPTIONS]" */
	const char *about; /* paragraphs before and after the options, or NULL; they are wrapped */
	const char *notes; /* but for lines that begin with a blank */
	const struct options_row *rows;
	size_t n_rows;
};

/* rows and n_rows of a table that is an array. */
#define OPTIONS_ROWS(table) .rows = (table), .n_rows = sizeof(table) / sizeof((table)[0])

#define OPTIONS_GO_ON       (-1)

/* Read the words after argv[0] into conf. Returns OPTIONS_GO_ON, or the exit status: 0 after
 * --help, 2 for wrong usage. conf may have changed in any case. */
MUST_CHECK int options_read(const struct options_table *o, void *conf, int argc, char **argv);

/* "PROGRAM: text (see: PROGRAM --help)" on stderr, for rules over several options. Returns 2. */
int options_wrong(const struct options_table *o, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* What was printed has left the process: status; else says so, and status or, where that is 0, 1: a
 * full disk must not look like success. The last thing that a program does. */
MUST_CHECK int options_finish(const char *program, int status);

#endif
