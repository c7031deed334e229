/* tools/bench_split.c - how fast a split session is, what the same model takes whole, and what the
 * same bytes take through the broker: what remains is ours.
 *
 * The rounds follow each other in the callback that gets the final reply: first a session of one
 * token (its bytes are the prompt's) and one that is not split, which brings the agent's other
 * layers into memory; then, round by round, a session, one that is not split, and round trips.
 * Nothing else runs then. Both kinds of sessions are the agent's: sampling, text and replies are
 * the same for both. */
#include "tools/bench_split.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/trace.h"
#include "codec/spec.h"
#include "engine/gguf.h"
#include "engine/model.h"
#include "engine/pool.h"
#include "engine/tokenizer.h"
#include "schema/json.h"
#include "tools/bus_trip.h"
#include "tools/cmd.h"
#include "tools/prompts.h"
#include "tools/split_rig.h"
#include "tools/spread.h"

#define NAME          "bench split"
#define DEFAULT_MODEL "models/gateway.gguf"
#define ROUNDS_MAX    1000
#define TOKENS_MAX    4096
#define TRIPS         40   /* per round */
#define BUSY_TRIPS    10   /* likewise, of those with computing */
#define CALM_MS       30   /* before trips: what looks for the next token is asleep by then */
#define ALLOWED       1.3  /* round trips that a split token may cost beside the model */
#define WORD          " a" /* prompts are made of */

/* How much had been measured when a round ended. */
struct marks {
	size_t tokens, alone, trips;
};

struct bench_split {
	/* asked for */
	struct split_rig_conf rig_conf;
	const char *prompts_path; /* NULL: all are the same */
	const char *trace;        /* file for our trace; NULL: none */
	uint32_t prompt, tokens, rounds;
	enum kv_type kv;
	bool has_split, json;

	/* at work */
	struct split_rig *rig;
	struct gguf *gguf;
	uint32_t n_layers;
	struct bus_trip *trip;
	struct config_agent agent_conf;
	struct agent *agent;
	char *text; /* of the prompt, unless there is a file */
	struct prompts prompts;
	uint32_t round;         /* 0: the session of one token */
	bool alone_now;         /* the session that runs is not split */
	bool second;            /* it is the second one of the round */
	uint64_t piece_us;      /* when the last piece came; 0: none of this session */
	struct msg_stats first; /* of the session of one token */
	struct err failed;

