#include "agent/reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

static void forget(struct kept_reply *k)
{
	free(k->topic);
	free(k->text);
	*k = (struct kept_reply){ 0 };
}

static int publish_text(struct agent_core *c, const char *topic, const char *text)
{
	return bus_publish(
		c->bus, &(struct bus_publish){
				.topic = topic, .payload = text, .len = strlen(text), .qos = 1 });
}

/* A final reply that cannot go out now waits for the broker; text is taken over. The oldest goes
 * when there is no room. */
static void keep(struct agent_core *c, const char *topic, char *text)
{
	if (c->n_kept == CORE_KEPT) {
		log_event(LOG_LEVEL_WARN, "reply.lost", "topic=%s reason=\"too many are kept\"",
			  c->kept[0].topic);
		forget(&c->kept[0]);
		memmove(c->kept, c->kept + 1, --c->n_kept * sizeof(c->kept[0]));
	}
	c->kept[c->n_kept] = (struct kept_reply){ .topic = strdup(topic), .text = text };
	if (c->kept[c->n_kept].topic)
		c->n_kept++;
	else
		forget(&c->kept[c->n_kept]);
}

void reply_flush(struct agent_core *c)
{
	unsigned done = 0;

	while (done < c->n_kept) {
		int rc = publish_text(c, c->kept[done].topic, c->kept[done].text);

		if (rc == ERR_OFFLINE)
			break;
		if (rc)
			log_event(LOG_LEVEL_WARN, "reply.lost", "topic=%s reason=%s",
				  c->kept[done].topic, LOG_QUOTED(err_phrase(rc)));
		forget(&c->kept[done++]);
	}
	c->n_kept -= done;
	memmove(c->kept, c->kept + done, c->n_kept * sizeof(c->kept[0]));
}

void reply_drop_kept(struct agent_core *c)
{
	while (c->n_kept)
		forget(&c->kept[--c->n_kept]);
}

/* Print and publish; the text is kept when only the broker is missing. */
static int send_reply(struct agent_core *c, const char *topic, const struct msg_reply *r)
{
	struct msg m = { .type = MSG_REPLY, .u.reply = *r };
	char *text;
	size_t len;
	int rc = msg_print(&m, &text, &len);

	if (rc)
		return rc;
	rc = publish_text(c, topic, text);
	if (rc == ERR_OFFLINE && r->done) {
		keep(c, topic, text);
		return 0;
	}
	free(text);
	return rc;
}

/* A final reply that does not fit a packet goes without its ids; then without its text, which only
 * pieces (`stream`) can carry. */
static int send_final(struct agent_core *c, const char *topic, struct msg_reply r)
{
	char empty[1] = "";
	int rc = send_reply(c, topic, &r);

	if (rc != ERR_LIMIT)
		return rc;
	r.ids = NULL;
	r.n_ids = 0;
	rc = send_reply(c, topic, &r);
	if (rc != ERR_LIMIT)
		return rc;
	r.text = empty;
	r.text_len = 0;
	if (!r.error) {
		r.error = ERR_LIMIT;
		snprintf(r.finish_reason, sizeof(r.finish_reason), "error");
		snprintf(r.reason, sizeof(r.reason),
			 "the answer does not fit a packet of the broker: ask for it with stream");
	}
	return send_reply(c, topic, &r);
}

void slot_reply(struct agent_core *c, const char *id, bool in_process, const struct msg_reply *r)
{
	struct topic t = { .kind = TOPIC_AGENT_REPLY };
	char topic[TOPIC_MAX];
	int rc;

	if (in_process) {
		c->ops.reply(c->ops.ctx, r);
		return;
	}
	snprintf(t.fleet, sizeof(t.fleet), "%s", c->conf.fleet);
	snprintf(t.agent, sizeof(t.agent), "%s", c->conf.agent);
	snprintf(t.reply, sizeof(t.reply), "%s", id);
	topic_put(topic, &t);
	rc = r->done ? send_final(c, topic, *r) : send_reply(c, topic, r);
	if (rc)
		log_event(r->done ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG, "reply.lost",
			  "id=%s reason=%s", id, LOG_QUOTED(err_phrase(rc)));
}

