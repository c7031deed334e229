#include "tools/drive.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/le.h"
#include "codec/codec.h"

#define NEVER UINT64_MAX

/* What belongs to one session while it runs. */
struct seat {
	struct drive_session *s;
	struct kv *kv, *front_kv;
	struct codec_state *codec;
	uint32_t pos; /* rows that were sent */
	uint32_t seq, jobs;
	uint32_t void_seq; /* drafts up to this one have never been */
	uint64_t due_us;   /* when its next row goes; NEVER: none is due */
	bool begun, ended;
};

struct drive {
	struct drive_conf conf;
	struct tail *tail;
	struct queue *inbox;
	struct segment front;
	bool has_front;
	struct seat *seats; /* [conf.sessions] */
	unsigned n;
	float *x; /* [TAIL_MAX_ROWS][d] */
};

/* Compute thread. */
static void give_back(void *ctx, struct tail_job *job)
{
	struct drive *d = ctx;

	inbox_push_job(d->inbox, &job->item);
}

int drive_open(struct drive **out, const struct drive_conf *conf, struct err *e)
{
	const struct tail_conf tc = {
		.model = conf->model,
		.kv = kv_type_name(KV_F16),
		.threads = conf->threads,
		.spin_us = 1000, /* as workers have it */
		.context_tokens = conf->context_tokens,
		.max_sessions = conf->sessions,
		.interactive_us = 500000,
		.bulk_us = 30000000,
		.share = conf->share,
	};
	const struct segment_conf sc = {
		.path = conf->model,
		.kv = kv_type_name(KV_F16),
		.last = SEGMENT_ALL,
		.embed = true,
		.threads = 1,
		.max_rows = TAIL_MAX_ROWS,
		.context_tokens = conf->context_tokens,
	};
	struct drive *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return err_set(e, ERR_NOMEM, "sessions");
	d->conf = *conf;
	rc = inbox_create(&d->inbox);
	if (!rc)
		rc = tail_create(&d->tail, &tc, give_back, d, e);
	if (!rc && conf->fronts) {
		rc = segment_open(&d->front, &sc, e);
		d->has_front = !rc;
	}
	if (!rc) {
		d->seats = calloc(conf->sessions, sizeof(*d->seats));
		d->x = malloc((size_t)TAIL_MAX_ROWS * drive_hparams(d)->dim * sizeof(*d->x));
		rc = d->seats && d->x ? 0 : err_set(e, ERR_NOMEM, "sessions");
	}
	if (rc) {
		drive_close(d);
		return rc;
	}
	*out = d;
	return 0;
}

void drive_close(struct drive *d)
{
	if (!d)
		return;
	tail_destroy(d->tail);
	if (d->has_front)
		segment_close(&d->front);
	inbox_destroy(d->inbox);
	free(d->seats);
	free(d->x);
	free(d);
}

const struct model_hparams *drive_hparams(struct drive *d)
{
	return &tail_segment(d->tail)->hp;
}

void drive_count(struct drive *d, struct tail_counts *counts)
{
	tail_count(d->tail, counts);
}

/* Ids of the next rows -> what the worker gets of them. */
static int make_rows(struct drive *d, struct seat *st, const uint32_t *ids, uint32_t n,
		     struct err *e)
{
	int rc = model_embed(tail_segment(d->tail)->model, ids, n, d->x);

	if (!rc && st->front_kv)
		rc = model_forward(d->front.model, st->front_kv, d->x, n);
	return rc ? err_set(e, rc, "rows for the worker: %s", err_phrase(rc)) : 0;
}

/* Token number i, as far as it is known or guessed. */
static uint32_t token_at(const struct drive_session *s, uint32_t i)
{
	return i < s->n_tokens ? s->tokens[i].id : s->guesses[i];
}

/* Of tokens that were made before the row of token i, and that one. */
static void set_history(struct tail_job *job, const struct drive_session *s, uint32_t i)
{
	uint32_t n = i + 1 < s->sampling.repeat_last ? i + 1 : s->sampling.repeat_last;

	n = n < MSG_IDS_MAX ? n : MSG_IDS_MAX;
	for (uint32_t k = 0; k < n; k++)
		job->history[k] = token_at(s, i + 1 - n + k);
	job->n_history = n;
}

