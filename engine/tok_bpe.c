/* engine/tok_bpe.c - byte-level BPE: a text is cut into words by the pre-tokenizer, the bytes of a
 * word merge by the ranks of the merge list (Sennrich et al., ACL 2016; Radford et al., 2019). */
#include "engine/tok.h"

#include <stdlib.h>
#include <string.h>

#include "engine/bytemap.h"

#define MAX_MERGES (1u << 24)

#define KEY_MERGES "tokenizer.ggml.merges"

static uint32_t hash(uint32_t left, uint32_t right)
{
	uint64_t h = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;

	return (uint32_t)(h >> 32 ^ h >> 7);
}

/* The slot of (left, right), or the empty one where it belongs. */
static struct tok_bpe_merge *slot(const struct tok_bpe *b, uint32_t left, uint32_t right)
{
	uint32_t i = hash(left, right) & b->mask;

	while (b->slots[i].left != VOCAB_NONE &&
	       (b->slots[i].left != left || b->slots[i].right != right))
		i = (i + 1) & b->mask;
	return &b->slots[i];
}

/* A merge's text is "LEFT RIGHT" spelled in byte characters; LEFT has at least one. */
static int split_merge(struct gguf_str s, char *bytes, size_t *left, size_t *both)
{
	const char *space = s.len > 1 ? memchr(s.text + 1, ' ', s.len - 1) : NULL;
	size_t n_text, n_left, n_right;

	if (!space)
		return ERR_FORMAT;
	n_text = (size_t)(space - s.text);
	n_left = bytemap_decode(s.text, n_text, bytes);
	if (n_left == BYTEMAP_NONE)
		return ERR_FORMAT;
	n_right = bytemap_decode(space + 1, s.len - n_text - 1, bytes + n_left);
	if (n_right == BYTEMAP_NONE)
		return ERR_FORMAT;
	*left = n_left;
	*both = n_left + n_right;
	return 0;
}

static int add_merge(struct tok_bpe *b, const struct vocab *v, struct gguf_str s, uint32_t rank,
		     char *bytes)
{
	struct tok_bpe_merge m = { .rank = rank };
	struct tok_bpe_merge *to;
	size_t left, both;

	if (s.len > (size_t)4 * v->max_len + 1 || split_merge(s, bytes, &left, &both))
		return ERR_FORMAT;
	m.left = vocab_find(v, bytes, left);
	m.right = vocab_find(v, bytes + left, both - left);
	m.id = vocab_find(v, bytes, both);
	if (m.left == VOCAB_NONE || m.right == VOCAB_NONE || m.id == VOCAB_NONE)
		return ERR_FORMAT;
	to = slot(b, m.left, m.right);
	if (to->left == VOCAB_NONE)
		*to = m; /* of repeated merges the first one counts */
	return 0;
}

static int alloc_slots(struct tok_bpe *b, uint32_t n)
{
	uint32_t n_slots = 16;

	while (n_slots < 2 * n)
		n_slots *= 2;
	b->slots = malloc(n_slots * sizeof(*b->slots));
	if (!b->slots)
		return ERR_NOMEM;
	memset(b->slots, 0xFF, n_slots * sizeof(*b->slots));
	b->mask = n_slots - 1;
	return 0;
}

static int load_merges(struct tok_bpe *b, const struct vocab *v, const struct gguf *g,
		       struct err *e)
{
	const struct gguf_kv *kv = gguf_find(g, KEY_MERGES);
	const uint8_t *cursor;
	char *bytes;
	int rc = 0;

	if (!kv)
		return err_set(e, ERR_FORMAT, "no %s", KEY_MERGES);
	if (kv->type != GGUF_ARRAY || (kv->count && kv->item_type != GGUF_STRING))
		return err_set(e, ERR_FORMAT, "%s must be an array of strings", KEY_MERGES);
	if (kv->count > MAX_MERGES)
		return err_set(e, ERR_LIMIT, "%s has more than %u items", KEY_MERGES, MAX_MERGES);
	bytes = malloc((size_t)4 * v->max_len + 1);
	if (!bytes || alloc_slots(b, (uint32_t)kv->count)) {
		free(bytes);
		return err_set(e, ERR_NOMEM, "merges");
	}
	cursor = kv->data;
	for (uint32_t i = 0; !rc && i < kv->count; i++) {
		struct gguf_str s = gguf_next_str(&cursor);

		if (add_merge(b, v, s, i, bytes))
			rc = err_set(e, ERR_FORMAT, "%s: merge %u \"%.*s\" is not of known tokens",
				     KEY_MERGES, i, (int)(s.len < 64 ? s.len : 64), s.text);
	}
	free(bytes);
	return rc;
}

int tok_bpe_load(struct tok_bpe *b, const struct vocab *v, const struct gguf *g, struct err *e)
{
	struct gguf_str name = { "default", 7 };
	int rc;

	rc = gguf_get_str(g, "tokenizer.ggml.pre", &name, e);
	if (rc && rc != ERR_NOT_FOUND)
		return rc;
	rc = pretok_create(&b->pretok, name.text, name.len, e);
	return rc ? rc : load_merges(b, v, g, e);
}

void tok_bpe_finish(struct tok_bpe *b)
{
	pretok_destroy(b->pretok);
	free(b->slots);
	memset(b, 0, sizeof(*b));
}

static bool rule(const void *ctx, const struct merge_symbol *a, const struct merge_symbol *b,
		 uint32_t *rank, uint32_t *id)
{
	const struct tok_bpe_merge *m;

	if (a->id == VOCAB_NONE || b->id == VOCAB_NONE)
		return false;
	m = slot(ctx, a->id, b->id);
	*rank = m->rank;
	*id = m->id;
	return m->left != VOCAB_NONE;
}

/* A byte without a token (some vocabularies lack those that UTF-8 never uses) becomes the unknown
 * token, or what U+FFFD is made of, or nothing. */
static int push_missing(struct tok_work *w)
{
	const uint32_t *byte_id = w->t->vocab.byte_id;
	static const unsigned char replacement[] = { 0xEF, 0xBF, 0xBD };
	int rc = 0;

	if (w->t->unk != TOKENIZER_NONE)
		return tok_push(w, w->t->unk);
	for (unsigned i = 0; !rc && i < sizeof(replacement); i++) {
		if (byte_id[replacement[i]] != VOCAB_NONE)
			rc = tok_push(w, byte_id[replacement[i]]);
	}
	return rc;
}

static int encode_word(void *ctx, const char *word, size_t len)
{
	struct tok_work *w = ctx;
	const struct tokenizer *t = w->t;
	struct merge *m = &w->merge;
	uint32_t whole = VOCAB_NONE;
	int rc;

	if (len == 1)
		whole = t->vocab.byte_id[(unsigned char)word[0]];
	else if (pretok_whole_words(t->bpe.pretok))
		whole = vocab_find(&t->vocab, word, len);
	if (whole != VOCAB_NONE)
		return tok_push(w, whole);
	rc = merge_begin(m, len);
	if (rc)
		return rc;
	for (size_t i = 0; i < len; i++)
		merge_add(m, 1, t->vocab.byte_id[(unsigned char)word[i]]);
	rc = merge_run(m, rule, &t->bpe);
	for (uint32_t i = 0; !rc && i != MERGE_END; i = m->symbols[i].next) {
		uint32_t id = m->symbols[i].id;

		rc = id != VOCAB_NONE ? tok_push(w, id) : push_missing(w);
	}
	return rc;
}

int tok_bpe_encode(struct tok_work *w, const char *text, size_t len)
{
	return pretok_split(w->t->bpe.pretok, text, len, encode_word, w);
}
