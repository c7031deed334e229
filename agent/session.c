#include "agent/session.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/draft.h"
#include "agent/handover.h"

#define BIT(n)      (1u << (n))
#define NEVER       UINT64_MAX
#define MAX_NEEDS   4 /* without progress; a worker that asks on and on is no good */
#define MAX_RESENDS 2 /* of one chunk, before the session is opened elsewhere */
#define NAMED_TRIES 2 /* OPENs to the worker that was named, before any worker is asked */

static const struct {
	const char *name;
	unsigned next; /* states that may follow this one */
} states[SESSION_NSTATES] = {
	[SESSION_IDLE] = { "idle", BIT(SESSION_OPENING) | BIT(SESSION_LOCAL) | BIT(SESSION_ENDED) },
	[SESSION_OPENING] = { "opening", BIT(SESSION_OPENING) | BIT(SESSION_OPEN) |
						 BIT(SESSION_LOCAL) | BIT(SESSION_ENDED) },
	[SESSION_OPEN] = { "open", BIT(SESSION_OPENING) | BIT(SESSION_LOCAL) | BIT(SESSION_ENDED) },
	[SESSION_LOCAL] = { "local", BIT(SESSION_OPEN) | BIT(SESSION_ENDED) },
	[SESSION_ENDED] = { "ended", 0 },
};

static const char *const finishes[SESSION_NFINISHES] = {
	[SESSION_STOP] = "stop",           [SESSION_LENGTH] = "length",
	[SESSION_CONTEXT] = "context",     [SESSION_DEADLINE] = "deadline",
	[SESSION_CANCELLED] = "cancelled", [SESSION_ERROR] = "error",
};

const char *session_state_name(enum session_state state)
{
	return states[state].name;
}

const char *session_finish_name(enum session_finish finish)
{
	return finishes[finish];
}

int session_init(struct session *s, const struct session_conf *conf)
{
	*s = (struct session){
		.conf = *conf, .due_us = NEVER, .wish = conf->split, .handover.due_us = NEVER
	};
	s->ids = calloc(conf->max_ids, sizeof(*s->ids));
	s->chunks = calloc(conf->max_ids, sizeof(*s->chunks));
	s->log = malloc(conf->log_bytes ? conf->log_bytes : 1);
	if (!s->ids || !s->chunks || !s->log) {
		session_finish(s);
		return ERR_NOMEM;
	}
	return 0;
}

void session_finish(struct session *s)
{
	free(s->ids);
	free(s->chunks);
	free(s->log);
	handover_finish(s);
	s->ids = NULL;
	s->chunks = NULL;
	s->log = NULL;
}

/* The only place that writes s->state. */
static void move(struct session *s, enum session_state to)
{
	assert(states[s->state].next & BIT(to));
	s->state = to;
	s->tries = 0;
	s->due_us = NEVER;
}

static void end(struct session *s, enum session_finish finish, struct session_effects *fx)
{
	if (s->worker[0]) {
		fx->close = true;
		fx->close_epoch = s->epoch;
		memcpy(fx->close_worker, s->worker, sizeof(fx->close_worker));
	}
	s->finish = finish;
	s->awaiting = false;
	s->handover.way = SESSION_STAYS;
	s->handover.due_us = NEVER;
	move(s, SESSION_ENDED);
	fx->ended = true;
}

static void fail(struct session *s, int code, const char *reason, struct session_effects *fx)
{
	s->error = code;
	snprintf(s->reason, sizeof(s->reason), "%s", reason);
	end(s, SESSION_ERROR, fx);
}

bool session_wants_sample(const struct session *s, uint32_t chunk)
{
	return s->chunks[chunk].pos + s->chunks[chunk].rows >= s->n_ids;
}

const uint8_t *session_chunk_bytes(const struct session *s, uint32_t chunk)
{
	return s->log + s->chunks[chunk].offset;
}

