/* schema/msg_session.c - the control messages of a session, on its up and down topics. */
#include "schema/msg_field.h"

#include <string.h>

static int get_open_sampling(struct msg_open *s, const struct json *o, struct err *e)
{
	const struct json *sampling = json_get(o, "sampling");
	unsigned given;
	int rc;

	if (!sampling || !json_is_object(sampling))
		return err_set(e, ERR_FORMAT, "key \"sampling\" must be an object");
	rc = field_get_sampling(sampling, &s->sampling, &given, e);
	return rc ? err_wrap(e, "sampling") : 0;
}

int msg_get_open(struct msg *m, const struct json *o, struct err *e)
{
	struct msg_open *s = &m->u.open;
	int rc;

	if ((rc = field_get_session(o, &s->session, &s->epoch, e)) ||
	    (rc = field_get_name(o, "agent", FIELD_NEEDED, s->agent, e)) ||
	    (rc = field_get_hash(o, "model", FIELD_NEEDED, s->model, e)) ||
	    (rc = json_get_u32(o, "dim", true, 1, FIELD_DIM_MAX, &s->dim, e)) ||
	    (rc = json_get_u32(o, "split", true, 0, FIELD_SPLIT_MAX, &s->split, e)) ||
	    (rc = json_get_u32(o, "context_tokens", true, 1, FIELD_POS_MAX, &s->context_tokens,
			       e)) ||
	    (rc = field_get_spec(o, "codec", FIELD_NEEDED, s->codec, e)) ||
	    (rc = field_get_kv(o, "kv", s->kv, e)) ||
	    (rc = field_get_class(o, "class", &s->class, e)) ||
	    (rc = field_get_calibration(o, "calibration", FIELD_OPTIONAL, s->calibration, e)) ||
	    (rc = get_open_sampling(s, o, e)))
		return rc;
	return field_get_ids(o, "history", FIELD_OPTIONAL, s->history, MSG_IDS_MAX, &s->n_history,
			     e);
}

void msg_add_open(const struct msg *m, struct json *o)
{
	const struct msg_open *s = &m->u.open;

	field_add_session(o, s->session, s->epoch);
	json_add_str(o, "agent", s->agent);
	json_add_str(o, "model", s->model);
	json_add_u64(o, "dim", s->dim);
	json_add_u64(o, "split", s->split);
	json_add_u64(o, "context_tokens", s->context_tokens);
	json_add_str(o, "codec", s->codec);
	field_add_text(o, "kv", s->kv);
	field_add_text(o, "class", msg_class_name(s->class));
	field_add_text(o, "calibration", s->calibration);
	field_add_sampling(json_add_object(o, "sampling"), &s->sampling, MSG_SAMPLING_ALL);
	if (s->n_history)
		field_add_ids(o, "history", s->history, s->n_history);
}

int msg_get_accept(struct msg *m, const struct json *o, struct err *e)
{
	struct msg_accept *s = &m->u.accept;
	int rc;

	if ((rc = field_get_session(o, &s->session, &s->epoch, e)) ||
	    (rc = field_get_name(o, "worker", FIELD_NEEDED, s->worker, e)) ||
	    (rc = json_get_u32(o, "context_tokens", true, 1, FIELD_POS_MAX, &s->context_tokens,
			       e)) ||
	    (rc = json_get_u32(o, "max_packet_bytes", true, 1, FIELD_PACKET_MAX,
			       &s->max_packet_bytes, e)))
		return rc;
	return json_get_u32(o, "drafts", false, 0, FIELD_DRAFTS_MAX, &s->drafts, e);
}

void msg_add_accept(const struct msg *m, struct json *o)
{
	const struct msg_accept *s = &m->u.accept;

	field_add_session(o, s->session, s->epoch);
	json_add_str(o, "worker", s->worker);
	json_add_u64(o, "context_tokens", s->context_tokens);
	json_add_u64(o, "max_packet_bytes", s->max_packet_bytes);
	field_add_count(o, "drafts", s->drafts);
}

