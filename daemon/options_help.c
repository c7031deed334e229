#include "daemon/options_help.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS   80
#define LEFT_MOST 26 /* columns of an option and its value; what is longer has a line of its own */
#define LEFT_ROOM 96
#define TEXT_ROOM 1536

/* ---- prose ---- */

/* Words of text[0..len) from column `at` on; further lines are indented. */
static void print_line(const char *text, size_t len, unsigned at, unsigned indent)
{
	bool first = true;

	while (len) {
		size_t n = 0;

		while (n < len && text[n] != ' ')
			n++;
		if (!first && at + 1 + n > COLUMNS) {
			printf("\n%*s", (int)indent, "");
			at = indent;
		} else if (!first) {
			putchar(' ');
			at++;
		}
		fwrite(text, 1, n, stdout);
		at += (unsigned)n;
		first = false;
		n += n < len;
		text += n;
		len -= n;
	}
	putchar('\n');
}

/* Lines that begin with a blank stay as they are. */
static void print_prose(const char *text)
{
	while (*text) {
		const size_t len = strcspn(text, "\n");

		if (*text == ' ')
			printf("%.*s\n", (int)len, text);
		else
			print_line(text, len, 0, 0);
		text += len + (text[len] == '\n');
	}
}

/* ---- one row ---- */

static bool is_number(const struct options_row *r)
{
	return r->kind == OPTIONS_IS_U32 || r->kind == OPTIONS_IS_U64 ||
	       r->kind == OPTIONS_IS_F64 || r->kind == OPTIONS_IS_F32 || r->kind == OPTIONS_IS_LIST;
}

void options_limits(char dst[static OPTIONS_LIMITS_ROOM], const struct options_row *r)
{
	dst[0] = '\0';
	if (is_number(r) && r->max < OPTIONS_ANY && r->max != UINT32_MAX)
		snprintf(dst, OPTIONS_LIMITS_ROOM, "%.16g..%.16g%s%.32s", r->min, r->max,
			 r->unit ? " " : "", r->unit ? r->unit : "");
}

static void print_list_to(char *dst, size_t room, const struct options_list *l)
{
	size_t len = 0;

	for (unsigned i = 0; i < l->n && len < room; i++)
		len += (size_t)snprintf(dst + len, room - len, "%s%" PRIu32, i ? "," : "", l->v[i]);
}

/* What conf holds, as one would give it; empty for nothing. */
static void print_value_to(char *dst, size_t room, const struct options_row *r, const void *conf)
{
	const void *place = (const char *)conf + r->place;
	const double scale = r->scale ? r->scale : 1;

	dst[0] = '\0';
	switch (r->kind) {
	case OPTIONS_IS_TEXT:
		if (*(const char *const *)place)
			snprintf(dst, room, "%s", *(const char *const *)place);
		break;
	case OPTIONS_IS_U32:
		snprintf(dst, room, "%.16g", *(const uint32_t *)place / scale);
		break;
	case OPTIONS_IS_U64:
		snprintf(dst, room, "%.16g", (double)*(const uint64_t *)place / scale);
		break;
	case OPTIONS_IS_F64:
		snprintf(dst, room, "%.16g", *(const double *)place);
		break;
	case OPTIONS_IS_F32:
		snprintf(dst, room, "%g", (double)*(const float *)place);
		break;
	case OPTIONS_IS_LIST:
		print_list_to(dst, room, place);
		break;
	case OPTIONS_IS_FLAG:
	case OPTIONS_IS_TAKEN:
		break;
	}
}

/* help (limits; default: what) */
static void describe(char dst[static TEXT_ROOM], const struct options_row *r, const void *conf)
{
	char limits[OPTIONS_LIMITS_ROOM], value[128];
	const char *preset = r->preset ? r->preset : value;

	options_limits(limits, r);
	value[0] = '\0';
	if (!r->preset && !r->needed && !r->given)
		print_value_to(value, sizeof(value), r, conf);
	if (!limits[0] && !preset[0])
		snprintf(dst, TEXT_ROOM, "%s", r->help);
	else
		snprintf(dst, TEXT_ROOM, "%s (%s%s%s%s)", r->help, limits,
			 limits[0] && preset[0] ? "; " : "", preset[0] ? "default: " : "", preset);
}

static void name_row(char dst[static LEFT_ROOM], const struct options_row *r)
{
	char letter[8] = "    ";

	if (r->letter)
		snprintf(letter, sizeof(letter), "-%c, ", r->letter);
	if (r->operand)
		snprintf(dst, LEFT_ROOM, "  %s", r->name);
	else
		snprintf(dst, LEFT_ROOM, "  %s--%s%s%s", letter, r->name, r->value ? " " : "",
			 r->value ? r->value : "");
}

static unsigned left_width(const struct options_table *o)
{
	unsigned most = 12; /* of --help */

	for (size_t i = 0; i < o->n_rows; i++) {
		char left[LEFT_ROOM];
		size_t len;

		name_row(left, &o->rows[i]);
		len = strlen(left);
		most = len > most && len <= LEFT_MOST ? (unsigned)len : most;
	}
	return most + 2;
}

static void print_row(const struct options_row *r, unsigned width, const void *conf)
{
	char left[LEFT_ROOM], text[TEXT_ROOM];

	name_row(left, r);
	describe(text, r, conf);
	if (strlen(left) + 2 > width)
		printf("%s\n%*s", left, (int)width, "");
	else
		printf("%-*s", (int)width, left);
	print_line(text, strlen(text), width, width);
}

void options_print_help(const struct options_table *o, const void *conf)
{
	const char *form = o->synopsis ? o->synopsis : "[OPTIONS]";
	const unsigned width = left_width(o);

	if (o->summary)
		printf("%s - %s\n\n", o->program, o->summary);
	for (bool first = true; *form; first = false) {
		const size_t len = strcspn(form, "\n");

		printf("%s %s %.*s\n", first ? "usage:" : "      ", o->program, (int)len, form);
		form += len + (form[len] == '\n');
	}
	putchar('\n');
	if (o->about) {
		print_prose(o->about);
		putchar('\n');
	}
	for (size_t i = 0; i < o->n_rows; i++)
		print_row(&o->rows[i], width, conf);
	printf("%-*sthis text\n", (int)width, "  -h, --help");
	if (o->notes) {
		putchar('\n');
		print_prose(o->notes);
	}
}
