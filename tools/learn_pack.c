/* tools/learn_pack.c - predictors in double -> the integers of codec/cal.h. */
#include "tools/learn_impl.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "codec/predict.h"
#include "codec/row.h"
#include "tools/matrix.h"

#define Z_RMS     128.0 /* of z: PREDICT_MOST is then eight sigma */
#define MAX_CLASS 60
#define PASSES    3 /* closed loops until the classes have settled */
#define BLOCK     512

/* The work: k = d components. */
struct pack {
	struct cal_split *s;
	const struct cal *c;
	const struct learn *f;
	size_t k;
	double *u;    /* [T][k] */
	double *told; /* [T][k] what the tokens say, as integers will */
};

/* Largest magnitude among n values that are `stride` apart. */
static double largest(const double *v, size_t n, size_t stride)
{
	double most = 0;

	for (size_t i = 0; i < n; i++)
		most = fabs(v[i * stride]) > most ? fabs(v[i * stride]) : most;
	return most;
}

static float scale_of(double most, double steps)
{
	return most > 0 ? (float)(most / steps) : 1.0f;
}

static int8_t byte_of(double v, float scale)
{
	double q = nearbyint(v / (double)scale);

	return (int8_t)(q > 127 ? 127 : q < -127 ? -127 : q);
}

/* m [rows][cols] -> bytes and a scale a row; m becomes what they mean. */
static void pack_rows(double *m, size_t rows, size_t cols, int8_t *q, float *scale)
{
	for (size_t r = 0; r < rows; r++) {
		scale[r] = scale_of(largest(m + r * cols, cols, 1), 127);
		for (size_t i = 0; i < cols; i++) {
			q[r * cols + i] = byte_of(m[r * cols + i], scale[r]);
			m[r * cols + i] = q[r * cols + i] * (double)scale[r];
		}
	}
}

static int allocate(struct cal_split *s, const struct cal *c)
{
	const size_t d = c->dim, k = d;
	const size_t table = c->n_features ? k * c->n_features : k * c->n_vocab;

	s->k = (uint32_t)k;
	s->forward = calloc(k * d, sizeof(*s->forward));
	s->forward_scale = calloc(k, sizeof(float));
	s->back = calloc(d * k, 1);
	s->back_scale = calloc(d, sizeof(float));
	s->in_scale = calloc(k, sizeof(float));
	s->first = calloc(k, sizeof(float));
	for (int mode = 0; mode < CAL_MODES; mode++) {
		struct cal_predictor *p = &s->predictors[mode];

		p->rows = calloc(k * k, 1);
		p->scale = calloc(k, sizeof(float));
		p->bias = calloc(k, sizeof(float));
		p->class = calloc(k, 1);
		p->inverse = calloc(k, sizeof(float));
		p->now = calloc(table, 1);
		p->before = calloc(table, 1);
		p->token_scale = calloc(k, sizeof(float));
		if (!p->rows || !p->scale || !p->bias || !p->class || !p->inverse || !p->now ||
		    !p->before || !p->token_scale)
			return ERR_NOMEM;
	}
	return s->forward && s->forward_scale && s->back && s->back_scale && s->in_scale && s->first
		       ? 0
		       : ERR_NOMEM;
}

void learn_finish(struct cal_split *s)
{
	free(s->forward);
	free(s->forward_scale);
	free((void *)s->back);
	free(s->back_scale);
	free(s->in_scale);
	free(s->first);
	for (int mode = 0; mode < CAL_MODES; mode++) {
		struct cal_predictor *p = &s->predictors[mode];

		free((void *)p->rows);
		free(p->scale);
		free(p->bias);
		free((void *)p->class);
		free(p->inverse);
		free((void *)p->now);
		free((void *)p->before);
		free(p->token_scale);
	}
	*s = (struct cal_split){ 0 };
}

/* back as bytes; forward is the inverse of what the bytes mean, so that x comes back exactly. */
static int pack_axes(struct pack *p)
{
	const size_t d = p->f->d, k = p->k;
	struct cal_split *s = p->s;
	double *m = learn_zeros(d * k);
	int rc = m ? 0 : ERR_NOMEM;

	if (!rc) {
		matrix_multiply(m, p->f->back, 0, p->f->axes, 1, d, d, k);
		pack_rows(m, d, k, (int8_t *)s->back, s->back_scale);
		rc = matrix_invert(m, d);
	}
	for (size_t i = 0; i < k && !rc; i++) {
		s->forward_scale[i] = scale_of(largest(m + i * d, d, 1), 32767);
		for (size_t j = 0; j < d; j++)
			s->forward[i * d + j] =
				(int16_t)nearbyint(m[i * d + j] / (double)s->forward_scale[i]);
	}
	free(m);
	return rc;
}

