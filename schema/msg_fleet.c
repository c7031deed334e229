/* schema/msg_fleet.c - who is there, and what it can do. */
#include "schema/msg_field.h"

#include <stdlib.h>
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

/* What a planner wants to know of a worker: all of it may be missing. */
static int get_worker_facts(struct msg_worker_status *s, const struct json *o, struct err *e)
{
	int rc;

	if ((rc = json_get_u32(o, "kv_elements", false, 0, UINT32_MAX, &s->kv_elements, e)) ||
	    (rc = json_get_u32(o, "threads", false, 0, UINT32_MAX, &s->threads, e)) ||
	    (rc = field_get_count(o, "budget_bytes", &s->budget_bytes, e)) ||
	    (rc = field_get_count(o, "weight_bytes", &s->weight_bytes, e)) ||
	    (rc = field_get_count(o, "layer_bytes", &s->layer_bytes, e)))
		return rc;
	return field_get_count(o, "head_bytes", &s->head_bytes, e);
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
	if ((rc = field_get_calibration(o, "calibration", FIELD_OPTIONAL, s->calibration, e)) ||
	    (rc = get_worker_facts(s, o, e)))
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
	field_add_count(o, "kv_elements", s->kv_elements);
	field_add_count(o, "threads", s->threads);
	field_add_count(o, "budget_bytes", s->budget_bytes);
	field_add_count(o, "weight_bytes", s->weight_bytes);
	field_add_count(o, "layer_bytes", s->layer_bytes);
	field_add_count(o, "head_bytes", s->head_bytes);
	field_add_text(o, "version", s->version);
}

int msg_get_coordinator_status(struct msg *m, const struct json *o, struct err *e)
{
	struct msg_coordinator_status *s = &m->u.coordinator_status;
	int rc;

	if ((rc = field_get_name(o, "coordinator", FIELD_NEEDED, s->coordinator, e)) ||
	    (rc = get_state(o, &s->state, e)) || (rc = field_get_hex(o, "boot", &s->boot, e)) ||
	    (rc = json_get_bool(o, "active", false, &s->active, e)) ||
	    (rc = field_get_count(o, "term", &s->term, e)) ||
	    (rc = json_get_u32(o, "agents", false, 0, UINT32_MAX, &s->agents, e)) ||
	    (rc = json_get_u32(o, "workers", false, 0, UINT32_MAX, &s->workers, e)))
		return rc;
	return field_get_text(o, "version", FIELD_OPTIONAL, s->version, sizeof(s->version), e);
}

void msg_add_coordinator_status(const struct msg *m, struct json *o)
{
	const struct msg_coordinator_status *s = &m->u.coordinator_status;

	json_add_str(o, "coordinator", s->coordinator);
	json_add_str(o, "state", msg_state_name(s->state));
	field_add_hex(o, "boot", s->boot);
	json_add_bool(o, "active", s->active);
	field_add_count(o, "term", s->term);
	json_add_u64(o, "agents", s->agents);
	json_add_u64(o, "workers", s->workers);
	field_add_text(o, "version", s->version);
}

/* `layers` and the array say the same number: a reader that trusts one of them is right. */
static int get_layer_bytes(struct msg_front *f, const struct json *o, struct err *e)
{
	const struct json *arr = json_get(o, "layer_bytes");
	uint32_t i = 0;

	if (!json_is_array(arr) || json_array_len(arr) != f->layers)
		return err_set(e, ERR_FORMAT, "key \"layer_bytes\" must be an array of %u numbers",
			       f->layers);
	f->layer_bytes = malloc((f->layers + 1u) * sizeof(*f->layer_bytes));
	if (!f->layer_bytes)
		return err_set(e, ERR_NOMEM, "key \"layer_bytes\": out of memory");
	for (const struct json *v = json_array_at(arr, 0); v; v = json_next(v), i++) {
		if (json_u64(v, FIELD_EXACT_MAX, &f->layer_bytes[i]))
			return err_set(e, ERR_FORMAT,
				       "key \"layer_bytes\", element %u is not a number of bytes",
				       i);
	}
	return 0;
}

static int get_front(void *item, const struct json *o, struct err *e)
{
	struct msg_front *f = item;
	int rc;

	if ((rc = field_get_front(o, "name", FIELD_NEEDED, f->name, e)) ||
	    (rc = json_get_u32(o, "layers", true, 0, FIELD_SPLIT_MAX, &f->layers, e)) ||
	    (rc = field_get_count(o, "embed_bytes", &f->embed_bytes, e)) ||
	    (rc = field_get_count(o, "head_bytes", &f->head_bytes, e)))
		return rc;
	return get_layer_bytes(f, o, e);
}

