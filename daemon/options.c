#include "daemon/options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/near.h"
#include "daemon/options_help.h"

#define MOST_ROWS  40
#define FIRST_ROW  0x100 /* what getopt_long returns for row 0 by its name */
#define HELP       'h'
#define WRONG      2
#define VALUE_ROOM 64 /* bytes of a number as text */

int options_wrong(const struct options_table *o, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", o->program);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (see: %s --help)\n", o->program);
	return WRONG;
}

/* ---- values ---- */

static int wrong_number(const struct options_table *o, const struct options_row *r,
			const char *text)
{
	const bool whole = !r->scale && (r->kind == OPTIONS_IS_U32 || r->kind == OPTIONS_IS_U64);
	char limits[OPTIONS_LIMITS_ROOM];

	options_limits(limits, r);
	return options_wrong(o, "--%s must be %s%s%s, not \"%s\"", r->name,
			     whole ? "an integer" : "a number", limits[0] ? " in " : "", limits,
			     text);
}

static void store_whole(const struct options_row *r, void *place, uint64_t n)
{
	if (r->kind == OPTIONS_IS_U32)
		*(uint32_t *)place = (uint32_t)n;
	else
		*(uint64_t *)place = n;
}

static int take_whole(const struct options_table *o, const struct options_row *r, void *place,
		      const char *text)
{
	const double max = r->kind == OPTIONS_IS_U32 && r->max > UINT32_MAX ? UINT32_MAX : r->max;
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || *end || errno || (double)n < r->min ||
	    (double)n > max)
		return wrong_number(o, r, text);
	store_whole(r, place, n);
	return 0;
}

static int take_real(const struct options_table *o, const struct options_row *r, void *place,
		     const char *text)
{
	char *end;
	const double n = strtod(text, &end);

	if (end == text || *end || !(n >= r->min && n <= r->max))
		return wrong_number(o, r, text);
	if (r->kind == OPTIONS_IS_F64)
		*(double *)place = n;
	else if (r->kind == OPTIONS_IS_F32)
		*(float *)place = (float)n;
	else
		store_whole(r, place, (uint64_t)(n * r->scale + 0.5));
	return 0;
}

static int take_list(const struct options_table *o, const struct options_row *r, void *place,
		     const char *text)
{
	struct options_list l = { .n = 0 };
	const char *at = text;
	bool good = r->most <= OPTIONS_LIST_MOST;

	while (good && (!l.n || *at)) {
		char *end;
		unsigned long long n;

		at += l.n ? 1 : 0; /* the comma */
		errno = 0;
		n = strtoull(at, &end, 10);
		good = isdigit((unsigned char)*at) && !errno && (!*end || *end == ',') &&
		       l.n < r->most && (double)n >= r->min && (double)n <= r->max;
		if (good)
			l.v[l.n++] = (uint32_t)n;
		at = end;
	}
	if (!good) {
		char limits[OPTIONS_LIMITS_ROOM];

		options_limits(limits, r);
		return options_wrong(o, "--%s must be up to %u numbers in %s, not \"%s\"", r->name,
				     r->most, limits, text);
	}
	*(struct options_list *)place = l;
	return 0;
}

static int take(const struct options_table *o, const struct options_row *r, void *conf,
		const char *text)
{
	void *place = (char *)conf + r->place;
	struct err e = { 0 };

	if (r->given)
		*(bool *)((char *)conf + r->given - 1) = true;
	switch (r->kind) {
	case OPTIONS_IS_FLAG:
		*(bool *)place = true;
		return 0;
	case OPTIONS_IS_TEXT:
		*(const char **)place = text;
		return 0;
	case OPTIONS_IS_U32:
	case OPTIONS_IS_U64:
		return r->scale ? take_real(o, r, place, text) : take_whole(o, r, place, text);
	case OPTIONS_IS_F64:
	case OPTIONS_IS_F32:
		return take_real(o, r, place, text);
	case OPTIONS_IS_LIST:
		return take_list(o, r, place, text);
	case OPTIONS_IS_TAKEN:
		return r->take(place, text, &e) ? options_wrong(o, "--%s %s", r->name, e.text) : 0;
	}
	return options_wrong(o, "--%s cannot be taken", r->name);
}

/* ---- words ---- */

/* Whether name begins with word, which is none of the names. */
static bool shortened(const char *word, const char *name)
{
	return !strncmp(word, name, strlen(word));
}

