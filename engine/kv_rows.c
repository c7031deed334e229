#include "engine/kv_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kv.h"

#define KV_ROWS_MAX_DIM 1024 /* elements of a head */

size_t kv_rows_position_bytes(const struct model_hparams *hp, enum kv_type type)
{
	return kv_bytes(hp, 1, 1, type);
}

size_t kv_rows_bytes(const struct kv *kv)
{
	return kv->position_bytes;
}

enum kv_type kv_rows_type(const struct kv *kv)
{
	return kv->type;
}

static bool within(const struct kv *kv, const struct kv_rows_range *r)
{
	return r->first <= r->last && r->first >= kv->first && r->last <= kv->last &&
	       r->pos <= kv->length && r->rows <= kv->length - r->pos;
}

/* One position of a layer -> dst. Returns where it ends. */
static uint8_t *get_position(const struct kv *kv, uint32_t layer, uint32_t pos, uint8_t *dst)
{
	for (unsigned key = 2; key-- > 0;) {
		for (uint32_t h = 0; h < kv->n_heads; h++) {
			const struct kv_place at = { layer, h, pos, key };

			kv_get_row(kv, &at, dst);
			dst += key ? kv->key_bytes : kv->value_bytes;
		}
	}
	return dst;
}

int kv_rows_get(const struct kv *kv, const struct kv_rows_range *r, uint8_t *dst, size_t cap)
{
	if (!within(kv, r) || (size_t)(r->last - r->first) * r->rows > cap / kv->position_bytes)
		return ERR_LIMIT;
	for (uint32_t l = r->first; l < r->last; l++) {
		for (uint32_t p = r->pos; p < r->pos + r->rows; p++)
			dst = get_position(kv, l, p, dst);
	}
	return 0;
}

/* Where bytes come from, and what they mean. */
struct source {
	const struct kern *k;
	const uint8_t *at;
	enum kv_type type;
	enum quant_type format;
};

static enum quant_type format_of(enum kv_type type)
{
	static const enum quant_type formats[KV_TYPE_COUNT] = {
		[KV_F16] = QUANT_F16,
		[KV_F32] = QUANT_F32,
		[KV_Q8_0] = QUANT_Q8_0,
		[KV_Q4_0] = QUANT_Q4_0,
	};

	return formats[type];
}

/* The next dim numbers of a source -> x, whole blocks; false when one is none. */
static bool next(struct source *s, float *x, uint32_t dim)
{
	const size_t block = quant_block_elements(s->format), n = (dim + block - 1) / block * block;
	float sum = 0;

	s->k->dequant(s->format, s->at, x, n);
	s->at += quant_row_bytes(s->format, n);
	for (size_t i = 0; i < dim; i++)
		sum += x[i] * 0; /* NaN once, NaN for ever */
	return sum == 0;
}

/* Keys as they were before they were stored. */
static void turn_back(const struct source *s, float *x, uint32_t dim)
{
	if (!kv_has_blocks(s->type))
		return;
	for (size_t i = 0; i < dim; i += KV_BLOCK) {
		float block[KV_BLOCK];

		s->k->rotate(block, x + i, 1 / (32 * KV_KEY_SCALE), KV_BLOCK);
		memcpy(x + i, block, sizeof(block));
	}
}

/* One head's key or value: s -> kv. */
static int put_one(const struct kv *kv, struct source *s, const struct kv_place *at)
{
	const uint32_t dim = at->key ? kv->head_dim : kv->head_dim_v;
	const uint8_t *from = s->at;
	float x[KV_ROWS_MAX_DIM];

	if (!next(s, x, dim))
		return ERR_NOT_FINITE;
	if (s->type == kv->type) {
		kv_put_row(kv, at, from);
		return 0;
	}
	if (at->key)
		turn_back(s, x, dim);
	kv_put_head(kv, s->k, at, x);
	return 0;
}

/* One position of a layer: s -> kv. */
static int put_position(const struct kv *kv, struct source *s, uint32_t layer, uint32_t pos)
{
	int rc = 0;

	for (unsigned key = 2; key-- > 0 && !rc;) {
		for (uint32_t h = 0; h < kv->n_heads && !rc; h++)
			rc = put_one(kv, s, &(struct kv_place){ layer, h, pos, key });
	}
	return rc;
}

