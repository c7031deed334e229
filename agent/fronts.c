#include "agent/fronts.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/profile.h"
#include "base/background.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/inbox.h"

#define LOAD_STEP_US      100u  /* so long a thread that wakes may have to wait */
#define LOAD_LONG_STEP_US 1000u /* where giving up the processor costs more than that */

enum front_state { FRONT_ABSENT, FRONT_LOADING, FRONT_READY };

struct front {
	char name[MSG_FRONT_MAX];
	const char *path;       /* NULL: the first one */
	enum front_state state; /* of the first one: ABSENT when another took its place */
	uint32_t layers;        /* [0, layers) */
	uint64_t *layer_bytes;  /* [layers]; owned */
	uint64_t head_bytes;    /* 0: it has no head */
	uint64_t bytes;         /* booked for it, once it is loading */
	struct segment seg;     /* FRONT_READY; of the first one unused */
	struct segment_ask ask; /* with which it was found to fit */
};

struct fronts {
	const struct config_agent *conf;
	struct head *head;
	struct segment *first; /* the agent's own segment */
	struct queue *inbox;
	struct front list[MSG_FRONTS_MAX];
	unsigned n, wish, used;
	unsigned base; /* of those who name none */
	bool waits;    /* the wish is for the place of what sessions use */
	bool swapped;  /* `used` was given back for the wish */
	/* of the load that goes on; the thread's from its start to its item */
	unsigned loading; /* 0: none */
	pthread_t thread;
	struct inbox_item *item;
	int rc;
	struct err err;
};

static int measure(struct front *fr, const struct gguf *g, const struct model_hparams *hp,
		   const struct model_slice *slice, struct err *e)
{
	const uint32_t n = hp->n_layers;
	const struct model_conf head = { .first = n, .last = n, .head = true };

	fr->layers = slice->last;
	fr->layer_bytes = calloc(fr->layers + 1u, sizeof(*fr->layer_bytes));
	if (!fr->layer_bytes)
		return err_set(e, ERR_NOMEM, "front %s", fr->name);
	for (uint32_t i = 0; i < fr->layers; i++)
		fr->bytes += fr->layer_bytes[i] = model_layer_bytes(g, hp, i);
	if (slice->last == n)
		fr->bytes += fr->head_bytes = model_weight_bytes(g, hp, &head);
	return 0;
}

/* The same model in another precision, from its first layer on. */
static int check_kin(const struct fronts *f, const struct gguf *g, const struct model_hparams *hp,
		     const struct model_slice *slice, struct err *e)
{
	const struct model_hparams *own = &f->first->hp;
	char source[GGUF_HASH_LEN + 1], ours[GGUF_HASH_LEN + 1];
	int rc = gguf_source(g, source, e);

	if (!rc)
		rc = gguf_source(f->first->gguf, ours, e);
	if (rc)
		return rc;
	if (strcmp(source, ours))
		return err_set(e, ERR_MODEL_MISMATCH,
			       "it was not made of this agent's model (%s, not %s)", source, ours);
	if (hp->n_layers != own->n_layers || hp->dim != own->dim || hp->n_vocab != own->n_vocab ||
	    hp->n_kv_heads != own->n_kv_heads || hp->head_dim != own->head_dim ||
	    hp->head_dim_v != own->head_dim_v)
		return err_set(e, ERR_MODEL_MISMATCH, "its shape is another than the model's");
	if (slice->first)
		return err_set(e, ERR_CONFIG, "it begins with layer %u, not with the first",
			       slice->first);
	return 0;
}

static int look_at(struct fronts *f, struct front *fr, struct err *e)
{
	struct model_slice slice;
	struct model_hparams hp;
	struct gguf *g = NULL;
	int rc = gguf_open(&g, fr->path, e);

	if (!rc)
		rc = model_read_hparams(&hp, g, e);
	if (!rc)
		rc = model_read_slice(&slice, g, &hp, e);
	if (!rc)
		rc = check_kin(f, g, &hp, &slice, e);
	if (!rc)
		rc = measure(fr, g, &hp, &slice, e);
	fr->bytes += f->first->scratch_bytes;
	gguf_close(g);
	return rc;
}

