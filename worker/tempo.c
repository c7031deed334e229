#include "worker/tempo.h"

#define LEFT_OUT 128u /* a size too many for a message */

static double rows_of(const struct tempo_step *s)
{
	return s->row_layers / s->layers;
}

static double at_of(const struct tempo_step *s)
{
	return s->row_layer_positions / s->row_layers;
}

/* One row in one layer. */
static double row_ms(const struct tempo_step *s)
{
	return s->layers_us / s->row_layers / 1000;
}

static struct depth_point point_of(const struct tempo_step *s)
{
	return (struct depth_point){ at_of(s), row_ms(s) };
}

static bool is_prompt(const struct tempo_step *s)
{
	return s->decoded >= TEMPO_CHUNK_ROWS && s->answers <= 1;
}

static void learn_decoding(struct tempo *p, const struct tempo_step *s)
{
	p->decode_ms[p->n_decoded % COST_KEPT] = (float)s->decode_us / 1000 / (float)s->decoded;
	if (++p->n_decoded == 2 * COST_KEPT) /* the ring goes on, the count does not run over */
		p->n_decoded = COST_KEPT;
}

double tempo_decode_ms(const struct tempo *p)
{
	return (double)cost_median(p->decode_ms, p->n_decoded);
}

void tempo_shape(struct tempo *p, double attention)
{
	p->one_slopes.shape = p->chunk_slopes.shape = attention;
}

void tempo_learn(struct tempo *p, const struct tempo_step *s)
{
	const uint32_t decode_us = is_prompt(s) ? s->decode_us : 0;
	double rows;
	unsigned class;

	if (!(s->layers > 0) || !(s->row_layers > 0))
		return;
	rows = rows_of(s);
	class = cost_class_of(rows);
	p->at[class][p->layer.classes[class].n % COST_KEPT] = (float)at_of(s);
	cost_learn(&p->layer, rows, s->layers_us / s->layers);
	cost_learn(&p->rest, s->answers, s->rest_us > decode_us ? s->rest_us - decode_us : 0);
	if (is_prompt(s))
		learn_decoding(p, s);
	if (rows == 1 && s->answers == 1)
		window_add(&p->one_rest, s->rest_us / 1000.0);
	if (rows == 1)
		depth_learn(&p->one, &p->one_slopes, at_of(s), row_ms(s));
	else if (rows >= TEMPO_CHUNK_ROWS)
		depth_learn(&p->chunk, &p->chunk_slopes, at_of(s), row_ms(s));
}

void tempo_deeper(struct tempo *p, const struct tempo_step *early, const struct tempo_step *late)
{
	if (early->row_layers > 0 && late->row_layers > 0)
		depth_note(rows_of(early) < TEMPO_CHUNK_ROWS ? &p->one_slopes : &p->chunk_slopes,
			   point_of(early), point_of(late));
}

/* Mean position of the steps of a class. */
static double mean_at(const struct tempo *p, unsigned class)
{
	const uint32_t ever = p->layer.classes[class].n, n = ever < COST_KEPT ? ever : COST_KEPT;
	double sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += (double)p->at[class][i];
	return n ? sum / n : 0;
}

/* Steps between one row and a chunk take for a position what one row does; chunks too, while they
 * have not told. */
static double deeper_ms(const struct tempo *p, uint32_t rows)
{
	const bool one = rows < TEMPO_CHUNK_ROWS || (!p->chunk_slopes.n && p->one.n);
	const struct depth *d = one ? &p->one : &p->chunk;
	const struct depth_point now = { depth_at(d), depth_ms(d) };

	return MSG_DEEPER * depth_slope(one ? &p->one_slopes : &p->chunk_slopes, now);
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

/* Of one row, where such steps ran: not of the newest few only. */
static void tell_one(const struct tempo *p, struct msg_batch *b)
{
	if (p->one.n) {
		b->layer_ms = depth_ms(&p->one);
		b->at = depth_at(&p->one);
	}
	if (p->one_rest.n)
		b->head_ms = window_mean(&p->one_rest);
}

/* Twice as many rows take no more than twice as long: a size of which there were few steps (of a
 * busy moment at the start, say) is believed no more than what a smaller one, that ran more often,
 * would take for each of them. */
static void tame(const struct tempo *p, unsigned class, const struct msg_batch *smaller,
		 struct msg_batch *b)
{
	const uint32_t n = p->layer.classes[class].n;
	const double more = smaller->deeper_ms * smaller->rows * (b->at - smaller->at) / MSG_DEEPER;
	const double most = (smaller->layer_ms + more) * b->rows / smaller->rows;

	if (n < COST_KEPT && n < p->layer.classes[cost_class_of(smaller->rows)].n && most > 0 &&
	    b->layer_ms > most)
		b->layer_ms = most;
}

uint32_t tempo_batches(const struct tempo *p, struct msg_batch batches[static MSG_BATCHES_MAX])
{
	uint32_t n = 0;

	for (unsigned i = 0; i < COST_CLASSES && n < MSG_BATCHES_MAX; i++) {
		const uint32_t rows = 1u << i;

		if (!p->layer.classes[i].n || rows == LEFT_OUT)
			continue;
		batches[n] = (struct msg_batch){
			.rows = rows,
			.layer_ms = at_size(&p->layer, i, rows),
			.head_ms = at_size(&p->rest, i, rows),
			.at = mean_at(p, i),
			.deeper_ms = deeper_ms(p, rows),
		};
		if (rows == 1)
			tell_one(p, &batches[n]);
		if (n)
			tame(p, i, &batches[n - 1], &batches[n]);
		n++;
	}
	return n;
}
