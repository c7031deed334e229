/* schema/msg_decision.c - what was decided, what its agent says to it, and who may decide. */
#include "schema/msg_field.h"

static int get_predicted(struct msg_decision *d, const struct json *o, struct err *e)
{
	const struct json *p = json_get(o, "predicted");
	struct msg_predicted *v = &d->predicted;
	int rc;

	if (!p)
		return 0;
	if (!json_is_object(p))
		return err_set(e, ERR_FORMAT, "key \"predicted\" must be an object");
	d->has_predicted = true;
	if ((rc = field_get_ms(p, "ttft_ms", &v->ttft_ms, e)) ||
	    (rc = field_get_ms(p, "token_ms", &v->token_ms, e)) ||
	    (rc = field_get_ms(p, "up_bytes", &v->up_bytes, e)) ||
	    (rc = field_get_count(p, "edge_bytes", &v->edge_bytes, e)) ||
	    (rc = field_get_count(p, "worker_bytes", &v->worker_bytes, e)))
		return err_wrap(e, "predicted");
	return 0;
}

/* Who decided, why, and what it expects: none of it changes what is to be done. */
static int get_background(struct msg_decision *d, const struct json *o, struct err *e)
{
	int rc;

	if ((rc = field_get_name(o, "coordinator", FIELD_OPTIONAL, d->coordinator, e)) ||
	    (rc = field_get_count(o, "term", &d->term, e)) ||
	    (rc = field_get_text(o, "objective", FIELD_OPTIONAL, d->objective, sizeof(d->objective),
				 e)) ||
	    (rc = get_predicted(d, o, e)))
		return rc;
	return field_get_text(o, "reason", FIELD_OPTIONAL, d->reason, sizeof(d->reason), e);
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
	    (rc = field_get_spec(o, "stay_codec", FIELD_OPTIONAL, d->stay_codec, e)) ||
	    (rc = field_get_kv(o, "kv", d->kv, e)) ||
	    (rc = json_get_u32(o, "context_tokens", false, 0, FIELD_POS_MAX, &d->context_tokens,
			       e)) ||
	    (rc = field_get_front(o, "front", FIELD_OPTIONAL, d->front, e)))
		return rc;
	return get_background(d, o, e);
}

static void add_predicted(const struct msg_predicted *p, struct json *o)
{
	field_add_ms(o, "ttft_ms", p->ttft_ms);
	field_add_ms(o, "token_ms", p->token_ms);
	field_add_ms(o, "up_bytes", p->up_bytes);
	json_add_u64(o, "edge_bytes", p->edge_bytes);
	json_add_u64(o, "worker_bytes", p->worker_bytes);
}

void msg_add_decision(const struct msg *m, struct json *o)
{
	const struct msg_decision *d = &m->u.decision;

	json_add_str(o, "agent", d->agent);
	json_add_u64(o, "number", d->number);
	field_add_text(o, "worker", d->worker);
	json_add_u64(o, "split", d->split);
	field_add_text(o, "codec", d->codec);
	field_add_text(o, "stay_codec", d->stay_codec);
	field_add_text(o, "kv", d->kv);
	field_add_count(o, "context_tokens", d->context_tokens);
	field_add_text(o, "front", d->front);
	field_add_text(o, "coordinator", d->coordinator);
	field_add_count(o, "term", d->term);
	field_add_text(o, "objective", d->objective);
	if (d->has_predicted)
		add_predicted(&d->predicted, json_add_object(o, "predicted"));
	field_add_text(o, "reason", d->reason);
}

int msg_get_decision_answer(struct msg *m, const struct json *o, struct err *e)
{
	struct msg_decision_answer *a = &m->u.decision_answer;
	const char *word = NULL;
	int rc;

	if ((rc = field_get_name(o, "agent", FIELD_NEEDED, a->agent, e)) ||
	    (rc = json_get_u64(o, "number", true, 0, FIELD_EXACT_MAX, &a->number, e)) ||
	    (rc = json_get_bool(o, "taken", true, &a->taken, e)) ||
	    (rc = json_get_str(o, "code", false, TOPIC_NAME_MAX, &word, e)) ||
	    (rc = field_get_text(o, "reason", FIELD_OPTIONAL, a->reason, sizeof(a->reason), e)) ||
	    (rc = field_get_count(o, "missing_bytes", &a->missing_bytes, e)))
		return rc;
	a->code = word ? err_code_of(word) : 0;
	return json_get_u32(o, "context_tokens", false, 0, FIELD_POS_MAX, &a->context_tokens, e);
}

void msg_add_decision_answer(const struct msg *m, struct json *o)
{
	const struct msg_decision_answer *a = &m->u.decision_answer;

	json_add_str(o, "agent", a->agent);
	json_add_u64(o, "number", a->number);
	json_add_bool(o, "taken", a->taken);
	if (a->code)
		json_add_str(o, "code", err_name(a->code));
	field_add_text(o, "reason", a->reason);
	field_add_count(o, "missing_bytes", a->missing_bytes);
	field_add_count(o, "context_tokens", a->context_tokens);
}

int msg_get_coordinator_lease(struct msg *m, const struct json *o, struct err *e)
{
	struct msg_coordinator_lease *l = &m->u.coordinator_lease;
	int rc;

	if ((rc = field_get_name(o, "coordinator", FIELD_NEEDED, l->coordinator, e)) ||
	    (rc = field_get_hex(o, "boot", &l->boot, e)) ||
	    (rc = json_get_u64(o, "term", true, 1, FIELD_EXACT_MAX, &l->term, e)) ||
	    (rc = json_get_u64(o, "renewal", false, 0, FIELD_EXACT_MAX, &l->renewal, e)))
		return rc;
	return json_get_u32(o, "lease_ms", true, 1, FIELD_MS_MAX, &l->lease_ms, e);
}

void msg_add_coordinator_lease(const struct msg *m, struct json *o)
{
	const struct msg_coordinator_lease *l = &m->u.coordinator_lease;

	json_add_str(o, "coordinator", l->coordinator);
	field_add_hex(o, "boot", l->boot);
	json_add_u64(o, "term", l->term);
	field_add_count(o, "renewal", l->renewal);
	json_add_u64(o, "lease_ms", l->lease_ms);
}