static int find(const struct fronts *f, const char *name, unsigned *at)
{
	for (*at = 0; name[0] && *at < f->n; ++*at) {
		if (!strcmp(f->list[*at].name, name))
			return 0;
	}
	*at = name[0] ? *at : f->base;
	return name[0] ? ERR_NOT_FOUND : 0;
}

static int add(struct fronts *f, const struct config_front *cf, struct err *e)
{
	struct front *fr = &f->list[f->n];
	unsigned at;
	int rc;

	if (!cf->model[0])
		return err_set(e, ERR_CONFIG, "fronts.%s.model is missing", cf->front);
	if (strlen(cf->front) >= sizeof(fr->name) || !find(f, cf->front, &at))
		return err_set(e, ERR_CONFIG, "fronts.%s: %s", cf->front,
			       strlen(cf->front) >= sizeof(fr->name)
				       ? "the name is too long"
				       : "the agent's model has this name already");
	snprintf(fr->name, sizeof(fr->name), "%.*s", (int)sizeof(fr->name) - 1, cf->front);
	fr->path = cf->model;
	f->n++;
	rc = look_at(f, fr, e);
	if (rc)
		err_wrap(e, "front %s", fr->name);
	return rc;
}

int fronts_create(struct fronts **out, const struct config_agent *conf, struct head *head,
		  struct queue *inbox, struct err *e)
{
	struct fronts *f = calloc(1, sizeof(*f));
	int rc = 0;

	if (!f)
		return err_set(e, ERR_NOMEM, "fronts");
	f->conf = conf;
	f->head = head;
	f->first = head_segment(head);
	f->inbox = inbox;
	f->n = 1;
	f->list[0].state = FRONT_READY;
	profile_front_name(f->first, f->list[0].name);
	for (uint32_t i = 0; !rc && i < conf->n_fronts; i++)
		rc = add(f, &conf->fronts[i], e);
	if (!rc)
		rc = measure(&f->list[0], f->first->gguf, &f->first->hp, &f->first->slice, e);
	if (rc) {
		fronts_destroy(f);
		return rc;
	}
	*out = f;
	return 0;
}

void fronts_destroy(struct fronts *f)
{
	if (!f)
		return;
	if (f->loading)
		pthread_join(f->thread, NULL);
	for (unsigned i = 0; i < f->n; i++) {
		free(f->list[i].layer_bytes);
		if (i)
			segment_close(&f->list[i].seg);
	}
	free(f);
}

void fronts_names(const struct fronts *f, struct agent_core_conf *cc)
{
	for (unsigned i = 0; i < f->n; i++)
		memcpy(cc->fronts[i], f->list[i].name, sizeof(cc->fronts[i]));
	cc->n_fronts = f->n;
}

int fronts_fill(const struct fronts *f, struct msg_agent_profile *p)
{
	for (unsigned i = 0; i < f->n; i++) {
		const struct front *fr = &f->list[i];
		struct msg_front *to = &p->fronts[i];

		to->layer_bytes = calloc(fr->layers + 1u, sizeof(*to->layer_bytes));
		if (!to->layer_bytes)
			return ERR_NOMEM;
		p->n_fronts = i + 1;
		memcpy(to->name, fr->name, sizeof(to->name));
		to->layers = fr->layers;
		to->head_bytes = fr->head_bytes;
		for (uint32_t k = 0; k < fr->layers; k++)
			to->layer_bytes[k] = fr->layer_bytes[k];
	}
	memcpy(p->front, f->list[f->base].name, sizeof(p->front));
	return 0;
}

/* The front has layers [0, last), and the head behind the last one. */
static bool has(const struct fronts *f, const struct front *fr, uint32_t last)
{
	return last <= fr->layers && (last < f->first->hp.n_layers || fr->head_bytes);
}

