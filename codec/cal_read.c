/* codec/cal_read.c - bytes of a calibration file -> struct cal. */
#include "codec/cal.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* The arrays of a split, from where the directory says. */
static int get_split(const struct cal *c, struct cal_split *s, struct err *e)
{
	struct reader r = { c->data + s->at, c->data + s->at + s->bytes, e };
	const size_t d = c->dim, k = s->k;
	int rc;

	if ((rc = get_shorts(&r, k * d, &s->forward)) ||
	    (rc = get_floats(&r, k, &s->forward_scale)) || (rc = get_bytes(&r, k * d, &s->back)) ||
	    (rc = get_floats(&r, d, &s->back_scale)) || (rc = get_floats(&r, k, &s->in_scale)) ||
	    (rc = get_floats(&r, k, &s->first)))
		return rc;
	for (int mode = 0; mode < CAL_MODES && !rc; mode++)
		rc = get_predictor(&r, c, &s->predictors[mode], k, (enum cal_mode)mode);
	if (!rc && r.at != r.end)
		rc = err_set(e, ERR_FORMAT, "calibration: split %u is %zu bytes too long",
			     (unsigned)s->split, (size_t)(r.end - r.at));
	return rc;
}

static bool is_inside(const struct cal *c, uint64_t at, uint64_t bytes)
{
	return at <= c->len && bytes <= c->len - at;
}

