#include "engine/matmul.h"

#include <assert.h>
#include <string.h>
#include <unistd.h>

#include "engine/expand.h"

/* Rows of x from which on turning a tile into floats pays. */
#define MANY_ROWS 3

/* Most rows of x that are made and rounded by one item. */
#define ROUND_ROWS 8

/* Bytes of rounded rows that meet a strip together, unless three eighths of a second-level cache
 * are more; and how many rows at most, also of those in tiles: all kernels like their multiples. */
#define BLOCK_BYTES (192 * 1024)
#define BLOCK_ROWS  96
#define TILE_ROWS   192

/* Strips of an item: enough items for threads to share evenly, and streams as long as may be; fewer
 * where rows cost more than weights, and panels are laid out but once. */
#define ITEM_STRIPS      8
#define ITEM_FEW_STRIPS  2
#define ITEMS_PER_THREAD 16

struct job {
	const struct matmul *m;
	const struct matmul_out *outs;
	unsigned n_outs;
	const struct matmul_in *in;
	size_t round_rows;
	size_t item_strips;
	size_t block_rows;
	bool passing;          /* rows are made in the threads' scratch, and rounded there */
	struct kern_acts acts; /* group 0: no out needs rounded rows */
	/* 1 + first of the rows that lie in panels in a thread's scratch; 0: none. */
	size_t panels[POOL_MAX_THREADS];
};

/* Part of one out, or of what gates it: weight rows [first, first + n) with some rows of x. */
struct part {
	const struct weight *w;
	size_t first, n;
	size_t row, rows;
	float *y; /* [rows][ldy] of these */
	size_t ldy;
};

static size_t strips_of(const struct weight *w)
{
	return (w->rows.n_rows + KERN_STRIP - 1) / KERN_STRIP;
}

/* Of two matrices half as many each. */
static size_t strips_at_once(const struct job *j, const struct matmul_out *o)
{
	return o->up && j->item_strips > (j->acts.tiles ? 2 : 1) ? j->item_strips / 2
								 : j->item_strips;
}

static size_t padded(size_t cols)
{
	return (cols + 31) / 32 * 32;
}

/* Blocks from one rounded row to the next: an odd number of cache lines, so that as many rows as
 * there are may have the same columns in the first-level cache. */
static size_t apart(size_t blocks)
{
	return blocks + (6 - blocks % 4) % 4;
}

/* A tile of floats is larger than the wide form of a strip, or panels. */
static size_t thread_floats(size_t max_cols)
{
	_Static_assert(sizeof(struct kern_wide) < 32 * KERN_STRIP * sizeof(float), "scratch");
	_Static_assert(KERN_PANEL_MOST / 4 * KERN_PANEL_BYTES < 32 * KERN_STRIP * sizeof(float),
		       "scratch");
	return padded(max_cols) * KERN_STRIP;
}

/* Rows once more, in tiles, for a table that wants them. */
static size_t tile_floats(const struct kern *k, size_t max_rows, size_t max_cols)
{
	const size_t groups = (max_rows + KERN_TILE_ROWS - 1) / KERN_TILE_ROWS;
	const size_t blocks = padded(max_cols) / 32;

	return k->tiles ? groups * (blocks + blocks % 2) * KERN_TILE_BYTES / sizeof(float) : 0;
}

/* What lies before them, in whole cache lines. */
static size_t other_floats(unsigned threads, size_t max_rows, size_t max_cols)
{
	const size_t blocks = max_rows * apart(padded(max_cols) / 32);

	/* 32 codes, a step and two sums a block */
	return (threads * thread_floats(max_cols) + blocks * (8 + 1 + 1) + 15) / 16 * 16;
}

size_t matmul_scratch(const struct kern *k, unsigned threads, size_t max_rows, size_t max_cols)
{
	return other_floats(threads, max_rows, max_cols) + tile_floats(k, max_rows, max_cols);
}

