#include "coordinator/accuracy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/chunk.h"
#include "codec/spec.h"

#define MAX_DELTAS    (PLAN_MAX_LEVELS - 3) /* beside f32, f16 and q8 */
#define PLAIN_DELTA   0.005f /* what q8 and q4 are taken for: not finer than the finest level */
#define UNKNOWN       ((float)NAN)
#define ROWS_PER_SIZE 64u /* rows of a prompt that are coded together, for the size of one */

/* Precisions of weights, from coarse to fine, with the numbers of GGUF. */
static const struct {
	const char *name;
	uint16_t type;
} precisions[] = {
	{ "Q2_K", 10 }, { "Q3_K", 11 }, { "IQ4_XS", 23 }, { "IQ4_NL", 20 }, { "Q4_0", 2 },
	{ "Q4_1", 3 },  { "Q4_K", 12 }, { "Q5_0", 6 },    { "Q5_1", 7 },    { "Q5_K", 13 },
	{ "Q6_K", 14 }, { "Q8_0", 8 },  { "BF16", 30 },   { "F16", 1 },     { "F32", 0 },
};

#define N_PRECISIONS (sizeof(precisions) / sizeof(precisions[0]))

struct builder {
	const struct accuracy_conf *c;
	struct codec_spec levels[PLAN_MAX_LEVELS];
	uint32_t n_levels;
	float deltas[MAX_DELTAS]; /* that the calibration has lines of, rising */
	uint32_t n_deltas;
	uint16_t fronts[PLAN_MAX_FRONTS]; /* types of the lines to use; or: */
	bool front_known[PLAN_MAX_FRONTS];
};

/* Which lines of the calibration speak of this. */
struct place {
	uint16_t front, kv;
	float delta;
	bool decode;
};

static const struct cal_loss *line_of(const struct cal *cal, const struct place *p, uint32_t split)
{
	for (uint32_t i = 0; i < cal->n_losses; i++) {
		const struct cal_loss *l = &cal->losses[i];

		if (l->split == split && l->front_type == p->front && l->kv_type == p->kv &&
		    !l->decode == !p->decode && l->delta == p->delta)
			return l;
	}
	return NULL;
}

/* Rise of perplexity. The mean divergence is the rise to be expected; a text of n tokens tells the
 * ratio itself with a deviation of about sqrt(2 divergence / n): it counts where it is certainly
 * higher. */
static float loss_of(const struct cal_loss *l)
{
	const float noise = l->tokens ? sqrtf(2 * l->kl / (float)l->tokens) : 0;

	return fmaxf(l->ppl_ratio - 1 - 2 * noise, expm1f(l->kl));
}

static float bits_of(const struct cal_loss *l)
{
	return l->bits;
}

/* A figure at a split: of its line, else on the straight line between the nearest splits that have
 * one, else as the nearest. */
static float at_split(const struct cal *cal, const struct place *p, uint32_t split,
		      uint32_t n_layers, float (*figure)(const struct cal_loss *))
{
	const struct cal_loss *below = NULL, *above = NULL;

	for (uint32_t l = split + 1; !below && l-- > 0;)
		below = line_of(cal, p, l);
	for (uint32_t l = split; !above && l <= n_layers; l++)
		above = line_of(cal, p, l);
	if (!below || !above || below == above)
		return below ? figure(below) : above ? figure(above) : UNKNOWN;
	return figure(below) + (figure(above) - figure(below)) * (float)(split - below->split) /
				       (float)(above->split - below->split);
}

static float worse(float a, float b)
{
	return isnan(a) ? b : isnan(b) ? a : fmaxf(a, b);
}

/* Prompts are coded in chunks and answers row by row: the worse of both. */
static float both_ways(const struct builder *b, struct place p, uint32_t split)
{
	float rows;

	p.decode = true;
	rows = at_split(b->c->cal, &p, split, b->c->n_layers, loss_of);
	p.decode = false;
	return worse(rows, at_split(b->c->cal, &p, split, b->c->n_layers, loss_of));
}

/* Coarser rows never lose less, whatever the noise of a short text says. */
static float loss_at_delta(const struct builder *b, struct place p, uint32_t split, uint32_t i)
{
	float loss = UNKNOWN;

	for (uint32_t k = 0; k <= i; k++) {
		p.delta = b->deltas[k];
		loss = worse(loss, both_ways(b, p, split));
	}
	return loss;
}

/* What precisions lose without any coding of rows: what they lose more at the finest level. */
static float loss_uncoded(const struct builder *b, const struct place *p, uint32_t split)
{
	const struct place own = { .front = CAL_AS_IS, .kv = KV_F16 };
	float here = loss_at_delta(b, *p, split, 0), plain = loss_at_delta(b, own, split, 0);

	if (p->front == CAL_AS_IS && p->kv == KV_F16)
		return 0;
	return fmaxf(here - plain, 0);
}

