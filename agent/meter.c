#include "agent/meter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* In a row that took another time: the link has changed. */
#define ODD_TRIPS       16u /* by a quarter, and ... */
#define ODD_MS          0.5
#define VERY_ODD_TRIPS  5u /* by a factor of two, and ... */
#define VERY_ODD_MS     2.0
#define ODD_PROBES      4u /* likewise */
#define VERY_ODD_PROBES 2u
#define ODD_PROBE_BYTES 1024
#define WAY_UP_MS       0.125 /* per byte, while nothing better is known: 64 kbit/s */
#define RATE_MAX        1e6   /* kbit/s: no more can be told from round trips */
#define BYTE_MIN_MS     (8 / RATE_MAX)
#define RTT_MIN_MS      0.01 /* where rates leave nothing of the trips; 0 is: not known */
#define ALL_TRIPS       (METER_MAGNITUDES * METER_TRIPS)
#define FEW             3u /* trips */
#define ENOUGH          8u /* to say what the next ones take */
#define SLOPE_BYTES     256u
#define WEIGHT_MAX      8u /* trips of one magnitude that count in a slope */

static int by_size(const void *a, const void *b)
{
	const float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

/* Sorts v. */
static double quantile(float *v, unsigned n, double q)
{
	const double at = q * (n - 1);
	const unsigned i = (unsigned)at;
	double next;

	qsort(v, n, sizeof(*v), by_size);
	next = v[i + 1 < n ? i + 1 : i];
	return v[i] + (at - i) * (next - v[i]);
}

/* One row in one layer. */
static double row_ms(const struct meter_job *j)
{
	return j->layers_us / 1000.0 / j->layers / j->rows;
}

static struct depth_point point_of(const struct meter_job *j)
{
	return (struct depth_point){ j->rows == 1 ? j->pos : j->pos + j->rows / 2.0, row_ms(j) };
}

static struct depth_point mean_of(const struct depth *d)
{
	return (struct depth_point){ depth_at(d), depth_ms(d) };
}

/* What the machine did since the kind of sessions that does not run now was measured. */
static double pace(const struct meter_front *f)
{
	return drift_factor(&f->drift, f->drift.local ? &f->local_layer : &f->layer_token,
			    &f->token_slopes);
}

static void learn_row(struct meter_front *f, const struct meter_job *j)
{
	struct depth *d = j->local ? &f->local_layer : &f->layer_token;

	if (drift_turns(&f->drift, j->local)) {
		const double changed = pace(f);

		depth_scale(d, changed);
		if (j->local)
			window_scale(&f->head, changed);
	}
	drift_row(&f->drift, j->local, j->pos, row_ms(j));
	depth_learn(d, &f->token_slopes, j->pos, row_ms(j));
}

void meter_shape(struct meter *m, double attention)
{
	for (unsigned i = 0; i < MSG_FRONTS_MAX; i++)
		m->fronts[i].token_slopes.shape = m->fronts[i].row_slopes.shape = attention;
}

void meter_job(struct meter *m, const struct meter_job *j)
{
	struct meter_front *f = &m->fronts[j->front];

	if (j->rows == 1 && j->layers)
		learn_row(f, j);
	if (j->rows >= METER_CHUNK_ROWS && j->layers)
		depth_learn(&f->layer_row, &f->row_slopes, j->pos + j->rows / 2.0, row_ms(j));
	if (j->sampled)
		window_add(&f->head, j->head_us / 1000.0);
	if (j->rows == 1 && j->encoded)
		window_add(&f->encode, j->encode_us / 1000.0);
}

void meter_deeper(struct meter *m, const struct meter_job *early, const struct meter_job *late)
{
	struct meter_front *f = &m->fronts[early->front];

	depth_note(early->rows == 1 ? &f->token_slopes : &f->row_slopes, point_of(early),
		   point_of(late));
}

void meter_beside(struct meter *m, unsigned front, bool local, double us)
{
	struct meter_front *f = &m->fronts[front];

	window_add(local ? &f->local : &f->beside, us > 0 ? us / 1000 : 0);
}

void meter_begin(struct meter *m, bool local, double us)
{
	window_add(local ? &m->local_begin : &m->begin, us / 1000);
}

double meter_begin_ms(const struct meter *m)
{
	return window_median(m->local_begin.n ? &m->local_begin : &m->begin);
}

/* While no trip is known nothing can be told apart. */
void meter_open(struct meter *m, double us)
{
	const struct meter_line *x = &m->expected;
	const double trip = x->base_ms + MSG_OPEN_BYTES * x->up_ms + MSG_ACCEPT_BYTES * x->down_ms;

	if (x->base_ms > 0)
		window_add(&m->open, fmax(0, us / 1000 - trip));
}

void meter_speed(const struct meter *m, unsigned front, struct msg_speed *s)
{
	const struct meter_front *f = &m->fronts[front];
	const double now = pace(f);
	const double token = f->drift.local ? now : 1, local = f->drift.local ? 1 : now;
	const struct depth_point one = mean_of(&f->layer_token);
	const struct depth_point chunk = depth_newest(&f->layer_row, DEPTH_KEPT); /* medians */
	const double deeper = MSG_DEEPER * depth_slope(&f->token_slopes, one);

	s->layer_token_ms = token * one.ms;
	s->layer_token_at = one.at;
	s->layer_row_ms = chunk.ms;
	s->layer_row_at = chunk.at;
	s->deeper_token_ms = token * deeper;
	s->deeper_row_ms =
		f->row_slopes.n ? MSG_DEEPER * depth_slope(&f->row_slopes, chunk) : deeper;
	s->embed_ms = window_mean(&f->beside);
	s->local_layer_ms = local * depth_ms(&f->local_layer);
	s->local_layer_at = depth_at(&f->local_layer);
	s->local_ms = window_mean(&f->local);
	s->head_ms = local * window_mean(&f->head);
	s->encode_ms = window_mean(&f->encode);
}

/* ---- the link ---- */

bool meter_sent(struct meter *m, uint32_t bytes, uint64_t now_us)
{
	const double byte_ms = m->up_ms > 0 ? m->up_ms : WAY_UP_MS;
	const bool clear = now_us >= m->free_us;

	m->sends++;
	m->free_us = (clear ? now_us : m->free_us) + (uint64_t)(bytes * byte_ms * 1000);
	return clear;
}

void meter_answered(struct meter *m, uint32_t sends, uint64_t now_us)
{
	if (sends == m->sends && now_us < m->free_us) /* it was the last one, and has arrived */
		m->free_us = now_us;
}

static unsigned magnitude(double bytes)
{
	unsigned i = 0;

	for (; bytes >= 2 && i + 1 < METER_MAGNITUDES; bytes /= 2)
		i++;
	return i;
}

/* Where the ring is full and its newest trip hardly older, t belongs to the same moment: over a
 * fast link a scheduler's whims last longer than a session. */
static bool is_soon(const struct meter_trips *s, unsigned k, const struct meter_trip *t)
{
	return s->n[k] >= METER_TRIPS &&
	       t->at_us < s->kept[k][(s->n[k] - 1) % METER_TRIPS].at_us + METER_GAP_US;
}

/* Into the newest one, which becomes the mean: the first trip of a moment is not like the others,
 * that follow when all threads are awake. */
static void merge(struct meter_trips *s, unsigned k, const struct meter_trip *t)
{
	struct meter_trip *m = &s->kept[k][(s->n[k] - 1) % METER_TRIPS];
	const float share = 1 / (float)++s->merged[k];

	m->up_bytes += (t->up_bytes - m->up_bytes) * share;
	m->down_bytes += (t->down_bytes - m->down_bytes) * share;
	m->ms += (t->ms - m->ms) * share;
}

static void add(struct meter_trips *s, unsigned k, const struct meter_trip *t)
{
	s->kept[k][s->n[k] % METER_TRIPS] = *t;
	s->merged[k] = 1;
	if (++s->n[k] == 2 * METER_TRIPS)
		s->n[k] = METER_TRIPS;
}

static void keep(struct meter_trips *s, const struct meter_trip *t)
{
	const unsigned k = magnitude(t->up_bytes);

	if (is_soon(s, k, t))
		merge(s, k, t);
	else
		add(s, k, t);
	s->newest_us = t->at_us > s->newest_us ? t->at_us : s->newest_us;
}

/* Drop what is older. */
static void forget(struct meter_trips *s, uint64_t before_us)
{
	struct meter_trips fresh = { 0 };

	for (unsigned k = 0; k < METER_MAGNITUDES; k++) {
		const unsigned kept = s->n[k] < METER_TRIPS ? s->n[k] : METER_TRIPS;

		for (unsigned i = 0; i < kept; i++) {
			if (s->kept[k][i].at_us >= before_us)
				keep(&fresh, &s->kept[k][i]);
		}
	}
	*s = fresh;
}

/* The longer is more than `times` the shorter, and ms more. */
static bool is_far(double a, double b, double times, double ms)
{
	return fmax(a, b) > times * fmin(a, b) + ms;
}

/* Count t into the odd ones of late, or begin anew. */
static void note_odd(struct meter *m, const struct meter_trip *t)
{
	const struct meter_line *x = &m->expected;
	const double ms = x->base_ms + t->up_bytes * x->up_ms + t->down_bytes * x->down_ms;
	const bool longer = t->ms > ms;

	if (!is_far(t->ms, ms, 1.25, ODD_MS) || (m->odd && longer != m->odd_is_longer))
		m->odd = m->very_odd = 0;
	if (!is_far(t->ms, ms, 1.25, ODD_MS))
		return;
	if (!m->odd++)
		m->odd_us = t->at_us;
	m->odd_is_longer = longer;
	m->very_odd = is_far(t->ms, ms, 2, VERY_ODD_MS) ? m->very_odd + 1 : 0;
}

/* Whether the link is still as it was: so many odd trips in a row, or very odd ones, say no. */
static void watch(struct meter *m, const struct meter_trip *t, uint32_t odd, uint32_t very_odd)
{
	if (!m->expected.base_ms || !m->expected.up_ms)
		return;
	note_odd(m, t);
	if (m->odd < odd && m->very_odd < very_odd)
		return;
	forget(&m->trips, m->odd_us);
	forget(&m->probes, m->odd_us);
	m->odd = m->very_odd = 0;
	m->expected = (struct meter_line){ 0 }; /* nothing, until it is known again */
	m->unsure = true;
	m->changes++;
	m->changed_us = t->at_us;
}

void meter_trip(struct meter *m, const struct meter_trip *t)
{
	keep(&m->trips, t);
	if (m->by_trips)
		watch(m, t, ODD_TRIPS, VERY_ODD_TRIPS);
}

void meter_probe(struct meter *m, const struct meter_trip *t)
{
	keep(&m->probes, t);
	if (t->up_bytes >= ODD_PROBE_BYTES)
		watch(m, t, ODD_PROBES, VERY_ODD_PROBES); /* short ones hardly tell a rate */
}

static bool is_fresh(const struct meter_trips *s, const struct meter_trip *t)
{
	return t->at_us + METER_STALE_US >= s->newest_us;
}

/* Trips of magnitude k that count -> out. */
static unsigned fresh_of(const struct meter_trips *s, unsigned k,
			 const struct meter_trip *out[static METER_TRIPS])
{
	const unsigned kept = s->n[k] < METER_TRIPS ? s->n[k] : METER_TRIPS;
	unsigned n = 0;

	for (unsigned i = 0; i < kept; i++) {
		if (is_fresh(s, &s->kept[k][i]))
			out[n++] = &s->kept[k][i];
	}
	return n;
}

/* Of one magnitude. */
struct point {
	double bytes, ms;
	unsigned n;
};

static unsigned points_of(const struct meter_trips *s, struct point p[static METER_MAGNITUDES])
{
	const struct meter_trip *fresh[METER_TRIPS];
	unsigned n = 0;

	for (unsigned k = 0; k < METER_MAGNITUDES; k++) {
		const unsigned count = fresh_of(s, k, fresh);
		float bytes[METER_TRIPS], ms[METER_TRIPS];

		for (unsigned i = 0; i < count; i++) {
			bytes[i] = fresh[i]->up_bytes;
			ms[i] = fresh[i]->ms;
		}
		if (count)
			p[n++] = (struct point){ quantile(bytes, count, 0.5),
						 quantile(ms, count, 0.5), count };
	}
	return n;
}

struct slope {
	float ms; /* per byte */
	double weight;
};

static int by_slope(const void *a, const void *b)
{
	return by_size(&((const struct slope *)a)->ms, &((const struct slope *)b)->ms);
}

static unsigned slopes_of(const struct point *p, unsigned n, struct slope *out)
{
	unsigned count = 0;

	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = i + 1; k < n; k++) {
			const double dx = p[k].bytes - p[i].bytes;
			const unsigned few = p[i].n < p[k].n ? p[i].n : p[k].n;

			/* A neighbour tells little; over few bytes the noise of a wake-up looks
			 * like a slow link. */
			if (p[k].bytes < 2 * p[i].bytes || dx < SLOPE_BYTES)
				continue;
			out[count++] = (struct slope){ (float)((p[k].ms - p[i].ms) / dx),
						       dx * (few < WEIGHT_MAX ? few : WEIGHT_MAX) };
		}
	}
	return count;
}

