#include "engine/vocab.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/bytemap.h"

#define MAX_TOKENS (1u << 24)

#define KEY_TOKENS "tokenizer.ggml.tokens"
#define KEY_TYPES  "tokenizer.ggml.token_type"
#define KEY_SCORES "tokenizer.ggml.scores"

static uint32_t hash(const char *text, size_t len)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
	return (uint32_t)(h >> 32 ^ h);
}

const char *vocab_bytes(const struct vocab *v, uint32_t id)
{
	return v->bytes + v->tokens[id].offset;
}

static bool is(const struct vocab *v, uint32_t id, const char *text, size_t len)
{
	return v->tokens[id].len == len && !memcmp(vocab_bytes(v, id), text, len);
}

uint32_t vocab_find(const struct vocab *v, const char *text, size_t len)
{
	if (!len || len > v->max_len)
		return VOCAB_NONE;
	for (uint32_t i = hash(text, len) & v->mask;; i = (i + 1) & v->mask) {
		uint32_t id = v->slots[i];

		if (id == VOCAB_NONE || is(v, id, text, len))
			return id;
	}
}

uint32_t vocab_find_any(const struct vocab *v, const char *text)
{
	size_t len = strlen(text);

	for (uint32_t id = 0; id < v->n; id++) {
		if (is(v, id, text, len))
			return id;
	}
	return VOCAB_NONE;
}

/* Make id findable, unless a token of the same bytes is already. */
static void insert(struct vocab *v, uint32_t id)
{
	const struct vocab_token *t = &v->tokens[id];
	uint32_t i = hash(vocab_bytes(v, id), t->len) & v->mask;

	while (v->slots[i] != VOCAB_NONE) {
		if (is(v, v->slots[i], vocab_bytes(v, id), t->len))
			return;
		i = (i + 1) & v->mask;
	}
	v->slots[i] = id;
}

