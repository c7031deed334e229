#include "coordinator/plan_prefill.h"

#include <math.h>

#include "coordinator/plan_cost.h"

/* Of worker/sched.c: most rows of a step; a long one, through all layers; the same in bases. */
#define STEP_ROWS  256.0
#define LONG_ROWS  64.0
#define LONG_BASES 16

double plan_prefill_most_rows(const struct plan_worker *w, uint32_t layers, uint32_t of_layers)
{
	const struct plan_batch *one = &w->batches[0], *all = &w->batches[w->n_batches - 1];
	const double row_ms =
		w->n_batches > 1 ? (all->layer_ms - one->layer_ms) / (all->rows - one->rows) : 0;
	const double base_ms = one->layer_ms - one->rows * row_ms;
	const double rows = row_ms > 0 ? LONG_BASES * base_ms / row_ms : 0;

	return floor(fmin(STEP_ROWS, fmax(rows, LONG_ROWS * of_layers / layers)));
}

static double step_ms(const struct plan_prefill *p, double rows)
{
	return p->layers * plan_cost_layer_ms(p->worker, rows, rows, p->at) +
	       rows * p->worker->decode_ms;
}

/* Rows that are all there. */
static double steps_ms(const struct plan_prefill *p, double rows, double most)
{
	const double n = rows > most ? floor(rows / most) : 0;
	double ms = n > 0 ? n * step_ms(p, most) : 0;

	rows -= n * most;
	return ms + (rows > 0 ? step_ms(p, rows) : 0);
}

/* When chunk k is at the worker. The longest path of equal ones changes stage once, at the first
 * or at the last: so gaps between them only grow. */
static double arrival_ms(const struct plan_prefill *p, uint32_t k)
{
	const struct plan_chunk *c = &p->chunk, *r = &p->rest;
	const double opened = p->open_ms + k * c->link_ms;
	const double paced = c->agent_ms + (k - 1.0) * fmax(c->agent_ms, c->link_ms) + c->link_ms;

	if (k <= p->full)
		return fmax(opened, paced);
	return fmax(p->full ? arrival_ms(p, p->full) : p->open_ms,
		    p->full * c->agent_ms + r->agent_ms) +
	       r->link_ms;
}

static double steps_of(double ms, double step)
{
	return step > 0 ? floor(ms / step) : INFINITY;
}

/* Rows of full chunks that are there: the inverse of arrival_ms. */
static double arrived_rows(const struct plan_prefill *p, double ms)
{
	const struct plan_chunk *c = &p->chunk;
	const double opened = steps_of(ms - p->open_ms, c->link_ms);
	const double paced =
		1 + steps_of(ms - c->agent_ms - c->link_ms, fmax(c->agent_ms, c->link_ms));

	return fmin(p->full, fmin(opened, paced)) * c->rows;
}

/* How far the worker is. */
struct walk {
	double free_ms, rows;
};

/* One step, not that with the prompt's end. Chunks come one behind the other: a worker that waits
 * takes the next one alone, one that was busy all that came meanwhile. */
static void step(const struct plan_prefill *p, double most, struct walk *w)
{
	const uint32_t k = 1 + (uint32_t)(w->rows / p->chunk.rows);
	const double come_ms = arrival_ms(p, k), upto = k * (double)p->chunk.rows;

	if (w->free_ms > come_ms) {
		const double there = fmax(upto, arrived_rows(p, w->free_ms));
		const double rows = fmin(most, there - w->rows);

		w->free_ms += step_ms(p, rows);
		w->rows += rows;
		return;
	}
	w->free_ms = come_ms + step_ms(p, p->chunk.rows);
	w->rows = upto;
	/* Who waits for the next one too will wait for all: gaps between them do not shrink. */
	if (k < p->full && w->free_ms <= arrival_ms(p, k + 1))
		w->rows = (p->full - 1) * (double)p->chunk.rows;
}

double plan_prefill_ms(const struct plan_prefill *p)
{
	const double all = (double)p->full * p->chunk.rows + p->rest.rows;
	const double most = plan_prefill_most_rows(p->worker, p->layers, p->of_layers);
	const struct plan_chunk *last = p->rest.rows ? &p->rest : &p->chunk;
	const double last_ms = arrival_ms(p, p->full + (p->rest.rows > 0));
	struct walk now = { 0 }, half = { 0 };
	double pace_ms;

	for (unsigned i = 0; i < PLAN_PREFILL_STEPS; i++) {
		if (now.free_ms >= last_ms || now.rows + last->rows >= all)
			return fmax(now.free_ms, last_ms) + steps_ms(p, all - now.rows, most);
		step(p, most, &now);
		if (i == PLAN_PREFILL_STEPS / 2)
			half = now;
	}
	pace_ms = (now.free_ms - half.free_ms) / (now.rows - half.rows);
	return fmax(last_ms + step_ms(p, last->rows), now.free_ms + (all - now.rows) * pace_ms);
}