/* Milliseconds per byte; 0 when the trips are all of one size. */
static double byte_ms_of(const struct meter_trips *s)
{
	struct slope slopes[METER_MAGNITUDES * METER_MAGNITUDES / 2];
	struct point points[METER_MAGNITUDES];
	const unsigned n = slopes_of(points, points_of(s, points), slopes);
	double sum = 0, half = 0;
	unsigned i = 0;

	if (!n)
		return 0;
	qsort(slopes, n, sizeof(*slopes), by_slope);
	for (unsigned k = 0; k < n; k++)
		half += slopes[k].weight / 2;
	while (i + 1 < n && sum + slopes[i].weight < half)
		sum += slopes[i++].weight;
	return slopes[i].ms > BYTE_MIN_MS ? slopes[i].ms : BYTE_MIN_MS;
}

/* What the trips took besides their bytes -> rest; returns how many. */
static unsigned rests_of(const struct meter_trips *s, double up_ms, double down_ms,
			 float rest[static ALL_TRIPS])
{
	const struct meter_trip *fresh[METER_TRIPS];
	unsigned n = 0;

	for (unsigned k = 0; k < METER_MAGNITUDES; k++) {
		const unsigned count = fresh_of(s, k, fresh);

		for (unsigned i = 0; i < count; i++)
			rest[n++] = (float)fmax(0, fresh[i]->ms - fresh[i]->up_bytes * up_ms -
							   fresh[i]->down_bytes * down_ms);
	}
	return n;
}

