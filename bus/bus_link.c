/* Paho's MQTTClient, and the traps of version 1.3.12 that its callers shall not have to know:
 *
 * - All clients of a process share one receive thread and one lock. connect and disconnect of two
 *   clients must not overlap: the one may stop the thread that the other waits for. Hence
 *   `dialling`.
 * - A connection ends by exactly one of the callbacks connectionLost and disconnected, or by our
 *   own disconnect. The latter callback comes on a detached thread that still reads the client,
 *   at any time: a client that was destroyed meanwhile would be read after free. So a client is
 *   never destroyed but retired: some 3 KB for each bus that a process opens, and Paho's list of
 *   clients keeps them reachable.
 * - A publish that would exceed the broker's receive maximum sleeps in steps of 100 ms; the caller
 *   counts answers (acked) and does not let it come to that.
 * - http_proxy in the environment would capture connections to localhost too (no_proxy is
 *   unknown). */
#include "bus/bus_link.h"

#include <MQTTClient.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "bus/bus_impl.h"
#include "bus/bus_probe.h"

#define SUBSCRIBE_TIMEOUT_MS 5000
#define RECEIVE_MAX          1000 /* unanswered QoS 1 publishes, however many the broker allows */
#define TLS_REASON_MAX       120
#define BAD_CREDENTIALS      0x86 /* MQTT v5, table 3-1 */
#define NOT_AUTHORIZED       0x87

struct bus_link {
	MQTTClient client;
	const struct bus_conf *conf;
	struct bus_link_events events;
	void *ctx;
	atomic_bool retired;
	atomic_int inside;               /* callers between enter and leave */
	char tls_reason[TLS_REASON_MAX]; /* of the latest attempt; empty: none */
};

/* Process-wide, because the state of Paho that it guards is. */
static pthread_mutex_t dialling = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init_library(void)
{
	MQTTClient_init_options init = MQTTClient_init_options_initializer;

	init.do_openssl_init = 1;
	MQTTClient_global_init(&init);
	unsetenv("http_proxy");
	unsetenv("https_proxy");
}

/* ---- the gate ---- */

bool bus_link_enter(struct bus_link *l)
{
	atomic_fetch_add(&l->inside, 1);
	if (!atomic_load(&l->retired))
		return true;
	atomic_fetch_sub(&l->inside, 1);
	return false;
}

void bus_link_leave(struct bus_link *l)
{
	atomic_fetch_sub(&l->inside, 1);
}

void bus_link_retire(struct bus_link *l)
{
	const struct timespec tick = { .tv_nsec = 1000000 };

	if (!l)
		return;
	atomic_store(&l->retired, true);
	while (atomic_load(&l->inside)) /* a handler returns at once: hardly ever a second turn */
		nanosleep(&tick, NULL);
}

/* ---- Paho's callbacks ---- */

/* Runs on Paho's receive thread: hand over, free, return. */
static int on_message(void *ctx, char *topic, int topic_len, MQTTClient_message *m)
{
	struct bus_link *l = ctx;

	/* topic_len is 0 unless the topic holds a NUL, which ours never do. */
	if (topic_len == 0 && m->payloadlen >= 0 && bus_link_enter(l)) {
		l->events.message(l->ctx, topic, m->payload, (size_t)m->payloadlen, m->retained);
		bus_link_leave(l);
	}
	MQTTClient_freeMessage(&m);
	MQTTClient_free(topic);
	return 1;
}

static void on_published(void *ctx, int token, int packet_type, MQTTProperties *props,
			 enum MQTTReasonCodes reason)
{
	struct bus_link *l = ctx;

	(void)token;
	(void)packet_type;
	(void)props;
	if (bus_link_enter(l)) {
		l->events.acked(l->ctx, (int)reason);
		bus_link_leave(l);
	}
}

static void report_lost(struct bus_link *l, int reason)
{
	if (bus_link_enter(l)) {
		l->events.lost(l->ctx, reason);
		bus_link_leave(l);
	}
}

static void on_lost(void *ctx, char *cause)
{
	(void)cause; /* always NULL */
	report_lost(ctx, 0);
}

static void on_disconnected(void *ctx, MQTTProperties *props, enum MQTTReasonCodes reason)
{
	(void)props;
	report_lost(ctx, (int)reason);
}

/* One line of OpenSSL's error queue, "thread:error:code:library:function:reason:file:...". The
 * first line says most. */
static int on_tls_error(const char *line, size_t len, void *ctx)
{
	struct bus_link *l = ctx;
	const char *field = line, *end = line + len;
	size_t n;

	for (int skip = 0; skip < 5 && field; skip++) {
		field = memchr(field, ':', (size_t)(end - field));
		field = field ? field + 1 : NULL;
	}
	if (l->tls_reason[0] || !field)
		return 1;
	for (n = 0; field + n < end && field[n] != ':' && n + 1 < sizeof(l->tls_reason); n++)
		l->tls_reason[n] = field[n];
	l->tls_reason[n] = '\0';
	return 1;
}

