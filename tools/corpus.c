#include "tools/corpus.h"

#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "engine/tokenizer.h"
#include "tools/cmd.h"

#define MAX_TEXT_BYTES ((size_t)16 << 20)
#define PASS_ROWS      64
#define HEAD_ROWS      16

void corpus_close(struct corpus *c)
{
	free(c->ids);
	free(c->first);
	free(c->windows);
	*c = (struct corpus){ 0 };
}

static int allocate(struct corpus *c, size_t n, size_t windows)
{
	*c = (struct corpus){ 0 };
	c->ids = calloc(n + 1, sizeof(*c->ids));
	c->first = calloc(n + 1, 1);
	c->windows = calloc(windows + 1, sizeof(*c->windows));
	if (c->ids && c->first && c->windows)
		return 0;
	corpus_close(c);
	return ERR_NOMEM;
}

/* One more window, of ids[0..n); with bos its first token is replaced. */
static void add_window(struct corpus *c, const uint32_t *ids, size_t n, const uint32_t *bos)
{
	memcpy(c->ids + c->n, ids, n * sizeof(*ids));
	if (bos)
		c->ids[c->n] = *bos;
	c->first[c->n] = 1;
	c->windows[c->n_windows++] = (struct corpus_window){ c->n, n };
	c->n += n;
}

static uint64_t hash_of(const struct corpus *c)
{
	uint32_t a = crc32c(0, c->ids, c->n * sizeof(*c->ids));
	uint32_t b = crc32c(a, c->first, c->n);

	return (uint64_t)a << 32 | b;
}

static int cut(struct corpus *c, const uint32_t *ids, size_t n, bool bos, uint32_t ctx,
	       struct err *e)
{
	const size_t step = bos ? ctx - 1 : ctx, windows = n / step + 1;

	if (ctx < 2)
		return err_set(e, ERR_LIMIT, "a context of one token predicts nothing");
	if (allocate(c, n + windows, windows))
		return err_set(e, ERR_NOMEM, "text: out of memory");
	for (size_t at = 0; at + 1 < n; at += step)
		add_window(c, ids + at, n - at < ctx ? n - at : ctx, bos ? &ids[0] : NULL);
	c->hash = hash_of(c);
	return 0;
}

int corpus_open(struct corpus *c, const struct gguf *g, const char *path, uint32_t ctx,
		struct err *e)
{
	const unsigned flags = TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL;
	struct tokenizer *tok = NULL;
	uint32_t *ids = NULL;
	char *text = NULL;
	size_t len, n = 0;
	int rc = cmd_read_file(path, MAX_TEXT_BYTES, &text, &len, e);

	if (!rc)
		rc = tokenizer_create(&tok, g, e);
	if (!rc)
		rc = tokenizer_encode(tok, text, len, flags, &ids, &n, e);
	if (!rc && n < 2)
		rc = err_set(e, ERR_USAGE, "%s: too short", path);
	if (!rc)
		rc = cut(c, ids, n, ids[0] == tokenizer_bos(tok), ctx, e);
	tokenizer_destroy(tok);
	free(text);
	free(ids);
	return rc;
}

int corpus_divide(const struct corpus *c, unsigned of, struct corpus *rest, struct corpus *held)
{
	if (allocate(rest, c->n, c->n_windows))
		return ERR_NOMEM;
	if (allocate(held, c->n, c->n_windows)) {
		corpus_close(rest);
		return ERR_NOMEM;
	}
	for (size_t i = 0; i < c->n_windows; i++)
		add_window(i % of == of - 1 ? held : rest, c->ids + c->windows[i].at,
			   c->windows[i].n, NULL);
	rest->hash = hash_of(rest);
	held->hash = hash_of(held);
	return 0;
}

int corpus_embed(const struct corpus *c, const struct gguf *g, unsigned threads, float *x,
		 struct err *e)
{
	const struct model_conf conf = { .embed = true, .threads = threads, .max_rows = 1 };
	struct model *m = NULL;
	int rc = model_open(&m, g, &conf, e);

	if (!rc && model_embed(m, c->ids, (uint32_t)c->n, x))
		rc = err_set(e, ERR_LIMIT, "a token id is outside the vocabulary");
	model_close(m);
	return rc;
}

static int run_window(struct model *m, struct kv *kv, const struct corpus_window *w, float *x)
{
	const size_t d = model_hparams(m)->dim;
	int rc = 0;

	kv_truncate(kv, 0);
	for (size_t at = 0; at < w->n && !rc; at += PASS_ROWS) {
		size_t rows = w->n - at < PASS_ROWS ? w->n - at : PASS_ROWS;

		rc = model_forward(m, kv, x + (w->at + at) * d, (uint32_t)rows);
	}
	return rc;
}

int corpus_layer(const struct corpus *c, const struct gguf *g, uint32_t layer, unsigned threads,
		 struct imatrix_sums *sums, float *x, struct err *e)
{
	const struct model_conf conf = {
		.first = layer, .last = layer + 1, .threads = threads, .max_rows = PASS_ROWS
	};
	struct model *m = NULL;
	struct kv *kv = NULL;
	size_t longest = 1;
	int rc = model_open(&m, g, &conf, e);

	for (size_t i = 0; i < c->n_windows; i++)
		longest = c->windows[i].n > longest ? c->windows[i].n : longest;
	if (!rc &&
	    kv_create(&kv, NULL, model_hparams(m), layer, layer + 1, (uint32_t)longest, KV_F32))
		rc = err_set(e, ERR_NOMEM, "cache for %zu tokens", longest);
	if (!rc)
		model_observe(m, sums);
	for (size_t i = 0; i < c->n_windows && !rc; i++) {
		rc = run_window(m, kv, &c->windows[i], x);
		if (rc)
			err_set(e, rc, "layer %u: %s", (unsigned)layer, err_phrase(rc));
	}
	kv_destroy(kv);
	model_close(m);
	return rc;
}

int corpus_head(const struct corpus *c, const struct gguf *g, unsigned threads,
		struct imatrix_sums *sums, const float *x, struct err *e)
{
	struct model_conf conf = { .head = true, .threads = threads, .max_rows = HEAD_ROWS };
	struct model_hparams hp;
	struct model *m = NULL;
	float *logits = NULL;
	int rc = model_read_hparams(&hp, g, e);

	if (rc)
		return rc;
	conf.first = conf.last = hp.n_layers;
	rc = model_open(&m, g, &conf, e);
	if (!rc) {
		logits = malloc((size_t)HEAD_ROWS * hp.n_vocab * sizeof(*logits));
		rc = logits ? 0 : err_set(e, ERR_NOMEM, "logits: out of memory");
	}
	for (size_t at = 0; at < c->n && !rc; at += HEAD_ROWS) {
		size_t rows = c->n - at < HEAD_ROWS ? c->n - at : HEAD_ROWS;

		model_observe(m, sums);
		model_logits(m, x + at * hp.dim, (uint32_t)rows, logits);
	}
	free(logits);
	model_close(m);
	return rc;
}
