#include "tests/toy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "daemon/inbox.h"
#include "tests/tiny_cal.h"

#define TOY_VALUES (TOY_DIM * sizeof(float)) /* bytes of "keys and values": the rows themselves */

/* The state after n rows, for every n up to len. */
struct toy_kv {
	uint32_t len;
	uint64_t state[TOY_CONTEXT + 1];
};

static uint64_t absorb(uint64_t state, const float *row)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < TOY_DIM; i++)
		bits = bits * 131 + (uint64_t)(int64_t)row[i];
	return rng_u64(state, bits);
}

void toy_rows(const uint32_t *ids, uint32_t n, uint32_t pos, float *x)
{
	for (uint32_t k = 0; k < n; k++) {
		for (unsigned i = 0; i < TOY_DIM; i++)
			x[(size_t)k * TOY_DIM + i] =
				(float)((ids[k] * 31 + (pos + k) * 7 + i) % 1000);
	}
}

static uint32_t pick(uint64_t state, uint64_t seed, uint32_t pos)
{
	return (uint32_t)(rng_u64(state ^ seed, pos) % TOY_VOCAB);
}

/* One for the whole program. */
static struct cal *calibration(void)
{
	static struct cal *cal;
	const struct tiny_cal conf = { .dim = TOY_DIM,
				       .k = TOY_DIM,
				       .features = 4,
				       .vocab = TOY_VOCAB,
				       .n_splits = TOY_LAYERS,
				       .size = 600,
				       .seed = 11 };

	if (!cal)
		cal = tiny_cal_make(&conf);
	return cal;
}

/* Rows of the last split never cross. */
static struct codec_state *make_state(uint32_t split)
{
	struct codec_state *s = NULL;

	if (codec_state_create(&s, TOY_DIM, calibration(), tiny_cal_split(calibration(), split)))
		abort();
	return s;
}

/* Buffers for one call. */
static struct codec_work *make_work(void)
{
	struct codec_work *w = NULL;

	assert_int_equal(codec_work_create(&w, TOY_DIM, AGENT_CHUNK_ROWS), 0);
	return w;
}

/* Both ends of an undisturbed run. */
struct crossing {
	const struct toy_codec *codec; /* NULL: rows lose nothing */
	struct codec_work *work;
	struct codec_state *sender, *receiver;
	uint32_t n_prompt;
};

static void cross(struct crossing *c, uint32_t id, uint32_t pos, float row[TOY_DIM])
{
	uint8_t bytes[1024];
	struct codec_bytes out = { .dst = bytes, .cap = sizeof(bytes) };
	struct codec_spec spec;
	struct err e = { 0 };
	const uint32_t *ids;

	if (!c->codec)
		return;
	assert_int_equal(spec_parse(&spec,
				    c->codec->later && pos >= c->codec->change ? c->codec->later
									       : c->codec->spec,
				    &e),
			 0);
	ids = pos >= c->n_prompt || spec.predict == SPEC_TOKENS ? &id : NULL;
	if (codec_encode(&spec, c->work, c->sender, &(struct codec_rows){ row, ids, 1 }, &out, &e))
		fail_msg("%s", e.text);
	if (codec_decode(c->work, c->receiver,
			 &(struct codec_chunk){ .id = out.id,
						.src = bytes,
						.len = out.len,
						.ids = ids,
						.dim = TOY_DIM,
						.n = 1 },
			 row, &e))
		fail_msg("%s", e.text);
}

static uint64_t run_row(struct crossing *c, uint32_t id, uint32_t pos, uint64_t state)
{
	float row[TOY_DIM];

	toy_rows(&id, 1, pos, row);
	cross(c, id, pos, row);
	return absorb(state, row);
}