/* What the agent's own file lacks is that of *fr; all of it where the own one has no place. */
static void lend(const struct fronts *f, struct segment *first, const struct front *fr)
{
	first->lent_last = fr->path ? fr->layers : 0;
	first->lent_head = fr->path && fr->head_bytes;
	first->lent_whole = fr->path && f->list[0].state == FRONT_ABSENT;
}

/* Beside all that is there. */
static void judge_beside(const struct fronts *f, unsigned at, struct segment_ask ask, bool alone,
			 struct room_answer *a)
{
	const struct front *fr = &f->list[at];
	struct segment view = *f->first;

	lend(f, &view, fr);
	ask.other_bytes = at && fr->state == FRONT_ABSENT ? fr->bytes : 0;
	segment_judge(&view, &ask, alone, a);
}

/* In the place of all that is there. */
static void judge_swap(const struct fronts *f, unsigned at, struct segment_ask ask,
		       struct room_answer *a)
{
	const struct front *fr = &f->list[at];
	struct segment view = *f->first;

	lend(f, &view, fr);
	ask.other_bytes = at && fr->state == FRONT_ABSENT ? fr->bytes : 0;
	ask.freed_bytes = 0;
	for (unsigned i = 1; i < f->n; i++)
		ask.freed_bytes +=
			i != at && f->list[i].state == FRONT_READY ? f->list[i].bytes : 0;
	if (at) {
		ask.freed_bytes += view.weight_bytes;
		view.weight_bytes = 0;
		view.held = (struct segment_range){ 0 };
		view.lent_whole = true;
	}
	segment_judge(&view, &ask, true, a);
}

int fronts_judge(struct fronts *f, const char *name, struct segment_ask *ask, bool alone, bool idle,
		 struct room_answer *a, struct err *e)
{
	struct room_answer swap;
	struct front *fr;
	unsigned at;

	if (find(f, name, &at))
		return err_set(e, ERR_NOT_FOUND, "this agent has no front %s", name);
	fr = &f->list[at];
	if (!has(f, fr, ask->last))
		return err_set(e, ERR_NOT_FOUND, "front %s has layers 0..%u%s, not 0..%u%s",
			       fr->name, fr->layers, fr->head_bytes ? " and head" : "", ask->last,
			       ask->last == f->first->hp.n_layers ? " and head" : "");
	judge_beside(f, at, *ask, alone, a);
	if (a->missing_bytes && fr->state == FRONT_ABSENT && !f->loading) {
		judge_swap(f, at, *ask, &swap);
		if (idle || swap.missing_bytes)
			*a = swap.missing_bytes < a->missing_bytes ? swap : *a;
		if (!idle && !swap.missing_bytes) {
			segment_refuse(ask, a, e);
			return err_wrap(e, "not beside what sessions use, but when none runs");
		}
	}
	if (a->missing_bytes)
		return segment_refuse(ask, a, e);
	fr->ask = *ask;
	return 0;
}

/* ---- loading -------------------------------------------------------------------------------- */

/* Every layer is brought into its form here, so that none is when it first runs. */
static void prepare(const struct front *fr)
{
	const uint32_t us = background_enter() ? LOAD_STEP_US : LOAD_LONG_STEP_US;

	while (!model_prepare_some(fr->seg.model, 0, fr->layers, fr->head_bytes > 0, us))
		queue_yield();
}

static int open_front(struct fronts *f, struct front *fr, struct err *e)
{
	const struct segment_conf sc = {
		.path = fr->path,
		.kv = f->conf->kv,
		.last = fr->layers,
		.embed = true,
		.head = fr->head_bytes > 0,
		.threads = f->conf->threads,
		.pin_threads = f->conf->pin_threads[0] == 'y',
		.unprepared = true,
		.max_rows = AGENT_CHUNK_ROWS,
		.context_tokens = 1,
		.memory_reserve_bytes = f->conf->memory_reserve_bytes,
	};
	int rc;

	if (f->conf->threads == 1) /* else those that it makes would inherit that */
		(void)background_enter();
	rc = segment_open(&fr->seg, &sc, e);
	if (!rc)
		prepare(fr);
	return rc;
}

