#include "config/config.h"

#include <stdlib.h>

#include "base/kv_type.h"
#include "config/broker_conf.h"
#include "config/keys.h"
#include "config/load.h"

static const struct key keys[] = {
	{ KEY(struct config_worker, "fleet", fleet, KEY_NAME), .fallback = "default" },
	{ KEY(struct config_worker, "worker", worker, KEY_NAME) },
	{ KEY(struct config_worker, "model", model, KEY_PATH) },
	{ KEY(struct config_worker, "first_layer", first_layer, KEY_U32), .max = 4096,
	  .fallback = "0" },
	{ KEY(struct config_worker, "threads", threads, KEY_U32), .min = 1, .max = 64,
	  .has_auto = true, .auto_value = 0, .fallback = "auto" },
	{ KEY(struct config_worker, "pin_threads", pin_threads, KEY_WORD), .words = "no|yes",
	  .fallback = "no" },
	{ KEY(struct config_worker, "spin_us", spin_us, KEY_U32), .max = 10000,
	  .fallback = "1000" },
	{ KEY(struct config_worker, "context_tokens", context_tokens, KEY_U32), .min = 16,
	  .max = 1048576, .fallback = "512" },
	{ KEY(struct config_worker, "kv", kv, KEY_WORD), .words = KV_TYPE_WORDS,
	  .fallback = "f16" },
	{ KEY(struct config_worker, "calibration", calibration, KEY_PATH), .fallback = "" },
	{ KEY(struct config_worker, "max_sessions", max_sessions, KEY_U32), .min = 1, .max = 1024,
	  .fallback = "16" },
	{ KEY(struct config_worker, "memory_budget", memory_budget_bytes, KEY_BYTES),
	  .min = 1 << 20, .max = 1e15, .has_auto = true, .auto_value = 0, .fallback = "auto" },
	{ KEY(struct config_worker, "memory_reserve", memory_reserve_bytes, KEY_BYTES), .max = 1e15,
	  .fallback = "64MiB" },
	{ KEY(struct config_worker, "release_after_ms", release_after_ms, KEY_U32), .max = 86400000,
	  .fallback = "60000" },
	{ KEY(struct config_worker, "telemetry_s", telemetry_s, KEY_U32), .max = 3600,
	  .fallback = "10" },
	{ KEY(struct config_worker, "log", log, KEY_WORD), .words = "error|warn|info|debug",
	  .fallback = "info" },
	BROKER_KEYS(struct config_worker),
	{ KEY(struct config_worker, "batch.interactive_ms", interactive_ms, KEY_U32), .min = 1,
	  .max = 3600000, .fallback = "500" },
	{ KEY(struct config_worker, "batch.bulk_ms", bulk_ms, KEY_U32), .min = 1, .max = 3600000,
	  .fallback = "30000" },
	{ KEY(struct config_worker, "batch.prompt_share", prompt_share, KEY_U32), .min = 1,
	  .max = 1000, .fallback = "15" },
	{ KEY(struct config_worker, "batch.drafts", drafts, KEY_U32), .max = 4, .fallback = "4" },
	{ KEY(struct config_worker, "timeouts.evict_ms", session_evict_ms, KEY_U32), .min = 100,
	  .max = 86400000, .fallback = "5000" },
	{ KEY(struct config_worker, "timeouts.idle_ms", session_idle_ms, KEY_U32), .min = 1000,
	  .max = 86400000, .fallback = "60000" },
};

const struct key_set load_worker_keys = {
	.keys = keys,
	.n_keys = sizeof(keys) / sizeof(keys[0]),
	.owner = load_owner,
};

static int read_worker(struct config_worker *out, struct key_source *src, struct err *e)
{
	struct config_worker c = { 0 };
	int rc = keys_read(&c, &load_worker_keys, src, e);

	if (!rc)
		rc = broker_conf_resolve(&c.broker, src, e);
	if (!c.threads)
		c.threads = load_processors();
	if (!rc)
		*out = c;
	entries_finish(&src->entries);
	return rc;
}

int config_parse_worker(struct config_worker *c, const char *name, const char *text, size_t len,
			struct err *e)
{
	struct key_source src = { .name = name, .text = text, .len = len };
	struct err unread;

	return read_worker(c, &src, e ? e : &unread);
}

int config_load_worker(struct config_worker *c, const char *path, struct err *e)
{
	struct key_source src;
	struct err unread;
	char *text = NULL;
	int rc = load_source(&src, path, &text, e ? e : &unread);

	if (!rc)
		rc = read_worker(c, &src, e ? e : &unread);
	free(text);
	return rc;
}

void config_print_worker(const struct config_worker *c, FILE *out)
{
	keys_print(c, &load_worker_keys, out);
}
