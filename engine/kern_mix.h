/* engine/kern_mix.h - weighted sums of rows (kern.mix) for any vocabulary of 16 lanes.
 *
 * What many sums share is made floats first, a tile at a time: six sums of 64 columns use a row of
 * v, and 64 sums of a prompt would convert it eleven times. Private to kern_vec.h. */
#ifndef ENGINE_KERN_MIX_H
#define ENGINE_KERN_MIX_H

#include <stdbool.h>

#include "engine/kern_def.h"

#ifndef INLINE /* tests that emulate instructions have theirs */
#define INLINE static inline __attribute__((always_inline))
#endif

/* Bytes of a number of v. */
INLINE size_t mix_bytes(enum kern_number type)
{
	return type == KERN_F32 ? 4 : type == KERN_F16 ? 2 : 1;
}

/* Sixteen numbers, and the first n of them with zeros after them. */
INLINE struct vf mix_load(enum kern_number type, const uint8_t *v)
{
	if (type == KERN_F32)
		return vf_load((const float *)(const void *)v);
	return type == KERN_F16 ? vf_of_f16(v) : vf_load_i8(v);
}

INLINE struct vf mix_load_n(enum kern_number type, const uint8_t *v, size_t n)
{
	_Alignas(float) uint8_t all[KERN_LANES * sizeof(float)] = { 0 };

	memcpy(all, v, n * mix_bytes(type));
	return mix_load(type, all);
}

/* Constants of a loop of mix. */
struct mix_kind {
	enum kern_number type;
	unsigned ny, nc; /* sums of so many rows of w, and of 16 * nc columns */
};

/* What is asked for next: some of it every so many rows of v. */
#define MIX_TURN 4

struct mix_ahead {
	const uint8_t *at, *end;
	size_t step;
};

/* By about how many turns there will be: most loops use two thirds of the registers, or all. */
INLINE struct mix_ahead mix_ahead_of(const struct kern_mix *m)
{
	const size_t each = m->ny * m->n / (VEC_MIX_SUMS * 2 / 3 * KERN_LANES);
	const size_t turns = (m->nv / MIX_TURN + 1) * (each ? each : 1);
	const uint8_t *at = m->ahead;

	if (!at)
		return (struct mix_ahead){ NULL, NULL, 0 };
	return (struct mix_ahead){ at, at + m->ahead_bytes, m->ahead_bytes / turns + 1 };
}

/* The next so many bytes. */
INLINE void mix_ask(struct mix_ahead *a, size_t bytes)
{
	if (a->at >= a->end)
		return;
	for (size_t i = 0; i < bytes; i += 64)
		__builtin_prefetch(a->at + i, 0, 2);
	a->at += bytes;
}

/* One row of v at v, weights at w. */
INLINE void mix_turn(const struct kern_mix *m, struct mix_kind k, const float *w, const uint8_t *v,
		     struct vf *s)
{
	struct vf x[4];

	for (unsigned c = 0; c < k.nc; c++)
		x[c] = mix_load(k.type, v + c * KERN_LANES * mix_bytes(k.type));
	for (unsigned j = 0; j < k.ny; j++) {
		struct vf y = vf_set(w[j * m->ldw]);

		for (unsigned c = 0; c < k.nc; c++)
			s[j * k.nc + c] = vf_fma(y, x[c], s[j * k.nc + c]);
	}
}

/* The sums from w and v on, of nv rows, into s. */
INLINE void mix_loop(const struct kern_mix *m, struct mix_kind k, const float *w, const uint8_t *v,
		     struct mix_ahead *ask, struct vf *s)
{
	const size_t row = m->ldv * mix_bytes(k.type);
	size_t p = 0;

	for (; p + MIX_TURN <= m->nv; p += MIX_TURN) {
		mix_ask(ask, ask->step);
		for (unsigned t = 0; t < MIX_TURN; t++, v += row)
			mix_turn(m, k, w + p + t, v, s);
	}
	for (; p < m->nv; p++, v += row)
		mix_turn(m, k, w + p, v, s);
}

/* All sums of a block stay in registers. */
INLINE void mix_block(const struct kern_mix *m, struct mix_kind k, size_t j, size_t i,
		      struct mix_ahead *ask)
{
	const uint8_t *v = (const uint8_t *)m->v + i * mix_bytes(k.type);
	float *y = m->y + j * m->ldy + i;
	struct vf s[VEC_MIX_SUMS];

#pragma GCC unroll 24
	for (unsigned c = 0; c < k.ny * k.nc; c++)
		s[c] = m->fresh || m->steps
			       ? vf_set(0)
			       : vf_load(y + c / k.nc * m->ldy + c % k.nc * KERN_LANES);
	mix_loop(m, k, m->w + j * m->ldw, v, ask, s);
#pragma GCC unroll 24
	for (unsigned c = 0; c < k.ny * k.nc; c++) {
		float *to = y + c / k.nc * m->ldy + c % k.nc * KERN_LANES;

		if (m->steps)
			s[c] = vf_fma(s[c], vf_of_f16(m->steps + 2 * (i + c % k.nc * KERN_LANES)),
				      m->fresh ? vf_set(0) : vf_load(to));
		vf_store(to, s[c]);
	}
}

