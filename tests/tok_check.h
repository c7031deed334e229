/* tests/tok_check.h - what the tests of the tokenizer share. Include after cmocka.h. */
#ifndef TESTS_TOK_CHECK_H
#define TESTS_TOK_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tokenizer.h"
#include "tests/tiny_vocab.h"

#define BOTH (TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL)

/* A tokenizer of v, which is freed. */
static inline struct tokenizer *create(struct tiny *v)
{
	struct tokenizer *t = NULL;
	struct err e = { 0 };
	struct gguf *g = tiny_open(v, &e);

	if (!g || tokenizer_create(&t, g, &e))
		fail_msg("%s", e.text);
	gguf_close(g);
	tiny_free(v);
	return t;
}

static inline void encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
			  uint32_t **ids, size_t *n)
{
	struct err e = { 0 };

	if (tokenizer_encode(t, text, len, flags, ids, n, &e))
		fail_msg("%s", e.text);
}

/* text gives the ids that are written in `expected`, separated by spaces. */
static inline void check(const struct tokenizer *t, const char *text, unsigned flags,
			 const char *expected)
{
	char got[1024] = "";
	uint32_t *ids = NULL;
	size_t n, used = 0;

	encode(t, text, strlen(text), flags, &ids, &n);
	for (size_t i = 0; i < n && used < sizeof(got); i++)
		used += (size_t)snprintf(got + used, sizeof(got) - used, i ? " %u" : "%u", ids[i]);
	if (strcmp(got, expected) != 0)
		fail_msg("\"%s\" gives %s, not %s", text, got, expected);
	free(ids);
}

/* decode(encode(text)) is text. */
static inline void check_back(const struct tokenizer *t, const char *text, size_t len,
			      unsigned flags)
{
	uint32_t *ids = NULL;
	char *back = NULL;
	size_t n, n_back;
	struct err e = { 0 };

	encode(t, text, len, flags, &ids, &n);
	flags |= TOKENIZER_PARSE_SPECIAL;
	assert_int_equal(tokenizer_decode(t, ids, n, flags, &back, &n_back, &e), 0);
	assert_int_equal(n_back, len);
	assert_memory_equal(back, text, len);
	free(back);
	free(ids);
}

#endif
