#include "daemon/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/bus_conf.h"

static const char *or_null(const char *text)
{
	return text[0] ? text : NULL;
}

struct bus_conf link_conf(const struct config_broker *b, const char *client, const char *will_topic,
			  const char *will_payload)
{
	return (struct bus_conf){
		.host = b->host,
		.port = (uint16_t)b->port,
		.client_id = client,
		.username = or_null(b->username),
		.password = or_null(b->password),
		.ca_file = or_null(b->ca_file),
		.cert_file = or_null(b->cert_file),
		.key_file = or_null(b->key_file),
		.keepalive_s = b->keepalive_s,
		.max_packet_bytes = b->max_packet_bytes,
		.will_topic = will_topic,
		.will_payload = will_payload,
	};
}

static int check_file(const char *key, const char *path, struct err *e)
{
	FILE *f;

	if (!path[0])
		return 0;
	f = fopen(path, "r");
	if (!f)
		return err_set(e, ERR_CONFIG, "broker.%s: %s: %s", key, path, strerror(errno));
	fclose(f);
	return 0;
}

/* As opening the bus would. */
static int check_bus(const struct config_broker *b, struct err *e)
{
	const struct bus_conf c = link_conf(b, "check", NULL, NULL);
	struct bus_conf own;
	int rc = bus_conf_copy(&own, &c, e);

	bus_conf_finish(&own);
	if (rc)
		err_wrap(e, "broker");
	return rc;
}

int link_check(const struct config_broker *b, struct err *e)
{
	int rc = check_file("ca_file", b->ca_file, e);

	if (!rc)
		rc = check_file("cert_file", b->cert_file, e);
	if (!rc)
		rc = check_file("key_file", b->key_file, e);
	return rc ? rc : check_bus(b, e);
}

void link_client(char dst[static LINK_CLIENT_MAX], const struct topic *status)
{
	const bool agent = status->kind == TOPIC_AGENT_STATUS;
	const bool worker = status->kind == TOPIC_WORKER_STATUS;

	snprintf(dst, LINK_CLIENT_MAX, "%s:%s:%s", status->fleet,
		 agent    ? "agent"
		 : worker ? "worker"
			  : "coordinator",
		 agent    ? status->agent
		 : worker ? status->worker
			  : status->coordinator);
}

int link_open(struct bus **out, const struct config_broker *b, const struct topic *status,
	      const struct msg *will, bus_handler *handler, void *ctx, struct err *e)
{
	char topic[TOPIC_MAX], client[LINK_CLIENT_MAX], *text;
	struct bus_conf bc;
	size_t len;
	int rc = msg_print(will, &text, &len);

	if (rc)
		return err_set(e, rc, "Last Will");
	topic_put(topic, status);
	link_client(client, status);
	bc = link_conf(b, client, topic, text);
	rc = bus_mqtt_open(out, &bc, handler, ctx, e);
	free(text);
	return rc;
}

int link_publish(struct bus *bus, const struct topic *t, const struct msg *m, int qos, bool retain,
		 uint32_t expiry_s)
{
	char topic[TOPIC_MAX], *text;
	size_t len;
	int rc = msg_print(m, &text, &len);

	if (rc)
		return rc;
	topic_put(topic, t);
	rc = bus_publish(bus, &(struct bus_publish){
				      .topic = topic,
				      .payload = text,
				      .len = len,
				      .qos = qos,
				      .retain = retain,
				      .expiry_s = expiry_s,
			      });
	free(text);
	return rc;
}

int link_birth(struct bus *bus, const struct topic *t, const struct msg *m)
{
	char topic[TOPIC_MAX], *text;
	size_t len;
	int rc = msg_print(m, &text, &len);

	if (rc)
		return rc;
	topic_put(topic, t);
	rc = bus_set_birth(bus, topic, text);
	free(text);
	return rc;
}