/* The last columns, fewer than 16. */
INLINE void mix_rest(const struct kern_mix *m, struct mix_kind k, size_t j, size_t i)
{
	const size_t n = m->n - i, each = mix_bytes(k.type);
	const uint8_t *v = (const uint8_t *)m->v + i * each;
	float *y = m->y + j * m->ldy + i;
	struct vf s[VEC_MIX_SUMS];

	for (unsigned c = 0; c < k.ny; c++)
		s[c] = m->fresh || m->steps ? vf_set(0) : vf_load_n(y + c * m->ldy, n);
	for (size_t p = 0; p < m->nv; p++) {
		const struct vf x = mix_load_n(k.type, v + p * m->ldv * each, n);

		for (unsigned c = 0; c < k.ny; c++)
			s[c] = vf_fma(vf_set(m->w[(j + c) * m->ldw + p]), x, s[c]);
	}
	for (unsigned c = 0; c < k.ny; c++) {
		if (m->steps)
			s[c] = vf_fma(s[c], mix_load_n(KERN_F16, m->steps + 2 * i, n),
				      m->fresh ? vf_set(0) : vf_load_n(y + c * m->ldy, n));
		vf_store_n(y + c * m->ldy, s[c], n);
	}
}

/* All columns of ny sums, as many at once as there are registers for. */
INLINE void mix_rows(const struct kern_mix *m, enum kern_number type, size_t j, unsigned ny,
		     struct mix_ahead *ask)
{
	const unsigned most = VEC_MIX_SUMS / ny, nc = most >= 4 ? 4 : most >= 2 ? 2 : 1;
	const struct mix_kind many = { type, ny, nc }, one = { type, ny, 1 };
	size_t i = 0;

	for (; i + nc * KERN_LANES <= m->n; i += nc * KERN_LANES)
		mix_block(m, many, j, i, ask);
	for (; i + KERN_LANES <= m->n; i += KERN_LANES)
		mix_block(m, one, j, i, ask);
	if (i < m->n)
		mix_rest(m, one, j, i);
}

/* Six sums use a row of v best, but eight are two times four. */
INLINE void mix_of(const struct kern_mix *m, enum kern_number type)
{
	struct mix_ahead ask = mix_ahead_of(m);
	size_t j = 0;

	for (; m->ny - j >= 9 || m->ny - j == 6; j += 6)
		mix_rows(m, type, j, 6, &ask);
	for (; m->ny - j >= 4; j += 4)
		mix_rows(m, type, j, 4, &ask);
	if (m->ny - j == 3)
		mix_rows(m, type, j, 3, &ask);
	else if (m->ny - j == 2)
		mix_rows(m, type, j, 2, &ask);
	else if (m->ny - j == 1)
		mix_rows(m, type, j, 1, &ask);
	mix_ask(&ask, (size_t)(ask.end - ask.at));
}

static void mix_f32(const struct kern_mix *m)
{
	mix_of(m, KERN_F32);
}

/* Rows and columns of a tile, which stays in the first-level cache; sums from which on it pays. */
#define MIX_TILE    64
#define MIX_TILE_NY 8

/* Rows [p, p + rows) and columns [i, i + columns) of v. */
INLINE void mix_fill(const struct kern_mix *m, enum kern_number type, size_t p, size_t i,
		     size_t rows, size_t columns, float *to)
{
	const size_t each = mix_bytes(type);
	const uint8_t *v = (const uint8_t *)m->v + (p * m->ldv + i) * each;

	for (size_t r = 0; r < rows; r++, v += m->ldv * each, to += MIX_TILE) {
		for (size_t c = 0; c < columns; c += KERN_LANES)
			vf_store(to + c, mix_load(type, v + c * each));
	}
}

/* Part t of m: rows of v from p on, columns from i on. */
INLINE void mix_tile(const struct kern_mix *m, struct kern_mix *t, enum kern_number type, size_t p,
		     size_t i)
{
	_Alignas(64) float tile[MIX_TILE * MIX_TILE];

	t->n = m->n - i < MIX_TILE ? m->n - i : MIX_TILE;
	t->nv = m->nv - p < MIX_TILE ? m->nv - p : MIX_TILE;
	t->y = m->y + i;
	t->w = m->w + p;
	t->v = tile;
	t->steps = m->steps ? m->steps + 2 * i : NULL;
	t->fresh = m->fresh && !p;
	mix_fill(m, type, p, i, t->nv, t->n, tile);
	mix_f32(t);
}

INLINE void mix_tiles(const struct kern_mix *m, enum kern_number type)
{
	const size_t columns = (m->n + MIX_TILE - 1) / MIX_TILE;
	const size_t rows = (m->nv + MIX_TILE - 1) / MIX_TILE;
	struct kern_mix t = *m;

	t.type = KERN_F32;
	t.ldv = MIX_TILE;
	t.ahead_bytes = m->ahead_bytes / (rows * columns);
	for (size_t i = 0; i < m->n; i += MIX_TILE) {
		for (size_t p = 0; p < m->nv; p += MIX_TILE) {
			mix_tile(m, &t, type, p, i);
			t.ahead = t.ahead ? t.ahead + t.ahead_bytes : NULL;
		}
	}
}

/* Whole vectors, and sums that are not cut where steps end them. */
INLINE bool mix_has_tiles(const struct kern_mix *m)
{
	return m->ny >= MIX_TILE_NY && m->nv && m->n && m->n % KERN_LANES == 0 &&
	       (!m->steps || m->nv <= MIX_TILE);
}

static void mix_f16(const struct kern_mix *m)
{
	if (mix_has_tiles(m))
		mix_tiles(m, KERN_F16);
	else
		mix_of(m, KERN_F16);
}

static void mix_i8(const struct kern_mix *m)
{
	if (mix_has_tiles(m))
		mix_tiles(m, KERN_I8);
	else
		mix_of(m, KERN_I8);
}

static void mix(const struct kern_mix *m)
{
	if (m->type == KERN_F32)
		mix_f32(m);
	else if (m->type == KERN_F16)
		mix_f16(m);
	else
		mix_i8(m);
}

#endif
