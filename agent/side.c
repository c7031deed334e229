#include "agent/side.h"

#include <assert.h>
#include <stdlib.h>

#include "agent/carry.h"
#include "base/log.h"

#define SIDE_SHARE 0.25 /* of a token's time, that a step of a piece may take */

/* Rows, one of which takes so long, of which a step is no longer than that. */
static double short_rows(const struct slot *sl, double row_us)
{
	const struct slot_times *t = &sl->times;
	const uint32_t n = sl->session.n_ids - sl->session.n_prompt;

	if (row_us <= 0 || n < 2 || t->last_token_us <= t->first_token_us)
		return HEAD_SPARE_ROWS;
	return SIDE_SHARE * (double)(t->last_token_us - t->first_token_us) / (n - 1) / row_us;
}

uint32_t side_kept_rows(const struct slot *sl)
{
	const double rows = short_rows(sl, sl->side_encode_us);
	uint32_t most = sl->session.conf.chunk_rows;

	if (most > HEAD_SPARE_ROWS)
		most = HEAD_SPARE_ROWS;
	if (rows < 1)
		return 1;
	return rows < (double)most ? (uint32_t)rows : most;
}

uint32_t side_rows(const struct slot *sl)
{
	const size_t value_bytes = sl->session.value_bytes;
	const double rows = short_rows(sl, sl->side_row_us);
	size_t most = HEAD_SPARE_ROWS; /* also of values: the next piece may be of another kind */

	if (value_bytes && most > SIDE_FRAME_BYTES / value_bytes)
		most = SIDE_FRAME_BYTES / value_bytes;
	if (most > sl->session.conf.chunk_rows)
		most = sl->session.conf.chunk_rows;
	if (most < 1 || rows < 1)
		return 1;
	return rows < (double)most ? (uint32_t)rows : (uint32_t)most;
}

static const char *way_name(const struct session_handover *h)
{
	static const char *const names[] = {
		[SESSION_STAYS] = "",
		[SESSION_UP] = "again",
		[SESSION_DOWN] = "rows",
		[SESSION_BACK] = "prefill",
	};

	return h->values ? "kv" : names[h->way];
}

void side_release(struct agent_core *c, struct slot *sl)
{
	if (sl->side_ready)
		c->ops.side_end(c->ops.ctx, &sl->side);
	sl->side_ready = sl->side_leaves = false;
}

void side_leave(struct agent_core *c, struct slot *sl, bool moved)
{
	if (sl->side_leaves && !moved)
		side_release(c, sl);
	sl->side_leaves |= moved;
}

/* Most that a position takes on its way, and in the session's memory. */
static size_t position_bytes(const struct slot *sl)
{
	const struct session_handover *h = &sl->session.handover;

	if (h->values)
		return sl->session.value_bytes;
	return h->to < h->from ? sl->row_bytes : 0;
}

static int begin_side(struct agent_core *c, struct slot *sl, struct err *e)
{
	struct session_handover *h = &sl->session.handover;
	struct head_job *side = &sl->side;
	int rc;

	side_release(c, sl); /* of one before it, whose split has just moved */
	free(side->bytes);
	*side = (struct head_job){
		.slot = sl->job.slot,
		.side = true,
		.kept = side->kept,
		.encode = h->to < h->from && !h->values,
		.codec = *slot_codec(sl),
		.cap = position_bytes(sl) * sl->session.conf.chunk_rows,
	};
	side->bytes = malloc(side->cap + 1);
	if (!side->bytes)
		return err_set(e, ERR_NOMEM, "pieces of a handover");
	sl->side_row_us = sl->side_encode_us = 0;
	sl->move = (struct agent_move){ .from = h->from,
					.to = h->to,
					.values = h->values,
					.same_log = h->way == SESSION_BACK,
					.context_tokens = sl->kv_context,
					.log_bytes = position_bytes(sl) * sl->kv_context,
					.type = sl->kv_type };
	rc = c->ops.side_begin(c->ops.ctx, &sl->job, side, &sl->move, e);
	sl->side_ready = !rc;
	if (!rc && side->kept && !h->values) { /* not those of a job that is out */
		h->kept_rows = HEAD_KEPT;
		h->kept_from = sl->session.computing ? sl->session.n_ids : sl->session.computed;
	}
	return rc;
}