/* Between measured levels on a straight line, from no coding on. */
static float loss_between(const struct builder *b, const struct place *p, uint32_t split,
			  float delta)
{
	float low = loss_uncoded(b, p, split), from = 0;

	for (uint32_t i = 0; i < b->n_deltas; i++) {
		float high = loss_at_delta(b, *p, split, i), to = b->deltas[i];

		if (delta <= to)
			return low + (high - low) * (delta - from) / (to - from);
		low = high;
		from = to;
	}
	return low * delta / from; /* beyond the coarsest: in proportion */
}

static float delta_of(const struct codec_spec *s)
{
	if (s->tabq)
		return s->delta;
	return s->plain == PLAIN_F32 || s->plain == PLAIN_F16 ? 0 : PLAIN_DELTA;
}

/* All layers at the agent: no rows are coded, and one more layer than at the last split is in the
 * front end's precision. */
static float loss_whole(const struct builder *b, const struct place *p)
{
	const uint32_t n = b->c->n_layers;
	float loss = loss_uncoded(b, p, n - 1);

	return p->front == CAL_AS_IS || n < 2 ? loss : loss * (float)n / (float)(n - 1);
}

static float loss_at(const struct builder *b, uint32_t front, enum kv_type kv, uint32_t level,
		     uint32_t split)
{
	struct place p = { .front = split ? b->fronts[front] : CAL_AS_IS,
			   .kv = (uint16_t)(kv == KV_F32 ? KV_F16 : kv) };
	const float delta = delta_of(&b->levels[level]);

	if (split && !b->front_known[front])
		return UNKNOWN;
	if (!b->n_deltas) /* no calibration: what changes nothing loses nothing */
		return !front && p.kv == KV_F16 && (split == b->c->n_layers || delta == 0)
			       ? 0
			       : UNKNOWN;
	if (split == b->c->n_layers)
		return loss_whole(b, &p);
	return loss_between(b, &p, split, delta);
}

double accuracy_plain_bits(double delta)
{
	return fmax(0.5 * log2(1 / delta) + 0.45, 0.05);
}

/* Bits fall by one half per halving of the step: a line over log delta. */
static float bits_between(const struct builder *b, uint32_t split, float delta, bool decode)
{
	struct place p = { .front = CAL_AS_IS, .kv = KV_F16, .decode = decode };
	float before = UNKNOWN, from = 0;

	for (uint32_t i = 0; i < b->n_deltas; i++) {
		float bits;

		p.delta = b->deltas[i];
		bits = at_split(b->c->cal, &p, split, b->c->n_layers, bits_of);
		if (delta <= p.delta || i + 1 == b->n_deltas) {
			if (isnan(before))
				return fmaxf(bits + 0.5f * log2f(p.delta / delta), 0);
			return fmaxf(before + (bits - before) * log2f(delta / from) /
						      log2f(p.delta / from),
				     0);
		}
		before = bits;
		from = p.delta;
	}
	return UNKNOWN;
}

static float bits_at(const struct builder *b, uint32_t level, uint32_t split, bool decode)
{
	const struct codec_spec *s = &b->levels[level];
	const uint32_t rows = decode ? 1 : ROWS_PER_SIZE;
	float bits = UNKNOWN;

	if (!s->tabq)
		return (float)codec_bound(s, b->c->dim, rows) * 8 / (float)rows / (float)b->c->dim;
	if (b->n_deltas && b->c->predicts && s->predict != SPEC_PREDICT_NONE)
		bits = bits_between(b, split, s->delta, decode);
	return isnan(bits) ? (float)accuracy_plain_bits((double)s->delta) : bits;
}

static void add_delta(struct builder *b, float delta)
{
	uint32_t i = 0;

	while (i < b->n_deltas && b->deltas[i] < delta)
		i++;
	if (b->n_deltas == MAX_DELTAS || (i < b->n_deltas && b->deltas[i] == delta))
		return;
	memmove(&b->deltas[i + 1], &b->deltas[i], (b->n_deltas - i) * sizeof(b->deltas[0]));
	b->deltas[i] = delta;
	b->n_deltas++;
}

static int add_level(struct builder *b, const char *spec, struct err *e)
{
	return spec_parse(&b->levels[b->n_levels++], spec, e);
}

/* f32, f16, q8, and TAB-Q from fine to coarse. */
static int make_ladder(struct builder *b, struct err *e)
{
	static const float usual[] = { 0.005f, 0.02f, 0.05f };
	const float *deltas = b->n_deltas ? b->deltas : usual;
	uint32_t n = b->n_deltas ? b->n_deltas : 3;
	int rc;

	if (b->c->codec && b->c->codec[0])
		return add_level(b, b->c->codec, e);
	rc = add_level(b, "f32", e);
	if (!rc)
		rc = add_level(b, "f16", e);
	if (!rc)
		rc = add_level(b, "q8", e);
	for (uint32_t i = 0; i < n && !rc; i++) {
		char spec[SPEC_MAX];

		snprintf(spec, sizeof(spec), "tabq:delta=%.6g", (double)deltas[i]);
		rc = add_level(b, spec, e);
	}
	return rc;
}