static size_t block_bytes(void)
{
#ifdef _SC_LEVEL2_CACHE_SIZE
	const long cache = sysconf(_SC_LEVEL2_CACHE_SIZE); /* 0 or -1: not known */

	if (cache / 8 * 3 > BLOCK_BYTES)
		return (size_t)cache / 8 * 3;
#endif
	return BLOCK_BYTES;
}

void matmul_init(struct matmul *m, const struct kern *k, struct pool *pool, size_t max_rows,
		 size_t max_cols, float *scratch)
{
	const size_t blocks = max_rows * apart(padded(max_cols) / 32);
	float *acts;

	*m = (struct matmul){ .kern = k,
			      .pool = pool,
			      .max_rows = max_rows,
			      .max_cols = max_cols,
			      .scratch = scratch,
			      .thread_floats = thread_floats(max_cols),
			      .block_bytes = block_bytes() };
	acts = scratch + pool_threads(pool) * m->thread_floats;
	m->acts.q = (int8_t *)acts;
	m->acts.step = acts + 8 * blocks;
	m->acts.sum = (int16_t *)(void *)(acts + 9 * blocks);
	if (k->tiles)
		m->acts.tiles =
			(uint8_t *)(scratch + other_floats(pool_threads(pool), max_rows, max_cols));
}

static void round_item(void *arg, size_t item, unsigned thread)
{
	const struct job *j = arg;
	const struct kern_acts *a = &j->acts;
	const struct matmul_in *in = j->in;
	float *room = j->passing ? j->m->scratch + thread * j->m->thread_floats : NULL;

	for (size_t r = item * j->round_rows; r < (item + 1) * j->round_rows && r < in->rows; r++) {
		if (in->make)
			in->make(in->arg, r, room);
		if (a->group)
			j->m->kern->quantize(room ? room : in->x + r * in->ldx, a->blocks * 32,
					     a->group, a->q + r * a->ld * 32, a->step + r * a->ld,
					     a->sum + r * a->ld * 2);
		if (a->tiles)
			j->m->kern->tiles(a, r);
	}
}

static void round_rows(struct job *j)
{
	const size_t rows = j->in->rows, threads = pool_threads(j->m->pool);

	if (!j->acts.group && !j->in->make)
		return;
	j->acts.blocks = j->outs[0].w->cols / 32;
	j->acts.ld = apart(j->acts.blocks);
	j->round_rows = (rows + threads - 1) / threads;
	j->round_rows = j->round_rows < ROUND_ROWS ? j->round_rows : ROUND_ROWS;
	pool_run(j->m->pool, round_item, j, (rows + j->round_rows - 1) / j->round_rows);
}

/* How many rows meet a strip together. */
static size_t block_rows(const struct job *j)
{
	const size_t cols = j->outs[0].w->cols, step = j->m->kern->rows_step;
	const size_t most = j->acts.tiles ? TILE_ROWS : BLOCK_ROWS;
	const size_t bytes =
		j->acts.tiles ? cols / 32 * KERN_TILE_BYTES / KERN_TILE_ROWS : cols + cols / 4;
	const size_t rows = j->m->block_bytes / bytes;

	if (rows < step)
		return step;
	return rows < most ? rows / step * step : most;
}

/* n of p's rows, from its row r on, with the wide form of a strip of p, or, when that is NULL, the
 * packed one. The last strip of a matrix may have fewer outputs than it has room for. */
static void run_strip(const struct job *j, const struct part *p, size_t strip, size_t r, size_t n,
		      const struct kern_wide *wide)
{
	const struct weight *w = p->w;
	const size_t left = w->rows.n_rows - strip * KERN_STRIP, ldy = p->ldy;
	float *y = p->y + r * ldy + strip * KERN_STRIP - p->first;
	float tail[TILE_ROWS * KERN_STRIP];
	float *out = left < KERN_STRIP ? tail : y;
	const size_t ldo = left < KERN_STRIP ? KERN_STRIP : ldy;

	if (wide)
		j->m->kern->wide(wide, expand_mins(w->rows.type), &j->acts, p->row + r, n, out,
				 ldo);
	else
		j->m->kern->strip(&w->strips, strip, 1, &j->acts, p->row + r, n, out, ldo);
	for (size_t i = 0; left < KERN_STRIP && i < n; i++)
		memcpy(y + i * ldy, tail + i * KERN_STRIP, left * sizeof(*y));
}

