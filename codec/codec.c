#include "codec/codec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/touch.h"
#include "codec/packed.h"
#include "codec/predict.h"
#include "codec/squeeze.h"
#include "codec/state.h"
#include "codec/stream.h"

#define LARGEST      0x1p50f /* sums of a row's squares must not overflow */
#define LARGEST_PART 0x1p56f /* the same for components: there are fewer of them */

struct codec_work {
	size_t dim, rows;
	struct row *row;              /* [rows] */
	int16_t *q;                   /* [rows][dim] */
	struct row_outlier *outliers; /* [rows][ROW_OUTLIERS(dim)] */
	float *before, *p, *u, *x;    /* [dim] each */
	int16_t *z;                   /* [dim] */
	uint8_t *packed, *stream;     /* [bound] each */
	size_t bound;
	void *lz4;
};

void codec_work_destroy(struct codec_work *w)
{
	if (!w)
		return;
	free(w->row);
	free(w->q);
	free(w->outliers);
	free(w->before);
	free(w->p);
	free(w->u);
	free(w->x);
	free(w->z);
	free(w->packed);
	free(w->stream);
	free(w->lz4);
	free(w);
}

/* What is larger than a page. */
static void touch_all(struct codec_work *w)
{
	touch(w->row, w->rows * sizeof(*w->row));
	touch(w->q, w->rows * w->dim * sizeof(*w->q));
	touch(w->outliers, w->rows * ROW_OUTLIERS(w->dim) * sizeof(*w->outliers));
	touch(w->packed, w->bound);
	touch(w->stream, w->bound);
	touch(w->lz4, squeeze_memory());
}

int codec_work_create(struct codec_work **out, size_t dim, size_t rows)
{
	struct codec_work *w = calloc(1, sizeof(*w));

	if (!w)
		return ERR_NOMEM;
	w->dim = dim;
	w->rows = rows;
	w->bound = packed_bound(dim, rows);
	w->row = calloc(rows, sizeof(*w->row));
	w->q = calloc(rows * dim, sizeof(*w->q));
	w->outliers = calloc(rows * ROW_OUTLIERS(dim), sizeof(*w->outliers));
	w->before = calloc(dim, sizeof(float));
	w->p = calloc(dim, sizeof(float));
	w->u = calloc(dim, sizeof(float));
	w->x = calloc(dim, sizeof(float));
	w->z = calloc(dim, sizeof(*w->z));
	w->packed = malloc(w->bound);
	w->stream = malloc(w->bound);
	w->lz4 = malloc(squeeze_memory());
	if (!w->row || !w->q || !w->outliers || !w->before || !w->p || !w->u || !w->x || !w->z ||
	    !w->packed || !w->stream || !w->lz4) {
		codec_work_destroy(w);
		return ERR_NOMEM;
	}
	touch_all(w);
	for (size_t r = 0; r < rows; r++) {
		w->row[r].q = w->q + r * dim;
		w->row[r].outliers = w->outliers + r * ROW_OUTLIERS(dim);
	}
	*out = w;
	return 0;
}

size_t codec_work_bytes(size_t dim, size_t rows)
{
	return sizeof(struct codec_work) + squeeze_memory() + 2 * packed_bound(dim, rows) +
	       dim * (4 * sizeof(float) + sizeof(int16_t)) +
	       rows * (sizeof(struct row) + dim * sizeof(int16_t) +
		       ROW_OUTLIERS(dim) * sizeof(struct row_outlier));
}

size_t codec_bound(const struct codec_spec *spec, size_t dim, size_t rows)
{
	return spec->tabq ? packed_bound(dim, rows) : plain_bound(spec->plain, dim, rows);
}

bool codec_known(unsigned id)
{
	return id < PLAIN_COUNT ||
	       ((id & ~0xfu) == CODEC_TABQ && (id & 3) < CODEC_FORMS && (id >> 2 & 3) < SPEC_AUTO);
}

enum codec_need codec_needs(unsigned id)
{
	unsigned predict = id < PLAIN_COUNT || !codec_known(id) ? SPEC_PREDICT_NONE : id >> 2 & 3;

