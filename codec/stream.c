#include "codec/stream.h"

#include <math.h>
#include <string.h>

#include "codec/loop.h"
#include "codec/rans.h"

/* A stream is, for each row: what travels with it, its outliers, its elements. Element i is lane
 * i % lanes; all else is lane 0. The encoder goes through all of it backwards.
 *
 * What a lane starts from carries the signs of the first 16 elements of the lane that can do
 * without: those have one symbol for both signs. Below the signs stands a one: the 2^16 that rANS
 * wants to start from, or, where a stream has so little to say that this makes it shorter, a one
 * right above the signs that there are. */

#define STEP_BITS  11
#define BRIEF      24 /* bytes of streams that may gain from a small start */
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

/* Table of an element, and how many of its low bits are told as they are. */
struct choice {
	const uint16_t *cum;
	unsigned raw;
};

static void choose(struct choice *c, const struct row *r, int class)
{
	int t = r->gain - ROW_GAIN_T + class;

	c->raw = 0;
	if (t > LAST) {
		c->raw = (unsigned)(t - LAST + 3) / 4;
		t -= 4 * (int)c->raw;
	}
	if (c->raw > ROW_MAX_BITS - 2) {
		c->raw = ROW_MAX_BITS - 2;
		t = LAST;
	}
	c->cum = tables_cum[r->shape][t < 0 ? 0 : t];
}

struct range {
	int first, last;
};

static struct range class_range(const int8_t *class, size_t dim)
{
	struct range r = { 0, 0 };

	for (size_t i = 0; class && i < dim; i++) {
		r.first = class[i] < r.first ? class[i] : r.first;
		r.last = class[i] > r.last ? class[i] : r.last;
	}
	return r;
}

static void choose_all(struct choice all[CLASSES], const struct row *r, struct range classes)
{
	for (int c = classes.first; c <= classes.last; c++)
		choose(&all[CLASS_ZERO + c], r, c);
}

