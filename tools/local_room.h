/* tools/local_room.h - the proof that a model in one process fits the memory there is (local.c). */
#ifndef TOOLS_LOCAL_ROOM_H
#define TOOLS_LOCAL_ROOM_H

#include <stdint.h>

#include "base/err.h"
#include "daemon/room.h"
#include "engine/model.h"

struct local_room {
	uint64_t base_bytes;  /* of the process before weights were counted */
	uint64_t fixed_bytes; /* weights, buffers */
	uint64_t buffer_bytes;
	unsigned threads;
};

/* Count a model that will be opened. The first one is opened when all have been counted. */
void local_room_add(struct local_room *r, const struct gguf *g, const struct model_hparams *hp,
		    const struct model_conf *conf);

/* All that was counted fits, and then a cache of token_bytes per token for at least `tokens` ones:
 * 0, or ERR_LIMIT naming what is missing and how many would fit. *pack_limit_bytes: as in
 * model_conf. */
MUST_CHECK int local_room_prove(const struct local_room *r, uint64_t token_bytes, uint32_t tokens,
				uint64_t *pack_limit_bytes, struct err *e);

#endif
