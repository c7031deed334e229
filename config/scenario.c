#include "config/scenario.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "config/keys.h"
#include "config/load.h"

/* Names, places, limits and defaults. */
#define COUNT(name, field, low, high, text)                                                        \
	{                                                                                          \
		KEY(struct scenario, name, field, KEY_U32), .min = (low), .max = (high),           \
							    .fallback = (text)                     \
	}
#define REAL(name, field, low, high, text)                                                         \
	{                                                                                          \
		KEY(struct scenario, name, field, KEY_REAL), .min = (low), .max = (high),          \
							     .fallback = (text)                    \
	}
#define DRAW(name, field, low, high, text)                                                         \
	{                                                                                          \
		KEY(struct scenario, name, field, KEY_DRAW), .min = (low), .max = (high),          \
							     .fallback = (text)                    \
	}

static const struct key keys[] = {
	COUNT("seed", seed, 0, 4294967295, "1"),
	COUNT("agents", agents, 1, SCENARIO_AGENTS_MAX, "100"),
	COUNT("workers", workers, 0, SCENARIO_WORKERS_MAX, "4"),
	COUNT("duration_s", duration_s, 1, SCENARIO_DURATION_MAX, "600"),
	COUNT("telemetry_s", telemetry_s, 1, 3600, "10"),
	COUNT("model.layers", model.layers, 2, 256, "22"),
	COUNT("model.dim", model.dim, 32, 65536, "2048"),
	COUNT("model.kv_elements", model.kv_elements, 1, 1048576, "512"),
	COUNT("model.context_tokens", model.context_tokens, 16, 1048576, "1024"),
	REAL("model.layer_numbers", model.layer_numbers, 1000, 1000000000000.0, "44040192"),
	REAL("model.vocab", model.vocab, 2, 10000000, "32000"),
	{ KEY(struct scenario, "model.fronts", model.fronts_text, KEY_TEXT),
	  .fallback = "Q8_0:8.5 Q4_0:4.5" },
	REAL("model.worker_bits", model.worker_bits, 1, 32, "8.5"),
	DRAW("agent.memory_mib", agent.memory_mib, 16, 1000000, "lognormal(800, 0.5)"),
	DRAW("agent.threads", agent.threads, 1, 256, "choice(1, 2, 4)"),
	DRAW("agent.sessions", agent.sessions, 1, 64, "choice(1, 2)"),
	DRAW("agent.layer_ms", agent.layer_ms, 0.001, 100000, "lognormal(8, 0.5)"),
	DRAW("agent.row_share", agent.row_share, 0.001, 1, "uniform(0.1, 0.3)"),
	DRAW("agent.head_share", agent.head_share, 0, 100, "uniform(0.9, 1.1)"),
	DRAW("agent.embed_ms", agent.embed_ms, 0, 100000, "uniform(0.1, 0.4)"),
	DRAW("agent.encode_ms", agent.encode_ms, 0, 100000, "uniform(0.1, 0.4)"),
	REAL("agent.jitter", agent.jitter, 0, 2, "0.05"),
	REAL("agent.throttles_per_hour", agent.throttles_per_hour, 0, 1000, "1"),
	DRAW("agent.throttle_s", agent.throttle_s, 1, 1000000, "uniform(30, 120)"),
	DRAW("agent.throttle_factor", agent.throttle_factor, 1, 100, "uniform(1.5, 3)"),
	DRAW("link.up_kbit_s", link.up_kbit_s, 1, 100000000, "lognormal(4000, 1)"),
	DRAW("link.down_kbit_s", link.down_kbit_s, 1, 100000000, "lognormal(8000, 1)"),
	DRAW("link.rtt_ms", link.rtt_ms, 0, 100000, "lognormal(30, 0.5)"),
	REAL("link.jitter", link.jitter, 0, 2, "0.1"),
	REAL("link.walk", link.walk, 0, 2, "0.05"),
	REAL("link.steps_per_hour", link.steps_per_hour, 0, 1000, "2"),
	DRAW("link.step_factor", link.step_factor, 0.001, 1000, "uniform(0.05, 0.5)"),
	DRAW("link.step_s", link.step_s, 1, 1000000, "uniform(60, 600)"),
	REAL("link.outages_per_hour", link.outages_per_hour, 0, 1000, "0.2"),
	DRAW("link.outage_s", link.outage_s, 1, 1000000, "uniform(5, 60)"),
	DRAW("worker.memory_mib", worker.memory_mib, 16, 100000000, "16384"),
	DRAW("worker.sessions", worker.sessions, 1, 65536, "256"),
	DRAW("worker.layer_ms", worker.layer_ms, 0.0001, 100000, "uniform(0.2, 0.4)"),
	DRAW("worker.row_ms", worker.row_ms, 0, 100000, "0.02"),
	DRAW("worker.head_ms", worker.head_ms, 0, 100000, "0.5"),
	REAL("worker.drains_per_hour", worker.drains_per_hour, 0, 1000, "0.1"),
	DRAW("worker.drain_s", worker.drain_s, 1, 1000000, "uniform(60, 300)"),
	REAL("worker.fails_per_hour", worker.fails_per_hour, 0, 1000, "0.1"),
	DRAW("worker.fail_s", worker.fail_s, 1, 1000000, "uniform(30, 300)"),
	REAL("session.per_hour", session.per_hour, 0, 100000, "6"),
	DRAW("session.prompt_tokens", session.prompt_tokens, 1, 1000000, "lognormal(60, 0.6)"),
	DRAW("session.answer_tokens", session.answer_tokens, 1, 1000000, "lognormal(80, 0.7)"),
};