static int get_entry(const struct cal *c, const uint8_t *p, struct cal_split *s, bool first,
		     struct err *e)
{
	s->split = le_get32(p + CAL_ENTRY_SPLIT);
	s->k = le_get32(p + CAL_ENTRY_K);
	s->at = le_get64(p + CAL_ENTRY_AT);
	s->bytes = le_get64(p + CAL_ENTRY_BYTES);
	s->crc = le_get32(p + CAL_ENTRY_CRC);
	if (!s->k || s->k > c->dim || s->k > CAL_MAX_K)
		return err_set(e, ERR_FORMAT, "calibration: %u components of rows of %u",
			       (unsigned)s->k, (unsigned)c->dim);
	if (!first && s->split <= s[-1].split)
		return err_set(e, ERR_FORMAT, "calibration: split %u comes after %u",
			       (unsigned)s->split, (unsigned)s[-1].split);
	if (!is_inside(c, s->at, s->bytes))
		return err_set(e, ERR_FORMAT, "calibration: split %u is not in the file",
			       (unsigned)s->split);
	return 0;
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

/* Bytes before the features: what the header's CRC is of. */
static size_t front_len(const struct cal *c)
{
	return CAL_HEADER_LEN + (size_t)c->n_splits * CAL_ENTRY_LEN +
	       (size_t)c->n_losses * CAL_LOSS_LEN;
}

static int check_header(const struct cal *c, struct err *e)
{
	const uint8_t *src = c->data;

	if (c->len < CAL_HEADER_LEN || memcmp(src, CAL_MAGIC, 4))
		return err_set(e, ERR_FORMAT, "not a calibration file");
	if (le_get32(src + CAL_AT_VERSION) != CAL_VERSION)
		return err_set(e, ERR_VERSION, "calibration of version %u, this program reads %d",
			       (unsigned)le_get32(src + CAL_AT_VERSION), CAL_VERSION);
	if (le_get64(src + CAL_AT_LEN) != c->len)
		return err_set(e, ERR_FORMAT, "calibration of %llu bytes, %zu are there",
			       (unsigned long long)le_get64(src + CAL_AT_LEN), c->len);
	return 0;
}

static int check_front(const struct cal *c, struct err *e)
{
	const uint8_t *src = c->data;
	size_t len = front_len(c);

	if (len > c->len)
		return err_set(e, ERR_FORMAT, "calibration ends in the middle");
	if (le_get32(src + CAL_AT_CRC) !=
	    crc32c(crc32c(0, src, CAL_AT_CRC), src + CAL_AT_CRC + 4, len - CAL_AT_CRC - 4))
		return err_set(e, ERR_FORMAT, "calibration fails its CRC-32C");
	return 0;
}

static int get_header(struct cal *c, struct err *e)
{
	const uint8_t *p = c->data;

	memcpy(c->model, p + CAL_AT_MODEL, CAL_HASH_LEN);
	c->dim = le_get32(p + CAL_AT_DIM);
	c->n_vocab = le_get32(p + CAL_AT_VOCAB);
	c->n_features = le_get32(p + CAL_AT_FEATURES);
	c->n_splits = le_get32(p + CAL_AT_SPLITS);
	c->n_losses = le_get32(p + CAL_AT_LOSSES);
	c->text = le_get64(p + CAL_AT_TEXT);
	for (unsigned i = 0; i < CAL_HASH_LEN; i++) {
		if (!c->model[i] || !strchr("0123456789abcdef", c->model[i]))
			return err_set(e, ERR_FORMAT, "calibration: no model hash");
	}
	if (!c->dim || c->dim > 1u << 20 || !c->n_vocab || c->n_vocab > 1u << 24 ||
	    c->n_features > CAL_MAX_F || c->n_splits > CAL_MAX_SPLITS ||
	    c->n_losses > CAL_MAX_LOSSES)
		return err_set(e, ERR_FORMAT, "calibration: sizes out of range");
	return 0;
}

/* All that both ends must have alike: the CRCs of the parts stand for the parts. */
static void take_id(struct cal *c)
{
	uint32_t a = crc32c(0, c->data + CAL_AT_MODEL, CAL_AT_LOSSES - CAL_AT_MODEL);
	uint32_t b = crc32c(a, c->data + CAL_AT_FEATURES_CRC, 4);

	for (uint32_t i = 0; i < c->n_splits; i++) {
		const uint8_t *entry = c->data + CAL_HEADER_LEN + (size_t)i * CAL_ENTRY_LEN;

		b = crc32c(b, entry + CAL_ENTRY_SPLIT, 8);
		b = crc32c(b, entry + CAL_ENTRY_CRC, 4);
		a = a * 0x9e3779b1u + b;
	}
	snprintf(c->id, sizeof(c->id), "%08x%08x", (unsigned)a, (unsigned)b);
}

static int get_features(struct cal *c, struct err *e)
{
	const uint64_t at = le_get64(c->data + CAL_AT_FEATURES_AT);
	const size_t n = (size_t)c->n_vocab * c->n_features;

	if (!n)
		return 0;
	if (!is_inside(c, at, n))
		return err_set(e, ERR_FORMAT, "calibration: the features are not in the file");
	if (crc32c(0, c->data + at, n) != le_get32(c->data + CAL_AT_FEATURES_CRC))
		return err_set(e, ERR_FORMAT, "calibration: the features fail their CRC-32C");
	c->features = (const int8_t *)c->data + at;
	return 0;
}

static int get_front(struct cal *c, struct err *e)
{
	const uint8_t *p = c->data + CAL_HEADER_LEN;
	int rc = 0;

	c->splits = calloc(c->n_splits + 1u, sizeof(*c->splits));
	c->losses = calloc(c->n_losses + 1u, sizeof(*c->losses));
	if (!c->splits || !c->losses)
		return err_set(e, ERR_NOMEM, "calibration: out of memory");
	for (uint32_t i = 0; i < c->n_splits && !rc; i++, p += CAL_ENTRY_LEN)
		rc = get_entry(c, p, &c->splits[i], i == 0, e);
	for (uint32_t i = 0; i < c->n_losses && !rc; i++, p += CAL_LOSS_LEN)
		get_loss(p, &c->losses[i]);
	take_id(c);
	return rc ? rc : get_features(c, e);
}

/* c->data, len and mapped are set; c is closed on failure. */
static int parse(struct cal **out, struct cal *c, struct err *e)
{
	int rc = check_header(c, e);

	if (!rc)
		rc = get_header(c, e);
	if (!rc)
		rc = check_front(c, e);
	if (!rc)
		rc = get_front(c, e);
	if (rc) {
		cal_close(c);
		return rc;
	}
	*out = c;
	return 0;
}

int cal_parse(struct cal **out, const uint8_t *src, size_t len, struct err *e)
{
	struct cal *c = calloc(1, sizeof(*c));
	uint8_t *data = malloc(len + 1);

	if (!c || !data) {
		free(c);
		free(data);
		return err_set(e, ERR_NOMEM, "calibration: out of memory");
	}
	memcpy(data, src, len);
	c->data = data;
	c->len = len;
	return parse(out, c, e);
}

static int map_file(struct cal *c, int fd, struct err *e)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st))
		return err_set(e, ERR_IO, "%s", strerror(errno));
	if (st.st_size < CAL_HEADER_LEN)
		return err_set(e, ERR_FORMAT, "not a calibration file");
	if ((uint64_t)st.st_size > CAL_MAX_BYTES)
		return err_set(e, ERR_LIMIT, "a calibration of %lld bytes; at most %zu",
			       (long long)st.st_size, CAL_MAX_BYTES);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return err_set(e, errno == ENOMEM ? ERR_NOMEM : ERR_IO,
			       "no room for a map of %lld bytes: %s", (long long)st.st_size,
			       strerror(errno));
	c->data = p;
	c->len = (size_t)st.st_size;
	c->mapped = true;
	return 0;
}