	return predict == SPEC_PREDICT_NONE ? CODEC_NOTHING
	       : predict == SPEC_TOKENS     ? CODEC_STATE_AND_TOKENS
					    : CODEC_STATE;
}

const char *codec_name(unsigned id)
{
	static const char *const names[SPEC_AUTO][CODEC_FORMS] = {
		{ "tabq packed", "tabq rans", "tabq lz4" },
		{ "tabq packed rows", "tabq rans rows", "tabq lz4 rows" },
		{ "tabq packed tokens", "tabq rans tokens", "tabq lz4 tokens" },
	};

	if (!codec_known(id))
		return "unknown";
	return id < PLAIN_COUNT ? plain_name((enum plain_id)id) : names[id >> 2 & 3][id & 3];
}

/* What remains of a codec_state when there is none, or while it may yet fail. */
struct cursor {
	const struct cal *cal;
	const struct cal_split *split; /* NULL: no prediction */
	enum cal_mode mode;
	struct row_classes classes;
	bool any, has_id;
	uint32_t id;
	struct stream_before before;
	const float *ahead; /* [k] of the next row; NULL: it is still to be worked out */
};

static struct cursor begin(const struct codec_state *s, enum spec_predict predict)
{
	struct cursor c = { 0 };

	if (predict == SPEC_PREDICT_NONE)
		return c;
	c = (struct cursor){ .cal = s->cal,
			     .split = s->split,
			     .mode = predict == SPEC_TOKENS ? CAL_TOKENS : CAL_ROWS,
			     .any = s->now.any,
			     .has_id = s->now.has_id,
			     .id = s->now.id,
			     .before = s->now.before };
	if (s->now.foreseen && s->now.mode == c.mode)
		c.ahead = s->now.ahead;
	c.classes.class = c.split->predictors[c.mode].class;
	c.classes.inverse = c.split->predictors[c.mode].inverse;
	return c;
}

/* p of the next row, whose token is *id (NULL: not known). */
static void predict_next(struct codec_work *w, struct cursor *c, const uint32_t *id)
{
	const struct predict_from from = { .row = c->any ? w->before : NULL,
					   .token = id,
					   .earlier = c->has_id ? &c->id : NULL };

	if (c->ahead) {
		memcpy(w->p, c->ahead, c->split->k * sizeof(*w->p));
		if (c->mode == CAL_TOKENS)
			predict_add_tokens(c->cal, c->split, &from, w->p);
	} else {
		predict_row(c->cal, c->split, c->mode, &from, w->z, w->p);
	}
	c->ahead = NULL;
	c->any = true;
	c->has_id = id;
	c->id = id ? *id : 0;
}

/* The state after a chunk. w->before: components of its last row, where the cursor had a split; x:
 * the last row as decoded, for where it had none. */
static void commit(struct codec_work *w, struct codec_state *s, const struct cursor *c,
		   const float *x, unsigned id, const uint8_t *bytes, size_t len,
		   const uint32_t *ids, size_t n)
{
	if (!s || !s->split)
		return;
	if (c->split) {
		memcpy(s->now.u, w->before, s->split->k * sizeof(*s->now.u));
		s->now.before = c->before;
	} else {
		predict_forward(s->split, x, s->dim, s->now.u);
	}
	s->now.any = true;
	s->now.foreseen = false;
	s->now.predicted = c->split;
	s->now.mode = c->mode;
	s->now.has_id = c->has_id;
	s->now.id = c->id;
	s->now.hash = crc32c(s->now.hash ^ id, bytes, len);
	for (size_t i = 0; i < n && codec_needs(id) == CODEC_STATE_AND_TOKENS; i++)
		s->now.hash = s->now.hash * 0x9e3779b1u + ids[i];
}

