/* tools/cmd_relay.c - a slow link between two programs, to see how they live with it. */
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/cmd.h"
#include "tools/commands.h"
#include "tools/relay.h"

#define NAME    "relay"
#define POLL_MS 100 /* between looks at the signals */

const char cmd_relay_usage[] =
	"usage: splitmq relay --to HOST:PORT [--listen [ADDRESS:]PORT] [OPTIONS]\n"
	"\n"
	"Passes TCP connections on as over a slow link, until it is interrupted; point an agent "
	"at\n"
	"it instead of the broker.\n"
	"\n"
	"      --to HOST:PORT     where connections go\n"
	"      --listen A:PORT    where they come from (default: a free port of 127.0.0.1, which\n"
	"                         is printed)\n"
	"      --delay-ms D       one way (default 0)\n"
	"      --jitter-ms J      more than that, at random, up to J; nothing is overtaken\n"
	"                         (default 0)\n"
	"      --rate-kbit R      thousands of bits a second, each direction; 0: no limit\n"
	"                         (default 0)\n"
	"      --seed S           of the jitter (default 1)\n"
	"      --control          take lines \"rate-kbit R\" from the standard input, which "
	"change\n"
	"                         the rate; its end is ours\n"
	"  -h, --help             this text\n";

enum { OPT_TO = 0x100, OPT_LISTEN, OPT_DELAY, OPT_JITTER, OPT_RATE, OPT_SEED, OPT_CONTROL };

static const struct option options[] = {
	{ "to", required_argument, NULL, OPT_TO },
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "delay-ms", required_argument, NULL, OPT_DELAY },
	{ "jitter-ms", required_argument, NULL, OPT_JITTER },
	{ "rate-kbit", required_argument, NULL, OPT_RATE },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "control", no_argument, NULL, OPT_CONTROL },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

struct request {
	struct relay_conf conf;
	char to[256], listen[256];
	bool control, help;
};

/* "HOST:PORT" -> host (room bytes; as it is where there is none) and port. */
static int take_address(const char *option, const char *arg, uint32_t min_port, char *host,
			size_t room, uint16_t *port)
{
	const char *colon = strrchr(arg, ':');
	const size_t len = colon ? (size_t)(colon - arg) : 0;
	unsigned long long n = 0;
	int rc = cmd_u64(NAME, option, colon ? colon + 1 : arg, min_port, 65535, &n);

	if (rc)
		return rc;
	if (len >= room)
		return cmd_usage(NAME, "%s: a name of %zu bytes is too long", option, len);
	if (colon)
		snprintf(host, room, "%.*s", (int)len, arg);
	*port = (uint16_t)n;
	return 0;
}

static int take_ms(const char *option, const char *arg, uint32_t *us)
{
	double ms = 0;
	int rc = cmd_f64(NAME, option, arg, 0, 600000, &ms);

	*us = (uint32_t)(ms * 1000 + 0.5);
	return rc;
}

static int take(struct request *r, int opt, const char *seen)
{
	unsigned long long n = 0;
	int rc = 0;

	switch (opt) {
	case OPT_TO:
		return take_address("--to", optarg, 1, r->to, sizeof(r->to), &r->conf.to_port);
	case OPT_LISTEN:
		return take_address("--listen", optarg, 0, r->listen, sizeof(r->listen),
				    &r->conf.listen_port);
	case OPT_DELAY:
		return take_ms("--delay-ms", optarg, &r->conf.delay_us);
	case OPT_JITTER:
		return take_ms("--jitter-ms", optarg, &r->conf.jitter_us);
	case OPT_RATE:
		rc = cmd_u64(NAME, "--rate-kbit", optarg, 0, 100000000, &n);
		r->conf.rate_bit_s = n * 1000;
		return rc;
	case OPT_SEED:
		rc = cmd_u64(NAME, "--seed", optarg, 0, UINT64_MAX, &n);
		r->conf.seed = n;
		return rc;
	case OPT_CONTROL:
		r->control = true;
		return 0;
	case 'h':
		r->help = true;
		return 0;
	default:
		return cmd_usage(NAME, "no option %s, or its value is missing", seen);
	}
}

static int parse(struct request *r, int argc, char **argv)
{
	int opt, rc = 0;

	opterr = 0;
	while (!rc && !r->help && (opt = getopt_long(argc, argv, "h", options, NULL)) != -1)
		rc = take(r, opt, argv[optind - 1]);
	if (rc || r->help)
		return rc;
	if (!r->to[0])
		return cmd_usage(NAME, "--to HOST:PORT wanted");
	return optind < argc ? cmd_usage(NAME, "what is \"%s\"?", argv[optind]) : 0;
}

/* One line of orders. False at their end. */
static bool obey(struct relay *relay)
{
	unsigned long long kbit;
	char line[64], word[64];

	if (!fgets(line, sizeof(line), stdin))
		return false;
	if (sscanf(line, "rate-kbit %63s", word) != 1)
		cmd_usage(NAME, "\"rate-kbit R\" wanted, not \"%.*s\"", (int)strcspn(line, "\n"),
			  line);
	else if (!cmd_u64(NAME, "rate-kbit", word, 0, 100000000, &kbit))
		relay_set_rate(relay, kbit * 1000);
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
	int signal_number, rc = parse(&r, argc, argv);

	if (rc)
		return rc;
	if (r.help)
		return cmd_help(NAME);
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