static bool has_panels(const struct job *j)
{
	return j->m->kern->strips && j->in->rows >= KERN_PANEL_LEAST;
}

/* n strips with rows in panels, which the thread keeps from one item to the next. */
static void run_panels(struct job *j, const struct part *p, size_t n, unsigned thread)
{
	float *panels = j->m->scratch + thread * j->m->thread_floats;

	if (j->panels[thread] != 1 + p->row)
		j->m->kern->panels(&j->acts, p->row, p->rows, panels);
	j->panels[thread] = 1 + p->row;
	j->m->kern->strips(&p->w->strips, p->first / KERN_STRIP, n, panels, p->rows, p->y, p->ldy);
}

/* Of one block of rows. */
static void run_packed(struct job *j, const struct part *p, unsigned thread)
{
	const size_t first = p->first / KERN_STRIP, whole = p->n / KERN_STRIP;

	if (has_panels(j))
		run_panels(j, p, whole, thread);
	else if (whole)
		j->m->kern->strip(&p->w->strips, first, whole, &j->acts, p->row, p->rows, p->y,
				  p->ldy);
	if (p->n % KERN_STRIP)
		run_strip(j, p, first + whole, 0, p->rows, NULL);
}

static void run_wide(const struct job *j, const struct part *p, float *scratch)
{
	struct kern_wide *wide = (struct kern_wide *)(void *)scratch;
	const struct kern_rows *w = &p->w->rows;

	for (size_t i = p->first; i < p->first + p->n; i += KERN_STRIP) {
		const size_t left = w->n_rows - i;

		j->m->kern->expand(w->type, w->data + i * w->row_bytes, w->row_bytes,
				   left < KERN_STRIP ? left : KERN_STRIP, p->w->cols, wide);
		for (size_t r = 0, n; r < p->rows; r += n) {
			n = p->rows - r < j->block_rows ? p->rows - r : j->block_rows;
			run_strip(j, p, i / KERN_STRIP, r, n, wide);
		}
	}
}

/* F32 weights are used where they are, others by way of the thread's scratch. */
static void run_tile(const struct job *j, const struct part *p, size_t first, float *scratch)
{
	const struct kern_rows *w = &p->w->rows;
	const size_t left = p->first + p->n - first;
	const uint8_t *data = w->data + first * w->row_bytes;
	struct kern_tile t = { .x = j->in->x + p->row * j->in->ldx,
			       .ldx = j->in->ldx,
			       .nx = p->rows,
			       .out = p->y + first - p->first,
			       .ldo = p->ldy,
			       .nw = left < KERN_STRIP ? left : KERN_STRIP,
			       .ldw = p->w->cols,
			       .n = p->w->cols };

	if (w->type == QUANT_F32) {
		t.w = (const float *)(const void *)data;
	} else {
		for (size_t i = 0; i < t.nw; i++)
			j->m->kern->dequant(w->type, data + i * w->row_bytes, scratch + i * t.ldw,
					    t.n);
		t.w = scratch;
	}
	j->m->kern->tile(&t);
}

static void run_floats(const struct job *j, const struct part *p, float *scratch)
{
	struct kern_rows w = p->w->rows;

	if (p->rows >= MANY_ROWS || w.type == QUANT_F32) {
		for (size_t i = p->first; i < p->first + p->n; i += KERN_STRIP)
			run_tile(j, p, i, scratch);
		return;
	}
	w.data += p->first * w.row_bytes;
	w.n_rows = p->n;
	for (size_t r = 0; r < p->rows; r++)
		j->m->kern->rows(&w, j->in->x + (p->row + r) * j->in->ldx, p->w->cols,
				 p->y + r * p->ldy);
}

