/* tests/conformance.h - files of the conformance pack, wherever it is.
 *
 * SPLITMQ_CONFORMANCE names the folder; else it is looked for beside the source tree. Tests that
 * need it are skipped, aloud, where it is absent. Include after cmocka.h. */
#ifndef TESTS_CONFORMANCE_H
#define TESTS_CONFORMANCE_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "schema/json.h"

static inline void conformance_path(char *dst, size_t cap, const char *rel)
{
	const char *given = getenv("SPLITMQ_CONFORMANCE"), *root = getenv("SPLITMQ_ROOT");
	int n;

	if (given)
		n = snprintf(dst, cap, "%s/%s", given, rel);
	else
		n = snprintf(dst, cap, "%s/../shared/conformance/given/%s", root ? root : ".", rel);
	assert_in_range(n, 1, cap - 1);
}

static inline void conformance_or_skip(void)
{
	char path[512];

	conformance_path(path, sizeof(path), "models");
	if (access(path, R_OK)) {
		print_message("%s is not there (SPLITMQ_CONFORMANCE says where)\n", path);
		skip();
	}
}

/* Whole file, malloc'ed. */
static inline char *conformance_file(const char *rel, size_t *bytes)
{
	char path[512], *data;
	long size;
	FILE *f;

	conformance_path(path, sizeof(path), rel);
	f = fopen(path, "rb");
	if (!f)
		fail_msg("%s cannot be opened", path);
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	size = ftell(f);
	assert_true(size >= 0);
	rewind(f);
	*bytes = (size_t)size;
	data = malloc(*bytes + 1);
	assert_non_null(data);
	assert_int_equal(fread(data, 1, *bytes, f), *bytes);
	data[*bytes] = '\0';
	fclose(f);
	return data;
}

static inline float *conformance_floats(const char *rel, size_t *bytes)
{
	return (float *)(void *)conformance_file(rel, bytes);
}

static inline struct json *conformance_json(const char *rel)
{
	struct json *json = NULL;
	struct err e = { 0 };
	size_t bytes;
	char *text = conformance_file(rel, &bytes);

	if (json_parse(&json, text, bytes, &e))
		fail_msg("%s: %s", rel, e.text);
	free(text);
	return json;
}

#endif
