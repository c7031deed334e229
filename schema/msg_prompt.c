/* schema/msg_prompt.c - what people and programs ask of an agent, and what it answers. */
#include "schema/msg_field.h"

#include <stdlib.h>
#include <string.h>

static int get_prompt_text(struct msg_prompt *p, const struct json *o, struct err *e)
{
	int rc = json_get_text(o, "prompt", MSG_PROMPT_MAX, &p->prompt, &p->prompt_len, e);

	if (!rc && !p->prompt_len)
		rc = err_set(e, ERR_FORMAT, "key \"prompt\" must not be empty");
	return rc;
}

int msg_get_prompt(struct msg *m, const struct json *o, struct err *e)
{
	struct msg_prompt *p = &m->u.prompt;
	uint32_t split = UINT32_MAX; /* not given */
	int rc;

	if ((rc = field_get_name(o, "id", FIELD_OPTIONAL, p->id, e)) ||
	    (rc = get_prompt_text(p, o, e)) || (rc = json_get_bool(o, "raw", false, &p->raw, e)) ||
	    (rc = json_get_bool(o, "stream", false, &p->stream, e)) ||
	    (rc = json_get_u32(o, "max_tokens", false, 0, FIELD_POS_MAX, &p->max_tokens, e)) ||
	    (rc = field_get_sampling(o, &p->sampling, &p->given, e)) ||
	    (rc = json_get_u32(o, "deadline_ms", false, 0, FIELD_MS_MAX, &p->deadline_ms, e)) ||
	    (rc = json_get_f64(o, "ttft_ms", false, 0, FIELD_MS_MAX, &p->ttft_ms, e)) ||
	    (rc = json_get_f64(o, "tpot_ms", false, 0, FIELD_MS_MAX, &p->tpot_ms, e)))
		return rc;
	rc = json_get_u32(o, "split", false, 0, FIELD_SPLIT_MAX, &split, e);
	if (rc)
		return rc;
	p->has_split = split != UINT32_MAX;
	p->split = p->has_split ? split : 0;
	rc = field_get_spec(o, "codec", FIELD_OPTIONAL, p->codec, e);
	if (!rc)
		rc = field_get_kv(o, "kv", p->kv, e);
	return rc ? rc : field_get_class(o, "class", &p->class, e);
}

void msg_add_prompt(const struct msg *m, struct json *o)
{
	const struct msg_prompt *p = &m->u.prompt;

	field_add_text(o, "id", p->id);
	json_add_text(o, "prompt", p->prompt, p->prompt_len);
	if (p->raw)
		json_add_bool(o, "raw", true);
	if (p->stream)
		json_add_bool(o, "stream", true);
	field_add_count(o, "max_tokens", p->max_tokens);
	field_add_sampling(o, &p->sampling, p->given);
	field_add_count(o, "deadline_ms", p->deadline_ms);
	field_add_fine(o, "ttft_ms", p->ttft_ms);
	field_add_fine(o, "tpot_ms", p->tpot_ms);
	if (p->has_split)
		json_add_u64(o, "split", p->split);
	field_add_text(o, "codec", p->codec);
	field_add_text(o, "kv", p->kv);
	field_add_text(o, "class", msg_class_name(p->class));
}

int msg_get_cancel(struct msg *m, const struct json *o, struct err *e)
{
	return field_get_name(o, "id", FIELD_NEEDED, m->u.cancel.id, e);
}

void msg_add_cancel(const struct msg *m, struct json *o)
{
	json_add_str(o, "id", m->u.cancel.id);
}

/* The millisecond figures of a struct msg_stats, in the order in which they are printed. */
#define N_TIMES 10
static const char *const time_keys[N_TIMES] = {
	"ttft_ms",   "total_ms",        "tok_s",     "rtt_ms",  "head_ms",
	"encode_ms", "worker_queue_ms", "worker_ms", "wire_ms", "other_ms",
};

static double *time_at(struct msg_stats *s, size_t i)
{
	double *const fields[N_TIMES] = {
		&s->ttft_ms,   &s->total_ms,        &s->tok_s,     &s->rtt_ms,  &s->head_ms,
		&s->encode_ms, &s->worker_queue_ms, &s->worker_ms, &s->wire_ms, &s->other_ms,
	};

	return fields[i];
}

/* What came later than the others: all of it may be missing. */
static int get_more_stats(struct msg_stats *s, const struct json *o, struct err *e)
{
	int rc;

	if ((rc = field_get_ms(o, "predicted_token_ms", &s->predicted_token_ms, e)) ||
	    (rc = json_get_u32(o, "handovers", false, 0, UINT32_MAX, &s->handovers, e)) ||
	    (rc = json_get_u32(o, "levels_down", false, 0, UINT32_MAX, &s->levels_down, e)) ||
	    (rc = json_get_u32(o, "ahead", false, 0, UINT32_MAX, &s->ahead, e)) ||
	    (rc = json_get_u32(o, "drafts", false, 0, UINT32_MAX, &s->drafts, e)) ||
	    (rc = json_get_u32(o, "drafts_right", false, 0, UINT32_MAX, &s->drafts_right, e)))
		return rc;
	return field_get_front(o, "front", FIELD_OPTIONAL, s->front, e);
}

