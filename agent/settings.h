/* agent/settings.h - what the configuration of an agent means. Pure. */
#ifndef AGENT_SETTINGS_H
#define AGENT_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/core.h"
#include "base/err.h"
#include "codec/codec.h"
#include "config/config.h"
#include "daemon/segment.h"
#include "schema/msg.h"

/* Bytes of the link cost. */
bool settings_metered(const struct config_agent *conf);

struct msg_sampling settings_sampling(const struct config_sampling *s);

/* Layers here while nothing is decided. */
uint32_t settings_split(const struct config_agent *conf, const struct segment *seg);

MUST_CHECK int settings_codec(struct codec_spec *codec, const struct config_agent *conf,
			      struct err *e);

/* All of it, but for the boot and the fronts' names. */
MUST_CHECK int settings_core(struct agent_core_conf *cc, const struct config_agent *conf,
			     const struct segment *seg, struct err *e);

#endif
