/* tools/watch.h - what `splitmq watch` knows of a configuration, and how it shows a message. */
#ifndef TOOLS_WATCH_H
#define TOOLS_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "bus/bus.h"
#include "config/config.h"

struct watch_conf {
	char fleet[CONFIG_NAME_MAX];
	struct config_broker broker;
};

/* The file of an agent, a worker or a coordinator: which one is told by its keys, and the error
 * is the one of that program's reader. */
MUST_CHECK int watch_load(struct watch_conf *c, const char *path, struct err *e);

/* One line on stdout for ev (BUS_MESSAGE), which arrived at wall_ms. What cannot be decoded is
 * shown with the reason. */
void watch_show(const struct bus_event *ev, uint64_t wall_ms, bool json);

#endif
