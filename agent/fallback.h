/* agent/fallback.h - where the model's own layers do not fit at the start, the finest of the other
 * fronts that does fit takes their place. Before there are threads. */
#ifndef AGENT_FALLBACK_H
#define AGENT_FALLBACK_H

#include "agent/head.h"
#include "config/config.h"

/* head_create; on ERR_LIMIT, where the configuration admits it, once more for each front that has
 * the expected layers, the one with most bytes first: the segment's layers are then lent whole.
 * *front is 0, or 1 + the index of the front in conf, which is still to be loaded. Otherwise the
 * error is that of the model's own layers. */
MUST_CHECK int fallback_open(struct head **h, const struct segment_conf *sc,
			     const struct config_agent *conf, head_done *done, void *ctx,
			     unsigned *front, struct err *e);

#endif