int msg_get_error(struct msg *m, const struct json *o, struct err *e)
{
	struct msg_error *s = &m->u.error;
	const char *word = NULL;
	int rc;

	if ((rc = field_get_session(o, &s->session, &s->epoch, e)) ||
	    (rc = json_get_u32(o, "seq", true, 0, UINT32_MAX, &s->seq, e)) ||
	    (rc = json_get_str(o, "code", true, TOPIC_NAME_MAX, &word, e)) ||
	    (rc = json_get_bool(o, "again", false, &s->again, e)))
		return rc;
	s->code = err_code_of(word);
	return field_get_text(o, "reason", FIELD_OPTIONAL, s->reason, sizeof(s->reason), e);
}

void msg_add_error(const struct msg *m, struct json *o)
{
	const struct msg_error *s = &m->u.error;

	field_add_session(o, s->session, s->epoch);
	json_add_u64(o, "seq", s->seq);
	json_add_str(o, "code", err_name(s->code));
	json_add_bool(o, "again", s->again);
	field_add_text(o, "reason", s->reason);
}

int msg_get_tokens(struct msg *m, const struct json *o, struct err *e)
{
	struct msg_tokens *s = &m->u.tokens;
	int rc;

	if ((rc = field_get_session(o, &s->session, &s->epoch, e)) ||
	    (rc = json_get_u32(o, "seq", true, 0, UINT32_MAX, &s->seq, e)) ||
	    (rc = json_get_u32(o, "pos", true, 0, FIELD_POS_MAX, &s->pos, e)) ||
	    (rc = field_get_ids(o, "ids", FIELD_NEEDED, s->ids, MSG_IDS_MAX, &s->n_ids, e)) ||
	    (rc = json_get_bool(o, "end", false, &s->end, e)) ||
	    (rc = json_get_u32(o, "queue_us", false, 0, UINT32_MAX, &s->queue_us, e)))
		return rc;
	if (!s->n_ids)
		return err_set(e, ERR_FORMAT, "key \"ids\" must hold at least one token id");
	return json_get_u32(o, "compute_us", false, 0, UINT32_MAX, &s->compute_us, e);
}

void msg_add_tokens(const struct msg *m, struct json *o)
{
	const struct msg_tokens *s = &m->u.tokens;

	field_add_session(o, s->session, s->epoch);
	json_add_u64(o, "seq", s->seq);
	json_add_u64(o, "pos", s->pos);
	field_add_ids(o, "ids", s->ids, s->n_ids);
	json_add_bool(o, "end", s->end);
	json_add_u64(o, "queue_us", s->queue_us);
	json_add_u64(o, "compute_us", s->compute_us);
}

int msg_get_need(struct msg *m, const struct json *o, struct err *e)
{
	struct msg_need *s = &m->u.need;
	int rc;

	if ((rc = field_get_session(o, &s->session, &s->epoch, e)) ||
	    (rc = json_get_u32(o, "seq", true, 0, UINT32_MAX, &s->seq, e)))
		return rc;
	if ((rc = json_get_u32(o, "kv_len", true, 0, FIELD_POS_MAX, &s->kv_len, e)))
		return rc;
	s->has_fill = json_get(o, "fill_len");
	if (!s->has_fill)
		return 0;
	if ((rc = json_get_u32(o, "fill_split", true, 0, FIELD_SPLIT_MAX, &s->fill_split, e)) ||
	    (rc = json_get_u32(o, "fill_seq", true, 0, UINT32_MAX, &s->fill_seq, e)))
		return rc;
	return json_get_u32(o, "fill_len", true, 0, FIELD_POS_MAX, &s->fill_len, e);
}

void msg_add_need(const struct msg *m, struct json *o)
{
	const struct msg_need *s = &m->u.need;

	field_add_session(o, s->session, s->epoch);
	json_add_u64(o, "seq", s->seq);
	json_add_u64(o, "kv_len", s->kv_len);
	if (!s->has_fill)
		return;
	json_add_u64(o, "fill_split", s->fill_split);
	json_add_u64(o, "fill_seq", s->fill_seq);
	json_add_u64(o, "fill_len", s->fill_len);
}

int msg_get_close(struct msg *m, const struct json *o, struct err *e)
{
	struct msg_close *s = &m->u.close;
	int rc = field_get_session(o, &s->session, &s->epoch, e);

	if (rc)
		return rc;
	return field_get_text(o, "reason", FIELD_OPTIONAL, s->reason, sizeof(s->reason), e);
}

void msg_add_close(const struct msg *m, struct json *o)
{
	const struct msg_close *s = &m->u.close;

	field_add_session(o, s->session, s->epoch);
	field_add_text(o, "reason", s->reason);
}