static const struct key_set set = {
	.keys = keys,
	.n_keys = sizeof(keys) / sizeof(keys[0]),
	.owner = load_owner,
};

/* One "Q4_0:4.5" of len characters. */
static int read_front(struct scenario_model *m, const char *text, size_t len, struct err *e)
{
	struct scenario_front *f = &m->fronts[m->n_fronts];
	size_t name = strcspn(text, ": ");
	char *end = NULL;

	if (m->n_fronts == SCENARIO_FRONTS_MAX)
		return err_set(e, ERR_CONFIG, "more than %d precisions", SCENARIO_FRONTS_MAX);
	if (text[name] == ':')
		f->bits = strtod(text + name + 1, &end);
	if (!name || name >= sizeof(f->name) || end != text + len || end == text + name + 1 ||
	    !(f->bits >= 1 && f->bits <= 32))
		return err_set(e, ERR_CONFIG,
			       "must be NAME:BITS with 1..32 bits per number, not \"%.*s\"",
			       len < 40 ? (int)len : 40, text);
	memcpy(f->name, text, name);
	for (uint32_t i = 0; i < m->n_fronts; i++) {
		if (!strcmp(m->fronts[i].name, f->name))
			return err_set(e, ERR_CONFIG, "%s is named twice", f->name);
	}
	m->n_fronts++;
	return 0;
}

static int read_fronts(struct scenario_model *m, struct err *e)
{
	const char *at = m->fronts_text + strspn(m->fronts_text, " ");
	int rc = 0;

	while (!rc && *at) {
		size_t len = strcspn(at, " ");

		rc = read_front(m, at, len, e);
		at += len;
		at += strspn(at, " ");
	}
	if (!rc && !m->n_fronts)
		rc = err_set(e, ERR_CONFIG, "must name a precision, such as Q4_0:4.5");
	return rc;
}

static int read_scenario(struct scenario *out, struct key_source *src, struct err *e)
{
	struct scenario *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return err_set(e, ERR_NOMEM, "out of memory");
	rc = keys_read(s, &set, src, e);
	if (!rc && read_fronts(&s->model, e))
		rc = keys_blame(src, "model.fronts", e);
	if (!rc)
		*out = *s;
	entries_finish(&src->entries);
	free(s);
	return rc;
}

int scenario_parse(struct scenario *s, const char *name, const char *text, size_t len,
		   struct err *e)
{
	struct key_source src = { .name = name, .text = text, .len = len };
	struct err unread;

	return read_scenario(s, &src, e ? e : &unread);
}

int scenario_load(struct scenario *s, const char *path, struct err *e)
{
	struct key_source src;
	struct err unread;
	char *text = NULL;
	int rc = load_source(&src, path, &text, e ? e : &unread);

	src.outside = false;
	if (!rc)
		rc = read_scenario(s, &src, e ? e : &unread);
	free(text);
	return rc;
}

void scenario_print(const struct scenario *s, FILE *out)
{
	keys_print(s, &set, out);
}