static bool has_front(const struct cal *cal, uint16_t type)
{
	for (uint32_t i = 0; cal && i < cal->n_losses; i++) {
		if (cal->losses[i].front_type == type)
			return true;
	}
	return false;
}

/* Lines for a precision: its own, else those of the next coarser one that was measured. */
static bool find_front(const struct cal *cal, const char *name, uint16_t *type)
{
	size_t i = 0;

	while (i < N_PRECISIONS && strcmp(precisions[i].name, name))
		i++;
	if (i == N_PRECISIONS)
		return false;
	for (size_t k = i + 1; k-- > 0;) {
		if (has_front(cal, precisions[k].type)) {
			*type = precisions[k].type;
			return true;
		}
	}
	return false;
}

static void find_fronts(struct builder *b)
{
	b->fronts[0] = CAL_AS_IS;
	b->front_known[0] = true;
	for (uint32_t i = 1; i < b->c->n_fronts; i++)
		b->front_known[i] = find_front(b->c->cal, b->c->fronts[i], &b->fronts[i]);
}

static void fill(struct accuracy *a, const struct builder *b)
{
	const uint32_t n = b->c->n_layers + 1;
	float *rows = a->numbers, *prompt = rows + (size_t)b->n_levels * n;
	float *loss = prompt + (size_t)b->n_levels * n;

	for (uint32_t level = 0; level < b->n_levels; level++) {
		for (uint32_t l = 0; l < n; l++) {
			*rows++ = bits_at(b, level, l, true);
			*prompt++ = bits_at(b, level, l, false);
		}
	}
	for (uint32_t f = 0; f < b->c->n_fronts; f++) {
		for (unsigned kv = 0; kv < KV_TYPE_COUNT; kv++) {
			for (uint32_t level = 0; level < b->n_levels; level++) {
				for (uint32_t l = 0; l < n; l++)
					*loss++ = loss_at(b, f, (enum kv_type)kv, level, l);
			}
		}
	}
	for (uint32_t l = 0; l < n; l++)
		a->codec_bytes[l] = b->c->predicts ? (uint32_t)cal_use_bytes(b->c->cal, l) : 0;
}

static void describe(struct accuracy *a, const struct builder *b)
{
	const size_t n = b->c->n_layers + 1;

	a->table = (struct plan_accuracy){ .n_layers = b->c->n_layers,
					   .n_levels = b->n_levels,
					   .n_fronts = b->c->n_fronts,
					   .row_bits = a->numbers,
					   .prompt_bits = a->numbers + b->n_levels * n,
					   .loss = a->numbers + 2 * b->n_levels * n,
					   .codec_bytes = a->codec_bytes };
	for (uint32_t i = 0; i < b->n_levels; i++) {
		spec_print(&b->levels[i], a->table.levels[i].spec);
		a->table.levels[i].chunk_rows =
			chunk_rows(&b->levels[i], b->c->dim, SIZE_MAX, b->c->chunk_rows);
	}
}

_Static_assert(PLAN_SPEC_MAX >= SPEC_MAX, "a level's SPEC");

int accuracy_init(struct accuracy *a, const struct accuracy_conf *c, struct err *e)
{
	struct builder b = { .c = c };
	size_t n = c->n_layers + 1;
	int rc;

	if (!c->n_layers || c->n_layers > PLAN_MAX_LAYERS || !c->n_fronts ||
	    c->n_fronts > PLAN_MAX_FRONTS)
		return err_set(e, ERR_LIMIT, "%u layers in %u precisions cannot be planned",
			       c->n_layers, c->n_fronts);
	for (uint32_t i = 0; c->cal && i < c->cal->n_losses; i++)
		add_delta(&b, c->cal->losses[i].delta);
	rc = make_ladder(&b, e);
	if (rc)
		return rc;
	find_fronts(&b);
	*a = (struct accuracy){ 0 };
	a->numbers = calloc(b.n_levels * n * (2 + c->n_fronts * KV_TYPE_COUNT), sizeof(float));
	a->codec_bytes = calloc(n, sizeof(*a->codec_bytes));
	if (!a->numbers || !a->codec_bytes) {
		accuracy_finish(a);
		return err_set(e, ERR_NOMEM, "tables of accuracy");
	}
	fill(a, &b);
	describe(a, &b);
	return 0;
}

void accuracy_finish(struct accuracy *a)
{
	free(a->numbers);
	free(a->codec_bytes);
	*a = (struct accuracy){ 0 };
}

int accuracy_level(const struct plan_accuracy *a, const char *spec, uint32_t *level)
{
	struct codec_spec s;
	char text[SPEC_MAX];

	if (spec_parse(&s, spec, NULL))
		return ERR_NOT_FOUND;
	spec_print(&s, text);
	for (uint32_t i = 0; i < a->n_levels; i++) {
		if (!strcmp(a->levels[i].spec, text)) {
			*level = i;
			return 0;
		}
	}
	return ERR_NOT_FOUND;
}
