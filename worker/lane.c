#include "worker/lane.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/kv_type.h"

#define BIT(n)       (1u << (n))

#define FILL_IDLE_US 30000000u /* a fill that is not gone on with gives its memory back */

static const unsigned next_states[LANE_NSTATES] = {
	[LANE_FREE] = BIT(LANE_SERVING),
	[LANE_SERVING] = BIT(LANE_DRAINING) | BIT(LANE_FREE),
	[LANE_DRAINING] = BIT(LANE_FREE),
};

/* The only place that writes l->state. */
static void move(struct lane *l, enum lane_state to)
{
	assert(next_states[l->state] & BIT(to));
	l->state = to;
}

int lane_init(struct lane *l, const struct lane_limits *lim)
{
	*l = (struct lane){ .generated_pos = UINT32_MAX };
	l->generated = calloc(lim->context_tokens, sizeof(*l->generated));
	return l->generated ? 0 : ERR_NOMEM;
}

void lane_finish(struct lane *l)
{
	free(l->generated);
	l->generated = NULL;
}

int lane_admit(const struct lane_limits *lim, const struct msg_open *open,
	       char reason[static MSG_REASON_MAX])
{
	if (strcmp(open->model, lim->model)) {
		snprintf(reason, MSG_REASON_MAX, "worker %s serves model %.32s, not %.32s",
			 lim->worker, lim->model, open->model);
		return ERR_MODEL_MISMATCH;
	}
	if (open->dim != lim->dim) {
		snprintf(reason, MSG_REASON_MAX, "rows of %u elements do not fit a model of %u",
			 open->dim, lim->dim);
		return ERR_MODEL_MISMATCH;
	}
	if (open->split < lim->first_layer || open->split > lim->n_layers) {
		snprintf(reason, MSG_REASON_MAX,
			 "split %u is outside %u..%u, the splits worker %s can serve", open->split,
			 lim->first_layer, lim->n_layers, lim->worker);
		return ERR_REFUSED;
	}
	if (open->calibration[0] && strcmp(open->calibration, lim->calibration)) {
		snprintf(reason, MSG_REASON_MAX,
			 "worker %s has %s%s, the agent %s: both need the same MODEL.cal",
			 lim->worker, lim->calibration[0] ? "calibration " : "no calibration",
			 lim->calibration, open->calibration);
		return ERR_REFUSED;
	}
	return 0;
}

/* No job out: free at once; else when the last one comes back. */
static void release(struct lane *l, struct lane_effects *fx)
{
	if (l->state == LANE_SERVING && l->jobs)
		move(l, LANE_DRAINING);
	else if (!l->jobs) {
		move(l, LANE_FREE);
		fx->freed = true;
	}
}

static void refuse(struct lane_effects *fx, uint32_t epoch, uint32_t seq, int code, const char *why)
{
	fx->error = code;
	fx->error_epoch = epoch;
	fx->error_seq = seq;
	snprintf(fx->reason, sizeof(fx->reason), "%s", why);
}

static uint32_t granted(const struct lane_limits *lim, const struct msg_open *open)
{
	return open->context_tokens < lim->context_tokens ? open->context_tokens
							  : lim->context_tokens;
}

static void begin_epoch(struct lane *l, const struct lane_limits *lim, const struct lane_event *ev,
			struct lane_effects *fx)
{
	l->open = *ev->open;
	l->context_tokens = granted(lim, ev->open);
	l->planned_len = 0;
	l->last_seq = l->n_answers = 0;
	l->drafts = l->void_seq = 0;
	l->split = l->open.split;
	l->change_seq = 0;
	l->fill_seq = l->fill_no = l->fill_done = 0;
	l->fill_jobs = 0;
	fx->side_over = l->side;
	l->side = l->filling = false;
	l->generated_pos = UINT32_MAX;
	l->n_generated =
		l->open.n_history < lim->context_tokens ? l->open.n_history : lim->context_tokens;
	memcpy(l->generated, l->open.history, l->n_generated * sizeof(*l->generated));
	fx->reset = true;
	fx->accept = true;
}

