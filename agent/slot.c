#include "agent/slot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/reply.h"
#include "agent/rows.h"
#include "agent/side.h"
#include "agent/tempo.h"
#include "base/le.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/trace.h"
#include "codec/chunk.h"
#include "daemon/link.h"
#include "engine/prompt.h"
#include "schema/wire.h"

#define OPEN_EXPIRY_S 5

struct topic slot_topic(const struct agent_core *c, const char *worker, uint64_t session)
{
	struct topic t = { .kind = worker[0] ? TOPIC_UP : TOPIC_OPEN, .session = session };

	snprintf(t.fleet, sizeof(t.fleet), "%s", c->conf.fleet);
	snprintf(t.agent, sizeof(t.agent), "%s", c->conf.agent);
	snprintf(t.worker, sizeof(t.worker), "%s", worker);
	snprintf(t.model, sizeof(t.model), "%s", c->conf.model);
	return t;
}

void slot_note_failure(const struct slot *sl, int rc)
{
	if (rc)
		log_event(LOG_LEVEL_DEBUG, "publish.failed", "id=%s reason=%s", sl ? sl->id : "-",
			  LOG_QUOTED(err_phrase(rc)));
}

void slot_send_control(struct agent_core *c, const struct msg *m, const char *worker,
		       uint64_t session)
{
	struct topic t = slot_topic(c, worker, session);

	slot_note_failure(NULL, link_publish(c->bus, &t, m, 1, false,
					     worker[0] ? SLOT_DATA_EXPIRY_S : OPEN_EXPIRY_S));
}

static void send_close(struct agent_core *c, const struct slot *sl,
		       const struct session_effects *fx)
{
	struct msg m = { .type = MSG_CLOSE,
			 .u.close = { .session = sl->session.conf.id, .epoch = fx->close_epoch } };

	snprintf(m.u.close.reason, sizeof(m.u.close.reason), "%s",
		 fx->ended ? session_finish_name(sl->session.finish) : "moved");
	slot_send_control(c, &m, fx->close_worker, sl->session.conf.id);
}

/* The penalty looks back over generated tokens: a new worker must know them. */
static void put_history(struct msg_open *o, const struct session *s)
{
	uint32_t n = s->n_ids - s->n_prompt;

	if (o->sampling.repeat_penalty == 1)
		return;
	o->n_history = n < o->sampling.repeat_last ? n : o->sampling.repeat_last;
	if (o->n_history > MSG_IDS_MAX)
		o->n_history = MSG_IDS_MAX;
	memcpy(o->history, s->ids + s->n_ids - o->n_history, o->n_history * sizeof(o->history[0]));
}

const struct codec_spec *slot_codec(const struct slot *sl)
{
	return sl->has_next_codec ? &sl->next_codec : &sl->job.codec;
}

const char *slot_calibration(const struct agent_core *c, const struct slot *sl)
{
	return sl->predicts ? c->conf.calibration : "";
}

static void send_open(struct agent_core *c, const struct slot *sl)
{
	const struct session *s = &sl->session;
	struct msg m = { .type = MSG_OPEN };
	struct msg_open *o = &m.u.open;

	o->session = s->conf.id;
	o->epoch = s->epoch;
	snprintf(o->agent, sizeof(o->agent), "%s", c->conf.agent);
	snprintf(o->model, sizeof(o->model), "%s", c->conf.model);
	o->dim = c->conf.dim;
	o->split = session_open_split(s);
	o->context_tokens = s->conf.max_ids;
	spec_print(slot_codec(sl), o->codec);
	if (sl->kv_wished)
		snprintf(o->kv, sizeof(o->kv), "%s", kv_type_name(sl->worker_kv));
	snprintf(o->calibration, sizeof(o->calibration), "%s", slot_calibration(c, sl));
	o->class = sl->class;
	o->sampling = sl->sampling;
	put_history(o, s);
	slot_send_control(c, &m, s->worker, s->conf.id);
}

