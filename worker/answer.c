#include "worker/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "codec/plain.h"

#define DATA_EXPIRY_S 10

struct topic answer_topic(const struct worker_core *c, enum topic_kind kind)
{
	struct topic t = { .kind = kind };

	snprintf(t.fleet, sizeof(t.fleet), "%s", c->conf.fleet);
	snprintf(t.worker, sizeof(t.worker), "%s", c->conf.limits.worker);
	snprintf(t.model, sizeof(t.model), "%s", c->conf.limits.model);
	return t;
}

/* A publish that fails is only noted: the agent's deadline repeats what mattered. */
static void note_failure(uint64_t session, const char *what, int rc)
{
	if (rc)
		log_event(LOG_LEVEL_DEBUG, "publish.failed", "session=%016llx type=%s reason=%s",
			  (unsigned long long)session, what, LOG_QUOTED(err_phrase(rc)));
}

static int publish(struct worker_core *c, const char *topic, const void *payload, size_t len,
		   int qos)
{
	int rc = bus_publish(c->bus, &(struct bus_publish){ .topic = topic,
							    .payload = payload,
							    .len = len,
							    .qos = qos,
							    .expiry_s = DATA_EXPIRY_S });

	c->bytes_down += rc ? 0 : len;
	return rc;
}

static void send(struct worker_core *c, const char *agent, uint64_t session, const struct msg *m)
{
	struct topic t = answer_topic(c, TOPIC_DOWN);
	char topic[TOPIC_MAX], *text;
	size_t len;
	int rc;

	snprintf(t.agent, sizeof(t.agent), "%s", agent);
	t.session = session;
	topic_put(topic, &t);
	rc = msg_print(m, &text, &len);
	if (!rc) {
		rc = publish(c, topic, text, len, m->type == MSG_TOKENS ? c->conf.qos : 1);
		free(text);
	}
	note_failure(session, msg_type_name(m->type), rc);
}

void answer_error(struct worker_core *c, const char *agent, uint64_t session, uint32_t epoch,
		  uint32_t seq, int code, const char *reason)
{
	struct msg m = { .type = MSG_ERROR,
			 .u.error = {
				 .session = session, .epoch = epoch, .seq = seq, .code = code } };

	snprintf(m.u.error.reason, sizeof(m.u.error.reason), "%s", reason);
	c->sessions_failed++;
	log_event(LOG_LEVEL_WARN, "session.refused", "agent=%s session=%016llx code=%s reason=%s",
		  agent, (unsigned long long)session, err_name(code), LOG_QUOTED(reason));
	send(c, agent, session, &m);
}

void answer_fill_error(struct worker_core *c, const struct lane *l, uint32_t seq, int code,
		       const char *reason)
{
	struct msg m = { .type = MSG_ERROR,
			 .u.error = { .session = l->open.session,
				      .epoch = l->open.epoch,
				      .seq = seq,
				      .code = code,
				      .again = true } };

	snprintf(m.u.error.reason, sizeof(m.u.error.reason), "%s", reason);
	log_event(LOG_LEVEL_WARN, "fill.refused", "agent=%s session=%016llx code=%s reason=%s",
		  l->agent, (unsigned long long)l->open.session, err_name(code),
		  LOG_QUOTED(reason));
	send(c, l->agent, l->open.session, &m);
}

void answer_accept(struct worker_core *c, const struct lane *l)
{
	struct msg m = { .type = MSG_ACCEPT,
			 .u.accept = { .session = l->open.session,
				       .epoch = l->open.epoch,
				       .context_tokens = l->context_tokens,
				       .max_packet_bytes = c->conf.limits.max_packet_bytes,
				       .drafts = c->conf.drafts } };

	memcpy(m.u.accept.worker, c->conf.limits.worker, sizeof(m.u.accept.worker));
	send(c, l->agent, l->open.session, &m);
}

void answer_need(struct worker_core *c, const struct lane *l, const struct lane_effects *fx)
{
	struct msg m = { .type = MSG_NEED,
			 .u.need = { .session = l->open.session,
				     .epoch = l->open.epoch,
				     .seq = fx->need_seq,
				     .kv_len = fx->need_len,
				     .has_fill = fx->need_fill,
				     .fill_split = fx->need_fill_split,
				     .fill_seq = l->fill_seq,
				     .fill_len = fx->need_fill_len } };

	c->retries += fx->need_seq > 0;
	send(c, l->agent, l->open.session, &m);
}

void answer_tokens(struct worker_core *c, const struct lane *l)
{
	struct msg m = { .type = MSG_TOKENS, .u.tokens = l->answer };

	c->tokens++;
	c->token_ms = l->answer.compute_us / 1000.0;
	send(c, l->agent, l->open.session, &m);
}

void answer_logits(struct worker_core *c, const struct tail_job *job)
{
	const struct lane *l = &c->places[job->lane].lane;
	enum plain_id id = PLAIN_F32;
	struct wire_hdr h = job->hdr;
	struct topic t = answer_topic(c, TOPIC_DOWN);
	char topic[TOPIC_MAX];
	uint8_t *frame;
	size_t len = 0;

	snprintf(t.agent, sizeof(t.agent), "%s", l->agent);
	t.session = h.session;
	topic_put(topic, &t);
	if (WIRE_HDR_LEN + plain_bound(id, c->conf.n_vocab, 1) > bus_max_payload(c->bus, topic))
		id = PLAIN_F16;
	frame = malloc(WIRE_HDR_LEN + plain_bound(id, c->conf.n_vocab, 1));
	if (!frame || plain_encode(id, job->logits, c->conf.n_vocab, 1, frame + WIRE_HDR_LEN,
				   plain_bound(id, c->conf.n_vocab, 1), &len, NULL)) {
		free(frame);
		return;
	}
	h.kind = WIRE_LOGITS;
	h.flags = 0;
	h.codec = (uint8_t)id;
	h.pos += h.rows;
	h.rows = 1;
	h.dim = c->conf.n_vocab;
	h.split = c->conf.limits.n_layers;
	h.body_len = (uint32_t)len;
	wire_put_hdr(frame, &h, frame + WIRE_HDR_LEN);
	note_failure(h.session, "logits",
		     publish(c, topic, frame, WIRE_HDR_LEN + len, c->conf.qos));
	free(frame);
}
