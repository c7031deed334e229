/* Two modes, by the first byte. Even: a text against small vocabularies of every kind, with the
 * promises of tokenizer.h checked. Odd: the bytes are the vocabulary; what opens must encode. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/prompt.h"
#include "engine/tokenizer.h"
#include "engine/utf8.h"
#include "tests/tiny_vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char *const rules[] = { NULL,     "gpt-2",        "llama-bpe",      "qwen2",
				     "smollm", "deepseek-llm", "deepseek-coder", "default" };

#define N_RULES (sizeof(rules) / sizeof(rules[0]))

static struct tiny v; /* large */

/* Stop the program: a promise is broken. */
static void must(bool truth)
{
	if (!truth)
		abort();
}

static struct tokenizer *create(void)
{
	struct err e = { 0 };
	struct tokenizer *t = NULL;
	struct gguf *g = tiny_open(&v, &e);

	if (!g)
		must(e.code < 0 && e.text[0]);
	else if (tokenizer_create(&t, g, &e))
		must(!t && e.code < 0 && e.text[0]);
	else
		must(prompt_family(g) != NULL);
	gguf_close(g);
	tiny_free(&v);
	return t;
}

/* One tokenizer for each rule; NULL is SentencePiece. Made once. */
static const struct tokenizer *sample(size_t kind)
{
	static struct tokenizer *made[N_RULES];

	if (made[kind])
		return made[kind];
	if (rules[kind])
		tiny_bpe(&v, rules[kind]);
	else
		tiny_spm(&v);
	v.bos = tiny_add(&v, "<|begin|>", VOCAB_CONTROL, 0);
	tiny_add(&v, "<|im_end|>", VOCAB_CONTROL, 0);
	tiny_add(&v, "<x>", VOCAB_USER_DEFINED, 0);
	tiny_add(&v, "<x><x>", VOCAB_USER_DEFINED, 0);
	tiny_add(&v, ">a", VOCAB_USER_DEFINED, 0);
	made[kind] = create();
	must(made[kind] != NULL);
	return made[kind];
}

/* Everything that ids of any vocabulary must bear. */
static void check_ids(const struct tokenizer *t, const uint32_t *ids, size_t n)
{
	size_t cap = detok_bound(t);
	char *dst = malloc(cap);
	struct detok d;

	must(dst != NULL);
	detok_init(&d, t, n & 1, n & 2);
	for (size_t i = 0; i <= n; i++) {
		size_t got = i < n ? detok_push(&d, ids[i], dst, cap) : detok_flush(&d, dst, cap);

		must((i == n || ids[i] < tokenizer_n_vocab(t)) && got <= cap && d.n_held < 4);
		for (size_t k = 0; k < got;) {
			int step = utf8_check(dst + k, got - k);

			must(step > 0);
			k += (size_t)step;
		}
	}
	free(dst);
}

static size_t encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
		     char **back)
{
	struct err e = { 0 };
	uint32_t *ids = NULL;
	size_t n, n_back;

	must(!tokenizer_encode(t, text, len, flags, &ids, &n, &e));
	check_ids(t, ids, n);
	must(!tokenizer_decode(t, ids, n, flags | TOKENIZER_PARSE_SPECIAL, back, &n_back, &e));
	free(ids);
	return n_back;
}

/* Does SPM lose nothing of this text? It takes U+2581 for a space. */
static bool is_reversible(const char *text, size_t len)
{
	for (size_t i = 0; i + 3 <= len; i++) {
		if (!memcmp(text + i, "\xE2\x96\x81", 3))
			return false;
	}
	return true;
}

static void text_mode(const char *text, size_t len, unsigned flags)
{
	bool exact = is_reversible(text, len);

	for (size_t kind = 0; kind < N_RULES; kind++) {
		char *back = NULL;
		size_t n = encode(sample(kind), text, len, flags, &back);

		if (rules[kind] || exact)
			must(n == len && !memcmp(back, text, len));
		free(back);
	}
}

/* data: entries of a kind byte and up to 31 bytes of text. */
static void vocabulary_mode(const uint8_t *data, size_t len, unsigned setup)
{
	struct tokenizer *t;
	size_t n_text = len < 64 ? len : 64;
	char *back = NULL;

	tiny_init(&v, setup & 1 ? "llama" : "gpt2", setup & 1 ? NULL : rules[1 + setup / 2 % 7]);
	if (setup & 16 && setup & 1)
		tiny_spm(&v);
	else if (setup & 16)
		tiny_bpe(&v, v.pre);
	for (size_t i = 0; i < len && v.n < TINY_MAX && v.n_merges < TINY_MAX;) {
		unsigned kind = data[i++];
		size_t n = kind >> 3;
		char merge[32] = "";

		n = n < len - i ? n : len - i;
		if ((kind & 7) == 7) {
			memcpy(merge, data + i, n);
			tiny_merge(&v, merge);
		} else {
			tiny_add_bytes(&v, data + i, n, kind & 7, (float)n - (float)(i % 5));
		}
		i += n;
	}
	v.bos = setup & 32 ? (uint32_t)len % (v.n + 1) : TINY_UNSET;
	v.unk = setup & 64 ? 0 : TINY_UNSET;
	v.n_types = setup & 128 ? 0 : TINY_UNSET;
	t = create();
	if (!t)
		return;
	for (unsigned flags = 0; flags < 4; flags++) {
		encode(t, (const char *)data, len, flags, &back);
		free(back);
		encode(t, (const char *)data + len - n_text, n_text, flags, &back);
		free(back);
	}
	tokenizer_destroy(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len < 2 || len > 65536)
		return 0;
	if (data[0] & 1)
		vocabulary_mode(data + 2, len - 2, data[1]);
	else
		text_mode((const char *)data + 2, len - 2, data[1] & 3);
	return 0;
}
