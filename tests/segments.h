/* tests/segments.h - a model file, or two slices of one, run over a few tokens. Include after
 * cmocka.h. */
#ifndef TESTS_SEGMENTS_H
#define TESTS_SEGMENTS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/gguf.h"
#include "engine/imatrix.h"
#include "engine/model.h"

#define SEGMENTS_ROWS 12

static inline void segments_check(int rc, const struct err *e)
{
	if (rc)
		fail_msg("%s", e->text);
}

/* Layers [first, last) over x, in place; with logits the head as well. */
static inline void segments_run(const struct gguf *g, uint32_t first, uint32_t last, float *x,
				float *logits, unsigned threads, struct imatrix_sums *sums)
{
	const struct model_conf conf = { .first = first,
					 .last = last,
					 .head = logits != NULL,
					 .threads = threads,
					 .max_rows = 5 };
	struct model *m;
	struct kv *kv;
	struct err e;

	segments_check(model_open(&m, g, &conf, &e), &e);
	model_observe(m, sums);
	assert_int_equal(
		kv_create(&kv, NULL, model_hparams(m), first, last, SEGMENTS_ROWS, KV_F32), 0);
	assert_int_equal(model_forward(m, kv, x, SEGMENTS_ROWS), 0);
	if (logits)
		model_logits(m, x, SEGMENTS_ROWS, logits);
	kv_destroy(kv);
	model_close(m);
}

/* Embedding of ids 1, 2, ... from g -> malloc'ed [SEGMENTS_ROWS][d]. */
static inline float *segments_embed(const struct gguf *g, struct model_hparams *hp)
{
	const struct model_conf conf = { .embed = true, .threads = 1 };
	uint32_t ids[SEGMENTS_ROWS];
	struct model *m;
	struct err e;
	float *x;

	segments_check(model_open(&m, g, &conf, &e), &e);
	*hp = *model_hparams(m);
	for (uint32_t i = 0; i < SEGMENTS_ROWS; i++)
		ids[i] = (7 * i + 1) % hp->n_vocab;
	x = malloc(SEGMENTS_ROWS * (size_t)hp->dim * sizeof(*x));
	assert_non_null(x);
	assert_int_equal(model_embed(m, ids, SEGMENTS_ROWS, x), 0);
	model_close(m);
	return x;
}

/* Layers [0, split) of front, the others and the head of back -> malloc'ed [SEGMENTS_ROWS][V]. */
static inline float *segments_logits(const struct gguf *front, const struct gguf *back,
				     uint32_t split, unsigned threads, struct imatrix_sums *sums,
				     size_t *n)
{
	struct model_hparams hp;
	float *x = segments_embed(front, &hp), *logits;

	*n = SEGMENTS_ROWS * (size_t)hp.n_vocab;
	logits = malloc(*n * sizeof(*logits));
	assert_non_null(logits);
	segments_run(front, 0, split, x, NULL, threads, sums);
	segments_run(back, split, hp.n_layers, x, logits, threads, sums);
	free(x);
	return logits;
}

/* A path in a folder of its own, and the folder's end. */
struct segments_dir {
	char dir[64], path[5][128];
};

static inline void segments_dir_make(struct segments_dir *d)
{
	snprintf(d->dir, sizeof(d->dir), "/tmp/splitmq-test-XXXXXX");
	assert_non_null(mkdtemp(d->dir));
	for (unsigned i = 0; i < 5; i++)
		snprintf(d->path[i], sizeof(d->path[i]), "%s/%u.gguf", d->dir, i);
}

/* Fails when something else than the paths is left. */
static inline void segments_dir_remove(struct segments_dir *d)
{
	for (unsigned i = 0; i < 5; i++)
		unlink(d->path[i]);
	assert_int_equal(rmdir(d->dir), 0);
}

#endif