static void on_open(struct lane *l, const struct lane_limits *lim, const struct lane_event *ev,
		    struct lane_effects *fx)
{
	if (l->state == LANE_FREE) {
		snprintf(l->agent, sizeof(l->agent), "%s", ev->agent);
		move(l, LANE_SERVING);
		begin_epoch(l, lim, ev, fx);
	} else if (l->state == LANE_SERVING && ev->open->epoch == l->open.epoch) {
		fx->accept = true; /* repeated: the first ACCEPT was lost */
	} else if (l->state == LANE_SERVING && ev->open->epoch > l->open.epoch) {
		if (l->jobs && (ev->open->split != l->split || l->change_seq || l->side ||
				strcmp(ev->open->kv, l->open.kv) != 0 ||
				granted(lim, ev->open) != l->context_tokens))
			refuse(fx, ev->open->epoch, 0, ERR_BUSY,
			       "rows of the earlier epoch still run");
		else
			begin_epoch(l, lim, ev, fx);
	} else if (l->state == LANE_DRAINING) {
		refuse(fx, ev->open->epoch, 0, ERR_BUSY, "the session is being cleared away");
	}
}

/* The driver's header check has been done; is this chunk for us, and in shape? */
static int check_rows(const struct lane *l, const struct lane_limits *lim, const struct wire_hdr *h,
		      const char **why)
{
	if (h->kind == WIRE_KV && h->dim != lim->kv_elements) {
		*why = "keys and values of another model";
		return ERR_MODEL_MISMATCH;
	}
	if (h->kind == WIRE_KV && (h->state != l->split || h->codec >= KV_TYPE_COUNT)) {
		*why = "keys and values of a type or of layers that do not fit";
		return ERR_UNSUPPORTED;
	}
	if (h->kind == WIRE_ROWS && h->dim != l->open.dim) {
		*why = "rows of another model";
		return ERR_MODEL_MISMATCH;
	}
	if (h->split < lim->first_layer || h->split > lim->n_layers) {
		*why = "rows of a split that this worker cannot serve";
		return ERR_STATE;
	}
	if (h->rows > lim->max_rows) {
		*why = "more rows in one frame than this worker takes";
		return ERR_LIMIT;
	}
	if (h->rows > l->context_tokens || h->pos > l->context_tokens - h->rows) {
		*why = "rows beyond the context";
		return ERR_CONTEXT;
	}
	return 0;
}

/* ---- a fill --------------------------------------------------------------------------------- */

/* How far it is, when the frame asks; seq 0: it is a FILL frame. */
static void tell(struct lane *l, const struct wire_hdr *h, uint32_t seq, struct lane_effects *fx)
{
	fx->need = h->flags & (WIRE_SAMPLE | WIRE_TELL);
	fx->need_seq = h->flags & WIRE_TELL ? 0 : seq;
	fx->need_len = l->planned_len;
	if (h->flags & WIRE_TELL)
		return;
	fx->need_fill = l->filling || !seq;
	fx->need_fill_split = l->filling ? l->fill_split : h->split;
	fx->need_fill_len = l->filling ? l->fill_len : 0;
}

/* It was not joined: it, or an older one, may come again. */
static void forget_fill(struct lane *l)
{
	l->filling = false;
	l->fill_no = l->fill_done;
	l->fill_seq = 0;
}

static void end_fill(struct lane *l, struct lane_effects *fx)
{
	if (l->filling)
		forget_fill(l);
	if (l->fill_jobs || !l->side)
		return; /* when the last of them is back */
	l->side = false;
	fx->side_over = true;
}

/* What went wrong ends the fill, nothing else. */
static void refuse_fill(struct lane *l, uint32_t seq, int code, const char *why,
			struct lane_effects *fx)
{
	refuse(fx, l->open.epoch, seq, code, why);
	fx->error_again = true;
	end_fill(l, fx);
}

/* The first frame of a fill: have a cache for it. False: not now. */
static bool begin_fill(struct lane *l, const struct wire_hdr *h, struct lane_effects *fx)
{
	if (l->side && l->fill_jobs)
		return false;
	if (l->side && l->change_seq)
		return false; /* it is being joined, or another is about to be given up */
	fx->side_over = l->side;
	fx->side = true;
	l->side = l->filling = true;
	l->fill_split = h->split;
	l->fill_no = LANE_FILL_NO(h->seq);
	l->fill_len = 0;
	return true;
}

