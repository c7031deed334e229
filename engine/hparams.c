/* engine/hparams.c - hyper-parameters out of the metadata; the contract is in model.h. */
#include "engine/model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/weights.h"

static const struct {
	const char *name;
	bool neox;
} archs[MODEL_ARCH_COUNT] = {
	[MODEL_LLAMA] = { "llama", false },
	[MODEL_QWEN2] = { "qwen2", true },
	[MODEL_QWEN3] = { "qwen3", true },
};

/* Metadata of one file, and the prefix of its keys. */
struct source {
	const struct gguf *g;
	const char *arch;
	char key[96]; /* of the last lookup */
	struct err *e;
};

static const char *key(struct source *s, const char *suffix)
{
	snprintf(s->key, sizeof(s->key), "%s.%s", s->arch, suffix);
	return s->key;
}

static bool has(struct source *s, const char *suffix)
{
	return gguf_find(s->g, key(s, suffix)) != NULL;
}

/* Integer in min..max; a missing key leaves *v alone when it is optional. */
static int get_u32(struct source *s, const char *suffix, bool need, uint32_t min, uint32_t max,
		   uint32_t *v)
{
	uint32_t got = *v;
	int rc;

	if (!has(s, suffix) && !need)
		return 0;
	rc = gguf_get_u32(s->g, s->key, &got, s->e);
	if (rc)
		return rc;
	if (got < min || got > max)
		return err_set(s->e, ERR_FORMAT,
			       "%s must be in %" PRIu32 "..%" PRIu32 ", not %" PRIu32, s->key, min,
			       max, got);
	*v = got;
	return 0;
}

/* Finite number above 0. */
static int get_positive(struct source *s, const char *suffix, bool need, float *v)
{
	float got = *v;
	int rc;

	if (!has(s, suffix) && !need)
		return 0;
	rc = gguf_get_f32(s->g, s->key, &got, s->e);
	if (rc)
		return rc;
	if (!isfinite(got) || got <= 0)
		return err_set(s->e, ERR_FORMAT, "%s must be above 0, not %g", s->key, (double)got);
	*v = got;
	return 0;
}

static int get_arch(struct source *s, struct model_hparams *hp)
{
	struct gguf_str word;
	int rc = gguf_get_str(s->g, "general.architecture", &word, s->e);

	if (rc)
		return rc;
	for (unsigned i = 0; i < MODEL_ARCH_COUNT; i++) {
		if (strlen(archs[i].name) == word.len &&
		    !memcmp(archs[i].name, word.text, word.len)) {
			hp->arch = (enum model_arch)i;
			hp->rope_neox = archs[i].neox;
			s->arch = archs[i].name;
			return 0;
		}
	}
	return err_set(s->e, ERR_UNSUPPORTED,
		       "architecture \"%.*s\" is not supported (llama, qwen2, qwen3 are)",
		       (int)(word.len < 64 ? word.len : 64), word.text);
}

static int get_sizes(struct source *s, struct model_hparams *hp)
{
	int rc = get_u32(s, "block_count", true, 1, 4096, &hp->n_layers);

	if (!rc)
		rc = get_u32(s, "embedding_length", true, 1, 1 << 20, &hp->dim);
	if (!rc)
		rc = get_u32(s, "feed_forward_length", true, 1, 1 << 24, &hp->ff_dim);
	if (!rc)
		rc = get_u32(s, "context_length", true, 1, 1 << 30, &hp->n_ctx_train);
	if (!rc)
		rc = get_positive(s, "attention.layer_norm_rms_epsilon", true, &hp->norm_eps);
	return rc;
}

static int get_heads(struct source *s, struct model_hparams *hp)
{
	int rc = get_u32(s, "attention.head_count", true, 1, 4096, &hp->n_heads);

	if (rc)
		return rc;
	hp->n_kv_heads = hp->n_heads;
	rc = get_u32(s, "attention.head_count_kv", false, 1, hp->n_heads, &hp->n_kv_heads);
	if (rc)
		return rc;
	if (hp->n_heads % hp->n_kv_heads)
		return err_set(s->e, ERR_FORMAT,
			       "%" PRIu32 " heads cannot share %" PRIu32 " key/value heads",
			       hp->n_heads, hp->n_kv_heads);
	if (hp->dim % hp->n_heads && !has(s, "attention.key_length"))
		return err_set(s->e, ERR_FORMAT, "hidden size %" PRIu32 " over %" PRIu32 " heads",
			       hp->dim, hp->n_heads);
	hp->head_dim = hp->head_dim_v = hp->dim / hp->n_heads;
	rc = get_u32(s, "attention.key_length", false, 1, 4096, &hp->head_dim);
	if (!rc)
		rc = get_u32(s, "attention.value_length", false, 1, 4096, &hp->head_dim_v);
	if (!rc && (hp->head_dim < 1 || hp->head_dim > 4096 || hp->head_dim_v < 1 ||
		    hp->head_dim_v > 4096))
		rc = err_set(s->e, ERR_FORMAT, "head size must be in 1..4096");
	return rc;
}

