/* tools/bench_handover.c - how long the longest gap between two tokens is while the split moves.
 *
 * Each session begins where the one before ended, and a decision in its middle moves the split one
 * step of the tour: two layers up, back, two down, back, to no worker at all, and back. What the
 * session's other gaps are is measured in the same session. */
#include "tools/bench_handover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/trace.h"
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
#define AFTER         4  /* gaps that count, once the split has moved */
#define DECISION      "splitmq/v1/bench/decision/agent"

struct move {
	uint32_t from, to;
	double pause[ROUNDS_MAX]; /* longest gap after the decision; in gaps of the slower split */
	double turn[ROUNDS_MAX];  /* the gap in which the split moved; likewise */
	double still[ROUNDS_MAX]; /* longest of as many afterwards; in their median */
	double gap_ms[ROUNDS_MAX], longest_ms[ROUNDS_MAX], turn_ms[ROUNDS_MAX];
	unsigned moved; /* sessions whose split did move */
};

struct bench_handover {
	struct split_rig_conf rig_conf;
	uint32_t prompt, tokens, rounds;
	bool has_split, json;
	const char *trace;

	struct split_rig *rig;
	struct config_agent agent_conf;
	struct agent *agent;
	struct bus *coordinator;
	uint32_t splits[STOPS + 1]; /* of the tour; the last one is the first */
	uint32_t session;           /* round * STOPS + stop */
	uint64_t piece_us;
	uint32_t piece_tokens;     /* that the answer had then */
	double gaps[TOKENS_MAX];   /* ms, of the session */
	uint32_t more[TOKENS_MAX]; /* tokens without text that came in a gap besides */
	uint32_t n_gaps, moved_at; /* moved_at: of them, when the split had moved; 0: not yet */
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
				/* all tokens are nearly alike, also the one that ends an answer:
				 * it is seldom drawn */
				.sampling = { .temperature = 10, .seed = 3 },
				.prompt = malloc(2 * (size_t)b->prompt + 1) };

	if (!m.prompt)
		return err_set(&b->failed, ERR_NOMEM, "out of memory");
	for (uint32_t i = 0; i <= b->prompt; i++)
		memcpy(m.prompt + 2 * (i < b->prompt ? i : b->prompt - 1), " a", 3);
	snprintf(m.id, sizeof(m.id), "bench-%u", (unsigned)b->session);
	m.prompt_len = strlen(m.prompt);
	b->piece_us = 0;
	b->n_gaps = b->moved_at = 0;
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

static void take_piece(struct bench_handover *b, const struct msg_reply *reply)
{
	const uint64_t now = clock_now_us();

	if (b->piece_us && b->n_gaps < TOKENS_MAX) {
		b->more[b->n_gaps] = reply->stats.tokens - b->piece_tokens - 1;
		b->gaps[b->n_gaps++] = (double)(now - b->piece_us) / 1000;
	}
	b->piece_tokens = reply->stats.tokens;
	trace_span("token", b->piece_us ? b->piece_us : now, now, b->session);
	b->piece_us = now;
	if (b->n_gaps == CALM)
		decide(b);
	if (!b->moved_at && reply->stats.handovers)
		b->moved_at = b->n_gaps;
}

static double longest_of(const double *v, size_t n)
{
	double most = 0;

	for (size_t i = 0; i < n; i++)
		most = v[i] > most ? v[i] : most;
	return most;
}

/* A gap in which more tokens came is as much shorter as they take. */
static void take_out(struct bench_handover *b)
{
	const double usual = spread_of(b->gaps, CALM).median;

	for (uint32_t i = 0; i < b->n_gaps; i++)
		b->gaps[i] -= b->more[i] * usual;
}

static int take_session(struct bench_handover *b, const struct msg_reply *reply)
{
	struct move *m = &b->moves[b->session % STOPS];
	const uint32_t before = CALM, round = b->session / STOPS;
	const uint32_t end =
		b->moved_at && b->moved_at + AFTER < b->n_gaps ? b->moved_at + AFTER : b->n_gaps;
	const uint32_t n = b->n_gaps - end < end - before ? b->n_gaps - end : end - before;

	if (reply->error)
		return err_set(&b->failed, reply->error, "the session failed: %s", reply->reason);
	if (b->n_gaps < before + 2)
		return err_set(&b->failed, ERR_STATE, "the model ended its answer too soon");
	take_out(b);
	m->longest_ms[round] = longest_of(b->gaps + before, end - before);
	m->turn_ms[round] = b->moved_at ? b->gaps[b->moved_at - 1] : 0;
	m->gap_ms[round] = spread_of(b->gaps, before).median;
	m->still[round] = n ? longest_of(b->gaps + end, n) / spread_of(b->gaps + end, n).median : 0;
	m->moved += reply->stats.handovers > 0;
	return b->failed.code;
}

static void on_reply(void *ctx, const struct msg_reply *reply)
{
	struct bench_handover *b = ctx;

	if (!reply->done) {
		take_piece(b, reply);
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
		rc = agent_run(b->agent, NULL, e);
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
	printf("%-10s %8s %10s %12s %8s %8s %8s %8s %8s\n", "split", "moved", "gap ms",
	       "longest ms", "pause", "min", "max", "turn", "still");
	for (unsigned i = 0; i < STOPS; i++) {
		struct move *m = &b->moves[i];
		const struct spread p = spread_of(m->pause, b->rounds);

		printf("%3u -> %-3u %5u/%-2u %10.3f %12.3f %8.2f %8.2f %8.2f %8.2f %8.2f\n",
		       (unsigned)m->from, (unsigned)m->to, m->moved, (unsigned)b->rounds,
		       spread_of(m->gap_ms, b->rounds).median,
		       spread_of(m->longest_ms, b->rounds).median, p.median, p.min, p.max,
		       spread_of(m->turn, b->rounds).median, spread_of(m->still, b->rounds).median);
	}
}

static int print_json(struct bench_handover *b, struct err *e)
{
	struct json *root = json_object(), *list;

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
		json_add_f64(o, "turn", spread_of(b->moves[i].turn, b->rounds).median);
		json_add_f64(o, "still", spread_of(b->moves[i].still, b->rounds).median);
	}
	return cmd_print_json(root, e);
}

