/* agent/carry.h - how layers that move down to a worker get there (I_kv): as rows, which the agent
 * computes again and the worker runs, or as the agent's own keys and values. Pure. */
#ifndef AGENT_CARRY_H
#define AGENT_CARRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct carry {
	uint32_t positions, from, to; /* splits, to < from */
	size_t row_bytes;             /* of a row, as it is encoded now */
	size_t value_bytes;           /* of a position's keys and values, all layers [to, from) */
	size_t frame_bytes;           /* most that a frame takes */
	double byte_us;               /* that a byte takes to the worker; 0: nothing is known */
	double layer_us;              /* of a row through a layer, here and there; 0: not known */
};

struct carry_cost {
	double rows_us, values_us; /* with both ends and the link one after the other */
	bool values;               /* keys and values are cheaper, and fit frames */
};

/* Where neither bytes nor layers cost anything that is known, rows: they are the fewer bytes. */
struct carry_cost carry_choose(const struct carry *c);

#endif