static int get_stats(struct msg_stats *s, const struct json *o, struct err *e)
{
	int rc;

	if ((rc = json_get_u32(o, "prompt_tokens", true, 0, FIELD_POS_MAX, &s->prompt_tokens, e)) ||
	    (rc = json_get_u32(o, "tokens", true, 0, FIELD_POS_MAX, &s->tokens, e)) ||
	    (rc = json_get_u32(o, "split", true, 0, FIELD_SPLIT_MAX, &s->split, e)) ||
	    (rc = json_get_u64(o, "bytes_up", true, 0, FIELD_EXACT_MAX, &s->bytes_up, e)) ||
	    (rc = json_get_u64(o, "bytes_down", true, 0, FIELD_EXACT_MAX, &s->bytes_down, e)) ||
	    (rc = json_get_u32(o, "retries", true, 0, UINT32_MAX, &s->retries, e)) ||
	    (rc = json_get_u32(o, "epochs", true, 0, UINT32_MAX, &s->epochs, e)))
		return rc;
	for (size_t i = 0; i < N_TIMES; i++) {
		rc = json_get_f64(o, time_keys[i], false, 0, 1e12, time_at(s, i), e);
		if (rc)
			return rc;
	}
	if ((rc = get_more_stats(s, o, e)) ||
	    (rc = field_get_spec(o, "codec", FIELD_OPTIONAL, s->codec, e)) ||
	    (rc = field_get_kv(o, "kv", s->kv, e)))
		return rc;
	return field_get_name(o, "worker", FIELD_OPTIONAL, s->worker, e);
}

static void add_stats(const struct msg_stats *s, struct json *o)
{
	struct msg_stats copy = *s;

	json_add_u64(o, "prompt_tokens", s->prompt_tokens);
	json_add_u64(o, "tokens", s->tokens);
	json_add_u64(o, "split", s->split);
	json_add_u64(o, "bytes_up", s->bytes_up);
	json_add_u64(o, "bytes_down", s->bytes_down);
	json_add_u64(o, "retries", s->retries);
	json_add_u64(o, "epochs", s->epochs);
	for (size_t i = 0; i < N_TIMES; i++)
		field_add_ms(o, time_keys[i], *time_at(&copy, i));
	field_add_fine(o, "predicted_token_ms", s->predicted_token_ms);
	field_add_count(o, "handovers", s->handovers);
	field_add_count(o, "levels_down", s->levels_down);
	field_add_count(o, "ahead", s->ahead);
	field_add_count(o, "drafts", s->drafts);
	field_add_count(o, "drafts_right", s->drafts_right);
	field_add_text(o, "front", s->front);
	field_add_text(o, "codec", s->codec);
	field_add_text(o, "kv", s->kv);
	field_add_text(o, "worker", s->worker);
}

static int get_finish_reason(struct msg_reply *r, const struct json *o, struct err *e)
{
	static const char *const words[] = { "stop",     "length",    "context",
					     "deadline", "cancelled", "error" };
	int rc = field_get_text(o, "finish_reason", FIELD_NEEDED, r->finish_reason,
				sizeof(r->finish_reason), e);

	if (rc)
		return rc;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!strcmp(words[i], r->finish_reason))
			return 0;
	}
	return err_set(e, ERR_FORMAT,
		       "key \"finish_reason\" must be stop, length, context, deadline, cancelled "
		       "or error");
}

static int get_reply_ids(struct msg_reply *r, const struct json *o, struct err *e)
{
	size_t n = json_array_len(json_get(o, "ids"));

	if (n > FIELD_POS_MAX)
		return err_set(e, ERR_FORMAT, "key \"ids\" has more than %u ids", FIELD_POS_MAX);
	if (n) {
		r->ids = malloc(n * sizeof(*r->ids));
		if (!r->ids)
			return err_set(e, ERR_NOMEM, "key \"ids\": out of memory");
	}
	return field_get_ids(o, "ids", FIELD_OPTIONAL, r->ids, n, &r->n_ids, e);
}

/* What only the last reply has. */
static int get_ending(struct msg_reply *r, const struct json *o, struct err *e)
{
	const struct json *stats = json_get(o, "stats");
	const char *word = NULL;
	int rc;

	if ((rc = get_finish_reason(r, o, e)) || (rc = get_reply_ids(r, o, e)) ||
	    (rc = json_get_str(o, "error", false, TOPIC_NAME_MAX, &word, e)) ||
	    (rc = field_get_text(o, "reason", FIELD_OPTIONAL, r->reason, sizeof(r->reason), e)) ||
	    (rc = json_get_bool(o, "degraded", false, &r->degraded, e)))
		return rc;
	if (word)
		r->error = err_code_of(word);
	if (!stats)
		return 0;
	if (!json_is_object(stats))
		return err_set(e, ERR_FORMAT, "key \"stats\" must be an object");
	rc = get_stats(&r->stats, stats, e);
	return rc ? err_wrap(e, "stats") : 0;
}

int msg_get_reply(struct msg *m, const struct json *o, struct err *e)
{
	struct msg_reply *r = &m->u.reply;
	int rc;

	if ((rc = field_get_name(o, "id", FIELD_NEEDED, r->id, e)) ||
	    (rc = json_get_text(o, "text", FIELD_TEXT_MAX, &r->text, &r->text_len, e)) ||
	    (rc = json_get_bool(o, "done", true, &r->done, e)))
		return rc;
	return r->done ? get_ending(r, o, e) : 0;
}

void msg_add_reply(const struct msg *m, struct json *o)
{
	const struct msg_reply *r = &m->u.reply;

	json_add_str(o, "id", r->id);
	json_add_text(o, "text", r->text, r->text_len);
	json_add_bool(o, "done", r->done);
	if (!r->done)
		return;
	json_add_str(o, "finish_reason", r->finish_reason);
	if (r->error)
		json_add_str(o, "error", err_name(r->error));
	field_add_text(o, "reason", r->reason);
	if (r->degraded)
		json_add_bool(o, "degraded", true);
	field_add_ids(o, "ids", r->ids, r->n_ids);
	add_stats(&r->stats, json_add_object(o, "stats"));
}
