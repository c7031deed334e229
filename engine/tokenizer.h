/* engine/tokenizer.h - text <-> token ids, as the GGUF vocabulary says.
 *
 * Models "llama" (SentencePiece BPE with scores and byte fallback) and "gpt2" (byte-level BPE with
 * the model's pre-tokenizer). A tokenizer is read-only after creation: any thread may encode. */
#ifndef ENGINE_TOKENIZER_H
#define ENGINE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/gguf.h"

struct tokenizer;

#define TOKENIZER_NONE UINT32_MAX /* "the vocabulary has no such token" */

/* Copies what it needs: g may be closed afterwards. ERR_FORMAT (sizes that disagree, a merge of
 * unknown tokens, ids out of range), ERR_UNSUPPORTED (model or pre-tokenizer), ERR_NOMEM. */
MUST_CHECK int tokenizer_create(struct tokenizer **out, const struct gguf *g, struct err *e);
void tokenizer_destroy(struct tokenizer *t);

uint32_t tokenizer_n_vocab(const struct tokenizer *t);
uint32_t tokenizer_bos(const struct tokenizer *t); /* or TOKENIZER_NONE */
uint32_t tokenizer_eos(const struct tokenizer *t);

/* Ends an answer: EOS, EOT (<|eot_id|>, <|im_end|> ...) and what the metadata names as such. */
bool tokenizer_is_end(const struct tokenizer *t, uint32_t id);

enum {
	TOKENIZER_ADD_SPECIAL = 1,   /* BOS/EOS as the vocabulary says (add_bos_token ...) */
	TOKENIZER_PARSE_SPECIAL = 2, /* control tokens written in the text become their ids */
};

/* UTF-8 text of len bytes (invalid bytes are encoded as bytes, never refused; a byte for which
 * the vocabulary has no token becomes its unknown token or U+FFFD) -> a malloc'ed array *ids
 * (the caller frees) of *n ids. User-defined tokens are found in any text, the longest first.
 * Cost O(len log len). ERR_NOMEM, ERR_LIMIT (len over 16 MiB). */
MUST_CHECK int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len,
				unsigned flags, uint32_t **ids, size_t *n, struct err *e);

/* Bytes of one token -> dst[cap]; returns their number, or needed number when > cap. Control
 * tokens give nothing unless `special`. Not NUL-terminated; may be part of a UTF-8 character. An
 * id outside the vocabulary gives nothing. */
size_t tokenizer_piece(const struct tokenizer *t, uint32_t id, bool special, char *dst, size_t cap);

/* The inverse of tokenizer_encode with the same flags -> malloc'ed, NUL-terminated *text (the
 * caller frees) of *len bytes: what ADD_SPECIAL put around the text is dropped, as is the space
 * that SPM puts before a first word; control tokens give their text only with PARSE_SPECIAL.
 * Bytes are not made UTF-8. ERR_LIMIT for an id outside the vocabulary or more than 1 GiB of
 * text, ERR_NOMEM. */
MUST_CHECK int tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t n,
				unsigned flags, char **text, size_t *len, struct err *e);

/* Streaming text: holds back the bytes of an incomplete UTF-8 character, and drops the one leading
 * space that SPM vocabularies put before the first word of a text. Caller's memory. */
struct detok {
	const struct tokenizer *t;
	bool special;	  /* write control tokens too */
	bool strip_space; /* the next piece is the first of a text */
	unsigned n_held;  /* bytes of the unfinished character, 0..3 */
	char held[4];
};

/* at_start: the text begins here (whole decode); false when it continues a prompt. */
void detok_init(struct detok *d, const struct tokenizer *t, bool special, bool at_start);

/* Room that detok_push may need for any one token: 3 bytes for each byte of the longest, and 3. */
size_t detok_bound(const struct tokenizer *t);

/* Append token id; complete characters go to dst[cap]; returns their number of bytes. Bytes that
 * can never become UTF-8 are replaced with U+FFFD, 3 bytes each. cap >= the token's bytes + 4 is
 * enough for well-formed text, detok_bound for any; characters that do not fit are dropped. */
size_t detok_push(struct detok *d, uint32_t id, char *dst, size_t cap);

/* End of text: what is held becomes one U+FFFD. dst needs 3 bytes. */
size_t detok_flush(struct detok *d, char *dst, size_t cap);

#endif