/* What bytes took by the trips that have most of them, their 95 % quantile. */
static double slow_byte_ms(const struct meter_trips *s, double base_ms, double down_ms,
			   double median_ms)
{
	const struct meter_trip *fresh[METER_TRIPS];
	float each[METER_TRIPS];
	unsigned k = METER_MAGNITUDES, n = 0;

	while (k-- && !n)
		n = fresh_of(s, k, fresh);
	for (unsigned i = 0; i < n; i++)
		each[i] = (float)((fresh[i]->ms - base_ms - fresh[i]->down_bytes * down_ms) /
				  fresh[i]->up_bytes);
	return n ? fmax(median_ms, quantile(each, n, 0.95)) : median_ms;
}

/* Prompts may take longer than rows for other reasons than their bytes: a cold worker, a straggler.
 * So a byte up takes not much more than one of a probe of about that time, which goes both ways,
 * and the bytes of the smallest trips no more than a share of what those take. */
static double believed_ms(const struct meter *m, double up_ms, double both_ms)
{
	struct point p[METER_MAGNITUDES];
	const unsigned n = points_of(&m->trips, p);
	unsigned large = 0;
	double share;

	for (unsigned i = 1; i < n; i++)
		large += p[i].bytes >= 2 * p[0].bytes ? p[i].n : 0;
	if (!large)
		return up_ms;
	if (both_ms > 0 && m->probes.newest_us + METER_STALE_US >= m->trips.newest_us)
		up_ms = fmin(up_ms, 1.25 * both_ms);
	share = large < FEW ? 0.5 : 0.75;
	return fmin(up_ms, fmax(share * p[0].ms / p[0].bytes, BYTE_MIN_MS));
}

