/* tools/bench_bus.c - how long a message to the other side and its answer take, by size and QoS. */
#include "tools/bench_bus.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/link.h"
#include "schema/json.h"
#include "tools/bus_trip.h"
#include "tools/cmd.h"
#include "tools/private_broker.h"
#include "tools/spread.h"
#include "tools/watch.h"

#define NAME       "bench bus"
#define MOST_SIZES 16
#define MOST_TRIPS 100000

struct bus_line {
	uint32_t there, back, qos;
	struct spread us;
};

struct bench_bus {
	const char *config, *host, *topics;
	uint32_t port, answer, trips;
	struct options_list payloads, qos;
	bool json;
	struct bus_line lines[2 * MOST_SIZES];
	unsigned n_lines;
};

static int measure_line(struct bench_bus *b, struct bus_trip *t, struct bus_line line, double *us,
			struct err *e)
{
	const unsigned warm_up = b->trips / 10 + 1;
	const struct bus_trip_conf c = { .there = line.there,
					 .back = line.back,
					 .qos = (int)line.qos };
	int rc = bus_trip_measure(t, &c, warm_up, us, e);

	if (!rc)
		rc = bus_trip_measure(t, &c, b->trips, us, e);
	if (rc)
		return rc;
	line.us = spread_of(us, b->trips);
	b->lines[b->n_lines++] = line;
	return 0;
}

static int measure(struct bench_bus *b, const struct bus_conf *conf, struct err *e)
{
	double *us = malloc((b->trips + 1) * sizeof(*us));
	struct bus_trip *t = NULL;
	int rc = us ? bus_trip_open(&t, conf, conf, b->topics, e)
		    : err_set(e, ERR_NOMEM, "out of memory");

	for (unsigned q = 0; q < b->qos.n; q++) {
		for (unsigned i = 0; i < b->payloads.n && !rc; i++) {
			struct bus_line line = { .there = b->payloads.v[i], .qos = b->qos.v[q] };

			line.back = b->answer ? b->answer : line.there;
			rc = measure_line(b, t, line, us, e);
		}
	}
	bus_trip_close(t);
	free(us);
	return rc;
}

static void print_table(const struct bench_bus *b, const struct bus_conf *conf)
{
	printf("broker %s:%u, medians of %u round trips\n\n", conf->host, (unsigned)conf->port,
	       (unsigned)b->trips);
	printf("%8s %8s %4s %10s %10s %10s %10s\n", "there", "back", "QoS", "us", "95 %", "min",
	       "max");
	for (unsigned i = 0; i < b->n_lines; i++) {
		const struct bus_line *l = &b->lines[i];

		printf("%8u %8u %4u %10.0f %10.0f %10.0f %10.0f\n", (unsigned)l->there,
		       (unsigned)l->back, (unsigned)l->qos, l->us.median, l->us.p95, l->us.min,
		       l->us.max);
	}
}

static int print_json(const struct bench_bus *b, const struct bus_conf *conf, struct err *e)
{
	struct json *root = json_object(), *list;

	json_add_str(root, "host", conf->host);
	json_add_u64(root, "port", conf->port);
	json_add_u64(root, "trips", b->trips);
	list = json_add_array(root, "lines");
	for (unsigned i = 0; i < b->n_lines; i++) {
		struct json *o = json_push_object(list);

		json_add_u64(o, "there_bytes", b->lines[i].there);
		json_add_u64(o, "back_bytes", b->lines[i].back);
		json_add_u64(o, "qos", b->lines[i].qos);
		spread_add_json(o, "us", &b->lines[i].us, true);
	}
	return cmd_print_json(root, e);
}

/* The broker that the options name, or *own. */
static int find_broker(const struct bench_bus *b, struct watch_conf *w, struct private_broker **own,
		       struct bus_conf *conf, struct err *e)
{
	int rc;