uint32_t toy_answer_in(const struct toy_codec *codec, const uint32_t *prompt, uint32_t n,
		       uint32_t max_new, uint64_t seed, uint32_t *out)
{
	struct crossing c = { .codec = codec, .n_prompt = n };
	uint32_t made = 0, pos = 0;
	uint64_t state = 0;

	if (codec) {
		c.work = make_work();
		c.sender = make_state(codec->split);
		c.receiver = make_state(codec->split);
	}
	for (; pos < n; pos++)
		state = run_row(&c, prompt[pos], pos, state);
	while (made < max_new && pos < TOY_CONTEXT) {
		uint32_t id = pick(state, seed, pos);

		out[made++] = id;
		if (id == TOY_END_ID)
			break;
		state = run_row(&c, id, pos++, state);
	}
	codec_work_destroy(c.work);
	codec_state_destroy(c.sender);
	codec_state_destroy(c.receiver);
	return made;
}

uint32_t toy_answer(const uint32_t *prompt, uint32_t n, uint32_t max_new, uint64_t seed,
		    uint32_t *out)
{
	return toy_answer_in(NULL, prompt, n, max_new, seed, out);
}

int toy_begin_head(void *ctx, struct head_job *job, uint32_t split, uint32_t context,
		   enum kv_type type, struct err *e)
{
	int rc = toy_begin_tail(ctx, &job->kv, split, context, type, e);

	return rc ? rc : toy_begin_codec(ctx, &job->state, split, e);
}

void toy_end_head(void *ctx, struct head_job *job, uint32_t split, uint32_t context)
{
	toy_end_tail(ctx, job->kv, split, context);
	codec_state_destroy(job->state);
	free(job->kept);
}

int toy_begin_tail(void *ctx, struct kv **kv, uint32_t split, uint32_t context, enum kv_type type,
		   struct err *e)
{
	(void)type;
	(void)ctx;
	(void)split;
	(void)context;
	*kv = (struct kv *)calloc(1, sizeof(struct toy_kv));
	return *kv ? 0 : err_set(e, ERR_NOMEM, "toy");
}

int toy_begin_side(void *ctx, struct kv **kv, uint32_t first, uint32_t last, uint32_t context,
		   enum kv_type type, struct err *e)
{
	assert_true(first < last);
	return toy_begin_tail(ctx, kv, first, context, type, e);
}

void toy_end_side(void *ctx, struct kv *kv)
{
	(void)ctx;
	free(kv);
}

void toy_settle(void *ctx, struct kv *kv)
{
	(void)ctx;
	assert_non_null(kv);
}

void toy_end_tail(void *ctx, struct kv *kv, uint32_t split, uint32_t context)
{
	(void)ctx;
	(void)split;
	(void)context;
	free(kv);
}

int toy_begin_codec(void *ctx, struct codec_state **state, uint32_t split, struct err *e)
{
	(void)ctx;
	(void)e;
	*state = make_state(split);
	return 0;
}

static void push(struct toy_kv *kv, const float *x, uint32_t rows)
{
	assert_true(rows <= TOY_CONTEXT - kv->len);
	for (uint32_t i = 0; i < rows; i++, kv->len++)
		kv->state[kv->len + 1] = absorb(kv->state[kv->len], x + (size_t)i * TOY_DIM);
}

void toy_side_end(void *ctx, struct head_job *side)
{
	(void)ctx;
	free(side->again);
	free(side->kv);
	codec_state_destroy(side->state);
	codec_state_destroy(side->later);
	side->again = side->kv = NULL;
	side->state = side->later = NULL;
}

int toy_side_begin(void *ctx, const struct head_job *job, struct head_job *side,
		   const struct agent_move *m, struct err *e)
{
	assert_true(m->from != m->to && m->to <= TOY_LAYERS);
	assert_non_null(job->kv);
	if (m->values) {
		side->values = job->kv;
		return toy_begin_codec(ctx, &side->later, m->to, e);
	}
	side->again = (struct kv *)calloc(1, sizeof(struct toy_kv));
	if (!side->kept) /* so that the session counts on it; all rows run again, nothing is kept */
		side->kept = calloc(1, sizeof(*side->kept));
	assert_true(side->again && side->kept);
	if (m->to > m->from)
		(void)toy_begin_tail(ctx, &side->kv, m->from, m->context_tokens, m->type, e);
	else
		(void)toy_begin_codec(ctx, &side->state, m->to, e);
	return m->same_log ? 0 : toy_begin_codec(ctx, &side->later, m->to, e);
}