static void on_fill(struct lane *l, const struct lane_limits *lim, const struct lane_event *ev,
		    struct lane_effects *fx)
{
	const struct wire_hdr *h = ev->hdr;
	const uint32_t no = LANE_FILL_NO(h->seq);
	const bool other = !l->filling || no != l->fill_no;
	const char *why = NULL;
	int rc;

	if (no <= l->fill_done || no < l->fill_no || h->split >= l->split ||
	    (!other && h->split != l->fill_split) || l->jobs >= LANE_MAX_JOBS)
		return; /* late, or too much at once */
	if (!other && h->seq <= l->fill_seq) {
		if (!l->fill_jobs)
			tell(l, h, 0, fx);
		return;
	}
	if (h->pos > (other ? 0 : l->fill_len)) {
		tell(l, h, 0, fx);
		return;
	}
	rc = check_rows(l, lim, h, &why);
	if (rc) {
		refuse_fill(l, h->seq, rc, why, fx);
		return;
	}
	if (other && !begin_fill(l, h, fx))
		return;
	l->fill_seq = h->seq;
	l->fill_len = h->pos + h->rows;
	l->filled_us = ev->now_us;
	l->fill_jobs++;
	l->jobs++;
	fx->run = true;
}

/* Rows at another split than those before: can the cache follow? */
static bool moves(struct lane *l, const struct wire_hdr *h, struct lane_effects *fx)
{
	const bool up = h->split > l->split;

	if (l->change_seq)
		return false;
	if (!up && l->filling && (l->fill_split != h->split || l->fill_len > h->pos))
		forget_fill(l); /* another one belongs here */
	if (!up && (!l->filling || l->fill_len != h->pos))
		return false;
	l->split = h->split;
	l->change_seq = h->seq;
	if (up)
		forget_fill(l); /* not its neighbour any more */
	else
		l->fill_done = l->fill_no;
	l->filling = false;
	fx->change = true;
	fx->join = !up;
	return true;
}

/* ---- answers, and rows whose tokens are guessed --------------------------------------------- */

static const struct lane_answer *answer_of(const struct lane *l, uint32_t seq)
{
	for (uint32_t i = 0; i < l->n_answers && i < LANE_ANSWERS; i++) {
		if (l->answers[i].seq == seq)
			return &l->answers[i];
	}
	return NULL;
}

static void publish(struct lane *l, const struct lane_answer *a, struct lane_effects *fx)
{
	l->answer = (struct msg_tokens){
		.session = l->open.session,
		.epoch = l->open.epoch,
		.seq = a->seq,
		.pos = a->pos,
		.ids = { a->id },
		.n_ids = 1,
		.end = a->end,
		.queue_us = a->queue_us,
		.compute_us = a->compute_us,
	};
	fx->answer = true;
}

/* The penalty's history: tokens by position, so that a repeated position overwrites. Those behind
 * it are drafts; they stay where it is the token that they follow on. */
static void remember(struct lane *l, const struct lane_limits *lim, uint32_t pos, uint32_t id)
{
	uint32_t known;

	if (lane_token_at(l, pos, &known) && known == id)
		return;
	if (l->generated_pos == UINT32_MAX || pos < l->generated_pos ||
	    pos - l->generated_pos > l->n_generated)
		l->generated_pos = pos - (pos < l->n_generated ? pos : l->n_generated);
	if (pos - l->generated_pos >= lim->context_tokens)
		return;
	l->generated[pos - l->generated_pos] = id;
	l->n_generated = pos - l->generated_pos + 1;
}

/* Those of drafts that have never been. */
static void forget_tokens(struct lane *l, uint32_t pos)
{
	if (l->generated_pos < pos && l->n_generated > pos - l->generated_pos)
		l->n_generated = pos - l->generated_pos;
}

/* What was taken for positions from pos on has never been. */
static void cut(struct lane *l, uint32_t pos)
{
	l->void_seq = l->last_seq;
	l->planned_len = pos;
	l->drafts = 0;
}

static bool is_void(const struct lane *l, const struct lane_event *ev)
{
	return ev->seq <= l->void_seq;
}

/* A token was sampled: is it that of the draft which follows, if one does? */
static void judge_drafts(struct lane *l, const struct lane_event *ev)
{
	uint32_t id;

	if (ev->pos >= l->planned_len || l->planned_len - ev->pos > l->drafts)
		return;
	if (ev->end || !lane_token_at(l, ev->pos, &id) || id != ev->id)
		cut(l, ev->pos);
}

