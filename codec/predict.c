#include "codec/predict.h"

#include "codec/dot.h"

#define BLOCK 64 /* rows of a matrix at a time */

void predict_forward(const struct cal_split *s, const float *x, size_t dim, float *u)
{
	dot_pick()->i16_f32_rows(s->forward, s->k, x, dim, u);
	for (uint32_t i = 0; i < s->k; i++)
		u[i] *= s->forward_scale[i];
}

void predict_back(const struct cal_split *s, const float *u, size_t dim, float *x)
{
	dot_pick()->i8_f32_rows(s->back, dim, u, s->k, x);
	for (size_t i = 0; i < dim; i++)
		x[i] *= s->back_scale[i];
}

/* Round half to even. A NaN, of rows too large for floats, counts as the least. */
static int16_t whole(float v)
{
	v = v > PREDICT_MOST ? PREDICT_MOST : v >= -PREDICT_MOST ? v : -PREDICT_MOST;
	return (int16_t)(v + 12582912.0f - 12582912.0f);
}

/* What components at to at + n of a token are worth, added to sum. */
static void add_token(const struct cal *c, const int8_t *table, uint32_t id, uint32_t at,
		      uint32_t n, uint32_t k, int32_t *sum)
{
	const size_t f = c->n_features;
	const int8_t *row = f ? table + at * f : table + (size_t)id * k + at;

	for (uint32_t i = 0; !f && i < n; i++)
		sum[i] += row[i];
	for (uint32_t i = 0; f && i < n; i++) {
		for (size_t j = 0; j < f; j++)
			sum[i] += row[i * f + j] * c->features[id * f + j];
	}
}

void predict_add_tokens(const struct cal *c, const struct cal_split *s,
			const struct predict_from *from, float *p)
{
	const struct cal_predictor *by = &s->predictors[CAL_TOKENS];

	for (uint32_t at = 0; at < s->k; at += BLOCK) {
		const uint32_t n = s->k - at < BLOCK ? s->k - at : BLOCK;
		int32_t sum[BLOCK] = { 0 };

		if (from->token)
			add_token(c, by->now, *from->token, at, n, s->k, sum);
		if (from->earlier)
			add_token(c, by->before, *from->earlier, at, n, s->k, sum);
		for (uint32_t i = 0; i < n; i++)
			p[at + i] += (float)sum[i] * by->token_scale[at + i];
	}
}

void predict_ahead(const struct cal_split *s, enum cal_mode mode, const float *row, int16_t *z,
		   float *p)
{
	const struct cal_predictor *by = &s->predictors[mode];
	const struct dot *dot = dot_pick();

	for (uint32_t i = 0; i < s->k; i++)
		z[i] = whole(row[i] * s->in_scale[i]);
	for (uint32_t at = 0; at < s->k; at += BLOCK) {
		const uint32_t n = s->k - at < BLOCK ? s->k - at : BLOCK;
		int32_t sum[BLOCK];

		dot->i8_i16_rows(by->rows + (size_t)at * s->k, n, z, s->k, sum);
		for (uint32_t i = 0; i < n; i++)
			p[at + i] = (float)sum[i] * by->scale[at + i] + by->bias[at + i];
	}
}

void predict_row(const struct cal *c, const struct cal_split *s, enum cal_mode mode,
		 const struct predict_from *from, int16_t *z, float *p)
{
	if (!from->row) {
		for (uint32_t i = 0; i < s->k; i++)
			p[i] = s->first[i];
		return;
	}
	predict_ahead(s, mode, from->row, z, p);
	if (mode == CAL_TOKENS)
		predict_add_tokens(c, s, from, p);
}
