#include "engine/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "engine/tok.h"

#define MAX_TEXT_BYTES ((size_t)16 << 20)

/* Texts of tokens that end an answer. Some files forget to call them control tokens; those that a
 * text could hold by chance are believed only when the file calls them special. */
static const struct {
	const char *text;
	bool by_chance;
} end_texts[] = {
	{ "<|im_end|>", false },
	{ "<|eot_id|>", false },
	{ "<|eom_id|>", false },
	{ "<|end|>", false },
	{ "<|endoftext|>", false },
	{ "<|end_of_text|>", false },
	{ "<end_of_turn>", false },
	{ "<end_of_utterance>", false },
	{ "<\xEF\xBD\x9C"
	  "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
	  false },
	{ "</s>", true },
	{ "<EOT>", true },
	{ "_<EOT>", true },
};

/* *id becomes the value of key when there is one. */
static int read_id(const struct tokenizer *t, const struct gguf *g, const char *key, uint32_t *id,
		   struct err *e)
{
	uint32_t v;
	int rc = gguf_get_u32(g, key, &v, e);

	if (rc == ERR_NOT_FOUND)
		return 0;
	if (rc)
		return rc;
	if (v >= t->vocab.n)
		return err_set(e, ERR_FORMAT, "%s is %u, but there are %u tokens", key, v,
			       t->vocab.n);
	*id = v;
	return 0;
}

static int read_flag(const struct gguf *g, const char *key, bool *flag, struct err *e)
{
	int rc = gguf_get_bool(g, key, flag, e);

	return rc == ERR_NOT_FOUND ? 0 : rc;
}

static void add_end(struct tokenizer *t, uint32_t id)
{
	if (id != TOKENIZER_NONE && !tokenizer_is_end(t, id) && t->n_ends < TOK_MAX_ENDS)
		t->ends[t->n_ends++] = id;
}

static bool is_special(const struct vocab_token *t)
{
	return t->type == VOCAB_CONTROL || t->type == VOCAB_USER_DEFINED;
}

/* Tokens that end an answer by their texts. */
static void find_ends(struct tokenizer *t)
{
	for (size_t i = 0; i < sizeof(end_texts) / sizeof(end_texts[0]); i++) {
		uint32_t id = vocab_find_any(&t->vocab, end_texts[i].text);

		if (id == VOCAB_NONE)
			continue;
		if (end_texts[i].by_chance && !is_special(&t->vocab.tokens[id]))
			continue;
		if (t->vocab.tokens[id].type == VOCAB_NORMAL)
			vocab_make_control(&t->vocab, id);
		add_end(t, id);
	}
}

/* Without token types only the metadata can say which tokens are special. */
static void make_named_control(struct tokenizer *t, const struct gguf *g)
{
	const uint32_t ids[] = { t->bos, t->eos };

	if (gguf_find(g, "tokenizer.ggml.token_type"))
		return;
	for (unsigned i = 0; i < 2; i++) {
		if (ids[i] != TOKENIZER_NONE)
			vocab_make_control(&t->vocab, ids[i]);
	}
}

static int read_special_ids(struct tokenizer *t, const struct gguf *g, struct err *e)
{
	uint32_t eot = TOKENIZER_NONE, eom = TOKENIZER_NONE;
	int rc;

	t->bos = t->eos = t->unk = TOKENIZER_NONE;
	if (t->spm && t->vocab.n > 2) { /* SentencePiece's own numbers */
		t->unk = 0;
		t->bos = 1;
		t->eos = 2;
	}
	rc = read_id(t, g, "tokenizer.ggml.bos_token_id", &t->bos, e);
	if (!rc)
		rc = read_id(t, g, "tokenizer.ggml.eos_token_id", &t->eos, e);
	if (!rc)
		rc = read_id(t, g, "tokenizer.ggml.unknown_token_id", &t->unk, e);
	if (!rc)
		rc = read_id(t, g, "tokenizer.ggml.eot_token_id", &eot, e);
	if (!rc)
		rc = read_id(t, g, "tokenizer.ggml.eom_token_id", &eom, e);
	if (rc)
		return rc;
	add_end(t, t->eos);
	add_end(t, eot);
	add_end(t, eom);
	make_named_control(t, g);
	find_ends(t);
	return 0;
}

static int read_flags(struct tokenizer *t, const struct gguf *g, struct err *e)
{
	int rc;

	t->add_bos = t->spm || pretok_adds_bos(t->bpe.pretok);
	t->space_prefix = t->spm;
	rc = read_flag(g, "tokenizer.ggml.add_bos_token", &t->add_bos, e);
	if (!rc)
		rc = read_flag(g, "tokenizer.ggml.add_eos_token", &t->add_eos, e);
	if (!rc && t->spm)
		rc = read_flag(g, "tokenizer.ggml.add_space_prefix", &t->space_prefix, e);
	t->add_bos = t->add_bos && t->bos != TOKENIZER_NONE;
	t->add_eos = t->add_eos && t->eos != TOKENIZER_NONE;
	return rc;
}

static int read_model(struct tokenizer *t, const struct gguf *g, struct err *e)
{
	struct gguf_str model;
	int rc = gguf_get_str(g, "tokenizer.ggml.model", &model, e);

	if (rc)
		return rc == ERR_NOT_FOUND ? err_set(e, ERR_FORMAT, "no tokenizer.ggml.model") : rc;
	t->spm = model.len == 5 && !memcmp(model.text, "llama", 5);
	if (!t->spm && (model.len != 4 || memcmp(model.text, "gpt2", 4) != 0))
		return err_set(e, ERR_UNSUPPORTED, "tokenizer model \"%.*s\"",
			       (int)(model.len < 64 ? model.len : 64), model.text);
	return 0;
}

