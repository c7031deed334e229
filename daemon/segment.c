#include "daemon/segment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/daemon.h"

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

	if (c->last == SEGMENT_QUARTER)
		c->last = model_is_slice(&s->slice, &s->hp) ? s->slice.last : n / 4;
	else if (c->last == SEGMENT_ALL)
		c->last = n;
	if (c->first > c->last || c->last > n)
		return err_set(e, ERR_CONFIG, "layer %u is outside the model's 0..%u",
			       c->first > n ? c->first : c->last, n);
	return model_slice_has(&s->slice, &s->hp, c->first, c->last, c->embed, c->head, e);
}

static size_t x_floats(const struct segment *s, const struct segment_conf *c)
{
	return ((size_t)c->max_rows + c->spare_rows) * s->hp.dim;
}

static size_t logit_floats(const struct segment *s, const struct segment_conf *c)
{
	return (size_t)(c->logit_rows ? c->logit_rows : 1) * s->hp.n_vocab;
}

static int prove_fit(struct segment *s, const struct segment_conf *c, struct err *e)
{
	uint64_t budget =
		c->memory_budget_bytes ? c->memory_budget_bytes : daemon_mem_available_bytes();
	struct model_conf mc = model_conf_of(c->first, c->last, c->embed, c->head, c);
	size_t scratch = model_scratch_bytes(&s->hp, &mc) +
			 (x_floats(s, c) + logit_floats(s, c)) * sizeof(float) +
			 codec_work_bytes(s->hp.dim, c->max_rows);
	size_t kv = kv_bytes(&s->hp, c->last - c->first, c->context_tokens, s->kv_type);

	s->held = (struct segment_range){ c->first, c->last, c->head };
	s->weight_bytes = model_weight_bytes(s->gguf, &s->hp, &mc);
	s->budget.limit_bytes = budget ? budget : UINT64_MAX;
	s->budget.booked_bytes = s->weight_bytes + scratch;
	if (s->budget.booked_bytes + kv <= s->budget.limit_bytes)
		return 0;
	return err_set(
		e, ERR_LIMIT,
		"does not fit: weights %zu + scratch %zu + KV of one session %zu bytes is %llu "
		"more than the budget of %llu",
		s->weight_bytes, scratch, kv,
		(unsigned long long)(s->budget.booked_bytes + kv - s->budget.limit_bytes),
		(unsigned long long)s->budget.limit_bytes);
}

static int open_model(struct segment *s, const struct segment_conf *c, struct err *e)
{
	struct model_conf mc = model_conf_of(s->slice.first, s->slice.last, s->slice.first == 0,
					     s->slice.last == s->hp.n_layers, c);
	int rc;

	mc.lazy = true;
	rc = model_open(&s->model, s->gguf, &mc, e);
	if (rc)
		return rc;
	model_prepare(s->model, s->first, s->last, s->head);
	s->x = malloc(x_floats(s, c) * sizeof(*s->x));
	s->logits = malloc(logit_floats(s, c) * sizeof(*s->logits));
	if (!s->x || !s->logits || sampler_create(&s->sampler, s->hp.n_vocab))
		return err_set(e, ERR_NOMEM, "buffers of a segment");
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

/* Longest context that the rest of the budget admits. */
static unsigned longest(const struct segment *s, uint32_t n_layers, enum kv_type type)
{
	size_t one = kv_bytes(&s->hp, n_layers, 1, type);
	uint64_t room = s->budget.booked_bytes < s->budget.limit_bytes
				? s->budget.limit_bytes - s->budget.booked_bytes
				: 0;
	uint64_t tokens = one ? room / one : UINT32_MAX;

	return tokens < UINT32_MAX ? (unsigned)tokens : UINT32_MAX;
}

/* The layers that are in memory once a session with [first, last) has run. */
static struct segment_range widen(const struct segment *s, uint32_t first, uint32_t last)
{
	struct segment_range r = s->held;

	if (first < last) {
		r.first = s->held.first == s->held.last || first < r.first ? first : r.first;
		r.last = last > r.last ? last : r.last;
	}
	r.head = r.head || last == s->hp.n_layers;
	return r;
}

uint64_t segment_missing_bytes(const struct segment *s, uint32_t first, uint32_t last,
			       uint32_t context_tokens, enum kv_type type)
{
	const uint64_t want =
		s->budget.booked_bytes + kv_bytes(&s->hp, last - first, context_tokens, type);

	return want > s->budget.limit_bytes ? want - s->budget.limit_bytes : 0;
}

int segment_begin(struct segment *s, struct kv **kv, uint32_t first, uint32_t last,
		  uint32_t context_tokens, enum kv_type type, struct err *e)
{
	size_t bytes = kv_bytes(&s->hp, last - first, context_tokens, type);
	const struct segment_range held = widen(s, first, last);
	size_t extra = segment_weight_bytes(s, held.first, held.last, s->embed, held.head) -
		       s->weight_bytes;
	int rc = model_slice_has(&s->slice, &s->hp, first, last, s->embed,
				 s->head || last == s->hp.n_layers, e);

	if (rc)
		return rc;
	if (s->budget.booked_bytes + extra + bytes > s->budget.limit_bytes && extra)
		return err_set(
			e, ERR_LIMIT,
			"layers %u..%u weigh %zu bytes more than the memory budget was made for",
			first, last, extra);
	if (s->budget.booked_bytes + bytes > s->budget.limit_bytes)
		return err_set(
			e, ERR_LIMIT,
			"a KV cache of %u tokens in %s is %llu bytes over the memory budget; at "
			"most %u tokens fit now",
			context_tokens, kv_type_name(type),
			(unsigned long long)(s->budget.booked_bytes + bytes -
					     s->budget.limit_bytes),
			longest(s, last - first, type));
	rc = kv_create(kv, &s->budget, &s->hp, first, last, context_tokens, type);
	if (rc)
		return err_set(e, rc, "KV cache of %u tokens", context_tokens);
	s->held = held;
	s->weight_bytes += extra;
	s->budget.booked_bytes += extra;
	return 0;
}

void segment_end(struct segment *s, struct kv *kv)
{
	(void)s;
	kv_destroy(kv);
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

int segment_forward(struct segment *s, struct kv *kv, uint32_t pos, uint32_t rows, struct err *e)
{
	int rc;

	kv_truncate(kv, pos);
	if (kv_length(kv) != pos)
		return err_set(e, ERR_STATE, "rows for position %u come after %u", pos,
			       kv_length(kv));
	rc = model_forward(s->model, kv, s->x, rows);
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