static int build_hash(struct vocab *v, struct err *e)
{
	uint32_t n_slots = 16;

	while (n_slots < 2 * v->n)
		n_slots *= 2;
	v->slots = malloc(n_slots * sizeof(*v->slots));
	if (!v->slots)
		return err_set(e, ERR_NOMEM, "vocabulary index");
	memset(v->slots, 0xFF, n_slots * sizeof(*v->slots));
	v->mask = n_slots - 1;
	for (uint32_t id = 0; id < v->n; id++) {
		if (v->tokens[id].findable && v->tokens[id].type != VOCAB_USER_DEFINED)
			insert(v, id);
	}
	for (uint32_t id = 0; id < v->n; id++) {
		if (v->tokens[id].findable && v->tokens[id].type == VOCAB_USER_DEFINED)
			insert(v, id);
	}
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* The byte that "<0xHH>" names, or -1. */
static int byte_named(struct gguf_str s)
{
	int high, low;

	if (s.len != 6 || memcmp(s.text, "<0x", 3) != 0 || s.text[5] != '>')
		return -1;
	high = hex_digit(s.text[3]);
	low = hex_digit(s.text[4]);
	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* U+2581 becomes a space. A text with real spaces could not be told from it: it is not findable. */
static void spell_spm(struct vocab_token *t, struct gguf_str s, char *dst)
{
	t->findable = !memchr(s.text, ' ', s.len);
	for (size_t i = 0; i < s.len;) {
		bool space = s.len - i >= 3 && !memcmp(s.text + i, "\xE2\x96\x81", 3);

		dst[t->len++] = space ? ' ' : s.text[i];
		i += space ? 3 : 1;
	}
}

static void spell_raw(struct vocab_token *t, struct gguf_str s, char *dst)
{
	if (s.len)
		memcpy(dst, s.text, s.len);
	t->len = (uint32_t)s.len;
}

static void spell_bytes(struct vocab_token *t, struct gguf_str s, char *dst)
{
	size_t n = bytemap_decode(s.text, s.len, dst);

	t->findable = n != BYTEMAP_NONE;
	if (t->findable)
		t->len = (uint32_t)n;
	else
		spell_raw(t, s, dst);
}

/* Write what token id stands for to dst, which has room for the text. */
static void spell(struct vocab *v, uint32_t id, struct gguf_str s, bool byte_level, char *dst)
{
	struct vocab_token *t = &v->tokens[id];
	int byte = byte_level || t->type != VOCAB_BYTE ? -1 : byte_named(s);

	if (byte >= 0) {
		dst[0] = (char)byte;
		t->len = 1;
		if (v->byte_id[byte] == VOCAB_NONE)
			v->byte_id[byte] = id;
	} else if (t->type == VOCAB_CONTROL || t->type == VOCAB_UNKNOWN) {
		spell_raw(t, s, dst);
	} else if (t->type == VOCAB_USER_DEFINED) {
		spell_raw(t, s, dst);
		t->findable = true;
	} else if (byte_level) {
		spell_bytes(t, s, dst);
	} else {
		spell_spm(t, s, dst);
	}
	t->findable = t->findable && t->len;
	if (t->len > v->max_len)
		v->max_len = t->len;
}

static int read_texts(struct vocab *v, const struct gguf_kv *kv, bool byte_level, struct err *e)
{
	const uint8_t *cursor = kv->data;
	size_t total = 0;

	for (uint32_t id = 0; id < v->n; id++)
		total += gguf_next_str(&cursor).len; /* bounded by the file's size */
	if (total >= UINT32_MAX)
		return err_set(e, ERR_LIMIT, "%s: %zu bytes of text", KEY_TOKENS, total);
	v->bytes = malloc(total + 1);
	if (!v->bytes)
		return err_set(e, ERR_NOMEM, "vocabulary text");
	cursor = kv->data;
	total = 0;
	for (uint32_t id = 0; id < v->n; id++) {
		v->tokens[id].offset = (uint32_t)total;
		spell(v, id, gguf_next_str(&cursor), byte_level, v->bytes + total);
		total += v->tokens[id].len;
	}
	return 0;
}

/* An optional array with one number per token: NULL in *kv when there is none. */
static int number_array(const struct gguf_kv **kv, const struct vocab *v, const struct gguf *g,
			const char *key, struct err *e)
{
	*kv = gguf_find(g, key);
	if (!*kv)
		return 0;
	if ((*kv)->type != GGUF_ARRAY || (*kv)->item_type == GGUF_STRING ||
	    (*kv)->item_type == GGUF_ARRAY)
		return err_set(e, ERR_FORMAT, "%s must be an array of numbers", key);
	if ((*kv)->count != v->n)
		return err_set(e, ERR_FORMAT, "%s has %llu items for %u tokens", key,
			       (unsigned long long)(*kv)->count, v->n);
	return 0;
}

static int read_numbers(struct vocab *v, const struct gguf *g, struct err *e)
{
	const struct gguf_kv *types, *scores;
	int rc;

	rc = number_array(&types, v, g, KEY_TYPES, e);
	if (!rc)
		rc = number_array(&scores, v, g, KEY_SCORES, e);
	if (rc)
		return rc;
	for (uint32_t id = 0; id < v->n; id++) {
		int64_t type = types ? gguf_int_at(types, id) : VOCAB_NORMAL;

		if (type < VOCAB_NORMAL || type > VOCAB_BYTE)
			type = VOCAB_NORMAL;
		v->tokens[id].type = (uint8_t)type;
		v->tokens[id].score = scores ? (float)gguf_float_at(scores, id) : 0;
		if (isnan(v->tokens[id].score))
			return err_set(e, ERR_FORMAT, "%s: the score of token %u is NaN",
				       KEY_SCORES, id);
	}
	return 0;
}

/* Single bytes without a token <0xHH>: any token that stands for the byte. */
static void fill_byte_ids(struct vocab *v)
{
	for (unsigned b = 0; b < 256; b++) {
		char c = (char)b;

		if (v->byte_id[b] == VOCAB_NONE)
			v->byte_id[b] = vocab_find(v, &c, 1);
	}
}

int vocab_load(struct vocab *v, const struct gguf *g, bool byte_level, struct err *e)
{
	const struct gguf_kv *kv = gguf_find(g, KEY_TOKENS);
	int rc;

	memset(v, 0, sizeof(*v));
	memset(v->byte_id, 0xFF, sizeof(v->byte_id));
	if (!kv)
		return err_set(e, ERR_FORMAT, "no %s", KEY_TOKENS);
	if (kv->type != GGUF_ARRAY || kv->item_type != GGUF_STRING)
		return err_set(e, ERR_FORMAT, "%s must be an array of strings", KEY_TOKENS);
	if (!kv->count || kv->count > MAX_TOKENS)
		return err_set(e, ERR_LIMIT, "%s must have 1..%u items, not %llu", KEY_TOKENS,
			       MAX_TOKENS, (unsigned long long)kv->count);
	v->n = (uint32_t)kv->count;
	v->tokens = calloc(v->n, sizeof(*v->tokens));
	rc = v->tokens ? read_numbers(v, g, e) : err_set(e, ERR_NOMEM, "vocabulary");
	if (!rc)
		rc = read_texts(v, kv, byte_level, e);
	if (rc)
		vocab_finish(v);
	return rc;
}

void vocab_make_control(struct vocab *v, uint32_t id)
{
	v->tokens[id].type = VOCAB_CONTROL;
	v->tokens[id].findable = false;
}

int vocab_index(struct vocab *v, struct err *e)
{
	int rc = build_hash(v, e);

	if (!rc)
		fill_byte_ids(v);
	return rc;
}

void vocab_finish(struct vocab *v)
{
	free(v->tokens);
	free(v->bytes);
	free(v->slots);
	memset(v, 0, sizeof(*v));
}
