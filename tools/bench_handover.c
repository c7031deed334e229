/* tools/bench_handover.c - how long the longest gap between two tokens is while the split moves.
 *
 * Each session begins where the one before ended, and a decision in its middle moves the split one
 * step of the tour: two layers up, back, two down, back, to no worker at all, and back. What the
 * session's other gaps are is measured in the same session. */
#include "tools/bench_handover.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "bus/bus.h"
#include "codec/spec.h"
#include "engine/gguf.h"
#include "engine/model.h"
#include "schema/json.h"
#include "tools/cmd.h"
#include "tools/split_rig.h"
#include "tools/spread.h"

#define NAME          "bench handover"
#define DEFAULT_MODEL "models/gateway.gguf"
#define TOKENS_MAX    4096
#define ROUNDS_MAX    100
#define STOPS         6
#define CALM          32 /* gaps before the decision */
#define DECISION      "splitmq/v1/bench/decision/agent"

const char bench_handover_usage[] =
	"splitmq bench handover [-m FILE] [OPTIONS]\n"
	"\n"
	"  -m, --model FILE   GGUF file (default: " DEFAULT_MODEL ", below where you are)\n"
	"      --split L      layers of the agent to begin with (default: half)\n"
	"  -t, --threads N    of each side (default 1)\n"
	"  -p, --prompt N     tokens, about (default 256)\n"
	"  -n, --tokens N     to decode; the split moves after 33 (default 400)\n"
	"  -r, --repeat N     tours (default 3)\n"
	"      --codec SPEC   of rows (default tabq)\n"
	"      --delay-ms D   of the link between agent and broker, one way (default 0)\n"
	"      --rate-kbit R  of each direction; 0: no limit (default 0)\n"
	"      --json         one line of JSON instead of text\n"
	"  -h, --help         this text\n"
	"\n"
	"Starts a private mosquitto and splitmq-worker; this process is the agent. In each session "
	"a\n"
	"decision moves the split: two layers up and back, two down and back, to no worker and "
	"back.\n"
	"\"pause\" is the longest gap between tokens from the decision on, in median gaps before "
	"it.\n";

struct move {
	uint32_t from, to;
	double pause[ROUNDS_MAX],
		calm[ROUNDS_MAX]; /* longest gap after, before the decision; in gaps */
	double gap_ms[ROUNDS_MAX], longest_ms[ROUNDS_MAX];
	unsigned moved; /* sessions whose split did move */
};

struct bench_handover {
	struct split_rig_conf rig_conf;
	uint32_t prompt, tokens, rounds;
	bool has_split, json;

	struct split_rig *rig;
	struct config_agent agent_conf;
	struct agent *agent;
	struct bus *coordinator;
	uint32_t splits[STOPS + 1]; /* of the tour; the last one is the first */
	uint32_t session;           /* round * STOPS + stop */
	uint64_t piece_us;
	double gaps[TOKENS_MAX]; /* ms, of the session */
	uint32_t n_gaps;
	struct move moves[STOPS];
	struct err failed;
};

static void ignore(void *ctx, const struct bus_event *ev)
{
	(void)ctx;
	(void)ev;
}

static int send_prompt(struct bench_handover *b)
{
	struct msg_prompt m = { .raw = true,
				.stream = true,
				.max_tokens = b->tokens,
				.given = MSG_TEMPERATURE | MSG_SEED,
				.sampling = { .temperature = 3, .seed = 11 },
				.prompt = malloc(2 * (size_t)b->prompt + 1) };

	if (!m.prompt)
		return err_set(&b->failed, ERR_NOMEM, "out of memory");
	for (uint32_t i = 0; i <= b->prompt; i++)
		memcpy(m.prompt + 2 * (i < b->prompt ? i : b->prompt - 1), " a", 3);
	snprintf(m.id, sizeof(m.id), "bench-%u", (unsigned)b->session);
	m.prompt_len = strlen(m.prompt);
	b->piece_us = 0;
	b->n_gaps = 0;
	agent_prompt(b->agent, &m);
	free(m.prompt);
	return 0;
}

static void decide(struct bench_handover *b)
{
	char text[160];
	const int n =
		snprintf(text, sizeof(text),
			 "{\"type\":\"decision\",\"agent\":\"agent\",\"number\":%u,\"split\":%u}",
			 (unsigned)b->session + 1, (unsigned)b->splits[b->session % STOPS + 1]);

	if (bus_publish(b->coordinator,
			&(struct bus_publish){
				.topic = DECISION, .payload = text, .len = (size_t)n, .qos = 1 }))
		err_set(&b->failed, ERR_OFFLINE, "the decision could not be published");
}

static void take_piece(struct bench_handover *b)
{
	const uint64_t now = clock_now_us();

	if (b->piece_us && b->n_gaps < TOKENS_MAX)
		b->gaps[b->n_gaps++] = (double)(now - b->piece_us) / 1000;
	b->piece_us = now;
	if (b->n_gaps == CALM)
		decide(b);
}

