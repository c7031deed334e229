/* tools/run.h - the parts of `splitmq run`: options, the two ways to an agent, the report. */
#ifndef TOOLS_RUN_H
#define TOOLS_RUN_H

#include <stdbool.h>

#include "base/err.h"
#include "config/config.h"
#include "schema/msg.h"

struct run {
	struct config_agent conf;
	struct msg_prompt prompt;
	bool json;
	const char *trace; /* --trace FILE; or NULL */
	bool local;    /* --in-process: do not look for an agent daemon */
	bool streamed; /* some text was printed */
	bool done;     /* the final reply came */
	int error;     /* its error, ERR_* */
};

/* A reply, piece or final, goes to stdout; the summary of the final one to stderr. */
void run_show(struct run *r, const struct msg_reply *reply);

/* Hand the prompt to the agent daemon over the broker. ERR_NOT_FOUND when it is not running
 * (nothing was sent then), ERR_OFFLINE, ERR_TIMEOUT. */
MUST_CHECK int run_remote(struct run *r, struct err *e);

/* Be the agent ourselves for this one prompt. */
MUST_CHECK int run_in_process(struct run *r, struct err *e);

#endif
