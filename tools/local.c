#include "tools/local.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/local_room.h"

/* A segment of the model and its cache. */
struct segment {
	struct model *model;
	struct kv *kv;
	uint32_t first, last;
};

struct local {
	struct local_conf conf;
	struct model_hparams hp;
	struct local_room room;
	struct gguf *gguf, *front_gguf; /* front_gguf: NULL when it is the same */
	struct segment front, back;     /* back.model: NULL without a split */
	struct codec_spec codec;
	struct cal *cal;
	struct codec_work *work;
	struct codec_state *sender, *receiver;
	bool generating; /* tokens from here on are known to both sides */
	float *x;        /* [LOCAL_ROWS][d] */
	float *logits;   /* [most rows asked for][V] */
	uint32_t logits_rows;
	uint8_t *wire;
	size_t wire_cap;
	uint64_t wire_bytes, wire_rows;
};

static unsigned processors(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > 64 ? 64 : (unsigned)n;
}

/* Layers of both segments, from the request and the model; front alone without a split. */
static int plan(struct local *l, struct err *e)
{
	uint32_t last = l->conf.last == LOCAL_NO_SPLIT ? l->hp.n_layers : l->conf.last;
	uint32_t split = l->conf.split == LOCAL_NO_SPLIT ? last : l->conf.split;

	if (last > l->hp.n_layers || split > last)
		return err_set(e, ERR_LIMIT, "layer %" PRIu32 " of a model of %" PRIu32,
			       split > last ? split : last, l->hp.n_layers);
	if (l->conf.ctx > l->hp.n_ctx_train)
		return err_set(e, ERR_LIMIT,
			       "context of %" PRIu32 " tokens; the model's is %" PRIu32,
			       l->conf.ctx, l->hp.n_ctx_train);
	l->front.last = split;
	l->back = (struct segment){ .first = split, .last = last };
	return 0;
}

/* Of the caches of both segments. */
static uint64_t token_bytes(const struct local *l)
{
	return kv_bytes(&l->hp, l->back.last > l->front.last ? l->back.last : l->front.last, 1,
			l->conf.kv);
}

static int open_models(struct local *l, struct err *e)
{
	const bool head = l->conf.last == LOCAL_NO_SPLIT;
	const bool split = l->conf.split != LOCAL_NO_SPLIT;
	struct model_conf conf = { .last = l->front.last,
				   .embed = true,
				   .head = head && !split,
				   .threads = l->conf.threads ? l->conf.threads : processors(),
				   .max_rows = LOCAL_ROWS };
	const struct gguf *front = l->front_gguf ? l->front_gguf : l->gguf;
	struct model_conf back = conf;
	int rc;

	back.first = l->back.first;
	back.last = l->back.last;
	back.embed = false;
	back.head = head;
	local_room_add(&l->room, front, &l->hp, &conf);
	if (split)
		local_room_add(&l->room, l->gguf, &l->hp, &back);
	rc = local_room_prove(&l->room, token_bytes(l), 1, &conf.pack_limit_bytes, e);
	if (rc)
		return rc;
	back.pack_limit_bytes = conf.pack_limit_bytes /= split ? 2 : 1;
	rc = model_open(&l->front.model, front, &conf, e);
	return rc || !split ? rc : model_open(&l->back.model, l->gguf, &back, e);
}

/* The calibration that was named, or the one beside the model. */
static int open_calibration(struct local *l, struct err *e)
{
	char path[4096], hash[GGUF_HASH_LEN + 1];
	const char *named = l->conf.calibration;
	int rc;

	if (!l->codec.tabq || l->conf.split == LOCAL_NO_SPLIT)
		return 0;
	snprintf(path, sizeof(path), "%s" CAL_SUFFIX, l->conf.model);
	rc = cal_open(&l->cal, named ? named : path, e);
	if (rc)
		return rc == ERR_NOT_FOUND && !named ? 0 : rc;
	rc = gguf_hash(l->gguf, hash, e);
	if (!rc && strcmp(hash, l->cal->model))
		rc = err_set(e, ERR_MODEL_MISMATCH, "%s is of model %s, not of %s (%s)",
			     named ? named : path, l->cal->model, l->conf.model, hash);
	return rc;
}

