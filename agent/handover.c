#include "agent/handover.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define NEVER        UINT64_MAX
#define MAX_RESENDS  3u   /* of FILL frames, or OPENs, before the handover is given up */
#define MAX_UNACKED  2u   /* frames on their way, ... */
#define MOST_UNACKED 32u  /* ... a prefill's more, where that takes longer than tokens do */
#define LAST_ROWS    4u   /* of a piece that a token may wait for, here or at the worker */
#define END_ROWS     4u   /* left of a prefill: the worker might be catching up */
#define LATE         128u /* tokens that a worker may need to keep up; then they wait for it, ... */
#define LATE_US      500000u /* ... but not before that */
#define TOKENS_A_ROW 8u      /* ... more that may be on its way */
#define SHORT_US     2000u   /* of a trip: a frame beside a row would make it longer */
#define PURSUIT      2u      /* positions for each new row, that side work comes nearer by */

static struct session_fill *current_fill(struct session *s)
{
	return &s->fills[s->n_fills];
}

static void free_fill(struct session_fill *f)
{
	free(f->chunks);
	free(f->log);
	*f = (struct session_fill){ 0 };
}

void handover_finish(struct session *s)
{
	for (unsigned i = 0; i < SESSION_FILLS; i++)
		free_fill(&s->fills[i]);
}

/* Over, whichever way. */
static void stop(struct session *s)
{
	struct session_handover *h = &s->handover;

	h->way = SESSION_STAYS;
	h->holding = h->accepted = false;
	h->due_us = NEVER;
	h->tries = 0;
}

/* What this step had wanted for it is not wanted any more; what it has is released, unless a side
 * effect is out: then when that is back. */
static void take_back(struct session_handover *h, struct session_effects *fx)
{
	if (fx->side)
		h->out = 0;
	fx->side_end |= !fx->side_begin && !h->out;
	fx->side = fx->side_begin = false;
	fx->fill_from = fx->fill_to = 0;
}

void handover_abandon(struct session *s, const char *why, struct session_effects *fx)
{
	struct session_handover *h = &s->handover;

	if (h->way == SESSION_STAYS)
		return;
	if (h->way == SESSION_DOWN)
		free_fill(current_fill(s));
	if (h->way == SESSION_BACK && s->worker[0] && !fx->close) {
		fx->close = true;
		fx->close_epoch = s->epoch;
		memcpy(fx->close_worker, s->worker, sizeof(fx->close_worker));
	}
	if (h->way == SESSION_BACK)
		s->worker[0] = '\0';
	stop(s);
	h->why = why;
	s->wish = s->conf.split;
	s->alone = false;
	take_back(h, fx);
}

/* ---- beginning ------------------------------------------------------------------------------ */

static bool begin_fill(struct session *s)
{
	struct session_fill *f = current_fill(s);

	*f = (struct session_fill){
		.split = s->wish,
		.first_seq = ++s->fill_no << 16 | 1,
		.upto = s->value_bytes ? s->conf.split : 0,
		.cap = s->conf.max_ids * (s->value_bytes ? s->value_bytes : s->conf.row_bytes),
	};
	f->chunks = calloc(s->conf.max_ids, sizeof(*f->chunks));
	f->log = malloc(f->cap);
	if (f->chunks && f->log)
		return true;
	free_fill(f);
	return false;
}

/* A new epoch, and a log of the new split alone. */
static bool begin_back(struct session *s, uint64_t now_us, struct session_effects *fx)
{
	const size_t bytes = s->conf.row_bytes * s->conf.max_ids;
	uint8_t *log = s->conf.log_bytes < bytes ? realloc(s->log, bytes) : s->log;

	if (!log)
		return false;
	s->log = log;
	s->conf.log_bytes = s->conf.log_bytes < bytes ? bytes : s->conf.log_bytes;
	handover_finish(s);
	s->n_fills = 0;
	s->n_chunks = s->next_send = s->newest_seq = 0;
	s->log_len = 0;
	s->need_len = 0;
	s->refill = false;
	s->sampled_from = UINT32_MAX;
	s->epoch++;
	memcpy(s->worker, s->conf.worker, sizeof(s->worker));
	fx->open = true;
	s->handover.opened_at = s->computed;
	s->handover.due_us = now_us + s->conf.accept_us;
	return true;
}