static void fail_side(struct agent_core *c, struct slot *sl, uint64_t now_us, const struct err *e)
{
	log_event(LOG_LEVEL_WARN, "handover.refused", "id=%s to=%u reason=%s", sl->id, sl->move.to,
		  LOG_QUOTED(e->text));
	slot_event(c, sl,
		   &(struct session_event){ .kind = SESSION_EV_SIDE_FAILED, .now_us = now_us });
}

unsigned slot_front(const struct agent_core *c, uint32_t last)
{
	const struct agent_front *f = &c->front;
	const bool has = last <= f->layers && (last < c->conf.n_layers || f->has_head);

	return has ? f->index : 0;
}

/* False when the compute thread has no room for it. */
static bool start_job(struct agent_core *c, struct slot *sl, const struct session_effects *fx,
		      uint64_t now_us)
{
	struct session *s = &sl->session;
	struct head_job *job = &sl->job;

	if (sl->has_next_codec)
		job->codec = sl->next_codec;
	sl->has_next_codec = false;
	slot_change_kv(c, sl);
	job->front = slot_front(c, s->conf.split);
	job->kept = sl->side_ready && !sl->move.values ? sl->side.kept : NULL;
	job->keep_at = sl->move.to > sl->move.from ? sl->move.from : sl->move.to;
	job->kept_rows = fx->compute_kept;
	job->pos = fx->compute_pos;
	job->rows = fx->compute_rows;
	job->ids = s->ids + fx->compute_pos;
	job->tell_ids = job->pos >= s->n_prompt || job->codec.predict == SPEC_TOKENS;
	job->sample = s->conf.local && job->pos + job->rows == s->n_ids;
	job->history = s->ids + s->n_prompt;
	job->n_history = s->n_ids - s->n_prompt;
	job->queued_us = now_us;
	c->rows += job->rows;
	slot_guess(c, sl);
	return c->ops.submit(c->ops.ctx, job);
}

static void fail_job(struct agent_core *c, struct slot *sl, uint64_t now_us)
{
	struct session_event ev = { .kind = SESSION_EV_COMPUTE_FAILED,
				    .now_us = now_us,
				    .code = ERR_BUSY,
				    .reason = "the compute queue is full" };

	slot_event(c, sl, &ev);
}

static bool reserve(struct slot *sl, size_t more)
{
	size_t cap = sl->text_cap ? sl->text_cap : 1024;
	char *bigger;

	while (cap < sl->text_len + more)
		cap *= 2;
	if (cap == sl->text_cap)
		return true;
	bigger = realloc(sl->text, cap);
	if (!bigger)
		return false;
	sl->text = bigger;
	sl->text_cap = cap;
	return true;
}

/* Append what the detokenizer gave (n bytes at the end of the text) and stream it. */
static void grow_text(struct agent_core *c, struct slot *sl, size_t n)
{
	char *piece = sl->text + sl->text_len;

	sl->text_len += n;
	sl->text[sl->text_len] = '\0';
	if (n && sl->stream)
		reply_piece(c, sl, piece, n);
}

static void emit(struct agent_core *c, struct slot *sl, uint32_t id)
{
	size_t need;

	if (!c->conf.tokenizer)
		return;
	need = detok_bound(c->conf.tokenizer) + 1;
	if (!reserve(sl, need)) {
		sl->text_lost = true;
		return;
	}
	grow_text(c, sl, detok_push(&sl->detok, id, sl->text + sl->text_len, need - 1));
}

/* The way to the worker and back, by an answer that needed no retry. */
static void measure_trip(struct agent_core *c, const struct slot *sl, uint64_t now_us)
{
	const struct session *s = &sl->session;
	const uint64_t worker_us = (uint64_t)s->last_answer.queue_us + s->last_answer.compute_us;

	meter_answered(&c->meter, sl->trip.sends, now_us);
	if (!sl->trip.clear || worker_us > s->last_rtt_us)
		return;
	meter_trip(&c->meter, &(struct meter_trip){
				      .at_us = now_us,
				      .up_bytes = (float)sl->trip.up_bytes,
				      .down_bytes = (float)sl->arrived_bytes,
				      .ms = (float)(s->last_rtt_us - worker_us) / 1000,
			      });
}

