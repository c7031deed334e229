#include "codec/stream.h"

#include <math.h>
#include <string.h>

#include "codec/loop.h"
#include "codec/rans.h"

/* A stream is, for each row: what travels with it, its outliers, its elements. Element i is lane
 * i % lanes; all else is lane 0. The encoder goes through all of it backwards.
 *
 * What a lane starts from carries the signs of the first 16 elements of the lane that can do
 * without: those have one symbol for both signs. Above the signs stands a one: the 2^16 that rANS
 * wants to start from, or, where there is one lane, right above the signs that there are, which
 * makes a stream that says little shorter. */

#define STEP_BITS  11
#define CLASSES    256
#define CLASS_ZERO 128
#define LAST       (TABLES_SCALES - 1)

#define RARE       (1u << TABLES_BITS) / 64 /* probability of an outlier in a row */
#define SAME_SHAPE (1u << TABLES_BITS) / 2

/* The table of deltas of step and gain: a Laplacian whose mean magnitude is a step. */
static const uint16_t *delta_table(void)
{
	return tables_cum[2][TABLES_ZERO];
}

static struct symbols choose(const struct row *r, int class)
{
	struct symbols c = { NULL, 0 };
	int t = r->gain - ROW_GAIN_T + class;

	if (t > LAST) {
		c.raw = (unsigned)(t - LAST + 3) / 4;
		t -= 4 * (int)c.raw;
	}
	if (c.raw > ROW_MAX_BITS - 2) {
		c.raw = ROW_MAX_BITS - 2;
		t = LAST;
	}
	c.cum = tables_cum[r->shape][t < 0 ? 0 : t];
	return c;
}

/* The tables of a row. */
struct choices {
	int first, last;             /* classes that there are */
	bool raw;                    /* some elements have raw bits */
	struct symbols all[CLASSES]; /* of a class + CLASS_ZERO */
};

static void choices_begin(struct choices *by, const int8_t *class, size_t dim)
{
	int8_t first = 0, last = 0;

	for (size_t i = 0; class && i < dim; i++) {
		first = class[i] < first ? class[i] : first;
		last = class[i] > last ? class[i] : last;
	}
	by->first = first;
	by->last = last;
}

static void choose_all(struct choices *by, const struct row *r)
{
	for (int c = by->first; c <= by->last; c++)
		by->all[CLASS_ZERO + c] = choose(r, c);
	by->raw = by->all[CLASS_ZERO + by->last].raw;
}

static const struct symbols *choice_of(const struct choices *by, const int8_t *class, size_t i)
{
	return &by->all[CLASS_ZERO + (class ? class[i] : 0)];
}

static int low_half(unsigned raw)
{
	return raw ? 1 << (raw - 1) : 0;
}

/* q without its raw bits: rounded, half up. */
static int high_part(int q, unsigned raw)
{
	return (q + low_half(raw)) >> raw;
}

static unsigned symbol_of(int q)
{
	unsigned magnitude = (unsigned)(q < 0 ? -q : q);

	if (magnitude > TABLES_MOST)
		return TABLES_ESCAPE;
	return q < 0 ? 2 * magnitude - 1 : 2 * magnitude;
}

static int value_of(unsigned symbol)
{
	return symbol % 2 ? -(int)(symbol / 2 + 1) : (int)(symbol / 2);
}

/* Its sign may travel in the first state of its lane. */
static bool can_fold(const struct symbols *c, unsigned symbol)
{
	return !c->raw && symbol && symbol != TABLES_ESCAPE;
}

/* Numbers from 0 on, small ones short: how many bits v + 1 has, then all but its first bit. */
static unsigned width_of(uint32_t v)
{
	return 31u - (unsigned)__builtin_clz(v + 1);
}

static void put_number(struct rans_out *o, uint32_t v)
{
	unsigned width = width_of(v);
	uint32_t rest = v + 1 - (1u << width);

	if (width > RANS_RAW_BITS)
		rans_put_raw(o, 0, rest >> RANS_RAW_BITS, width - RANS_RAW_BITS);
	if (width)
		rans_put_raw(o, 0, rest & RANS_MASK, width > RANS_RAW_BITS ? RANS_RAW_BITS : width);
	rans_put_raw(o, 0, width, 5);
}