static int send(struct drive *d, struct seat *st, const uint32_t *ids, uint32_t n, uint8_t flags,
		struct err *e)
{
	const struct drive_session *s = st->s;
	const bool last = flags & WIRE_SAMPLE;
	const uint32_t dim = drive_hparams(d)->dim;
	const size_t told = flags & WIRE_IDS ? sizeof(*ids) * n : 0;
	const size_t bytes = told + (size_t)n * dim * sizeof(float);
	struct tail_job *job = calloc(1, sizeof(*job) + bytes);
	int rc = job ? make_rows(d, st, ids, n, e) : err_set(e, ERR_NOMEM, "job");

	if (rc) {
		free(job);
		return rc;
	}
	for (size_t i = 0; i < told; i += sizeof(*ids))
		le_put32(job->body + i, ids[i / sizeof(*ids)]);
	memcpy(job->body + told, d->x, bytes - told);
	job->hdr = (struct wire_hdr){
		.kind = WIRE_ROWS,
		.flags = flags,
		.codec = PLAIN_F32,
		.seq = ++st->seq,
		.pos = st->pos,
		.rows = n,
		.dim = dim,
		.split = (uint16_t)s->split,
		.body_len = (uint32_t)(bytes - (s->spoil && st->seq == 2)),
	};
	if (s->values && st->seq == 2) {
		job->hdr.kind = WIRE_KV;
		job->hdr.body_len = 0;
	}
	job->lane = (unsigned)(st - d->seats);
	job->bulk = s->bulk;
	job->kv = st->kv;
	job->codec = st->codec;
	job->logits = last ? s->logits : NULL;
	job->sampling = s->sampling;
	if (st->pos >= s->n_prompt)
		set_history(job, s, st->pos - s->n_prompt);
	if (!tail_submit(d->tail, job)) {
		free(job);
		return err_set(e, ERR_BUSY, "too many rows are waiting");
	}
	st->pos += n;
	st->jobs++;
	return 0;
}

static int send_prompt(struct drive *d, struct seat *st, struct err *e)
{
	const struct drive_session *s = st->s;
	int rc = 0;

	while (!rc && st->pos < s->n_prompt) {
		uint32_t left = s->n_prompt - st->pos;
		uint32_t n = left < s->chunk_rows ? left : s->chunk_rows;

		rc = send(d, st, s->prompt + st->pos, n, n == left ? WIRE_SAMPLE : 0, e);
	}
	return rc;
}

/* Rows of tokens that are only guessed, as many as may be out. */
static int send_drafts(struct drive *d, struct seat *st, struct err *e)
{
	const struct drive_session *s = st->s;
	const uint32_t end = s->n_prompt + s->max_new - 1;
	int rc = 0;

	while (!rc && s->guesses && st->pos < end &&
	       st->pos < s->n_prompt + s->n_tokens + s->drafts)
		rc = send(d, st, &s->guesses[st->pos - s->n_prompt], 1,
			  WIRE_DRAFT | WIRE_SAMPLE | WIRE_IDS, e);
	return rc;
}

static int begin(struct drive *d, struct seat *st, struct err *e)
{
	const uint32_t layers = drive_hparams(d)->n_layers;
	struct drive_session *s = st->s;
	const uint32_t context = s->n_prompt + s->max_new;
	int rc = segment_begin(tail_segment(d->tail), &st->kv, s->split, layers, context, s->kv, e);

	if (!rc)
		rc = segment_begin_codec(tail_segment(d->tail), &st->codec, s->split, e);
	if (!rc && s->split && !d->has_front)
		rc = err_set(e, ERR_STATE, "the drive was opened without fronts");
	if (!rc && s->split)
		rc = segment_begin(&d->front, &st->front_kv, 0, s->split, context, s->kv, e);
	st->begun = true;
	st->due_us = NEVER;
	s->begun_us = clock_now_us();
	if (!rc)
		rc = send_prompt(d, st, e);
	return rc ? rc : send_drafts(d, st, e);
}

static void leave(struct drive *d, struct seat *st)
{
	segment_end(tail_segment(d->tail), st->kv);
	if (d->has_front)
		segment_end(&d->front, st->front_kv);
	codec_state_destroy(st->codec);
	*st = (struct seat){ .s = st->s, .begun = true, .ended = true, .due_us = NEVER };
}

/* Sessions that fill stop when no other one goes on. */
static bool goes_on(const struct drive *d, const struct seat *st)
{
	bool others = false;

	for (unsigned i = 0; i < d->n; i++)
		others |= !d->seats[i].ended && !d->seats[i].s->fills;
	return !st->s->rc && st->s->n_tokens < st->s->max_new && (others || !st->s->fills);
}

