/* tools/private_broker.h - a mosquitto of our own on loopback, in a folder that goes with it.
 *
 * One thread. */
#ifndef TOOLS_PRIVATE_BROKER_H
#define TOOLS_PRIVATE_BROKER_H

#include <stdint.h>

#include "base/err.h"

struct private_broker;

/* Start it on a free port and wait until it accepts connections. ERR_NOT_FOUND where there is no
 * mosquitto, ERR_IO, ERR_TIMEOUT, ERR_NOMEM. */
MUST_CHECK int private_broker_start(struct private_broker **out, struct err *e);

/* Stop it and remove its folder with all that is in there. NULL is fine. */
void private_broker_stop(struct private_broker *b);

uint16_t private_broker_port(const struct private_broker *b);

/* Its folder: other files may be put there. */
const char *private_broker_folder(const struct private_broker *b);

#endif
