/* engine/vocab.h - the tokens of a vocabulary: bytes, types, scores, and the way back.
 *
 * vocab_load, corrections of types, vocab_index; read-only afterwards: any thread. */
#ifndef ENGINE_VOCAB_H
#define ENGINE_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/gguf.h"

#define VOCAB_NONE UINT32_MAX

/* Numbers are those of tokenizer.ggml.token_type. */
enum vocab_type {
	VOCAB_NORMAL = 1,
	VOCAB_UNKNOWN = 2,
	VOCAB_CONTROL = 3,
	VOCAB_USER_DEFINED = 4,
	VOCAB_UNUSED = 5,
	VOCAB_BYTE = 6
};

struct vocab_token {
	uint32_t offset; /* of its bytes in `bytes` */
	uint32_t len;	 /* may be 0: such a token is never produced */
	float score;	 /* finite or infinite, not NaN; 0 without scores */
	uint8_t type;	 /* enum vocab_type */
	bool findable;	 /* text may become this token by itself */
};

struct vocab {
	uint32_t n;
	struct vocab_token *tokens;
	char *bytes;	       /* what the tokens stand for: space as space, byte tokens as bytes */
	uint32_t max_len;      /* bytes of the longest token */
	uint32_t byte_id[256]; /* the token of a single byte, or VOCAB_NONE */
	uint32_t *slots;       /* hash table of findable tokens by bytes */
	uint32_t mask;
};

/* Read tokens, types and scores of g. byte_level: texts are spelled as in bytemap.h; otherwise as
 * by SentencePiece (U+2581 is a space, <0xHH> a byte). ERR_FORMAT, ERR_LIMIT, ERR_NOMEM. */
MUST_CHECK int vocab_load(struct vocab *v, const struct gguf *g, bool byte_level, struct err *e);
void vocab_finish(struct vocab *v);

/* The file failed to call id (< n) a control token. Before vocab_index. */
void vocab_make_control(struct vocab *v, uint32_t id);

/* Build the way back from bytes to tokens. ERR_NOMEM. */
MUST_CHECK int vocab_index(struct vocab *v, struct err *e);

/* The token that text of len bytes may become, or VOCAB_NONE. Never a control, unknown or byte
 * token; of equal ones the normal one, then the lowest. */
uint32_t vocab_find(const struct vocab *v, const char *text, size_t len);

/* Bytes of a token; id < n. */
const char *vocab_bytes(const struct vocab *v, uint32_t id);

/* The lowest token of any type that stands for exactly this text, or VOCAB_NONE. Slow: O(n). */
uint32_t vocab_find_any(const struct vocab *v, const char *text);

#endif