static int check_finite(const float *x, size_t dim, size_t rows, struct err *e)
{
	for (size_t r = 0; r < rows; r++) {
		const bool good = row_below(x + r * dim, dim, LARGEST);

		for (size_t i = 0; !good && i < dim; i++) {
			if (!(fabsf(x[r * dim + i]) < LARGEST))
				return err_set(e, ERR_NOT_FINITE,
					       "row %zu, element %zu: %g cannot be sent as tabq", r,
					       i, (double)x[r * dim + i]);
		}
	}
	return 0;
}

/* What a calibration leaves of a finite row may be anything. */
static bool are_parts(const float *u, size_t k)
{
	unsigned bad = 0;

	for (size_t i = 0; i < k; i++)
		bad |= !(fabsf(u[i]) < LARGEST_PART);
	return !bad;
}

/* One row -> w->row[r]; w->before is what it will be decoded to. False when its components are too
 * large for floats. */
static bool quantize(const struct codec_spec *spec, struct codec_work *w, struct cursor *c,
		     const float *x, const uint32_t *id, size_t r)
{
	const size_t k = c->split ? c->split->k : w->dim;
	struct row *row = &w->row[r];

	row->step = c->before.step;
	row->gain = c->before.gain;
	row->shape = c->before.shape;
	if (!c->split) {
		row_quantize_plain(&spec->row, x, w->dim, spec->delta, w->u, row);
	} else {
		predict_next(w, c, id);
		predict_forward(c->split, x, w->dim, w->u);
		for (size_t i = 0; i < k; i++)
			w->u[i] -= w->p[i];
		if (!are_parts(w->u, k))
			return false;
		row_quantize(&spec->row, w->u, &c->classes, k, spec->delta * row_energy(x, w->dim),
			     row);
		row_restore(row, k, w->before);
		for (size_t i = 0; i < k; i++)
			w->before[i] += w->p[i];
	}
	c->before = (struct stream_before){ true, row->step, row->gain, row->shape };
	return true;
}

/* Do two rows say the same, so that LZ4 may find it? */
static bool repeats(const struct row *rows, size_t n, size_t k)
{
	for (size_t r = 1; r < n; r++) {
		if (rows[r].step == rows[r - 1].step &&
		    !memcmp(rows[r].q, rows[r - 1].q, k * sizeof(*rows[r].q)))
			return true;
	}
	return false;
}

/* The smallest of what the spec allows -> dst. Returns its length. */
static size_t entropy_code(const struct codec_spec *spec, struct codec_work *w,
			   const struct cursor *first, size_t n, size_t k, uint8_t *dst,
			   enum codec_form *form)
{
	struct stream_before before = first->before;
	const size_t packed = packed_len(w->row, n, k);
	size_t len = packed, small;
	uint8_t *begin;

	*form = CODEC_PACKED;
	if (spec->entropy == SPEC_RANS &&
	    stream_put(w->row, n, k, first->classes.class, &before, w->stream, packed, &begin)) {
		*form = CODEC_RANS;
		len = (size_t)(w->stream + packed - begin);
		memcpy(dst, begin, len);
		if (!repeats(w->row, n, k))
			return len;
	}
	packed_put(w->row, n, k, w->packed);
	if (*form == CODEC_PACKED)
		memcpy(dst, w->packed, packed);
	if (spec->entropy == SPEC_NONE)
		return len;
	small = squeeze(w->lz4, w->packed, packed, w->stream, len - 1);
	if (!small)
		return len;
	*form = CODEC_LZ4;
	memcpy(dst, w->stream, small);
	return small;
}

/* What the spec's wish comes to: no tokens that the other end does not know, no prediction without
 * a calibration. */
static enum spec_predict resolve(const struct codec_spec *spec, const struct codec_state *s,
				 const uint32_t *ids)
{
	if (!s || !s->split || spec->predict == SPEC_PREDICT_NONE)
		return SPEC_PREDICT_NONE;
	if (spec->predict == SPEC_ROWS || !ids)
		return SPEC_ROWS;
	return SPEC_TOKENS;
}

