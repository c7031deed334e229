/* tools/synth.h - GGUF files with the shapes of well-known models and random weights.
 *
 * What such a file says about speed and memory is true, what it says as text is not. The bytes
 * depend on shape, type and seed only. Matrices have mean 0 and a standard deviation that keeps
 * activations near 1 in all layers; the vocabulary has tokens for all bytes, and made-up words for
 * the rest. One thread. */
#ifndef TOOLS_SYNTH_H
#define TOOLS_SYNTH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"
#include "engine/gguf_write.h"
#include "tools/progress.h"

struct synth_shape {
	const char *name; /* of --shape */
	const char *arch;
	uint32_t layers, dim, heads, kv_heads, ff, vocab, ctx;
	float rope_base, norm_eps;
	float rope_factor; /* of rope_freqs as Llama 3.1 made them; 0: no such tensor */
	bool tied;         /* no output.weight */
	bool qkv_bias;
	const char *pre; /* pre-tokenizer of byte-level BPE; NULL: SentencePiece */
};

/* The table, ended by a row without a name; NULL when none has that name. */
extern const struct synth_shape synth_shapes[];
const struct synth_shape *synth_find(const char *name);

struct synth_conf {
	const struct synth_shape *shape;
	enum quant_type type; /* of matrices; the output matrix gets Q6_K if that is finer */
	bool mixture;         /* Q4_K_M: type is Q4_K, and half of attn_v and ffn_down Q6_K */
	uint64_t seed;
};

/* Write path (gguf_write.h says how), showing p in KiB; stop, if given, is asked now and then if
 * that is to end (ERR_CANCELLED, and no file). ERR_IO, ERR_NOMEM. */
MUST_CHECK int synth_write(const struct synth_conf *conf, const char *path, struct progress *p,
			   bool (*stop)(void), struct err *e);

/* A place in the stream of random numbers of a seed. */
struct synth_random {
	uint64_t seed, counter;
};

/* Random blocks of a type that quantize_can, elements of mean 0 and standard deviation sd. */
void synth_fill(struct synth_random *r, enum quant_type type, float sd, uint8_t *dst,
		size_t blocks);

/* The keys tokenizer.* of a vocabulary for the shape. ERR_NOMEM. */
MUST_CHECK int synth_vocab(const struct synth_shape *s, struct gguf_write *w);

#endif