static bool is_alone(const struct agent_core *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->conf.max_sessions && n < 2; i++)
		n += c->slots[i].used;
	return n == 1;
}

/* A token came: what it says of the link, and of what the agent takes beside its layers. */
static void measure_token(struct agent_core *c, const struct slot *sl, uint64_t now_us)
{
	const struct session *s = &sl->session;
	const struct head_job *job = &sl->job;
	double us = (double)(now_us - sl->times.last_token_us);

	if (!s->conf.local && s->last_rtt_us)
		measure_trip(c, sl, now_us);
	if (!sl->times.first_token_us || job->rows != 1 || sl->side_ready || sl->recast.begun ||
	    !is_alone(c) || (!s->conf.local && !s->last_rtt_us))
		return;
	us -= (double)(job->layers_us - job->embed_us) + job->encode_us;
	meter_beside(&c->meter, job->front, s->conf.local,
		     s->conf.local ? us : us - (double)s->last_rtt_us);
}

static void note_token(struct agent_core *c, struct slot *sl, uint64_t now_us)
{
	struct slot_times *t = &sl->times;
	const struct session *s = &sl->session;

	c->tokens++;
	measure_token(c, sl, now_us);
	if (sl->moved_us)
		side_note_token(sl, now_us);
	t->last_token_us = now_us;
	if (!t->first_token_us) {
		t->first_token_us = now_us;
		t->head_us = t->encode_us = 0; /* those of the prefill */
		return;
	}
	if (s->conf.local)
		return;
	t->rtt_us += s->last_rtt_us;
	if (s->last_rtt_us) {
		c->wait_us += ((double)s->last_rtt_us - c->wait_us) / (c->wait_us > 0 ? 8 : 1);
		t->worker_queue_us += s->last_answer.queue_us;
		t->worker_us += s->last_answer.compute_us;
		t->rtts_us[t->n_rtts++ % SLOT_RTTS] = (uint32_t)s->last_rtt_us;
	}
}

bool slot_is_out(const struct slot *sl)
{
	return sl->session.computing || sl->session.handover.out || sl->recast.out;
}

void slot_free(struct agent_core *c, struct slot *sl)
{
	side_release(c, sl);
	slot_recast_end(c, sl);
	free(sl->side.bytes);
	sl->job.kept = sl->side.kept;
	if (sl->job_ready)
		c->ops.end(c->ops.ctx, &sl->job, sl->session.conf.split, sl->kv_context);
	free(sl->job.bytes);
	free(sl->text);
	session_finish(&sl->session);
	*sl = (struct slot){ 0 };
}

static void finish(struct agent_core *c, struct slot *sl, uint64_t now_us)
{
	if (c->conf.tokenizer && sl->text && reserve(sl, 8))
		grow_text(c, sl, detok_flush(&sl->detok, sl->text + sl->text_len, 4));
	if (sl->text_lost) { /* no answer with a hole in it */
		sl->session.finish = SESSION_ERROR;
		sl->session.error = ERR_NOMEM;
		snprintf(sl->session.reason, sizeof(sl->session.reason), "no memory for the text");
	}
	reply_final(c, sl, now_us);
	if (!slot_is_out(sl))
		slot_free(c, sl);
}

/* The next one begins where the job for it was handed over. */
static void draw_token(struct slot *sl)
{
	const struct session *s = &sl->session;

	timeline_token(&sl->timeline, sl->job.slot,
		       s->conf.local || !s->last_rtt_us ? NULL : &s->last_answer, sl->arrived_us,
		       s->computing ? sl->job.queued_us : trace_now_us());
}