static double longest_of(const double *v, size_t n)
{
	double most = 0;

	for (size_t i = 0; i < n; i++)
		most = v[i] > most ? v[i] : most;
	return most;
}

static int take_session(struct bench_handover *b, const struct msg_reply *reply)
{
	struct move *m = &b->moves[b->session % STOPS];
	const uint32_t before = CALM, round = b->session / STOPS;

	if (reply->error)
		return err_set(&b->failed, reply->error, "the session failed: %s", reply->reason);
	if (b->n_gaps < before + 2)
		return err_set(&b->failed, ERR_STATE, "the model ended its answer too soon");
	m->longest_ms[round] = longest_of(b->gaps + before, b->n_gaps - before);
	m->gap_ms[round] = spread_of(b->gaps, before).median;
	m->pause[round] = m->longest_ms[round] / m->gap_ms[round];
	m->calm[round] = longest_of(b->gaps, before) / m->gap_ms[round];
	m->moved += reply->stats.handovers > 0;
	return b->failed.code;
}

static void on_reply(void *ctx, const struct msg_reply *reply)
{
	struct bench_handover *b = ctx;

	if (!reply->done) {
		take_piece(b);
		return;
	}
	if (take_session(b, reply) || ++b->session == b->rounds * STOPS || send_prompt(b))
		agent_stop(b->agent);
}

static int plan(struct bench_handover *b, struct err *e)
{
	struct split_rig_conf *c = &b->rig_conf;
	struct model_hparams hp;
	struct gguf *g = NULL;
	uint32_t s;
	int rc = gguf_open(&g, c->model, e);

	if (!rc)
		rc = model_read_hparams(&hp, g, e);
	gguf_close(g);
	if (rc)
		return rc;
	s = b->has_split ? c->split : hp.n_layers / 2;
	if (s < 2 || s + 2 >= hp.n_layers)
		return err_set(e, ERR_LIMIT, "--split %u of %u layers has no room to move",
			       (unsigned)s, (unsigned)hp.n_layers);
	c->split = s;
	c->any_split = true;
	c->context_tokens = 2 * b->prompt + b->tokens + 64;
	memcpy(b->splits, (uint32_t[]){ s, s + 2, s, s - 2, s, hp.n_layers, s }, sizeof(b->splits));
	for (unsigned i = 0; i < STOPS; i++) {
		b->moves[i].from = b->splits[i];
		b->moves[i].to = b->splits[i + 1];
	}
	return 0;
}

static int run_sessions(struct bench_handover *b, struct err *e)
{
	const struct bus_conf conf = { .host = "127.0.0.1",
				       .port = split_rig_port(b->rig),
				       .client_id = "bench-coordinator" };
	int rc = bus_mqtt_open(&b->coordinator, &conf, ignore, NULL, e);

	if (!rc)
		rc = agent_create(&b->agent, &b->agent_conf, on_reply, b, e);
	if (!rc && send_prompt(b))
		rc = ERR_NOMEM;
	if (!rc)
		rc = agent_run(b->agent, e);
	agent_destroy(b->agent);
	bus_close(b->coordinator, 100);
	if (!rc && b->failed.code)
		*e = b->failed;
	return rc ? rc : b->failed.code;
}

static void print_text(struct bench_handover *b)
{
	printf("%s: prompt of about %u tokens, %u decoded, %u tours; %u threads a side, codec "
	       "%s\n\n",
	       b->rig_conf.model, (unsigned)b->prompt, (unsigned)b->tokens, (unsigned)b->rounds,
	       (unsigned)b->rig_conf.threads, b->rig_conf.codec);
	printf("%-10s %8s %10s %12s %8s %8s %8s %8s\n", "split", "moved", "gap ms", "longest ms",
	       "pause", "min", "max", "before");
	for (unsigned i = 0; i < STOPS; i++) {
		struct move *m = &b->moves[i];
		const struct spread p = spread_of(m->pause, b->rounds);

		printf("%3u -> %-3u %5u/%-2u %10.3f %12.3f %8.2f %8.2f %8.2f %8.2f\n",
		       (unsigned)m->from, (unsigned)m->to, m->moved, (unsigned)b->rounds,
		       spread_of(m->gap_ms, b->rounds).median,
		       spread_of(m->longest_ms, b->rounds).median, p.median, p.min, p.max,
		       spread_of(m->calm, b->rounds).median);
	}
}