/* What joins holds the same rows; and so did the view. */
void toy_side_moved(void *ctx, struct head_job *job, struct head_job *side,
		    const struct agent_move *m, uint32_t len)
{
	struct toy_kv *kv = (struct toy_kv *)job->kv, *again = (struct toy_kv *)side->again;
	struct codec_state **later = m->same_log ? &side->state : &side->later;

	(void)ctx;
	assert_true(kv->len >= len);
	if (!m->values) {
		const uint32_t both = again->len < len ? again->len : len;

		assert_true(m->same_log ||
			    both == len); /* rows that were kept need not run again */
		assert_true(kv->state[both] == again->state[both]);
	}
	kv->len = len;
	codec_state_destroy(job->state);
	job->state = *later;
	*later = NULL;
}

static void run_side(struct head_job *job)
{
	struct toy_kv *again = (struct toy_kv *)job->again;
	float x[AGENT_CHUNK_ROWS * TOY_DIM];
	struct codec_work *w;

	job->layers_us = 100 * job->rows;
	if (job->values) {
		toy_rows(job->ids, job->rows, job->pos, x);
		job->rc = 0;
		job->len = TOY_VALUES * job->rows;
		assert_true(job->len <= job->cap);
		memcpy(job->bytes, x, job->len);
		job->codec_id = 0;
		return;
	}
	assert_int_equal(again->len, job->pos);
	toy_rows(job->ids, job->rows, job->pos, x);
	push(again, x, job->rows);
	job->rc = 0;
	if (!job->encode)
		return;
	w = make_work();
	job->rc = head_encode(job, w, x);
	codec_work_destroy(w);
}

bool toy_draft(struct head_job *job, struct head_draft *d, uint8_t *dst, size_t cap)
{
	struct toy_kv *kv = (struct toy_kv *)job->kv;
	struct head_job row = *job;
	struct codec_work *w;
	float x[TOY_DIM];

	if (kv->len != d->pos || d->pos >= TOY_CONTEXT)
		return false;
	toy_rows(&d->id, 1, d->pos, x);
	push(kv, x, 1);
	row.draft = row.tell_ids = true;
	row.pos = d->pos;
	row.rows = 1;
	row.ids = &d->id;
	row.bytes = dst;
	row.cap = cap;
	w = make_work();
	assert_int_equal(head_encode(&row, w, x), 0);
	codec_work_destroy(w);
	d->bytes = dst;
	d->len = row.len;
	d->codec_id = row.codec_id;
	d->state_hash = row.state_hash;
	return true;
}

void toy_run_head(struct head_job *job)
{
	struct toy_kv *kv = (struct toy_kv *)job->kv;
	float x[AGENT_CHUNK_ROWS * TOY_DIM];
	struct codec_work *w;

	assert_in_range(job->rows, 1, AGENT_CHUNK_ROWS);
	if (job->side) {
		run_side(job);
		return;
	}
	assert_true(kv->len >= job->pos + job->kept_rows); /* they would be there */
	kv->len = job->pos;
	toy_rows(job->ids, job->rows, job->pos, x);
	push(kv, x, job->rows);
	job->rc = 0;
	job->layers_us = 100 * job->rows;
	if (job->sample) {
		job->id = pick(kv->state[kv->len], job->sampling.seed, kv->len);
		job->end = job->id == TOY_END_ID;
		return;
	}
	w = make_work();
	job->rc = head_encode(job, w, x);
	codec_work_destroy(w);
}

/* What is joined holds the same rows, no more and no less; where they lose something, its own. */
static void check_join(const struct toy_kv *kv, const struct toy_kv *side, uint8_t codec)
{
	assert_int_equal(side->len, kv->len);
	if (codec == PLAIN_F32)
		assert_true(side->state[side->len] == kv->state[kv->len]);
}

