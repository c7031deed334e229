/* tools/bench_split.c - how fast a split session is, what the same model takes whole, and what the
 * same bytes take through the broker: what remains is ours.
 *
 * The rounds follow each other in the callback that gets the final reply: first a session of one
 * token (its bytes are the prompt's) and one that is not split, which brings the agent's other
 * layers into memory; then, round by round, a session, one that is not split, and round trips.
 * Nothing else runs then. Both kinds of sessions are the agent's: sampling, text and replies are
 * the same for both. */
#include "tools/bench_split.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "codec/spec.h"
#include "engine/gguf.h"
#include "engine/model.h"
#include "engine/pool.h"
#include "engine/tokenizer.h"
#include "schema/json.h"
#include "tools/bus_trip.h"
#include "tools/cmd.h"
#include "tools/split_rig.h"
#include "tools/spread.h"

#define NAME          "bench split"
#define DEFAULT_MODEL "models/gateway.gguf"
#define ROUNDS_MAX    100
#define TOKENS_MAX    4096
#define TRIPS         40   /* per round */
#define ALLOWED       1.3  /* round trips that a split token may cost beside the model */
#define WORD          " a" /* prompts are made of */

const char bench_split_usage[] =
	"splitmq bench split [-m FILE] [OPTIONS]\n"
	"\n"
	"  -m, --model FILE   GGUF file (default: " DEFAULT_MODEL ", below where you are)\n"
	"      --split L      layers of the agent (default: half)\n"
	"  -t, --threads N    of each side (default 1)\n"
	"  -p, --prompt N     tokens, about (default 128)\n"
	"  -n, --tokens N     to decode (default 64)\n"
	"  -r, --repeat N     sessions (default 3)\n"
	"      --codec SPEC   of rows (default tabq)\n"
	"      --kv TYPE      of the caches (default f16)\n"
	"      --delay-ms D   of the link between agent and broker, one way (default 0)\n"
	"      --jitter-ms J  more than that, at random (default 0)\n"
	"      --rate-kbit R  of each direction; 0: no limit (default 0)\n"
	"      --json         one line of JSON instead of text\n"
	"  -h, --help         this text\n"
	"\n"
	"Starts a private mosquitto and splitmq-worker; this process is the agent. Sessions, "
	"sessions\n"
	"that are not split (the agent runs the whole model), bare round trips of as many bytes, "
	"and\n"
	"such where each end computes before it sends, as long as its layers take, take turns.\n"
	"\"beyond\" is what a split token takes more than a whole one and 1.3 bare round trips.\n";

struct bench_split {
	/* asked for */
	struct split_rig_conf rig_conf;
	uint32_t prompt, tokens, rounds;
	bool has_split, json;

	/* at work */
	struct split_rig *rig;
	struct gguf *gguf;
	uint32_t n_layers;
	struct bus_trip *trip;
	struct config_agent agent_conf;
	struct agent *agent;
	char *text;             /* of the prompt */
	uint32_t round;         /* 0: the session of one token */
	bool alone_now;         /* the session that runs is not split */
	uint64_t piece_us;      /* when the last piece came; 0: none of this session */
	struct msg_stats first; /* of the session of one token */
	struct err failed;

	/* found; times in ms */
	double *token, *alone, *round_trip; /* [n_...], of sessions after round 0 */
	double *busy_trip;                  /* [n_trips] where both ends compute before they send */
	size_t n_tokens, n_alone, n_trips;
	double ttft[ROUNDS_MAX], alone_ttft[ROUNDS_MAX], tok_s[ROUNDS_MAX];
	struct msg_stats last;
	double bytes_up, bytes_down; /* per token */
};

/* WORDs that make about so many tokens. */
static int make_prompt(struct bench_split *b, struct err *e)
{
	const size_t word = strlen(WORD);
	struct tokenizer *t = NULL;
	uint32_t *ids = NULL;
	size_t sample = 64, n = 0, words;
	int rc = tokenizer_create(&t, b->gguf, e);

	b->text = rc ? NULL : malloc((b->prompt + sample) * word + 1);
	if (!b->text) {
		tokenizer_destroy(t);
		return rc ? rc : err_set(e, ERR_NOMEM, "out of memory");
	}
	for (size_t i = 0; i < b->prompt + sample; i++)
		memcpy(b->text + i * word, WORD, word + 1);
	rc = tokenizer_encode(t, b->text, sample * word, 0, &ids, &n, e);
	words = rc || !n ? 1 : (b->prompt * sample + n / 2) / n;
	words = words < 1 ? 1 : words > b->prompt ? b->prompt : words;
	b->text[words * word] = '\0';
	free(ids);
	tokenizer_destroy(t);
	return rc;
}