/* "--word" or "--word=value" is none of the options, or could be several. */
static int unknown_name(const struct options_table *o, const char *text)
{
	const struct options_row *near = NULL, *one = NULL;
	char word[NEAR_WORD_MAX];
	unsigned best;

	snprintf(word, sizeof(word), "%.*s", (int)strcspn(text + 2, "="), text + 2);
	best = near_limit(word);
	for (size_t i = 0; i < o->n_rows; i++) {
		const struct options_row *r = &o->rows[i];
		const unsigned d = near_distance(word, r->name, strlen(r->name));

		if (r->operand)
			continue;
		if (word[0] && shortened(word, r->name)) {
			if (one)
				return options_wrong(o, "--%s may be --%s or --%s", word, one->name,
						     r->name);
			one = r;
		}
		if (d < best) {
			best = d;
			near = r;
		}
	}
	if (near)
		return options_wrong(o, "--%s: no such option; is --%s meant?", word, near->name);
	return options_wrong(o, "--%s: no such option", word);
}

static const struct options_row *row_of(const struct options_table *o, int c)
{
	for (size_t i = 0; i < o->n_rows; i++) {
		if (c == FIRST_ROW + (int)i || (c && c == o->rows[i].letter))
			return &o->rows[i];
	}
	return NULL;
}

/* What getopt_long did not like, of which it tells in optopt and argv[optind - 1]. */
static int misread(const struct options_table *o, int c, char **argv)
{
	const struct options_row *r = row_of(o, optopt);

	if (c == ':' && r)
		return options_wrong(o, "--%s: its value %s is missing", r->name, r->value);
	if (r || optopt == HELP)
		return options_wrong(o, "--%s takes no value", r ? r->name : "help");
	if (optopt)
		return options_wrong(o, "-%c: no such option", optopt);
	return unknown_name(o, argv[optind - 1]);
}

/* The table as getopt_long wants it. */
struct reader {
	struct option longs[MOST_ROWS + 2];
	char letters[2 * MOST_ROWS + 3];
};

static void set_up(struct reader *rd, const struct options_table *o)
{
	char *at = rd->letters;
	size_t n = 0;

	assert(o->n_rows <= MOST_ROWS);
	*rd = (struct reader){ 0 };
	*at++ = ':';
	*at++ = HELP;
	for (size_t i = 0; i < o->n_rows; i++) {
		const struct options_row *r = &o->rows[i];

		if (r->operand)
			continue;
		rd->longs[n++] =
			(struct option){ r->name, r->value ? 1 : 0, NULL, FIRST_ROW + (int)i };
		if (r->letter)
			*at++ = r->letter;
		if (r->letter && r->value)
			*at++ = ':';
	}
	rd->longs[n] = (struct option){ "help", 0, NULL, HELP };
	opterr = 0;
	optind = 0; /* from the beginning, whatever was read before */
}

static bool asks_for_help(const struct options_table *o, int argc, char **argv)
{
	struct reader rd;
	int c;

	set_up(&rd, o);
	while ((c = getopt_long(argc, argv, rd.letters, rd.longs, NULL)) != -1) {
		if (c == HELP)
			return true;
	}
	return false;
}

static int read_options(const struct options_table *o, void *conf, int argc, char **argv,
			bool *seen)
{
	struct reader rd;
	int c, rc = 0;

	set_up(&rd, o);
	while (!rc && (c = getopt_long(argc, argv, rd.letters, rd.longs, NULL)) != -1) {
		const struct options_row *r = c == '?' || c == ':' ? NULL : row_of(o, c);

		rc = r ? take(o, r, conf, optarg) : misread(o, c, argv);
		if (r)
			seen[r - o->rows] = true;
	}
	return rc;
}

/* The words from optind on. */
static int read_operands(const struct options_table *o, void *conf, int argc, char **argv,
			 bool *seen)
{
	for (size_t i = 0; i < o->n_rows && optind < argc; i++) {
		if (!o->rows[i].operand)
			continue;
		*(const char **)((char *)conf + o->rows[i].place) = argv[optind++];
		seen[i] = true;
	}
	return optind < argc ? options_wrong(o, "what is \"%s\"?", argv[optind]) : 0;
}

static int missing(const struct options_table *o, const struct options_row *r)
{
	if (r->operand)
		return options_wrong(o, "%s is missing", r->name);
	if (r->letter)
		return options_wrong(o, "-%c %s is missing", r->letter, r->value);
	return options_wrong(o, "--%s %s is missing", r->name, r->value);
}

int options_read(const struct options_table *o, void *conf, int argc, char **argv)
{
	bool seen[MOST_ROWS] = { 0 };
	int rc;

	if (asks_for_help(o, argc, argv)) {
		options_print_help(o, conf);
		return 0;
	}
	rc = read_options(o, conf, argc, argv, seen);
	if (!rc)
		rc = read_operands(o, conf, argc, argv, seen);
	for (size_t i = 0; i < o->n_rows && !rc; i++) {
		if (o->rows[i].needed && !seen[i])
			rc = missing(o, &o->rows[i]);
	}
	return rc ? rc : OPTIONS_GO_ON;
}

int options_finish(const char *program, int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	fprintf(stderr, "%s: standard output cannot be written: %s\n", program, strerror(errno));
	return status ? status : 1;
}
