#include "agent/hurry.h"

static bool is_known(const struct meter *m, const struct probe *p)
{
	return !p->left && !p->sent_us && m->probes.newest_us &&
	       m->probes.newest_us >= m->changed_us;
}

bool hurry_calls(const struct hurry *h, const struct meter *m, const struct probe *p)
{
	return m->changes != h->told || (h->waits && is_known(m, p));
}

uint64_t hurry_due(struct hurry *h, const struct meter *m, const struct probe *p, uint64_t due_us,
		   uint64_t now_us)
{
	uint64_t latest_us = UINT64_MAX;

	if (m->changes != h->told) {
		h->waits = true;
		latest_us = now_us + HURRY_US;
	}
	h->told = m->changes;
	if (h->waits && is_known(m, p)) {
		h->waits = false;
		latest_us = now_us;
	}
	return due_us < latest_us ? due_us : latest_us;
}
