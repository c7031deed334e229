#include "config/draw.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define DEVIATION_MAX 10

static const struct {
	const char *word;
	uint32_t least, most; /* numbers */
} kinds[] = {
	[DRAW_FIXED] = { "", 1, 1 },
	[DRAW_UNIFORM] = { "uniform", 2, 2 },
	[DRAW_LOGNORMAL] = { "lognormal", 2, 2 },
	[DRAW_CHOICE] = { "choice", 1, DRAW_CHOICES },
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static int malformed(const char *text, struct err *e)
{
	return err_set(e, ERR_CONFIG,
		       "must be a number, uniform(LOW, HIGH), lognormal(MEDIAN, DEVIATION) or "
		       "choice(A, B, ...), not \"%.40s\"",
		       text);
}

/* A decimal number at *at, which moves behind it. */
static bool take_number(const char **at, double *x)
{
	size_t len = strspn(*at, "0123456789.eE+-");
	char *end;

	*x = strtod(*at, &end);
	if (!len || end != *at + len)
		return false;
	*at = end;
	return true;
}

static const char *skip(const char *at)
{
	return at + strspn(at, " ");
}

/* "(1, 2)" to its end -> d->at; false when it is anything else. */
static bool take_list(struct draw *d, const char *at)
{
	if (*at != '(')
		return false;
	do {
		at = skip(at + 1);
		if (d->n == kinds[d->kind].most || !take_number(&at, &d->at[d->n]))
			return false;
		d->n++;
		at = skip(at);
	} while (*at == ',');
	return *at == ')' && !at[1] && d->n >= kinds[d->kind].least;
}

static bool take(struct draw *d, const char *text)
{
	const char *at = text;

	for (size_t i = 1; i < N_KINDS; i++) {
		size_t len = strlen(kinds[i].word);

		if (!strncmp(text, kinds[i].word, len) && text[len] == '(') {
			d->kind = (enum draw_kind)i;
			return take_list(d, text + len);
		}
	}
	d->n = 1;
	return take_number(&at, &d->at[0]) && !*at;
}

static int check_deviation(const struct draw *d, struct err *e)
{
	if (!(d->at[0] > 0))
		return err_set(e, ERR_CONFIG, "the median of a lognormal must be above 0");
	if (!(d->at[1] >= 0 && d->at[1] <= DEVIATION_MAX))
		return err_set(e, ERR_CONFIG, "the deviation of a lognormal must be 0..%d",
			       DEVIATION_MAX);
	return 0;
}

static int check(const struct draw *d, struct err *e)
{
	uint32_t n = d->kind == DRAW_LOGNORMAL ? 1 : d->n;

	for (uint32_t i = 0; i < n; i++) {
		if (!(d->at[i] >= d->min && d->at[i] <= d->max))
			return err_set(e, ERR_CONFIG, "must be within %.17g..%.17g, not %.17g",
				       d->min, d->max, d->at[i]);
	}
	if (d->kind == DRAW_UNIFORM && d->at[0] > d->at[1])
		return err_set(e, ERR_CONFIG, "the low end %.17g is above the high end %.17g",
			       d->at[0], d->at[1]);
	return d->kind == DRAW_LOGNORMAL ? check_deviation(d, e) : 0;
}

int draw_parse(struct draw *d, const char *text, double min, double max, struct err *e)
{
	struct draw read = { .min = min, .max = max };
	int rc;

	if (!take(&read, text))
		return malformed(text, e);
	rc = check(&read, e);
	if (!rc)
		*d = read;
	return rc;
}

void draw_print(const struct draw *d, FILE *out)
{
	fprintf(out, "%s%s", kinds[d->kind].word, d->kind == DRAW_FIXED ? "" : "(");
	for (uint32_t i = 0; i < d->n; i++)
		fprintf(out, "%s%.17g", i ? ", " : "", d->at[i]);
	fputs(d->kind == DRAW_FIXED ? "" : ")", out);
}
