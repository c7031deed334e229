/* engine/tok.h - inside of the tokenizer: what its files share. For engine/tok*.c, special.c,
 * detok.c.
 *
 * Encoding a text: special.c cuts out the special tokens, each stretch between them goes to
 * tok_spm_encode or tok_bpe_encode, which append ids to a struct tok_work. */
#ifndef ENGINE_TOK_H
#define ENGINE_TOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/merge.h"
#include "engine/pretok.h"
#include "engine/special.h"
#include "engine/tokenizer.h"
#include "engine/vocab.h"

#define TOK_MAX_ENDS 32

/* One merge rule of byte-level BPE; the hash table's key is (left, right). */
struct tok_bpe_merge {
	uint32_t left, right; /* VOCAB_NONE in left: an empty slot */
	uint32_t rank, id;
};

struct tok_bpe {
	struct tok_bpe_merge *slots;
	uint32_t mask;
	struct pretok *pretok;
};

struct tokenizer {
	struct vocab vocab;
	bool spm;	   /* model "llama"; otherwise "gpt2" */
	bool words_apart;  /* SPM: no token goes on with a space after another character */
	bool space_prefix; /* SPM: a space goes before the first word of a text */
	bool add_bos, add_eos;
	uint32_t bos, eos, unk; /* or TOKENIZER_NONE */
	uint32_t ends[TOK_MAX_ENDS];
	unsigned n_ends;
	struct special user_defined; /* matched in every text */
	struct special all;	     /* and control tokens: with TOKENIZER_PARSE_SPECIAL */
	struct tok_bpe bpe;	     /* empty for SPM */
};

/* The state of one encoding. Zeroed is empty. */
struct tok_work {
	const struct tokenizer *t;
	uint32_t *ids;
	size_t n, cap;
	struct merge merge;
};

/* Append one id. ERR_NOMEM. */
MUST_CHECK int tok_push(struct tok_work *w, uint32_t id);

/* Append the ids of text, which has no special tokens. `prefix`: put a space before it.
 * ERR_NOMEM. */
MUST_CHECK int tok_spm_encode(struct tok_work *w, const char *text, size_t len, bool prefix);
MUST_CHECK int tok_bpe_encode(struct tok_work *w, const char *text, size_t len);

/* See struct tokenizer. */
bool tok_spm_words_apart(const struct vocab *v);

/* Merges and pre-tokenizer of g for an indexed vocabulary. */
MUST_CHECK int tok_bpe_load(struct tok_bpe *b, const struct vocab *v, const struct gguf *g,
			    struct err *e);
void tok_bpe_finish(struct tok_bpe *b);

#endif