uint64_t session_due_us(const struct session *s)
{
	uint64_t due_us = s->due_us < s->handover.due_us ? s->due_us : s->handover.due_us;

	if (s->state == SESSION_ENDED)
		return NEVER;
	return due_us < s->conf.deadline_us ? due_us : s->conf.deadline_us;
}

uint32_t session_open_split(const struct session *s)
{
	uint32_t low = s->handover.way == SESSION_BACK ? s->handover.to : s->conf.split;

	for (uint32_t i = 0; i < s->n_chunks; i++)
		low = s->chunks[i].split < low ? s->chunks[i].split : low;
	for (unsigned i = 0; i < s->n_fills; i++)
		low = s->fills[i].split < low ? s->fills[i].split : low;
	return low;
}

bool session_opens(const struct session *s)
{
	return s->state == SESSION_OPENING && s->epoch == 1 && !s->tries && s->n_ids == s->n_prompt;
}

/* The split has moved to, or away from, the last layer. */
static void change_sides(struct session *s, struct session_effects *fx)
{
	if (s->conf.split == s->conf.n_layers && s->state != SESSION_LOCAL) {
		fx->close = s->worker[0];
		fx->close_epoch = s->epoch;
		memcpy(fx->close_worker, s->worker, sizeof(fx->close_worker));
		s->worker[0] = '\0';
		s->awaiting = false;
		s->conf.local = true;
		move(s, SESSION_LOCAL);
	} else if (s->conf.split < s->conf.n_layers && s->state == SESSION_LOCAL) {
		s->sampled_from = s->n_ids;
		s->conf.local = false;
		move(s, SESSION_OPEN);
	}
}

static void ask_compute(struct session *s, struct session_effects *fx)
{
	uint32_t rows;

	if (s->computing || s->computed == s->n_ids || handover_holds(s, fx))
		return;
	if (fx->moved)
		change_sides(s, fx);
	rows = s->n_ids - s->computed;
	fx->compute = true;
	fx->compute_pos = s->computed;
	fx->compute_rows = rows < s->conf.chunk_rows ? rows : s->conf.chunk_rows;
	s->computing = true;
}

/* Send what the worker has not been sent yet; the newest chunk starts the wait for its answer. */
static void send_new(struct session *s, uint64_t now_us, struct session_effects *fx)
{
	if (s->state != SESSION_OPEN || s->next_send == s->n_chunks)
		return;
	fx->send_from = s->next_send;
	fx->send_to = s->n_chunks;
	s->next_send = s->n_chunks;
	fx->refill = s->refill;
	s->refill = false;
	if (session_wants_sample(s, s->n_chunks - 1) && !s->awaiting) {
		s->awaiting = true;
		s->tries = 0;
		s->sent_us = now_us;
		s->due_us = now_us + s->conf.reply_us;
	}
}

static void advance(struct session *s, uint64_t now_us, struct session_effects *fx)
{
	if (handover_parts(s, fx))
		change_sides(s, fx);
	send_new(s, now_us, fx);
	ask_compute(s, fx);
	handover_go_on(s, now_us, fx);
}

static void ask_open(struct session *s, uint64_t now_us, struct session_effects *fx)
{
	fx->open = true;
	s->due_us = now_us + s->conf.accept_us;
}

/* A new epoch: any worker may take over; it will be sent the whole log. */
static void reopen(struct session *s, uint64_t now_us, struct session_effects *fx)
{
	if (s->worker[0]) {
		fx->close = true;
		fx->close_epoch = s->epoch;
		memcpy(fx->close_worker, s->worker, sizeof(fx->close_worker));
	}
	if (s->handover.way == SESSION_DOWN)
		handover_abandon(s, "the worker is gone", fx);
	s->epoch++;
	s->worker[0] = '\0';
	s->next_send = 0;
	s->newest_seq = s->n_chunks ? s->chunks[s->n_chunks - 1].seq : 0;
	s->need_len = 0;
	s->refill = true;
	s->sampled_from = s->n_ids;
	s->awaiting = false;
	s->retries++;
	move(s, SESSION_OPENING);
	ask_open(s, now_us, fx);
}

