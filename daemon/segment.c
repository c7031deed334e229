#include "daemon/segment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/touch.h"
#include "daemon/daemon.h"
#include "engine/kv_layers.h"

/* Of a thread that computes: what its stack and the like take. */
#define THREAD_BYTES (64u << 10)
/* Code and tables that are not in memory before they run. */
#define CODE_BYTES (1u << 20)
/* Beside those that compute: the loop's, two of the broker's link, signals, one to spare. */
#define OTHER_THREADS 5
/* What the machine has left is read again after so long, or when something was given back. */
#define LOOK_US 200000u

/* general.name, made fit to stand in messages and topics. */
static void take_name(struct segment *s)
{
	struct gguf_str text = { "model", 5 };
	size_t n = 0;

	if (gguf_get_str(s->gguf, "general.name", &text, NULL))
		text = (struct gguf_str){ "model", 5 };
	for (size_t i = 0; i < text.len && n < TOPIC_NAME_MAX; i++) {
		char c = text.text[i];
		bool fine = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
			    (c >= 'a' && c <= 'z') || c == '.' || c == '-';

		s->name[n++] = fine ? c : '_';
	}
	s->name[n] = '\0';
}

static struct model_conf model_conf_of(uint32_t first, uint32_t last, bool embed, bool head,
				       const struct segment_conf *c)
{
	return (struct model_conf){
		.first = first,
		.last = last,
		.embed = embed,
		.head = head,
		.threads = c ? c->threads : 1,
		.pin_threads = c && c->pin_threads,
		.max_rows = c ? c->max_rows : 1,
	};
}

double segment_attention_work(const struct model_hparams *hp)
{
	const double d = hp->dim, q = (double)hp->n_heads * hp->head_dim;
	const double v = (double)hp->n_heads * hp->head_dim_v;
	const double kv = (double)hp->n_kv_heads * (hp->head_dim + hp->head_dim_v);

	return (q + v) / (d * (q + v + kv + 3.0 * hp->ff_dim));
}

size_t segment_weight_bytes(const struct segment *s, uint32_t first, uint32_t last, bool embed,
			    bool head)
{
	struct model_conf mc = model_conf_of(first, last, embed, head, NULL);

	return model_weight_bytes(s->gguf, &s->hp, &mc);
}

/* The one that is named, or the one beside the model. It must be of this very model. */
static int open_calibration(struct segment *s, const struct segment_conf *c, struct err *e)
{
	const bool named = c->calibration && c->calibration[0];
	char path[4096];
	int rc;

	snprintf(path, sizeof(path), named ? "%s" : "%s" CAL_SUFFIX,
		 named ? c->calibration : c->path);
	rc = cal_open(&s->cal, path, e);
	if (rc)
		return rc == ERR_NOT_FOUND && !named ? 0 : rc;
	if (strcmp(s->cal->model, s->hash) || s->cal->dim != s->hp.dim ||
	    s->cal->n_vocab != s->hp.n_vocab)
		return err_set(e, ERR_MODEL_MISMATCH, "%.160s is of another model (%s)", path,
			       s->cal->model);
	return 0;
}

static int open_files(struct segment *s, const struct segment_conf *c, struct err *e)
{
	int rc = kv_type_parse(&s->kv_type, c->kv);

	if (rc)
		return err_set(e, rc, "kv must be " KV_TYPE_WORDS ", not %s", c->kv);
	rc = gguf_open(&s->gguf, c->path, e);
	if (!rc)
		rc = model_read_hparams(&s->hp, s->gguf, e);
	if (!rc)
		rc = model_read_slice(&s->slice, s->gguf, &s->hp, e);
	if (!rc)
		rc = tokenizer_create(&s->tokenizer, s->gguf, e);
	if (!rc)
		rc = gguf_hash(s->gguf, s->hash, e);
	if (!rc)
		take_name(s);
	return rc ? rc : open_calibration(s, c, e);
}