static uint32_t get_number(struct rans_in *in)
{
	unsigned width = rans_get_raw(in, 0, 5);
	uint32_t rest = 0;

	if (width > 2 * RANS_RAW_BITS)
		in->bad = true; /* no number of ours is so large */
	else if (width)
		rest = rans_get_raw(in, 0, width > RANS_RAW_BITS ? RANS_RAW_BITS : width);
	if (width > RANS_RAW_BITS && !in->bad)
		rest |= rans_get_raw(in, 0, width - RANS_RAW_BITS) << RANS_RAW_BITS;
	return in->bad ? 0 : (1u << width) - 1 + rest;
}

static void put_flag(struct rans_out *o, bool set, uint32_t probability)
{
	const uint32_t clear = (1u << TABLES_BITS) - probability;

	rans_put(o, 0, set ? clear : 0, set ? probability : clear);
}

static bool get_flag(struct rans_in *in, uint32_t probability)
{
	const uint32_t clear = (1u << TABLES_BITS) - probability;
	bool set = rans_slot(in, 0) >= clear;

	rans_skip(in, 0, set ? clear : 0, set ? probability : clear);
	return set;
}

static void put_float(struct rans_out *o, float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	rans_put_raw(o, 0, bits & 0xfff, 12);
	rans_put_raw(o, 0, bits >> 12 & 0x3ff, 10);
	rans_put_raw(o, 0, bits >> 22, 10);
}

