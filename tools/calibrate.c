#include "tools/calibrate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/cal.h"
#include "tools/corpus.h"
#include "tools/learn.h"
#include "tools/losses.h"
#include "tools/progress.h"

#define TABLE_BYTES  ((size_t)1 << 20) /* tokens get values of their own up to this */
#define MAX_FEATURES 256

struct work {
	const struct calibrate_conf *conf;
	struct gguf *gguf;
	struct model_hparams hp;
	struct corpus all, learn, held;
	struct cal *old;          /* what conf->out held; NULL: nothing of use */
	struct cal cal;           /* what will be written */
	struct cal_split *fitted; /* [n_splits] those of cal that are ours to free */
	uint32_t n_fitted;
	int8_t *features;          /* [V][f], when there are any */
	float *embed;              /* [V][e] */
	struct imatrix_sums *sums; /* NULL: no importance file is wanted */
	float *x;                  /* [learn.n][d] */
};

static void finish(struct work *w)
{
	for (uint32_t i = 0; i < w->n_fitted; i++)
		learn_finish(&w->fitted[i]);
	free(w->fitted);
	free(w->cal.splits);
	free(w->cal.losses);
	free(w->features);
	imatrix_sums_destroy(w->sums);
	free(w->embed);
	free(w->x);
	cal_close(w->old);
	corpus_close(&w->all);
	corpus_close(&w->learn);
	corpus_close(&w->held);
	gguf_close(w->gguf);
}

/* A calibration of the same model, text and windows is gone on with. */
static int open_old(struct work *w, struct err *e)
{
	int rc = w->conf->fresh ? ERR_NOT_FOUND : cal_open(&w->old, w->conf->out, e);

	if (rc == ERR_NOT_FOUND)
		return 0;
	if (rc)
		return err_wrap(e, "what is there cannot be gone on with (--fresh begins anew)");
	if (!strcmp(w->old->model, w->cal.model) && w->old->text == w->cal.text &&
	    w->old->dim == w->hp.dim && w->old->n_vocab == w->hp.n_vocab)
		return 0;
	return err_set(e, ERR_STATE, "%s is of another model or text; --fresh begins anew",
		       w->conf->out);
}

static int open_parts(struct work *w, struct err *e)
{
	const struct calibrate_conf *conf = w->conf;
	int rc = gguf_open(&w->gguf, conf->model, e);

	if (!rc)
		rc = model_read_hparams(&w->hp, w->gguf, e);
	if (!rc)
		rc = gguf_hash(w->gguf, w->cal.model, e);
	if (!rc)
		rc = corpus_open(&w->all, w->gguf, conf->text, conf->ctx, e);
	if (rc)
		return rc;
	if (w->all.n_windows < conf->hold)
		return err_set(
			e, ERR_LIMIT,
			"%zu windows of %u tokens; every %uth is for measuring: more text or "
			"a smaller --ctx",
			w->all.n_windows, conf->ctx, conf->hold);
	if (corpus_divide(&w->all, conf->hold, &w->learn, &w->held))
		return err_set(e, ERR_NOMEM, "text: out of memory");
	w->cal.text = w->learn.hash;
	w->cal.dim = w->hp.dim;
	w->cal.n_vocab = w->hp.n_vocab;
	return open_old(w, e);
}

static int allocate(struct work *w, struct err *e)
{
	const uint32_t n = w->conf->n_splits + (w->old ? w->old->n_splits : 0);

	w->cal.splits = calloc(n + 1u, sizeof(*w->cal.splits));
	w->fitted = calloc(n + 1u, sizeof(*w->fitted));
	w->cal.losses = calloc(CAL_MAX_LOSSES, sizeof(*w->cal.losses));
	w->x = malloc(w->learn.n * w->hp.dim * sizeof(*w->x));
	w->embed = malloc((size_t)w->hp.n_vocab * w->hp.dim * sizeof(*w->embed));
	if (w->cal.splits && w->fitted && w->cal.losses && w->x && w->embed)
		return 0;
	return err_set(e, ERR_NOMEM, "%zu MiB of rows",
		       w->learn.n * w->hp.dim * sizeof(*w->x) >> 20);
}

/* For a large vocabulary: f features of each token, the principal components of its embedding. */
static int make_features(struct work *w)
{
	const size_t d = w->hp.dim, vocab = w->hp.n_vocab;
	const size_t f = d < MAX_FEATURES ? d : MAX_FEATURES;
	float *small = malloc(vocab * f * sizeof(*small));

	w->features = malloc(vocab * f);
	if (!small || !w->features || learn_features(w->embed, vocab, d, f, w->features)) {
		free(small);
		return ERR_NOMEM;
	}
	for (size_t i = 0; i < vocab * f; i++)
		small[i] = w->features[i];
	free(w->embed);
	w->embed = small;
	w->cal.features = w->features;
	w->cal.n_features = (uint32_t)f;
	return 0;
}

