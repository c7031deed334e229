#include "schema/msg.h"

#include <stdlib.h>
#include <string.h>

#include "schema/json.h"
#include "schema/msg_field.h"

static const struct {
	const char *name;
	int (*get)(struct msg *m, const struct json *o, struct err *e);
	void (*add)(const struct msg *m, struct json *o);
} types[MSG_TYPE_COUNT] = {
	[MSG_AGENT_STATUS] = { "agent.status", msg_get_agent_status, msg_add_agent_status },
	[MSG_WORKER_STATUS] = { "worker.status", msg_get_worker_status, msg_add_worker_status },
	[MSG_COORDINATOR_STATUS] = { "coordinator.status", msg_get_coordinator_status,
				     msg_add_coordinator_status },
	[MSG_AGENT_PROFILE] = { "agent.profile", msg_get_agent_profile, msg_add_agent_profile },
	[MSG_AGENT_TELEMETRY] = { "agent.telemetry", msg_get_agent_telemetry,
				  msg_add_agent_telemetry },
	[MSG_WORKER_TELEMETRY] = { "worker.telemetry", msg_get_worker_telemetry,
				   msg_add_worker_telemetry },
	[MSG_COORDINATOR_LEASE] = { "coordinator.lease", msg_get_coordinator_lease,
				    msg_add_coordinator_lease },
	[MSG_DECISION] = { "decision", msg_get_decision, msg_add_decision },
	[MSG_DECISION_ANSWER] = { "decision.answer", msg_get_decision_answer,
				  msg_add_decision_answer },
	[MSG_OPEN] = { "open", msg_get_open, msg_add_open },
	[MSG_ACCEPT] = { "accept", msg_get_accept, msg_add_accept },
	[MSG_ERROR] = { "error", msg_get_error, msg_add_error },
	[MSG_TOKENS] = { "tokens", msg_get_tokens, msg_add_tokens },
	[MSG_NEED] = { "need", msg_get_need, msg_add_need },
	[MSG_CLOSE] = { "close", msg_get_close, msg_add_close },
	[MSG_PROMPT] = { "prompt", msg_get_prompt, msg_add_prompt },
	[MSG_CANCEL] = { "cancel", msg_get_cancel, msg_add_cancel },
	[MSG_REPLY] = { "reply", msg_get_reply, msg_add_reply },
};

static const char *const states[MSG_STATE_COUNT] = {
	[MSG_INIT] = "init",       [MSG_READY] = "ready", [MSG_DRAINING] = "draining",
	[MSG_OFFLINE] = "offline", [MSG_LOST] = "lost",
};

const char *msg_type_name(enum msg_type type)
{
	return (unsigned)type < MSG_TYPE_COUNT ? types[type].name : "unknown";
}

const char *msg_state_name(enum msg_state state)
{
	return (unsigned)state < MSG_STATE_COUNT ? states[state] : "unknown";
}

static const char *const classes[MSG_CLASS_COUNT] = {
	[MSG_CLASS_NONE] = "",
	[MSG_INTERACTIVE] = "interactive",
	[MSG_BULK] = "bulk",
};

const char *msg_class_name(enum msg_class class)
{
	return classes[class];
}

int msg_class_parse(enum msg_class *class, const char *word)
{
	for (unsigned i = 0; i < MSG_CLASS_COUNT; i++) {
		if (!strcmp(word, classes[i])) {
			*class = (enum msg_class)i;
			return 0;
		}
	}
	return ERR_FORMAT;
}

struct msg_sampling msg_sampling_defaults(void)
{
	return (struct msg_sampling){ .top_p = 1, .repeat_penalty = 1, .repeat_last = 64 };
}

static int get_version(const struct json *o, struct err *e)
{
	uint64_t v = MSG_VERSION;
	int rc = json_get_u64(o, "v", false, 0, FIELD_EXACT_MAX, &v, e);

	if (!rc && v != MSG_VERSION)
		rc = err_set(e, ERR_VERSION, "message version %llu, this side speaks %d",
			     (unsigned long long)v, MSG_VERSION);
	return rc;
}

static int get_type(const struct json *o, enum msg_type want, enum msg_type *type, struct err *e)
{
	const char *name = NULL;
	int rc = json_get_str(o, "type", want == MSG_TYPE_COUNT, SIZE_MAX, &name, e);

	if (rc)
		return rc;
	*type = want;
	if (!name)
		return 0;
	for (unsigned t = 0; t < MSG_TYPE_COUNT; t++) {
		if (!strcmp(name, types[t].name)) {
			*type = (enum msg_type)t;
			return 0;
		}
	}
	return err_set(e, ERR_FORMAT, "message of unknown type \"%.40s\"", name);
}

/* *m is zeroed and gets the fields of o. */
static int get_fields(struct msg *m, const struct json *o, enum msg_type want, struct err *e)
{
	int rc;

	if (!json_is_object(o))
		return err_set(e, ERR_FORMAT, "a control message is a JSON object");
	rc = get_version(o, e);
	if (rc)
		return rc;
	rc = get_type(o, want, &m->type, e);
	if (rc)
		return rc;
	rc = types[m->type].get(m, o, e);
	return rc ? err_wrap(e, "%s", types[m->type].name) : 0;
}

int msg_parse(struct msg *m, const char *src, size_t len, enum msg_type want, struct err *e)
{
	struct err own;
	struct json *root = NULL;
	struct msg *got = NULL;
	int rc;

	if (!e)
		e = &own; /* err_wrap returns the code that it finds there */
	rc = json_parse(&root, src, len, e);
	if (rc)
		goto out;
	got = calloc(1, sizeof(*got));
	if (!got) {
		rc = err_set(e, ERR_NOMEM, "message: out of memory");
		goto out;
	}
	rc = get_fields(got, root, want, e);
	if (rc)
		goto out;
	*m = *got;
	memset(got, 0, sizeof(*got)); /* what it owned is the caller's now */
out:
	msg_finish(got);
	free(got);
	json_free(root);
	return rc;
}

int msg_print(const struct msg *m, char **out, size_t *len)
{
	struct json *root = json_object();
	int rc;

	json_add_u64(root, "v", MSG_VERSION);
	json_add_str(root, "type", types[m->type].name);
	types[m->type].add(m, root);
	rc = json_print(root, out, len);
	json_free(root);
	return rc;
}

void msg_finish(struct msg *m)
{
	if (!m)
		return;
	if (m->type == MSG_PROMPT)
		free(m->u.prompt.prompt);
	if (m->type == MSG_REPLY) {
		free(m->u.reply.text);
		free(m->u.reply.ids);
	}
	for (unsigned i = 0; m->type == MSG_AGENT_PROFILE && i < MSG_FRONTS_MAX; i++)
		free(m->u.agent_profile.fronts[i].layer_bytes);
	memset(m, 0, sizeof(*m));
}

bool msg_peek(struct msg_peek *p, const char *src, size_t len)
{
	struct json *root = NULL;

	memset(p, 0, sizeof(*p));
	if (json_parse(&root, src, len, NULL) || !json_is_object(root)) {
		json_free(root);
		return false;
	}
	if (field_get_name(root, "id", FIELD_OPTIONAL, p->id, NULL))
		p->id[0] = '\0';
	if (field_get_session(root, &p->session, &p->epoch, NULL))
		p->session = 0;
	if (json_get_u32(root, "seq", false, 0, UINT32_MAX, &p->seq, NULL))
		p->seq = 0;
	json_free(root);
	return p->id[0] || p->session;
}