/* Every text must be expressible: by a token for each byte, or by the unknown token. */
static int check_bytes(const struct tokenizer *t, struct err *e)
{
	if (!t->spm || t->unk != TOKENIZER_NONE)
		return 0;
	for (unsigned b = 0; b < 256; b++) {
		if (t->vocab.byte_id[b] == VOCAB_NONE)
			return err_set(e, ERR_FORMAT, "no token <0x%02X> and no unknown token", b);
	}
	return 0;
}

static int load(struct tokenizer *t, const struct gguf *g, struct err *e)
{
	int rc = read_model(t, g, e);

	if (!rc)
		rc = vocab_load(&t->vocab, g, !t->spm, e);
	if (!rc)
		rc = read_special_ids(t, g, e);
	if (!rc)
		rc = vocab_index(&t->vocab, e);
	if (!rc)
		rc = check_bytes(t, e);
	t->words_apart = !rc && t->spm && tok_spm_words_apart(&t->vocab);
	if (!rc && !t->spm)
		rc = tok_bpe_load(&t->bpe, &t->vocab, g, e);
	if (!rc)
		rc = read_flags(t, g, e);
	if (!rc && (special_load(&t->user_defined, &t->vocab, false) ||
		    special_load(&t->all, &t->vocab, true)))
		rc = err_set(e, ERR_NOMEM, "special tokens");
	return rc;
}

int tokenizer_create(struct tokenizer **out, const struct gguf *g, struct err *e)
{
	struct tokenizer *t = calloc(1, sizeof(*t));
	int rc;

	if (!t)
		return err_set(e, ERR_NOMEM, "tokenizer");
	rc = load(t, g, e);
	if (rc) {
		tokenizer_destroy(t);
		err_wrap(e, "%s: tokenizer", gguf_path(g));
		return rc;
	}
	*out = t;
	return 0;
}

void tokenizer_destroy(struct tokenizer *t)
{
	if (!t)
		return;
	special_finish(&t->user_defined);
	special_finish(&t->all);
	tok_bpe_finish(&t->bpe);
	vocab_finish(&t->vocab);
	free(t);
}

uint32_t tokenizer_n_vocab(const struct tokenizer *t)
{
	return t->vocab.n;
}

uint32_t tokenizer_bos(const struct tokenizer *t)
{
	return t->bos;
}

uint32_t tokenizer_eos(const struct tokenizer *t)
{
	return t->eos;
}

bool tokenizer_is_end(const struct tokenizer *t, uint32_t id)
{
	for (unsigned i = 0; i < t->n_ends; i++) {
		if (t->ends[i] == id)
			return true;
	}
	return false;
}

int tok_push(struct tok_work *w, uint32_t id)
{
	if (w->n == w->cap) {
		size_t cap = w->cap ? 2 * w->cap : 64;
		uint32_t *bigger = realloc(w->ids, cap * sizeof(*bigger));

		if (!bigger)
			return ERR_NOMEM;
		w->ids = bigger;
		w->cap = cap;
	}
	w->ids[w->n++] = id;
	return 0;
}

/* A stretch without special tokens; it begins the text or follows one of them. */
static int encode_stretch(struct tok_work *w, const char *text, size_t len)
{
	if (!len)
		return 0;
	if (w->t->spm)
		return tok_spm_encode(w, text, len, w->t->space_prefix);
	return tok_bpe_encode(w, text, len);
}

static int encode(struct tok_work *w, const char *text, size_t len, const struct special *s)
{
	struct special_hit *hits = NULL;
	size_t n_hits = 0, from = 0;
	int rc = special_find(s, text, len, &hits, &n_hits);

	for (size_t i = 0; !rc && i < n_hits; i++) {
		uint32_t id = s->ids[hits[i].index];

		rc = encode_stretch(w, text + from, hits[i].start - from);
		if (!rc)
			rc = tok_push(w, id);
		from = hits[i].start + w->t->vocab.tokens[id].len;
	}
	if (!rc)
		rc = encode_stretch(w, text + from, len - from);
	free(hits);
	return rc;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
		     uint32_t **ids, size_t *n, struct err *e)
{
	const struct special *s = flags & TOKENIZER_PARSE_SPECIAL ? &t->all : &t->user_defined;
	bool add = flags & TOKENIZER_ADD_SPECIAL;
	struct tok_work w = { .t = t };
	int rc = 0;

	if (len > MAX_TEXT_BYTES)
		return err_set(e, ERR_LIMIT, "a text of %zu bytes; at most %zu are encoded", len,
			       MAX_TEXT_BYTES);
	w.cap = len / 4 + 16; /* a usual number of tokens */
	w.ids = malloc(w.cap * sizeof(*w.ids));
	if (!w.ids)
		return err_set(e, ERR_NOMEM, "token ids");
	if (add && t->add_bos)
		rc = tok_push(&w, t->bos);
	if (!rc)
		rc = encode(&w, text, len, s);
	if (!rc && add && t->add_eos)
		rc = tok_push(&w, t->eos);
	merge_finish(&w.merge);
	if (rc) {
		free(w.ids);
		return err_set(e, rc, "encode %zu bytes: %s", len, err_phrase(rc));
	}
	*ids = w.ids;
	*n = w.n;
	return 0;
}