/* What is known of the two ways, from trips and probes together. */
static void learn_ways(struct meter *m)
{
	const double both = byte_ms_of(&m->probes);
	const double up = believed_ms(m, byte_ms_of(&m->trips), both);

	if (up > 0)
		m->up_ms = up;
	else if (both > 0)
		m->up_ms = fmax(both / 2, BYTE_MIN_MS); /* nothing says that one way is slower */
	if (both > 0)
		m->down_ms = fmax(both - m->up_ms, fmax(both / 16, BYTE_MIN_MS));
	if (up > 0 || both > 0)
		m->unsure = false;
}

static double rate_of(double byte_ms)
{
	return byte_ms > 0 ? 8 / byte_ms : 0;
}

void meter_link(struct meter *m, uint64_t now_us, struct msg_link *l)
{
	const struct meter_trips *s = m->trips.newest_us ? &m->trips : &m->probes;
	float rest[ALL_TRIPS];
	double slow;

	*l = (struct msg_link){ 0 };
	learn_ways(m);
	l->samples = rests_of(s, m->up_ms, m->down_ms, rest);
	if (!l->samples)
		return;
	l->rtt_ms = fmax(quantile(rest, l->samples, 0.5), RTT_MIN_MS);
	if (!m->odd) { /* else it is still to be seen whether they are the new rule */
		m->expected = (struct meter_line){ l->rtt_ms, m->up_ms, m->down_ms };
		m->by_trips = s == &m->trips && l->samples >= ENOUGH;
	}
	l->rtt_high_ms = fmax(quantile(rest, l->samples, 0.95), RTT_MIN_MS);
	l->up_kbit_s = rate_of(m->up_ms);
	l->down_kbit_s = rate_of(m->down_ms);
	slow = m->up_ms > 0 ? slow_byte_ms(s, l->rtt_ms, m->down_ms, m->up_ms) / m->up_ms : 1;
	l->up_low_kbit_s = l->up_kbit_s / slow;
	l->down_low_kbit_s = l->down_kbit_s / slow;
	l->open_ms = window_median(&m->open);
	l->idle_ms = now_us > s->newest_us ? (double)(now_us - s->newest_us) / 1000 : 0;
}

void meter_broker(const struct meter *m, double *rtt_ms, double *high_ms)
{
	float rest[ALL_TRIPS];
	const unsigned n = rests_of(&m->probes, byte_ms_of(&m->probes), 0, rest);

	*rtt_ms = n ? quantile(rest, n, 0.5) : 0;
	*high_ms = n ? quantile(rest, n, 0.95) : 0;
}
