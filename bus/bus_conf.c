#include "bus/bus_conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/bus_impl.h"

#define N_STRINGS        10
#define KEEPALIVE_S      5
#define QUEUE_MESSAGES   1024
#define BACKOFF_MIN_MS   500
#define BACKOFF_MAX_MS   30000
#define PACKET_BYTES_MAX 268435460u /* MQTT 5.0, 1.5.5: no packet can be longer */
#define PACKET_BYTES_MIN 64         /* room for any CONNACK */

static void strings_of(struct bus_conf *c, const char **list[static N_STRINGS])
{
	const char **all[N_STRINGS] = {
		&c->host,      &c->client_id, &c->username,   &c->password,     &c->ca_file,
		&c->cert_file, &c->key_file,  &c->will_topic, &c->will_payload, NULL,
	};

	memcpy(list, all, sizeof(all));
}

void bus_conf_finish(struct bus_conf *c)
{
	const char **list[N_STRINGS];

	strings_of(c, list);
	for (size_t i = 0; list[i]; i++) {
		free((void *)(uintptr_t)*list[i]);
		*list[i] = NULL;
	}
}

static int copy_strings(struct bus_conf *c)
{
	const char **list[N_STRINGS];
	int rc = 0;

	strings_of(c, list);
	for (size_t i = 0; list[i]; i++) {
		if (!*list[i])
			continue;
		*list[i] =
			strdup(*list[i]); /* all of them, so that finish frees no foreign string */
		if (!*list[i])
			rc = ERR_NOMEM;
	}
	return rc;
}

static void set_default(uint32_t *v, uint32_t value)
{
	if (!*v)
		*v = value;
}

/* The file can be read and holds something in PEM. */
static int check_pem(const char *what, const char *path, struct err *e)
{
	char line[256];
	bool found = false;
	FILE *f;

	if (!path)
		return 0;
	f = fopen(path, "rb");
	if (!f)
		return err_set(e, ERR_CONFIG, "%s %s: %s", what, path, strerror(errno));
	while (!found && fgets(line, sizeof(line), f))
		found = !strncmp(line, "-----BEGIN ", 11);
	if (!found && ferror(f)) {
		fclose(f);
		return err_set(e, ERR_CONFIG, "%s %s: %s", what, path, strerror(errno));
	}
	fclose(f);
	return found ? 0 : err_set(e, ERR_CONFIG, "%s %s: not a PEM file", what, path);
}

static int check_tls(const struct bus_conf *c, struct err *e)
{
	int rc;

	if (!c->ca_file && (c->cert_file || c->key_file))
		return err_set(e, ERR_CONFIG, "a client certificate needs a CA file too");
	if (c->key_file && !c->cert_file)
		return err_set(e, ERR_CONFIG, "a key file needs a certificate file too");
	rc = check_pem("CA file", c->ca_file, e);
	if (!rc)
		rc = check_pem("certificate file", c->cert_file, e);
	if (!rc)
		rc = check_pem("key file", c->key_file, e);
	return rc;
}

static int check(const struct bus_conf *c, struct err *e)
{
	if (!c->host || !*c->host || !c->port)
		return err_set(e, ERR_CONFIG, "the broker's host or port is missing");
	if (!c->client_id || !*c->client_id)
		return err_set(e, ERR_CONFIG, "the client id is missing");
	if (c->will_topic && (!bus_topic_ok(c->will_topic) || !c->will_payload))
		return err_set(e, ERR_CONFIG, "the Last Will is not complete");
	if (c->keepalive_s > UINT16_MAX)
		return err_set(e, ERR_CONFIG, "a keepalive is at most %u s", UINT16_MAX);
	if (c->max_packet_bytes < PACKET_BYTES_MIN)
		return err_set(e, ERR_CONFIG, "a maximum packet size is at least %d bytes",
			       PACKET_BYTES_MIN);
	return check_tls(c, e);
}

int bus_conf_copy(struct bus_conf *dst, const struct bus_conf *src, struct err *e)
{
	*dst = *src;
	if (copy_strings(dst))
		return err_set(e, ERR_NOMEM, "configuration of the bus");
	set_default(&dst->keepalive_s, KEEPALIVE_S);
	set_default(&dst->max_packet_bytes, BUS_PACKET_BYTES_DEFAULT);
	if (dst->max_packet_bytes > PACKET_BYTES_MAX)
		dst->max_packet_bytes = PACKET_BYTES_MAX;
	set_default(&dst->queue_messages, QUEUE_MESSAGES);
	set_default(&dst->backoff_min_ms, BACKOFF_MIN_MS);
	set_default(&dst->backoff_max_ms, BACKOFF_MAX_MS);
	return check(dst, e);
}