static void on_start(struct session *s, const struct session_event *ev, struct session_effects *fx)
{
	if (s->state != SESSION_IDLE)
		return;
	if (!ev->n_ids || ev->n_ids >= s->conf.max_ids) {
		fail(s, ev->n_ids ? ERR_CONTEXT : ERR_FORMAT,
		     ev->n_ids ? "the prompt fills the context" : "the prompt is empty", fx);
		return;
	}
	memcpy(s->ids, ev->ids, ev->n_ids * sizeof(*s->ids));
	s->n_ids = s->n_prompt = s->sampled_from = ev->n_ids;
	s->epoch = 1;
	if (s->conf.local) {
		move(s, SESSION_LOCAL);
	} else {
		memcpy(s->worker, s->conf.worker, sizeof(s->worker));
		move(s, SESSION_OPENING);
		ask_open(s, ev->now_us, fx);
	}
	ask_compute(s, fx);
}

/* The rows of the outstanding compute effect: append them to the log. */
static void on_rows(struct session *s, const struct session_event *ev, struct session_effects *fx)
{
	uint32_t rows = s->n_ids - s->computed;

	if (!s->computing)
		return;
	s->computing = false;
	if (rows > s->conf.chunk_rows)
		rows = s->conf.chunk_rows;
	if (s->state == SESSION_LOCAL) {
		s->computed += rows;
		advance(s, ev->now_us, fx);
		return;
	}
	if (ev->len > s->conf.log_bytes - s->log_len) {
		fail(s, ERR_INTERNAL, "the replay log is full", fx);
		return;
	}
	memcpy(s->log + s->log_len, ev->bytes, ev->len);
	s->chunks[s->n_chunks++] = (struct session_chunk){
		.pos = s->computed,
		.rows = rows,
		.seq = ++s->newest_seq,
		.codec = ev->codec,
		.state = ev->state,
		.split = (uint16_t)s->conf.split,
		.offset = s->log_len,
		.len = ev->len,
	};
	s->log_len += ev->len;
	s->computed += rows;
	advance(s, ev->now_us, fx);
}

/* Behind a token: its row, which may be out already. */
static void go_on(struct session *s, bool right, uint64_t now_us, struct session_effects *fx)
{
	fx->right = right;
	if (right)
		draft_promote(s, now_us);
	else
		s->n_drafts = 0;
	advance(s, now_us, fx);
}

/* One more token of the answer; `last` when it ends the answer (and is not part of its text). */
static void append(struct session *s, uint32_t id, bool last, uint64_t now_us,
		   struct session_effects *fx)
{
	const bool right = draft_is_right(s, id);

	s->ids[s->n_ids++] = id;
	fx->token = !last;
	fx->token_id = id;
	if (last)
		end(s, SESSION_STOP, fx);
	else if (s->n_ids - s->n_prompt >= s->conf.max_new)
		end(s, SESSION_LENGTH, fx);
	else if (s->n_ids == s->conf.max_ids)
		end(s, SESSION_CONTEXT, fx);
	else if (s->token_us && now_us + s->token_us > s->conf.deadline_us)
		end(s, SESSION_DEADLINE, fx);
	else
		go_on(s, right, now_us, fx);
}

static void on_local_token(struct session *s, const struct session_event *ev,
			   struct session_effects *fx)
{
	if (s->state != SESSION_LOCAL || !s->computing)
		return;
	s->computing = false;
	s->computed = s->n_ids;
	append(s, ev->id, ev->end, ev->now_us, fx);
}

/* A second worker answered a repeated OPEN: the first one stays. */
static void dismiss(const struct session *s, const struct msg_accept *a, struct session_effects *fx)
{
	if (!strcmp(s->worker, a->worker))
		return;
	fx->close = true;
	fx->close_epoch = a->epoch;
	memcpy(fx->close_worker, a->worker, sizeof(fx->close_worker));
}