static enum session_way way_to(const struct session *s)
{
	const bool alone = s->wish == s->conf.n_layers;

	if (s->wish > s->conf.split && (s->state == SESSION_OPEN || alone))
		return SESSION_UP;
	if (s->wish < s->conf.split && s->state == SESSION_LOCAL)
		return SESSION_BACK;
	if (s->wish < s->conf.split && s->state == SESSION_OPEN && s->n_fills < SESSION_FILLS)
		return SESSION_DOWN;
	return SESSION_STAYS;
}

static void begin(struct session *s, uint64_t now_us, struct session_effects *fx)
{
	struct session_handover *h = &s->handover;
	const enum session_way way = way_to(s);

	if (way == SESSION_STAYS)
		return;
	*h = (struct session_handover){
		.way = way,
		.from = s->conf.split,
		.to = s->wish,
		.values = way == SESSION_DOWN && s->value_bytes,
		.due_us = NEVER,
		.begun_us = now_us,
	};
	if ((way == SESSION_DOWN && !begin_fill(s)) ||
	    (way == SESSION_BACK && !begin_back(s, now_us, fx))) {
		stop(s);
		s->wish = s->conf.split;
		return;
	}
	fx->side_begin = true;
}

/* ---- side work ------------------------------------------------------------------------------ */

/* Positions that side work may reach: those whose rows are in the log. Who goes on alone draws the
 * newest token's successor itself. */
static uint32_t reach(const struct session *s)
{
	return s->alone && s->computed == s->n_ids ? s->n_ids - 1 : s->computed;
}

/* Of those, what side work has not done. */
static uint32_t left(const struct session *s)
{
	return reach(s) > s->handover.done ? reach(s) - s->handover.done : 0;
}

/* Frames that the worker has not spoken of: of the fill, or of a prefill. */
static uint32_t unacked(const struct session *s)
{
	const struct session_fill *f = &s->fills[s->n_fills];
	const bool back = s->handover.way == SESSION_BACK;
	const struct session_chunk *chunks = back ? s->chunks : f->chunks;
	const uint32_t n_chunks = back ? s->n_chunks : f->n_chunks;
	uint32_t n = 0;

	while (n < n_chunks && chunks[n_chunks - 1 - n].pos >= s->handover.acked)
		n++;
	return n;
}

/* Rows from here on are kept. */
static uint32_t kept_from(const struct session *s)
{
	const struct session_handover *h = &s->handover;
	const uint32_t newest = s->computed > h->kept_rows ? s->computed - h->kept_rows : 0;

	if (!h->kept_rows)
		return UINT32_MAX;
	return newest > h->kept_from ? newest : h->kept_from;
}

/* What is missing at the worker takes no time here. */
static bool streams(const struct session *s)
{
	return s->handover.way == SESSION_BACK && s->handover.done >= kept_from(s);
}

/* As many frames are on their way as may be. More small ones would only keep the others from the
 * processors. */
static bool is_full(const struct session *s)
{
	const struct session_handover *h = &s->handover;
	const bool few = streams(s) && left(s) <= s->conf.kept_side_rows;
	uint32_t most = few ? 1 : MAX_UNACKED;

	if (h->way == SESSION_BACK)
		most += h->trip_rows / s->conf.side_rows;
	return h->way != SESSION_UP && unacked(s) >= (most < MOST_UNACKED ? most : MOST_UNACKED);
}

/* Tokens come so fast that a frame delays the one that it meets: one each goes, behind its row. */
static bool is_short(const struct session *s)
{
	return s->last_rtt_us && s->last_rtt_us < SHORT_US && s->conf.side_rows > PURSUIT;
}

/* The last piece begins when the newest row has just been sent, or while a token waits for it: so
 * no other row comes before it is done. */
