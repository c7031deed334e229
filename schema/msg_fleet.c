/* schema/msg_fleet.c - who is there, how they fare, what was decided. */
#include "schema/msg_field.h"

#include <string.h>

static int get_state(const struct json *o, enum msg_state *state, struct err *e)
{
	const char *word = NULL;
	int rc = json_get_str(o, "state", true, SIZE_MAX, &word, e);

	if (rc)
		return rc;
	for (unsigned s = 0; s < MSG_STATE_COUNT; s++) {
		if (!strcmp(word, msg_state_name((enum msg_state)s))) {
			*state = (enum msg_state)s;
			return 0;
		}
	}
	return err_set(e, ERR_FORMAT,
		       "key \"state\" must be init, ready, draining, offline or lost");
}

/* A daemon that serves says what it holds; one that starts, left or died need not. */
static enum field_need if_serving(enum msg_state state)
{
	return state == MSG_READY || state == MSG_DRAINING ? FIELD_NEEDED : FIELD_OPTIONAL;
}

int msg_get_agent_status(struct msg *m, const struct json *o, struct err *e)
{
	struct msg_agent_status *s = &m->u.agent_status;
	enum field_need need;
	int rc;

	if ((rc = field_get_name(o, "agent", FIELD_NEEDED, s->agent, e)) ||
	    (rc = get_state(o, &s->state, e)) || (rc = field_get_hex(o, "boot", &s->boot, e)))
		return rc;
	need = if_serving(s->state);
	if ((rc = field_get_hash(o, "model", need, s->model, e)) ||
	    (rc = field_get_text(o, "model_name", FIELD_OPTIONAL, s->model_name,
				 sizeof(s->model_name), e)) ||
	    (rc = json_get_u32(o, "layers", need, 1, FIELD_SPLIT_MAX, &s->n_layers, e)) ||
	    (rc = json_get_u32(o, "dim", need, 1, FIELD_DIM_MAX, &s->dim, e)) ||
	    (rc = json_get_u32(o, "context_tokens", need, 1, FIELD_POS_MAX, &s->context_tokens,
			       e)) ||
	    (rc = json_get_u32(o, "max_sessions", need, 1, UINT32_MAX, &s->max_sessions, e)))
		return rc;
	return field_get_text(o, "version", FIELD_OPTIONAL, s->version, sizeof(s->version), e);
}

void msg_add_agent_status(const struct msg *m, struct json *o)
{
	const struct msg_agent_status *s = &m->u.agent_status;

	json_add_str(o, "agent", s->agent);
	json_add_str(o, "state", msg_state_name(s->state));
	field_add_hex(o, "boot", s->boot);
	field_add_text(o, "model", s->model);
	field_add_text(o, "model_name", s->model_name);
	field_add_count(o, "layers", s->n_layers);
	field_add_count(o, "dim", s->dim);
	field_add_count(o, "context_tokens", s->context_tokens);
	field_add_count(o, "max_sessions", s->max_sessions);
	field_add_text(o, "version", s->version);
}

int msg_get_worker_status(struct msg *m, const struct json *o, struct err *e)
{
	struct msg_worker_status *s = &m->u.worker_status;
	enum field_need need;
	int rc;

	if ((rc = field_get_name(o, "worker", FIELD_NEEDED, s->worker, e)) ||
	    (rc = get_state(o, &s->state, e)) || (rc = field_get_hex(o, "boot", &s->boot, e)))
		return rc;
	need = if_serving(s->state);
	if ((rc = field_get_hash(o, "model", need, s->model, e)) ||
	    (rc = field_get_text(o, "model_name", FIELD_OPTIONAL, s->model_name,
				 sizeof(s->model_name), e)) ||
	    (rc = json_get_u32(o, "layers", need, 1, FIELD_SPLIT_MAX, &s->n_layers, e)) ||
	    (rc = json_get_u32(o, "dim", need, 1, FIELD_DIM_MAX, &s->dim, e)) ||
	    (rc = json_get_u32(o, "first_layer", FIELD_OPTIONAL, 0, FIELD_SPLIT_MAX,
			       &s->first_layer, e)) ||
	    (rc = json_get_u32(o, "context_tokens", need, 1, FIELD_POS_MAX, &s->context_tokens,
			       e)) ||
	    (rc = json_get_u32(o, "max_sessions", need, 1, UINT32_MAX, &s->max_sessions, e)))
		return rc;
	rc = field_get_calibration(o, "calibration", FIELD_OPTIONAL, s->calibration, e);
	if (rc)
		return rc;
	return field_get_text(o, "version", FIELD_OPTIONAL, s->version, sizeof(s->version), e);
}