static int check_ids(const struct cal *cal, const uint32_t *ids, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		if (ids[i] >= cal->n_vocab)
			return err_set(e, ERR_FORMAT, "token %u of a vocabulary of %u",
				       (unsigned)ids[i], (unsigned)cal->n_vocab);
	}
	return 0;
}

static int encode_tabq(const struct codec_spec *spec, struct codec_work *w, struct codec_state *s,
		       const struct codec_rows *rows, struct codec_bytes *out, struct err *e)
{
	const enum spec_predict predict = resolve(spec, s, rows->ids);
	const uint32_t *ids = predict == SPEC_TOKENS ? rows->ids : NULL;
	struct cursor c = begin(s, predict);
	const struct cursor first = c;
	const size_t k = c.split ? c.split->k : w->dim;
	enum codec_form form;
	int rc = check_finite(rows->x, w->dim, rows->n, e);

	if (!rc && ids)
		rc = check_ids(c.cal, ids, rows->n, e);
	if (rc)
		return rc;
	if (c.split)
		memcpy(w->before, s->now.u, k * sizeof(*s->now.u));
	for (size_t r = 0; r < rows->n; r++) {
		if (!quantize(spec, w, &c, rows->x + r * w->dim, ids ? &ids[r] : NULL, r))
			return err_set(e, ERR_NOT_FINITE,
				       "row %zu: too large for the calibration of this split", r);
	}
	out->len = entropy_code(spec, w, &first, rows->n, k, out->dst, &form);
	if (form != CODEC_RANS)
		c.before.gain = c.before.shape = 0; /* the reader does not hear of them */
	out->id = (uint8_t)(CODEC_TABQ | form | (unsigned)predict << 2);
	if (s && s->split && !c.split)
		row_restore(&w->row[rows->n - 1], w->dim, w->x);
	commit(w, s, &c, w->x, out->id, out->dst, out->len, ids, rows->n);
	return 0;
}

static int encode_plain(const struct codec_spec *spec, struct codec_work *w, struct codec_state *s,
			const struct codec_rows *rows, struct codec_bytes *out, struct err *e)
{
	const struct cursor c = { 0 };
	int rc = plain_encode(spec->plain, rows->x, w->dim, rows->n, out->dst, out->cap, &out->len,
			      e);

	if (rc)
		return rc;
	out->id = (uint8_t)spec->plain;
	if (!s || !s->split)
		return 0;
	rc = plain_decode(out->id, out->dst + plain_bound(spec->plain, w->dim, rows->n - 1),
			  plain_bound(spec->plain, w->dim, 1), w->dim, 1, w->x, e);
	if (!rc)
		commit(w, s, &c, w->x, out->id, out->dst, out->len, NULL, 0);
	return rc;
}

int codec_encode(const struct codec_spec *spec, struct codec_work *w, struct codec_state *s,
		 const struct codec_rows *rows, struct codec_bytes *out, struct err *e)
{
	size_t need = codec_bound(spec, w->dim, rows->n);

	if (!rows->n || rows->n > w->rows)
		return err_set(e, ERR_LIMIT, "%zu rows at a time; 1..%zu can be encoded", rows->n,
			       w->rows);
	if (out->cap < need)
		return err_set(e, ERR_LIMIT, "%zu rows may take %zu bytes, there is room for %zu",
			       rows->n, need, out->cap);
	return spec->tabq ? encode_tabq(spec, w, s, rows, out, e)
			  : encode_plain(spec, w, s, rows, out, e);
}

static int entropy_decode(struct codec_work *w, struct cursor *c, enum codec_form form,
			  const struct codec_chunk *ch, size_t k)
{
	const uint8_t *src = ch->src;
	size_t len = ch->len;

	if (form == CODEC_RANS)
		return stream_get(w->row, ch->n, k, c->classes.class, &c->before, src, len);
	if (form == CODEC_LZ4) {
		len = squeeze_expand(src, len, w->packed, w->bound);
		src = w->packed;
		if (!len)
			return ERR_FORMAT;
	}
	if (packed_get(w->row, ch->n, k, src, len))
		return ERR_FORMAT;
	c->before = (struct stream_before){ true, w->row[ch->n - 1].step, 0, 0 };
	return 0;
}

