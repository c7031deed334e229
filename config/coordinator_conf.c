#include "config/config.h"

#include <stdlib.h>

#include "base/kv_type.h"
#include "config/broker_conf.h"
#include "config/keys.h"
#include "config/load.h"

/* What a policy may say; prefix is "policy." for the defaults and "" for an override. */
#define POLICY_KEYS(conf, prefix, in)                                                              \
	{ KEY(conf, prefix "split", in split, KEY_U32), .max = 4096, .has_auto = true,             \
	  .auto_value = UINT32_MAX, .fallback = "auto" },                                          \
		{ KEY(conf, prefix "codec", in codec, KEY_TEXT), .fallback = "" },                 \
		{ KEY(conf, prefix "kv", in kv, KEY_WORD), .words = "auto|" KV_TYPE_WORDS,         \
		  .fallback = "auto" },                                                            \
		{ KEY(conf, prefix "worker", in worker, KEY_NAME), .fallback = "" },               \
		{ KEY(conf, prefix "objective", in objective, KEY_WORD),                           \
		  .words = "auto|none|latency|worker|bytes|context", .fallback = "auto" },         \
	{                                                                                          \
		KEY(conf, prefix "context_tokens", in context_tokens, KEY_U32),                    \
			.min = 16, .max = 1048576, .has_auto = true, .auto_value = UINT32_MAX,     \
			.fallback = "auto"                                                         \
	}

/* Limits that a plan keeps; prefix is "limits." for the defaults and "" for an override. */
#define LIMIT_KEYS(conf, prefix, in)                                                               \
	{ KEY(conf, prefix "ttft_ms", in ttft_ms, KEY_U32),                                        \
	  .min = 1,                                                                                \
	  .max = 3600000,                                                                          \
	  .has_auto = true,                                                                        \
	  .auto_value = UINT32_MAX,                                                                \
	  .fallback = "auto" },                                                                    \
		{ KEY(conf, prefix "token_ms", in token_ms, KEY_U32),                              \
		  .min = 1,                                                                        \
		  .max = 3600000,                                                                  \
		  .has_auto = true,                                                                \
		  .auto_value = UINT32_MAX,                                                        \
		  .fallback = "auto" },                                                            \
	{                                                                                          \
		KEY(conf, prefix "loss", in loss, KEY_REAL), .max = 1000, .has_auto = true,        \
							     .fallback = "auto"                    \
	}

static const struct key keys[] = {
	{ KEY(struct config_coordinator, "fleet", fleet, KEY_NAME), .fallback = "default" },
	{ KEY(struct config_coordinator, "coordinator", coordinator, KEY_NAME),
	  .fallback = "coordinator" },
	{ KEY(struct config_coordinator, "lease_ms", lease_ms, KEY_U32), .min = 500, .max = 600000,
	  .fallback = "5000" },
	{ KEY(struct config_coordinator, "log", log, KEY_WORD), .words = "error|warn|info|debug",
	  .fallback = "info" },
	BROKER_KEYS(struct config_coordinator),
	POLICY_KEYS(struct config_coordinator, "policy.", policy.),
	LIMIT_KEYS(struct config_coordinator, "limits.", policy.),
	{ KEY(struct config_coordinator, "expect.prompt_tokens", expect.prompt_tokens, KEY_U32),
	  .min = 1, .max = 1048576, .fallback = "64" },
	{ KEY(struct config_coordinator, "expect.answer_tokens", expect.answer_tokens, KEY_U32),
	  .min = 1, .max = 1048576, .fallback = "64" },
	{ KEY(struct config_coordinator, "expect.sessions", expect.sessions, KEY_U32), .min = 1,
	  .max = 64, .fallback = "1" },
	{ KEY(struct config_coordinator, "expect.epsilon", expect.epsilon, KEY_REAL), .min = 0.001,
	  .max = 0.5, .fallback = "0.05" },
	{ KEY(struct config_coordinator, "expect.tolerance", expect.tolerance, KEY_REAL), .max = 1,
	  .fallback = "0.02" },
	{ KEY(struct config_coordinator, "expect.min_gain", expect.min_gain, KEY_REAL), .max = 1,
	  .fallback = "0.05" },
	{ KEY(struct config_coordinator, "calibration", calibration, KEY_PATH), .fallback = "" },
};

static const struct key agent_keys[] = { POLICY_KEYS(struct config_policy, "", ),
					 LIMIT_KEYS(struct config_policy, "", ) };

static const struct key_map agents = {
	.name = "agents",
	.keys = agent_keys,
	.n_keys = sizeof(agent_keys) / sizeof(agent_keys[0]),
	.at_offset = offsetof(struct config_coordinator, agents),
	.stride = sizeof(struct config_policy),
	.count_offset = offsetof(struct config_coordinator, n_agents),
	.max = CONFIG_MAX_AGENTS,
};

_Static_assert(offsetof(struct config_policy, agent) == 0, "an element starts with its name");

const struct key_set load_coordinator_keys = {
	.keys = keys,
	.n_keys = sizeof(keys) / sizeof(keys[0]),
	.map = &agents,
	.owner = load_owner,
};

static int read_coordinator(struct config_coordinator *out, struct key_source *src, struct err *e)
{
	struct config_coordinator *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return err_set(e, ERR_NOMEM, "out of memory");
	rc = keys_read(c, &load_coordinator_keys, src, e);
	if (!rc)
		rc = broker_conf_resolve(&c->broker, src, e);
	if (!rc)
		*out = *c;
	entries_finish(&src->entries);
	free(c);
	return rc;
}

int config_parse_coordinator(struct config_coordinator *c, const char *name, const char *text,
			     size_t len, struct err *e)
{
	struct key_source src = { .name = name, .text = text, .len = len };
	struct err unread;

	return read_coordinator(c, &src, e ? e : &unread);
}

int config_load_coordinator(struct config_coordinator *c, const char *path, struct err *e)
{
	struct key_source src;
	struct err unread;
	char *text = NULL;
	int rc = load_source(&src, path, &text, e ? e : &unread);

	if (!rc)
		rc = read_coordinator(c, &src, e ? e : &unread);
	free(text);
	return rc;
}

void config_print_coordinator(const struct config_coordinator *c, FILE *out)
{
	keys_print(c, &load_coordinator_keys, out);
}