static int find_components(struct pack *p)
{
	const struct learn_rows *r = p->f->rows;
	float *u = calloc(p->k, sizeof(*u));
	double n_first = 0;

	if (!u)
		return ERR_NOMEM;
	for (size_t t = 0; t < r->n; t++) {
		predict_forward(p->s, r->x + t * p->f->d, p->f->d, u);
		n_first += r->first[t];
		for (size_t i = 0; i < p->k; i++) {
			p->u[t * p->k + i] = (double)u[i];
			p->s->first[i] += r->first[t] ? u[i] : 0;
		}
	}
	for (size_t i = 0; i < p->k && n_first > 0; i++)
		p->s->first[i] /= (float)n_first;
	free(u);
	return 0;
}

static void scale_inputs(struct pack *p)
{
	for (size_t i = 0; i < p->k; i++) {
		double squares = 0, n = 0;

		for (size_t t = 0; t < p->f->rows->n; t++) {
			if (p->f->rows->first[t])
				continue;
			squares += p->u[t * p->k + i] * p->u[t * p->k + i];
			n++;
		}
		p->s->in_scale[i] = (float)(Z_RMS / (sqrt(squares / (n + 1)) + 1e-20));
	}
}

/* Values of tokens in components, without their mean (the bias has it). */
static int pack_table(struct pack *p, const double *values, bool before, double *out)
{
	const struct learn_rows *r = p->f->rows;
	const size_t k = p->k, vocab = r->n_vocab;
	double *mean = learn_zeros(k), n = 0;

	if (!mean)
		return ERR_NOMEM;
	matrix_multiply(out, values, 0, p->f->axes, 1, vocab, p->f->d, k);
	for (size_t t = 0; t < r->n; t++) {
		if (r->first[t])
			continue;
		n++;
		for (size_t i = 0; i < k; i++)
			mean[i] += out[(size_t)r->ids[before ? t - 1 : t] * k + i];
	}
	for (size_t v = 0; v < vocab; v++) {
		for (size_t i = 0; i < k; i++)
			out[v * k + i] -= mean[i] / (n > 0 ? n : 1);
	}
	free(mean);
	return 0;
}

static int pack_tables(struct pack *p)
{
	struct cal_predictor *by = &p->s->predictors[CAL_TOKENS];
	const size_t n = (size_t)p->f->rows->n_vocab * p->k;
	double *now = learn_zeros(n), *before = learn_zeros(n);
	int rc = now && before ? 0 : ERR_NOMEM;

	if (!rc)
		rc = pack_table(p, p->f->now, false, now);
	if (!rc)
		rc = pack_table(p, p->f->before, true, before);
	for (size_t i = 0; i < p->k && !rc; i++) {
		double a = largest(now + i, p->f->rows->n_vocab, p->k);
		double b = largest(before + i, p->f->rows->n_vocab, p->k);

		by->token_scale[i] = scale_of(a > b ? a : b, 127);
	}
	for (size_t j = 0; j < n && !rc; j++) {
		((int8_t *)by->now)[j] = byte_of(now[j], by->token_scale[j % p->k]);
		((int8_t *)by->before)[j] = byte_of(before[j], by->token_scale[j % p->k]);
	}
	free(now);
	free(before);
	return rc;
}

/* The same where tokens have features: the linear map of them. */
static int pack_features(struct pack *p)
{
	struct cal_predictor *by = &p->s->predictors[CAL_TOKENS];
	const size_t f = p->c->n_features, d = p->f->d, k = p->k;
	double *now = learn_zeros(k * f), *before = learn_zeros(k * f);
	int rc = now && before ? 0 : ERR_NOMEM;

	if (!rc) {
		matrix_multiply(now, p->f->axes, 0, p->f->map + d * d, 1, k, d, f);
		matrix_multiply(before, p->f->axes, 0, p->f->map + (d + f) * d, 1, k, d, f);
	}
	for (size_t i = 0; i < k && !rc; i++) {
		double a = largest(now + i * f, f, 1), b = largest(before + i * f, f, 1);

		by->token_scale[i] = scale_of(a > b ? a : b, 127);
		for (size_t j = 0; j < f; j++) {
			((int8_t *)by->now)[i * f + j] =
				byte_of(now[i * f + j], by->token_scale[i]);
			((int8_t *)by->before)[i * f + j] =
				byte_of(before[i * f + j], by->token_scale[i]);
		}
	}
	free(now);
	free(before);
	return rc;
}

