/* tools/run_local.c - no daemon is there: this process is the agent for one prompt. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "base/clock.h"
#include "daemon/daemon.h"
#include "tools/run.h"

#define PATIENCE_MS 1000 /* until it is said what is waited for */

struct host {
	struct run *r;
	struct agent *agent;
	uint64_t since_ms;
	bool told;
};

/* Once, on a terminal or off it. */
static void tell_waiting(void *ctx)
{
	struct host *h = ctx;
	const uint32_t alone_s = (h->r->conf.offline_after_ms + 999) / 1000;
	const char *why = "", *what;

	if (h->told || h->r->streamed || clock_now_ms() < h->since_ms + PATIENCE_MS)
		return;
	what = agent_waits_for(h->agent, &why);
	if (!what)
		return;
	h->told = true;
	fprintf(stderr, "splitmq run: waiting for a %s%s%s%s", what, why[0] ? " (" : "", why,
		why[0] ? ")" : "");
	if (h->r->conf.offline_after_ms && !h->r->prompt.has_split)
		fprintf(stderr, "; without one this agent goes on alone after %u s, if it can",
			alone_s);
	fprintf(stderr, "\n");
}

static void on_reply(void *ctx, const struct msg_reply *reply)
{
	struct host *h = ctx;

	run_show(h->r, reply);
	if (reply->done)
		agent_stop(h->agent);
}

/* One Ctrl-C is enough here: drain, then cancel. */
static void on_signal(void *ctx, int signal)
{
	agent_signal(ctx, signal);
	agent_signal(ctx, signal);
}

int run_in_process(struct run *r, struct err *e)
{
	struct host h = { .r = r, .since_ms = clock_now_ms() };
	struct msg_prompt m = r->prompt;
	int rc = agent_create(&h.agent, &r->conf, on_reply, &h, e);

	if (rc)
		return rc;
	m.prompt = strdup(r->prompt.prompt);
	rc = m.prompt ? 0 : err_set(e, ERR_NOMEM, "prompt");
	if (!rc && daemon_catch_signals(on_signal, h.agent))
		rc = err_set(e, ERR_INTERNAL, "signals");
	if (!rc) {
		agent_prompt(h.agent, &m);
		rc = agent_run(h.agent, tell_waiting, e);
	}
	free(m.prompt);
	daemon_ignore_signals();
	agent_destroy(h.agent);
	return rc;
}
