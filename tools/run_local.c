/* tools/run_local.c - no daemon is there: this process is the agent for one prompt. */
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "daemon/daemon.h"
#include "tools/run.h"

struct host {
	struct run *r;
	struct agent *agent;
};

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
	struct host h = { .r = r };
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
		rc = agent_run(h.agent, e);
	}
	free(m.prompt);
	daemon_ignore_signals();
	agent_destroy(h.agent);
	return rc;
}