static bool may_begin(struct session *s, uint32_t rows, const struct session_effects *fx)
{
	const struct session_handover *h = &s->handover;

	if (is_full(s) && !(h->holding && streams(s)))
		return false;
	if (h->way == SESSION_BACK && h->kept_rows)
		return true; /* those behind it take no time */
	if (h->way == SESSION_DOWN && !h->holding && is_short(s) && fx->send_from == fx->send_to)
		return false;
	/* Beside a worker that computes; a session that is alone computes all the time. */
	if (s->computing && s->state != SESSION_LOCAL)
		return false;
	if (rows > LAST_ROWS || s->alone)
		return true;
	if (h->way == SESSION_DOWN && h->done - h->acked + rows > LAST_ROWS)
		return false;
	return h->holding || (s->state == SESSION_OPEN && fx->send_from < fx->send_to);
}

static void ask_side(struct session *s, struct session_effects *fx)
{
	struct session_handover *h = &s->handover;
	const uint32_t most = streams(s) ? s->conf.kept_side_rows : s->conf.side_rows;
	uint32_t rows = reach(s) > h->done ? reach(s) - h->done : 0;

	if (h->out || !rows || !may_begin(s, rows, fx))
		return;
	if (h->done < h->kept_from && rows > h->kept_from - h->done)
		rows = h->kept_from - h->done;
	if (rows > most)
		rows = most;
	h->out = rows;
	fx->side = true;
	fx->side_first = streams(s);
	fx->side_pos = h->done;
	fx->side_rows = rows;
}

void handover_go_on(struct session *s, uint64_t now_us, struct session_effects *fx)
{
	struct session_handover *h = &s->handover;

	if (s->state == SESSION_ENDED || s->computed < s->n_prompt)
		return;
	if (h->way == SESSION_STAYS && !h->out && s->wish != s->conf.split)
		begin(s, now_us, fx);
	if (h->way != SESSION_STAYS)
		ask_side(s, fx);
}

/* ---- the split moves ------------------------------------------------------------------------ */

static void move_split(struct session *s, struct session_effects *fx)
{
	struct session_handover *h = &s->handover;

	if (h->way == SESSION_DOWN)
		s->fills[s->n_fills++].before = s->n_chunks;
	if (h->way == SESSION_BACK) {
		fx->compute_kept = left(s);
		s->computed = h->done;
	}
	s->conf.split = h->to;
	s->wish = h->to;
	s->alone = false;
	s->handovers++;
	stop(s);
	fx->moved = true;
}

/* The worker that a session goes back to has no more to do than what is always on its way: as far
 * as that is known, and a row more for every few tokens that it was not so. */
static bool keeps_up(const struct session *s)
{
	const struct session_handover *h = &s->handover;
	const uint32_t out = h->done + left(s) - h->acked;

	if (!h->accepted || (h->streamed > LATE && s->now_us - h->streams_us > LATE_US))
		return h->accepted;
	/* Without kept rows nothing counts what is late. */
	return out <= LAST_ROWS + (h->kept_rows ? h->late / TOKENS_A_ROW : h->trip_rows);
}

/* Rows that it lacks can go in one frame with the newest one. */
static bool may_join(const struct session *s)
{
	return streams(s) && left(s) < s->conf.chunk_rows;
}

/* All that has been computed is there as well. What the worker has not spoken of is on its way, and
 * so little that its next rows may wait for it there: they need not wait for the answer here. */
static bool caught_up(const struct session *s)
{
	const struct session_handover *h = &s->handover;

	if (h->out || (h->done < reach(s) && !may_join(s)))
		return false;
	return h->way == SESSION_UP ||
	       (h->way == SESSION_DOWN && h->acked && h->done - h->acked <= LAST_ROWS) ||
	       (h->way == SESSION_BACK && keeps_up(s));
}

