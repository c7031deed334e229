/* tests/tiny_vocab.h - vocabularies of a few hundred tokens, made in memory as GGUF bytes.
 *
 *	struct tiny v;
 *	tiny_bpe(&v, "gpt-2");			(or tiny_spm(&v))
 *	tiny_add(&v, "<|im_end|>", VOCAB_CONTROL, 0);
 *	tiny_merge(&v, "h e");
 *	v.eos = 7; ...
 *	g = tiny_open(&v, &e);			(NULL when it is refused)
 *	tiny_free(&v);				(after gguf_close)
 *
 * For tests only: stops the program when memory or room runs out. */
#ifndef TESTS_TINY_VOCAB_H
#define TESTS_TINY_VOCAB_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/gguf.h"
#include "engine/vocab.h"
#include "tests/gguf_build.h"

#define TINY_MAX      1024
#define TINY_TEXT_MAX 64
#define TINY_UNSET    UINT32_MAX

struct tiny_token {
	char text[TINY_TEXT_MAX];
	size_t len;
	uint32_t type;
	float score;
};

struct tiny {
	const char *model, *pre, *chat_template; /* NULL: no such key */
	struct tiny_token tokens[TINY_MAX];
	char merges[TINY_MAX][TINY_TEXT_MAX];
	uint32_t n, n_merges;
	uint32_t n_types, n_scores;             /* TINY_UNSET: n; 0: no such key */
	uint32_t bos, eos, unk;                 /* TINY_UNSET: no such key */
	int add_bos, add_eos, add_space_prefix; /* -1: no such key */
	struct build b;
};

static inline uint32_t tiny_add_bytes(struct tiny *v, const void *text, size_t len, uint32_t type,
				      float score)
{
	struct tiny_token *t = &v->tokens[v->n];

	if (v->n == TINY_MAX || len > sizeof(t->text))
		abort();
	if (len)
		memcpy(t->text, text, len);
	t->len = len;
	t->type = type;
	t->score = score;
	return v->n++;
}

static inline uint32_t tiny_add(struct tiny *v, const char *text, uint32_t type, float score)
{
	return tiny_add_bytes(v, text, strlen(text), type, score);
}

static inline void tiny_init(struct tiny *v, const char *model, const char *pre)
{
	memset(v, 0, sizeof(*v));
	v->model = model;
	v->pre = pre;
	v->n_types = v->n_scores = v->bos = v->eos = v->unk = TINY_UNSET;
	v->add_bos = v->add_eos = v->add_space_prefix = -1;
}

static inline void tiny_merge(struct tiny *v, const char *merge)
{
	if (v->n_merges == TINY_MAX || strlen(merge) >= TINY_TEXT_MAX)
		abort();
	memcpy(v->merges[v->n_merges++], merge, strlen(merge) + 1);
}

/* Tokens 0..255: the bytes, spelled in the characters of byte-level vocabularies. */
static inline void tiny_add_byte_chars(struct tiny *v)
{
	unsigned next = 0x100;

	for (unsigned b = 0; b < 256; b++) {
		bool plain = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD);
		unsigned c = plain ? b : next++;
		char text[2] = { (char)(0xC0 | c >> 6), (char)(0x80 | (c & 0x3F)) };

		if (c < 0x80)
			text[0] = (char)c;
		tiny_add_bytes(v, text, c < 0x80 ? 1 : 2, VOCAB_NORMAL, 0);
	}
}

/* Bytes; then " t" 256, "he" 257, "the" 258 (from t + he), " the" 259, "ll" 260, "hello" 264. */
static inline void tiny_bpe(struct tiny *v, const char *pre)
{
	static const char *const tokens[] = { "\xC4\xA0t", "he",        "the", "\xC4\xA0the", "ll",
					      "llo",       "\xC4\xA0h", "aa",  "hello" };
	static const char *const merges[] = { "h e",  "t he",   "\xC4\xA0 t", "\xC4\xA0t he", "l l",
					      "ll o", "he llo", "\xC4\xA0 h", "a a" };

	tiny_init(v, "gpt2", pre);
	v->n_scores = 0;
	tiny_add_byte_chars(v);
	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
		tiny_add(v, tokens[i], VOCAB_NORMAL, 0);
	for (size_t i = 0; i < sizeof(merges) / sizeof(merges[0]); i++)
		tiny_merge(v, merges[i]);
}

