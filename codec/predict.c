#include "codec/predict.h"

#include <stddef.h>

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

/* Round half to even; |v| is small. */
static int16_t whole(float v)
{
	v = v > PREDICT_MOST ? PREDICT_MOST : v < -PREDICT_MOST ? -PREDICT_MOST : v;
	return (int16_t)(v + 12582912.0f - 12582912.0f);
}

static int32_t features_of(const int8_t *weights, const int8_t *features, size_t n)
{
	int32_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += weights[i] * features[i];
	return sum;
}

static void add_tokens(const struct cal_predictor *p, const struct predict_tokens *t, uint32_t k,
		       size_t n, float *out)
{
	for (uint32_t i = 0; i < k; i++) {
		int32_t sum = 0;

		if (t->now)
			sum += features_of(p->now + i * n, t->now, n);
		if (t->before)
			sum += features_of(p->before + i * n, t->before, n);
		out[i] += (float)sum * p->token_scale[i];
	}
}

void predict_row(const struct cal_split *s, enum cal_mode mode, const float *before,
		 const struct predict_tokens *tokens, size_t n_features, int16_t *z, float *p)
{
	const struct cal_predictor *by = &s->predictors[mode];
	const struct dot *dot = dot_pick();

	if (!before) {
		for (uint32_t i = 0; i < s->k; i++)
			p[i] = s->first[i];
		return;
	}
	for (uint32_t i = 0; i < s->k; i++)
		z[i] = whole(before[i] * s->in_scale[i]);
	for (uint32_t i = 0; i < s->k; i++) {
		int32_t sum = dot->i8_i16(by->rows + (size_t)i * s->k, z, s->k);

		p[i] = (float)sum * by->scale[i] + by->bias[i];
	}
	if (mode == CAL_TOKENS && tokens)
		add_tokens(by, tokens, s->k, n_features, p);
}
