/* codec/cal_write.c - struct cal -> bytes of a calibration file. */
#include "codec/cal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/le.h"
#include "codec/cal_layout.h"

struct writer {
	uint8_t *at; /* NULL: only count */
	size_t len;
};

static void put_bytes(struct writer *w, const void *p, size_t n)
{
	if (w->at && n)
		memcpy(w->at + w->len, p, n);
	w->len += n;
}

static void put_u32(struct writer *w, uint32_t v)
{
	if (w->at)
		le_put32(w->at + w->len, v);
	w->len += 4;
}

static void put_floats(struct writer *w, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t bits;

		memcpy(&bits, &x[i], 4);
		put_u32(w, bits);
	}
}

static void put_shorts(struct writer *w, const int16_t *x, size_t n)
{
	for (size_t i = 0; w->at && i < n; i++)
		le_put16(w->at + w->len + 2 * i, (uint16_t)x[i]);
	w->len += 2 * n;
}

static void put_split(struct writer *w, const struct cal *c, const struct cal_split *s)
{
	const size_t d = c->dim, k = s->k;
	const size_t table = c->n_features ? k * c->n_features : k * c->n_vocab;

	put_shorts(w, s->forward, k * d);
	put_floats(w, s->forward_scale, k);
	put_bytes(w, s->back, d * k);
	put_floats(w, s->back_scale, d);
	put_floats(w, s->in_scale, k);
	put_floats(w, s->first, k);
	for (int mode = 0; mode < CAL_MODES; mode++) {
		const struct cal_predictor *p = &s->predictors[mode];

		put_bytes(w, p->rows, k * k);
		put_floats(w, p->scale, k);
		put_floats(w, p->bias, k);
		put_bytes(w, p->class, k);
		if (mode != CAL_TOKENS)
			continue;
		put_bytes(w, p->now, table);
		put_bytes(w, p->before, table);
		put_floats(w, p->token_scale, k);
	}
}

static void put_loss(struct writer *w, const struct cal_loss *l)
{
	const float values[] = { l->delta, l->bits, l->ppl_ratio, l->kl, l->top1 };

	put_u32(w, l->split);
	put_u32(w, l->front_type | (uint32_t)l->kv_type << 16);
	put_u32(w, l->predict | (uint32_t)l->decode << 16);
	put_floats(w, values, 5);
	put_u32(w, l->tokens);
}

/* What of s stands at its place in the file: bytes that were read, or arrays that were made. */
static void put_part(struct writer *w, const struct cal *c, const struct cal_split *s)
{
	if (!s->forward && c->data)
		put_bytes(w, c->data + s->at, s->bytes);
	else
		put_split(w, c, s);
}

static void put_entry(uint8_t *p, const struct cal_split *s, size_t at, const uint8_t *part,
		      size_t len)
{
	memset(p, 0, CAL_ENTRY_LEN);
	le_put32(p + CAL_ENTRY_SPLIT, s->split);
	le_put32(p + CAL_ENTRY_K, s->k);
	le_put64(p + CAL_ENTRY_AT, at);
	le_put64(p + CAL_ENTRY_BYTES, len);
	le_put32(p + CAL_ENTRY_CRC, crc32c(0, part, len));
}

static void put_header(uint8_t *p, const struct cal *c, size_t front, size_t len)
{
	const size_t features = (size_t)c->n_vocab * c->n_features;

	memset(p, 0, CAL_HEADER_LEN);
	memcpy(p, CAL_MAGIC, 4);
	le_put32(p + CAL_AT_VERSION, CAL_VERSION);
	le_put64(p + CAL_AT_LEN, len);
	memcpy(p + CAL_AT_MODEL, c->model, CAL_HASH_LEN);
	le_put32(p + CAL_AT_DIM, c->dim);
	le_put32(p + CAL_AT_VOCAB, c->n_vocab);
	le_put32(p + CAL_AT_FEATURES, c->n_features);
	le_put32(p + CAL_AT_SPLITS, c->n_splits);
	le_put32(p + CAL_AT_LOSSES, c->n_losses);
	le_put64(p + CAL_AT_TEXT, c->text);
	le_put64(p + CAL_AT_FEATURES_AT, front);
	le_put32(p + CAL_AT_FEATURES_CRC, features ? crc32c(0, c->features, features) : 0);
	le_put32(p + CAL_AT_CRC,
		 crc32c(crc32c(0, p, CAL_AT_CRC), p + CAL_AT_CRC + 4, front - CAL_AT_CRC - 4));
}

/* The whole file; w->at NULL: only its length. */
static void put_all(struct writer *w, const struct cal *c)
{
	const size_t directory = CAL_HEADER_LEN;
	size_t front;

	w->len = directory + (size_t)c->n_splits * CAL_ENTRY_LEN;
	for (uint32_t i = 0; i < c->n_losses; i++)
		put_loss(w, &c->losses[i]);
	front = w->len;
	put_bytes(w, c->features, (size_t)c->n_vocab * c->n_features);
	for (uint32_t i = 0; i < c->n_splits; i++) {
		const size_t at = w->len;

		put_part(w, c, &c->splits[i]);
		if (w->at)
			put_entry(w->at + directory + (size_t)i * CAL_ENTRY_LEN, &c->splits[i], at,
				  w->at + at, w->len - at);
	}
	if (w->at)
		put_header(w->at, c, front, w->len);
}

int cal_print(const struct cal *c, uint8_t **out, size_t *len)
{
	struct writer w = { 0 };

	put_all(&w, c);
	w.at = malloc(w.len);
	if (!w.at)
		return ERR_NOMEM;
	put_all(&w, c);
	*out = w.at;
	*len = w.len;
	return 0;
}

/* path: of whom messages speak. */
static int write_file(const char *path, const char *temporary, const uint8_t *data, size_t len,
		      struct err *e)
{
	FILE *f = fopen(temporary, "wb");
	bool good;

	if (!f)
		return err_create(e, path, errno);
	good = fwrite(data, 1, len, f) == len;
	good = !fclose(f) && good;
	return good ? 0 : err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
}

int cal_save(const struct cal *c, const char *path, struct err *e)
{
	char temporary[4096];
	uint8_t *data = NULL;
	size_t len = 0;
	int rc;

	if (snprintf(temporary, sizeof(temporary), "%s.new", path) >= (int)sizeof(temporary))
		return err_set(e, ERR_LIMIT, "%.80s...: the path is too long", path);
	rc = cal_print(c, &data, &len);
	if (rc)
		return err_set(e, rc, "%s: out of memory", path);
	rc = write_file(path, temporary, data, len, e);
	if (!rc && rename(temporary, path))
		rc = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
	if (rc)
		unlink(temporary);
	free(data);
	return rc;
}