uint32_t toy_run_tail(struct tail_job *job)
{
	struct toy_kv *kv = (struct toy_kv *)job->kv;
	const struct wire_hdr *h = &job->hdr;
	float x[AGENT_CHUNK_ROWS * TOY_DIM];
	struct codec_work *w = make_work();

	assert_true(h->pos <= kv->len);
	assert_in_range(h->rows, 1, AGENT_CHUNK_ROWS);
	kv->len = h->pos;
	if (job->join)
		check_join(kv, (struct toy_kv *)job->join, h->codec);
	if (h->kind == WIRE_KV) {
		assert_int_equal(h->body_len, h->rows * TOY_VALUES);
		memcpy(x, job->body, h->body_len);
	} else {
		job->rc = tail_decode(job, w, x);
	}
	codec_work_destroy(w);
	if (job->rc)
		return 0;
	push(kv, x, h->rows);
	if (h->flags & WIRE_SAMPLE && !wire_is_fill(h)) {
		job->id = pick(kv->state[kv->len], job->sampling.seed, kv->len);
		job->end = job->id == TOY_END_ID;
	}
	return h->rows;
}

struct agent_core_conf toy_agent_conf(void)
{
	struct agent_core_conf ac = {
		.fleet = TOY_FLEET,
		.agent = "gw",
		.model = TOY_MODEL,
		.model_name = "toy",
		.kv_elements = TOY_DIM,
		.kv_position_bytes = { TOY_VALUES, TOY_VALUES, TOY_VALUES, TOY_VALUES },
		.n_layers = TOY_LAYERS,
		.dim = TOY_DIM,
		.split = 1,
		.codec = { .plain = PLAIN_F32 },
		.context_tokens = TOY_CONTEXT,
		.class = MSG_BULK,
		.max_sessions = 3,
		.max_tokens = 40,
		.drafts = CODEC_MARKS,
		.sampling = { .top_p = 1, .repeat_penalty = 1 },
		.accept_timeout_ms = 300,
		.reply_timeout_ms = 200,
		.session_deadline_ms = 120000,
		.boot = 1,
		.prompt_family = "none",
	};

	snprintf(ac.calibration, sizeof(ac.calibration), "%s", calibration()->id);
	return ac;
}

struct worker_core_conf toy_worker_conf(const char *name, uint64_t boot)
{
	struct worker_core_conf wc = {
		.fleet = TOY_FLEET,
		.model_name = "toy",
		.limits = { .model = TOY_MODEL,
			    .n_layers = TOY_LAYERS,
			    .dim = TOY_DIM,
			    .kv_elements = TOY_DIM,
			    .context_tokens = TOY_CONTEXT,
			    .max_packet_bytes = 65536,
			    .max_rows = AGENT_CHUNK_ROWS,
			    .idle_us = 60000000 },
		.max_sessions = 6,
		.drafts = CODEC_MARKS,
		.evict_us = 5000000,
		.boot = boot,
	};

	snprintf(wc.limits.worker, sizeof(wc.limits.worker), "%s", name);
	snprintf(wc.limits.calibration, sizeof(wc.limits.calibration), "%s", calibration()->id);
	return wc;
}

void toy_open_node(struct toy_node *n, struct bus_mem *broker, const char *name, uint64_t boot)
{
	char topic[TOPIC_MAX], will[256];
	struct bus_conf bc = { .client_id = name };

	snprintf(topic, sizeof(topic), "splitmq/v1/" TOY_FLEET "/worker/%s/status", name);
	snprintf(will, sizeof(will),
		 "{\"v\":1,\"type\":\"worker.status\",\"worker\":\"%s\",\"state\":\"lost\","
		 "\"boot\":\"%016llx\"}",
		 name, (unsigned long long)boot);
	if (boot) {
		bc.will_topic = topic;
		bc.will_payload = will;
	}
	snprintf(n->name, sizeof(n->name), "%s", name);
	assert_int_equal(inbox_create(&n->inbox), 0);
	assert_int_equal(bus_mem_open(&n->bus, broker, &bc, inbox_bus_handler, n->inbox), 0);
}

void toy_close_node(struct toy_node *n)
{
	bus_close(n->bus, 0);
	inbox_destroy(n->inbox);
	*n = (struct toy_node){ 0 };
}
