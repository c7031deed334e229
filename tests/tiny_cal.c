#include "tests/tiny_cal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

#define MEMORY 12 /* rows that a row depends on */
#define DECAY  0.8f

static void *need(size_t bytes)
{
	void *p = calloc(1, bytes + 1);

	if (!p)
		abort();
	return p;
}

/* In -most..most. */
static int8_t small(uint64_t seed, uint64_t at, int most)
{
	return (int8_t)((int)(rng_u64(seed, at) % (unsigned)(2 * most + 1)) - most);
}

static float *floats(uint64_t seed, size_t n, float middle, float spread)
{
	float *x = need(n * sizeof(*x));

	for (size_t i = 0; i < n; i++)
		x[i] = middle + spread * (float)(2 * rng_unit(seed, i) - 1);
	return x;
}

static int8_t *bytes(uint64_t seed, size_t n, int most)
{
	int8_t *p = need(n);

	for (size_t i = 0; i < n; i++)
		p[i] = small(seed, i, most);
	return p;
}

/* Element (i, j) of the reflection I - 2 v v', v of length 1: it undoes itself. */
static float reflection(const float *v, size_t i, size_t j)
{
	return (i == j ? 1.0f : 0.0f) - 2 * v[i] * v[j];
}

/* One row of a matrix, in whole numbers up to most. Returns the scale. */
static float row_scale(const float *v, size_t i, size_t n, float most)
{
	float top = 0;

	for (size_t j = 0; j < n; j++)
		top = fmaxf(top, fabsf(reflection(v, i, j)));
	return top > 0 ? top / most : 1;
}

static void fill_transform(struct cal_split *s, size_t d, uint64_t seed)
{
	float *v = floats(seed, d, 0.3f, 1);
	int8_t *back = need(d * s->k);
	float norm = 0;

	for (size_t i = 0; i < d; i++)
		norm += v[i] * v[i];
	for (size_t i = 0; i < d; i++)
		v[i] /= sqrtf(norm);
	s->forward = need(s->k * d * sizeof(*s->forward));
	s->forward_scale = need(s->k * sizeof(float));
	s->back_scale = need(d * sizeof(float));
	for (size_t i = 0; i < s->k; i++) {
		s->forward_scale[i] = row_scale(v, i, d, 32767);
		for (size_t j = 0; j < d; j++)
			s->forward[i * d + j] =
				(int16_t)lrintf(reflection(v, i, j) / s->forward_scale[i]);
	}
	for (size_t i = 0; i < d; i++) {
		s->back_scale[i] = row_scale(v, i, s->k, 127);
		for (size_t j = 0; j < s->k; j++)
			back[i * s->k + j] = (int8_t)lrintf(reflection(v, i, j) / s->back_scale[i]);
	}
	s->back = back;
	free(v);
}

static void fill_predictor(struct cal_predictor *p, const struct tiny_cal *conf, enum cal_mode mode,
			   float in_scale, uint64_t seed)
{
	const size_t k = conf->k;
	const size_t per_token = conf->features ? conf->features : conf->vocab;
	int8_t *rows = bytes(seed + 1, k * k, 2);

	for (size_t i = 0; i < k; i++)
		rows[i * k + i] = 100;
	p->rows = rows;
	p->scale = floats(seed + 2, k, DECAY / 100 / in_scale, DECAY / 1000 / in_scale);
	p->bias = floats(seed + 3, k, 0, conf->size / 50);
	p->class = bytes(seed + 4, k, 6);
	if (mode != CAL_TOKENS)
		return;
	p->now = bytes(seed + 5, k * per_token, 20);
	p->before = bytes(seed + 6, k * per_token, 20);
	p->token_scale = floats(seed + 7, k, conf->size / 20000, conf->size / 40000);
}

