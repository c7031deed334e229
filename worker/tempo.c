#include "worker/tempo.h"

#define LEFT_OUT 128u /* a size too many for a message */

void tempo_learn(struct tempo *p, const struct tempo_step *s)
{
	double rows;

	if (!(s->layers > 0))
		return;
	rows = s->row_layers / s->layers;
	cost_learn(&p->layer, rows, s->layers_us / s->layers);
	cost_learn(&p->rest, s->answers, s->rest_us);
}

/* A class' median, moved to its smallest size along the line through all classes: at most as far
 * as if time were a matter of rows alone. */
static double at_size(const struct cost *c, unsigned class, double rows)
{
	const struct cost_class *k = &c->classes[class];

	if (!k->n)
		return cost_us(c, rows) / 1000;
	const double us = k->mid_us - c->row_us * (k->mid_rows - rows);
	const double least = k->mid_us * rows / k->mid_rows;

	return (us > least ? us : least) / 1000;
}

uint32_t tempo_batches(const struct tempo *p, struct msg_batch batches[static MSG_BATCHES_MAX])
{
	uint32_t n = 0;

	for (unsigned i = 0; i < COST_CLASSES && n < MSG_BATCHES_MAX; i++) {
		const uint32_t rows = 1u << i;

		if (!p->layer.classes[i].n || rows == LEFT_OUT)
			continue;
		batches[n++] = (struct msg_batch){
			.rows = rows,
			.layer_ms = at_size(&p->layer, i, rows),
			.head_ms = at_size(&p->rest, i, rows),
		};
	}
	return n;
}
