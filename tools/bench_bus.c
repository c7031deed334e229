/* tools/bench_bus.c - how long a message to the other side and its answer take, by size and QoS. */
#include "tools/bench_bus.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/link.h"
#include "schema/json.h"
#include "tools/bus_trip.h"
#include "tools/cmd.h"
#include "tools/private_broker.h"
#include "tools/spread.h"
#include "tools/watch.h"

#define NAME       "bench bus"
#define LIST       16
#define MOST_TRIPS 100000

const char bench_bus_usage[] =
	"splitmq bench bus [-c FILE | --host HOST [--port P]] [OPTIONS]\n"
	"\n"
	"  -c, --config FILE    the broker of an agent's, a worker's or the coordinator's file\n"
	"      --host HOST      a broker without password and TLS\n"
	"      --port P         default 1883\n"
	"                       without any of these: a private mosquitto on this machine\n"
	"      --topics PREFIX  where to publish (default: bench); two clients must be allowed\n"
	"                       to read and write PREFIX/#\n"
	"      --payload LIST   bytes there, with commas (default 16,256,1024,4096,16384,65536)\n"
	"      --answer BYTES   bytes back; 0: as many as there (default 0)\n"
	"      --qos LIST       0, 1 or both (default 0,1)\n"
	"  -n, --trips N        round trips of each (default 200), after a tenth to warm up\n"
	"      --json           one line of JSON instead of a table\n"
	"  -h, --help           this text\n"
	"\n"
	"A round trip is there and back between two clients, each way through the broker: four\n"
	"ways over the network, as a token of a split session takes.\n";

struct bus_line {
	uint32_t there, back, qos;
	struct spread us;
};

struct bench_bus {
	const char *config, *host, *topics;
	uint32_t port, answer, trips;
	uint32_t payloads[LIST], qos[2];
	unsigned n_payloads, n_qos;
	bool json;
	struct bus_line lines[2 * LIST];
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

	for (unsigned q = 0; q < b->n_qos; q++) {
		for (unsigned i = 0; i < b->n_payloads && !rc; i++) {
			struct bus_line line = { .there = b->payloads[i], .qos = b->qos[q] };

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
	char *text = NULL;
	size_t len;
	int rc;

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
	rc = json_print(root, &text, &len);
	if (rc)
		err_set(e, rc, "%s", err_phrase(rc));
	else
		puts(text);
	free(text);
	json_free(root);
	return rc;
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

enum { OPT_HOST = 0x100, OPT_PORT, OPT_TOPICS, OPT_PAYLOAD, OPT_ANSWER, OPT_QOS, OPT_JSON };

static const struct option options[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "host", required_argument, NULL, OPT_HOST },
	{ "port", required_argument, NULL, OPT_PORT },
	{ "topics", required_argument, NULL, OPT_TOPICS },
	{ "payload", required_argument, NULL, OPT_PAYLOAD },
	{ "answer", required_argument, NULL, OPT_ANSWER },
	{ "qos", required_argument, NULL, OPT_QOS },
	{ "trips", required_argument, NULL, 'n' },
	{ "json", no_argument, NULL, OPT_JSON },
	{ 0 },
};

static int set_u32(const char *option, const char *arg, uint32_t min, uint32_t max, uint32_t *v)
{
	unsigned long long n = 0;
	int rc = cmd_u64(NAME, option, arg, min, max, &n);

	if (!rc)
		*v = (uint32_t)n;
	return rc;
}

/* Up to `most` numbers in min..max with commas. */
static int set_list(const char *option, const char *arg, uint32_t min, uint32_t max, uint32_t *v,
		    unsigned most, unsigned *n)
{
	uint32_t *ids = NULL;
	size_t found = 0;
	struct err e;
	bool good = !cmd_read_ids(arg, &ids, &found, &e) && found <= most;

	for (size_t i = 0; i < found && good; i++)
		good = ids[i] >= min && ids[i] <= max;
	if (good) {
		memcpy(v, ids, found * sizeof(*ids));
		*n = (unsigned)found;
	}
	free(ids);
	return good ? 0
		    : cmd_usage(NAME, "%s must be up to %u numbers in %u..%u, not \"%s\"", option,
				most, (unsigned)min, (unsigned)max, arg);
}

static int set(struct bench_bus *b, int opt, const char *arg)
{
	switch (opt) {
	case 'c':
		b->config = arg;
		return 0;
	case OPT_HOST:
		b->host = arg;
		return 0;
	case OPT_PORT:
		return set_u32("--port", arg, 1, 65535, &b->port);
	case OPT_TOPICS:
		b->topics = arg;
		return 0;
	case OPT_PAYLOAD:
		return set_list("--payload", arg, 4, BUS_TRIP_MAX_BYTES, b->payloads, LIST,
				&b->n_payloads);
	case OPT_ANSWER:
		return set_u32("--answer", arg, 0, BUS_TRIP_MAX_BYTES, &b->answer);
	case OPT_QOS:
		return set_list("--qos", arg, 0, 1, b->qos, 2, &b->n_qos);
	case 'n':
		return set_u32("--trips", arg, 1, MOST_TRIPS, &b->trips);
	default:
		b->json = true;
		return 0;
	}
}

static int parse(struct bench_bus *b, int argc, char **argv)
{
	int opt, rc;

	opterr = 0;
	optind = 1;
	while ((opt = getopt_long(argc, argv, "c:n:", options, NULL)) != -1) {
		if (opt == '?')
			return cmd_usage(NAME, "%s: no such option, or its value is missing",
					 argv[optind - 1]);
		rc = set(b, opt, optarg);
		if (rc)
			return rc;
	}
	if (b->config && b->host)
		return cmd_usage(NAME, "either -c or --host");
	if (b->answer && b->answer < 4)
		return cmd_usage(NAME, "--answer must be 0 or at least 4");
	return optind < argc ? cmd_usage(NAME, "what is \"%s\"?", argv[optind]) : 0;
}

int bench_bus(int argc, char **argv)
{
	struct bench_bus b = {
		.topics = "bench",
		.port = 1883,
		.trips = 200,
		.payloads = { 16, 256, 1024, 4096, 16384, 65536 },
		.n_payloads = 6,
		.qos = { 0, 1 },
		.n_qos = 2,
	};
	struct err e;
	int rc = parse(&b, argc, argv);

	return rc ? rc : run(&b, &e) ? cmd_fail(NAME, &e) : CMD_OK;
}
