/* engine/tok_spm.c - SentencePiece BPE: characters merge into the neighbouring pair of best score;
 * what is no token in the end is written as bytes (Kudo and Richardson, EMNLP 2018). */
#include "engine/tok.h"

#include <stdlib.h>
#include <string.h>

#include "engine/utf8.h"

struct text_rule {
	const struct vocab *v;
	const char *text;
};

/* Order-preserving: the higher the score, the lower the rank. */
static uint32_t rank_of(float score)
{
	float f = score + 0.0f; /* -0 becomes 0 */
	uint32_t bits;

	memcpy(&bits, &f, sizeof(bits));
	return bits >> 31 ? bits : 0x7FFFFFFFu - bits;
}

/* Any two neighbours whose bytes together are a token may merge. */
static bool rule(const void *ctx, const struct merge_symbol *a, const struct merge_symbol *b,
		 uint32_t *rank, uint32_t *id)
{
	const struct text_rule *r = ctx;

	*id = vocab_find(r->v, r->text + a->start, (size_t)a->len + b->len);
	if (*id == VOCAB_NONE)
		return false;
	*rank = rank_of(r->v->tokens[*id].score);
	return true;
}

/* U+2581 stands for a space in the vocabulary, so it does in a text. Returns the new length. */
static size_t normalize(char *dst, const char *text, size_t len, bool prefix)
{
	size_t n = 0;

	if (prefix)
		dst[n++] = ' ';
	for (size_t i = 0; i < len;) {
		bool space = len - i >= 3 && !memcmp(text + i, "\xE2\x96\x81", 3);

		dst[n++] = space ? ' ' : text[i];
		i += space ? 3 : 1;
	}
	return n;
}

/* A symbol that is no token: its bytes, or one unknown token when the vocabulary lacks one of
 * them. */
static int push_bytes(struct tok_work *w, const char *text, size_t len)
{
	const struct tokenizer *t = w->t;
	int rc = 0;

	for (size_t i = 0; i < len; i++) {
		if (t->vocab.byte_id[(unsigned char)text[i]] == VOCAB_NONE)
			return tok_push(w, t->unk);
	}
	for (size_t i = 0; !rc && i < len; i++)
		rc = tok_push(w, t->vocab.byte_id[(unsigned char)text[i]]);
	return rc;
}

static int encode_word(struct tok_work *w, const char *text, size_t len)
{
	struct text_rule ctx = { .v = &w->t->vocab, .text = text };
	struct merge *m = &w->merge;
	int rc = merge_begin(m, len);

	if (rc)
		return rc;
	for (size_t i = 0; i < len;) {
		int n = utf8_check(text + i, len - i);

		n = n > 0 ? n : 1; /* an invalid byte is a symbol of its own */
		merge_add(m, (uint32_t)n, vocab_find(ctx.v, text + i, (size_t)n));
		i += (size_t)n;
	}
	rc = merge_run(m, rule, &ctx);
	for (uint32_t i = 0; !rc && i != MERGE_END; i = m->symbols[i].next) {
		const struct merge_symbol *s = &m->symbols[i];

		rc = s->id != VOCAB_NONE ? tok_push(w, s->id)
					 : push_bytes(w, text + s->start, s->len);
	}
	return rc;
}

/* Does a word end between these two bytes? */
static bool is_seam(char before, char after)
{
	return before != ' ' && after == ' ';
}

bool tok_spm_words_apart(const struct vocab *v)
{
	for (uint32_t id = 0; id < v->n; id++) {
		const char *bytes = vocab_bytes(v, id);

		for (uint32_t i = 1; v->tokens[id].findable && i < v->tokens[id].len; i++) {
			if (is_seam(bytes[i - 1], bytes[i]))
				return false;
		}
	}
	return true;
}

/* When no token reaches over a seam, no merge does: words can be encoded one by one, in cache. */
static size_t word_len(const struct tokenizer *t, const char *text, size_t len)
{
	size_t n = 1;

	if (!t->words_apart)
		return len;
	while (n < len && !is_seam(text[n - 1], text[n]))
		n++;
	return n;
}

int tok_spm_encode(struct tok_work *w, const char *text, size_t len, bool prefix)
{
	char *normal = malloc(len + 1);
	int rc = 0;

	if (!normal)
		return ERR_NOMEM;
	len = normalize(normal, text, len, prefix);
	for (size_t i = 0, n; !rc && i < len; i += n) {
		n = word_len(w->t, normal + i, len - i);
		rc = encode_word(w, normal + i, n);
	}
	free(normal);
	return rc;
}