int kv_rows_put(struct kv *kv, enum kv_type type, const struct kv_rows_range *r, const uint8_t *src,
		size_t len)
{
	struct source s = { kern_at(0), src, type, format_of(type) };
	const size_t each = (quant_row_bytes(s.format, kv_stored_row(type, kv->head_dim)) +
			     quant_row_bytes(s.format, kv_stored_row(type, kv->head_dim_v))) *
			    kv->n_heads;

	if (kv->head_dim > KV_ROWS_MAX_DIM || kv->head_dim_v > KV_ROWS_MAX_DIM)
		return ERR_LIMIT;
	if (r->first != kv->first || r->last != kv->last || r->pos != kv->length)
		return ERR_STATE;
	if (r->rows > kv->capacity - r->pos)
		return ERR_CONTEXT;
	if (len != each * r->rows * (r->last - r->first))
		return ERR_FORMAT;
	for (uint32_t l = r->first; l < r->last; l++) {
		for (uint32_t p = r->pos; p < r->pos + r->rows; p++) {
			int rc = put_position(kv, &s, l, p);

			if (rc)
				return rc;
		}
	}
	kv->length += r->rows;
	return 0;
}

/* A head's key or value of numbers in [-1, 1) into the cache, and as a row. */
static void invent(const struct kv *kv, const struct kv_place *at, uint8_t *row)
{
	float x[KV_ROWS_MAX_DIM];
	uint32_t state = at->key ? 1 : 2;

	for (uint32_t i = 0; i < (at->key ? kv->head_dim : kv->head_dim_v); i++) {
		state = state * 1664525u + 1013904223u;
		x[i] = (float)(state >> 8) / (1u << 23) - 1;
	}
	kv_put_head(kv, kern_at(0), at, x);
	kv_get_row(kv, at, row);
}

int kv_rows_make_up(struct kv *kv, uint32_t rows)
{
	uint8_t head[2][4 * KV_ROWS_MAX_DIM];

	if (rows > kv->capacity - kv->length || kv->head_dim > KV_ROWS_MAX_DIM ||
	    kv->head_dim_v > KV_ROWS_MAX_DIM)
		return ERR_CONTEXT;
	for (uint32_t key = 0; key < 2 && rows && kv->first < kv->last; key++) {
		const struct kv_place at = { kv->first, 0, kv->length, key };

		invent(kv, &at, head[key]);
	}
	for (uint32_t l = kv->first; l < kv->last; l++) {
		for (uint32_t i = 0; i < rows * kv->n_heads * 2; i++) {
			const struct kv_place at = { l, i / 2 % kv->n_heads,
						     kv->length + i / 2 / kv->n_heads, i % 2 };

			kv_put_row(kv, &at, head[at.key]);
		}
	}
	kv->length += rows;
	return 0;
}

int kv_rows_like(struct kv **out, const struct kv *of, const struct model_hparams *hp,
		 enum kv_type type)
{
	return kv_create(out, of->budget, hp, of->first, of->last, of->capacity, type);
}

/* One position of a layer, head by head. */
static int copy_position(struct kv *kv, const struct kv *of, uint32_t layer, uint32_t pos)
{
	int rc = 0;

	for (unsigned i = 0; i < 2 * of->n_heads && !rc; i++) {
		const struct kv_place at = { layer, i / 2, pos, i % 2 };
		uint8_t row[4 * KV_ROWS_MAX_DIM];
		struct source s = { kern_at(0), row, of->type, of->format };

		kv_get_row(of, &at, row);
		rc = put_one(kv, &s, &at);
	}
	return rc;
}

int kv_rows_copy(struct kv *kv, const struct kv *of, const struct kv_rows_range *r)
{
	int rc = 0;

	if (!within(of, r) || r->first < kv->first || r->last > kv->last ||
	    r->pos + r->rows > kv->capacity || of->head_dim > KV_ROWS_MAX_DIM ||
	    of->head_dim_v > KV_ROWS_MAX_DIM)
		return ERR_LIMIT;
	for (uint32_t l = r->first; l < r->last && !rc; l++) {
		for (uint32_t p = r->pos; p < r->pos + r->rows && !rc; p++)
			rc = copy_position(kv, of, l, p);
	}
	return rc;
}