/* What the tokens say of every row: a prediction from nothing else. */
static int tell(struct pack *p)
{
	const struct learn_rows *r = p->f->rows;
	const size_t k = p->k;
	float *zero = calloc(k, sizeof(float)), *out = calloc(k, sizeof(float));
	int16_t *z = calloc(k, sizeof(*z));
	int rc = zero && out && z ? 0 : ERR_NOMEM;

	for (size_t t = 0; t < r->n && !rc; t++) {
		const struct predict_from from = { zero, &r->ids[t],
						   r->first[t] ? NULL : &r->ids[t - 1] };

		predict_row(p->c, p->s, CAL_TOKENS, &from, z, out);
		for (size_t i = 0; i < k; i++)
			p->told[t * k + i] = (double)out[i];
	}
	free(zero);
	free(out);
	free(z);
	return rc;
}

/* Row t as an input, scaled as z is, and 1. */
static void input_of(const struct pack *p, size_t t, double weight, double *in)
{
	for (size_t i = 0; i < p->k; i++)
		in[i] = p->u[(t - 1) * p->k + i] * (double)p->s->in_scale[i] / Z_RMS * weight;
	in[p->k] = weight;
}

/* gram, map: products of the row before (and 1) with what is to be predicted. */
static int sum_rows(const struct pack *p, enum cal_mode mode, double *gram, double *map)
{
	const size_t k = p->k, n = p->f->rows->n;
	double *a = learn_zeros(BLOCK * (k + 1)), *b = learn_zeros(BLOCK * k);
	int rc = a && b ? 0 : ERR_NOMEM;

	for (size_t at = 0; at < n && !rc; at += BLOCK) {
		size_t rows = n - at < BLOCK ? n - at : BLOCK;

		memset(a, 0, BLOCK * (k + 1) * sizeof(*a));
		for (size_t j = 0; j < rows; j++) {
			const size_t t = at + j;
			const double root = sqrt(p->f->weight[t]);

			if (root <= 0)
				continue;
			input_of(p, t, root, a + j * (k + 1));
			for (size_t i = 0; i < k; i++)
				b[j * k + i] =
					root * (p->u[t * k + i] -
						(mode == CAL_TOKENS ? p->told[t * k + i] : 0));
		}
		matrix_add_products(gram, a, a, rows, k + 1, k + 1);
		matrix_add_products(map, a, b, rows, k + 1, k);
	}
	free(a);
	free(b);
	return rc;
}

static int pack_map(struct pack *p, enum cal_mode mode)
{
	struct cal_predictor *by = &p->s->predictors[mode];
	const size_t k = p->k;
	double *gram = learn_zeros((k + 1) * (k + 1)), *map = learn_zeros((k + 1) * k);
	double *turned = learn_zeros(k * k);
	int rc = gram && map && turned ? 0 : ERR_NOMEM;

	if (!rc)
		rc = sum_rows(p, mode, gram, map);
	for (size_t i = 0; i < k && !rc; i++) /* each input has a scale of its own */
		gram[i * (k + 2)] += learn_noise(p->f) * pow((double)p->s->in_scale[i] / Z_RMS, 2);
	if (!rc)
		rc = learn_solve(gram, map, k + 1, k, 0, 0);
	for (size_t i = 0; i < k && !rc; i++) {
		by->bias[i] = (float)map[k * k + i];
		for (size_t j = 0; j < k; j++)
			turned[i * k + j] = map[j * k + i] / Z_RMS;
	}
	if (!rc)
		pack_rows(turned, k, k, (int8_t *)by->rows, by->scale);
	free(gram);
	free(map);
	free(turned);
	return rc;
}

struct loop {
	float *u, *p, *before, *left;
	int16_t *z;
	struct row row;
	double *size; /* [k] mean magnitude of what is left, next to its row's */
};

