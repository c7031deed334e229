/* agent/meter.h - how fast this agent computes, and how far its worker is, by what happens anyway.
 *
 * What sessions with a worker and sessions without one tell of layers is kept apart; while the ones
 * run, figures of the others follow the machine's pace (agent/drift.h).
 *
 * Fed with the times of jobs and tokens, and with round trips and their sizes; gives figures over a
 * recent window, in the terms of msg_speed and msg_link (schema/msg.h): of what each token takes
 * the mean (base/window.h), since they add up; of what happens once a session, chunks of its prompt
 * too, the median; of the link median and quantiles.
 *
 * A trip of u bytes up and d bytes down takes base + u * up + d * down. Trips are kept by the order
 * of magnitude of their size, the newest few of each, spread over more than a session where tokens
 * take a millisecond (then means are kept); up is the weighted median of the slopes between the
 * medians of any two magnitudes, so that neither jitter nor a straggler nor thousands of small
 * trips move it; base the median of what the trips took besides. Answers are all of about one size,
 * so only probes (agent/probe.h), which come back as long as they went, tell down: what a byte of a
 * probe takes is up + down.
 *
 * A link that changes: a few trips in a row that took more than twice or less than half of what was
 * expected, or some more in a row that took a quarter more or less, and what was before the first
 * of them is forgotten. Then rows of one size tell the time of such rows and no rate: `unsure`,
 * until trips of other sizes or probes come.
 *
 * Pure; time comes in. One thread. All 0 is a meter that knows nothing. */
#ifndef AGENT_METER_H
#define AGENT_METER_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/drift.h"
#include "base/depth.h"
#include "base/window.h"
#include "schema/msg.h"

#define METER_MAGNITUDES 20  /* of sizes: 1, 2..3, 4..7 bytes ... */
#define METER_TRIPS      32u /* newest of a magnitude */
/* A job of so many rows or more tells what a row of a chunk takes: the least of codec/chunk.h. */
#define METER_CHUNK_ROWS 8u
#define METER_GAP_US     20000ull /* once there are so many, those within are one: their mean */
#define METER_STALE_US   300000000ull /* trips so much older than the newest one do not count */

struct meter_trip {
	uint64_t at_us; /* when the answer came */
	float up_bytes, down_bytes, ms;
};

struct meter_trips {
	struct meter_trip kept[METER_MAGNITUDES][METER_TRIPS]; /* rings, by up_bytes */
	uint32_t n[METER_MAGNITUDES];                          /* ever */
	uint32_t merged[METER_MAGNITUDES]; /* trips of which the newest one is the mean */
	uint64_t newest_us;                                    /* 0: none */
};

/* Of one front end. */
struct meter_front {
	struct depth layer_token, layer_row;    /* ms by position */
	struct window beside, head, encode; /* ms */
	/* layer_token, beside of sessions without a worker */
	struct depth local_layer;
	struct window local;
	struct drift drift; /* between layer_token and local_layer with head */
	struct depth_slopes token_slopes, row_slopes; /* of decode rows, of rows of a chunk */
};

/* What a trip takes. */
struct meter_line {
	double base_ms, up_ms, down_ms; /* by itself, per byte; base 0: not known */
};

struct meter {
	struct meter_front fronts[MSG_FRONTS_MAX];
	struct window begin, local_begin, open; /* ms, of sessions; local: without a worker */
	struct meter_trips trips;  /* to the worker, without its own time */
	struct meter_trips probes; /* to the broker */
	double up_ms, down_ms;     /* per byte, as last known; 0: not */
	struct meter_line expected;
	bool by_trips;      /* by enough of them: probes know nothing of the worker */
	uint64_t odd_us;    /* since when trips take another time than expected */
	uint32_t odd;       /* how many in a row, 0: none; */
	uint32_t very_odd;  /* ... of these, the newest ones, by more than a factor of two */
	bool odd_is_longer; /* all of them; else all are shorter */
	uint32_t changes;   /* of the link, ever */
	uint64_t changed_us; /* when the newest of them was noticed */
	bool unsure;        /* its rate is not known since the newest of them */
	uint64_t free_us;   /* by then all that was sent has left, as far as is known */
	uint32_t sends;     /* ever */
};

/* What attention takes for each position before a row, as a share of all matrices of a layer, by
 * the model's shape (segment_attention_work): while positions have told nothing else. */
void meter_shape(struct meter *m, double attention);

/* A job of the compute thread that succeeded. */
struct meter_job {
	unsigned front; /* below MSG_FRONTS_MAX */
	uint32_t layers, rows;
	uint32_t pos; /* of the first row */
	bool sampled, encoded;
	bool local; /* of a session without a worker */
	uint32_t layers_us, head_us, encode_us; /* layers alone, head and sampling, encoding */
};
void meter_job(struct meter *m, const struct meter_job *j);

/* Two jobs of as many rows and layers of that front, at once one after the other, the later one at
 * a much later position: what a position takes. */
void meter_deeper(struct meter *m, const struct meter_job *early, const struct meter_job *late);

/* What a decode token took beside layers, head, encoding and its trip, when it had the agent for
 * itself; local: without a worker. */
void meter_beside(struct meter *m, unsigned front, bool local, double us);

/* A session's first job began so long after its prompt came; local: no OPEN went out before. */
void meter_begin(struct meter *m, bool local, double us);

/* The worker's ACCEPT to its first OPEN came so long after its prompt. */
void meter_open(struct meter *m, double us);

/* A request of so many bytes goes out. True when nothing that was sent before can hold it up: only
 * such a trip is worth measuring. */
bool meter_sent(struct meter *m, uint32_t bytes, uint64_t now_us);

/* A request was answered; `sends` is what m->sends was when it had been sent. */
void meter_answered(struct meter *m, uint32_t sends, uint64_t now_us);

void meter_trip(struct meter *m, const struct meter_trip *t);

/* A probe came back: up_bytes = down_bytes. */
void meter_probe(struct meter *m, const struct meter_trip *t);

/* Figures of a front (but for its name); 0 where there are none. */
void meter_speed(const struct meter *m, unsigned front, struct msg_speed *s);

/* Figures of the link; samples 0 when no trip of late is known. Updates up_ms and down_ms, and what
 * is expected: not per token. */
void meter_link(struct meter *m, uint64_t now_us, struct msg_link *l);

/* Of sessions without a worker, if there were any: with one, ACCEPT comes later than the first job.
 * 0: no session has begun. */
double meter_begin_ms(const struct meter *m);

/* To the broker and back, for an empty payload: median and 95 % quantile; 0, 0: not known. */
void meter_broker(const struct meter *m, double *rtt_ms, double *high_ms);

#endif