/* <unk> <s> </s>, 256 bytes from id 3, then pieces from id 259 on. */
static inline void tiny_spm(struct tiny *v)
{
	static const char *const pieces[] = { "\xE2\x96\x81",
					      "h",
					      "e",
					      "l",
					      "o",
					      "t",
					      "he",
					      "ll",
					      "llo",
					      "\xE2\x96\x81t",
					      "hello",
					      "\xE2\x96\x81hello",
					      "\xE2\x96\x81the",
					      "aa",
					      "a",
					      "\xE2\x82\xAC" };

	tiny_init(v, "llama", NULL);
	tiny_add(v, "<unk>", VOCAB_UNKNOWN, 0);
	tiny_add(v, "<s>", VOCAB_CONTROL, 0);
	tiny_add(v, "</s>", VOCAB_CONTROL, 0);
	for (unsigned b = 0; b < 256; b++) {
		char text[8];

		snprintf(text, sizeof(text), "<0x%02X>", b);
		tiny_add(v, text, VOCAB_BYTE, 0);
	}
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
		tiny_add(v, pieces[i], VOCAB_NORMAL, -(float)i);
}

static inline uint64_t tiny_count_keys(const struct tiny *v)
{
	return (uint64_t)(v->model != NULL) + (v->pre != NULL) + (v->chat_template != NULL) +
	       (v->n != 0) + (v->n_types != 0) + (v->n_scores != 0) + (v->n_merges != 0) +
	       (v->bos != TINY_UNSET) + (v->eos != TINY_UNSET) + (v->unk != TINY_UNSET) +
	       (v->add_bos >= 0) + (v->add_eos >= 0) + (v->add_space_prefix >= 0);
}

static inline void tiny_put_arrays(struct tiny *v)
{
	uint32_t n_types = v->n_types == TINY_UNSET ? v->n : v->n_types;
	uint32_t n_scores = v->n_scores == TINY_UNSET ? v->n : v->n_scores;

	if (v->n)
		build_key_array(&v->b, "tokenizer.ggml.tokens", GGUF_STRING, v->n);
	for (uint32_t i = 0; i < v->n; i++) {
		build_u64(&v->b, v->tokens[i].len);
		build_bytes(&v->b, v->tokens[i].text, v->tokens[i].len);
	}
	if (v->n_types)
		build_key_array(&v->b, "tokenizer.ggml.token_type", GGUF_I32, n_types);
	for (uint32_t i = 0; i < n_types; i++)
		build_u32(&v->b, v->tokens[i].type);
	if (v->n_scores)
		build_key_array(&v->b, "tokenizer.ggml.scores", GGUF_F32, n_scores);
	for (uint32_t i = 0; i < n_scores; i++)
		build_f32(&v->b, v->tokens[i].score);
	if (v->n_merges)
		build_key_array(&v->b, "tokenizer.ggml.merges", GGUF_STRING, v->n_merges);
	for (uint32_t i = 0; i < v->n_merges; i++)
		build_str(&v->b, v->merges[i]);
}

/* Serialize and open. The bytes stay in v. */
static inline struct gguf *tiny_open(struct tiny *v, struct err *e)
{
	struct gguf *g = NULL;

	v->b.len = 0;
	build_header(&v->b, 3, 0, tiny_count_keys(v));
	if (v->model)
		build_key_str(&v->b, "tokenizer.ggml.model", v->model);
	if (v->pre)
		build_key_str(&v->b, "tokenizer.ggml.pre", v->pre);
	if (v->chat_template)
		build_key_str(&v->b, "tokenizer.chat_template", v->chat_template);
	tiny_put_arrays(v);
	if (v->bos != TINY_UNSET)
		build_key_u32(&v->b, "tokenizer.ggml.bos_token_id", v->bos);
	if (v->eos != TINY_UNSET)
		build_key_u32(&v->b, "tokenizer.ggml.eos_token_id", v->eos);
	if (v->unk != TINY_UNSET)
		build_key_u32(&v->b, "tokenizer.ggml.unknown_token_id", v->unk);
	if (v->add_bos >= 0)
		build_key_bool(&v->b, "tokenizer.ggml.add_bos_token", (uint8_t)v->add_bos);
	if (v->add_eos >= 0)
		build_key_bool(&v->b, "tokenizer.ggml.add_eos_token", (uint8_t)v->add_eos);
	if (v->add_space_prefix >= 0)
		build_key_bool(&v->b, "tokenizer.ggml.add_space_prefix",
			       (uint8_t)v->add_space_prefix);
	return gguf_open_memory(&g, v->b.data, v->b.len, e) ? NULL : g;
}

static inline void tiny_free(struct tiny *v)
{
	free(v->b.data);
	v->b = (struct build){ 0 };
}

#endif
