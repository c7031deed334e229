#include "agent/carry.h"

struct carry_cost carry_choose(const struct carry *c)
{
	const double n = c->positions;
	/* Here through [0, to), there through [to, from). */
	const double rows = n * (c->from * c->layer_us + (double)c->row_bytes * c->byte_us);
	const double values = n * (double)c->value_bytes * c->byte_us;

	return (struct carry_cost){
		.rows_us = rows,
		.values_us = values,
		.values = c->value_bytes && c->value_bytes <= c->frame_bytes && values < rows,
	};
}