static void restore(struct codec_work *w, struct cursor *c, const uint32_t *id, size_t r, float *x)
{
	if (!c->split) {
		row_restore(&w->row[r], w->dim, x);
		return;
	}
	predict_next(w, c, id);
	row_restore(&w->row[r], c->split->k, w->before);
	for (size_t i = 0; i < c->split->k; i++)
		w->before[i] += w->p[i];
	predict_back(c->split, w->before, w->dim, x);
}

static int check_decoded(const float *x, size_t dim, size_t n, struct err *e)
{
	for (size_t r = 0; r < n; r++) {
		const bool good = row_below(x + r * dim, dim, (float)INFINITY);

		for (size_t i = 0; !good && i < dim; i++) {
			if (!isfinite(x[r * dim + i]))
				return err_set(e, ERR_NOT_FINITE,
					       "row %zu, element %zu: %s in tabq", r, i,
					       err_phrase(ERR_NOT_FINITE));
		}
	}
	return 0;
}

static int decode_tabq(struct codec_work *w, struct codec_state *s, const struct codec_chunk *ch,
		       float *x, struct err *e)
{
	const enum spec_predict predict = (enum spec_predict)(ch->id >> 2 & 3);
	const uint32_t *ids = predict == SPEC_TOKENS ? ch->ids : NULL;
	struct cursor c = begin(s, predict);
	const size_t k = c.split ? c.split->k : w->dim;
	int rc = ids ? check_ids(c.cal, ids, ch->n, e) : 0;

	if (rc)
		return rc;
	rc = entropy_decode(w, &c, (enum codec_form)(ch->id & 3), ch, k);
	if (rc)
		return err_set(e, rc, "%zu bytes are not %zu rows of %zu elements in %s", ch->len,
			       ch->n, ch->dim, codec_name(ch->id));
	if (c.split)
		memcpy(w->before, s->now.u, k * sizeof(*s->now.u));
	for (size_t r = 0; r < ch->n; r++)
		restore(w, &c, ids ? &ids[r] : NULL, r, x + r * w->dim);
	rc = check_decoded(x, w->dim, ch->n, e);
	if (!rc)
		commit(w, s, &c, x + (ch->n - 1) * w->dim, ch->id, ch->src, ch->len, ids, ch->n);
	return rc;
}

static int check_chunk(const struct codec_work *w, const struct codec_state *s,
		       const struct codec_chunk *ch, struct err *e)
{
	const enum codec_need need = codec_needs(ch->id);

	if (!codec_known(ch->id))
		return err_set(e, ERR_UNSUPPORTED,
			       "rows in codec %u, which this side does not know", ch->id);
	if (ch->dim != w->dim || !ch->n || ch->n > w->rows)
		return err_set(e, ERR_LIMIT, "%zu rows of %zu elements; 1..%zu rows of %zu fit",
			       ch->n, ch->dim, w->rows, w->dim);
	if (need != CODEC_NOTHING && (!s || !s->split))
		return err_set(e, ERR_STATE, "rows in %s, and no calibration of this split here",
			       codec_name(ch->id));
	if (need == CODEC_STATE_AND_TOKENS && !ch->ids)
		return err_set(e, ERR_STATE, "rows in %s, and their tokens are not known here",
			       codec_name(ch->id));
	return 0;
}

int codec_decode(struct codec_work *w, struct codec_state *s, const struct codec_chunk *ch,
		 float *x, struct err *e)
{
	const struct cursor c = { 0 };
	int rc = check_chunk(w, s, ch, e);

	if (rc)
		return rc;
	if (ch->id >= PLAIN_COUNT)
		return decode_tabq(w, s, ch, x, e);
	rc = plain_decode(ch->id, ch->src, ch->len, ch->dim, ch->n, x, e);
	if (!rc)
		commit(w, s, &c, x + (ch->n - 1) * w->dim, ch->id, ch->src, ch->len, NULL, 0);
	return rc;
}
