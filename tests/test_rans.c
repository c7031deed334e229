#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/rng.h"
#include "codec/rans.h"

#define SYMBOLS 3000
#define CAP     32768

static void each_table_sums_up_and_gives_every_symbol_a_place(void **state)
{
	(void)state;
	for (unsigned s = 0; s < TABLES_SHAPES; s++) {
		for (unsigned t = 0; t < TABLES_SCALES; t++) {
			const uint16_t *cum = tables_cum[s][t];

			assert_int_equal(cum[0], 0);
			assert_int_equal(cum[TABLES_ROW - 1], 1 << TABLES_BITS);
			for (unsigned i = 1; i < TABLES_ROW; i++)
				assert_true(cum[i] > cum[i - 1]);
			/* a sign that travels elsewhere costs one bit: both have the same share */
			for (unsigned i = 1; i < TABLES_ESCAPE; i += 2)
				assert_int_equal(cum[i + 1] - cum[i], cum[i + 2] - cum[i + 1]);
		}
	}
}

static void the_fast_search_finds_what_the_plain_one_finds(void **state)
{
	(void)state;
	for (unsigned s = 0; s < TABLES_SHAPES; s++) {
		for (unsigned t = 0; t < TABLES_SCALES; t++) {
			const uint16_t *cum = tables_cum[s][t];

			for (uint32_t slot = 0; slot < 1u << TABLES_BITS; slot++) {
				unsigned found = rans_find(cum, slot);

				assert_int_equal(found, rans_find_ref(cum, slot));
				assert_true(cum[found] <= slot && slot < cum[found + 1]);
			}
		}
	}
}

/* Symbol i of a test: by a table, or bits as they are. */
struct item {
	const uint16_t *cum; /* NULL: bits */
	uint32_t v, bits;
};

static struct item item_of(uint64_t seed, unsigned i)
{
	uint64_t r = rng_u64(seed, i);
	struct item it = { .bits = 1 + (uint32_t)(r >> 8) % RANS_RAW_BITS };

	if (r % 4) {
		it.cum = tables_cum[r >> 16 & 3][(r >> 20) % TABLES_SCALES];
		it.v = rans_find_ref(it.cum, (uint32_t)(r >> 40) & RANS_MASK);
	} else {
		it.v = (uint32_t)(r >> 40) & ((1u << it.bits) - 1);
	}
	return it;
}

static uint8_t *put_all(uint64_t seed, unsigned n, unsigned lanes, const uint32_t *start,
			uint8_t *buf, size_t cap)
{
	struct rans_out o;

	rans_begin(&o, buf, cap, lanes, start);
	for (unsigned i = n; i-- > 0;) {
		struct item it = item_of(seed, i);

		if (it.cum)
			rans_put(&o, i % lanes, it.cum[it.v],
				 (uint32_t)it.cum[it.v + 1] - it.cum[it.v]);
		else
			rans_put_raw(&o, i % lanes, it.v, it.bits);
	}
	return rans_end(&o, lanes);
}

static bool get_all(uint64_t seed, unsigned n, unsigned lanes, uint32_t *start, const uint8_t *src,
		    size_t len)
{
	struct rans_in in;

	if (!rans_open(&in, src, len, lanes))
		return false;
	for (unsigned i = 0; i < n; i++) {
		struct item it = item_of(seed, i);
		uint32_t v;

		if (it.cum) {
			v = rans_find(it.cum, rans_slot(&in, i % lanes));
			rans_skip(&in, i % lanes, it.cum[v], (uint32_t)it.cum[v + 1] - it.cum[v]);
		} else {
			v = rans_get_raw(&in, i % lanes, it.bits);
		}
		if (v != it.v)
			return false;
	}
	return rans_close(&in, lanes, start);
}