static bool is_word(struct gguf_str s, const char *word)
{
	return s.len == strlen(word) && !memcmp(s.text, word, s.len);
}

/* "none" and "linear" are simple enough to be right; without a type a factor means linear. */
static int get_rope_scaling(struct source *s, struct model_hparams *hp)
{
	struct gguf_str type = { "linear", 6 };
	int rc = 0;

	if (has(s, "rope.scaling.type"))
		rc = gguf_get_str(s->g, s->key, &type, s->e);
	if (rc)
		return rc;
	if (is_word(type, "none"))
		return 0;
	if (!is_word(type, "linear"))
		return err_set(s->e, ERR_UNSUPPORTED, "%s \"%.*s\" is not supported", s->key,
			       (int)(type.len < 32 ? type.len : 32), type.text);
	rc = get_positive(s, "rope.scale_linear", false, &hp->rope_scale);
	if (!rc)
		rc = get_positive(s, "rope.scaling.factor", false, &hp->rope_scale);
	return rc;
}

static int get_rope(struct source *s, struct model_hparams *hp)
{
	int rc;

	hp->rope_base = 10000;
	hp->rope_scale = 1;
	hp->rope_dim = hp->head_dim;
	rc = get_positive(s, "rope.freq_base", false, &hp->rope_base);
	if (!rc)
		rc = get_u32(s, "rope.dimension_count", false, 2, hp->head_dim, &hp->rope_dim);
	if (!rc && hp->rope_dim % 2)
		rc = err_set(s->e, ERR_FORMAT, "%s.rope.dimension_count must be even, not %" PRIu32,
			     s->arch, hp->rope_dim);
	if (!rc)
		rc = get_rope_scaling(s, hp);
	return rc;
}

/* Keys of relatives of these architectures whose arithmetic differs: better no answer than a
 * wrong one. */
static int refuse_variants(struct source *s, const struct model_hparams *hp)
{
	static const char *const others[] = {
		"attention.scale",          "attention.clamp_kqv",
		"attention.max_alibi_bias", "attn_logit_softcapping",
		"final_logit_softcapping",  "embedding_scale",
		"residual_scale",           "logit_scale",
		"ssm.state_size",           "rope.scaling.attn_factor",
	};
	uint32_t experts = 0, window = 0;
	int rc;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (has(s, others[i]))
			return err_set(s->e, ERR_UNSUPPORTED, "%s is not supported", s->key);
	}
	rc = get_u32(s, "expert_count", false, 0, UINT32_MAX, &experts);
	if (rc)
		return rc;
	if (experts)
		return err_set(s->e, ERR_UNSUPPORTED,
			       "%s is %" PRIu32 ": mixtures of experts are not supported", s->key,
			       experts);
	rc = get_u32(s, "attention.sliding_window", false, 0, UINT32_MAX, &window);
	if (rc)
		return rc;
	if (window && window < hp->n_ctx_train)
		return err_set(s->e, ERR_UNSUPPORTED,
			       "%s is %" PRIu32 ": sliding windows are not supported", s->key,
			       window);
	return 0;
}

/* The tensors decide; a slice without embedding and head leaves it to the metadata. */
static int get_vocab(struct source *s, struct model_hparams *hp)
{
	const struct gguf_tensor *t = gguf_find_tensor(s->g, "token_embd.weight");
	const struct gguf_kv *tokens = gguf_find(s->g, "tokenizer.ggml.tokens");
	uint64_t n = tokens ? tokens->count : 0;
	uint32_t key_says = 0;
	int rc = get_u32(s, "vocab_size", false, 1, 1 << 26, &key_says);

	if (rc)
		return rc;
	if (key_says)
		n = key_says;
	if (!t)
		t = gguf_find_tensor(s->g, "output.weight");
	if (t)
		n = t->n_rows;
	if (n < 1 || n > 1 << 26)
		return err_set(s->e, ERR_FORMAT, "vocabulary of %" PRIu64 " tokens", n);
	hp->n_vocab = (uint32_t)n;
	return 0;
}

int model_read_hparams(struct model_hparams *hp, const struct gguf *g, struct err *e)
{
	struct source s = { .g = g, .e = e };
	struct model_hparams got = { 0 };
	int rc = get_arch(&s, &got);

	if (!rc)
		rc = get_sizes(&s, &got);
	if (!rc)
		rc = get_heads(&s, &got);
	if (!rc)
		rc = get_rope(&s, &got);
	if (!rc)
		rc = refuse_variants(&s, &got);
	if (!rc)
		rc = get_vocab(&s, &got);
	if (!rc)
		rc = weights_check(g, &got, e);
	if (!rc)
		*hp = got;
	return rc;
}
