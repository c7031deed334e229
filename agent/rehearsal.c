#include "agent/rehearsal.h"

#include <stdlib.h>

#include "base/clock.h"
#include "engine/kv_rows.h"

#define CHUNKS 4u

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

static struct meter_job seen(const struct rehearsal *r)
{
	const struct head_job *job = r->job;

	return (struct meter_job){ .layers = r->layers,
				   .rows = job->rows,
				   .pos = job->pos,
				   .encoded = true,
				   .layers_us = job->layers_us - job->embed_us,
				   .encode_us = job->encode_us };
}

/* A decode row stands for sessions with a worker, and for those without. */
static void learn_row(const struct head_job *job, struct meter *m, struct meter_job row)
{
	meter_job(m, &row);
	row.encoded = false;
	row.local = true;
	meter_job(m, &row);
	meter_beside(m, 0, false, job->queue_us + job->embed_us);
	meter_beside(m, 0, true, job->queue_us + job->embed_us);
}

/* Jobs of so many rows, n at most and none to begin after until_us; the fastest -> *best (others
 * may use the machine now), unless there was none. m: learns from rows, one behind the other; else
 * they all run at the same position. */
static int run_some(const struct rehearsal *r, struct meter *m, uint32_t *pos, uint32_t rows,
		    unsigned n, uint64_t until_us, struct meter_job *best)
{
	int rc = 0;

	while (n-- && !rc && clock_now_us() < until_us) {
		rc = run(r, pos, rows);
		if (!rc && m)
			learn_row(r->job, m, seen(r));
		if (!rc && (!best->rows || r->job->layers_us - r->job->embed_us < best->layers_us))
			*best = seen(r);
		if (!rc && !m)
			kv_truncate(r->job->kv, *pos -= rows);
	}
	return rc;
}

/* Jobs like *early again, behind many positions. */
static int run_deep(const struct rehearsal *r, struct meter *m, unsigned n, uint64_t until_us,
		    const struct meter_job *early)
{
	struct meter_job late = { 0 };
	uint32_t pos;
	int rc;

	if (!r->deep || !early->rows || kv_rows_make_up(r->job->kv, r->deep))
		return 0;
	pos = kv_length(r->job->kv);
	rc = run_some(r, NULL, &pos, early->rows, n, until_us, &late);
	if (!rc && late.rows)
		meter_deeper(m, early, &late);
	return rc;
}

/* Rows of a chunk that will hardly take longer than that: two take about as long as one by itself,
 * or less. */
static uint32_t affordable(const struct rehearsal *r, uint64_t row_us, uint64_t left_us)
{
	const uint64_t rows = 2 * left_us / (row_us ? row_us : 1);

	return rows < r->chunk_rows ? (uint32_t)rows : r->chunk_rows;
}

static int rehearse_rows(const struct rehearsal *r, struct meter *m, uint32_t *pos,
			 uint64_t begun_us, uint64_t *row_us)
{
	struct meter_job best = { 0 };
	int rc = run_some(r, m, pos, 1, REHEARSAL_ROWS, begun_us + REHEARSAL_US / 4, &best);

	*row_us = best.layers_us + best.encode_us;
	return rc ? rc : run_deep(r, m, REHEARSAL_ROWS, begun_us + REHEARSAL_US / 2, &best);
}

static int rehearse_chunks(const struct rehearsal *r, struct meter *m, uint32_t pos,
			   uint64_t row_us, uint64_t end_us)
{
	const uint64_t now_us = clock_now_us();
	const uint32_t rows = affordable(r, row_us, end_us > now_us ? end_us - now_us : 0);
	struct meter_job best = { 0 };
	int rc;

	if (rows < METER_CHUNK_ROWS)
		return 0;
	rc = run_some(r, NULL, &pos, rows, CHUNKS, now_us + (end_us - now_us) / 2, &best);
	if (rc || !best.rows)
		return rc;
	meter_job(m, &best);
	return run_deep(r, m, CHUNKS, end_us - (best.layers_us + best.encode_us), &best);
}

static int rehearse(const struct rehearsal *r, struct meter *m)
{
	uint64_t begun_us, row_us;
	uint32_t pos = 0;
	int rc = run(r, &pos, 1); /* brings the weights in */

	begun_us = clock_now_us();
	if (!rc)
		rc = rehearse_rows(r, m, &pos, begun_us, &row_us);
	return rc ? rc : rehearse_chunks(r, m, pos, row_us, begun_us + REHEARSAL_US);
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
