/* codec/cal_read.c - bytes of a calibration file -> struct cal. */
#include "codec/cal.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/le.h"
#include "codec/cal_layout.h"
#include "codec/row.h"

struct reader {
	const uint8_t *at, *end;
	struct err *e;
};

static int too_short(struct reader *r)
{
	return err_set(r->e, ERR_FORMAT, "calibration ends in the middle");
}

static int skip(struct reader *r, size_t n, const void **p)
{
	if ((size_t)(r->end - r->at) < n)
		return too_short(r);
	*p = r->at;
	r->at += n;
	return 0;
}

static int get_bytes(struct reader *r, size_t n, const int8_t **p)
{
	const void *v = NULL;
	int rc = skip(r, n, &v);

	*p = v;
	return rc;
}

static int get_u32(struct reader *r, uint32_t *v)
{
	const void *p = NULL;
	int rc = skip(r, 4, &p);

	if (!rc)
		*v = le_get32(p);
	return rc;
}

/* n floats, all finite -> malloc'ed. */
static int get_floats(struct reader *r, size_t n, float **out)
{
	const void *p = NULL;
	float *x;
	int rc = skip(r, n * 4, &p);

	if (rc)
		return rc;
	x = malloc(n * sizeof(*x) + 1);
	if (!x)
		return err_set(r->e, ERR_NOMEM, "calibration: out of memory");
	*out = x;
	for (size_t i = 0; i < n; i++) {
		uint32_t bits = le_get32((const uint8_t *)p + 4 * i);

		memcpy(&x[i], &bits, 4);
		if (!isfinite(x[i]))
			return err_set(r->e, ERR_FORMAT, "calibration: a number is not finite");
	}
	return 0;
}

static int get_shorts(struct reader *r, size_t n, int16_t **out)
{
	const void *p = NULL;
	int rc = skip(r, n * 2, &p);

	if (rc)
		return rc;
	*out = malloc(n * sizeof(**out) + 1);
	if (!*out)
		return err_set(r->e, ERR_NOMEM, "calibration: out of memory");
	for (size_t i = 0; i < n; i++)
		(*out)[i] = (int16_t)le_get16((const uint8_t *)p + 2 * i);
	return 0;
}

static int get_inverse(struct reader *r, const int8_t *class, size_t k, float **out)
{
	*out = malloc(k * sizeof(**out));
	if (!*out)
		return err_set(r->e, ERR_NOMEM, "calibration: out of memory");
	for (size_t i = 0; i < k; i++) {
		if (class[i] < -CAL_MAX_CLASS || class[i] > CAL_MAX_CLASS)
			return err_set(r->e, ERR_FORMAT, "calibration: class %d is not in %d..%d",
				       class[i], -CAL_MAX_CLASS, CAL_MAX_CLASS);
		(*out)[i] = row_unclass(class[i]);
	}
	return 0;
}

static int get_predictor(struct reader *r, const struct cal *c, struct cal_predictor *p, size_t k,
			 enum cal_mode mode)
{
	const size_t table = c->n_features ? k * c->n_features : k * c->n_vocab;
	int rc;

	if ((rc = get_bytes(r, k * k, &p->rows)) || (rc = get_floats(r, k, &p->scale)) ||
	    (rc = get_floats(r, k, &p->bias)) || (rc = get_bytes(r, k, &p->class)) ||
	    (rc = get_inverse(r, p->class, k, &p->inverse)))
		return rc;
	if (mode != CAL_TOKENS)
		return 0;
	if ((rc = get_bytes(r, table, &p->now)) || (rc = get_bytes(r, table, &p->before)))
		return rc;
	return get_floats(r, k, &p->token_scale);
}

static int get_split(struct reader *r, const struct cal *c, struct cal_split *s, bool first)
{
	const uint32_t before = first ? 0 : s[-1].split;
	const size_t d = c->dim;
	int rc;

	if ((rc = get_u32(r, &s->split)) || (rc = get_u32(r, &s->k)))
		return rc;
	if (!s->k || s->k > d || s->k > CAL_MAX_K)
		return err_set(r->e, ERR_FORMAT, "calibration: %u components of rows of %zu",
			       (unsigned)s->k, d);
	if (!first && s->split <= before)
		return err_set(r->e, ERR_FORMAT, "calibration: split %u comes after %u",
			       (unsigned)s->split, (unsigned)before);
	if ((rc = get_shorts(r, s->k * d, &s->forward)) ||
	    (rc = get_floats(r, s->k, &s->forward_scale)) ||
	    (rc = get_bytes(r, s->k * d, &s->back)) || (rc = get_floats(r, d, &s->back_scale)) ||
	    (rc = get_floats(r, s->k, &s->in_scale)) || (rc = get_floats(r, s->k, &s->first)))
		return rc;
	for (int mode = 0; mode < CAL_MODES && !rc; mode++)
		rc = get_predictor(r, c, &s->predictors[mode], s->k, (enum cal_mode)mode);
	return rc;
}