/* ---- open ---- */

static int create_client(struct bus_link *l, const char *uri)
{
	MQTTClient_createOptions options = MQTTClient_createOptions_initializer;

	options.MQTTVersion = MQTTVERSION_5;
	return MQTTClient_createWithOptions(&l->client, uri, l->conf->client_id,
					    MQTTCLIENT_PERSISTENCE_NONE, NULL, &options) ||
	       MQTTClient_setCallbacks(l->client, l, on_lost, on_message, NULL) ||
	       MQTTClient_setDisconnected(l->client, l, on_disconnected) ||
	       MQTTClient_setPublished(l->client, l, on_published) ||
	       MQTTClient_setCommandTimeout(l->client, SUBSCRIBE_TIMEOUT_MS);
}

int bus_link_create(struct bus_link **out, const struct bus_conf *conf,
		    const struct bus_link_events *events, void *ctx, struct err *e)
{
	bool literal = strchr(conf->host, ':'); /* IPv6 */
	struct bus_link *l;
	char uri[512];
	int n;

	n = snprintf(uri, sizeof(uri), "%s://%s%s%s:%u", conf->ca_file ? "ssl" : "tcp",
		     literal ? "[" : "", conf->host, literal ? "]" : "", conf->port);
	if (n < 0 || (size_t)n >= sizeof(uri))
		return err_set(e, ERR_CONFIG, "the broker's host name is too long");
	pthread_once(&once, init_library);
	l = calloc(1, sizeof(*l));
	if (!l)
		return err_set(e, ERR_NOMEM, "connection");
	l->conf = conf;
	l->events = *events;
	l->ctx = ctx;
	if (create_client(l, uri)) {
		if (!l->client)
			free(l); /* else Paho's list knows it: retired, as any other */
		return err_set(e, ERR_CONFIG, "client id \"%.64s\" is not possible",
			       conf->client_id);
	}
	*out = l;
	return 0;
}

/* ---- connect ---- */

static void set_tls(struct bus_link *l, MQTTClient_SSLOptions *tls)
{
	tls->trustStore = l->conf->ca_file;
	tls->keyStore = l->conf->cert_file;
	tls->privateKey = l->conf->key_file;
	tls->enableServerCertAuth = 1;
	tls->verify = !l->conf->tls_insecure_hostname;
	tls->disableDefaultTrustStore = 1; /* the CA of the file and no other */
	tls->enabledCipherSuites = "DEFAULT";
	tls->ssl_error_cb = on_tls_error;
	tls->ssl_error_context = l;
}

static void set_options(struct bus_link *l, MQTTClient_connectOptions *o,
			MQTTClient_willOptions *will)
{
	o->keepAliveInterval = (int)l->conf->keepalive_s;
	o->connectTimeout = BUS_LINK_CONNECT_S;
	o->cleanstart = 1;
	o->maxInflightMessages = UINT16_MAX; /* the caller counts */
	o->username = l->conf->username;
	o->password = l->conf->password;
	if (l->conf->will_topic) {
		will->topicName = l->conf->will_topic;
		will->message = l->conf->will_payload;
		will->retained = 1;
		will->qos = 1;
		o->will = will;
	}
}

static int add_property(MQTTProperties *props, enum MQTTPropertyCodes code, uint32_t value)
{
	MQTTProperty p = { .identifier = code };

	p.value.integer4 = value;
	return MQTTProperties_add(props, &p);
}

static uint32_t number_or(MQTTProperties *props, enum MQTTPropertyCodes code, uint32_t otherwise)
{
	if (!props || !MQTTProperties_hasProperty(props, code))
		return otherwise;
	return (uint32_t)MQTTProperties_getNumericValue(props, code);
}

static void read_limits(struct bus_link_limits *lim, MQTTProperties *props)
{
	uint32_t receive = number_or(props, MQTTPROPERTY_CODE_RECEIVE_MAXIMUM, UINT16_MAX);

	lim->max_packet = number_or(props, MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE, UINT32_MAX);
	lim->receive_max = receive < RECEIVE_MAX ? receive : RECEIVE_MAX;
	lim->max_qos = (int)number_or(props, MQTTPROPERTY_CODE_MAXIMUM_QOS, 2);
}

static int say_refused(const struct bus_link *l, int reason, struct err *e)
{
	const char *user = l->conf->username;

	if (reason != BAD_CREDENTIALS && reason != NOT_AUTHORIZED)
		return err_set(e, ERR_REFUSED, "the broker refuses: %s", bus_link_reason(reason));
	return err_set(e, ERR_REFUSED, "the broker refuses: %s (%s%.64s)", bus_link_reason(reason),
		       user ? "user " : "no username is given", user ? user : "");
}

