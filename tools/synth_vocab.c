/* tools/synth_vocab.c - a vocabulary of the right size: bytes, special tokens, made-up words. */
#include "tools/synth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "engine/vocab.h"

/* Items of an array in the making. */
struct items {
	uint8_t *data;
	size_t len, cap;
	uint64_t count;
	bool failed;
};

static void add(struct items *a, const void *bytes, size_t n)
{
	if (n > a->cap - a->len) {
		const size_t cap = 2 * (a->len + n) + 256;
		uint8_t *bigger = realloc(a->data, cap);

		if (!bigger) {
			a->failed = true;
			return;
		}
		a->data = bigger;
		a->cap = cap;
	}
	memcpy(a->data + a->len, bytes, n);
	a->len += n;
}

static void add_text(struct items *a, const char *text)
{
	uint8_t number[8];

	le_put64(number, strlen(text));
	add(a, number, sizeof(number));
	add(a, text, strlen(text));
	a->count++;
}

static void add_word(struct items *a, uint32_t v)
{
	uint8_t number[4];

	le_put32(number, v);
	add(a, number, sizeof(number));
	a->count++;
}

static void put_array(struct gguf_write *w, const char *key, enum gguf_value_type type,
		      const struct items *a)
{
	gguf_write_copy(w, &(struct gguf_kv){ .key = { key, strlen(key) },
					      .type = GGUF_ARRAY,
					      .item_type = type,
					      .count = a->count,
					      .data = a->data });
}

struct vocab_items {
	struct items texts, types, scores, merges;
};

static void add_token(struct vocab_items *v, const char *text, enum vocab_type type)
{
	const float score = -(float)v->texts.count;
	uint32_t bits;

	memcpy(&bits, &score, sizeof(bits));
	add_text(&v->texts, text);
	add_word(&v->types, type);
	add_word(&v->scores, bits);
}

/* Word n after a space, which each tokenizer spells its own way: a, b, ... z, aa, ab, ... */
static void add_made_up(struct vocab_items *v, const char *space, uint32_t n)
{
	char text[24], letters[8];
	unsigned len = 0, at;

	at = (unsigned)snprintf(text, sizeof(text), "%s", space);
	for (n++; n; n = (n - 1) / 26)
		letters[len++] = (char)('a' + (n - 1) % 26);
	while (len)
		text[at++] = letters[--len];
	text[at] = '\0';
	add_token(v, text, VOCAB_NORMAL);
}

static void add_sentencepiece(struct vocab_items *v, uint32_t n)
{
	char text[8];

	add_token(v, "<unk>", VOCAB_UNKNOWN);
	add_token(v, "<s>", VOCAB_CONTROL);
	add_token(v, "</s>", VOCAB_CONTROL);
	for (unsigned b = 0; b < 256; b++) {
		snprintf(text, sizeof(text), "<0x%02X>", b);
		add_token(v, text, VOCAB_BYTE);
	}
	for (uint32_t i = 0; v->texts.count < n; i++)
		add_made_up(v, "\xE2\x96\x81", i);
}

/* Special tokens at the end, as Llama 3 and Qwen have them. */
static const struct special {
	const char *pre;
	uint32_t first; /* id of the first special one */
	uint32_t bos, eos, eot;
	const char *bos_text, *eos_text, *eot_text;
} specials[] = {
	{ "llama-bpe", 128000, 128000, 128001, 128009, "<|begin_of_text|>", "<|end_of_text|>",
	  "<|eot_id|>" },
	{ "qwen2", 151643, 151643, 151643, 151645, "<|endoftext|>", "<|endoftext|>", "<|im_end|>" },
};

static const struct special *find_special(const char *pre)
{
	return &specials[!strcmp(pre, specials[1].pre)];
}

/* Each byte by its printable character (engine/bytemap.h says which). */
static void add_byte_characters(struct vocab_items *v)
{
	unsigned next = 0x100;

	for (unsigned b = 0; b < 256; b++) {
		const bool plain = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD);
		const unsigned c = plain ? b : next++;
		const char wide[] = { (char)(0xC0 | c >> 6), (char)(0x80 | (c & 0x3F)), '\0' };
		const char narrow[] = { (char)c, '\0' };

		add_token(v, c < 0x80 ? narrow : wide, VOCAB_NORMAL);
	}
}

static void add_byte_level(struct vocab_items *v, uint32_t n, const struct special *s)
{
	char text[32];

	add_byte_characters(v);
	for (uint32_t i = 0; v->texts.count < s->first; i++)
		add_made_up(v, "\xC4\xA0", i);
	for (uint32_t id = s->first; id < n; id++) {
		snprintf(text, sizeof(text), "<|reserved_%u|>", (unsigned)id);
		add_token(v,
			  id == s->bos   ? s->bos_text
			  : id == s->eos ? s->eos_text
			  : id == s->eot ? s->eot_text
					 : text,
			  VOCAB_CONTROL);
	}
	for (char c = 'a'; c <= 'z'; c++) {
		snprintf(text, sizeof(text), "\xC4\xA0 %c", c);
		add_text(&v->merges, text);
	}
}

static void put_all(struct gguf_write *w, const struct synth_shape *s, const struct vocab_items *v)
{
	put_array(w, "tokenizer.ggml.tokens", GGUF_STRING, &v->texts);
	put_array(w, "tokenizer.ggml.token_type", GGUF_I32, &v->types);
	if (!s->pre) {
		put_array(w, "tokenizer.ggml.scores", GGUF_F32, &v->scores);
		gguf_write_u32(w, "tokenizer.ggml.bos_token_id", 1);
		gguf_write_u32(w, "tokenizer.ggml.eos_token_id", 2);
		gguf_write_u32(w, "tokenizer.ggml.unknown_token_id", 0);
		return;
	}
	gguf_write_str(w, "tokenizer.ggml.pre", s->pre);
	put_array(w, "tokenizer.ggml.merges", GGUF_STRING, &v->merges);
	gguf_write_u32(w, "tokenizer.ggml.bos_token_id", find_special(s->pre)->bos);
	gguf_write_u32(w, "tokenizer.ggml.eos_token_id", find_special(s->pre)->eos);
}

int synth_vocab(const struct synth_shape *s, struct gguf_write *w)
{
	struct vocab_items v = { 0 };
	bool failed;

	if (s->pre)
		add_byte_level(&v, s->vocab, find_special(s->pre));
	else
		add_sentencepiece(&v, s->vocab);
	gguf_write_str(w, "tokenizer.ggml.model", s->pre ? "gpt2" : "llama");
	put_all(w, s, &v);
	failed = v.texts.failed || v.types.failed || v.scores.failed || v.merges.failed;
	free(v.texts.data);
	free(v.types.data);
	free(v.scores.data);
	free(v.merges.data);
	return failed ? ERR_NOMEM : 0;
}