static void on_accept(struct session *s, const struct session_event *ev, struct session_effects *fx)
{
	const struct msg_accept *a = ev->accept;

	if (s->state == SESSION_LOCAL && handover_on_accept(s, a, ev->now_us, fx)) {
		advance(s, ev->now_us, fx);
		return;
	}
	if (s->state == SESSION_OPEN || s->state == SESSION_LOCAL)
		dismiss(s, a, fx);
	if (s->state != SESSION_OPENING || a->epoch != s->epoch)
		return;
	memcpy(s->worker, a->worker, sizeof(s->worker));
	if (a->max_packet_bytes < s->conf.packet_bytes) {
		fail(s, ERR_LIMIT, "a frame of rows does not fit the worker's packets", fx);
		return;
	}
	s->drafts = a->drafts;
	if (a->context_tokens < s->conf.max_ids)
		s->conf.max_ids = a->context_tokens;
	if (s->n_ids >= s->conf.max_ids) {
		fail(s, ERR_CONTEXT, "the worker's context is too short for this session", fx);
		return;
	}
	move(s, SESSION_OPEN);
	advance(s, ev->now_us, fx);
}

static void on_tokens(struct session *s, const struct session_event *ev, struct session_effects *fx)
{
	const struct msg_tokens *t = ev->tokens;

	if (s->state != SESSION_OPEN || !s->awaiting || t->epoch != s->epoch ||
	    t->seq != s->chunks[s->n_chunks - 1].seq || t->pos != s->n_ids || t->n_ids != 1)
		return;
	s->last_rtt_us = s->sent_us ? ev->now_us - s->sent_us : 0;
	s->last_answer = *t;
	s->awaiting = false;
	s->tries = 0;
	s->due_us = NEVER;
	append(s, t->ids[0], t->end, ev->now_us, fx);
}

/* Chunk that begins at position pos; n_chunks when there is none. */
static uint32_t chunk_at(const struct session *s, uint32_t pos)
{
	uint32_t i = 0;

	while (i < s->n_chunks && s->chunks[i].pos != pos)
		i++;
	return i;
}

static void on_need(struct session *s, const struct session_event *ev, struct session_effects *fx)
{
	const bool filled = ev->need->has_fill && ev->need->fill_len > s->need_fill_len;
	uint32_t first, len = ev->need->kv_len;

	if (!ev->need->seq) {
		handover_on_need(s, ev->need, ev->now_us);
		advance(s, ev->now_us, fx);
		return;
	}
	if (s->state != SESSION_OPEN || ev->need->epoch != s->epoch ||
	    !draft_awaits(s, ev->need->seq))
		return;
	if (draft_is_lost(s, ev->need))
		return;
	len = draft_without(s, len);
	first = chunk_at(s, len);
	s->tries = len > s->need_len || filled ? 0 : s->tries + 1;
	s->need_len = len;
	s->need_fill_len = ev->need->has_fill ? ev->need->fill_len : 0;
	if (first == s->n_chunks || s->tries > MAX_NEEDS) {
		reopen(s, ev->now_us, fx);
		return;
	}
	fx->send_from = first;
	fx->send_to = s->n_chunks;
	fx->refill = true;
	fx->refill_len = s->need_fill_len;
	s->retries += s->n_chunks - first;
	s->sent_us = 0;
	s->due_us = ev->now_us + s->conf.reply_us;
}

/* Errors that another opening can mend. */
static bool is_passing(int code)
{
	return code == ERR_NOT_FOUND || code == ERR_STATE || code == ERR_BUSY ||
	       code == ERR_CANCELLED || code == ERR_TIMEOUT;
}