static void *load(void *arg)
{
	struct fronts *f = arg;

	f->rc = open_front(f, &f->list[f->loading], &f->err);
	if (!queue_push(f->inbox, f->item)) /* it keeps room for jobs, and for this */
		free(f->item);
	return NULL;
}

static void give_up(struct fronts *f, unsigned at, const char *reason)
{
	struct front *fr = &f->list[at];

	log_event(LOG_LEVEL_WARN, "front.failed", "front=%s reason=%s", fr->name,
		  LOG_QUOTED(reason));
	f->first->budget.booked_bytes -= fr->bytes;
	fr->state = FRONT_ABSENT;
}

/* False: it has failed by now. */
static bool begin_load(struct fronts *f, unsigned at)
{
	struct front *fr = &f->list[at];

	f->first->budget.booked_bytes += fr->bytes;
	fr->state = FRONT_LOADING;
	f->item = malloc(sizeof(*f->item));
	if (f->item)
		f->item->kind = INBOX_FRONT;
	f->loading = at;
	f->err = (struct err){ 0 };
	if (!f->item || pthread_create(&f->thread, NULL, load, f)) {
		free(f->item);
		f->loading = 0;
		give_up(f, at, "no memory for a thread");
		return false;
	}
	log_event(LOG_LEVEL_INFO, "front.loading", "front=%s bytes=%llu", fr->name,
		  (unsigned long long)fr->bytes);
	return true;
}

static struct agent_front told(const struct fronts *f)
{
	const struct front *fr = &f->list[f->wish];
	struct agent_front now = { .index = f->wish,
				   .layers = fr->layers,
				   .has_head = fr->head_bytes > 0 };

	memcpy(now.name, fr->name, sizeof(now.name));
	return now;
}

/* Not before the agent's own file, or the new front, has what sessions have of the old one. */
static void use(struct fronts *f, struct agent_core *core)
{
	const struct agent_front now = told(f), own = { .layers = f->list[0].layers,
							.has_head = f->list[0].head_bytes > 0 };

	if (f->used != f->wish && !agent_core_can_use(core, &own) &&
	    !agent_core_can_use(core, &now))
		return;
	f->used = f->wish;
	f->swapped = false;
	lend(f, f->first, &f->list[f->used]);
	agent_core_use_front(core, &now);
	agent_core_hold(core, false, clock_now_us());
}

static void close_front(struct fronts *f, unsigned at)
{
	struct front *fr = &f->list[at];

	head_set_front(f->head, at, NULL);
	segment_close(&fr->seg);
	f->first->budget.booked_bytes -= fr->bytes;
	fr->state = FRONT_ABSENT;
	log_event(LOG_LEVEL_INFO, "front.closed", "front=%s", fr->name);
}

/* All but front `at` gives its memory back. No session has anything. */
static void give_back(struct fronts *f, struct agent_core *core, unsigned at)
{
	log_event(LOG_LEVEL_INFO, "front.swapped", "front=%s before=%s", f->list[at].name,
		  f->list[f->used].name);
	agent_core_hold(core, true, clock_now_us());
	f->swapped = true;
	for (unsigned i = 1; i < f->n; i++) {
		if (i != at && f->list[i].state == FRONT_READY)
			close_front(f, i);
	}
	if (!at)
		return;
	segment_release(f->first, (struct segment_range){ 0 });
	f->list[0].state = FRONT_ABSENT;
}

/* The wish is there, or on its way. False: it cannot be had. */
static bool begin(struct fronts *f)
{
	if (f->wish)
		return begin_load(f, f->wish);
	f->list[0].state = FRONT_READY; /* its layers come when they run */
	f->first->lent_whole = false;
	return true;
}