static void what_is_written_backwards_is_read_forwards(void **state)
{
	static uint8_t buf[CAP];

	(void)state;
	for (uint64_t seed = 0; seed < 60; seed++) {
		const unsigned lanes = seed % 2 ? RANS_LANES : 1;
		const unsigned n = seed < 20 ? (unsigned)seed : SYMBOLS;
		uint32_t start[RANS_LANES], back[RANS_LANES];
		size_t len;
		uint8_t *p;

		for (unsigned i = 0; i < RANS_LANES; i++)
			start[i] = RANS_LOW | ((uint32_t)rng_u64(seed, 9000 + i) & 0xffff);
		p = put_all(seed, n, lanes, start, buf, sizeof(buf));
		assert_non_null(p);
		len = (size_t)(buf + sizeof(buf) - p);
		assert_true(get_all(seed, n, lanes, back, p, len));
		assert_memory_equal(start, back, lanes * sizeof(back[0]));
		/* with a byte more or less it is another stream, or none */
		assert_false(get_all(seed, n, lanes, back, p, len - 1) &&
			     !memcmp(start, back, lanes * sizeof(back[0])));
		assert_false(get_all(seed, n, lanes, back, p, len - 2) &&
			     !memcmp(start, back, lanes * sizeof(back[0])));
		assert_false(get_all(seed, n, lanes, back, p - 2, len + 2) &&
			     !memcmp(start, back, lanes * sizeof(back[0])));
	}
}

static void a_buffer_one_byte_too_small_is_refused(void **state)
{
	static uint8_t buf[CAP + 1];
	const uint32_t start[RANS_LANES] = { RANS_LOW, RANS_LOW, RANS_LOW, RANS_LOW };

	(void)state;
	for (unsigned lanes = 1; lanes <= RANS_LANES; lanes += RANS_LANES - 1) {
		uint8_t *p = put_all(7, SYMBOLS, lanes, start, buf, CAP);
		size_t len = (size_t)(buf + CAP - p);

		assert_non_null(p);
		buf[0] = 0xa5;
		assert_non_null(put_all(7, SYMBOLS, lanes, start, buf + 1, len));
		for (size_t cap = 0; cap < len; cap += cap < 40 || cap + 40 > len ? 1 : 97)
			assert_null(put_all(7, SYMBOLS, lanes, start, buf + 1, cap));
		assert_int_equal(buf[0], 0xa5);
	}
}

/* A number has one spelling: no byte of it is 0 for nothing, no state is below the least. */
static void states_that_no_writer_ends_with_are_refused(void **state)
{
	uint8_t four[4 * RANS_LANES] = { 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0 };
	struct rans_in in;

	(void)state;
	for (size_t len = 1; len <= 8; len++) {
		uint8_t one[8] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

		assert_true(rans_open(&in, one, len, 1));
		one[len < 3 ? len - 1 : len % 2 ? 2 : 3] = 0;
		assert_false(rans_open(&in, one, len, 1));
	}
	assert_true(rans_open(&in, four, sizeof(four), RANS_LANES));
	for (size_t lane = 1; lane < RANS_LANES; lane++) {
		four[4 * lane + 2] = 0;
		assert_false(rans_open(&in, four, sizeof(four), RANS_LANES));
		four[4 * lane + 2] = 1;
	}
}

static void lanes_are_one_or_a_power_of_two(void **state)
{
	(void)state;
	assert_int_equal(rans_lanes(1), 1);
	assert_int_equal(rans_lanes(1023), 1);
	assert_int_equal(rans_lanes(1024), RANS_LANES);
	assert_int_equal(rans_lanes(65536) & (rans_lanes(65536) - 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_table_sums_up_and_gives_every_symbol_a_place),
		cmocka_unit_test(the_fast_search_finds_what_the_plain_one_finds),
		cmocka_unit_test(what_is_written_backwards_is_read_forwards),
		cmocka_unit_test(a_buffer_one_byte_too_small_is_refused),
		cmocka_unit_test(states_that_no_writer_ends_with_are_refused),
		cmocka_unit_test(lanes_are_one_or_a_power_of_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