/* The next stop begins at the split that this one went to. */
static void weigh(struct bench_handover *b)
{
	for (unsigned i = 0; i < STOPS; i++) {
		struct move *m = &b->moves[i];
		const struct move *there = &b->moves[(i + 1) % STOPS];

		for (uint32_t r = 0; r < b->rounds; r++) {
			const double here_ms = m->gap_ms[r], there_ms = there->gap_ms[r];
			const double slower_ms = here_ms > there_ms ? here_ms : there_ms;

			m->pause[r] = m->longest_ms[r] / slower_ms;
			m->turn[r] = m->turn_ms[r] / slower_ms;
		}
	}
}

/* Writes the traces of both. */
static int run_rig(struct bench_handover *b, struct err *e)
{
	char worker[CONFIG_PATH_MAX];
	int rc = b->trace ? trace_open(b->trace, NAME, e) : 0;

	snprintf(worker, sizeof(worker), "%s.worker", b->trace ? b->trace : "");
	if (b->trace)
		b->rig_conf.trace = worker;
	if (!rc)
		rc = split_rig_start(&b->rig, &b->rig_conf, e);
	if (!rc)
		rc = split_rig_agent(b->rig, &b->agent_conf, e);
	if (!rc)
		rc = run_sessions(b, e);
	split_rig_stop(b->rig);
	return trace_close(rc ? NULL : e) && !rc ? ERR_IO : rc;
}

static int run(struct bench_handover *b, struct err *e)
{
	int rc;

	log_set_level(LOG_LEVEL_ERROR);
	rc = plan(b, e);
	if (!rc)
		rc = run_rig(b, e);
	if (!rc)
		weigh(b);
	if (!rc && b->json)
		rc = print_json(b, e);
	else if (!rc)
		print_text(b);
	return rc;
}

#define U32(field, lo, hi) OPTIONS_U32(struct bench_handover, field, lo, hi)

static const struct options_row options[] = {
	{ 'm', "model", "FILE", OPTIONS_TEXT(struct bench_handover, rig_conf.model),
	  .help = "GGUF file", .preset = DEFAULT_MODEL ", below where you are" },
	{ 0, "split", "L", U32(rig_conf.split, 0, 4095),
	  .help = "layers of the agent to begin with", .preset = "half",
	  .given = OPTIONS_GIVEN(struct bench_handover, has_split) },
	{ 't', "threads", "N", U32(rig_conf.threads, 1, 64), .help = "threads of each side" },
	{ 'p', "prompt", "N", U32(prompt, 1, 1 << 17), .unit = "tokens",
	  .help = "length of the prompt, about" },
	{ 'n', "tokens", "N", U32(tokens, 2 * CALM, TOKENS_MAX), .unit = "tokens",
	  .help = "length of an answer; the split moves after 33" },
	{ 'r', "repeat", "N", U32(rounds, 1, ROUNDS_MAX), .help = "tours" },
	{ 0, "codec", "SPEC", OPTIONS_TAKEN(struct bench_handover, rig_conf.codec, cmd_take_codec),
	  .help = "how rows cross", .preset = "tabq" },
	{ 0, "delay-ms", "D",
	  OPTIONS_SCALED_U32(struct bench_handover, rig_conf.link.delay_us, 0, 60000, 1000),
	  .unit = "ms", .help = "delay of the link between agent and broker, one way" },
	{ 0, "rate-kbit", "R",
	  OPTIONS_SCALED_U64(struct bench_handover, rig_conf.link.rate_bit_s, 0, 100000000, 1000),
	  .unit = "kbit/s", .help = "rate of each direction; 0: no limit" },
	{ 0, "trace", "FILE", OPTIONS_TEXT(struct bench_handover, trace),
	  .help = "write a Chrome trace of the agent, and FILE.worker of the worker" },
	{ 0, "json", NULL, OPTIONS_FLAG(struct bench_handover, json),
	  .help = "one line of JSON instead of text" },
};

const struct options_table bench_handover_options = {
	.program = "splitmq " NAME,
	.summary = "the gap between tokens while the split moves",
	.synopsis = "[-m FILE] [OPTIONS]",
	OPTIONS_ROWS(options),
	.notes =
		"Starts a private mosquitto and splitmq-worker; this process is the agent. In each "
		"session a decision moves the split: two layers up and back, two down and back, to "
		"no worker and back. \"pause\" is the longest gap between tokens from the decision "
		"until the split has moved and 4 more are there, in median gaps of the slower of "
		"the two splits, each in a session that began there, at the same positions; "
		"\"turn\" is "
		"the gap in which it moved. "
		"\"still\" is the longest of as many gaps thereafter, in their median, where there "
		"are any.",
};

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
	rc = options_read(&bench_handover_options, b, argc, argv);
	if (rc == OPTIONS_GO_ON)
		rc = run(b, &e) ? cmd_fail(NAME, &e) : CMD_OK;
	free(b);
	return rc;
}
