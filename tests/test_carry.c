#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/carry.h"

/* TinyLlama, split 8 to 4, f16: 4 layers of 1 KiB each; a row of 2,048 elements at 3 bits. */
static const struct carry tiny = {
	.positions = 256,
	.from = 8,
	.to = 4,
	.row_bytes = 768,
	.value_bytes = 4096,
	.frame_bytes = 65536,
	.byte_us = 0.8, /* 10 Mbit/s */
	.layer_us = 300,
};

static void what_takes_less_time_goes(void **state)
{
	struct carry c = tiny;
	struct carry_cost cost = carry_choose(&c);

	(void)state;
	assert_float_equal(cost.rows_us, 256 * (8 * 300 + 768 * 0.8), 1e-6);
	assert_float_equal(cost.values_us, 256 * 4096 * 0.8, 1e-6);
	assert_false(cost.values); /* 3.0 ms a position against 3.3 */
	c.byte_us = 0.08;
	assert_true(carry_choose(&c).values);
	c.byte_us = 0.8;
	c.layer_us = 500;
	assert_true(carry_choose(&c).values);
	c.layer_us = 300;
	c.value_bytes = 1152; /* one layer in q8_0 */
	assert_true(carry_choose(&c).values);
}

static void what_cannot_go_does_not(void **state)
{
	struct carry c = tiny;

	(void)state;
	c.byte_us = 0.001;
	assert_true(carry_choose(&c).values);
	c.frame_bytes = 4095;
	assert_false(carry_choose(&c).values);
	c.frame_bytes = 4096;
	c.value_bytes = 0;
	assert_false(carry_choose(&c).values);
}

static void rows_go_while_nothing_is_known(void **state)
{
	struct carry c = tiny;

	(void)state;
	c.byte_us = c.layer_us = 0;
	assert_false(carry_choose(&c).values);
	c.layer_us = 1; /* layers cost something, bytes nothing that is known */
	assert_true(carry_choose(&c).values);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_takes_less_time_goes),
		cmocka_unit_test(what_cannot_go_does_not),
		cmocka_unit_test(rows_go_while_nothing_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
