#include "tools/whole.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/rng.h"
#include "engine/model.h"

struct whole {
	struct model_hparams hp;
	struct model *model;
	struct kv *kv;
	float *x;      /* [tokens][d] */
	float *logits; /* [V] */
	uint32_t tokens;
};

int whole_open(struct whole **out, const struct gguf *g, unsigned threads, uint32_t tokens,
	       enum kv_type kv, struct err *e)
{
	struct model_conf conf = { .embed = true, .head = true, .threads = threads };
	struct whole *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return err_set(e, ERR_NOMEM, "out of memory");
	w->tokens = tokens;
	rc = model_read_hparams(&w->hp, g, e);
	conf.last = w->hp.n_layers;
	if (!rc)
		rc = model_open(&w->model, g, &conf, e);
	if (!rc && kv_create(&w->kv, NULL, &w->hp, 0, w->hp.n_layers, tokens, kv))
		rc = err_set(e, ERR_NOMEM, "cache of %u tokens", (unsigned)tokens);
	if (!rc) {
		w->x = malloc((size_t)tokens * w->hp.dim * sizeof(*w->x));
		w->logits = malloc(w->hp.n_vocab * sizeof(*w->logits));
		rc = w->x && w->logits ? 0 : err_set(e, ERR_NOMEM, "out of memory");
	}
	if (rc) {
		whole_close(w);
		return rc;
	}
	*out = w;
	return 0;
}

void whole_close(struct whole *w)
{
	if (!w)
		return;
	kv_destroy(w->kv);
	model_close(w->model);
	free(w->x);
	free(w->logits);
	free(w);
}

/* Run `rows` tokens; *next becomes the likeliest token after the last one. */
static int run(struct whole *w, const uint32_t *ids, uint32_t rows, uint32_t *next)
{
	int rc = model_embed(w->model, ids, rows, w->x);

	if (!rc)
		rc = model_forward(w->model, w->kv, w->x, rows);
	if (rc)
		return rc;
	model_logits(w->model, w->x + (size_t)(rows - 1) * w->hp.dim, 1, w->logits);
	*next = 0;
	for (uint32_t i = 1; i < w->hp.n_vocab; i++)
		*next = w->logits[i] > w->logits[*next] ? i : *next;
	return 0;
}

static double ms_since(uint64_t start_us)
{
	return (double)(clock_now_us() - start_us) / 1000;
}

int whole_measure(struct whole *w, uint32_t prompt, uint32_t n, double *prompt_ms, double *ms,
		  struct err *e)
{
	uint32_t *ids = malloc(prompt * sizeof(*ids)), id = 0;
	uint64_t start;
	int rc;

	if (!ids)
		return err_set(e, ERR_NOMEM, "out of memory");
	for (uint32_t i = 0; i < prompt; i++)
		ids[i] = (uint32_t)(rng_u64(1, i) % w->hp.n_vocab);
	kv_truncate(w->kv, 0);
	start = clock_now_us();
	rc = run(w, ids, prompt, &id);
	*prompt_ms = ms_since(start);
	for (uint32_t i = 0; i < n && !rc; i++) {
		start = clock_now_us();
		rc = run(w, &id, 1, &id);
		ms[i] = ms_since(start);
	}
	free(ids);
	return rc ? err_set(e, rc, "%s", err_phrase(rc)) : 0;
}