void slot_event(struct agent_core *c, struct slot *sl, const struct session_event *ev)
{
	uint32_t before = sl->session.n_ids;
	bool token, started = true, cannot = false;
	struct session_effects fx;
	struct err e = { 0 };

	sl->session.conf.side_rows = side_rows(sl);
	sl->session.conf.kept_side_rows = side_kept_rows(sl);
	if (ev->kind == SESSION_EV_ACCEPT && session_opens(&sl->session))
		meter_open(&c->meter, (double)(ev->now_us - sl->times.begun_us));
	session_step(&sl->session, ev, &fx);
	token = sl->session.n_ids > before && ev->kind != SESSION_EV_START;
	if (token)
		note_token(c, sl, ev->now_us);
	if (!fx.ended && (token || ev->kind == SESSION_EV_ROWS))
		tempo_keep(c, sl, token, ev->now_us);
	if (fx.close)
		send_close(c, sl, &fx);
	if (fx.side_begin && sl->session.handover.way == SESSION_BACK)
		tempo_meet(c, sl);
	if (fx.open)
		send_open(c, sl);
	rows_send(c, sl, &fx, ev->now_us);
	if (!fx.ended && fx.moved)
		side_move(c, sl, fx.compute_kept, ev->now_us);
	sl->times.n_drafts += fx.draft;
	if (fx.right)
		slot_guess_more(c, sl);
	/* Where layers run ahead, that is done meanwhile. */
	if (fx.send_from < fx.send_to && !sl->job.guesses.wanted && !fx.ended &&
	    !sl->session.computing)
		codec_state_foresee(sl->job.state); /* the worker has the next turn */
	if (!fx.ended && fx.side_first && side_run(c, sl, &fx, ev->now_us, &e))
		cannot = true;
	if (!fx.ended) /* what others wait for is on its way */
		side_leave(c, sl, fx.moved);
	if (!fx.ended && fx.compute) /* before the text of the token: layers need not wait for it */
		started = start_job(c, sl, &fx, ev->now_us);
	if (!fx.ended && !fx.side_first && side_run(c, sl, &fx, ev->now_us, &e))
		cannot = true;
	if (!fx.ended)
		slot_recast(c, sl, ev->now_us);
	if (fx.token)
		emit(c, sl, fx.token_id);
	if (token)
		draw_token(sl);
	if (fx.ended)
		finish(c, sl, ev->now_us);
	else if (!started)
		fail_job(c, sl, ev->now_us);
	else if (cannot)
		fail_side(c, sl, ev->now_us, &e);
}

static void measure_job(struct agent_core *c, const struct slot *sl)
{
	const struct head_job *job = &sl->job;

	meter_job(&c->meter, &(struct meter_job){
				     .front = job->front,
				     .layers = sl->session.conf.split,
				     .rows = job->rows,
				     .pos = job->pos,
				     .sampled = job->sample,
				     .local = sl->session.conf.local,
				     .encoded = !job->sample && !sl->session.conf.local,
				     .layers_us = job->layers_us + job->ahead_us - job->embed_us -
						  job->head_us,
				     .head_us = job->head_us,
				     .encode_us = job->encode_us,
			     });
}

static void note_job(struct agent_core *c, struct slot *sl, const struct head_job *job)
{
	if (job->side) {
		side_note(sl, job);
		return;
	}
	timeline_computed(&sl->timeline, job);
	if (!job->pos && !sl->times.first_token_us && job->queued_us > sl->times.begun_us)
		meter_begin(&c->meter, sl->session.conf.local,
			    (double)(job->queued_us - sl->times.begun_us));
	sl->times.head_us += job->layers_us;
	sl->times.encode_us += job->encode_us;
	sl->times.n_ahead += job->ahead_us > 0;
	if (!job->rc && !job->kept_rows)
		measure_job(c, sl);
}