/* May it be taken? It follows on the chunk before it, or on nothing. */
static bool fits_draft(struct lane *l, const struct lane_event *ev, struct lane_effects *fx)
{
	const struct wire_hdr *h = ev->hdr;
	const struct lane_answer *before = answer_of(l, h->seq - 1);

	if (h->seq - 1 <= l->void_seq) { /* on what has never been */
		l->void_seq = h->seq > l->void_seq ? h->seq : l->void_seq;
		return false;
	}
	if (h->seq - 1 != l->last_seq || h->pos != l->planned_len || h->split != l->split) {
		tell(l, h, h->seq, fx);
		if (fx->need_len >= h->pos)
			fx->need_len = h->pos - 1; /* not at 0: schema/wire */
		return false;
	}
	if (before && (before->id != ev->id || before->end)) {
		l->void_seq = h->seq;
		return false;
	}
	return true;
}

static void take(struct lane *l, const struct lane_limits *lim, const struct lane_event *ev,
		 struct lane_effects *fx)
{
	const struct wire_hdr *h = ev->hdr;
	const bool draft = h->flags & WIRE_DRAFT;

	if (h->pos < l->planned_len)
		cut(l, h->pos);
	forget_tokens(l, h->pos + h->rows);
	if (draft)
		remember(l, lim, h->pos, ev->id);
	l->drafts = draft ? l->drafts + 1 : 0;
	l->last_seq = h->seq;
	l->planned_len = h->pos + h->rows;
	l->jobs++;
	fx->run = true;
}

/* A chunk that was taken before. */
static void repeat(struct lane *l, const struct wire_hdr *h, struct lane_effects *fx)
{
	const struct lane_answer *a = answer_of(l, h->seq);

	if (a)
		publish(l, a, fx);
	if (h->flags & WIRE_TELL && !l->jobs)
		tell(l, h, 0, fx);
}

static void on_rows(struct lane *l, const struct lane_limits *lim, const struct lane_event *ev,
		    struct lane_effects *fx)
{
	const struct wire_hdr *h = ev->hdr;
	const char *why = NULL;
	int rc;

	if (l->state != LANE_SERVING || h->epoch < l->open.epoch)
		return;
	if (h->epoch > l->open.epoch) { /* its OPEN was lost */
		refuse(fx, h->epoch, h->seq, ERR_STATE, "rows of an epoch that was not opened");
		return;
	}
	if (wire_is_fill(h)) {
		on_fill(l, lim, ev, fx);
		return;
	}
	if (h->seq <= l->last_seq) {
		repeat(l, h, fx);
		return;
	}
	if (h->flags & WIRE_DRAFT && !fits_draft(l, ev, fx))
		return;
	if (h->pos > l->planned_len) {
		tell(l, h, h->seq, fx);
		return;
	}
	if (l->jobs >= LANE_MAX_JOBS)
		return; /* one agent must not take the worker: NEED will bring them back */
	rc = check_rows(l, lim, h, &why);
	if (rc) {
		refuse(fx, h->epoch, h->seq, rc, why);
		release(l, fx);
		return;
	}
	if (h->split != l->split && !moves(l, h, fx)) {
		tell(l, h, h->seq, fx);
		return;
	}
	take(l, lim, ev, fx);
}

bool lane_token_at(const struct lane *l, uint32_t pos, uint32_t *id)
{
	if (l->generated_pos == UINT32_MAX || pos < l->generated_pos ||
	    pos - l->generated_pos >= l->n_generated)
		return false;
	*id = l->generated[pos - l->generated_pos];
	return true;
}

static void came_back(struct lane *l, bool fill)
{
	assert(l->jobs && (!fill || l->fill_jobs));
	l->jobs--;
	l->fill_jobs -= fill;
}

/* A job of a fill is back; its epoch cannot be an older one. */
static void fill_came_back(struct lane *l, const struct lane_event *ev, struct lane_effects *fx)
{
	if (ev->kind == LANE_EV_FAILED && l->filling) {
		refuse_fill(l, ev->seq, ev->code, ev->reason, fx);
	} else if (!l->filling && !l->change_seq) {
		end_fill(l, fx);
	} else if (l->filling && ev->sampled) {
		fx->need = fx->need_fill = true;
		fx->need_len = l->planned_len;
		fx->need_fill_split = l->fill_split;
		fx->need_fill_len = ev->pos;
	}
}