static int send_prompt(struct bench_split *b)
{
	struct msg_prompt m = { .raw = true, .stream = true, .prompt = strdup(b->text) };

	if (!m.prompt)
		return err_set(&b->failed, ERR_NOMEM, "out of memory");
	snprintf(m.id, sizeof(m.id), "bench-%u%s", (unsigned)b->round,
		 b->alone_now ? "-alone" : "");
	m.prompt_len = strlen(m.prompt);
	m.max_tokens = b->round ? b->tokens : 1;
	m.has_split = b->alone_now;
	m.split = b->n_layers;
	b->piece_us = 0;
	agent_prompt(b->agent, &m);
	free(m.prompt);
	return 0;
}

/* One token of the session after the first: its text is there. */
static void take_piece(struct bench_split *b)
{
	const uint64_t now = clock_now_us();
	double *ms = b->alone_now ? b->alone : b->token;
	size_t *n = b->alone_now ? &b->n_alone : &b->n_tokens;

	if (b->round && b->piece_us && *n < (size_t)b->rounds * b->tokens)
		ms[(*n)++] = (double)(now - b->piece_us) / 1000;
	b->piece_us = now;
}

/* Bare ones, and such as a token has: each end computes before it sends while the other sleeps. */
static int measure_trips(struct bench_split *b)
{
	struct bus_trip_conf c = {
		.there = b->bytes_up > 4 ? (size_t)(b->bytes_up + 0.5) : 4,
		.back = b->bytes_down > 4 ? (size_t)(b->bytes_down + 0.5) : 4,
	};
	double *bare = b->round_trip + b->n_trips, *busy = b->busy_trip + b->n_trips;
	int rc = bus_trip_measure(b->trip, &c, TRIPS, bare, &b->failed);

	c.busy_us = (uint32_t)((b->last.head_ms + b->last.worker_ms) / 2 * 1000);
	if (!rc)
		rc = bus_trip_measure(b->trip, &c, TRIPS, busy, &b->failed);
	for (unsigned i = 0; i < TRIPS; i++) {
		bare[i] /= 1000;
		busy[i] /= 1000;
	}
	b->n_trips += rc ? 0 : TRIPS;
	return rc;
}

static void keep(struct bench_split *b, const struct msg_stats *s)
{
	if (!b->round && !b->alone_now)
		b->first = *s;
	if (b->round && b->alone_now)
		b->alone_ttft[b->round - 1] = s->ttft_ms;
	if (!b->round || b->alone_now)
		return;
	b->last = *s;
	b->ttft[b->round - 1] = s->ttft_ms;
	b->tok_s[b->round - 1] = s->tok_s;
	b->bytes_up = (double)(s->bytes_up - b->first.bytes_up) / (s->tokens - 1);
	b->bytes_down = (double)(s->bytes_down - b->first.bytes_down) / (s->tokens - 1);
}

/* A session has ended: keep what it says, then the other kind, or the broker, has its turn. */
static int take_session(struct bench_split *b, const struct msg_reply *reply)
{
	int rc;

	if (reply->error)
		return err_set(&b->failed, reply->error, "the session failed: %s", reply->reason);
	if (b->round && reply->stats.tokens < 2)
		return err_set(&b->failed, ERR_STATE, "the model ended its answer at once");
	keep(b, &reply->stats);
	b->alone_now = !b->alone_now;
	if (b->alone_now)
		return 0;
	rc = b->round ? measure_trips(b) : 0;
	b->round++;
	return rc;
}

static void on_reply(void *ctx, const struct msg_reply *reply)
{
	struct bench_split *b = ctx;

	if (!reply->done) {
		take_piece(b);
		return;
	}
	if (take_session(b, reply) || b->round > b->rounds || send_prompt(b))
		agent_stop(b->agent);
}

static int run_sessions(struct bench_split *b, struct err *e)
{
	const size_t n = (size_t)b->rounds * b->tokens;
	int rc;

	b->token = malloc(n * sizeof(double));
	b->alone = malloc(n * sizeof(double));
	b->round_trip = malloc((size_t)b->rounds * TRIPS * sizeof(double));
	b->busy_trip = malloc((size_t)b->rounds * TRIPS * sizeof(double));
	if (!b->token || !b->alone || !b->round_trip || !b->busy_trip)
		return err_set(e, ERR_NOMEM, "out of memory");
	rc = agent_create(&b->agent, &b->agent_conf, on_reply, b, e);
	if (!rc && send_prompt(b))
		rc = ERR_NOMEM;
	if (!rc)
		rc = agent_run(b->agent, e);
	agent_destroy(b->agent);
	if (!rc && b->failed.code)
		*e = b->failed;
	if (!rc && !b->failed.code && (!b->n_tokens || !b->n_alone))
		return err_set(e, ERR_STATE, "the answers have no text");
	return rc ? rc : b->failed.code;
}