static int say_failed(struct bus_link *l, int reason, uint64_t took_ms, struct err *e)
{
	if (reason > 0)
		return say_refused(l, reason, e);
	if (l->tls_reason[0])
		return err_set(e, ERR_REFUSED, "TLS: %s", l->tls_reason);
	if (bus_probe(l->conf->host, l->conf->port, e))
		return e->code;
	if (took_ms >= (BUS_LINK_CONNECT_S - 1) * 1000)
		return err_set(e, ERR_TIMEOUT, "no answer within %d s", BUS_LINK_CONNECT_S);
	if (l->conf->ca_file)
		return err_set(e, ERR_IO,
			       "the broker hung up: no TLS on this port, or its certificate is for "
			       "another host name, or it wants a certificate of ours");
	return err_set(e, ERR_IO, "the broker hung up: no MQTT on this port, or it wants TLS");
}

int bus_link_connect(struct bus_link *l, struct bus_link_limits *limits, struct err *e)
{
	MQTTClient_connectOptions options = MQTTClient_connectOptions_initializer5;
	MQTTClient_willOptions will = MQTTClient_willOptions_initializer;
	MQTTClient_SSLOptions tls = MQTTClient_SSLOptions_initializer;
	MQTTProperties props = MQTTProperties_initializer;
	uint64_t start_ms = clock_now_ms();
	MQTTResponse r;
	int rc = 0;

	set_options(l, &options, &will);
	if (l->conf->ca_file) {
		set_tls(l, &tls);
		options.ssl = &tls;
	}
	if (add_property(&props, MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, 0) ||
	    add_property(&props, MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE,
			 l->conf->max_packet_bytes)) {
		MQTTProperties_free(&props);
		return err_set(e, ERR_NOMEM, "properties of CONNECT");
	}
	l->tls_reason[0] = '\0';
	pthread_mutex_lock(&dialling);
	if (MQTTClient_isConnected(l->client)) /* a connection that was lost on paper only */
		MQTTClient_disconnect5(l->client, 0, MQTTREASONCODE_SUCCESS, NULL);
	r = MQTTClient_connect5(l->client, &options, &props, NULL);
	pthread_mutex_unlock(&dialling);
	if (r.reasonCode == MQTTREASONCODE_SUCCESS)
		read_limits(limits, r.properties);
	else
		rc = say_failed(l, (int)r.reasonCode, clock_now_ms() - start_ms, e);
	MQTTResponse_free(r);
	MQTTProperties_free(&props);
	return rc;
}

/* ---- connected ---- */

/* Of the i-th filter: Paho keeps a list only where there are several. */
static int reason_of(const MQTTResponse *r, uint32_t i)
{
	return (int)(r->reasonCodes && (int)i < r->reasonCodeCount ? r->reasonCodes[i]
								   : r->reasonCode);
}

int bus_link_subscribe(struct bus_link *l, uint32_t n, const char *const filters[], const int qos[],
		       uint32_t *refused, struct err *e)
{
	char *topics[BUS_LINK_FILTERS] = { 0 };
	int wanted[BUS_LINK_FILTERS] = { 0 }, reason = 0;
	MQTTResponse r;

	for (uint32_t i = 0; i < n; i++) {
		topics[i] = (char *)(uintptr_t)filters[i]; /* not written to */
		wanted[i] = qos[i];
	}
	r = MQTTClient_subscribeMany5(l->client, (int)n, topics, wanted, NULL, NULL);
	for (*refused = 0; *refused < n; (*refused)++) {
		reason = reason_of(&r, *refused);
		if (reason < 0 || reason >= 0x80)
			break;
	}
	MQTTResponse_free(r);
	if (*refused == n)
		return 0;
	if (reason < 0)
		return err_set(e, ERR_IO, "no answer");
	return err_set(e, ERR_REFUSED, "the broker refuses: %s", bus_link_reason(reason));
}

int bus_link_publish(struct bus_link *l, const struct bus_publish *p)
{
	MQTTClient_message m = MQTTClient_message_initializer;
	MQTTResponse r;

	if (p->expiry_s &&
	    add_property(&m.properties, MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL, p->expiry_s))
		return ERR_NOMEM;
	m.payload = (void *)(uintptr_t)p->payload; /* not written to */
	m.payloadlen = (int)p->len;
	m.qos = p->qos;
	m.retained = p->retain;
	r = MQTTClient_publishMessage5(l->client, p->topic, &m, NULL);
	MQTTProperties_free(&m.properties);
	MQTTResponse_free(r);
	if ((int)r.reasonCode == MQTTCLIENT_BAD_UTF8_STRING)
		return ERR_FORMAT;
	return r.reasonCode == MQTTREASONCODE_SUCCESS ? 0 : ERR_OFFLINE;
}

void bus_link_disconnect(struct bus_link *l)
{
	pthread_mutex_lock(&dialling);
	MQTTClient_disconnect5(l->client, 0, MQTTREASONCODE_NORMAL_DISCONNECTION, NULL);
	pthread_mutex_unlock(&dialling);
}

const char *bus_link_reason(int reason)
{
	const char *text = MQTTReasonCode_toString((enum MQTTReasonCodes)reason);

	return text ? text : "unknown reason";
}