/* What "a quarter" and "all" mean for this model, and whether the file has it. */
static int resolve(const struct segment *s, struct segment_conf *c, struct err *e)
{
	uint32_t n = s->hp.n_layers;
	int rc;

	if (c->last == SEGMENT_QUARTER)
		c->last = model_is_slice(&s->slice, &s->hp) ? s->slice.last : n / 4;
	else if (c->last == SEGMENT_ALL)
		c->last = n;
	if (c->first > c->last || c->last > n)
		return err_set(e, ERR_CONFIG, "a split at layer %u is outside the model's 0..%u",
			       c->first > n ? c->first : c->last, n);
	rc = model_slice_has(&s->slice, &s->hp, c->first, c->last, c->embed, c->head, e);
	if (rc && c->first_key)
		err_wrap(e, "%s: %u", c->first_key, c->first);
	return rc;
}

static size_t x_floats(const struct segment *s, const struct segment_conf *c)
{
	return ((size_t)c->max_rows + c->spare_rows) * s->hp.dim;
}

static size_t logit_floats(const struct segment *s, const struct segment_conf *c)
{
	return (size_t)(c->logit_rows ? c->logit_rows : 1) * s->hp.n_vocab;
}

/* Layers, and the head, with the embedding where it is tied; an embedding is read from the file row
 * by row, and stays there. */
static size_t held_bytes(const struct segment *s, struct segment_range r)
{
	return segment_weight_bytes(s, r.first, r.last, false, r.head);
}

static struct room room_of(const struct segment *s, const struct memory *m)
{
	return (struct room){
		.limit_bytes = s->budget.limit_bytes,
		.booked_bytes = s->budget.booked_bytes,
		.resident_bytes = m->resident_bytes,
		.available_bytes = m->available_bytes,
		.reserve_bytes = s->reserve_bytes,
		.mappable_bytes = m->mappable_bytes,
	};
}

/* What the file lacks for layers up to `last` (and the head behind the last one) is elsewhere. */
static bool is_lent(const struct segment *s, uint32_t last)
{
	return last <= s->lent_last && (last < s->hp.n_layers || s->lent_head);
}

struct segment_range segment_join(struct segment_range a, struct segment_range b)
{
	struct segment_range r = a.first == a.last ? b : a;

	r.head = a.head || b.head;
	if (a.first == a.last || b.first == b.last)
		return r;
	r.first = a.first < b.first ? a.first : b.first;
	r.last = a.last > b.last ? a.last : b.last;
	return r;
}

/* The layers of the file that are in memory once a session with [first, last) has run. */
static struct segment_range widen(const struct segment *s, uint32_t first, uint32_t last)
{
	const bool lent = is_lent(s, last);
	struct segment_range r = { first, last, last == s->hp.n_layers };

	if (lent && s->lent_whole)
		return s->held;
	if (lent && last > s->slice.last) {
		r.head = false;
		r.last = s->slice.last;
	}
	if (r.first > r.last)
		r.first = r.last;
	return segment_join(s->held, r);
}

static void judge(const struct segment *s, const struct room *r, const struct segment_ask *ask,
		  struct room_answer *a)
{
	const struct room_ask want = {
		.weight_bytes = held_bytes(s, widen(s, ask->first, ask->last)) - s->weight_bytes +
				ask->other_bytes +
				(ask->predict ? cal_use_bytes(s->cal, ask->split) : 0),
		.session_bytes = ask->extra.session_bytes,
		.token_bytes = ask->extra.token_bytes +
			       kv_bytes(&s->hp, ask->last - ask->first, 1, ask->kv),
		.tokens = ask->context_tokens,
	};

	room_judge(r, &want, a);
}

/* Without what is to go, its bytes are free in the budget, and on the machine as far as they are in
 * memory. */
static void take_out(struct room *r, uint64_t bytes)
{
	const uint64_t rest = r->booked_bytes - bytes;
	uint64_t freed = r->resident_bytes > rest ? r->resident_bytes - rest : 0;

	freed = freed < bytes ? freed : bytes;
	if (r->available_bytes != UINT64_MAX) {
		r->available_bytes += freed;
		r->resident_bytes -= freed;
	}
	r->booked_bytes = rest;
}

void segment_judge(const struct segment *s, const struct segment_ask *ask, bool alone,
		   struct room_answer *a)
{
	struct room r;

	memory_look(s->look, clock_now_us(), LOOK_US);
	r = room_of(s, &s->look->m);
	take_out(&r, ask->freed_bytes + (alone ? s->sessions_bytes : 0));
	judge(s, &r, ask, a);
}