static float get_float(struct rans_in *in)
{
	uint32_t bits = rans_get_raw(in, 0, 10) << 22;
	float value;

	bits |= rans_get_raw(in, 0, 10) << 12;
	bits |= rans_get_raw(in, 0, 12);
	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* A small difference by the table of deltas, a large one as the new value itself. */
static void put_delta(struct rans_out *o, bool any, unsigned before, unsigned v, unsigned bits)
{
	const uint16_t *cum = delta_table();
	unsigned symbol = any ? symbol_of((int)v - (int)before) : TABLES_ESCAPE;

	if (symbol == TABLES_ESCAPE)
		rans_put_raw(o, 0, v, bits);
	if (any)
		rans_put(o, 0, cum[symbol], (uint32_t)cum[symbol + 1] - cum[symbol]);
}

static int get_delta(struct rans_in *in, bool any, unsigned before, unsigned bits)
{
	const uint16_t *cum = delta_table();
	unsigned symbol = TABLES_ESCAPE;

	if (any) {
		symbol = rans_find(cum, rans_slot(in, 0));
		rans_skip(in, 0, cum[symbol], (uint32_t)cum[symbol + 1] - cum[symbol]);
	}
	if (symbol == TABLES_ESCAPE)
		return (int)rans_get_raw(in, 0, bits);
	return (int)before + value_of(symbol);
}

static void put_outliers(struct rans_out *o, const struct row *r)
{
	for (uint32_t k = r->n_outliers; k-- > 0;) {
		const struct row_outlier *l = &r->outliers[k];
		uint32_t from = k ? r->outliers[k - 1].at + 1 : 0;

		put_float(o, l->value);
		put_number(o, l->at - from);
	}
	put_number(o, r->n_outliers - 1);
}

static bool get_outliers(struct rans_in *in, size_t dim, struct row *r)
{
	uint64_t at = 0, n = (uint64_t)get_number(in) + 1;

	if (in->bad || n > ROW_OUTLIERS(dim))
		return false;
	r->n_outliers = (uint32_t)n;
	for (uint32_t k = 0; k < n; k++) {
		at += get_number(in);
		r->outliers[k].at = (uint32_t)at;
		r->outliers[k].value = get_float(in);
		if (in->bad || at >= dim || !isfinite(r->outliers[k].value))
			return false;
		at++;
	}
	return true;
}

/* What travels with a row, backwards. */
static void put_head(struct rans_out *o, const struct row *r, const struct stream_before *b)
{
	if (r->n_outliers)
		put_outliers(o, r);
	if (!b->any || r->shape != b->shape)
		rans_put_raw(o, 0, r->shape, 2);
	if (b->any)
		put_flag(o, r->shape == b->shape, SAME_SHAPE);
	put_delta(o, b->any, b->gain, r->gain, 8);
	put_delta(o, b->any, b->step, r->step, STEP_BITS);
	put_flag(o, r->n_outliers, RARE);
}

static bool get_head(struct rans_in *in, size_t dim, const struct stream_before *b, struct row *r)
{
	bool outliers = get_flag(in, RARE);
	int step = get_delta(in, b->any, b->step, STEP_BITS);
	int gain = get_delta(in, b->any, b->gain, 8);
	bool same = b->any && get_flag(in, SAME_SHAPE);

	if (step < 0 || step >= ROW_STEPS || gain < 0 || gain >= ROW_GAINS)
		return false;
	r->step = (uint16_t)step;
	r->gain = (uint8_t)gain;
	r->shape = same ? b->shape : (uint8_t)rans_get_raw(in, 0, 2);
	r->n_outliers = 0;
	return !outliers || get_outliers(in, dim, r);
}

/* An element, backwards. folded: its sign is in the payload. */
static void put_element(struct rans_out *o, unsigned lane, int q, const struct symbols *c,
			bool folded)
{
	const int high = high_part(q, c->raw);
	const unsigned symbol = symbol_of(high);
	uint32_t start = c->cum[symbol], end = c->cum[symbol + 1];

	if (c->raw)
		rans_put_raw(o, lane, (uint32_t)(q + low_half(c->raw)) & ((1u << c->raw) - 1),
			     c->raw);
	if (symbol == TABLES_ESCAPE) {
		put_number(o, (uint32_t)(high < 0 ? -high : high) - TABLES_MOST - 1);
		rans_put_raw(o, 0, high < 0, 1);
	} else if (folded && can_fold(c, symbol)) {
		start = c->cum[2 * ((symbol + 1) / 2) - 1];
		end = c->cum[2 * ((symbol + 1) / 2) + 1];
	}
	rans_put(o, lane, start, end - start);
}

/* Rest of an element that is not just a symbol. False when there is no such element. */
static bool get_rest(struct rans_in *in, unsigned lane, unsigned symbol, const struct symbols *c,
		     int16_t *q)
{
	int high = value_of(symbol);

	if (symbol == TABLES_ESCAPE) {
		bool negative = rans_get_raw(in, 0, 1);
		uint32_t magnitude = get_number(in);

		if (magnitude > ROW_MOST)
			return false;
		high = (int)magnitude + TABLES_MOST + 1;
		high = negative ? -high : high;
	}
	high = high * (1 << c->raw);
	if (c->raw)
		high += (int)rans_get_raw(in, lane, c->raw) - low_half(c->raw);
	*q = (int16_t)high;
	return high >= -ROW_MOST && high <= ROW_MOST;
}

/* Signs that travel in the payload: of the elements before stop (counted over all rows). */
struct fold {
	size_t stop[RANS_LANES];
	unsigned taken[RANS_LANES];
	uint32_t payload[RANS_LANES];
};

/* by: what choices_begin() made. */
static void fold_signs(struct fold *f, const struct row *rows, size_t n, size_t dim,
		       const int8_t *class, unsigned lanes, struct choices *by)
{
	unsigned full = 0;

	*f = (struct fold){ 0 };
	for (size_t r = 0; r < n && full < lanes; r++) {
		choose_all(by, &rows[r]);
		for (size_t i = 0; i < dim && full < lanes; i++) {
			unsigned lane = (unsigned)i & (lanes - 1);
			int q = rows[r].q[i];

			if (f->taken[lane] == RANS_PAYLOAD ||
			    !can_fold(choice_of(by, class, i), symbol_of(q)))
				continue;
			f->payload[lane] |= (uint32_t)(q < 0) << f->taken[lane]++;
			f->stop[lane] = r * dim + i + 1;
			full += f->taken[lane] == RANS_PAYLOAD;
		}
	}
}

/* What the encoder of a stream holds. */
struct encoder {
	struct rans_out o;
	size_t dim;
	const int8_t *class; /* [dim] or NULL */
	unsigned lanes;
	const struct fold *fold;
	const struct loop *loop;
	struct choices by;        /* of this row */
	struct symbols_put table; /* of a row whose elements have one table */
};

/* How far signs are folded in each lane of the row whose elements are counted from `first` on.
 * Returns where no lane folds any more, a multiple of the lanes or the end of the row. */
static size_t fold_end(const struct encoder *e, size_t first, size_t stop[RANS_LANES])
{
	size_t end = 0;

	for (unsigned lane = 0; lane < e->lanes; lane++) {
		stop[lane] = e->fold->stop[lane] > first ? e->fold->stop[lane] - first : 0;
		end = stop[lane] > end ? stop[lane] : end;
	}
	end = (end + e->lanes - 1) / e->lanes * e->lanes;
	return end < e->dim ? end : e->dim;
}

/* As many as can be had fast of the elements before i; none folds from end on. Returns what i is
 * then. */
static size_t put_fast(struct encoder *e, const int16_t *q, const size_t *stop, size_t end,
		       size_t i)
{
	const struct symbols *by = e->by.all + CLASS_ZERO;
	const bool folds = i <= end;

	if (!e->loop->put || e->by.raw || i % e->lanes)
		return i;
	if (e->class || folds)
		return e->loop->put_each(&e->o, e->lanes, by, e->class, folds ? stop : NULL, q,
					 folds ? 0 : end, i);
	symbols_for_put(&e->table, by->cum);
	return e->loop->put(&e->o, e->lanes, &e->table, q, end, i);
}

static void put_elements(struct encoder *e, const struct row *r, size_t first)
{
	size_t stop[RANS_LANES], end = fold_end(e, first, stop), i = e->dim;

	while (i > 0 && !e->o.full) {
		const size_t before = i;
		size_t next;

		i = put_fast(e, r->q, stop, end, i);
		if (!i || (i == end && i < before))
			continue;
		for (next = (i - 1) / e->lanes * e->lanes; i > next && !e->o.full;) {
			unsigned lane = (unsigned)--i & (e->lanes - 1);

			put_element(&e->o, lane, r->q[i], choice_of(&e->by, e->class, i),
				    i < stop[lane]);
		}
	}
}

/* Everything, from the states in start[] on. */
static uint8_t *put_all(struct encoder *e, const struct row *rows, size_t n,
			const struct stream_before *before, const uint32_t *start, uint8_t *buf,
			size_t cap)
{
	rans_begin(&e->o, buf, cap, e->lanes, start);
	for (size_t r = n; r-- > 0 && !e->o.full;) {
		struct stream_before b = *before;

		if (r)
			b = (struct stream_before){ true, rows[r - 1].step, rows[r - 1].gain,
						    rows[r - 1].shape };
		choose_all(&e->by, &rows[r]);
		put_elements(e, &rows[r], r * e->dim);
		put_head(&e->o, &rows[r], &b);
	}
	return rans_end(&e->o, e->lanes);
}

/* What a lane starts from: its signs below a one. */
static uint32_t start_of(unsigned lanes, unsigned taken, uint32_t payload)
{
	return (lanes == 1 ? 1u << taken : RANS_LOW) | payload;
}

bool stream_put(const struct row *rows, size_t n, size_t dim, const int8_t *class,
		struct stream_before *before, uint8_t *buf, size_t cap, uint8_t **begin)
{
	const unsigned lanes = rans_lanes(dim);
	struct encoder e;
	uint32_t start[RANS_LANES];
	struct fold f;

	e.dim = dim;
	e.class = class;
	e.lanes = lanes;
	e.fold = &f;
	e.loop = loop_pick();
	e.table.cum = NULL;
	choices_begin(&e.by, class, dim);
	fold_signs(&f, rows, n, dim, class, lanes, &e.by);
	for (unsigned i = 0; i < lanes; i++)
		start[i] = start_of(lanes, f.taken[i], f.payload[i]);
	*begin = put_all(&e, rows, n, before, start, buf, cap);
	if (!*begin)
		return false;
	*before = (struct stream_before){ true, rows[n - 1].step, rows[n - 1].gain,
					  rows[n - 1].shape };
	return true;
}

/* What the decoder of a stream holds. */
struct decoder {
	struct rans_in in;
	size_t dim;
	const int8_t *class; /* [dim] or NULL */
	unsigned lanes;
	struct loop_fold fold;
	const struct loop *loop;
	struct choices by;        /* of this row */
	struct symbols_get table; /* of a row whose elements have one table */
};

/* An element that may have to wait for its sign. */
static bool get_folded(struct decoder *d, unsigned lane, const struct symbols *c, int16_t *q)
{
	uint32_t slot = rans_slot(&d->in, lane);
	unsigned symbol = rans_find(c->cum, slot), first = symbol, last = symbol + 1;

	if (d->fold.taken[lane] < RANS_PAYLOAD && can_fold(c, symbol)) {
		first = 2 * ((symbol + 1) / 2) - 1;
		last = first + 2;
		symbol = last - 1; /* positive until the payload is known */
		d->fold.full += ++d->fold.taken[lane] == RANS_PAYLOAD;
	}
	rans_skip(&d->in, lane, c->cum[first], (uint32_t)c->cum[last] - c->cum[first]);
	if (c->raw || symbol == TABLES_ESCAPE)
		return get_rest(&d->in, lane, symbol, c, q);
	*q = (int16_t)value_of(symbol);
	return true;
}

static bool get_element(struct rans_in *in, unsigned lane, const struct symbols *c, int16_t *q)
{
	unsigned symbol = rans_find(c->cum, rans_slot(in, lane));

	rans_skip(in, lane, c->cum[symbol], (uint32_t)c->cum[symbol + 1] - c->cum[symbol]);
	if (c->raw || symbol == TABLES_ESCAPE)
		return get_rest(in, lane, symbol, c, q);
	*q = (int16_t)value_of(symbol);
	return true;
}

/* As many as can be had fast of the elements from i on. Returns what i is then. */
static size_t get_fast(struct decoder *d, int16_t *q, size_t i)
{
	const struct symbols *by = d->by.all + CLASS_ZERO;

	if (!d->loop->get || d->by.raw || i % d->lanes || (d->class && d->lanes == 1))
		return i;
	if (d->fold.full < d->lanes)
		return d->loop->get_each(&d->in, d->lanes, by, d->class, &d->fold, q, i, d->dim);
	if (d->class || d->in.end - d->in.at < (ptrdiff_t)(2 * d->lanes))
		return d->loop->get_each(&d->in, d->lanes, by, d->class, NULL, q, i, d->dim);
	symbols_for_get(&d->table, by->cum);
	return d->loop->get(&d->in, d->lanes, &d->table, q, i, d->dim);
}

static bool get_elements(struct decoder *d, const struct row *r)
{
	const unsigned mask = d->lanes - 1;
	bool good = true;
	size_t i = 0;

	while (i < d->dim && good) {
		const size_t before = i;

		i = get_fast(d, r->q, i);
		if (i == d->dim || i > before)
			continue; /* there may be more of another kind */
		do {
			const struct symbols *c = choice_of(&d->by, d->class, i);

			good = d->fold.full < d->lanes
				       ? get_folded(d, (unsigned)i & mask, c, &r->q[i])
				       : get_element(&d->in, (unsigned)i & mask, c, &r->q[i]);
			i++;
		} while (i < d->dim && good && (i & mask));
	}
	return good && !d->in.bad;
}

/* Give the elements that waited their signs, from where each lane started. False when it started
 * from nothing that an encoder starts from. */
static bool unfold_signs(struct decoder *d, const struct row *rows, size_t n,
			 const uint32_t start[RANS_LANES])
{
	const unsigned lanes = d->lanes;
	unsigned taken[RANS_LANES] = { 0 }, full = 0;

	for (size_t r = 0; r < n && full < lanes; r++) {
		choose_all(&d->by, &rows[r]);
		for (size_t i = 0; i < d->dim && full < lanes; i++) {
			unsigned lane = (unsigned)i & (lanes - 1);
			int16_t *q = &rows[r].q[i];

			if (taken[lane] == RANS_PAYLOAD ||
			    !can_fold(choice_of(&d->by, d->class, i), symbol_of(*q)))
				continue;
			if (start[lane] >> taken[lane]++ & 1)
				*q = (int16_t) - *q;
			full += taken[lane] == RANS_PAYLOAD;
		}
	}
	for (unsigned lane = 0; lane < lanes; lane++) {
		if (start[lane] >> taken[lane] != start_of(lanes, taken[lane], 0) >> taken[lane])
			return false;
	}
	return true;
}

int stream_get(struct row *rows, size_t n, size_t dim, const int8_t *class,
	       struct stream_before *before, const uint8_t *src, size_t len)
{
	uint32_t start[RANS_LANES];
	struct decoder d;

	d.dim = dim;
	d.class = class;
	d.lanes = rans_lanes(dim);
	d.fold = (struct loop_fold){ .full = 0 };
	d.loop = loop_pick();
	d.table.cum = NULL;
	choices_begin(&d.by, class, dim);
	if (!rans_open(&d.in, src, len, d.lanes))
		return ERR_FORMAT;
	for (size_t r = 0; r < n; r++) {
		if (!get_head(&d.in, dim, before, &rows[r]))
			return ERR_FORMAT;
		choose_all(&d.by, &rows[r]);
		if (!get_elements(&d, &rows[r]))
			return ERR_FORMAT;
		*before = (struct stream_before){ true, rows[r].step, rows[r].gain, rows[r].shape };
	}
	if (!rans_close(&d.in, d.lanes, start) || !unfold_signs(&d, rows, n, start))
		return ERR_FORMAT;
	return 0;
}