static void run_part(struct job *j, const struct part *p, unsigned thread)
{
	float *scratch = j->m->scratch + thread * j->m->thread_floats;

	if (p->w->strips.data) {
		run_packed(j, p, thread);
	} else {
		j->panels[thread] = 0; /* these need the scratch */
		if (expand_knows(p->w->rows.type))
			run_wide(j, p, scratch);
		else
			run_floats(j, p, scratch);
	}
	for (size_t r = 0; r < p->rows && p->w->bias; r++)
		j->m->kern->add(p->y + r * p->ldy, p->w->bias + p->first, p->n);
}

/* p's results, at most n columns, go to a part of `to`, [rows][ldy], that nobody reads later: the
 * thread's own, close together, where there is room for all, else where they would belong. */
static void put_aside(const struct job *j, struct part *p, size_t n, float *to, size_t ldy,
		      unsigned thread)
{
	const bool fits = n * pool_threads(j->m->pool) <= ldy;

	p->y = to + (fits ? thread * n * j->in->rows : p->row * ldy + p->first);
	p->ldy = fits ? n : ldy;
}

/* What becomes of results, of at most n columns, while they are in the cache. */
static void finish_part(struct job *j, const struct matmul_out *o, const struct part *p, size_t n,
			unsigned thread)
{
	const size_t at = p->row * o->ldy + p->first;
	struct part up = *p;

	if (o->up) {
		up.w = o->up;
		put_aside(j, &up, n, o->up_y, o->ldy, thread);
		run_part(j, &up, thread);
	}
	for (size_t r = 0; r < p->rows && o->up; r++)
		j->m->kern->silu_mul(p->y + r * p->ldy, up.y + r * up.ldy, p->n);
	for (size_t r = 0; r < p->rows && o->plus; r++)
		j->m->kern->add(o->plus + at + r * o->ldy, p->y + r * p->ldy, p->n);
}

/* Into how many blocks rows are cut, and where number b begins: what is not packed is unpacked for
 * all of them. */
static size_t n_blocks(const struct job *j, const struct matmul_out *o)
{
	const size_t most = has_panels(j) ? KERN_PANEL_MOST : j->block_rows;
	const bool packed = o->w->strips.data && (!o->up || o->up->strips.data);

	return packed ? (j->in->rows + most - 1) / most : 1;
}

static size_t block_at(const struct job *j, size_t n, size_t b)
{
	if (n == 1 || b == n || has_panels(j))
		return j->in->rows * b / n;
	return b * j->block_rows;
}

/* Parts of an out's strips. */
static size_t n_parts(const struct job *j, const struct matmul_out *o)
{
	const size_t n = strips_at_once(j, o);

	return (strips_of(o->w) + n - 1) / n;
}

/* Rows in tiles take much room, so a block of them stays in the cache until it has met all strips,
 * which are read once more for the next one. Other blocks follow each other in an item, so that
 * strips are read once. */
static size_t blocks_apart(const struct job *j, const struct matmul_out *o)
{
	return j->acts.tiles ? n_blocks(j, o) : 1;
}

static size_t n_items(const struct job *j, unsigned out)
{
	return n_parts(j, &j->outs[out]) * blocks_apart(j, &j->outs[out]);
}

/* Block b of n: rows meet both matrices of a pair while they are in the cache. */
static void run_block(struct job *j, const struct matmul_out *o, struct part p, size_t most,
		      size_t b, size_t n, unsigned thread)
{
	p.row = block_at(j, n, b);
	p.rows = block_at(j, n, b + 1) - p.row;
	p.y = o->y + p.row * o->ldy + p.first;
	if (o->plus)
		put_aside(j, &p, most, o->y, o->ldy, thread);
	run_part(j, &p, thread);
	finish_part(j, o, &p, most, thread);
}