static int start(struct bench_split *b, struct err *e)
{
	struct split_rig_conf *c = &b->rig_conf;
	struct model_hparams hp;
	struct bus_conf near, far;
	int rc = gguf_open(&b->gguf, c->model, e);

	if (!rc)
		rc = model_read_hparams(&hp, b->gguf, e);
	if (!rc && b->has_split && c->split >= hp.n_layers)
		rc = err_set(e, ERR_LIMIT, "--split %u of %u layers leaves the worker nothing",
			     (unsigned)c->split, (unsigned)hp.n_layers);
	if (rc)
		return rc;
	b->n_layers = hp.n_layers;
	c->split = b->has_split ? c->split : hp.n_layers / 2;
	c->context_tokens = b->prompt + b->tokens + 64;
	rc = make_prompt(b, e);
	if (!rc)
		rc = split_rig_start(&b->rig, c, e);
	if (!rc)
		rc = split_rig_agent(b->rig, &b->agent_conf, e);
	if (rc)
		return rc;
	near = far = (struct bus_conf){ .host = "127.0.0.1", .port = split_rig_port(b->rig) };
	near.port = split_rig_agent_port(b->rig);
	return bus_trip_open(&b->trip, &near, &far, "bench", e);
}

/* Everything, as medians. */
struct result {
	struct spread token, alone, trip, busy_trip, ttft, alone_ttft, tok_s;
	double beyond;
};

static struct result conclude(struct bench_split *b)
{
	struct result r = {
		.token = spread_of(b->token, b->n_tokens),
		.alone = spread_of(b->alone, b->n_alone),
		.trip = spread_of(b->round_trip, b->n_trips),
		.busy_trip = spread_of(b->busy_trip, b->n_trips),
		.ttft = spread_of(b->ttft, b->rounds),
		.alone_ttft = spread_of(b->alone_ttft, b->rounds),
		.tok_s = spread_of(b->tok_s, b->rounds),
	};

	r.beyond = r.token.median - r.alone.median - ALLOWED * r.trip.median;
	return r;
}

static void print_spread(const char *what, const struct spread *s)
{
	printf("%-22s %10.3f %10.3f %10.3f %10.3f\n", what, s->median, s->p95, s->min, s->max);
}

static void print_text(const struct bench_split *b, const struct result *r)
{
	const struct split_rig_conf *c = &b->rig_conf;
	const struct msg_stats *s = &b->last;

	printf("%s: %u layers here, the rest at a worker; %u threads a side, codec %s, kv %s\n",
	       c->model, (unsigned)c->split, (unsigned)c->threads, s->codec, c->kv);
	printf("link: %g ms one way, jitter %g ms, %g kbit/s (0: no limit); %u sessions of %u + %u "
	       "tokens\n\n",
	       c->link.delay_us / 1000.0, c->link.jitter_us / 1000.0,
	       (double)c->link.rate_bit_s / 1000, (unsigned)b->rounds, (unsigned)s->prompt_tokens,
	       (unsigned)b->tokens);
	printf("%-22s %10s %10s %10s %10s\n", "ms", "median", "95 %", "min", "max");
	print_spread("token", &r->token);
	print_spread("token, whole model", &r->alone);
	print_spread("bare round trip", &r->trip);
	print_spread("after computing", &r->busy_trip);
	print_spread("first token", &r->ttft);
	print_spread("first token, whole", &r->alone_ttft);
	printf("\n%.2f tokens/s; %.0f bytes up and %.0f down a token; beyond: %.3f ms (%s)\n",
	       r->tok_s.median, b->bytes_up, b->bytes_down, r->beyond,
	       r->beyond <= 0 ? "holds" : "does not hold");
	printf("mean of the last session: agent's layers %.2f, encode %.2f, wire and broker %.2f, "
	       "worker %.2f and its queue %.2f, other %.2f ms\n",
	       s->head_ms, s->encode_ms, s->wire_ms, s->worker_ms, s->worker_queue_ms, s->other_ms);
}

