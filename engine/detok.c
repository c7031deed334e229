/* engine/detok.c - token ids -> text, whole or a token at a time. */
#include "engine/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "engine/tok.h"
#include "engine/utf8.h"

#define MAX_DECODED_BYTES ((size_t)1 << 30)

#define REPLACEMENT       "\xEF\xBF\xBD" /* U+FFFD */

/* Bytes that are written for a token, or none. */
static size_t piece(const struct tokenizer *t, uint32_t id, bool special, const char **bytes)
{
	if (id >= t->vocab.n)
		return 0;
	if (!special && (t->vocab.tokens[id].type == VOCAB_CONTROL ||
			 t->vocab.tokens[id].type == VOCAB_UNKNOWN))
		return 0;
	*bytes = vocab_bytes(&t->vocab, id);
	return t->vocab.tokens[id].len;
}

size_t tokenizer_piece(const struct tokenizer *t, uint32_t id, bool special, char *dst, size_t cap)
{
	const char *bytes = NULL;
	size_t n = piece(t, id, special, &bytes);

	if (n && n <= cap)
		memcpy(dst, bytes, n);
	return n;
}

size_t detok_bound(const struct tokenizer *t)
{
	return 3 * ((size_t)t->vocab.max_len + 1);
}

void detok_init(struct detok *d, const struct tokenizer *t, bool special, bool at_start)
{
	*d = (struct detok){ .t = t, .special = special };
	d->strip_space = at_start && t->space_prefix;
}

/* Append n bytes, all or none, to dst[0..*used). */
static void put(char *dst, size_t cap, size_t *used, const char *bytes, size_t n)
{
	if (n > cap - *used)
		return;
	memcpy(dst + *used, bytes, n);
	*used += n;
}

/* Take one more byte; a character is written as soon as it is whole, or can no longer become so. */
static void take(struct detok *d, char byte, char *dst, size_t cap, size_t *used)
{
	unsigned before = d->n_held;
	int k;

	d->held[d->n_held++] = byte;
	k = utf8_check(d->held, d->n_held);
	if (!k)
		return;
	d->n_held = 0;
	if (k > 0) {
		put(dst, cap, used, d->held, (size_t)k);
		return;
	}
	put(dst, cap, used, REPLACEMENT, 3);
	if (before)
		take(d, byte, dst, cap, used); /* it broke what was held, and may begin anew */
}

/* Does the piece that is next have the leading space of a first word? Encoding puts one at the
 * start of a text and after each special token. */
static bool strips(struct detok *d, uint32_t id, const char *bytes)
{
	uint8_t type = d->t->vocab.tokens[id].type;
	bool strip = d->strip_space && bytes[0] == ' ';

	d->strip_space = false;
	if (type != VOCAB_CONTROL && type != VOCAB_UNKNOWN && type != VOCAB_USER_DEFINED)
		return strip;
	d->strip_space = d->special && d->t->space_prefix;
	return false;
}

size_t detok_push(struct detok *d, uint32_t id, char *dst, size_t cap)
{
	const char *bytes = NULL;
	size_t n = piece(d->t, id, d->special, &bytes), used = 0;

	if (!n)
		return 0;
	for (size_t i = strips(d, id, bytes); i < n; i++)
		take(d, bytes[i], dst, cap, &used);
	return used;
}

size_t detok_flush(struct detok *d, char *dst, size_t cap)
{
	size_t used = 0;

	if (d->n_held)
		put(dst, cap, &used, REPLACEMENT, 3);
	d->n_held = 0;
	return used;
}

/* Bytes of ids, written to text unless that is NULL; all are inside the vocabulary. */
static size_t decode(const struct tokenizer *t, const uint32_t *ids, size_t n, bool special,
		     char *text)
{
	struct detok d;
	size_t len = 0;

	detok_init(&d, t, special, true);
	for (size_t i = 0; i < n && len <= MAX_DECODED_BYTES; i++) {
		const char *bytes = NULL;
		size_t skip, n_bytes = piece(t, ids[i], special, &bytes);

		if (!n_bytes)
			continue;
		skip = strips(&d, ids[i], bytes);
		if (text)
			memcpy(text + len, bytes + skip, n_bytes - skip);
		len += n_bytes - skip;
	}
	return len;
}

int tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t n, unsigned flags,
		     char **text, size_t *len, struct err *e)
{
	bool special = flags & TOKENIZER_PARSE_SPECIAL;

	for (size_t i = 0; i < n; i++) {
		if (ids[i] >= t->vocab.n)
			return err_set(e, ERR_LIMIT, "token id %u is not below %u", ids[i],
				       t->vocab.n);
	}
	if (flags & TOKENIZER_ADD_SPECIAL) {
		if (n && t->add_bos && ids[0] == t->bos) {
			ids++;
			n--;
		}
		if (n && t->add_eos && ids[n - 1] == t->eos)
			n--;
	}
	*len = decode(t, ids, n, special, NULL);
	if (*len > MAX_DECODED_BYTES)
		return err_set(e, ERR_LIMIT, "more than %zu bytes of text", MAX_DECODED_BYTES);
	*text = malloc(*len + 1);
	if (!*text)
		return err_set(e, ERR_NOMEM, "decoded text");
	decode(t, ids, n, special, *text);
	(*text)[*len] = '\0';
	return 0;
}