int segment_refuse(const struct segment_ask *ask, const struct room_answer *a, struct err *e)
{
	return err_set(
		e, ERR_LIMIT,
		"a session of %u tokens in %s takes %llu bytes with layers %u..%u, %llu more "
		"than %s leaves; at most %u tokens fit now",
		ask->context_tokens, kv_type_name(ask->kv), (unsigned long long)a->need_bytes,
		ask->first, ask->last, (unsigned long long)a->missing_bytes, room_limit_name(a->by),
		a->most_tokens);
}

void segment_release(struct segment *s, struct segment_range keep)
{
	const struct segment_range had = s->held;

	keep.head = keep.head && had.head;
	if (keep.first == keep.last)
		keep.first = keep.last = had.first;
	if (keep.first < had.first || keep.last > had.last)
		return;
	model_release(s->model, had.first, keep.first, had.head && !keep.head);
	model_release(s->model, keep.last, had.last, false);
	s->look->read_us = 0;
	s->held = keep;
	s->budget.booked_bytes -= s->weight_bytes;
	s->weight_bytes = held_bytes(s, keep);
	s->budget.booked_bytes += s->weight_bytes;
}

void segment_book(struct segment *s, uint64_t bytes)
{
	s->budget.booked_bytes += bytes;
	s->sessions_bytes += bytes;
}

void segment_unbook(struct segment *s, uint64_t bytes)
{
	s->budget.booked_bytes -= bytes;
	s->sessions_bytes -= bytes;
	s->look->read_us = 0;
}

/* Buffers of the model and of sampling. */
static uint64_t scratch_bytes(const struct segment *s, const struct segment_conf *c)
{
	const struct model_conf mc = model_conf_of(c->first, c->last, c->embed, c->head, c);

	return model_scratch_bytes(&s->hp, &mc) +
	       (x_floats(s, c) + logit_floats(s, c)) * sizeof(float) +
	       codec_work_bytes(s->hp.dim, c->max_rows) + sampler_bytes(s->hp.n_vocab) +
	       c->threads * THREAD_BYTES + CODE_BYTES + c->other_bytes;
}

/* Addresses that are taken whether they are touched or not, weights and sessions apart. */
static uint64_t mapped_bytes(const struct segment *s, const struct segment_conf *c)
{
	return s->scratch_bytes + (c->threads + OTHER_THREADS) * daemon_stack_bytes();
}

static struct segment_ask expected_ask(const struct segment *s, const struct segment_conf *c)
{
	return (struct segment_ask){
		.first = c->first,
		.last = c->last,
		.context_tokens = c->context_tokens,
		.kv = s->kv_type,
		.extra = c->extra ? c->extra(c->extra_ctx, &s->hp) : (struct segment_extra){ 0 },
		.other_bytes = c->lent_bytes ? c->lent_bytes + s->scratch_bytes : 0,
	};
}

/* The process as it is, and what will certainly come. Without a budget it is all that can be had
 * now. */
static void book_segment(struct segment *s, const struct segment_conf *c, const struct memory *m)
{
	uint64_t room = m->available_bytes;

	s->reserve_bytes = c->memory_reserve_bytes;
	s->look = &s->own_look;
	s->lent_last = c->lent_last;
	s->lent_head = c->lent_head;
	s->lent_whole = c->lent_bytes > 0;
	if (!s->lent_whole)
		s->held = (struct segment_range){ c->first, c->last, c->head };
	s->weight_bytes = held_bytes(s, s->held);
	s->base_bytes = m->resident_bytes;
	s->scratch_bytes = scratch_bytes(s, c);
	s->budget.booked_bytes = s->base_bytes + s->weight_bytes + s->scratch_bytes;
	room = room == UINT64_MAX ? room
				  : room - (room < s->reserve_bytes ? room : s->reserve_bytes);
	s->budget.limit_bytes = c->memory_budget_bytes              ? c->memory_budget_bytes
				: room < UINT64_MAX - s->base_bytes ? room + s->base_bytes
								    : UINT64_MAX;
}

