#include "agent/rehearsal.h"

#include <stdlib.h>

#include "base/clock.h"

#define CHUNKS 2u

/* Run rows at the next position; the job has its times. */
static int run(const struct rehearsal *r, uint32_t *pos, uint32_t rows)
{
	struct head_job *job = r->job;
	struct inbox_item *item;

	job->pos = *pos;
	job->rows = rows;
	if (!head_submit(r->head, job))
		return ERR_BUSY;
	do {
		item = queue_pop(r->done, -1);
	} while (item && item->kind != INBOX_JOB);
	*pos += rows;
	return item ? job->rc : ERR_CANCELLED;
}

/* A decode row stands for sessions with a worker, and for those without. */
static void learn(const struct rehearsal *r, struct meter *m, const struct head_job *job)
{
	struct meter_job seen = { .layers = r->layers,
				  .rows = job->rows,
				  .encoded = true,
				  .layers_us = job->layers_us - job->embed_us,
				  .encode_us = job->encode_us };

	meter_job(m, &seen);
	if (job->rows != 1)
		return;
	seen.encoded = false;
	seen.local = true;
	meter_job(m, &seen);
	meter_beside(m, 0, false, job->queue_us + job->embed_us);
	meter_beside(m, 0, true, job->queue_us + job->embed_us);
}

/* Rows of a chunk that will hardly take longer than that: two take about as long as one by itself,
 * or less. */
static uint32_t affordable(const struct rehearsal *r, uint64_t row_us, uint64_t left_us)
{
	const uint64_t rows = 2 * left_us / (row_us ? row_us : 1);

	return rows < r->chunk_rows ? (uint32_t)rows : r->chunk_rows;
}

static int rehearse(const struct rehearsal *r, struct meter *m)
{
	uint64_t begun_us, row_us = 0, now_us;
	struct head_job best = {
		.rows = 0
	}; /* the fastest chunk: others may use the machine now */
	uint32_t pos = 0, rows;
	int rc = run(r, &pos, 1); /* brings the weights in */

	begun_us = now_us = clock_now_us();
	for (unsigned i = 0; !rc && i < REHEARSAL_ROWS && now_us < begun_us + REHEARSAL_US / 3;
	     i++) {
		rc = run(r, &pos, 1);
		if (!rc)
			learn(r, m, r->job);
		row_us = clock_now_us() - now_us;
		now_us += row_us;
	}
	for (unsigned i = 0; !rc && i < CHUNKS && now_us < begun_us + REHEARSAL_US; i++) {
		rows = affordable(r, row_us, begun_us + REHEARSAL_US - now_us);
		if (rows < METER_CHUNK_ROWS)
			break;
		rc = run(r, &pos, rows);
		if (!rc && (!best.rows || r->job->layers_us * best.rows < best.layers_us * rows))
			best = *r->job;
		now_us = clock_now_us();
	}
	if (!rc && best.rows)
		learn(r, m, &best);
	return rc;
}

int rehearsal_run(const struct rehearsal *r, struct meter *m)
{
	uint32_t *ids = malloc(r->chunk_rows * sizeof(*ids));
	int rc;

	if (!ids)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < r->chunk_rows; i++)
		ids[i] = (i * 7919u + 1) % r->n_vocab;
	r->job->ids = ids;
	rc = rehearse(r, m);
	free(ids);
	return rc;
}