static int print_json(const struct bench_split *b, const struct result *r, struct err *e)
{
	const struct split_rig_conf *c = &b->rig_conf;
	struct json *root = json_object();
	char *text = NULL;
	size_t len;
	int rc;

	json_add_str(root, "model", c->model);
	json_add_u64(root, "split", c->split);
	json_add_u64(root, "threads", c->threads);
	json_add_str(root, "codec", b->last.codec);
	json_add_f64(root, "delay_ms", c->link.delay_us / 1000.0);
	json_add_f64(root, "jitter_ms", c->link.jitter_us / 1000.0);
	json_add_f64(root, "rate_kbit", (double)c->link.rate_bit_s / 1000);
	json_add_u64(root, "prompt_tokens", b->last.prompt_tokens);
	json_add_u64(root, "tokens", b->last.tokens);
	spread_add_json(root, "tok_s", &r->tok_s, false);
	spread_add_json(root, "token_ms", &r->token, true);
	spread_add_json(root, "whole_token_ms", &r->alone, true);
	spread_add_json(root, "round_trip_ms", &r->trip, true);
	spread_add_json(root, "busy_round_trip_ms", &r->busy_trip, true);
	spread_add_json(root, "ttft_ms", &r->ttft, false);
	spread_add_json(root, "whole_ttft_ms", &r->alone_ttft, false);
	json_add_f64(root, "bytes_up", b->bytes_up);
	json_add_f64(root, "bytes_down", b->bytes_down);
	json_add_f64(root, "beyond_ms", r->beyond);
	rc = json_print(root, &text, &len);
	if (rc)
		err_set(e, rc, "%s", err_phrase(rc));
	else
		puts(text);
	free(text);
	json_free(root);
	return rc;
}

static int run(struct bench_split *b, struct err *e)
{
	struct result result;
	int rc;

	log_set_level(LOG_LEVEL_ERROR);
	rc = start(b, e);
	if (!rc)
		rc = run_sessions(b, e);
	if (!rc) {
		result = conclude(b);
		if (b->json)
			rc = print_json(b, &result, e);
		else
			print_text(b, &result);
	}
	bus_trip_close(b->trip);
	split_rig_stop(b->rig);
	gguf_close(b->gguf);
	free(b->text);
	free(b->token);
	free(b->alone);
	free(b->round_trip);
	free(b->busy_trip);
	return rc;
}

enum { OPT_SPLIT = 0x100, OPT_CODEC, OPT_KV, OPT_DELAY, OPT_JITTER, OPT_RATE, OPT_JSON };

static const struct option options[] = {
	{ "model", required_argument, NULL, 'm' },
	{ "split", required_argument, NULL, OPT_SPLIT },
	{ "threads", required_argument, NULL, 't' },
	{ "prompt", required_argument, NULL, 'p' },
	{ "tokens", required_argument, NULL, 'n' },
	{ "repeat", required_argument, NULL, 'r' },
	{ "codec", required_argument, NULL, OPT_CODEC },
	{ "kv", required_argument, NULL, OPT_KV },
	{ "delay-ms", required_argument, NULL, OPT_DELAY },
	{ "jitter-ms", required_argument, NULL, OPT_JITTER },
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

static int set_ms(const char *option, const char *arg, uint32_t *us)
{
	double ms = 0;
	int rc = cmd_f64(NAME, option, arg, 0, 60000, &ms);

	*us = (uint32_t)(ms * 1000 + 0.5);
	return rc;
}

static int set_link(struct relay_conf *l, int opt, const char *arg)
{
	uint32_t kbit = 0;
	int rc;

	if (opt == OPT_DELAY)
		return set_ms("--delay-ms", arg, &l->delay_us);
	if (opt == OPT_JITTER)
		return set_ms("--jitter-ms", arg, &l->jitter_us);
	rc = set_u32("--rate-kbit", arg, 0, 100000000, &kbit);
	l->rate_bit_s = kbit * 1000ull;
	return rc;
}

static int set(struct bench_split *b, int opt, const char *arg)
{
	struct codec_spec spec;
	enum kv_type kv;
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
		return set_u32("--tokens", arg, 3, TOKENS_MAX, &b->tokens);
	case 'r':
		return set_u32("--repeat", arg, 1, ROUNDS_MAX, &b->rounds);
	case OPT_CODEC:
		b->rig_conf.codec = arg;
		return spec_parse(&spec, arg, &e) ? cmd_usage(NAME, "--codec: %s", e.text) : 0;
	case OPT_KV:
		b->rig_conf.kv = arg;
		return kv_type_parse(&kv, arg)
			       ? cmd_usage(NAME, "--kv must be " KV_TYPE_WORDS ", not \"%s\"", arg)
			       : 0;
	case OPT_JSON:
		b->json = true;
		return 0;
	default:
		return set_link(&b->rig_conf.link, opt, arg);
	}
}

static int parse(struct bench_split *b, int argc, char **argv)
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

int bench_split(int argc, char **argv)
{
	struct bench_split b = {
		.rig_conf = { .model = DEFAULT_MODEL, .codec = "tabq", .kv = "f16", .threads = 1 },
		.prompt = 128,
		.tokens = 64,
		.rounds = 3,
	};
	struct err e;
	int rc = parse(&b, argc, argv);

	b.rig_conf.link.seed = 1;
	return rc ? rc : run(&b, &e) ? cmd_fail(NAME, &e) : CMD_OK;
}
