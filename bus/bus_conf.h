/* bus/bus_conf.h - a bus_conf of our own: strings copied, defaults filled in, files looked at. */
#ifndef BUS_BUS_CONF_H
#define BUS_BUS_CONF_H

#include "bus/bus.h"

/* ERR_CONFIG naming the file or the option that is wrong, ERR_NOMEM; *dst needs bus_conf_finish
 * always. */
MUST_CHECK int bus_conf_copy(struct bus_conf *dst, const struct bus_conf *src, struct err *e);

/* Zeroed is fine. */
void bus_conf_finish(struct bus_conf *c);

#endif