static const struct choice *choice_of(const struct choice all[CLASSES], const int8_t *class,
				      size_t i)
{
	return &all[CLASS_ZERO + (class ? class[i] : 0)];
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
static bool can_fold(const struct choice *c, unsigned symbol)
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
static void put_element(struct rans_out *o, unsigned lane, int q, const struct choice *c,
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
static bool get_rest(struct rans_in *in, unsigned lane, unsigned symbol, const struct choice *c,
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

static void fold_signs(struct fold *f, const struct row *rows, size_t n, size_t dim,
		       const int8_t *class, unsigned lanes)
{
	const struct range classes = class_range(class, dim);
	struct choice all[CLASSES];
	unsigned full = 0;

	*f = (struct fold){ 0 };
	for (size_t r = 0; r < n && full < lanes; r++) {
		choose_all(all, &rows[r], classes);
		for (size_t i = 0; i < dim && full < lanes; i++) {
			unsigned lane = (unsigned)i & (lanes - 1);
			int q = rows[r].q[i];

			if (f->taken[lane] == RANS_PAYLOAD ||
			    !can_fold(choice_of(all, class, i), symbol_of(q)))
				continue;
			f->payload[lane] |= (uint32_t)(q < 0) << f->taken[lane]++;
			f->stop[lane] = r * dim + i + 1;
			full += f->taken[lane] == RANS_PAYLOAD;
		}
	}
}

/* How far signs are folded in the row whose elements are counted from `first` on. */
static size_t fold_end(const struct fold *f, unsigned lanes, size_t first, size_t dim)
{
	size_t end = 0;

	for (unsigned lane = 0; lane < lanes; lane++)
		end = f->stop[lane] > first + end ? f->stop[lane] - first : end;
	end = (end + lanes - 1) / lanes * lanes;
	return end < dim ? end : dim;
}

static void put_elements(struct rans_out *o, const struct row *r, size_t dim, const int8_t *class,
			 const struct choice all[CLASSES], unsigned lanes, const struct fold *f,
			 size_t first)
{
	size_t i = dim;

	while (i-- > 0 && !o->full) {
		unsigned lane = (unsigned)i & (lanes - 1);

		put_element(o, lane, r->q[i], choice_of(all, class, i), first + i < f->stop[lane]);
	}
}

/* The same where all elements have one table. */
static void put_alike(struct rans_out *o, const struct row *r, size_t dim, const struct choice *c,
		      unsigned lanes, const struct fold *f, size_t first, const struct loop *loop,
		      const struct symbols_put *table)
{
	const size_t folded = fold_end(f, lanes, first, dim);
	size_t i = dim;

	while (i > 0 && !o->full) {
		size_t stop;

		if (i > folded && i % lanes == 0)
			i = loop->put(o, lanes, table, r->q, folded, i);
		for (stop = i ? (i - 1) / lanes * lanes : 0; i > stop && !o->full;) {
			unsigned lane = (unsigned)--i & (lanes - 1);

			put_element(o, lane, r->q[i], c, first + i < f->stop[lane]);
		}
	}
}

/* Everything, from the states in start[] on. */
static uint8_t *put_all(const struct row *rows, size_t n, size_t dim, const int8_t *class,
			const struct stream_before *before, const struct fold *f,
			const uint32_t *start, uint8_t *buf, size_t cap)
{
	const unsigned lanes = rans_lanes(dim);
	const struct range classes = class_range(class, dim);
	const struct loop *loop = loop_pick();
	struct symbols_put table = { .cum = NULL };
	struct choice all[CLASSES];
	struct rans_out o;

	rans_begin(&o, buf, cap, lanes, start);
	for (size_t r = n; r-- > 0 && !o.full;) {
		struct stream_before b = *before;

		if (r)
			b = (struct stream_before){ true, rows[r - 1].step, rows[r - 1].gain,
						    rows[r - 1].shape };
		choose_all(all, &rows[r], classes);
		if (loop->put && !class && !all[CLASS_ZERO].raw) {
			symbols_for_put(&table, all[CLASS_ZERO].cum);
			put_alike(&o, &rows[r], dim, &all[CLASS_ZERO], lanes, f, r * dim, loop,
				  &table);
		} else {
			put_elements(&o, &rows[r], dim, class, all, lanes, f, r * dim);
		}
		put_head(&o, &rows[r], &b);
	}
	return rans_end(&o, lanes);
}

bool stream_put(const struct row *rows, size_t n, size_t dim, const int8_t *class,
		struct stream_before *before, uint8_t *buf, size_t cap, uint8_t **begin)
{
	const unsigned lanes = rans_lanes(dim);
	uint8_t brief[BRIEF], *p;
	uint32_t start[RANS_LANES];
	struct fold f;

	fold_signs(&f, rows, n, dim, class, lanes);
	for (unsigned i = 0; i < lanes; i++)
		start[i] = RANS_LOW | f.payload[i];
	*begin = put_all(rows, n, dim, class, before, &f, start, buf, cap);
	start[0] = 1u << f.taken[0] | f.payload[0];
	p = lanes == 1 ? put_all(rows, n, dim, class, before, &f, start, brief, BRIEF) : NULL;
	if (p && (!*begin || brief + BRIEF - p < buf + cap - *begin) &&
	    (size_t)(brief + BRIEF - p) <= cap) {
		*begin = buf + cap - (brief + BRIEF - p);
		memcpy(*begin, p, (size_t)(brief + BRIEF - p));
	}
	if (!*begin)
		return false;
	*before = (struct stream_before){ true, rows[n - 1].step, rows[n - 1].gain,
					  rows[n - 1].shape };
	return true;
}

/* Which elements wait for their sign: how many more each lane has to give. */
struct unfold {
	unsigned taken[RANS_LANES];
	unsigned full, lanes;
};

static bool get_element(struct rans_in *in, unsigned lane, const struct choice *c, struct unfold *u,
			int16_t *q)
{
	uint32_t slot = rans_slot(in, lane);
	unsigned symbol = rans_find(c->cum, slot), first = symbol, last = symbol + 1;

	if (u->taken[lane] < RANS_PAYLOAD && can_fold(c, symbol)) {
		first = 2 * ((symbol + 1) / 2) - 1;
		last = first + 2;
		symbol = last - 1; /* positive until the payload is known */
		u->full += ++u->taken[lane] == RANS_PAYLOAD;
	}
	rans_skip(in, lane, c->cum[first], (uint32_t)c->cum[last] - c->cum[first]);
	if (!c->raw && symbol != TABLES_ESCAPE) {
		*q = (int16_t)value_of(symbol);
		return true;
	}
	return get_rest(in, lane, symbol, c, q);
}

/* An element that does not wait for its sign. */
static bool get_signed(struct rans_in *in, unsigned lane, const struct choice *c, int16_t *q)
{
	unsigned symbol = rans_find(c->cum, rans_slot(in, lane));

	rans_skip(in, lane, c->cum[symbol], (uint32_t)c->cum[symbol + 1] - c->cum[symbol]);
	if (c->raw || symbol == TABLES_ESCAPE)
		return get_rest(in, lane, symbol, c, q);
	*q = (int16_t)value_of(symbol);
	return true;
}

/* loop, table: of all elements of the row; NULL: they differ. */
static bool get_elements(struct rans_in *in, const struct row *r, size_t dim, const int8_t *class,
			 const struct choice all[CLASSES], struct unfold *u,
			 const struct loop *loop, const struct symbols_get *table)
{
	const unsigned mask = u->lanes - 1;
	bool good = true;
	size_t i = 0;

	for (; i < dim && u->full < u->lanes && good; i++)
		good = get_element(in, (unsigned)i & mask, choice_of(all, class, i), u, &r->q[i]);
	while (i < dim && good) {
		if (loop && !(i & mask))
			i = loop->get(in, u->lanes, table, r->q, i, dim);
		do {
			if (i < dim)
				good = get_signed(in, (unsigned)i & mask, choice_of(all, class, i),
						  &r->q[i]);
			i++;
		} while (i < dim && good && (i & mask));
	}
	return good && !in->bad;
}

/* Give the elements that waited their signs, from where each lane started. False when it started
 * from nothing that an encoder starts from. */
static bool unfold_signs(const struct row *rows, size_t n, size_t dim, const int8_t *class,
			 unsigned lanes, const uint32_t start[RANS_LANES])
{
	const struct range classes = class_range(class, dim);
	unsigned taken[RANS_LANES] = { 0 }, full = 0;
	struct choice all[CLASSES];

	for (size_t r = 0; r < n && full < lanes; r++) {
		choose_all(all, &rows[r], classes);
		for (size_t i = 0; i < dim && full < lanes; i++) {
			unsigned lane = (unsigned)i & (lanes - 1);
			int16_t *q = &rows[r].q[i];

			if (taken[lane] == RANS_PAYLOAD ||
			    !can_fold(choice_of(all, class, i), symbol_of(*q)))
				continue;
			if (start[lane] >> taken[lane]++ & 1)
				*q = (int16_t) - *q;
			full += taken[lane] == RANS_PAYLOAD;
		}
	}
	for (unsigned lane = 0; lane < lanes; lane++) {
		if (start[lane] >> taken[lane] != 1 &&
		    start[lane] >> taken[lane] != RANS_LOW >> taken[lane])
			return false;
	}
	return true;
}

int stream_get(struct row *rows, size_t n, size_t dim, const int8_t *class,
	       struct stream_before *before, const uint8_t *src, size_t len)
{
	struct unfold u = { .lanes = rans_lanes(dim) };
	const struct range classes = class_range(class, dim);
	const struct loop *loop = loop_pick();
	struct symbols_get table;
	struct choice all[CLASSES];
	uint32_t start[RANS_LANES];
	struct rans_in in;

	table.cum = NULL;
	if (!rans_open(&in, src, len, u.lanes))
		return ERR_FORMAT;
	for (size_t r = 0; r < n; r++) {
		bool alike;

		if (!get_head(&in, dim, before, &rows[r]))
			return ERR_FORMAT;
		choose_all(all, &rows[r], classes);
		alike = loop->get && !class && !all[CLASS_ZERO].raw;
		if (alike)
			symbols_for_get(&table, all[CLASS_ZERO].cum);
		if (!get_elements(&in, &rows[r], dim, class, all, &u, alike ? loop : NULL, &table))
			return ERR_FORMAT;
		*before = (struct stream_before){ true, rows[r].step, rows[r].gain, rows[r].shape };
	}
	if (!rans_close(&in, u.lanes, start) || !unfold_signs(rows, n, dim, class, u.lanes, start))
		return ERR_FORMAT;
	return 0;
}