static int get_profile_bytes(struct msg_agent_profile *p, const struct json *o, struct err *e)
{
	const struct {
		const char *key;
		uint64_t *v;
	} sizes[] = {
		{ "budget_bytes", &p->budget_bytes },
		{ "base_bytes", &p->base_bytes },
		{ "session_bytes", &p->session_bytes },
		{ "token_bytes", &p->token_bytes },
	};
	int rc = 0;

	for (size_t i = 0; !rc && i < sizeof(sizes) / sizeof(sizes[0]); i++)
		rc = json_get_u64(o, sizes[i].key, true, 0, FIELD_EXACT_MAX, sizes[i].v, e);
	return rc;
}

int msg_get_agent_profile(struct msg *m, const struct json *o, struct err *e)
{
	const struct field_list fronts = { MSG_FRONTS_MAX, sizeof(struct msg_front), get_front };
	struct msg_agent_profile *p = &m->u.agent_profile;
	int rc;

	if ((rc = field_get_name(o, "agent", FIELD_NEEDED, p->agent, e)) ||
	    (rc = field_get_hex(o, "boot", &p->boot, e)) ||
	    (rc = field_get_hash(o, "model", FIELD_NEEDED, p->model, e)) ||
	    (rc = json_get_u32(o, "layers", true, 1, FIELD_SPLIT_MAX, &p->n_layers, e)) ||
	    (rc = json_get_u32(o, "dim", true, 1, FIELD_DIM_MAX, &p->dim, e)) ||
	    (rc = json_get_u32(o, "kv_elements", true, 1, UINT32_MAX, &p->kv_elements, e)) ||
	    (rc = json_get_u32(o, "threads", true, 1, UINT32_MAX, &p->threads, e)) ||
	    (rc = json_get_u32(o, "max_sessions", true, 1, UINT32_MAX, &p->max_sessions, e)) ||
	    (rc = json_get_u32(o, "context_tokens", true, 1, FIELD_POS_MAX, &p->context_tokens,
			       e)) ||
	    (rc = json_get_u32(o, "prefill_rows", true, 1, FIELD_POS_MAX, &p->prefill_rows, e)) ||
	    (rc = get_profile_bytes(p, o, e)) ||
	    (rc = field_get_list(o, "fronts", &fronts, p->fronts, &p->n_fronts, e)) ||
	    (rc = field_get_front(o, "front", FIELD_OPTIONAL, p->front, e)))
		return rc;
	return p->n_fronts ? 0 : err_set(e, ERR_FORMAT, "key \"fronts\" must name at least one");
}

static void add_front(const struct msg_front *f, struct json *o)
{
	struct json *arr;

	json_add_str(o, "name", f->name);
	json_add_u64(o, "layers", f->layers);
	json_add_u64(o, "embed_bytes", f->embed_bytes);
	json_add_u64(o, "head_bytes", f->head_bytes);
	arr = json_add_array(o, "layer_bytes");
	for (uint32_t i = 0; i < f->layers; i++)
		json_push_u64(arr, f->layer_bytes[i]);
}

void msg_add_agent_profile(const struct msg *m, struct json *o)
{
	const struct msg_agent_profile *p = &m->u.agent_profile;
	struct json *arr;

	json_add_str(o, "agent", p->agent);
	field_add_hex(o, "boot", p->boot);
	json_add_str(o, "model", p->model);
	json_add_u64(o, "layers", p->n_layers);
	json_add_u64(o, "dim", p->dim);
	json_add_u64(o, "kv_elements", p->kv_elements);
	json_add_u64(o, "threads", p->threads);
	json_add_u64(o, "max_sessions", p->max_sessions);
	json_add_u64(o, "context_tokens", p->context_tokens);
	json_add_u64(o, "prefill_rows", p->prefill_rows);
	json_add_u64(o, "budget_bytes", p->budget_bytes);
	json_add_u64(o, "base_bytes", p->base_bytes);
	json_add_u64(o, "session_bytes", p->session_bytes);
	json_add_u64(o, "token_bytes", p->token_bytes);
	arr = json_add_array(o, "fronts");
	for (uint32_t i = 0; i < p->n_fronts; i++)
		add_front(&p->fronts[i], json_push_object(arr));
	field_add_text(o, "front", p->front);
}