static int open_codec(struct local *l, struct err *e)
{
	const struct cal_split *s;
	int rc = open_calibration(l, e);

	if (rc)
		return rc;
	rc = cal_use(l->cal, l->front.last, &s, e);
	if (rc)
		return rc;
	if (codec_work_create(&l->work, l->hp.dim, LOCAL_ROWS) ||
	    codec_state_create(&l->sender, l->hp.dim, l->cal, s) ||
	    codec_state_create(&l->receiver, l->hp.dim, l->cal, s))
		return err_set(e, ERR_NOMEM, "codec: out of memory");
	return 0;
}

static int open_buffers(struct local *l, struct err *e)
{
	int rc = open_codec(l, e);

	if (rc)
		return rc;
	l->x = malloc((size_t)LOCAL_ROWS * l->hp.dim * sizeof(*l->x));
	l->wire_cap = codec_bound(&l->codec, l->hp.dim, LOCAL_ROWS);
	l->wire = malloc(l->wire_cap);
	return l->x && l->wire ? 0 : err_set(e, ERR_NOMEM, "rows: out of memory");
}

int local_open(struct local **out, const struct local_conf *conf, struct err *e)
{
	struct local *l = calloc(1, sizeof(*l));
	int rc;

	if (!l)
		return err_set(e, ERR_NOMEM, "out of memory");
	l->conf = *conf;
	rc = spec_parse(&l->codec, conf->codec, e);
	if (!rc)
		rc = gguf_open(&l->gguf, conf->model, e);
	if (!rc && conf->front)
		rc = gguf_open(&l->front_gguf, conf->front, e);
	if (!rc) {
		rc = model_read_hparams(&l->hp, l->gguf, e);
		if (!rc)
			rc = plan(l, e);
		if (rc)
			err_wrap(e, "%s", conf->model);
	}
	if (!rc)
		rc = open_models(l, e);
	if (!rc)
		rc = open_buffers(l, e);
	if (rc) {
		local_close(l);
		return rc;
	}
	*out = l;
	return 0;
}

void local_close(struct local *l)
{
	if (!l)
		return;
	kv_destroy(l->front.kv);
	kv_destroy(l->back.kv);
	model_close(l->front.model);
	model_close(l->back.model);
	gguf_close(l->gguf);
	gguf_close(l->front_gguf);
	codec_work_destroy(l->work);
	codec_state_destroy(l->sender);
	codec_state_destroy(l->receiver);
	cal_close(l->cal);
	free(l->x);
	free(l->logits);
	free(l->wire);
	free(l);
}

const struct gguf *local_gguf(const struct local *l)
{
	return l->gguf;
}

const struct model_hparams *local_hparams(const struct local *l)
{
	return &l->hp;
}

uint32_t local_ctx(const struct local *l)
{
	return l->conf.ctx ? l->conf.ctx : l->hp.n_ctx_train;
}

static int begin_segment(struct local *l, struct segment *s, uint32_t capacity, struct err *e)
{
	int rc;

	if (s->kv && kv_capacity(s->kv) >= capacity) {
		kv_truncate(s->kv, 0);
		return 0;
	}
	kv_destroy(s->kv);
	s->kv = NULL;
	rc = kv_create(&s->kv, NULL, &l->hp, s->first, s->last, capacity, l->conf.kv);
	if (rc)
		return err_set(e, rc, "cache for %" PRIu32 " tokens: %s", capacity, err_phrase(rc));
	return 0;
}

int local_begin(struct local *l, uint32_t capacity, struct err *e)
{
	const bool larger = !l->front.kv || kv_capacity(l->front.kv) < capacity;
	int rc = larger ? local_room_prove(&l->room, token_bytes(l), capacity, NULL, e) : 0;

	if (!rc)
		rc = begin_segment(l, &l->front, capacity, e);
	if (!rc && l->back.model)
		rc = begin_segment(l, &l->back, capacity, e);
	l->generating = false;
	codec_state_reset(l->sender);
	codec_state_reset(l->receiver);
	return rc;
}