/* The job that moved the split is back. */
static void change_came_back(struct lane *l, const struct lane_event *ev, struct lane_effects *fx)
{
	if (!l->change_seq || ev->seq != l->change_seq)
		return;
	l->change_seq = 0;
	fx->changed = true;
	if (!l->filling)
		end_fill(l, fx);
}

static void on_computed(struct lane *l, const struct lane_limits *lim, const struct lane_event *ev,
			struct lane_effects *fx)
{
	struct lane_answer *a;

	came_back(l, ev->fill);
	if (l->state == LANE_DRAINING) {
		release(l, fx);
		return;
	}
	if (ev->fill) {
		fill_came_back(l, ev, fx);
		return;
	}
	change_came_back(l, ev, fx);
	if (ev->epoch == l->open.epoch && ev->tell) {
		fx->need = true;
		fx->need_len = ev->pos;
	}
	if (ev->epoch != l->open.epoch || !ev->sampled || is_void(l, ev))
		return;
	judge_drafts(l, ev);
	remember(l, lim, ev->pos, ev->id);
	a = &l->answers[l->n_answers++ % LANE_ANSWERS];
	*a =
		(struct lane_answer){ ev->seq, ev->pos,      ev->id,
				      ev->end, ev->queue_us, ev->compute_us };
	publish(l, a, fx);
}

static void on_failed(struct lane *l, const struct lane_limits *lim, const struct lane_event *ev,
		      struct lane_effects *fx)
{
	(void)lim;
	came_back(l, ev->fill);
	if (l->state == LANE_SERVING && ev->fill) {
		fill_came_back(l, ev, fx);
		return;
	}
	if (l->state == LANE_SERVING && (ev->epoch != l->open.epoch || is_void(l, ev)))
		return;
	if (l->state == LANE_SERVING)
		refuse(fx, ev->epoch, ev->seq, ev->code, ev->reason);
	release(l, fx);
}

static void on_no_side(struct lane *l, const struct lane_limits *lim, const struct lane_event *ev,
		       struct lane_effects *fx)
{
	(void)lim;
	came_back(l, true);
	refuse_fill(l, ev->seq, ev->code, ev->reason, fx);
}

static void on_close(struct lane *l, const struct lane_limits *lim, const struct lane_event *ev,
		     struct lane_effects *fx)
{
	(void)lim;
	if (l->state == LANE_SERVING && ev->epoch >= l->open.epoch)
		release(l, fx);
}

static void on_evict(struct lane *l, const struct lane_limits *lim, const struct lane_event *ev,
		     struct lane_effects *fx)
{
	(void)lim;
	(void)ev;
	if (l->state == LANE_SERVING && !l->jobs)
		release(l, fx);
}

static void on_tick(struct lane *l, const struct lane_limits *lim, const struct lane_event *ev,
		    struct lane_effects *fx)
{
	if (l->state == LANE_SERVING && !l->jobs && ev->now_us - l->touched_us >= lim->idle_us)
		release(l, fx);
	else if (l->filling && ev->now_us - l->filled_us >= FILL_IDLE_US)
		end_fill(l, fx);
}

typedef void handler(struct lane *, const struct lane_limits *, const struct lane_event *,
		     struct lane_effects *);

static handler *const handlers[LANE_EV_COUNT] = {
	[LANE_EV_OPEN] = on_open,         [LANE_EV_ROWS] = on_rows,
	[LANE_EV_COMPUTED] = on_computed, [LANE_EV_FAILED] = on_failed,
	[LANE_EV_CLOSE] = on_close,       [LANE_EV_EVICT] = on_evict,
	[LANE_EV_TICK] = on_tick,         [LANE_EV_NO_SIDE] = on_no_side,
};

void lane_step(struct lane *l, const struct lane_limits *lim, const struct lane_event *ev,
	       struct lane_effects *fx)
{
	*fx = (struct lane_effects){ 0 };
	handlers[ev->kind](l, lim, ev, fx);
	if (ev->kind != LANE_EV_TICK)
		l->touched_us = ev->now_us;
	assert(l->state != LANE_FREE || !l->jobs);
	assert(l->fill_jobs <= l->jobs && (!l->filling || l->side));
}
