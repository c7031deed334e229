/* agent/probe.h - how far the broker is, found out while the agent has nothing else to do.
 *
 * An agent publishes bytes to itself (agent/<a>/probe) and takes the time until they are back:
 * rounds of a short one and a long one, which together tell round trip and rate. Three rounds after
 * the start; then one after every_us without sessions, and twice as long after each that follows,
 * up to PROBE_SLOWEST_US: an idle gateway costs its link some 2 MB a day. While sessions run that
 * have all layers here, every_us after every_us: whether the link would do better matters then.
 * While sessions cross it none, as they take what they measure, but for two rounds with a long one
 * that is not so long when the link has changed and the rows' size tells no rate. On a slow link no
 * long one is longer than that, as a session that begins waits behind it.
 * Pure; time comes in. */
#ifndef AGENT_PROBE_H
#define AGENT_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/meter.h"

#define PROBE_SHORT       64u /* bytes */
#define PROBE_LONG        4096u
#define PROBE_LONG_BESIDE 1024u /* beside sessions: tokens wait behind it */
#define PROBE_LONG_MS     100.0f /* more than a long one may take beyond a short one */
#define PROBE_ROUNDS      3u
#define PROBE_PATIENCE_US 10000000ull
#define PROBE_SLOWEST_US  600000000ull
#define PROBE_CONFIRMS    4u /* rounds in a row that come at once */

struct probe {
	uint64_t every_us; /* 0: never */
	uint64_t id;       /* tells our probes from those of another life */
	/* the probe's own */
	uint64_t serial, due_us, pause_us;
	uint64_t sent_us;   /* 0: none is out */
	uint64_t unsure_us; /* beside sessions none before this */
	unsigned left;      /* to be sent of this round */
	unsigned confirmed; /* rounds that came at once, since one that was due */
	float short_ms;     /* trip of the last short one */
	bool slow;          /* a PROBE_LONG would take longer than PROBE_LONG_MS */
};

enum probe_need {
	PROBE_IDLE,   /* no session runs */
	PROBE_LOCAL,  /* sessions run, but none crosses the broker */
	PROBE_BUSY,   /* sessions cross it, their trips tell more */
	PROBE_UNSURE, /* sessions cross it, and its rate is not known any more */
};

/* Bytes to be sent now; 0: none. */
uint32_t probe_next(struct probe *p, enum probe_need need, uint64_t now_us);

/* What came back is not what was expected: once the round is over another one comes at once, so
 * that a change is sure soon. */
void probe_confirm(struct probe *p);

/* What to send: dst[len], len >= 16. */
void probe_put(const struct probe *p, uint8_t *dst, size_t len);

/* Bytes came back: true when they are the probe that is out, then *t is its trip. */
bool probe_take(struct probe *p, const uint8_t *src, size_t len, uint64_t now_us,
		struct meter_trip *t);

#endif
