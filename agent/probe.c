#include "agent/probe.h"

#include <string.h>

#include "base/le.h"

/* The next round, later each time. */
static void begin_round(struct probe *p, uint64_t now_us)
{
	p->left = p->serial ? 2 : 2 * PROBE_ROUNDS;
	p->confirmed = 0;
	if (!p->pause_us)
		p->pause_us = p->every_us;
	p->due_us = now_us + p->pause_us;
	p->pause_us *= 2;
	if (p->pause_us > PROBE_SLOWEST_US)
		p->pause_us = p->every_us > PROBE_SLOWEST_US ? p->every_us : PROBE_SLOWEST_US;
}

/* Sessions cross the link: the next idle round is every_us after them. */
static void stay_out(struct probe *p, enum probe_need need, uint64_t now_us)
{
	p->due_us = now_us + p->every_us;
	if (need == PROBE_BUSY) {
		p->left = 0;
		p->sent_us = 0;
	} else if (!p->left && now_us >= p->unsure_us) {
		p->left = 4;
		p->unsure_us = now_us + p->every_us;
	}
}

uint32_t probe_next(struct probe *p, enum probe_need need, uint64_t now_us)
{
	const bool beside = need == PROBE_BUSY || need == PROBE_UNSURE;

	if (!p->every_us)
		return 0;
	if (need == PROBE_LOCAL && p->due_us > now_us + p->every_us)
		p->due_us = now_us + p->every_us; /* it was slow, of idleness */
	if (need != PROBE_IDLE)
		p->pause_us = 0;
	if (beside)
		stay_out(p, need, now_us);
	if (p->sent_us && now_us < p->sent_us + PROBE_PATIENCE_US)
		return 0;
	if (p->sent_us) /* lost, or forbidden by the broker: not again before the next round */
		p->left = 0;
	p->sent_us = 0;
	if (!p->left && now_us < p->due_us)
		return 0;
	if (!p->left)
		begin_round(p, now_us);
	p->left--;
	p->serial++;
	p->sent_us = now_us;
	if (p->left % 2)
		return PROBE_SHORT;
	return beside || p->slow ? PROBE_LONG_BESIDE : PROBE_LONG;
}

void probe_confirm(struct probe *p)
{
	if (p->left || p->confirmed == PROBE_CONFIRMS)
		return;
	p->confirmed++;
	p->left = 2;
}

void probe_put(const struct probe *p, uint8_t *dst, size_t len)
{
	memset(dst, 0, len);
	le_put64(dst, p->id);
	le_put64(dst + 8, p->serial);
}

/* Whether the link is slow, by a long probe behind a short one. */
static void judge(struct probe *p, const struct meter_trip *t)
{
	const float more = t->up_bytes - (float)PROBE_SHORT;

	if (more <= 0)
		p->short_ms = t->ms;
	else
		p->slow = (t->ms - p->short_ms) * (float)(PROBE_LONG - PROBE_SHORT) / more >
			  PROBE_LONG_MS;
}

bool probe_take(struct probe *p, const uint8_t *src, size_t len, uint64_t now_us,
		struct meter_trip *t)
{
	if (!p->sent_us || len < 16 || le_get64(src) != p->id || le_get64(src + 8) != p->serial)
		return false;
	*t = (struct meter_trip){ .at_us = now_us,
				  .up_bytes = (float)len,
				  .down_bytes = (float)len,
				  .ms = (float)(now_us - p->sent_us) / 1000 };
	p->sent_us = 0;
	judge(p, t);
	return true;
}
