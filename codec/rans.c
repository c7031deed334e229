#include "codec/rans.h"

#include "base/le.h"

unsigned rans_lanes(size_t dim)
{
	return dim >= 1024 ? RANS_LANES : 1;
}

void rans_begin(struct rans_out *o, uint8_t *buf, size_t cap, unsigned lanes, const uint32_t *start)
{
	*o = (struct rans_out){ .begin = buf, .at = buf + cap, .end = buf + cap };
	for (unsigned i = 0; i < lanes; i++)
		o->x[i] = start[i];
}

/* Bytes of the first state. Three, where that is enough: all else comes in pairs of bytes, so the
 * length of the stream tells. A stream of no words may have less. */
static size_t first_len(const struct rans_out *o, unsigned lanes)
{
	const bool alone = lanes == 1 && o->at == o->end;

	if (alone && o->x[0] < 1u << 16)
		return o->x[0] < 1u << 8 ? 1 : 2;
	return o->x[0] < 1u << 24 ? 3 : 4;
}

uint8_t *rans_end(struct rans_out *o, unsigned lanes)
{
	const size_t first = first_len(o, lanes), need = first + (lanes - 1) * 4u;
	uint8_t *p;

	if (o->full || (size_t)(o->at - o->begin) < need)
		return NULL;
	o->at -= need;
	p = o->at + first;
	for (size_t i = 0; i < first; i++)
		o->at[i] = (uint8_t)(o->x[0] >> 8 * i);
	for (unsigned i = 1; i < lanes; i++, p += 4)
		le_put32(p, o->x[i]);
	return o->at;
}

bool rans_open(struct rans_in *in, const uint8_t *src, size_t len, unsigned lanes)
{
	const size_t first = len < 3 ? len : len % 2 ? 3 : 4;

	*in = (struct rans_in){ .at = src, .end = src + len };
	if (!len || len < first + (lanes - 1) * 4u)
		return false;
	for (size_t i = 0; i < first; i++)
		in->x[0] |= (uint32_t)src[i] << 8 * i;
	in->at += first;
	if (in->x[0] >> 8 * (first - 1) == 0)
		return false; /* one byte less would have done */
	for (unsigned i = 1; i < lanes; i++, in->at += 4) {
		in->x[i] = le_get32(in->at);
		if (in->x[i] < RANS_LOW)
			return false;
	}
	return true;
}

bool rans_close(const struct rans_in *in, unsigned lanes, uint32_t *start)
{
	if (in->bad || in->at != in->end)
		return false;
	for (unsigned i = 0; i < lanes; i++) {
		start[i] = in->x[i];
		if (!start[i] || start[i] >= 2 * RANS_LOW)
			return false;
	}
	return true;
}