	/* found; times in ms */
	double *token, *alone, *round_trip; /* [n_...], of sessions after round 0 */
	double *busy_trip;                  /* [n_busy] where both ends compute before they send */
	size_t n_tokens, n_alone, n_trips, n_busy;
	struct marks marks[ROUNDS_MAX + 1]; /* [0]: none yet; one per round */
	double ttft[ROUNDS_MAX], alone_ttft[ROUNDS_MAX], tok_s[ROUNDS_MAX];
	double mean[ROUNDS_MAX], alone_mean[ROUNDS_MAX]; /* of a session's tokens */
	struct msg_stats last;
	double bytes_up, bytes_down;         /* per token */
	uint64_t ahead, drafts, right, rows; /* msg_stats; of all rows but those of prompts */
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

/* No session has what another one of its round has: it would be guessed by that. The one of one
 * token has that of the first round, so that both tell what a token's bytes are. */
static const char *text_of(const struct bench_split *b)
{
	const size_t i = 2 * (size_t)(b->round ? b->round - 1 : 0) + b->alone_now;

	return b->prompts.n ? b->prompts.texts[i % b->prompts.n] : b->text;
}

static int send_prompt(struct bench_split *b)
{
	struct msg_prompt m = { .raw = !b->prompts.n,
				.stream = true,
				.prompt = strdup(text_of(b)) };

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

	if (b->round && b->piece_us && *n < (size_t)b->rounds * b->tokens) {
		ms[(*n)++] = (double)(now - b->piece_us) / 1000;
		trace_span(b->alone_now ? "whole token" : "token", b->piece_us, now, b->round);
	}
	b->piece_us = now;
}

/* Bare ones, and such as a token has: each end computes before it sends while the other sleeps. */
static int measure_trips(struct bench_split *b)
{
	const struct timespec calm = { .tv_nsec = CALM_MS * 1000000 };
	struct bus_trip_conf c = {
		.there = b->bytes_up > 4 ? (size_t)(b->bytes_up + 0.5) : 4,
		.back = b->bytes_down > 4 ? (size_t)(b->bytes_down + 0.5) : 4,
	};
	double *bare = b->round_trip + b->n_trips, *busy = b->busy_trip + b->n_busy;
	int rc;

	nanosleep(&calm, NULL);
	rc = bus_trip_measure(b->trip, &c, TRIPS, bare, &b->failed);
	c.busy_us = (uint32_t)((b->last.head_ms + b->last.worker_ms) / 2 * 1000);
	if (!rc)
		rc = bus_trip_measure(b->trip, &c, BUSY_TRIPS, busy, &b->failed);
	if (rc)
		return rc;
	for (unsigned i = 0; i < TRIPS; i++)
		bare[i] /= 1000;
	for (unsigned i = 0; i < BUSY_TRIPS; i++)
		busy[i] /= 1000;
	b->n_trips += TRIPS;
	b->n_busy += BUSY_TRIPS;
	return 0;
}

static void keep(struct bench_split *b, const struct msg_stats *s)
{
	if (!b->round && !b->alone_now)
		b->first = *s;
	if (b->round && b->alone_now) {
		b->alone_ttft[b->round - 1] = s->ttft_ms;
		b->alone_mean[b->round - 1] = 1000 / s->tok_s;
	}
	if (!b->round || b->alone_now)
		return;
	b->last = *s;
	b->ahead += s->ahead;
	b->drafts += s->drafts;
	b->right += s->drafts_right;
	b->rows += s->tokens - 1;
	b->ttft[b->round - 1] = s->ttft_ms;
	b->tok_s[b->round - 1] = s->tok_s;
	b->mean[b->round - 1] = 1000 / s->tok_s;
	if (b->round > 1 && b->prompts.n)
		return;
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
	b->second = !b->second;
	b->alone_now = !b->alone_now;
	if (b->second)
		return 0;
	rc = b->round ? measure_trips(b) : 0;
	b->marks[b->round] = (struct marks){ b->n_tokens, b->n_alone, b->n_trips };
	b->round++;
	b->alone_now = b->round % 2; /* the kinds begin in turn: what was before may matter */
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
	b->busy_trip = malloc((size_t)b->rounds * BUSY_TRIPS * sizeof(double));
	if (!b->token || !b->alone || !b->round_trip || !b->busy_trip)
		return err_set(e, ERR_NOMEM, "out of memory");
	rc = agent_create(&b->agent, &b->agent_conf, on_reply, b, e);
	if (!rc && send_prompt(b))
		rc = ERR_NOMEM;
	if (!rc)
		rc = agent_run(b->agent, NULL, e);
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
	rc = b->prompts_path ? prompts_read(&b->prompts, b->prompts_path, e) : make_prompt(b, e);
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
	struct spread token, alone, mean, alone_mean, trip, busy_trip, ttft, alone_ttft, tok_s;
	double beyond, low, high; /* of the rounds; low, high: interval of the median */
	bool has_interval;
};

/* What one round says, which was measured within seconds: what else runs changes more slowly. */
static double beyond_of(struct bench_split *b, uint32_t round)
{
	const struct marks *from = &b->marks[round - 1], *to = &b->marks[round];
	const struct spread token = spread_of(b->token + from->tokens, to->tokens - from->tokens);
	const struct spread alone = spread_of(b->alone + from->alone, to->alone - from->alone);
	const struct spread trip = spread_of(b->round_trip + from->trips, to->trips - from->trips);

	/* Tokens that were guessed come at once, others late: their middle says nothing. */
	if (b->rig_conf.run_ahead)
		return b->mean[round - 1] - b->alone_mean[round - 1] - ALLOWED * trip.median;
	return token.median - alone.median - ALLOWED * trip.median;
}

static void conclude_rounds(struct bench_split *b, struct result *r)
{
	double beyond[ROUNDS_MAX];

	for (uint32_t i = 1; i <= b->rounds; i++)
		beyond[i - 1] = beyond_of(b, i);
	r->beyond = spread_of(beyond, b->rounds).median;
	r->has_interval = spread_interval(beyond, b->rounds, &r->low, &r->high);
}

static const char *verdict(const struct result *r)
{
	if (!r->has_interval)
		return "too few rounds to say whether it holds";
	return r->high <= 0 ? "holds" : r->low > 0 ? "does not hold" : "undecided";
}

static struct result conclude(struct bench_split *b)
{
	struct result r = { 0 };