void slot_computed(struct agent_core *c, struct slot *sl, const struct head_job *job,
		   uint64_t now_us)
{
	struct session_event ev = { .now_us = now_us };

	if (job->recast) {
		slot_recast_done(c, sl, job, now_us);
		return;
	}
	note_job(c, sl, job);
	if (job->rc) {
		ev.kind = job->side ? SESSION_EV_SIDE_FAILED : SESSION_EV_COMPUTE_FAILED;
		ev.code = job->rc;
		ev.reason = job->err.text;
	} else if (job->sample) {
		ev.kind = SESSION_EV_LOCAL_TOKEN;
		ev.id = job->id;
		ev.end = job->end;
	} else {
		ev.kind = job->side ? SESSION_EV_SIDE : SESSION_EV_ROWS;
		ev.bytes = job->bytes;
		ev.len = job->side && !job->encode && !job->values ? 0 : job->len;
		ev.codec = job->codec_id;
		ev.state = job->state_hash;
	}
	if (sl->session.state == SESSION_ENDED) {
		struct session_effects fx;

		session_step(&sl->session, &ev, &fx);
		if (!slot_is_out(sl))
			slot_free(c, sl);
		return;
	}
	slot_event(c, sl, &ev);
}

void slot_decide(struct agent_core *c, struct slot *sl, const struct codec_spec *spec)
{
	if (sl->codec_given || codec_bound(spec, c->conf.dim, 1) > sl->row_bytes)
		return;
	sl->base_codec = *spec;
	tempo_set_codec(c, sl);
}

/* Bytes of rows that one frame may take through the broker; no limit is known while there is no
 * connection. */
static size_t frame_room(const struct agent_core *c)
{
	struct topic t = slot_topic(c, c->conf.agent, UINT64_MAX);
	size_t reserved =
		WIRE_HDR_LEN + TOPIC_NAME_MAX; /* the worker's name may be longer than ours */
	char topic[TOPIC_MAX];
	size_t most;

	if (!c->up)
		return SIZE_MAX;
	topic_put(topic, &t);
	most = bus_max_payload(c->bus, topic);
	return most > reserved ? most - reserved : 0;
}

static int check_packet(const struct agent_core *c, size_t body_bytes, struct err *e)
{
	size_t room = frame_room(c);

	if (body_bytes <= room)
		return 0;
	return err_set(e, ERR_LIMIT, "a row of %zu bytes does not fit the broker's packets (%zu)",
		       body_bytes, room);
}

void slot_go_alone(struct agent_core *c, struct slot *sl, uint64_t now_us)
{
	slot_event(c, sl,
		   &(struct session_event){ .kind = SESSION_EV_DECIDE,
					    .now_us = now_us,
					    .split = sl->session.conf.n_layers,
					    .alone = true });
}

void slot_move(struct agent_core *c, struct slot *sl, uint32_t split, uint64_t now_us)
{
	const struct session *s = &sl->session;
	struct err e = { 0 };

	if (sl->split_given || (split == s->conf.split && split == s->wish))
		return;
	/* A worker that takes over must know all tokens that the penalty looks back on. */
	if (s->conf.local &&
	    (sl->sampling.repeat_penalty != 1 ||
	     check_packet(c, sl->job.cap + CHUNK_TOKEN_BYTES * s->conf.chunk_rows, &e)))
		return;
	slot_event(c, sl,
		   &(struct session_event){
			   .kind = SESSION_EV_DECIDE,
			   .now_us = now_us,
			   .split = split,
			   .value_bytes = side_value_bytes(c, sl, split, frame_room(c)) });
}

static uint32_t split_of(const struct agent_core *c, const struct msg_prompt *m)
{
	if (m->has_split)
		return m->split;
	if (c->alone)
		return c->conf.n_layers;
	return c->has_decision ? c->decision.split : c->conf.split;
}

bool slot_is_local(const struct agent_core *c, const struct msg_prompt *m)
{
	return split_of(c, m) == c->conf.n_layers;
}

/* What the session shall be: the prompt's wish, else the decision, else the configuration. */
static int choose(const struct agent_core *c, struct slot *sl, const struct msg_prompt *m,
		  struct session_conf *sc, struct err *e)
{
	const struct msg_decision *d = c->has_decision ? &c->decision : NULL;
	const char *spec = m->codec[0] ? m->codec : d && d->codec[0] ? d->codec : NULL;
	struct codec_spec *codec = &sl->job.codec;

