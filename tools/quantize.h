/* tools/quantize.h - what a segment of a planned file will need, for `splitmq quantize`. */
#ifndef TOOLS_QUANTIZE_H
#define TOOLS_QUANTIZE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/opsc.h"
#include "schema/json.h"

/* Memory of a process that runs layers [first, last) of one session. */
struct quantize_need {
	const char *name; /* "front", "back", "whole" */
	uint32_t first, last;
	uint64_t weights_bytes, kv_bytes, scratch_bytes;
};

/* Precisions of the front that --fit may choose, finest first; OPSC_KEEP is the source's own. */
#define QUANTIZE_CHOICES 8
extern const unsigned quantize_choices[QUANTIZE_CHOICES];

/* "Q4_K", or "as it is" for OPSC_KEEP. */
const char *quantize_name(unsigned type);

/* Need of [first, last) with the embedding when first is 0 and the head when last is L, for ctx
 * tokens of f16 keys and values; scratch as of an agent or worker with four threads. */
struct quantize_need quantize_need_of(const struct opsc_plan *p, const char *name, uint32_t first,
				      uint32_t last, uint32_t ctx);
uint64_t quantize_total(const struct quantize_need *n);

/* Need of the front under each choice. It is tried when it makes the weights smaller than the
 * choice before it. */
struct quantize_fit {
	uint64_t budget_bytes;
	struct quantize_need need[QUANTIZE_CHOICES];
	bool tried[QUANTIZE_CHOICES];
	int chosen; /* index; -1: none fits */
};

/* conf->front is set to the choice. ERR_LIMIT names the missing bytes when none fits; *fit is then
 * filled all the same. Others as opsc_plan_init. */
MUST_CHECK int quantize_choose(struct quantize_fit *fit, const struct gguf *g,
			       struct opsc_conf *conf, uint32_t ctx, uint64_t budget_bytes,
			       struct err *e);

/* Tables for people, and the same as JSON. */
void quantize_print_fit(FILE *to, const struct quantize_fit *fit);
void quantize_print_needs(FILE *to, const struct quantize_need *needs, unsigned n, uint32_t ctx);
void quantize_print_tensors(FILE *to, const struct opsc_plan *p, bool imatrix);
void quantize_add_json(struct json *root, const struct opsc_plan *p,
		       const struct quantize_need *needs, unsigned n, uint32_t ctx,
		       const struct quantize_fit *fit);

#endif