	conclude_rounds(b, &r); /* before all rounds are sorted together */
	r = (struct result){
		.beyond = r.beyond,
		.low = r.low,
		.high = r.high,
		.has_interval = r.has_interval,
		.token = spread_of(b->token, b->n_tokens),
		.alone = spread_of(b->alone, b->n_alone),
		.mean = spread_of(b->mean, b->rounds),
		.alone_mean = spread_of(b->alone_mean, b->rounds),
		.trip = spread_of(b->round_trip, b->n_trips),
		.busy_trip = spread_of(b->busy_trip, b->n_busy),
		.ttft = spread_of(b->ttft, b->rounds),
		.alone_ttft = spread_of(b->alone_ttft, b->rounds),
		.tok_s = spread_of(b->tok_s, b->rounds),
	};
	return r;
}

static void print_spread(const char *what, const struct spread *s)
{
	printf("%-22s %10.3f %10.3f %10.3f %10.3f\n", what, s->median, s->p95, s->min, s->max);
}

static double share(const struct bench_split *b, uint64_t n)
{
	return b->rows ? (double)n / (double)b->rows : 0;
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
	print_spread("mean of a session", &r->mean);
	print_spread("mean, whole model", &r->alone_mean);
	print_spread("bare round trip", &r->trip);
	print_spread("after computing", &r->busy_trip);
	print_spread("first token", &r->ttft);
	print_spread("first token, whole", &r->alone_ttft);
	printf("\n%.2f tokens/s; %.0f bytes up and %.0f down a token; beyond: %.3f ms",
	       r->tok_s.median, b->bytes_up, b->bytes_down, r->beyond);
	if (r->has_interval)
		printf(" (%.3f to %.3f)", r->low, r->high);
	printf(": %s\n", verdict(r));
	printf("mean of the last session: agent's layers %.2f, encode %.2f, wire and broker %.2f, "
	       "worker %.2f and its queue %.2f, other %.2f ms\n",
	       s->head_ms, s->encode_ms, s->wire_ms, s->worker_ms, s->worker_queue_ms, s->other_ms);
	if (c->run_ahead)
		printf("of 100 rows %.1f had run ahead on a guess; %.1f drafts, of which %.1f were "
		       "right\n",
		       100 * share(b, b->ahead), 100 * share(b, b->drafts),
		       100 * share(b, b->right));
}

static int print_json(const struct bench_split *b, const struct result *r, struct err *e)
{
	const struct split_rig_conf *c = &b->rig_conf;
	struct json *root = json_object();

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
	spread_add_json(root, "session_token_ms", &r->mean, true);
	spread_add_json(root, "whole_session_token_ms", &r->alone_mean, true);
	spread_add_json(root, "round_trip_ms", &r->trip, true);
	spread_add_json(root, "busy_round_trip_ms", &r->busy_trip, true);
	spread_add_json(root, "ttft_ms", &r->ttft, false);
	spread_add_json(root, "whole_ttft_ms", &r->alone_ttft, false);
	json_add_f64(root, "bytes_up", b->bytes_up);
	json_add_f64(root, "bytes_down", b->bytes_down);
	json_add_f64(root, "ahead_share", share(b, b->ahead));
	json_add_f64(root, "drafts_share", share(b, b->drafts));
	json_add_f64(root, "drafts_right_share", share(b, b->right));
	json_add_f64(root, "beyond_ms", r->beyond);
	if (r->has_interval) {
		json_add_f64(root, "beyond_ms_low", r->low);
		json_add_f64(root, "beyond_ms_high", r->high);
	}
	return cmd_print_json(root, e);
}

static int measure(struct bench_split *b, struct err *e)
{
	struct result result;
	int rc = start(b, e);

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
	prompts_free(&b->prompts);
	free(b->token);
	free(b->alone);
	free(b->round_trip);
	free(b->busy_trip);
	return rc;
}

/* Writes the traces of both. */
static int run(struct bench_split *b, struct err *e)
{
	char worker[CONFIG_PATH_MAX];
	int rc = b->trace ? trace_open(b->trace, NAME, e) : 0;

	log_set_level(LOG_LEVEL_ERROR);
	snprintf(worker, sizeof(worker), "%s.worker", b->trace ? b->trace : "");
	if (b->trace)
		b->rig_conf.trace = worker;
	if (!rc)
		rc = measure(b, e);
	return trace_close(rc ? NULL : e) && !rc ? ERR_IO : rc;
}

#define TEXT(field)        OPTIONS_TEXT(struct bench_split, rig_conf.field)
#define U32(field, lo, hi) OPTIONS_U32(struct bench_split, field, lo, hi)
#define MS(field, hi)      OPTIONS_SCALED_U32(struct bench_split, rig_conf.link.field, 0, hi, 1000)
#define KBIT(field, hi)    OPTIONS_SCALED_U64(struct bench_split, rig_conf.link.field, 0, hi, 1000)

static const struct options_row options[] = {
	{ 'm', "model", "FILE", TEXT(model), .help = "GGUF file",
	  .preset = DEFAULT_MODEL ", below where you are" },
	{ 0, "split", "L", U32(rig_conf.split, 0, 4095), .help = "layers of the agent",
	  .preset = "half", .given = OPTIONS_GIVEN(struct bench_split, has_split) },
	{ 't', "threads", "N", U32(rig_conf.threads, 1, 64), .help = "threads of each side" },
	{ 'p', "prompt", "N", U32(prompt, 1, 1 << 17), .unit = "tokens",
	  .help = "length of the prompt, about" },
	{ 0, "prompts", "FILE", OPTIONS_TEXT(struct bench_split, prompts_path),
	  .help = "prompts of other lengths: JSON lines with a key \"prompt\"",
	  .preset = "one word again and again" },
	{ 'n', "tokens", "N", U32(tokens, 3, TOKENS_MAX), .unit = "tokens",
	  .help = "length of an answer" },
	{ 'r', "repeat", "N", U32(rounds, 1, ROUNDS_MAX), .help = "sessions of each kind" },
	{ 0, "codec", "SPEC", OPTIONS_TAKEN(struct bench_split, rig_conf.codec, cmd_take_codec),
	  .help = "how rows cross", .preset = "tabq" },
	{ 0, "kv", "TYPE", OPTIONS_TAKEN(struct bench_split, kv, cmd_take_kv),
	  .help = "of the caches: " KV_TYPE_WORDS, .preset = "f16" },
	{ 0, "delay-ms", "D", MS(delay_us, 60000), .unit = "ms",
	  .help = "delay of the link between agent and broker, one way" },
	{ 0, "jitter-ms", "J", MS(jitter_us, 60000), .unit = "ms",
	  .help = "more than that, at random" },
	{ 0, "rate-kbit", "R", KBIT(rate_bit_s, 100000000), .unit = "kbit/s",
	  .help = "rate of each direction; 0: no limit" },
	{ 0, "spin-us", "N", U32(rig_conf.spin_us, 0, 10000), .unit = "us",
	  .help = "spin_us of both sides", .preset = "theirs",
	  .given = OPTIONS_GIVEN(struct bench_split, rig_conf.has_spin) },
	{ 0, "run-ahead", NULL, OPTIONS_FLAG(struct bench_split, rig_conf.run_ahead),
	  .help = "layers for a guessed token run meanwhile (the prompt is one that is easy to "
		  "guess)" },
	{ 0, "drafts", "N", U32(rig_conf.drafts, 0, 4),
	  .help = "with --run-ahead: rows that may go out before their token is known" },
	{ 0, "trace", "FILE", OPTIONS_TEXT(struct bench_split, trace),
	  .help = "write a Chrome trace of the agent, and FILE.worker of the worker" },
	{ 0, "json", NULL, OPTIONS_FLAG(struct bench_split, json),
	  .help = "one line of JSON instead of text" },
};

const struct options_table bench_split_options = {
	.program = "splitmq " NAME,
	.summary = "a whole split session, over a slow link or none",
	.synopsis = "[-m FILE] [OPTIONS]",
	OPTIONS_ROWS(options),
	.notes = "Starts a private mosquitto and splitmq-worker; this process is the agent. "
		 "Sessions, sessions that are not split (the agent runs the whole model), bare "
		 "round trips of as many bytes, and such where each end computes before it sends, "
		 "as long as its layers take, take turns. \"beyond\" is what a split token takes "
		 "more than a whole one and 1.3 bare round trips (by medians; with --run-ahead by "
		 "sessions' means): the middle of what each round "
		 "says, with an interval that has its median in 95 % of such runs (from 6 rounds "
		 "on). For models that compute long: many rounds, a short prompt (-p 8 -n 16).",
};

int bench_split(int argc, char **argv)
{
	struct bench_split b = {
		.rig_conf = { .model = DEFAULT_MODEL, .codec = "tabq", .threads = 1 },
		.kv = KV_F16,
		.prompt = 128,
		.tokens = 64,
		.rounds = 3,
	};
	struct err e;
	int rc = options_read(&bench_split_options, &b, argc, argv);

	if (rc != OPTIONS_GO_ON)
		return rc;
	b.rig_conf.kv = kv_type_name(b.kv);
	b.rig_conf.link.seed = 1;
	return run(&b, &e) ? cmd_fail(NAME, &e) : CMD_OK;
}
