#include "agent/waiting.h"

#include <stdlib.h>
#include <string.h>

#include "agent/offline.h"

unsigned waiting_find(const struct agent_core *c, const char *id)
{
	unsigned i = 0;

	while (i < c->n_waiting && strcmp(c->waiting[i].prompt.id, id))
		i++;
	return i;
}

void waiting_drop(struct agent_core *c, unsigned i)
{
	free(c->waiting[i].prompt.prompt);
	c->n_waiting--;
	memmove(&c->waiting[i], &c->waiting[i + 1], (c->n_waiting - i) * sizeof(c->waiting[0]));
}

unsigned waiting_next(const struct agent_core *c)
{
	unsigned i = c->held ? c->n_waiting : 0;

	while (i < c->n_waiting && !c->up && !slot_is_local(c, &c->waiting[i].prompt))
		i++;
	return i;
}

/* Why a prompt waits no longer; 0: it does. */
static int wait_over(const struct agent_core *c, const struct waiting *w, uint64_t now_us,
		     const char **why)
{
	if (now_us >= w->deadline_us) {
		*why = c->up ? "the prompt still waited for its turn when its deadline passed"
			     : "the broker was away until the prompt's deadline passed";
		return ERR_TIMEOUT;
	}
	if (!c->away_long || !w->prompt.has_split || w->prompt.split >= c->conf.n_layers)
		return 0;
	*why = offline_reason(c);
	return ERR_OFFLINE;
}

void waiting_expire(struct agent_core *c, uint64_t now_us)
{
	for (unsigned i = 0; i < c->n_waiting;) {
		const struct waiting *w = &c->waiting[i];
		const char *why = NULL;
		const int rc = wait_over(c, w, now_us, &why);

		if (rc) {
			slot_refuse(c, w->prompt.id, w->in_process, rc, why);
			waiting_drop(c, i);
		} else {
			i++;
		}
	}
}