	sc->split = split_of(c, m);
	if (sc->split > c->conf.n_layers)
		return err_set(e, ERR_LIMIT, "split must be 0..%u for this model, not %u",
			       c->conf.n_layers, sc->split);
	sc->local = sc->split == c->conf.n_layers;
	*codec = c->conf.codec;
	sl->codec_given = m->codec[0];
	sl->split_given = m->has_split;
	sc->n_layers = c->conf.n_layers;
	if (d)
		memcpy(sc->worker, d->worker, sizeof(sc->worker));
	if (spec && spec_parse(codec, spec, e))
		return e->code = ERR_UNSUPPORTED;
	sl->base_codec = *codec;
	sl->predicts = !sc->local && tempo_predicts(c, sl, sc->worker);
	if (!sl->predicts)
		codec->predict = SPEC_PREDICT_NONE;
	return 0;
}

static uint32_t context_of(const struct agent_core *c)
{
	uint32_t d = c->has_decision ? c->decision.context_tokens : 0;

	return d && d < c->conf.context_tokens ? d : c->conf.context_tokens;
}

uint64_t slot_deadline_us(const struct agent_core *c, const struct msg_prompt *m, uint64_t now_us)
{
	return now_us + (m->deadline_ms ? m->deadline_ms : c->conf.session_deadline_ms) * 1000ull;
}

static void size_session(const struct agent_core *c, const struct msg_prompt *m, uint32_t n_prompt,
			 const struct codec_spec *codec, struct session_conf *sc,
			 uint64_t deadline_us)
{
	uint32_t context = context_of(c);

	sc->id = rng_entropy() | 1; /* 0 is the wildcard of a topic */
	sc->max_new = m->max_tokens ? m->max_tokens : c->conf.max_tokens;
	sc->max_ids = sc->max_new < context - n_prompt ? n_prompt + sc->max_new : context;
	sc->drafts = c->conf.drafts;
	sc->chunk_rows = chunk_rows(codec, c->conf.dim, frame_room(c), AGENT_CHUNK_ROWS);
	sc->log_bytes = sc->local ? 0 : admit_row_bytes(codec, c->conf.dim) * sc->max_ids;
	sc->accept_us = c->conf.accept_timeout_ms * 1000ull;
	sc->reply_us = c->conf.reply_timeout_ms * 1000ull;
	sc->deadline_us = deadline_us;
}

static int tokenize(const struct agent_core *c, const struct msg_prompt *m, uint32_t **ids,
		    size_t *n, struct err *e)
{
	unsigned flags = TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL;
	char *text = NULL;
	size_t len;
	int rc;

	if (m->raw || !strcmp(c->conf.prompt_family, "none"))
		return tokenizer_encode(c->conf.tokenizer, m->prompt, m->prompt_len, flags, ids, n,
					e);
	rc = prompt_apply(c->conf.prompt_family, m->prompt, m->prompt_len, &text, &len);
	if (rc)
		return err_set(e, rc, "chat template %s", c->conf.prompt_family);
	rc = tokenizer_encode(c->conf.tokenizer, text, len, flags, ids, n, e);
	free(text);
	return rc;
}