/* The last piece is out, or is due. */
static bool nearly(const struct session *s)
{
	const struct session_handover *h = &s->handover;

	if (h->way == SESSION_BACK && !keeps_up(s))
		return false;
	if (h->way == SESSION_BACK && h->kept_rows)
		return streams(s);
	if (left(s) > LAST_ROWS)
		return false;
	if (h->way == SESSION_DOWN && (!h->acked || h->done - h->acked + left(s) > LAST_ROWS))
		return false;
	return h->out == left(s) || (!h->out && s->state == SESSION_LOCAL);
}

/* Tokens could wait for positions that run again here: at the worker's they would not help. */
static bool runs_again(const struct session *s)
{
	if (s->handover.way == SESSION_BACK)
		return !streams(s) && !is_full(s);
	return s->handover.way == SESSION_UP && s->state == SESSION_OPEN;
}

/* Where a position takes about as long as a token, side work would never catch up by what tokens
 * leave: then they wait for it, one or two positions each. */
static bool lags(const struct session *s)
{
	const struct session_handover *h = &s->handover;
	const uint32_t next = h->out ? h->out : s->conf.side_rows;

	return runs_again(s) && h->done && reach(s) > h->done + LAST_ROWS &&
	       h->done + next < PURSUIT * (s->computed - h->since);
}

/* The same at a worker that takes longer for a position than a token takes here, once tokens have
 * had their time: rows would come faster than it takes them for ever. */
static bool lags_there(const struct session *s)
{
	const struct session_handover *h = &s->handover;
	const uint32_t drawn = s->computed - h->since;

	return h->way == SESSION_BACK && h->done && is_full(s) && !streams(s) && drawn > LATE &&
	       h->acked < PURSUIT * (drawn - LATE);
}

bool handover_holds(struct session *s, struct session_effects *fx)
{
	struct session_handover *h = &s->handover;

	if (h->way == SESSION_STAYS || s->computed < s->n_prompt)
		return false;
	if (caught_up(s)) {
		move_split(s, fx);
		return false;
	}
	if (h->tries) /* it was held long enough once */
		return false;
	if (streams(s) && h->accepted && !h->holding) {
		h->streams_us = h->streamed++ ? h->streams_us : s->now_us;
		h->late += left(s) <= END_ROWS;
	}
	h->holding = nearly(s);
	return h->holding || lags(s) || lags_there(s);
}

bool handover_parts(struct session *s, struct session_effects *fx)
{
	if (!s->alone || s->state == SESSION_LOCAL || s->handover.way != SESSION_UP ||
	    s->computing || fx->side_begin || !caught_up(s))
		return false;
	s->computed = s->n_ids - 1;
	move_split(s, fx);
	return true;
}

/* ---- events --------------------------------------------------------------------------------- */

/* Bytes behind those of a log; false when it is full. */
static bool put(uint8_t *log, size_t cap, size_t *len, const struct session_event *ev)
{
	if (ev->len > cap - *len)
		return false;
	if (ev->len)
		memcpy(log + *len, ev->bytes, ev->len);
	*len += ev->len;
	return true;
}

static struct session_chunk chunk_of(const struct session *s, const struct session_event *ev,
				     size_t offset)
{
	return (struct session_chunk){
		.pos = s->handover.done,
		.rows = s->handover.out,
		.codec = ev->codec,
		.state = ev->state,
		.split = (uint16_t)s->handover.to,
		.offset = offset,
		.len = ev->len,
	};
}

static bool put_fill(struct session *s, const struct session_event *ev, struct session_effects *fx)
{
	struct session_handover *h = &s->handover;
	struct session_fill *f = current_fill(s);
	const size_t offset = f->log_len;

	if (f->n_chunks == s->conf.max_ids || f->n_chunks == UINT16_MAX ||
	    !put(f->log, f->cap, &f->log_len, ev))
		return false;
	f->chunks[f->n_chunks++] = chunk_of(s, ev, offset);
	fx->fill = s->n_fills;
	fx->fill_from = f->n_chunks - 1;
	fx->fill_to = f->n_chunks;
	if (h->due_us == NEVER)
		h->due_us = ev->now_us + s->conf.reply_us;
	return true;
}