int cal_open(struct cal **out, const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc;
	struct cal *c;

	if (fd < 0)
		return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
			       strerror(errno));
	c = calloc(1, sizeof(*c));
	rc = c ? map_file(c, fd, e) : err_set(e, ERR_NOMEM, "calibration: out of memory");
	close(fd);
	if (rc)
		free(c);
	else
		rc = parse(out, c, e);
	return rc ? err_wrap(e, "%s", path) : 0;
}

static void free_split(struct cal_split *s)
{
	free(s->forward);
	free(s->forward_scale);
	free(s->back_scale);
	free(s->in_scale);
	free(s->first);
	s->forward = NULL;
	s->forward_scale = s->back_scale = s->in_scale = s->first = NULL;
	for (int mode = 0; mode < CAL_MODES; mode++) {
		free(s->predictors[mode].scale);
		free(s->predictors[mode].token_scale);
		free(s->predictors[mode].bias);
		free(s->predictors[mode].inverse);
		s->predictors[mode] = (struct cal_predictor){ 0 };
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
	if (c->mapped)
		munmap((void *)c->data, c->len);
	else
		free((void *)c->data);
	free(c);
}

static int make_ready(const struct cal *c, struct cal_split *s, struct err *e)
{
	int rc;

	if (crc32c(0, c->data + s->at, s->bytes) != s->crc)
		return err_set(e, ERR_FORMAT, "calibration: split %u fails its CRC-32C",
			       (unsigned)s->split);
	rc = get_split(c, s, e);
	if (rc)
		free_split(s);
	s->ready = !rc;
	return rc;
}

int cal_use(struct cal *c, uint32_t split, const struct cal_split **out, struct err *e)
{
	*out = NULL;
	for (uint32_t i = 0; c && i < c->n_splits; i++) {
		struct cal_split *s = &c->splits[i];
		int rc = 0;

		if (s->split != split)
			continue;
		if (!s->ready)
			rc = make_ready(c, s, e);
		if (!rc)
			*out = s;
		return rc;
	}
	return 0;
}

size_t cal_use_bytes(const struct cal *c, uint32_t split)
{
	for (uint32_t i = 0; c && i < c->n_splits; i++) {
		const struct cal_split *s = &c->splits[i];

		if (s->split == split)
			return s->ready ? 0 : s->bytes + (size_t)s->k * c->dim * sizeof(int16_t);
	}
	return 0;
}