static void on_error(struct session *s, const struct session_event *ev, struct session_effects *fx)
{
	const struct msg_error *m = ev->error;

	if (m->epoch == s->epoch &&
	    (s->state == SESSION_LOCAL || (m->again && s->handover.way == SESSION_DOWN))) {
		handover_abandon(s, "the worker refuses it", fx);
		advance(s, ev->now_us, fx);
		return;
	}
	if ((s->state != SESSION_OPENING && s->state != SESSION_OPEN) || m->epoch != s->epoch ||
	    m->again)
		return;
	if (!is_passing(m->code)) {
		fail(s, m->code, m->reason, fx);
		return;
	}
	if (s->state == SESSION_OPEN) {
		reopen(s, ev->now_us, fx);
		return;
	}
	s->worker[0] = '\0'; /* ask the others, when the present wait is over */
	snprintf(s->reason, sizeof(s->reason), "%s", m->reason);
}

static void on_worker_lost(struct session *s, const struct session_event *ev,
			   struct session_effects *fx)
{
	if (!s->worker[0] || strcmp(s->worker, ev->worker))
		return;
	if (s->state == SESSION_OPEN) {
		reopen(s, ev->now_us, fx);
		fx->close = ev->listening;
	} else if (s->state == SESSION_LOCAL) {
		handover_abandon(s, "the worker is gone", fx);
		fx->close = fx->close && ev->listening;
		advance(s, ev->now_us, fx);
	} else if (s->state == SESSION_OPENING) {
		s->worker[0] = '\0';
		ask_open(s, ev->now_us, fx);
	}
}

static void resend_newest(struct session *s, uint64_t now_us, struct session_effects *fx)
{
	fx->send_from = s->n_chunks - 1;
	fx->send_to = s->n_chunks;
	s->retries++;
	s->sent_us = 0;
	s->due_us = now_us + (s->conf.reply_us << (s->tries < 10 ? s->tries : 10));
}

static void on_link_up(struct session *s, const struct session_event *ev,
		       struct session_effects *fx)
{
	if (s->state == SESSION_OPENING)
		ask_open(s, ev->now_us, fx);
	else if (s->state == SESSION_OPEN && s->awaiting)
		resend_newest(s, ev->now_us, fx);
}

/* What there is of the answer is the answer. */
static void on_deadline(struct session *s, struct session_effects *fx)
{
	char text[MSG_REASON_MAX];

	if (s->n_ids > s->n_prompt) {
		end(s, SESSION_DEADLINE, fx);
		return;
	}
	if (s->state == SESSION_OPENING)
		snprintf(text, sizeof(text),
			 "no worker accepted the session before its deadline%s%.150s",
			 s->reason[0] ? ": " : "", s->reason);
	else
		snprintf(text, sizeof(text), "%s when the session's deadline passed",
			 s->awaiting ? "the worker had not answered"
				     : "the answer was not complete");
	fail(s, ERR_TIMEOUT, text, fx);
}

static void on_tick(struct session *s, const struct session_event *ev, struct session_effects *fx)
{
	if (ev->now_us >= s->conf.deadline_us) {
		on_deadline(s, fx);
		return;
	}
	handover_on_due(s, ev->now_us, fx);
	if (s->handover.way != SESSION_STAYS || fx->side_end)
		advance(s, ev->now_us, fx);
	if (ev->now_us < s->due_us)
		return;
	s->tries++;
	if (s->state == SESSION_OPENING) {
		if (s->tries >= NAMED_TRIES)
			s->worker[0] = '\0';
		s->retries++;
		ask_open(s, ev->now_us, fx);
	} else if (s->awaiting) {
		if (s->tries <= MAX_RESENDS)
			resend_newest(s, ev->now_us, fx);
		else
			reopen(s, ev->now_us, fx);
	}
}

static void on_compute_failed(struct session *s, const struct session_event *ev,
			      struct session_effects *fx)
{
	s->computing = false;
	fail(s, ev->code, ev->reason, fx);
}