	if (b->config) {
		rc = watch_load(w, b->config, e);
		if (!rc)
			*conf = link_conf(&w->broker, "", NULL, NULL);
		return rc;
	}
	*conf = (struct bus_conf){ .host = b->host, .port = (uint16_t)b->port };
	if (b->host)
		return 0;
	rc = private_broker_start(own, e);
	conf->host = "127.0.0.1";
	conf->port = rc ? 0 : private_broker_port(*own);
	return rc;
}

static int run(struct bench_bus *b, struct err *e)
{
	struct private_broker *own = NULL;
	struct watch_conf w = { 0 };
	struct bus_conf conf;
	int rc = find_broker(b, &w, &own, &conf, e);

	if (!rc)
		rc = measure(b, &conf, e);
	if (!rc && b->json)
		rc = print_json(b, &conf, e);
	else if (!rc)
		print_table(b, &conf);
	private_broker_stop(own);
	return rc;
}

#define TEXT(field)               OPTIONS_TEXT(struct bench_bus, field)
#define U32(field, lo, hi)        OPTIONS_U32(struct bench_bus, field, lo, hi)
#define LIST(field, lo, hi, most) OPTIONS_LIST(struct bench_bus, field, lo, hi, most)

static const struct options_row options[] = {
	{ 'c', "config", "FILE", TEXT(config),
	  .help = "the broker of an agent's, a worker's or the coordinator's file" },
	{ 0, "host", "HOST", TEXT(host), .help = "a broker without password and TLS",
	  .preset = "a private mosquitto on this machine" },
	{ 0, "port", "P", U32(port, 1, 65535), .help = "port of --host" },
	{ 0, "topics", "PREFIX", TEXT(topics),
	  .help = "where to publish; two clients must be allowed to read and write PREFIX/#" },
	{ 0, "payload", "LIST", LIST(payloads, 4, BUS_TRIP_MAX_BYTES, MOST_SIZES), .unit = "bytes",
	  .help = "how much goes there, with commas" },
	{ 0, "answer", "BYTES", U32(answer, 0, BUS_TRIP_MAX_BYTES), .unit = "bytes",
	  .help = "how much comes back; 0: as much" },
	{ 0, "qos", "LIST", LIST(qos, 0, 1, 2), .help = "0, 1 or both" },
	{ 'n', "trips", "N", U32(trips, 1, MOST_TRIPS),
	  .help = "round trips of each, after a tenth to warm up" },
	{ 0, "json", NULL, OPTIONS_FLAG(struct bench_bus, json),
	  .help = "one line of JSON instead of a table" },
};

const struct options_table bench_bus_options = {
	.program = "splitmq " NAME,
	.summary = "round trips through a broker, by size and QoS",
	.synopsis = "[-c FILE | --host HOST [--port P]] [OPTIONS]",
	OPTIONS_ROWS(options),
	.notes = "A round trip is there and back between two clients, each way through the broker: "
		 "four ways over the network, as a token of a split session takes.",
};

/* OPTIONS_GO_ON, or the exit status. */
static int parse(struct bench_bus *b, int argc, char **argv)
{
	const int rc = options_read(&bench_bus_options, b, argc, argv);

	if (rc != OPTIONS_GO_ON)
		return rc;
	if (b->config && b->host)
		return options_wrong(&bench_bus_options, "either -c or --host");
	if (b->answer && b->answer < 4)
		return options_wrong(&bench_bus_options, "--answer must be 0 or at least 4");
	return rc;
}

int bench_bus(int argc, char **argv)
{
	struct bench_bus b = {
		.topics = "bench",
		.port = 1883,
		.trips = 200,
		.payloads = { { 16, 256, 1024, 4096, 16384, 65536 }, 6 },
		.qos = { { 0, 1 }, 2 },
	};
	struct err e;
	int rc = parse(&b, argc, argv);

	if (rc != OPTIONS_GO_ON)
		return rc;
	return run(&b, &e) ? cmd_fail(NAME, &e) : CMD_OK;
}