void msg_add_worker_status(const struct msg *m, struct json *o)
{
	const struct msg_worker_status *s = &m->u.worker_status;

	json_add_str(o, "worker", s->worker);
	json_add_str(o, "state", msg_state_name(s->state));
	field_add_hex(o, "boot", s->boot);
	field_add_text(o, "model", s->model);
	field_add_text(o, "model_name", s->model_name);
	field_add_count(o, "layers", s->n_layers);
	field_add_count(o, "dim", s->dim);
	if (s->n_layers)
		json_add_u64(o, "first_layer", s->first_layer);
	field_add_count(o, "context_tokens", s->context_tokens);
	field_add_count(o, "max_sessions", s->max_sessions);
	field_add_text(o, "calibration", s->calibration);
	field_add_text(o, "version", s->version);
}

int msg_get_coordinator_status(struct msg *m, const struct json *o, struct err *e)
{
	struct msg_coordinator_status *s = &m->u.coordinator_status;
	int rc;

	if ((rc = get_state(o, &s->state, e)) || (rc = field_get_hex(o, "boot", &s->boot, e)) ||
	    (rc = json_get_u32(o, "agents", false, 0, UINT32_MAX, &s->agents, e)) ||
	    (rc = json_get_u32(o, "workers", false, 0, UINT32_MAX, &s->workers, e)))
		return rc;
	return field_get_text(o, "version", FIELD_OPTIONAL, s->version, sizeof(s->version), e);
}

void msg_add_coordinator_status(const struct msg *m, struct json *o)
{
	const struct msg_coordinator_status *s = &m->u.coordinator_status;

	json_add_str(o, "state", msg_state_name(s->state));
	field_add_hex(o, "boot", s->boot);
	json_add_u64(o, "agents", s->agents);
	json_add_u64(o, "workers", s->workers);
	field_add_text(o, "version", s->version);
}

static int get_counters(struct msg_telemetry *t, const struct json *o, struct err *e)
{
	const struct {
		const char *key;
		uint64_t *v;
	} counters[] = {
		{ "uptime_ms", &t->uptime_ms },
		{ "rss_bytes", &t->rss_bytes },
		{ "mem_available_bytes", &t->mem_available_bytes },
		{ "sessions_done", &t->sessions_done },
		{ "sessions_failed", &t->sessions_failed },
		{ "tokens", &t->tokens },
		{ "rows", &t->rows },
		{ "bytes_up", &t->bytes_up },
		{ "bytes_down", &t->bytes_down },
		{ "retries", &t->retries },
	};
	int rc = 0;

	for (size_t i = 0; !rc && i < sizeof(counters) / sizeof(counters[0]); i++)
		rc = json_get_u64(o, counters[i].key, true, 0, FIELD_EXACT_MAX, counters[i].v, e);
	return rc;
}

static int get_telemetry(struct msg *m, const struct json *o, const char *who, struct err *e)
{
	struct msg_telemetry *t = &m->u.telemetry;
	int rc;

	if ((rc = field_get_name(o, who, FIELD_NEEDED, t->name, e)) ||
	    (rc = field_get_hex(o, "boot", &t->boot, e)) || (rc = get_counters(t, o, e)) ||
	    (rc = json_get_u32(o, "sessions", true, 0, UINT32_MAX, &t->sessions, e)) ||
	    (rc = json_get_f64(o, "token_ms", false, 0, 1e9, &t->token_ms, e)))
		return rc;
	return json_get_f64(o, "rtt_ms", false, 0, 1e9, &t->rtt_ms, e);
}

