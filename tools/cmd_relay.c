/* tools/cmd_relay.c - a slow link between two programs, to see how they live with it. */
#include <ctype.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/cmd.h"
#include "tools/commands.h"
#include "tools/relay.h"

#define NAME      "relay"
#define POLL_MS   100 /* between looks at the signals */

#define MOST_KBIT 100000000

struct request {
	struct relay_conf conf;
	char to[256], listen[256];
	bool control;
};

/* "HOST:PORT" -> host[256] (as it is where there is none) and port. */
static int take_address(const char *text, unsigned long min_port, char *host, uint16_t *port,
			struct err *e)
{
	const char *colon = strrchr(text, ':'), *digits = colon ? colon + 1 : text;
	const size_t len = colon ? (size_t)(colon - text) : 0;
	char *end;
	unsigned long n = strtoul(digits, &end, 10);

	if (!isdigit((unsigned char)*digits) || *end || n < min_port || n > 65535)
		return err_set(e, ERR_USAGE, "must end in a port in %lu..65535, not \"%s\"",
			       min_port, text);
	if (len >= 256)
		return err_set(e, ERR_USAGE, "has a name of %zu bytes, which is too long", len);
	if (colon)
		snprintf(host, 256, "%.*s", (int)len, text);
	*port = (uint16_t)n;
	return 0;
}

static int take_to(void *place, const char *text, struct err *e)
{
	struct request *r = place;

	return take_address(text, 1, r->to, &r->conf.to_port, e);
}

static int take_listen(void *place, const char *text, struct err *e)
{
	struct request *r = place;

	return take_address(text, 0, r->listen, &r->conf.listen_port, e);
}

#define SCALED_U32(field, hi) OPTIONS_SCALED_U32(struct request, field, 0, hi, 1000)
#define SCALED_U64(field, hi) OPTIONS_SCALED_U64(struct request, field, 0, hi, 1000)

static const struct options_row options[] = {
	{ 0, "to", "HOST:PORT", OPTIONS_TAKEN_ALL(take_to), .needed = true,
	  .help = "where connections go" },
	{ 0, "listen", "A:PORT", OPTIONS_TAKEN_ALL(take_listen), .help = "where they come from",
	  .preset = "a free port of 127.0.0.1, which is printed" },
	{ 0, "delay-ms", "D", SCALED_U32(conf.delay_us, 600000), .unit = "ms",
	  .help = "delay of each way" },
	{ 0, "jitter-ms", "J", SCALED_U32(conf.jitter_us, 600000), .unit = "ms",
	  .help = "more than that, at random, up to J; nothing is overtaken" },
	{ 0, "rate-kbit", "R", SCALED_U64(conf.rate_bit_s, MOST_KBIT), .unit = "kbit/s",
	  .help = "rate of each direction; 0: no limit" },
	{ 0, "seed", "S", OPTIONS_U64(struct request, conf.seed, 0, OPTIONS_ANY),
	  .help = "start of the jitter's random numbers" },
	{ 0, "control", NULL, OPTIONS_FLAG(struct request, control),
	  .help = "take lines \"rate-kbit R\" from the standard input, which change the rate; its "
		  "end is ours" },
};

const struct options_table cmd_relay_options = {
	.program = "splitmq " NAME,
	.summary = "a slow link, to be put between an agent and its broker",
	.synopsis = "--to HOST:PORT [--listen [ADDRESS:]PORT] [OPTIONS]",
	.about = "Passes TCP connections on as over a slow link, until it is interrupted; point an "
		 "agent at it instead of the broker.",
	OPTIONS_ROWS(options),
};

/* One line of orders. False at their end. */
static bool obey(struct relay *relay)
{
	double kbit;
	char line[64];
	int used = 0;

	if (!fgets(line, sizeof(line), stdin))
		return false;
	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "rate-kbit %lf %n", &kbit, &used) == 1 && !line[used] && kbit >= 0 &&
	    kbit <= MOST_KBIT)
		relay_set_rate(relay, (uint64_t)(kbit * 1000 + 0.5));
	else
		fprintf(stderr,
			"splitmq " NAME ": \"rate-kbit R\" wanted with R in 0..%d, not \"%s\"\n",
			MOST_KBIT, line);
	return true;
}

/* Until one of the signals comes, or the orders end. */
static void control(struct relay *relay, const sigset_t *ends)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	const struct timespec at_once = { 0 };

	setvbuf(stdin, NULL, _IONBF, 0); /* so that poll knows of every line */
	while (sigtimedwait(ends, NULL, &at_once) < 0) {
		if (poll(&in, 1, POLL_MS) > 0 && !obey(relay))
			return;
	}
}

int cmd_relay(int argc, char **argv)
{
	struct request r = { .conf = { .seed = 1 }, .listen = "127.0.0.1" };
	struct relay *relay = NULL;
	uint64_t up, down;
	sigset_t ends;
	struct err e;
	int signal_number, rc = options_read(&cmd_relay_options, &r, argc, argv);

	if (rc != OPTIONS_GO_ON)
		return rc;
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &ends, NULL); /* the relay's thread inherits it */
	r.conf.to_host = r.to;
	r.conf.listen_host = r.listen;
	if (relay_start(&relay, &r.conf, &e))
		return cmd_fail(NAME, &e);
	printf("%s:%u\n", r.listen, (unsigned)relay_port(relay));
	fflush(stdout);
	if (r.control)
		control(relay, &ends);
	else
		sigwait(&ends, &signal_number);
	relay_get_bytes(relay, &up, &down);
	relay_stop(relay);
	fprintf(stderr, "%" PRIu64 " bytes up, %" PRIu64 " down\n", up, down);
	return CMD_OK;
}