void slot_refuse(struct agent_core *c, const char *id, bool in_process, int code,
		 const char *reason)
{
	struct msg_reply r = { .done = true, .error = code };
	char empty[1] = "";

	snprintf(r.finish_reason, sizeof(r.finish_reason), "%s",
		 session_finish_name(code == ERR_CANCELLED ? SESSION_CANCELLED : SESSION_ERROR));
	snprintf(r.id, sizeof(r.id), "%s", id);
	snprintf(r.reason, sizeof(r.reason), "%s", reason);
	r.text = empty;
	c->sessions_failed++;
	log_event(LOG_LEVEL_WARN, "prompt.refused", "id=%s code=%s reason=%s", id, err_name(code),
		  LOG_QUOTED(reason));
	slot_reply(c, id, in_process, &r);
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double median_ms(const struct slot_times *t)
{
	uint32_t sorted[SLOT_RTTS];
	uint32_t n = t->n_rtts < SLOT_RTTS ? t->n_rtts : SLOT_RTTS;

	if (!n)
		return 0;
	memcpy(sorted, t->rtts_us, n * sizeof(sorted[0]));
	qsort(sorted, n, sizeof(sorted[0]), by_size);
	return sorted[n / 2] / 1000.0;
}

static double not_negative(double v)
{
	return v > 0 ? v : 0;
}

/* Where the time of a decode token goes: means over the decode steps, which follow the first
 * token. */
static void breakdown(struct msg_stats *st, const struct slot *sl)
{
	const struct slot_times *t = &sl->times;
	uint32_t steps = sl->session.n_ids - sl->session.n_prompt;
	double n, span_ms;

	if (steps < 2)
		return;
	n = (steps - 1) * 1000.0;
	span_ms = (double)(t->last_token_us - t->first_token_us) / n;
	st->head_ms = (double)t->head_us / n;
	st->encode_ms = (double)t->encode_us / n;
	st->worker_queue_ms = (double)t->worker_queue_us / n;
	st->worker_ms = (double)t->worker_us / n;
	/* a worker may claim too much, a last step may have given no token */
	st->wire_ms = not_negative((double)t->rtt_us / n - st->worker_queue_ms - st->worker_ms);
	st->other_ms = not_negative(span_ms - st->head_ms - st->encode_ms - (double)t->rtt_us / n);
	st->tok_s = span_ms > 0 ? 1000.0 / span_ms : 0;
}

static void fill_stats(const struct slot *sl, struct msg_stats *st, uint64_t now_us)
{
	const struct session *s = &sl->session;
	const struct slot_times *t = &sl->times;

	*st = (struct msg_stats){
		.prompt_tokens = s->n_prompt,
		.tokens = s->n_ids - s->n_prompt,
		.split = s->conf.split,
		.handovers = s->handovers,
		.bytes_up = t->bytes_up,
		.bytes_down = t->bytes_down,
		.retries = s->retries,
		.levels_down = sl->pace.level,
		.ahead = t->n_ahead,
		.drafts = t->n_drafts,
		.drafts_right = t->n_right,
		.epochs = s->epoch,
		.ttft_ms = t->first_token_us ? (double)(t->first_token_us - t->begun_us) / 1000 : 0,
		.total_ms = (double)(now_us - t->begun_us) / 1000,
		.rtt_ms = median_ms(t),
	};
	breakdown(st, sl);
	snprintf(st->codec, sizeof(st->codec), "none");
	if (!s->conf.local)
		spec_print(&sl->job.codec, st->codec);
	snprintf(st->kv, sizeof(st->kv), "%s", kv_type_name(sl->kv_type));
	snprintf(st->worker, sizeof(st->worker), "%s", s->conf.local ? "" : s->worker);
}

void reply_piece(struct agent_core *c, struct slot *sl, char *piece, size_t n)
{
	const struct session *s = &sl->session;
	struct msg_reply r = { .text = piece,
			       .text_len = n,
			       .stats.tokens = s->n_ids - s->n_prompt,
			       .stats.handovers = s->handovers };

	snprintf(r.id, sizeof(r.id), "%s", sl->id);
	slot_reply(c, sl->id, sl->in_process, &r);
}

static void count(struct agent_core *c, const struct msg_reply *r)
{
	const struct msg_stats *st = &r->stats;

	if (r->error)
		c->sessions_failed++;
	else
		c->sessions_done++;
	c->retries += st->retries;
	c->rtt_ms = st->rtt_ms;
	c->token_ms = st->tok_s > 0 ? 1000 / st->tok_s : 0;
}

void reply_final(struct agent_core *c, struct slot *sl, uint64_t now_us)
{
	struct session *s = &sl->session;
	const char *front = c->conf.fronts[sl->job.front];
	struct msg_reply r = { .done = true };

	snprintf(r.id, sizeof(r.id), "%s", sl->id);
	snprintf(r.finish_reason, sizeof(r.finish_reason), "%s", session_finish_name(s->finish));
	if (s->finish == SESSION_ERROR) {
		r.error = s->error;
		snprintf(r.reason, sizeof(r.reason), "%s", s->reason);
	}
	r.text = sl->text;
	r.text_len = sl->text_len;
	r.degraded = sl->degraded;
	r.ids = s->ids + s->n_prompt;
	fill_stats(sl, &r.stats, now_us);
	snprintf(r.stats.front, sizeof(r.stats.front), "%s", front[0] ? front : c->conf.front);
	r.n_ids = r.stats.tokens;
	count(c, &r);
	log_event(r.error ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "session.ended",
		  "id=%s session=%016llx finish=%s%s%s tokens=%u epochs=%u retries=%u ms=%.0f",
		  sl->id, (unsigned long long)s->conf.id, r.finish_reason,
		  r.error ? " reason=" : "", r.error ? LOG_QUOTED(r.reason) : "", r.n_ids,
		  r.stats.epochs, r.stats.retries, r.stats.total_ms);
	slot_reply(c, sl->id, sl->in_process, &r);
}

struct reply_item *reply_copy(const struct msg_reply *r)
{
	const size_t text_len = r->text_len + 1;
	struct reply_item *it;

	it = malloc(sizeof(*it) + r->n_ids * sizeof(*r->ids) + text_len);
	if (!it)
		return NULL;
	it->item.kind = INBOX_REPLY;
	it->reply = *r;
	it->reply.ids = it->data;
	if (r->n_ids)
		memcpy(it->data, r->ids, r->n_ids * sizeof(*r->ids));
	it->reply.text = memcpy(it->data + r->n_ids, r->text, text_len);
	return it;
}