static void fill_split(struct cal_split *s, const struct tiny_cal *conf, uint32_t split)
{
	const uint64_t seed = conf->seed * 1000 + split * 100;
	const float in_scale = 255 / conf->size;

	s->split = split;
	s->k = conf->k;
	fill_transform(s, conf->dim, seed);
	s->in_scale = floats(seed + 10, conf->k, in_scale, in_scale / 8);
	s->first = floats(seed + 11, conf->k, 0, conf->size);
	for (int mode = 0; mode < CAL_MODES; mode++)
		fill_predictor(&s->predictors[mode], conf, (enum cal_mode)mode, in_scale,
			       seed + 20 + (unsigned)mode * 20);
}

/* What cal_close leaves to the bytes that a read calibration owns. */
static void free_bytes(struct cal *c)
{
	for (uint32_t i = 0; i < c->n_splits; i++) {
		struct cal_split *s = &c->splits[i];

		free((void *)(uintptr_t)s->back);
		for (int mode = 0; mode < CAL_MODES; mode++) {
			free((void *)(uintptr_t)s->predictors[mode].rows);
			free((void *)(uintptr_t)s->predictors[mode].now);
			free((void *)(uintptr_t)s->predictors[mode].before);
			free((void *)(uintptr_t)s->predictors[mode].class);
		}
	}
	free((void *)(uintptr_t)c->features);
}

static void fill_losses(struct cal *c)
{
	for (uint32_t i = 0; i < c->n_losses; i++)
		c->losses[i] = (struct cal_loss){ .split = 1 + i,
						  .front_type = CAL_AS_IS,
						  .kv_type = (uint16_t)i,
						  .predict = 2,
						  .decode = 1,
						  .delta = 0.01f,
						  .bits = 2.5f,
						  .ppl_ratio = 1.01f,
						  .kl = 0.002f,
						  .top1 = 0.98f,
						  .tokens = 1000 + i };
}

/* Written and read again, so that it owns its memory as one from a file does. */
struct cal *tiny_cal_make(const struct tiny_cal *conf)
{
	struct cal *c = need(sizeof(*c)), *read = NULL;
	uint8_t *file = NULL;
	struct err e = { 0 };
	size_t len = 0;

	memcpy(c->model, TINY_CAL_MODEL, CAL_HASH_LEN);
	c->text = conf->seed;
	c->dim = conf->dim;
	c->n_vocab = conf->vocab;
	c->n_features = conf->features;
	c->n_splits = conf->n_splits;
	c->n_losses = conf->n_losses;
	c->features = bytes(conf->seed, (size_t)conf->vocab * conf->features, 127);
	c->splits = need(conf->n_splits * sizeof(*c->splits));
	c->losses = need(conf->n_losses * sizeof(*c->losses));
	fill_losses(c);
	for (uint32_t i = 0; i < conf->n_splits; i++)
		fill_split(&c->splits[i], conf, i + 1);
	if (cal_print(c, &file, &len) || cal_parse(&read, file, len, &e))
		abort();
	free(file);
	free_bytes(c);
	cal_close(c);
	return read;
}

const struct cal_split *tiny_cal_split(struct cal *c, uint32_t split)
{
	const struct cal_split *s = NULL;

	if (cal_use(c, split, &s, NULL))
		abort();
	return s;
}

static float noise(uint64_t seed, uint32_t pos, size_t i)
{
	double sum = -2;

	for (unsigned k = 0; k < 4; k++)
		sum += rng_unit(seed, ((uint64_t)pos << 24 | i) * 4 + k);
	return (float)sum * 1.7f; /* nearly Gaussian, of variance 1 */
}

void tiny_cal_rows(uint64_t seed, uint32_t pos, size_t n, size_t dim, float size, float *x)
{
	const float fresh = sqrtf(1 - DECAY * DECAY);

	for (size_t r = 0; r < n; r++) {
		const uint32_t at = pos + (uint32_t)r;
		const uint32_t from = at > MEMORY ? at - MEMORY : 0;

		for (size_t i = 0; i < dim; i++) {
			float v = noise(seed, from, i);

			for (uint32_t t = from + 1; t <= at; t++)
				v = DECAY * v + fresh * noise(seed, t, i);
			x[r * dim + i] = size * v;
		}
	}
}