static int start_side(struct agent_core *c, struct slot *sl, const struct session_effects *fx,
		      uint64_t now_us, struct err *e)
{
	struct head_job *side = &sl->side;

	side->front = slot_front(c, sl->move.to > sl->move.from ? sl->move.to : sl->move.from);
	side->pos = fx->side_pos;
	side->rows = fx->side_rows;
	side->ids = sl->session.ids + fx->side_pos;
	side->tell_ids = side->pos >= sl->session.n_prompt || side->codec.predict == SPEC_TOKENS;
	side->queued_us = now_us;
	if (c->ops.submit(c->ops.ctx, side))
		return 0;
	return err_set(e, ERR_BUSY, "the compute queue is full");
}

static void log_begun(const struct slot *sl)
{
	log_event(LOG_LEVEL_INFO, "handover.begun", "id=%s from=%u to=%u how=%s positions=%u",
		  sl->id, sl->move.from, sl->move.to, way_name(&sl->session.handover),
		  sl->session.computed);
}

void side_move(struct agent_core *c, struct slot *sl, uint32_t kept, uint64_t now_us)
{
	assert(!sl->recast.out); /* its jobs were before those of the move */
	c->ops.side_moved(c->ops.ctx, &sl->job, &sl->side, &sl->move, sl->session.computed + kept);
	sl->moved_us = now_us;
	sl->token_before_us = sl->times.last_token_us;
}

void side_note_token(struct slot *sl, uint64_t now_us)
{
	const struct session_handover *h = &sl->session.handover;
	const uint64_t before = sl->token_before_us ? sl->token_before_us : now_us;

	log_event(LOG_LEVEL_INFO, "handover.done",
		  "id=%s from=%u to=%u bytes=%llu took_ms=%.1f pause_ms=%.2f", sl->id,
		  sl->move.from, sl->move.to, (unsigned long long)h->bytes,
		  (double)(sl->moved_us - h->begun_us) / 1000, (double)(now_us - before) / 1000);
	sl->moved_us = 0;
}

int side_run(struct agent_core *c, struct slot *sl, const struct session_effects *fx,
	     uint64_t now_us, struct err *e)
{
	int rc = 0;

	if (fx->side_end) {
		side_release(c, sl);
		if (sl->session.handover.why)
			log_event(LOG_LEVEL_WARN, "handover.abandoned",
				  "id=%s from=%u to=%u reason=%s", sl->id, sl->move.from,
				  sl->move.to, LOG_QUOTED(sl->session.handover.why));
	}
	if (fx->side_begin) {
		rc = begin_side(c, sl, e);
		log_begun(sl);
	}
	if (!rc && fx->side)
		rc = start_side(c, sl, fx, now_us, e);
	return rc;
}

void side_note(struct slot *sl, const struct head_job *job)
{
	const double us = (double)job->step_us / job->rows;
	const double encode_us = (double)job->encode_us / job->rows;

	if (job->ran || sl->side_row_us <= 0)
		sl->side_row_us = sl->side_row_us > 0 ? (sl->side_row_us + us) / 2 : us;
	sl->side_encode_us =
		sl->side_encode_us > 0 ? (sl->side_encode_us + encode_us) / 2 : encode_us;
}

size_t side_value_bytes(const struct agent_core *c, const struct slot *sl, uint32_t split,
			size_t room)
{
	const struct session *s = &sl->session;
	const uint32_t rows = s->computed ? s->computed : 1;
	struct msg_speed speed;
	struct carry carry = {
		.positions = rows,
		.from = s->conf.split,
		.to = split,
		.row_bytes = s->log_len / rows,
		.frame_bytes = room < SIDE_FRAME_MAX ? room : SIDE_FRAME_MAX,
		.byte_us = c->meter.up_ms * 1000,
	};
	struct carry_cost cost;

	if (split >= carry.from || s->conf.local)
		return 0;
	meter_speed(&c->meter, 0, &speed);
	carry.layer_us = speed.layer_row_ms * 1000;
	carry.value_bytes = c->conf.kv_position_bytes[sl->kv_type] * (carry.from - split);
	cost = carry_choose(&carry);
	log_event(LOG_LEVEL_INFO, "handover.chosen",
		  "id=%s from=%u to=%u rows_ms=%.1f kv_ms=%.1f how=%s", sl->id, carry.from, split,
		  cost.rows_us / 1000, cost.values_us / 1000, cost.values ? "kv" : "rows");
	return cost.values ? carry.value_bytes : 0;
}