static bool put_chunk(struct session *s, const struct session_event *ev, struct session_effects *fx)
{
	struct session_handover *h = &s->handover;
	const size_t offset = s->log_len;

	if (s->n_chunks == s->conf.max_ids || !put(s->log, s->conf.log_bytes, &s->log_len, ev))
		return false;
	s->chunks[s->n_chunks] = chunk_of(s, ev, offset);
	s->chunks[s->n_chunks++].seq = ++s->newest_seq;
	if (!h->accepted)
		return true;
	fx->send_from = s->next_send;
	fx->send_to = s->next_send = s->n_chunks;
	if (h->due_us == NEVER)
		h->due_us = ev->now_us + s->conf.reply_us;
	return true;
}

void handover_on_side(struct session *s, const struct session_event *ev, struct session_effects *fx)
{
	struct session_handover *h = &s->handover;
	bool ok = true;

	if (!h->out)
		return;
	if (h->way == SESSION_DOWN)
		ok = put_fill(s, ev, fx);
	else if (h->way == SESSION_BACK)
		ok = put_chunk(s, ev, fx);
	if (!h->done)
		h->since = s->computed;
	h->done += h->out;
	h->bytes += ev->len;
	h->out = 0;
	if (h->way == SESSION_STAYS)
		fx->side_end = true;
	else if (!ok)
		handover_abandon(s, "the log has no room for it", fx);
}

void handover_on_need(struct session *s, const struct msg_need *n, uint64_t now_us)
{
	struct session_handover *h = &s->handover;

	const bool down = h->way == SESSION_DOWN && s->state == SESSION_OPEN;
	const bool back = h->way == SESSION_BACK && h->accepted;
	const uint32_t len = n->has_fill ? n->fill_len : n->kv_len;

	if ((!down && !back) || n->epoch != s->epoch || n->has_fill != down || len > h->done ||
	    (down && n->fill_split != h->to) || (back && len < h->acked))
		return;
	if (len > h->acked)
		h->tries = 0;
	h->acked = len;
	h->due_us = h->acked == h->done ? NEVER : now_us + s->conf.reply_us;
}

bool handover_on_accept(struct session *s, const struct msg_accept *a, uint64_t now_us,
			struct session_effects *fx)
{
	struct session_handover *h = &s->handover;

	if (h->way != SESSION_BACK || h->accepted || a->epoch != s->epoch)
		return false;
	memcpy(s->worker, a->worker, sizeof(s->worker));
	if (a->max_packet_bytes < s->conf.packet_bytes || a->context_tokens < s->conf.max_ids) {
		handover_abandon(s, "the worker takes less than this session has", fx);
		return true;
	}
	h->accepted = true;
	s->drafts = a->drafts;
	h->trip_rows = s->computed - h->opened_at;
	h->tries = 0;
	h->due_us = s->n_chunks ? now_us + s->conf.reply_us : NEVER;
	fx->send_from = s->next_send;
	fx->send_to = s->next_send = s->n_chunks;
	return true;
}

void handover_on_due(struct session *s, uint64_t now_us, struct session_effects *fx)
{
	struct session_handover *h = &s->handover;
	const struct session_fill *f = current_fill(s);

	if (h->way == SESSION_STAYS || now_us < h->due_us)
		return;
	h->holding = false;
	if (++h->tries > MAX_RESENDS) {
		handover_abandon(s, "the worker did not answer", fx);
		return;
	}
	s->retries++;
	if (h->way == SESSION_BACK && !h->accepted) {
		fx->open = true;
		h->opened_at = s->computed;
		h->due_us = now_us + s->conf.accept_us;
		return;
	}
	h->due_us = now_us + (s->conf.reply_us << h->tries);
	if (h->way == SESSION_BACK) {
		fx->send_from = s->n_chunks - unacked(s);
		fx->send_to = s->n_chunks;
		return;
	}
	fx->fill = s->n_fills;
	fx->fill_to = f->n_chunks;
	fx->fill_from = f->n_chunks - unacked(s);
}