/* One chunk over the wire and back, in place. Tokens are known to both where the rows go one by
 * one, as when they are generated, or where the spec tells them. */
static int cross_chunk(struct local *l, const uint32_t *ids, float *x, uint32_t rows, struct err *e)
{
	const bool known = l->generating || l->conf.chunk == 1 || l->codec.predict == SPEC_TOKENS;
	const struct codec_rows in = { x, known ? ids : NULL, rows };
	struct codec_bytes out = { .dst = l->wire, .cap = l->wire_cap };
	int rc = codec_encode(&l->codec, l->work, l->sender, &in, &out, e);

	if (rc)
		return rc;
	l->wire_bytes += out.len;
	l->wire_rows += rows;
	rc = codec_decode(l->work, l->receiver,
			  &(struct codec_chunk){ .id = out.id,
						 .src = l->wire,
						 .len = out.len,
						 .ids = known ? ids : NULL,
						 .dim = l->hp.dim,
						 .n = rows },
			  x, e);
	if (!rc && codec_state_hash(l->sender) != codec_state_hash(l->receiver))
		rc = err_set(e, ERR_INTERNAL, "the ends of the codec differ");
	return rc;
}

void local_generating(struct local *l, bool on)
{
	l->generating = on;
}

static int cross(struct local *l, const uint32_t *ids, uint32_t rows, struct err *e)
{
	int rc = 0;

	for (uint32_t at = 0; at < rows && !rc; at += l->conf.chunk) {
		uint32_t n = rows - at < l->conf.chunk ? rows - at : l->conf.chunk;

		rc = cross_chunk(l, ids + at, l->x + (size_t)at * l->hp.dim, n, e);
	}
	return rc;
}

static int refuse_ids(const struct local *l, const uint32_t *ids, uint32_t n, struct err *e)
{
	uint32_t i = 0;

	while (i + 1 < n && ids[i] < l->hp.n_vocab)
		i++;
	return err_set(e, ERR_LIMIT, "token id %" PRIu32 " is not in 0..%" PRIu32, ids[i],
		       l->hp.n_vocab - 1);
}

int local_run(struct local *l, const uint32_t *ids, uint32_t n, const float **x, struct err *e)
{
	int rc;

	if (model_embed(l->front.model, ids, n, l->x))
		return refuse_ids(l, ids, n, e);
	rc = model_forward(l->front.model, l->front.kv, l->x, n);
	if (!rc && l->back.model) {
		rc = cross(l, ids, n, e);
		if (rc)
			return err_wrap(e, "rows after layer %" PRIu32, l->front.last);
		rc = model_forward(l->back.model, l->back.kv, l->x, n);
	}
	if (rc)
		return err_set(e, rc, "%s (%" PRIu32 " tokens)", err_phrase(rc),
			       kv_capacity(l->front.kv));
	*x = l->x;
	return 0;
}

int local_logits(struct local *l, const float *x, uint32_t rows, const float **logits,
		 struct err *e)
{
	if (rows > l->logits_rows) {
		float *bigger = malloc((size_t)rows * l->hp.n_vocab * sizeof(*bigger));

		if (!bigger)
			return err_set(e, ERR_NOMEM, "logits: out of memory");
		free(l->logits);
		l->logits = bigger;
		l->logits_rows = rows;
	}
	model_logits(l->back.model ? l->back.model : l->front.model, x, rows, l->logits);
	*logits = l->logits;
	return 0;
}

uint64_t local_wire_bytes(const struct local *l)
{
	return l->wire_bytes;
}

uint64_t local_wire_rows(const struct local *l)
{
	return l->wire_rows;
}

const struct cal *local_calibration(const struct local *l)
{
	return l->cal;
}