void segment_settle(struct segment *s)
{
	const uint64_t resident = memory_resident_bytes();

	if (resident <= s->budget.booked_bytes)
		return;
	s->base_bytes += resident - s->budget.booked_bytes;
	s->budget.booked_bytes = resident;
}

/* What is left of the addresses when all but packed weights has its share; 0: no limit. */
static uint64_t pack_limit(const struct room *r, const struct room_answer *a)
{
	const uint64_t used = r->mapped_bytes + a->need_bytes;

	if (r->mappable_bytes == UINT64_MAX)
		return 0;
	return r->mappable_bytes > used ? r->mappable_bytes - used : 1;
}

static int prove_fit(struct segment *s, const struct segment_conf *c, struct err *e)
{
	const struct segment_ask ask = expected_ask(s, c);
	struct room_answer a;
	struct memory m;
	struct room r;

	memory_read(&m);
	book_segment(s, c, &m);
	r = room_of(s, &m);
	r.mapped_bytes = mapped_bytes(s, c);
	judge(s, &r, &ask, &a);
	s->pack_limit_bytes = pack_limit(&r, &a);
	if (!a.missing_bytes)
		return 0;
	return err_set(e, ERR_LIMIT,
		       "does not fit: %llu bytes more than %s has (at most %u tokens would fit): "
		       "process %llu + weights %zu + scratch %llu + session of %u tokens %llu",
		       (unsigned long long)a.missing_bytes, room_limit_name(a.by), a.most_tokens,
		       (unsigned long long)s->base_bytes, s->weight_bytes,
		       (unsigned long long)s->scratch_bytes, c->context_tokens,
		       (unsigned long long)a.need_bytes);
}

static int open_model(struct segment *s, const struct segment_conf *c, struct err *e)
{
	struct model_conf mc = model_conf_of(s->slice.first, s->slice.last, s->slice.first == 0,
					     s->slice.last == s->hp.n_layers, c);
	int rc;

	mc.lazy = true;
	mc.pack_first = s->first;
	mc.pack_limit_bytes = s->pack_limit_bytes;
	rc = model_open(&s->model, s->gguf, &mc, e);
	if (rc)
		return rc;
	if (!s->lent_whole && !c->unprepared)
		model_prepare(s->model, s->first, s->last, s->head);
	s->x = malloc(x_floats(s, c) * sizeof(*s->x));
	s->logits = malloc(logit_floats(s, c) * sizeof(*s->logits));
	if (!s->x || !s->logits || sampler_create(&s->sampler, s->hp.n_vocab))
		return err_set(e, ERR_NOMEM, "buffers of a segment");
	touch(s->x, x_floats(s, c) * sizeof(*s->x));
	touch(s->logits, logit_floats(s, c) * sizeof(*s->logits));
	return 0;
}

int segment_open(struct segment *s, const struct segment_conf *conf, struct err *e)
{
	struct segment_conf c = *conf;
	int rc;

	*s = (struct segment){ 0 };
	s->embed = conf->embed;
	s->head = conf->head;
	rc = open_files(s, &c, e);
	if (!rc)
		rc = resolve(s, &c, e);
	s->first = c.first;
	s->last = c.last;
	if (!rc)
		rc = prove_fit(s, &c, e);
	if (!rc)
		rc = open_model(s, &c, e);
	if (rc) {
		if (!e || !strstr(e->text, c.path)) /* once is enough */
			err_wrap(e, "model %s", c.path);
		segment_close(s);
	}
	return rc;
}

void segment_close(struct segment *s)
{
	sampler_destroy(s->sampler);
	cal_close(s->cal);
	model_close(s->model);
	tokenizer_destroy(s->tokenizer);
	gguf_close(s->gguf);
	free(s->x);
	free(s->logits);
	*s = (struct segment){ 0 };
}