static int print_json(struct bench_handover *b, struct err *e)
{
	struct json *root = json_object(), *list;
	char *text = NULL;
	size_t len;
	int rc;

	json_add_str(root, "model", b->rig_conf.model);
	json_add_u64(root, "threads", b->rig_conf.threads);
	json_add_u64(root, "prompt_tokens", b->prompt);
	list = json_add_array(root, "moves");
	for (unsigned i = 0; i < STOPS; i++) {
		struct json *o = json_push_object(list);
		struct spread p = spread_of(b->moves[i].pause, b->rounds);

		json_add_u64(o, "from", b->moves[i].from);
		json_add_u64(o, "to", b->moves[i].to);
		json_add_u64(o, "moved", b->moves[i].moved);
		json_add_f64(o, "gap_ms", spread_of(b->moves[i].gap_ms, b->rounds).median);
		spread_add_json(o, "pause", &p, false);
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

static int run(struct bench_handover *b, struct err *e)
{
	int rc;

	log_set_level(LOG_LEVEL_ERROR);
	rc = plan(b, e);
	if (!rc)
		rc = split_rig_start(&b->rig, &b->rig_conf, e);
	if (!rc)
		rc = split_rig_agent(b->rig, &b->agent_conf, e);
	if (!rc)
		rc = run_sessions(b, e);
	if (!rc && b->json)
		rc = print_json(b, e);
	else if (!rc)
		print_text(b);
	split_rig_stop(b->rig);
	return rc;
}

enum { OPT_SPLIT = 0x100, OPT_CODEC, OPT_DELAY, OPT_RATE, OPT_JSON };

static const struct option options[] = {
	{ "model", required_argument, NULL, 'm' },
	{ "split", required_argument, NULL, OPT_SPLIT },
	{ "threads", required_argument, NULL, 't' },
	{ "prompt", required_argument, NULL, 'p' },
	{ "tokens", required_argument, NULL, 'n' },
	{ "repeat", required_argument, NULL, 'r' },
	{ "codec", required_argument, NULL, OPT_CODEC },
	{ "delay-ms", required_argument, NULL, OPT_DELAY },
	{ "rate-kbit", required_argument, NULL, OPT_RATE },
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

static int set_link(struct relay_conf *l, int opt, const char *arg)
{
	uint32_t n = 0;
	int rc = opt == OPT_DELAY ? set_u32("--delay-ms", arg, 0, 60000, &n)
				  : set_u32("--rate-kbit", arg, 0, 100000000, &n);

	if (opt == OPT_DELAY)
		l->delay_us = n * 1000;
	else
		l->rate_bit_s = n * 1000ull;
	return rc;
}

static int set(struct bench_handover *b, int opt, const char *arg)
{
	struct codec_spec spec;
	struct err e;

	switch (opt) {
	case 'm':
		b->rig_conf.model = arg;
		return 0;
	case OPT_SPLIT:
		b->has_split = true;
		return set_u32("--split", arg, 0, 4095, &b->rig_conf.split);
	case 't':
		return set_u32("--threads", arg, 1, 64, &b->rig_conf.threads);
	case 'p':
		return set_u32("--prompt", arg, 1, 1 << 17, &b->prompt);
	case 'n':
		return set_u32("--tokens", arg, 2 * CALM, TOKENS_MAX, &b->tokens);
	case 'r':
		return set_u32("--repeat", arg, 1, ROUNDS_MAX, &b->rounds);
	case OPT_CODEC:
		b->rig_conf.codec = arg;
		return spec_parse(&spec, arg, &e) ? cmd_usage(NAME, "--codec: %s", e.text) : 0;
	case OPT_JSON:
		b->json = true;
		return 0;
	default:
		return set_link(&b->rig_conf.link, opt, arg);
	}
}

static int parse(struct bench_handover *b, int argc, char **argv)
{
	int opt, rc;

	opterr = 0;
	optind = 1;
	while ((opt = getopt_long(argc, argv, "m:t:p:n:r:", options, NULL)) != -1) {
		if (opt == '?')
			return cmd_usage(NAME, "%s: no such option, or its value is missing",
					 argv[optind - 1]);
		rc = set(b, opt, optarg);
		if (rc)
			return rc;
	}
	return optind < argc ? cmd_usage(NAME, "what is \"%s\"?", argv[optind]) : 0;
}

int bench_handover(int argc, char **argv)
{
	struct bench_handover *b = calloc(1, sizeof(*b));
	struct err e = { 0 };
	int rc;

	if (!b) {
		err_set(&e, ERR_NOMEM, "out of memory");
		return cmd_fail(NAME, &e);
	}
	b->rig_conf = (struct split_rig_conf){
		.model = DEFAULT_MODEL, .codec = "tabq", .kv = "f16", .threads = 1
	};
	b->rig_conf.link.seed = 1;
	b->prompt = 256;
	b->tokens = 400;
	b->rounds = 3;
	rc = parse(b, argc, argv);
	rc = rc ? rc : run(b, &e) ? cmd_fail(NAME, &e) : CMD_OK;
	free(b);
	return rc;
}