static int embed_all(struct work *w, struct err *e)
{
	struct corpus every = { .n = w->hp.n_vocab };
	int rc;

	every.ids = malloc(every.n * sizeof(*every.ids));
	if (!every.ids)
		return err_set(e, ERR_NOMEM, "embeddings: out of memory");
	for (uint32_t i = 0; i < every.n; i++)
		every.ids[i] = i;
	rc = corpus_embed(&every, w->gguf, w->conf->threads, w->embed, e);
	free(every.ids);
	if (!rc && (size_t)w->hp.n_vocab * w->hp.dim > TABLE_BYTES && make_features(w))
		rc = err_set(e, ERR_NOMEM, "features of tokens: out of memory");
	return rc;
}

/* By rising split, whether fitted now or before. */
static void insert(struct work *w, const struct cal_split *s)
{
	uint32_t i = w->cal.n_splits++;

	for (; i > 0 && w->cal.splits[i - 1].split > s->split; i--)
		w->cal.splits[i] = w->cal.splits[i - 1];
	w->cal.splits[i] = *s;
}

/* Is it wanted and not there yet? */
static bool is_due(const struct work *w, uint32_t split)
{
	for (uint32_t i = 0; w->old && i < w->old->n_splits; i++) {
		if (w->old->splits[i].split == split)
			return false;
	}
	for (uint32_t i = 0; i < w->conf->n_splits; i++) {
		if (w->conf->splits[i] == split)
			return true;
	}
	return false;
}

static int fit_one(struct work *w, uint32_t split, struct err *e)
{
	const struct learn_rows rows = { .x = w->x,
					 .ids = w->learn.ids,
					 .first = w->learn.first,
					 .n = w->learn.n,
					 .dim = w->hp.dim,
					 .n_vocab = w->hp.n_vocab,
					 .embed = w->embed,
					 .n_embed = w->cal.n_features ? w->cal.n_features
								      : w->hp.dim };
	struct cal_split *s = &w->fitted[w->n_fitted++];
	int rc;

	s->split = split;
	rc = learn_split(s, &w->cal, &rows, e);
	if (rc)
		return rc;
	insert(w, s);
	return cal_save(&w->cal, w->conf->out, e);
}

/* How many layers the rows have to go through. */
static uint32_t layers_due(const struct work *w)
{
	uint32_t due = 0;

	for (uint32_t i = 0; i < w->conf->n_splits; i++) {
		if (is_due(w, w->conf->splits[i]))
			due = w->conf->splits[i] + 1;
	}
	return w->sums ? w->hp.n_layers + 1 : due;
}

/* Rows go through the layers one by one; at each split that is due they are learned from. */
static int fit_all(struct work *w, struct err *e)
{
	const uint32_t due = layers_due(w);
	const unsigned threads = w->conf->threads;
	struct progress progress = { .what = "calibrate", .units = "layers", .total = due };
	int rc = due ? corpus_embed(&w->learn, w->gguf, threads, w->x, e) : 0;

	for (uint32_t split = 0; split < due && !rc; split++) {
		progress_show(&progress, split);
		if (split)
			rc = corpus_layer(&w->learn, w->gguf, split - 1, threads, w->sums, w->x, e);
		if (!rc && is_due(w, split))
			rc = fit_one(w, split, e);
	}
	if (!rc && w->sums)
		rc = corpus_head(&w->learn, w->gguf, threads, w->sums, w->x, e);
	if (!rc && w->sums)
		rc = imatrix_sums_save(w->sums, w->gguf, w->conf->imatrix, e);
	progress_clear(&progress);
	return rc;
}

static int measure_all(struct work *w, struct err *e)
{
	const struct losses_conf lc = { .model = w->conf->model,
					.calibration = w->conf->out,
					.threads = w->conf->threads,
					.held = &w->held,
					.deltas = w->conf->deltas,
					.n_deltas = w->conf->n_deltas,
					.fronts = w->conf->fronts,
					.n_fronts = w->conf->n_fronts,
					.caches = w->conf->caches,
					.n_caches = w->conf->n_caches,
					.tokens = w->conf->loss_tokens };

	return losses_measure(&lc, &w->cal, e);
}

static int run(struct work *w, struct err *e)
{
	int rc = open_parts(w, e);

	if (!rc)
		rc = allocate(w, e);
	if (!rc && w->conf->imatrix && imatrix_sums_create(&w->sums, &w->hp))
		rc = err_set(e, ERR_NOMEM, "importance: out of memory");
	if (!rc)
		rc = embed_all(w, e);
	if (rc)
		return rc;
	for (uint32_t i = 0; w->old && i < w->old->n_splits; i++)
		insert(w, &w->old->splits[i]);
	if (w->old)
		w->cal.data = w->old->data; /* where the splits that are there already stand */
	if (w->old)
		memcpy(w->cal.losses, w->old->losses, w->old->n_losses * sizeof(*w->cal.losses));
	w->cal.n_losses = w->old ? w->old->n_losses : 0;
	rc = fit_all(w, e);
	return rc ? rc : measure_all(w, e);
}

int calibrate_run(const struct calibrate_conf *conf, struct err *e)
{
	struct work w = { .conf = conf };
	int rc = run(&w, e);

	finish(&w);
	return rc;
}