static int prepare(struct agent_core *c, struct slot *sl, const struct msg_prompt *m, size_t n,
		   uint64_t deadline_us, struct err *e)
{
	struct session_conf sc = { 0 };
	uint32_t context = context_of(c);
	size_t cap;
	int rc = choose(c, sl, m, &sc, e);

	if (!rc)
		rc = slot_choose_kv(c, m, sl, e);
	if (rc)
		return rc;
	if (!n || n >= context)
		return err_set(e, n ? ERR_CONTEXT : ERR_FORMAT,
			       n ? "a prompt of %zu tokens does not fit the context of %u"
				 : "the prompt is empty",
			       n, context);
	size_session(c, m, (uint32_t)n, &sl->job.codec, &sc, deadline_us);
	sl->row_bytes = admit_row_bytes(&sl->job.codec, c->conf.dim);
	sc.row_bytes = sl->row_bytes;
	cap = sl->row_bytes * sc.chunk_rows;
	sc.packet_bytes =
		cap + CHUNK_TOKEN_BYTES * (size_t)sc.chunk_rows + WIRE_HDR_LEN + TOPIC_MAX;
	if (!sc.local)
		rc = check_packet(c, cap + CHUNK_TOKEN_BYTES * (size_t)sc.chunk_rows, e);
	if (rc)
		return rc;
	rc = c->ops.begin(c->ops.ctx, &sl->job, sc.split, sc.max_ids, sl->kv_type, e);
	if (rc)
		return rc;
	sl->session.conf = sc; /* what is begun must be ended */
	sl->kv_context = sc.max_ids;
	sl->job_ready = true;
	rc = session_init(&sl->session, &sc);
	sl->job.bytes = rc ? NULL : malloc(cap);
	sl->job.cap = cap;
	if (!sl->job.bytes || !reserve(sl, 1))
		return err_set(e, ERR_NOMEM, "out of memory for a session of %u tokens",
			       sc.max_ids);
	sl->text[0] = '\0';
	return 0;
}

/* What the prompt gives, else what is configured; a seed that nobody gave is drawn. */
static void merge_sampling(struct msg_sampling *s, const struct msg_sampling *conf,
			   const struct msg_prompt *m)
{
	const struct msg_sampling *p = &m->sampling;

	*s = *conf;
	s->temperature = m->given & MSG_TEMPERATURE ? p->temperature : conf->temperature;
	s->top_k = m->given & MSG_TOP_K ? p->top_k : conf->top_k;
	s->top_p = m->given & MSG_TOP_P ? p->top_p : conf->top_p;
	s->min_p = m->given & MSG_MIN_P ? p->min_p : conf->min_p;
	s->repeat_penalty =
		m->given & MSG_REPEAT_PENALTY ? p->repeat_penalty : conf->repeat_penalty;
	s->repeat_last = m->given & MSG_REPEAT_LAST ? p->repeat_last : conf->repeat_last;
	s->seed = m->given & MSG_SEED ? p->seed : rng_entropy() >> 11;
}

void slot_begin(struct agent_core *c, struct slot *sl, const struct waiting *w, const uint32_t *ids,
		uint32_t n_given, uint64_t now_us)
{
	const struct msg_prompt *m = &w->prompt;
	bool in_process = w->in_process;
	struct err e = { 0 };
	uint32_t *made = NULL;
	size_t n = n_given;
	int rc = 0;

	*sl = (struct slot){ .used = true, .in_process = in_process, .stream = m->stream };
	sl->job.slot = (unsigned)(sl - c->slots);
	snprintf(sl->id, sizeof(sl->id), "%s", m->id);
	sl->times.begun_us = now_us;
	sl->class = m->class ? m->class : c->conf.class;
	merge_sampling(&sl->sampling, &c->conf.sampling, m);
	sl->job.sampling = segment_sampling(&sl->sampling);
	if (!ids)
		rc = tokenize(c, m, &made, &n, &e);
	if (!rc)
		rc = prepare(c, sl, m, n, w->deadline_us, &e);
	if (rc) {
		slot_refuse(c, sl->id, in_process, rc, e.text);
		slot_free(c, sl);
		free(made);
		return;
	}
	sl->degraded = c->alone && !m->has_split;
	tempo_begin(c, sl, m, now_us);
	if (c->conf.tokenizer)
		detok_init(&sl->detok, c->conf.tokenizer, false, false);
	log_event(LOG_LEVEL_INFO, "session.begun",
		  "id=%s session=%016llx prompt_tokens=%zu split=%u kv=%s", sl->id,
		  (unsigned long long)sl->session.conf.id, n, sl->session.conf.split,
		  kv_type_name(sl->kv_type));
	slot_event(c, sl,
		   &(struct session_event){ .kind = SESSION_EV_START,
					    .now_us = now_us,
					    .ids = ids ? ids : made,
					    .n_ids = (uint32_t)n });
	free(made);
}
