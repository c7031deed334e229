#include "config/value.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config/draw.h"

static const struct {
	const char *suffix;
	uint64_t bytes;
} units[] = {
	{ "TiB", UINT64_C(1) << 40 },
	{ "GiB", UINT64_C(1) << 30 },
	{ "MiB", UINT64_C(1) << 20 },
	{ "KiB", UINT64_C(1) << 10 },
	{ "GB", 1000000000 },
	{ "MB", 1000000 },
	{ "kB", 1000 },
	{ "B", 1 },
	{ "", 1 },
};

#define N_UNITS (sizeof(units) / sizeof(units[0]))

const char *value_text(const void *conf, const struct key *k)
{
	return (const char *)conf + k->offset;
}

static int set_text(char *dst, const struct key *k, const char *prefix, const char *text,
		    struct err *e)
{
	size_t n = strlen(prefix), len = strlen(text);

	if (n + len >= k->cap)
		return err_set(e, ERR_CONFIG, "longer than %zu bytes", k->cap - 1 - n);
	memcpy(dst, prefix, n);
	memcpy(dst + n, text, len + 1);
	return 0;
}

static int set_path(char *dst, const struct key *k, const char *dir, const char *text,
		    struct err *e)
{
	return set_text(dst, k, *text && *text != '/' ? dir : "", text, e);
}

/* The alphabet of a topic level (schema/topic.h says the same, a layer up). */
static int set_name(char *dst, const struct key *k, const char *text, struct err *e)
{
	for (const char *p = text; *p; p++) {
		if (!isalnum((unsigned char)*p) && !strchr("_.-", *p))
			return err_set(e, ERR_CONFIG,
				       "must be letters, digits, '_', '.' or '-', not \"%.40s\"",
				       text);
	}
	if (!*text && k->fallback && *k->fallback)
		return err_set(e, ERR_CONFIG, "must not be empty");
	return set_text(dst, k, "", text, e);
}

static int set_word(char *dst, const struct key *k, const char *text, struct err *e)
{
	const char *words = k->words;
	size_t len = strlen(text);

	while (words) {
		const char *bar = strchr(words, '|');
		size_t n = bar ? (size_t)(bar - words) : strlen(words);

		if (n == len && !memcmp(words, text, n))
			return set_text(dst, k, "", text, e);
		words = bar ? bar + 1 : NULL;
	}
	return err_set(e, ERR_CONFIG, "must be one of %s, not \"%.40s\"", k->words, text);
}

static int out_of_range(const struct key *k, const char *what, const char *text, struct err *e)
{
	return err_set(e, ERR_CONFIG, "must be %s %.17g..%.17g%s, not \"%.40s\"", what, k->min,
		       k->max, k->has_auto ? " or auto" : "", text);
}

static int set_u32(uint32_t *dst, const struct key *k, const char *text, struct err *e)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || (double)n < k->min ||
	    (double)n > k->max)
		return out_of_range(k, "an integer", text, e);
	*dst = (uint32_t)n;
	return 0;
}

static int set_real(double *dst, const struct key *k, const char *text, struct err *e)
{
	double x;
	char *end;

	x = strtod(text, &end);
	if (end == text || *end || strspn(text, "0123456789.eE+-") != strlen(text) ||
	    !(x >= k->min && x <= k->max))
		return out_of_range(k, "a number", text, e);
	*dst = x;
	return 0;
}

static int set_bytes(uint64_t *dst, const struct key *k, const char *text, struct err *e)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || errno)
		return err_set(e, ERR_CONFIG, "must be a size such as 512MiB, not \"%.40s\"", text);
	while (*end == ' ')
		end++;
	for (size_t i = 0; i < N_UNITS; i++) {
		if (strcmp(end, units[i].suffix))
			continue;
		if ((double)n * (double)units[i].bytes < k->min ||
		    (double)n * (double)units[i].bytes > k->max)
			return out_of_range(k, "a size of bytes in", text, e);
		*dst = n * units[i].bytes;
		return 0;
	}
	return err_set(e, ERR_CONFIG, "unknown unit in \"%.40s\" (kB, MB, GB, KiB, MiB, GiB, TiB)",
		       text);
}

static void set_auto(void *field, const struct key *k)
{
	if (k->kind == KEY_BYTES)
		*(uint64_t *)field = k->auto_value;
	else if (k->kind == KEY_REAL)
		*(double *)field = (double)NAN;
	else
		*(uint32_t *)field = k->auto_value;
}

int value_set(void *conf, const struct key *k, const char *text, const char *dir, struct err *e)
{
	void *field = (char *)conf + k->offset;

	if (k->has_auto && !strcmp(text, "auto")) {
		set_auto(field, k);
		return 0;
	}
	switch (k->kind) {
	case KEY_TEXT:
		return set_text(field, k, "", text, e);
	case KEY_NAME:
		return set_name(field, k, text, e);
	case KEY_PATH:
		return set_path(field, k, dir, text, e);
	case KEY_WORD:
		return set_word(field, k, text, e);
	case KEY_U32:
		return set_u32(field, k, text, e);
	case KEY_REAL:
		return set_real(field, k, text, e);
	case KEY_BYTES:
		return set_bytes(field, k, text, e);
	case KEY_DRAW:
		return draw_parse(field, text, k->min, k->max, e);
	}
	return err_set(e, ERR_INTERNAL, "no such kind of key");
}

static void print_text(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

void value_print(const void *conf, const struct key *k, FILE *out)
{
	const void *field = (const char *)conf + k->offset;

	if (k->secret) {
		fputs(*value_text(conf, k) ? "\"********\"" : "\"\"", out);
	} else if (k->kind == KEY_BYTES) {
		uint64_t n = *(const uint64_t *)field;

		if (k->has_auto && n == k->auto_value)
			fputs("auto", out);
		else
			fprintf(out, "%llu", (unsigned long long)n);
	} else if (k->kind == KEY_U32) {
		uint32_t n = *(const uint32_t *)field;

		if (k->has_auto && n == k->auto_value)
			fputs("auto", out);
		else
			fprintf(out, "%lu", (unsigned long)n);
	} else if (k->kind == KEY_REAL) {
		double x = *(const double *)field;

		if (isnan(x))
			fputs("auto", out);
		else
			fprintf(out, "%.17g", x);
	} else if (k->kind == KEY_DRAW) {
		draw_print(field, out);
	} else {
		print_text(value_text(conf, k), out);
	}
}