int segment_begin(struct segment *s, struct kv **kv, uint32_t first, uint32_t last,
		  uint32_t context_tokens, enum kv_type type, struct err *e)
{
	const struct segment_ask ask = {
		.first = first, .last = last, .context_tokens = context_tokens, .kv = type
	};
	const struct segment_range held = widen(s, first, last);
	const size_t extra = held_bytes(s, held) - s->weight_bytes;
	struct room_answer a;
	int rc = is_lent(s, last) ? 0
				  : model_slice_has(&s->slice, &s->hp, first, last, s->embed,
						    s->head || last == s->hp.n_layers, e);

	if (rc)
		return rc;
	segment_judge(s, &ask, false, &a);
	if (a.missing_bytes)
		return segment_refuse(&ask, &a, e);
	rc = kv_create(kv, &s->budget, &s->hp, first, last, context_tokens, type);
	if (rc)
		return err_set(e, rc, "KV cache of %u tokens, %llu bytes", context_tokens,
			       (unsigned long long)a.need_bytes);
	s->held = held;
	s->begun = segment_join(s->begun,
				(struct segment_range){ first, last, last == s->hp.n_layers });
	s->weight_bytes += extra;
	s->budget.booked_bytes += extra;
	s->sessions_bytes += kv_size_bytes(*kv);
	return 0;
}

void segment_end(struct segment *s, struct kv *kv)
{
	if (kv)
		s->sessions_bytes -= kv_size_bytes(kv);
	kv_destroy(kv);
	s->look->read_us = 0;
}

void segment_resized(struct segment *s, struct kv *kv)
{
	const size_t before = kv_size_bytes(kv);

	kv_layers_settle(kv);
	s->sessions_bytes += kv_size_bytes(kv);
	s->sessions_bytes -= before;
	s->look->read_us = 0;
}

void segment_added(struct segment *s, const struct kv *kv)
{
	s->sessions_bytes += kv_size_bytes(kv);
}

int segment_begin_codec(struct segment *s, struct codec_state **state, uint32_t split,
			struct err *e)
{
	const size_t bytes = cal_use_bytes(s->cal, split);
	const struct cal_split *from;
	int rc;

	if (s->budget.booked_bytes + bytes > s->budget.limit_bytes)
		return err_set(e, ERR_LIMIT,
			       "the predictors of split %u are %llu bytes over the memory budget; "
			       "predict=none needs none, or use no calibration",
			       split,
			       (unsigned long long)(s->budget.booked_bytes + bytes -
						    s->budget.limit_bytes));
	rc = cal_use(s->cal, split, &from, e);
	if (rc)
		return rc;
	s->budget.booked_bytes += bytes;
	if (codec_state_create(state, s->hp.dim, s->cal, from))
		return err_set(e, ERR_NOMEM, "state of the codec");
	return 0;
}

int segment_forward(struct segment *s, struct kv *kv, uint32_t pos, uint32_t rows,
		    uint32_t tap_layer, float *tap, struct err *e)
{
	int rc;

	kv_truncate(kv, pos);
	if (kv_length(kv) != pos)
		return err_set(e, ERR_STATE, "rows for position %u come after %u", pos,
			       kv_length(kv));
	rc = model_forward_tapped(s->model, kv, s->x, rows, tap_layer, tap);
	return rc ? err_set(e, rc, "layers at position %u: %s", pos, err_phrase(rc)) : 0;
}

struct sampler_params segment_sampling(const struct msg_sampling *s)
{
	return (struct sampler_params){
		.temperature = (float)s->temperature,
		.top_k = s->top_k,
		.top_p = (float)s->top_p,
		.min_p = (float)s->min_p,
		.repeat_penalty = (float)s->repeat_penalty,
		.repeat_last = s->repeat_last,
		.seed = s->seed,
	};
}

int segment_pick(struct segment *s, const struct sampler_params *p, const float *logits,
		 const uint32_t *history, uint32_t n_history, uint32_t pos, uint32_t *id, bool *end,
		 struct err *e)
{
	int rc = sampler_pick(s->sampler, p, logits, history, n_history, pos, id);

	if (rc)
		return err_set(e, rc, "sampling for position %u: %s", pos, err_phrase(rc));
	*end = tokenizer_is_end(s->tokenizer, *id);
	return 0;
}

int segment_sample(struct segment *s, const struct sampler_params *p, uint32_t row,
		   const uint32_t *history, uint32_t n_history, uint32_t pos, uint32_t *id,
		   bool *end, struct err *e)
{
	model_logits(s->model, s->x + (size_t)row * s->hp.dim, 1, s->logits);
	return segment_pick(s, p, s->logits, history, n_history, pos, id, end, e);
}