static void run_item(void *arg, size_t item, unsigned thread)
{
	struct job *j = arg;
	const struct matmul_out *o = j->outs;
	struct part p;
	size_t most, n, parts, apart;

	for (unsigned i = 0; item >= n_items(j, i); i++, o++)
		item -= n_items(j, i);
	parts = n_parts(j, o);
	most = strips_at_once(j, o) * KERN_STRIP;
	p = (struct part){ .w = o->w, .first = item % parts * most, .ldy = o->ldy };
	p.n = o->w->rows.n_rows - p.first < most ? o->w->rows.n_rows - p.first : most;
	n = n_blocks(j, o);
	apart = blocks_apart(j, o);
	for (size_t b = item / parts; b < n; b += apart)
		run_block(j, o, p, most, b, n, thread);
}

/* Blocks that share a step in the rows that w wants; 0: it wants floats. */
static size_t group_of(const struct weight *w)
{
	return expand_knows(w->rows.type) ? kern_group(w->rows.type) : 0;
}

bool matmul_pairs(const struct weight *a, const struct weight *b)
{
	return group_of(a) == group_of(b) && a->cols == b->cols && a->rows.n_rows == b->rows.n_rows;
}

/* Rows are rounded as the first out that wants rounded ones has them. Returns how many outs, from
 * the first on, are content with that. */
static unsigned choose_group(struct job *j)
{
	unsigned n = 0;

	for (; n < j->n_outs; n++) {
		const size_t group = group_of(j->outs[n].w);

		if (group && j->acts.group && group != j->acts.group)
			break;
		j->acts.group = group ? group : j->acts.group;
	}
	return n;
}

static size_t item_strips(const struct job *j, size_t strips)
{
	const size_t rows = j->in->rows;
	const bool even = j->m->kern->strips && rows >= KERN_PANEL_LEAST && rows <= KERN_PANEL_MOST;
	const size_t most = even ? ITEM_FEW_STRIPS : ITEM_STRIPS;
	const size_t n = strips / (pool_threads(j->m->pool) * ITEMS_PER_THREAD) + 1;

	/* Tiles are for two at a time. */
	return n < most ? n + (j->m->kern->tiles ? n % 2 : 0) : most;
}

/* As many outs as one way to round serves; returns how many. */
static unsigned run_some(const struct matmul *m, const struct matmul_out *outs, unsigned n_outs,
			 const struct matmul_in *in)
{
	struct job j = { .m = m, .outs = outs, .n_outs = n_outs, .in = in, .acts = m->acts };
	size_t strips = 0, items = 0;

	j.acts.tile_rows = (in->rows + KERN_TILE_ROWS - 1) / KERN_TILE_ROWS * KERN_TILE_ROWS;
	j.n_outs = choose_group(&j);
	if (in->rows < KERN_TILE_LEAST || j.acts.group != 1)
		j.acts.tiles = NULL;
	j.block_rows = block_rows(&j);
	j.passing = in->passing && in->make && j.n_outs == n_outs;
	for (unsigned i = 0; i < j.n_outs; i++) {
		strips += strips_of(outs[i].w) * (outs[i].up ? 2 : 1);
		j.passing = j.passing && expand_knows(outs[i].w->rows.type);
	}
	round_rows(&j);
	j.item_strips = item_strips(&j, strips);
	for (unsigned i = 0; i < j.n_outs; i++)
		items += n_items(&j, i);
	pool_run(m->pool, run_item, &j, items);
	return j.n_outs;
}

void matmul_run(const struct matmul *m, const struct matmul_out *outs, unsigned n_outs,
		const struct matmul_in *in)
{
	struct matmul_in left = *in;

	assert(in->rows <= m->max_rows);
	for (unsigned i = 0; i < n_outs; i++) {
		assert(outs[i].w->cols == outs[0].w->cols && outs[i].w->cols <= m->max_cols);
		assert(!outs[i].up || matmul_pairs(outs[i].w, outs[i].up));
	}
	while (n_outs) {
		const unsigned n = run_some(m, outs, n_outs, &left);

		left.make = NULL; /* they are there */
		outs += n;
		n_outs -= n;
	}
}