static void measure_row(struct pack *p, enum cal_mode mode, struct loop *l, size_t t)
{
	const struct learn_rows *r = p->f->rows;
	const struct cal_predictor *by = &p->s->predictors[mode];
	const struct row_conf conf = { .tau_kind = ROW_TAU_AUTO, .bits_min = 1, .bits_max = 16 };
	const struct row_classes classes = { by->class, by->inverse };
	const bool tokens = mode == CAL_TOKENS;
	const struct predict_from from = { r->first[t] ? NULL : l->before,
					   tokens ? &r->ids[t] : NULL,
					   tokens && !r->first[t] ? &r->ids[t - 1] : NULL };
	const float *x = r->x + t * p->f->d;
	double mean = 0;

	predict_row(p->c, p->s, mode, &from, l->z, l->p);
	for (size_t i = 0; i < p->k; i++) {
		l->u[i] = (float)p->u[t * p->k + i];
		l->left[i] = l->u[i] - l->p[i];
		mean += fabs((double)(l->left[i] * by->inverse[i])) / (double)p->k;
	}
	for (size_t i = 0; i < p->k && !r->first[t] && mean > 0; i++)
		l->size[i] += fabs((double)l->left[i]) / mean;
	row_quantize(&conf, l->left, &classes, p->k, (float)LEARN_DELTA * row_energy(x, p->f->d),
		     &l->row);
	row_restore(&l->row, p->k, l->before);
	for (size_t i = 0; i < p->k; i++)
		l->before[i] += l->p[i];
}

static void set_classes(struct pack *p, enum cal_mode mode, const double *size)
{
	struct cal_predictor *by = &p->s->predictors[mode];
	double middle = 0;

	for (size_t i = 0; i < p->k; i++)
		middle += log2(size[i] + 1e-30) / (double)p->k;
	for (size_t i = 0; i < p->k; i++) {
		double class = nearbyint(4 * (log2(size[i] + 1e-30) - middle));

		class = class > MAX_CLASS ? MAX_CLASS : class < -MAX_CLASS ? -MAX_CLASS : class;
		((int8_t *)by->class)[i] = (int8_t) class;
		by->inverse[i] = row_unclass((int)class);
	}
}

/* Run the codec over the rows to see how large each component of what is left is. */
static int find_classes(struct pack *p, enum cal_mode mode)
{
	const size_t k = p->k;
	struct loop l = { .u = calloc(k, sizeof(float)),
			  .p = calloc(k, sizeof(float)),
			  .before = calloc(k, sizeof(float)),
			  .left = calloc(k, sizeof(float)),
			  .z = calloc(k, sizeof(int16_t)),
			  .size = learn_zeros(k),
			  .row = { .q = calloc(k, sizeof(int16_t)),
				   .outliers =
					   calloc(ROW_OUTLIERS(k), sizeof(struct row_outlier)) } };
	int rc = l.u && l.p && l.before && l.left && l.z && l.size && l.row.q && l.row.outliers
			 ? 0
			 : ERR_NOMEM;

	for (size_t i = 0; i < k; i++)
		p->s->predictors[mode].inverse[i] = 1;
	for (unsigned pass = 0; pass < PASSES && !rc; pass++) {
		memset(l.size, 0, k * sizeof(double));
		for (size_t t = 0; t < p->f->rows->n; t++)
			measure_row(p, mode, &l, t);
		set_classes(p, mode, l.size);
	}
	free(l.u);
	free(l.p);
	free(l.before);
	free(l.left);
	free(l.z);
	free(l.size);
	free(l.row.q);
	free(l.row.outliers);
	return rc;
}

int learn_pack(struct cal_split *s, const struct cal *c, const struct learn *f)
{
	struct pack p = { .s = s, .c = c, .f = f, .k = f->d };
	int rc = allocate(s, c);

	p.u = learn_zeros(f->rows->n * p.k);
	p.told = learn_zeros(f->rows->n * p.k);
	if (!p.u || !p.told)
		rc = ERR_NOMEM;
	if (!rc)
		rc = pack_axes(&p);
	if (!rc)
		rc = find_components(&p);
	if (!rc) {
		scale_inputs(&p);
		rc = c->n_features ? pack_features(&p) : pack_tables(&p);
	}
	if (!rc)
		rc = tell(&p);
	for (int mode = 0; mode < CAL_MODES && !rc; mode++)
		rc = pack_map(&p, (enum cal_mode)mode);
	for (int mode = 0; mode < CAL_MODES && !rc; mode++)
		rc = find_classes(&p, (enum cal_mode)mode);
	free(p.u);
	free(p.told);
	return rc;
}
