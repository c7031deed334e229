/* tools/bench_speed.c - how long encoding, decoding and predicting take. */
#include <stdlib.h>

#include "base/clock.h"
#include "codec/codec.h"
#include "codec/predict.h"
#include "tools/bench.h"
#include "tools/source.h"
#include "tools/spread.h"

#define DIM   4096
#define CHUNK 64

/* Rows of one kind, and what they become. */
struct job {
	struct codec_spec spec;
	struct codec_work *work;
	float *x, *y; /* [rows][DIM] */
	size_t rows;
	uint8_t *bytes;
	struct codec_bytes out;
	int rc;
};

static void encode(void *ctx)
{
	struct job *j = ctx;

	j->rc |= codec_encode(&j->spec, j->work, NULL, &(struct codec_rows){ j->x, NULL, j->rows },
			      &j->out, NULL);
}

static void decode(void *ctx)
{
	struct job *j = ctx;

	j->rc |= codec_decode(j->work, NULL,
			      &(struct codec_chunk){ .id = j->out.id,
						     .src = j->out.dst,
						     .len = j->out.len,
						     .dim = DIM,
						     .n = j->rows },
			      j->y, NULL);
}

static int time_rows(struct bench *b, struct job *j, size_t rows, struct err *e)
{
	const unsigned calls = rows == 1 ? 400 : 8;
	struct bench_time t = { .split = UINT32_MAX, .rows = (uint32_t)rows, .dim = DIM };
	int rc;

	j->rows = rows;
	t.what = "encode";
	rc = bench_measure(b, t, calls, encode, j, e);
	if (rc)
		return rc;
	t.what = "decode";
	rc = bench_measure(b, t, calls, decode, j, e);
	if (!rc && j->rc)
		rc = err_set(e, ERR_INTERNAL, "the codec refuses its own rows");
	return rc;
}

static int time_codec(struct bench *b, struct err *e)
{
	struct job j = { 0 };
	int rc = spec_parse(&j.spec, "tabq:predict=none", e);

	if (rc)
		return rc;
	j.out.cap = codec_bound(&j.spec, DIM, CHUNK);
	j.out.dst = j.bytes = malloc(j.out.cap);
	j.x = malloc((size_t)CHUNK * DIM * sizeof(*j.x));
	j.y = malloc((size_t)CHUNK * DIM * sizeof(*j.y));
	if (!j.bytes || !j.x || !j.y || codec_work_create(&j.work, DIM, CHUNK))
		rc = err_set(e, ERR_NOMEM, "out of memory");
	for (uint64_t r = 0; r < CHUNK && !rc; r++)
		source_row(SOURCE_GAUSS, r, j.x + r * DIM, DIM);
	if (!rc)
		rc = time_rows(b, &j, 1, e);
	if (!rc)
		rc = time_rows(b, &j, CHUNK, e);
	b->state_bytes = codec_state_bytes(DIM);
	codec_work_destroy(j.work);
	free(j.bytes);
	free(j.x);
	free(j.y);
	return rc;
}

/* What prediction adds to a row at one end. */
struct prediction {
	const struct cal *cal;
	const struct cal_split *split;
	float *x, *u, *p; /* [dim] each */
	int16_t *z;
};

static void transform(void *ctx)
{
	struct prediction *p = ctx;

	predict_forward(p->split, p->x, p->cal->dim, p->u);
}

static void restore(void *ctx)
{
	struct prediction *p = ctx;

	predict_back(p->split, p->u, p->cal->dim, p->x);
}

static void predict(void *ctx)
{
	struct prediction *p = ctx;
	const uint32_t id = p->cal->n_vocab / 2, earlier = 0;

	predict_row(p->cal, p->split, CAL_TOKENS,
		    &(struct predict_from){ .row = p->u, .token = &id, .earlier = &earlier }, p->z,
		    p->p);
}

static int time_split(struct bench *b, const struct cal *cal, const struct cal_split *s,
		      struct err *e)
{
	static const struct {
		const char *what;
		void (*run)(void *);
	} steps[] = { { "to components", transform },
		      { "predict", predict },
		      { "from components", restore } };
	const struct bench_time t = { .split = s->split, .rows = 1, .dim = cal->dim };
	struct prediction p = { .cal = cal, .split = s };
	int rc = 0;

	p.x = calloc(cal->dim, sizeof(float));
	p.u = calloc(cal->dim, sizeof(float));
	p.p = calloc(cal->dim, sizeof(float));
	p.z = calloc(cal->dim, sizeof(*p.z));
	if (!p.x || !p.u || !p.p || !p.z)
		rc = err_set(e, ERR_NOMEM, "out of memory");
	if (!rc)
		source_row(SOURCE_GAUSS, s->split, p.x, cal->dim);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && !rc; i++) {
		struct bench_time step = t;

		step.what = steps[i].what;
		rc = bench_measure(b, step, 100, steps[i].run, &p, e);
	}
	free(p.x);
	free(p.u);
	free(p.p);
	free(p.z);
	return rc;
}

int bench_speed(struct bench *b, struct err *e)
{
	struct cal *cal = NULL;
	int rc = time_codec(b, e);

	if (rc || !b->conf.calibration)
		return rc;
	rc = cal_open(&cal, b->conf.calibration, e);
	for (unsigned i = 0; i < b->conf.splits.n && !rc; i++) {
		const struct cal_split *s;

		rc = cal_use(cal, b->conf.splits.v[i], &s, e);
		if (!rc && s)
			rc = time_split(b, cal, s, e);
	}
	cal_close(cal);
	return rc;
}

int bench_measure(struct bench *b, struct bench_time t, unsigned calls, void (*run)(void *ctx),
		  void *ctx, struct err *e)
{
	double us[BENCH_MAX_REPEAT];
	const unsigned n = b->conf.repeat;
	struct spread spread;

	if (b->n_times == b->cap_times) {
		size_t cap = b->cap_times * 2 + 16;
		struct bench_time *more = realloc(b->times, cap * sizeof(*more));

		if (!more)
			return err_set(e, ERR_NOMEM, "out of memory");
		b->times = more;
		b->cap_times = cap;
	}
	for (unsigned i = 0; i < calls; i++)
		run(ctx); /* caches and clocks warm up */
	for (unsigned k = 0; k < n; k++) {
		uint64_t start = clock_now_us();

		for (unsigned i = 0; i < calls; i++)
			run(ctx);
		us[k] = (double)(clock_now_us() - start) / calls;
	}
	spread = spread_of(us, n);
	t.us = spread.median;
	t.us_min = spread.min;
	t.us_max = spread.max;
	b->times[b->n_times++] = t;
	return 0;
}