static void add_telemetry(const struct msg_telemetry *t, struct json *o, const char *who)
{
	json_add_str(o, who, t->name);
	field_add_hex(o, "boot", t->boot);
	json_add_u64(o, "uptime_ms", t->uptime_ms);
	json_add_u64(o, "rss_bytes", t->rss_bytes);
	json_add_u64(o, "mem_available_bytes", t->mem_available_bytes);
	json_add_u64(o, "sessions", t->sessions);
	json_add_u64(o, "sessions_done", t->sessions_done);
	json_add_u64(o, "sessions_failed", t->sessions_failed);
	json_add_u64(o, "tokens", t->tokens);
	json_add_u64(o, "rows", t->rows);
	json_add_u64(o, "bytes_up", t->bytes_up);
	json_add_u64(o, "bytes_down", t->bytes_down);
	json_add_u64(o, "retries", t->retries);
	if (t->token_ms >= 0.0005) /* less would print as 0, which means none yet */
		field_add_ms(o, "token_ms", t->token_ms);
	if (t->rtt_ms >= 0.0005)
		field_add_ms(o, "rtt_ms", t->rtt_ms);
}

int msg_get_agent_telemetry(struct msg *m, const struct json *o, struct err *e)
{
	return get_telemetry(m, o, "agent", e);
}

void msg_add_agent_telemetry(const struct msg *m, struct json *o)
{
	add_telemetry(&m->u.telemetry, o, "agent");
}

int msg_get_worker_telemetry(struct msg *m, const struct json *o, struct err *e)
{
	struct msg_telemetry *t = &m->u.telemetry;
	int rc;

	if ((rc = get_telemetry(m, o, "worker", e)) ||
	    (rc = json_get_f64(o, "batch_rows", false, 0, 1e9, &t->batch_rows, e)) ||
	    (rc = json_get_f64(o, "queue_ms", false, 0, 1e9, &t->queue_ms, e)) ||
	    (rc = json_get_u64(o, "evictions", false, 0, FIELD_EXACT_MAX, &t->evictions, e)) ||
	    (rc = json_get_u64(o, "kv_bytes", false, 0, FIELD_EXACT_MAX, &t->kv_bytes, e)))
		return rc;
	return json_get_u64(o, "kv_budget_bytes", false, 0, FIELD_EXACT_MAX, &t->kv_budget_bytes,
			    e);
}

void msg_add_worker_telemetry(const struct msg *m, struct json *o)
{
	const struct msg_telemetry *t = &m->u.telemetry;

	add_telemetry(t, o, "worker");
	if (t->batch_rows >= 0.0005) {
		field_add_ms(o, "batch_rows", t->batch_rows);
		field_add_ms(o, "queue_ms", t->queue_ms);
	}
	json_add_u64(o, "evictions", t->evictions);
	json_add_u64(o, "kv_bytes", t->kv_bytes);
	field_add_count(o, "kv_budget_bytes", t->kv_budget_bytes);
}

int msg_get_decision(struct msg *m, const struct json *o, struct err *e)
{
	struct msg_decision *d = &m->u.decision;
	int rc;

	if ((rc = field_get_name(o, "agent", FIELD_NEEDED, d->agent, e)) ||
	    (rc = json_get_u64(o, "number", true, 0, FIELD_EXACT_MAX, &d->number, e)) ||
	    (rc = field_get_name(o, "worker", FIELD_OPTIONAL, d->worker, e)) ||
	    (rc = json_get_u32(o, "split", true, 0, FIELD_SPLIT_MAX, &d->split, e)) ||
	    (rc = field_get_spec(o, "codec", FIELD_OPTIONAL, d->codec, e)) ||
	    (rc = field_get_kv(o, "kv", d->kv, e)) ||
	    (rc = json_get_u32(o, "context_tokens", false, 0, FIELD_POS_MAX, &d->context_tokens,
			       e)))
		return rc;
	return field_get_text(o, "reason", FIELD_OPTIONAL, d->reason, sizeof(d->reason), e);
}

void msg_add_decision(const struct msg *m, struct json *o)
{
	const struct msg_decision *d = &m->u.decision;

	json_add_str(o, "agent", d->agent);
	json_add_u64(o, "number", d->number);
	field_add_text(o, "worker", d->worker);
	json_add_u64(o, "split", d->split);
	field_add_text(o, "codec", d->codec);
	field_add_text(o, "kv", d->kv);
	field_add_count(o, "context_tokens", d->context_tokens);
	field_add_text(o, "reason", d->reason);
}