/* The row that goes with the newest token is out, as a draft. */
static bool is_out(const struct seat *st)
{
	const struct drive_session *s = st->s;
	const uint32_t i = s->n_tokens - 1;

	return st->pos > s->n_prompt + i && s->guesses[i] == s->tokens[i].id;
}

/* The row of the newest token is due, whatever was sent for its position and behind. */
static void make_due(struct seat *st, uint64_t now_us)
{
	const struct drive_session *s = st->s;
	const uint32_t pos = s->n_prompt + s->n_tokens - 1;

	st->void_seq = st->seq;
	if (st->front_kv)
		kv_truncate(st->front_kv, pos);
	st->pos = pos;
	st->due_us = now_us + s->away_us;
}

static void take(struct drive *d, struct tail_job *job)
{
	struct seat *st = &d->seats[job->lane];
	struct drive_session *s = st->s;
	uint64_t now_us = clock_now_us();

	st->jobs--;
	s->skipped += job->skipped && !job->compute_us;
	if (job->hdr.flags & WIRE_DRAFT && job->hdr.seq <= st->void_seq) {
		job->rc = 0;
	} else if (job->skipped) { /* it follows on what ends an answer: here it goes on */
		make_due(st, now_us);
	} else if (job->rc && !s->rc) {
		s->rc = job->rc;
		s->err = job->err;
	} else if (!job->rc && job->hdr.flags & WIRE_SAMPLE) {
		s->tokens[s->n_tokens++] = (struct drive_token){ .id = job->id,
								 .asked_us = job->queued_us,
								 .at_us = now_us };
		if (!is_out(st))
			make_due(st, now_us);
	}
	if (!st->jobs && !goes_on(d, st))
		leave(d, st);
	free(job);
}

static int send_due(struct drive *d, uint64_t now_us, struct err *e)
{
	int rc = 0;

	for (unsigned i = 0; i < d->n && !rc; i++) {
		struct seat *st = &d->seats[i];

		if (!st->begun &&
		    (!i || d->seats[0].ended || d->seats[0].s->n_tokens >= st->s->begin_after))
			rc = begin(d, st, e);
		if (rc || st->ended)
			continue;
		if (st->due_us <= now_us) {
			st->due_us = NEVER;
			rc = send(d, st, &st->s->tokens[st->s->n_tokens - 1].id, 1, WIRE_SAMPLE, e);
		}
		if (!rc && st->begun && st->due_us == NEVER)
			rc = send_drafts(d, st, e);
	}
	return rc;
}

/* Microseconds until the next row is due; -1: none is. */
static int64_t patience(const struct drive *d, uint64_t now_us)
{
	uint64_t due = NEVER;

	for (unsigned i = 0; i < d->n; i++)
		due = d->seats[i].due_us < due ? d->seats[i].due_us : due;
	return due == NEVER ? -1 : due > now_us ? (int64_t)(due - now_us) : 0;
}

static bool all_ended(const struct drive *d)
{
	for (unsigned i = 0; i < d->n; i++) {
		if (!d->seats[i].ended)
			return false;
	}
	return true;
}

/* What is out comes back before anything is freed. */
static void clear(struct drive *d)
{
	for (unsigned i = 0; i < d->n; i++) {
		while (d->seats[i].jobs) {
			struct tail_job *job = queue_pop(d->inbox, -1);

			d->seats[job->lane].jobs--;
			free(job);
		}
		if (d->seats[i].begun && !d->seats[i].ended)
			leave(d, &d->seats[i]);
	}
}

int drive_run(struct drive *d, struct drive_session *sessions, unsigned n, struct err *e)
{
	int rc = 0;

	if (n > d->conf.sessions)
		return err_set(e, ERR_LIMIT, "at most %u sessions", d->conf.sessions);
	d->n = n;
	for (unsigned i = 0; i < n; i++) {
		d->seats[i] = (struct seat){ .s = &sessions[i], .due_us = NEVER };
		sessions[i].n_tokens = sessions[i].skipped = 0;
		sessions[i].rc = 0;
	}
	while (!rc && !all_ended(d)) {
		uint64_t now_us = clock_now_us();
		void *job;

		rc = send_due(d, now_us, e);
		if (!rc && (job = queue_pop_us(d->inbox, patience(d, now_us))))
			take(d, job);
	}
	clear(d);
	return rc;
}