static void on_cancel(struct session *s, const struct session_event *ev, struct session_effects *fx)
{
	(void)ev;
	end(s, SESSION_CANCELLED, fx);
}

static void on_decide(struct session *s, const struct session_event *ev, struct session_effects *fx)
{
	if (s->state == SESSION_IDLE || ev->split > s->conf.n_layers)
		return;
	if (s->handover.to != ev->split)
		handover_abandon(s, "another split was decided", fx);
	s->wish = ev->split;
	if (s->handover.way == SESSION_STAYS) /* not of one that goes on */
		s->value_bytes = ev->value_bytes;
	s->alone = ev->alone && ev->split == s->conf.n_layers && s->state != SESSION_LOCAL;
	advance(s, ev->now_us, fx);
}

static void on_side(struct session *s, const struct session_event *ev, struct session_effects *fx)
{
	handover_on_side(s, ev, fx);
	advance(s, ev->now_us, fx);
}

static void on_side_failed(struct session *s, const struct session_event *ev,
			   struct session_effects *fx)
{
	s->handover.out = 0;
	if (s->handover.way == SESSION_STAYS)
		fx->side_end = true;
	handover_abandon(s, "this side cannot", fx);
	advance(s, ev->now_us, fx);
}

typedef void handler(struct session *, const struct session_event *, struct session_effects *);

static handler *const handlers[SESSION_EV_COUNT] = {
	[SESSION_EV_START] = on_start,
	[SESSION_EV_ROWS] = on_rows,
	[SESSION_EV_DRAFT] = draft_on_row,
	[SESSION_EV_LOCAL_TOKEN] = on_local_token,
	[SESSION_EV_COMPUTE_FAILED] = on_compute_failed,
	[SESSION_EV_ACCEPT] = on_accept,
	[SESSION_EV_TOKENS] = on_tokens,
	[SESSION_EV_NEED] = on_need,
	[SESSION_EV_ERROR] = on_error,
	[SESSION_EV_WORKER_LOST] = on_worker_lost,
	[SESSION_EV_LINK_UP] = on_link_up,
	[SESSION_EV_TICK] = on_tick,
	[SESSION_EV_CANCEL] = on_cancel,
	[SESSION_EV_DECIDE] = on_decide,
	[SESSION_EV_SIDE] = on_side,
	[SESSION_EV_SIDE_FAILED] = on_side_failed,
};

static void check(const struct session *s)
{
	assert(s->n_ids <= s->conf.max_ids || s->state == SESSION_ENDED);
	assert(s->computed <= s->n_ids);
	assert(s->next_send <= s->n_chunks);
	assert(!s->n_drafts || (s->awaiting && s->n_ids + s->n_drafts < s->conf.max_ids));
	assert(!s->awaiting || s->state == SESSION_OPEN);
	assert(s->state != SESSION_OPENING || s->due_us != NEVER);
	assert(!s->awaiting || s->due_us != NEVER);
	assert((s->state == SESSION_LOCAL) == (s->conf.split == s->conf.n_layers) ||
	       s->state == SESSION_IDLE || s->state == SESSION_ENDED);
	assert(s->n_fills < SESSION_FILLS || s->handover.way != SESSION_DOWN);
}

void session_step(struct session *s, const struct session_event *ev, struct session_effects *fx)
{
	*fx = (struct session_effects){ 0 };
	if (s->state == SESSION_ENDED) {
		if (ev->kind == SESSION_EV_ROWS || ev->kind == SESSION_EV_LOCAL_TOKEN ||
		    ev->kind == SESSION_EV_COMPUTE_FAILED)
			s->computing = false;
		else if (ev->kind == SESSION_EV_SIDE || ev->kind == SESSION_EV_SIDE_FAILED)
			s->handover.out = 0;
		return;
	}
	s->now_us = ev->now_us;
	handlers[ev->kind](s, ev, fx);
	draft_check(s);
	check(s);
}
