/* daemon/link.h - from an operator's `broker:` section and a role to a bus configuration. */
#ifndef DAEMON_LINK_H
#define DAEMON_LINK_H

#include "bus/bus.h"
#include "config/config.h"
#include "schema/msg.h"

/* The strings of b, client and the will are borrowed: they live until bus_mqtt_open returns. */
struct bus_conf link_conf(const struct config_broker *b, const char *client, const char *will_topic,
			  const char *will_payload);

/* The files that b names can be read, and hold PEM: ERR_CONFIG naming the file and the key, or what
 * it is for. */
MUST_CHECK int link_check(const struct config_broker *b, struct err *e);

/* Client id of the daemon whose status this topic is: "fleet:role:name", since agents, workers and
 * coordinators of all fleets of a broker may have the same names. */
#define LINK_CLIENT_MAX (2 * TOPIC_NAME_MAX + 16)
void link_client(char dst[static LINK_CLIENT_MAX], const struct topic *status);

/* Open the bus of a daemon: client id and Last Will (a status message, on its topic) included.
 * ERR_* as bus_mqtt_open. */
MUST_CHECK int link_open(struct bus **out, const struct config_broker *b,
			 const struct topic *status, const struct msg *will, bus_handler *handler,
			 void *ctx, struct err *e);

/* Print m and publish it on t; QoS 0 unless qos. Returns the bus' answer, or ERR_NOMEM. */
MUST_CHECK int link_publish(struct bus *bus, const struct topic *t, const struct msg *m, int qos,
			    bool retain, uint32_t expiry_s);

/* Print m and make it the birth on t. */
MUST_CHECK int link_birth(struct bus *bus, const struct topic *t, const struct msg *m);

#endif
