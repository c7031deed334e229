/* agent/verdict.h - whether a decision can be obeyed, and the answer to it. Loop thread. */
#ifndef AGENT_VERDICT_H
#define AGENT_VERDICT_H

#include <stdbool.h>

#include "base/err.h"
#include "schema/msg.h"

struct agent_core;

/* Fill the answer to d: taken, or why not, with the bytes that are missing and the longest context
 * that would fit. The same limits hold as for a session (agent/admit.h), as if no other ran.
 * Returns 0 or the answer's code. */
MUST_CHECK int verdict_on(const struct agent_core *c, const struct msg_decision *d,
			  struct msg_decision_answer *an);

/* Nothing but what is predicted, or the reason, is another. */
bool verdict_is_same(const struct msg_decision *a, const struct msg_decision *b);

/* Publish it, retained. An answer that cannot be sent is lost: after the next connect the retained
 * decision comes again, and is answered again. */
void verdict_publish(struct agent_core *c, const struct msg_decision_answer *an);

#endif
