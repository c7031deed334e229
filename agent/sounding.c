#include "agent/sounding.h"

#include <stdio.h>

#include "agent/slot.h"
#include "base/log.h"

#define EXPIRY_S 10

static enum probe_need need_of(const struct agent_core *c)
{
	unsigned used = 0, local = 0;

	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		used += c->slots[i].used;
		local += c->slots[i].used && c->slots[i].session.state == SESSION_LOCAL;
	}
	if (used > local)
		return c->meter.unsure ? PROBE_UNSURE : PROBE_BUSY;
	return used ? PROBE_LOCAL : PROBE_IDLE;
}

void sounding_send(struct agent_core *c, uint64_t now_us)
{
	struct topic t = { .kind = TOPIC_AGENT_PROBE };
	uint8_t bytes[PROBE_LONG];
	char topic[TOPIC_MAX];
	uint32_t len;

	if (!c->up || now_us < c->settled_us)
		return;
	len = probe_next(&c->probe, need_of(c), now_us);
	if (!len)
		return;
	snprintf(t.fleet, sizeof(t.fleet), "%s", c->conf.fleet);
	snprintf(t.agent, sizeof(t.agent), "%s", c->conf.agent);
	topic_put(topic, &t);
	probe_put(&c->probe, bytes, len);
	if (bus_publish(c->bus, &(struct bus_publish){ .topic = topic,
						       .payload = bytes,
						       .len = len,
						       .expiry_s = EXPIRY_S }))
		log_event(LOG_LEVEL_DEBUG, "probe.failed", "bytes=%u", len);
	else
		(void)meter_sent(&c->meter, len, now_us); /* rows behind it wait */
}

void sounding_take(struct agent_core *c, const struct bus_event *ev, uint64_t now_us)
{
	const uint64_t at_us = ev->at_us ? ev->at_us : now_us; /* layers may keep us from looking */
	struct meter_trip trip;

	if (probe_take(&c->probe, ev->payload, ev->len, at_us, &trip)) {
		meter_probe(&c->meter, &trip);
		if (c->meter.odd)
			probe_confirm(&c->probe);
	}
	sounding_send(c, now_us);
}

void sounding_hurry(struct agent_core *c, uint64_t *due_ms, uint64_t now_ms)
{
	const uint64_t due_us =
		hurry_due(&c->hurry, &c->meter, &c->probe, *due_ms * 1000, now_ms * 1000);

	if (c->conf.probe_us)
		*due_ms = due_us / 1000;
}

bool sounding_calls(const struct agent_core *c)
{
	return c->conf.probe_us && hurry_calls(&c->hurry, &c->meter, &c->probe);
}
