#include "codec/predict.h"

#include "codec/dot.h"

void predict_forward(const struct cal_split *s, const float *x, size_t dim, float *u)
{
	const struct dot *dot = dot_pick();

	for (uint32_t i = 0; i < s->k; i++)
		u[i] = dot->i16_f32(s->forward + i * dim, x, dim) * s->forward_scale[i];
}

void predict_back(const struct cal_split *s, const float *u, size_t dim, float *x)
{
	const struct dot *dot = dot_pick();

	for (size_t i = 0; i < dim; i++)
		x[i] = dot->i8_f32(s->back + i * s->k, u, s->k) * s->back_scale[i];
}

/* Round half to even. A NaN, of rows too large for floats, counts as the least. */
static int16_t whole(float v)
{
	v = v > PREDICT_MOST ? PREDICT_MOST : v >= -PREDICT_MOST ? v : -PREDICT_MOST;
	return (int16_t)(v + 12582912.0f - 12582912.0f);
}

/* What component i of a token is worth. */
static int32_t token_part(const struct cal *c, const int8_t *table, uint32_t id, uint32_t i,
			  uint32_t k)
{
	const size_t f = c->n_features;
	int32_t sum = 0;

	if (!f)
		return table[(size_t)id * k + i];
	for (size_t j = 0; j < f; j++)
		sum += table[i * f + j] * c->features[id * f + j];
	return sum;
}

static void add_tokens(const struct cal *c, const struct cal_predictor *by,
		       const struct predict_from *from, uint32_t k, float *p)
{
	for (uint32_t i = 0; i < k; i++) {
		int32_t sum = 0;

		if (from->token)
			sum += token_part(c, by->now, *from->token, i, k);
		if (from->earlier)
			sum += token_part(c, by->before, *from->earlier, i, k);
		p[i] += (float)sum * by->token_scale[i];
	}
}

void predict_row(const struct cal *c, const struct cal_split *s, enum cal_mode mode,
		 const struct predict_from *from, int16_t *z, float *p)
{
	const struct cal_predictor *by = &s->predictors[mode];
	const struct dot *dot = dot_pick();

	if (!from->row) {
		for (uint32_t i = 0; i < s->k; i++)
			p[i] = s->first[i];
		return;
	}
	for (uint32_t i = 0; i < s->k; i++)
		z[i] = whole(from->row[i] * s->in_scale[i]);
	for (uint32_t i = 0; i < s->k; i++) {
		int32_t sum = dot->i8_i16(by->rows + (size_t)i * s->k, z, s->k);

		p[i] = (float)sum * by->scale[i] + by->bias[i];
	}
	if (mode == CAL_TOKENS)
		add_tokens(c, by, from, s->k, p);
}
