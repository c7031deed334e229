#include "codec/symbols.h"

#include <string.h>

static unsigned symbol_of(int q)
{
	return q < 0 ? -2u * (unsigned)q - 1 : 2u * (unsigned)q;
}

void symbols_for_put(struct symbols_put *t, const uint16_t cum[TABLES_ROW])
{
	if (t->cum == cum)
		return;
	t->cum = cum;
	for (int q = -TABLES_MOST; q <= TABLES_MOST; q++) {
		const uint32_t start = cum[symbol_of(q)], freq = cum[symbol_of(q) + 1] - start;

		t->code[q + TABLES_MOST] = (struct symbols_code){
			.reciprocal = ((1ull << SYMBOLS_SHIFT) + freq - 1) / freq,
			.most = (freq << (32 - TABLES_BITS)) - 1,
			.start = start,
			.rest = (1u << TABLES_BITS) - freq,
		};
	}
}

void symbols_for_get(struct symbols_get *t, const uint16_t cum[TABLES_ROW])
{
	if (t->cum == cum)
		return;
	t->cum = cum;
	for (int q = -TABLES_MOST; q <= TABLES_MOST; q++) {
		const uint32_t start = cum[symbol_of(q)], freq = cum[symbol_of(q) + 1] - start;

		t->range[q + TABLES_MOST] = (struct symbols_range){ start, freq };
		memset(t->code + start, q + TABLES_MOST, freq);
	}
	memset(t->code + cum[TABLES_ESCAPE], SYMBOLS_ESCAPE,
	       (1u << TABLES_BITS) - cum[TABLES_ESCAPE]);
}
