#include "codec/packed.h"

#include <math.h>
#include <string.h>

#include "base/le.h"

/* A row: u16 step, u8 bits, u16 outliers; {u32 at, f32 value} of each; the elements, `bits` each as
 * two's complement, the first one in the low bits of the first byte. */
#define HEAD_LEN    5
#define OUTLIER_LEN 8

static size_t elements_len(size_t dim, unsigned bits)
{
	return (dim * bits + 7) / 8;
}

size_t packed_bound(size_t dim, size_t rows)
{
	return rows *
	       (HEAD_LEN + ROW_OUTLIERS(dim) * OUTLIER_LEN + elements_len(dim, ROW_MAX_BITS));
}

size_t packed_len(const struct row *rows, size_t n, size_t dim)
{
	size_t len = 0;

	for (size_t r = 0; r < n; r++)
		len += HEAD_LEN + rows[r].n_outliers * (size_t)OUTLIER_LEN +
		       elements_len(dim, row_bits(rows[r].q, dim));
	return len;
}

static uint8_t *put_elements(const int16_t *q, size_t dim, unsigned bits, uint8_t *dst)
{
	uint32_t held = 0;
	unsigned n = 0;

	for (size_t i = 0; i < dim; i++) {
		held |= ((uint32_t)q[i] & ((1u << bits) - 1)) << n;
		for (n += bits; n >= 8; n -= 8) {
			*dst++ = (uint8_t)held;
			held >>= 8;
		}
	}
	if (n)
		*dst++ = (uint8_t)held;
	return dst;
}

void packed_put(const struct row *rows, size_t n, size_t dim, uint8_t *dst)
{
	for (size_t r = 0; r < n; r++) {
		const unsigned bits = row_bits(rows[r].q, dim);

		le_put16(dst, rows[r].step);
		dst[2] = (uint8_t)bits;
		le_put16(dst + 3, (uint16_t)rows[r].n_outliers);
		dst += HEAD_LEN;
		for (uint32_t i = 0; i < rows[r].n_outliers; i++, dst += OUTLIER_LEN) {
			uint32_t value;

			memcpy(&value, &rows[r].outliers[i].value, 4);
			le_put32(dst, rows[r].outliers[i].at);
			le_put32(dst + 4, value);
		}
		dst = put_elements(rows[r].q, dim, bits, dst);
	}
}

/* Returns where the next row begins, NULL when an element is not what a row may hold. */
static const uint8_t *get_elements(int16_t *q, size_t dim, unsigned bits, const uint8_t *src)
{
	const uint32_t sign = 1u << (bits - 1), mask = (1u << bits) - 1;
	uint32_t held = 0;
	unsigned n = 0;

	for (size_t i = 0; i < dim; i++) {
		uint32_t v;

		for (; n < bits; n += 8)
			held |= (uint32_t)*src++ << n;
		v = held & mask;
		held >>= bits;
		n -= bits;
		if (v == sign)
			return NULL; /* -2^(bits - 1): the range is symmetric */
		q[i] = (int16_t)((int32_t)(v ^ sign) - (int32_t)sign);
	}
	return held ? NULL : src;
}

static bool get_outliers(struct row *r, size_t dim, const uint8_t *src)
{
	for (uint32_t i = 0; i < r->n_outliers; i++, src += OUTLIER_LEN) {
		uint32_t value = le_get32(src + 4);

		r->outliers[i].at = le_get32(src);
		memcpy(&r->outliers[i].value, &value, 4);
		if (r->outliers[i].at >= dim || !isfinite(r->outliers[i].value) ||
		    (i && r->outliers[i].at <= r->outliers[i - 1].at))
			return false;
	}
	return true;
}

int packed_get(struct row *rows, size_t n, size_t dim, const uint8_t *src, size_t len)
{
	for (size_t r = 0; r < n; r++) {
		unsigned bits;
		size_t need;

		if (len < HEAD_LEN)
			return ERR_FORMAT;
		rows[r].step = le_get16(src);
		bits = src[2];
		rows[r].n_outliers = le_get16(src + 3);
		rows[r].gain = rows[r].shape = 0;
		if (rows[r].step >= ROW_STEPS || bits < 1 || bits > ROW_MAX_BITS ||
		    rows[r].n_outliers > ROW_OUTLIERS(dim))
			return ERR_FORMAT;
		need = HEAD_LEN + rows[r].n_outliers * (size_t)OUTLIER_LEN +
		       elements_len(dim, bits);
		if (len < need || !get_outliers(&rows[r], dim, src + HEAD_LEN) ||
		    !get_elements(rows[r].q, dim, bits, src + need - elements_len(dim, bits)))
			return ERR_FORMAT;
		src += need;
		len -= need;
	}
	return len ? ERR_FORMAT : 0;
}
