#include "config/config.h"

#include <stdlib.h>

#include "base/kv_type.h"
#include "config/broker_conf.h"
#include "config/keys.h"
#include "config/load.h"

static const struct key keys[] = {
	{ KEY(struct config_agent, "fleet", fleet, KEY_NAME), .fallback = "default" },
	{ KEY(struct config_agent, "agent", agent, KEY_NAME) },
	{ KEY(struct config_agent, "model", model, KEY_PATH) },
	{ KEY(struct config_agent, "split", split, KEY_U32), .max = 4096, .has_auto = true,
	  .auto_value = UINT32_MAX, .fallback = "auto" },
	{ KEY(struct config_agent, "codec", codec, KEY_TEXT), .fallback = "tabq" },
	{ KEY(struct config_agent, "threads", threads, KEY_U32), .min = 1, .max = 64,
	  .has_auto = true, .auto_value = 0, .fallback = "auto" },
	{ KEY(struct config_agent, "pin_threads", pin_threads, KEY_WORD), .words = "no|yes",
	  .fallback = "no" },
	{ KEY(struct config_agent, "spin_us", spin_us, KEY_U32), .max = 10000, .fallback = "1000" },
	{ KEY(struct config_agent, "run_ahead", run_ahead, KEY_WORD), .words = "no|yes",
	  .fallback = "yes" },
	{ KEY(struct config_agent, "drafts", drafts, KEY_U32), .max = 4, .fallback = "4" },
	{ KEY(struct config_agent, "context_tokens", context_tokens, KEY_U32), .min = 16,
	  .max = 1048576, .fallback = "512" },
	{ KEY(struct config_agent, "kv", kv, KEY_WORD), .words = KV_TYPE_WORDS, .fallback = "f16" },
	{ KEY(struct config_agent, "class", class, KEY_WORD), .words = "interactive|bulk",
	  .fallback = "interactive" },
	{ KEY(struct config_agent, "calibration", calibration, KEY_PATH), .fallback = "" },
	{ KEY(struct config_agent, "max_sessions", max_sessions, KEY_U32), .min = 1, .max = 64,
	  .fallback = "4" },
	{ KEY(struct config_agent, "memory_budget", memory_budget_bytes, KEY_BYTES), .min = 1 << 20,
	  .max = 1e15, .has_auto = true, .auto_value = 0, .fallback = "auto" },
	{ KEY(struct config_agent, "memory_reserve", memory_reserve_bytes, KEY_BYTES), .max = 1e15,
	  .fallback = "64MiB" },
	{ KEY(struct config_agent, "max_tokens", max_tokens, KEY_U32), .min = 1, .max = 1048576,
	  .fallback = "256" },
	{ KEY(struct config_agent, "offline_after_ms", offline_after_ms, KEY_U32), .max = 86400000,
	  .fallback = "10000" },
	{ KEY(struct config_agent, "front_fallback", front_fallback, KEY_WORD), .words = "no|yes",
	  .fallback = "yes" },
	{ KEY(struct config_agent, "release_after_ms", release_after_ms, KEY_U32), .max = 86400000,
	  .fallback = "60000" },
	{ KEY(struct config_agent, "telemetry_s", telemetry_s, KEY_U32), .max = 3600,
	  .fallback = "10" },
	{ KEY(struct config_agent, "metered", metered, KEY_WORD), .words = "no|yes",
	  .fallback = "no" },
	{ KEY(struct config_agent, "log", log, KEY_WORD), .words = "error|warn|info|debug",
	  .fallback = "info" },
	BROKER_KEYS(struct config_agent),
	{ KEY(struct config_agent, "sampling.temperature", sampling.temperature, KEY_REAL),
	  .max = 10, .fallback = "0" },
	{ KEY(struct config_agent, "sampling.top_k", sampling.top_k, KEY_U32), .max = 1048576,
	  .fallback = "0" },
	{ KEY(struct config_agent, "sampling.top_p", sampling.top_p, KEY_REAL), .min = 0.0001,
	  .max = 1, .fallback = "1" },
	{ KEY(struct config_agent, "sampling.min_p", sampling.min_p, KEY_REAL), .max = 0.9999,
	  .fallback = "0" },
	{ KEY(struct config_agent, "sampling.repeat_penalty", sampling.repeat_penalty, KEY_REAL),
	  .min = 0.01, .max = 10, .fallback = "1" },
	{ KEY(struct config_agent, "sampling.repeat_last", sampling.repeat_last, KEY_U32),
	  .max = 256, .fallback = "64" },
	{ KEY(struct config_agent, "timeouts.accept_ms", accept_timeout_ms, KEY_U32), .min = 50,
	  .max = 60000, .fallback = "1000" },
	{ KEY(struct config_agent, "timeouts.reply_ms", reply_timeout_ms, KEY_U32), .min = 50,
	  .max = 600000, .fallback = "2000" },
	{ KEY(struct config_agent, "timeouts.session_ms", session_deadline_ms, KEY_U32),
	  .min = 1000, .max = 86400000, .fallback = "120000" },
	{ KEY(struct config_agent, "deadline.ttft_ms", deadline_ttft_ms, KEY_U32), .max = 86400000,
	  .fallback = "0" },
	{ KEY(struct config_agent, "deadline.tpot_ms", deadline_tpot_ms, KEY_U32), .max = 86400000,
	  .fallback = "0" },
	{ KEY(struct config_agent, "deadline.max_delta", deadline_max_delta, KEY_REAL), .max = 0.5,
	  .fallback = "0.02" },
};

static const struct key front_keys[] = {
	{ KEY(struct config_front, "model", model, KEY_PATH), .fallback = "" },
};

static const struct key_map fronts = {
	.name = "fronts",
	.keys = front_keys,
	.n_keys = sizeof(front_keys) / sizeof(front_keys[0]),
	.at_offset = offsetof(struct config_agent, fronts),
	.stride = sizeof(struct config_front),
	.count_offset = offsetof(struct config_agent, n_fronts),
	.max = CONFIG_MAX_FRONTS,
};

_Static_assert(offsetof(struct config_front, front) == 0, "an element starts with its name");

const struct key_set load_agent_keys = {
	.keys = keys,
	.n_keys = sizeof(keys) / sizeof(keys[0]),
	.map = &fronts,
	.owner = load_owner,
};

static int read_agent(struct config_agent *out, struct key_source *src, struct err *e)
{
	struct config_agent c = { 0 };
	int rc = keys_read(&c, &load_agent_keys, src, e);

	if (!rc)
		rc = broker_conf_resolve(&c.broker, src, e);
	if (!rc && !*c.codec) {
		err_set(e, ERR_CONFIG, "must not be empty");
		rc = keys_blame(src, "codec", e);
	}
	if (!c.threads)
		c.threads = load_processors();
	if (!rc)
		*out = c;
	entries_finish(&src->entries);
	return rc;
}

int config_parse_agent(struct config_agent *c, const char *name, const char *text, size_t len,
		       struct err *e)
{
	struct key_source src = { .name = name, .text = text, .len = len };
	struct err unread;

	return read_agent(c, &src, e ? e : &unread);
}

int config_load_agent(struct config_agent *c, const char *path, struct err *e)
{
	struct key_source src;
	struct err unread;
	char *text = NULL;
	int rc = load_source(&src, path, &text, e ? e : &unread);

	if (!rc)
		rc = read_agent(c, &src, e ? e : &unread);
	free(text);
	return rc;
}

void config_print_agent(const struct config_agent *c, FILE *out)
{
	keys_print(c, &load_agent_keys, out);
}