/* The wish is not to be had: what is used stays, and comes back where it was given back. The first
 * one always can. */
static void restore(struct fronts *f)
{
	const bool gone = f->list[f->used].state == FRONT_ABSENT;

	f->wish = gone && !f->swapped ? 0 : f->used;
	f->swapped = false;
	if (f->list[f->wish].state != FRONT_ABSENT || begin(f))
		return;
	f->wish = 0;
	(void)begin(f);
}

/* Make sure that the wish fits, in the place of others if it must be. False: not now. */
static bool make_room(struct fronts *f, struct agent_core *core)
{
	const struct front *fr = &f->list[f->wish];
	struct room_answer a;

	if (f->waits && !agent_core_idle(core))
		return false;
	judge_beside(f, f->wish, fr->ask, true, &a);
	f->waits = a.missing_bytes && !agent_core_idle(core);
	if (!a.missing_bytes || f->waits)
		return !f->waits;
	judge_swap(f, f->wish, fr->ask, &a);
	if (!a.missing_bytes) {
		give_back(f, core, f->wish);
		return true;
	}
	log_event(LOG_LEVEL_WARN, "front.refused", "front=%s missing=%llu", fr->name,
		  (unsigned long long)a.missing_bytes);
	agent_core_front_lost(core, fr->name, a.missing_bytes, "it does not fit any more");
	restore(f);
	return false;
}

/* The one that is wished for is in use, or on its way. One load at a time. */
static void go_on(struct fronts *f, struct agent_core *core)
{
	if (f->list[f->wish].state == FRONT_ABSENT && !f->loading && make_room(f, core) &&
	    !begin(f)) {
		agent_core_front_lost(core, f->list[f->wish].name, 0, "no memory for a thread");
		restore(f);
	}
	if (f->list[f->wish].state == FRONT_READY)
		use(f, core);
}

int fronts_start(struct fronts *f, unsigned at, struct err *e)
{
	struct front *fr = &f->list[at];
	int rc = open_front(f, fr, e);

	if (rc)
		return err_wrap(e, "front %s", fr->name);
	f->first->budget.booked_bytes += fr->bytes;
	f->list[0].state = FRONT_ABSENT;
	fr->state = FRONT_READY;
	f->base = f->wish = f->used = at;
	head_set_front(f->head, at, &fr->seg);
	lend(f, f->first, fr);
	return 0;
}

void fronts_tell(const struct fronts *f, struct agent_core *core)
{
	const struct agent_front now = told(f);

	if (f->used)
		agent_core_use_front(core, &now);
}

unsigned fronts_used(const struct fronts *f)
{
	return f->used;
}

void fronts_want(struct fronts *f, struct agent_core *core, const char *name)
{
	if (find(f, name, &f->wish))
		f->wish = f->base;
	go_on(f, core);
}

void fronts_loaded(struct fronts *f, struct agent_core *core)
{
	const unsigned at = f->loading;

	pthread_join(f->thread, NULL);
	f->loading = 0;
	if (f->rc) {
		give_up(f, at, f->err.text);
		if (at == f->wish) { /* not again before the next decision */
			agent_core_front_lost(core, f->list[at].name, 0, f->err.text);
			restore(f);
		}
	} else {
		f->list[at].state = FRONT_READY;
		head_set_front(f->head, at, &f->list[at].seg);
		log_event(LOG_LEVEL_INFO, "front.ready", "front=%s", f->list[at].name);
	}
	go_on(f, core);
}

void fronts_tidy(struct fronts *f, struct agent_core *core)
{
	if (f->used != f->wish && !f->loading)
		go_on(f, core);
	for (unsigned i = 1; i < f->n; i++) {
		if (i != f->wish && i != f->used && f->list[i].state == FRONT_READY &&
		    !agent_core_uses_front(core, i))
			close_front(f, i);
	}
}