static void get_loss(const uint8_t *p, struct cal_loss *l)
{
	const uint32_t *end;
	uint32_t bits[6];

	*l = (struct cal_loss){ .split = le_get32(p),
				.front_type = le_get16(p + 4),
				.kv_type = le_get16(p + 6),
				.predict = le_get16(p + 8),
				.decode = le_get16(p + 10) };
	for (unsigned i = 0; i < 6; i++)
		bits[i] = le_get32(p + 12 + 4 * i);
	end = bits;
	memcpy(&l->delta, end++, 4);
	memcpy(&l->bits, end++, 4);
	memcpy(&l->ppl_ratio, end++, 4);
	memcpy(&l->kl, end++, 4);
	memcpy(&l->top1, end++, 4);
	l->tokens = *end;
}

static int get_losses(struct reader *r, struct cal *c)
{
	const void *p = NULL;
	int rc = skip(r, (size_t)c->n_losses * CAL_LOSS_LEN, &p);

	if (rc)
		return rc;
	if (r->at != r->end)
		return err_set(r->e, ERR_FORMAT, "calibration: %zu bytes too many",
			       (size_t)(r->end - r->at));
	c->losses = calloc(c->n_losses + 1u, sizeof(*c->losses));
	if (!c->losses)
		return err_set(r->e, ERR_NOMEM, "calibration: out of memory");
	for (uint32_t i = 0; i < c->n_losses; i++)
		get_loss((const uint8_t *)p + (size_t)i * CAL_LOSS_LEN, &c->losses[i]);
	return 0;
}

static int check_header(const uint8_t *src, size_t len, struct err *e)
{
	if (len < CAL_HEADER_LEN || memcmp(src, CAL_MAGIC, 4))
		return err_set(e, ERR_FORMAT, "not a calibration file");
	if (le_get32(src + CAL_AT_VERSION) != CAL_VERSION)
		return err_set(e, ERR_VERSION, "calibration of version %u, this program reads %d",
			       (unsigned)le_get32(src + CAL_AT_VERSION), CAL_VERSION);
	if (le_get64(src + CAL_AT_LEN) != len)
		return err_set(e, ERR_FORMAT, "calibration of %llu bytes, %zu are there",
			       (unsigned long long)le_get64(src + CAL_AT_LEN), len);
	if (le_get32(src + CAL_AT_CRC) !=
	    crc32c(crc32c(0, src, CAL_AT_CRC), src + CAL_AT_CRC + 4, len - CAL_AT_CRC - 4))
		return err_set(e, ERR_FORMAT, "calibration fails its CRC-32C");
	return 0;
}

static int get_header(struct cal *c, const uint8_t *p, struct err *e)
{
	memcpy(c->model, p + CAL_AT_MODEL, CAL_HASH_LEN);
	c->dim = le_get32(p + CAL_AT_DIM);
	c->n_vocab = le_get32(p + CAL_AT_VOCAB);
	c->n_features = le_get32(p + CAL_AT_FEATURES);
	c->n_splits = le_get32(p + CAL_AT_SPLITS);
	c->n_losses = le_get32(p + CAL_AT_LOSSES);
	c->text = le_get64(p + CAL_AT_TEXT);
	for (unsigned i = 0; i < CAL_HASH_LEN; i++) {
		if (!strchr("0123456789abcdef", c->model[i]) || !c->model[i])
			return err_set(e, ERR_FORMAT, "calibration: no model hash");
	}
	if (!c->dim || c->dim > 1u << 20 || !c->n_vocab || c->n_vocab > 1u << 24 ||
	    c->n_features > CAL_MAX_F || c->n_splits > CAL_MAX_SPLITS ||
	    c->n_losses > CAL_MAX_LOSSES)
		return err_set(e, ERR_FORMAT, "calibration: sizes out of range");
	return 0;
}

/* Of all that both ends must have alike: what comes before the losses. */
static void take_id(struct cal *c, const uint8_t *src, size_t len)
{
	uint32_t a = crc32c(0, src + CAL_AT_MODEL, CAL_AT_LOSSES - CAL_AT_MODEL);
	uint32_t b = crc32c(a ^ 0x9e3779b9u, src + CAL_HEADER_LEN, len - CAL_HEADER_LEN);

	snprintf(c->id, sizeof(c->id), "%08x%08x", (unsigned)a, (unsigned)b);
}

static int parse(struct cal *c, uint8_t *data, size_t len, struct err *e)
{
	struct reader r = { data + CAL_HEADER_LEN, data + len, e };
	int rc = check_header(data, len, e);

	if (!rc)
		rc = get_header(c, data, e);
	if (!rc)
		rc = get_bytes(&r, (size_t)c->n_vocab * c->n_features, &c->features);
	if (rc)
		return rc;
	c->splits = calloc(c->n_splits + 1u, sizeof(*c->splits));
	if (!c->splits)
		return err_set(e, ERR_NOMEM, "calibration: out of memory");
	for (uint32_t i = 0; i < c->n_splits && !rc; i++)
		rc = get_split(&r, c, &c->splits[i], i == 0);
	if (rc)
		return rc;
	take_id(c, data, (size_t)(r.at - data));
	return get_losses(&r, c);
}

/* Takes data over. */
static int parse_owned(struct cal **out, uint8_t *data, size_t len, struct err *e)
{
	struct cal *c = calloc(1, sizeof(*c));
	int rc;

	if (!c) {
		free(data);
		return err_set(e, ERR_NOMEM, "calibration: out of memory");
	}
	c->data = data;
	rc = parse(c, data, len, e);
	if (rc) {
		cal_close(c);
		return rc;
	}
	*out = c;
	return 0;
}

int cal_parse(struct cal **out, const uint8_t *src, size_t len, struct err *e)
{
	uint8_t *data = malloc(len + 1);

	if (!data)
		return err_set(e, ERR_NOMEM, "calibration: out of memory");
	memcpy(data, src, len);
	return parse_owned(out, data, len, e);
}

static int read_file(FILE *f, uint8_t **data, size_t *len, struct err *e)
{
	long size = fseek(f, 0, SEEK_END) ? -1 : ftell(f);

	if (size < 0 || fseek(f, 0, SEEK_SET))
		return err_set(e, ERR_IO, "%s", strerror(errno));
	if ((size_t)size > CAL_MAX_BYTES)
		return err_set(e, ERR_LIMIT, "a calibration of %ld bytes; at most %zu", size,
			       CAL_MAX_BYTES);
	*data = malloc((size_t)size + 1);
	if (!*data)
		return err_set(e, ERR_NOMEM, "calibration: out of memory");
	*len = fread(*data, 1, (size_t)size, f);
	if (*len == (size_t)size)
		return 0;
	free(*data);
	return err_set(e, ERR_IO, "cannot be read whole");
}

int cal_open(struct cal **out, const char *path, struct err *e)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = NULL;
	size_t len = 0;
	int rc;

	if (!f)
		return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
			       strerror(errno));
	rc = read_file(f, &data, &len, e);
	fclose(f);
	if (!rc)
		rc = parse_owned(out, data, len, e);
	return rc ? err_wrap(e, "%s", path) : 0;
}

static void free_split(struct cal_split *s)
{
	free(s->forward);
	free(s->forward_scale);
	free(s->back_scale);
	free(s->in_scale);
	free(s->first);
	for (int mode = 0; mode < CAL_MODES; mode++) {
		free(s->predictors[mode].scale);
		free(s->predictors[mode].token_scale);
		free(s->predictors[mode].bias);
		free(s->predictors[mode].inverse);
	}
}

void cal_close(struct cal *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; c->splits && i < c->n_splits; i++)
		free_split(&c->splits[i]);
	free(c->splits);
	free(c->losses);
	free(c->data);
	free(c);
}

const struct cal_split *cal_split(const struct cal *c, uint32_t split)
{
	for (uint32_t i = 0; c && i < c->n_splits; i++) {
		if (c->splits[i].split == split)
			return &c->splits[i];
	}
	return NULL;
}
