/* tools/bench_handover.c - how long the longest gap between two tokens is while the split moves.
 *
 * Each session begins where the one before ended, and a decision in its middle makes one change of
 * the tour: the split two layers up, back, two down, back, to no worker at all, and back; or what
 * --tour says: other splits, KV types of the agent, another front. What the session's other gaps
 * are is measured in the same session. */
#include "tools/bench_handover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "base/clock.h"
#include "base/kv_type.h"
#include "base/log.h"
#include "base/trace.h"
#include "bus/bus.h"
#include "codec/spec.h"
#include "engine/gguf.h"
#include "engine/model.h"
#include "schema/json.h"
#include "tools/cmd.h"
#include "tools/gaps.h"
#include "tools/split_rig.h"
#include "tools/spread.h"

#define NAME          "bench handover"
#define DEFAULT_MODEL "models/gateway.gguf"
#define TOKENS_MAX    4096
#define ROUNDS_MAX    100
#define STOPS_MAX     16
#define CALM          32 /* gaps before the decision */
#define AFTER         4  /* gaps that count, once it has changed */
#define KV_GAPS       8  /* within which a KV type has changed: a decision takes a token or two */
#define OTHER         "other"
#define DECISION      "splitmq/v1/bench/decision/agent"

/* What a decision says, and what it changes. */
struct stop {
	char name[KV_TYPE_MAX]; /* of the change: a split, a KV type, or OTHER or its opposite */
	uint32_t split;
	char kv[KV_TYPE_MAX]; /* empty: as configured, like the next */
	char front[MSG_FRONT_MAX];
};

struct move {
	const struct stop *from, *to;
	double pause[ROUNDS_MAX]; /* longest gap after the decision; in gaps of the slower split */
	double turn[ROUNDS_MAX];  /* the gap in which the split moved; likewise */
	double still[ROUNDS_MAX]; /* longest of as many afterwards; in their median */
	double gap_ms[ROUNDS_MAX], longest_ms[ROUNDS_MAX], turn_ms[ROUNDS_MAX];
	unsigned moved; /* sessions in which it did change */
};

struct bench_handover {
	struct split_rig_conf rig_conf;
	uint32_t prompt, tokens, rounds;
	bool has_split, json;
	const char *trace, *tour, *front;

	struct split_rig *rig;
	struct config_agent agent_conf;
	struct agent *agent;
	struct bus *coordinator;
	struct stop stops[STOPS_MAX + 1]; /* of the tour; the last one is the first */
	unsigned n_stops;
	uint32_t session; /* round * n_stops + stop */
	uint64_t piece_us;
	uint32_t piece_tokens;     /* that the answer had then */
	double gaps[TOKENS_MAX];   /* ms, of the session */
	uint32_t more[TOKENS_MAX]; /* tokens without text that came in a gap besides */
	uint32_t n_gaps, moved_at; /* moved_at: of them, when the split had moved; 0: not yet */
	struct move moves[STOPS_MAX];
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
	const struct stop *to = &b->stops[b->session % b->n_stops + 1];
	struct msg m = { .type = MSG_DECISION,
			 .u.decision = {
				 .agent = "agent", .number = b->session + 1, .split = to->split } };
	char *text = NULL;
	size_t len;
	int rc;

	memcpy(m.u.decision.kv, to->kv, sizeof(m.u.decision.kv));
	memcpy(m.u.decision.front, to->front, sizeof(m.u.decision.front));
	rc = msg_print(&m, &text, &len);
	if (!rc)
		rc = bus_publish(b->coordinator, &(struct bus_publish){ .topic = DECISION,
									.payload = text,
									.len = len,
									.qos = 1 });
	free(text);
	if (rc)
		err_set(&b->failed, rc, "the decision could not be published");
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

/* Gaps from the decision to a little behind the change. */
static uint32_t end_of(const struct bench_handover *b, const struct move *m)
{
	const uint32_t at = m->from->split != m->to->split        ? b->moved_at
			    : strcmp(m->from->kv, m->to->kv) != 0 ? CALM + KV_GAPS
								  : 0;

	return at && at + AFTER < b->n_gaps ? at + AFTER : b->n_gaps;
}

static bool has_moved(const struct move *m, const struct msg_stats *st)
{
	if (m->from->split != m->to->split)
		return st->handovers > 0;
	if (strcmp(m->from->kv, m->to->kv) != 0)
		return !m->to->kv[0] || !strcmp(st->kv, m->to->kv);
	return (m->to->front[0] != '\0') == !strcmp(st->front, OTHER);
}

static int take_session(struct bench_handover *b, const struct msg_reply *reply)
{
	struct move *m = &b->moves[b->session % b->n_stops];
	const uint32_t before = CALM, round = b->session / b->n_stops;
	const uint32_t end = end_of(b, m);
	const uint32_t n = b->n_gaps - end < end - before ? b->n_gaps - end : end - before;

	if (reply->error)
		return err_set(&b->failed, reply->error, "the session failed: %s", reply->reason);
	if (b->n_gaps < before + 2)
		return err_set(&b->failed, ERR_STATE, "the model ended its answer too soon");
	gaps_take_out(b->gaps, b->more, b->n_gaps);
	m->longest_ms[round] = longest_of(b->gaps + before, end - before);
	m->turn_ms[round] = b->moved_at ? b->gaps[b->moved_at - 1] : 0;
	m->gap_ms[round] = spread_of(b->gaps, before).median;
	m->still[round] = n ? longest_of(b->gaps + end, n) / spread_of(b->gaps + end, n).median : 0;
	m->moved += has_moved(m, &reply->stats);
	return b->failed.code;
}

static void on_reply(void *ctx, const struct msg_reply *reply)
{
	struct bench_handover *b = ctx;

	if (!reply->done) {
		take_piece(b, reply);
		return;
	}
	if (take_session(b, reply) || ++b->session == b->rounds * b->n_stops || send_prompt(b))
		agent_stop(b->agent);
}

/* One more stop, which differs from the one before in what the word says. */
static int add_stop(struct bench_handover *b, const char *word, size_t len, uint32_t layers,
		    struct err *e)
{
	struct stop *st = &b->stops[b->n_stops];
	enum kv_type type;
	char *end;

	if (b->n_stops == STOPS_MAX)
		return err_set(e, ERR_LIMIT, "--tour has more than %u stops", STOPS_MAX);
	if (b->n_stops)
		*st = st[-1];
	if (len >= sizeof(st->name))
		return err_set(e, ERR_CONFIG, "--tour: %.*s is no stop", (int)len, word);
	snprintf(st->name, sizeof(st->name), "%.*s", (int)len, word);
	b->n_stops++;
	if (!kv_type_parse(&type, st->name)) {
		memcpy(st->kv, st->name, sizeof(st->kv));
		return 0;
	}
	if (b->front && (!strcmp(st->name, OTHER) || !strcmp(st->name, "first"))) {
		snprintf(st->front, sizeof(st->front), "%s", st->name[0] == 'o' ? OTHER : "");
		return 0;
	}
	st->split = (uint32_t)strtoul(st->name, &end, 10);
	if (*end || st->name[0] < '0' || st->name[0] > '9' || st->split > layers)
		return err_set(e, ERR_CONFIG,
			       "--tour: %s is no split up to %u, no KV type (" KV_TYPE_WORDS
			       "), and not " OTHER " or first of --front",
			       st->name, (unsigned)layers);
	return 0;
}

/* The way back to the first stop included. */
static int read_tour(struct bench_handover *b, const char *text, uint32_t layers, struct err *e)
{
	char start[16];
	bool types = false;
	int rc;

	snprintf(start, sizeof(start), "%u", (unsigned)b->rig_conf.split);
	rc = add_stop(b, start, strlen(start), layers, e);
	while (!rc && *text) {
		const size_t len = strcspn(text, ",");

		rc = add_stop(b, text, len, layers, e);
		text += len + (text[len] == ',');
	}
	if (rc)
		return rc;
	if (b->n_stops < 2)
		return err_set(e, ERR_CONFIG, "--tour goes nowhere");
	for (unsigned i = 0; i < b->n_stops; i++) /* else there would be no way back */
		types |= b->stops[i].kv[0];
	for (unsigned i = 0; i < b->n_stops && types; i++) {
		if (!b->stops[i].kv[0])
			snprintf(b->stops[i].kv, sizeof(b->stops[i].kv), "%s", b->rig_conf.kv);
	}
	b->stops[b->n_stops] = b->stops[0];
	for (unsigned i = 0; i < b->n_stops; i++) {
		b->moves[i].from = &b->stops[i];
		b->moves[i].to = &b->stops[i + 1];
	}
	return 0;
}

static int plan(struct bench_handover *b, struct err *e)
{
	struct split_rig_conf *c = &b->rig_conf;
	struct model_hparams hp;
	struct gguf *g = NULL;
	char usual[80];
	uint32_t s;
	int rc = gguf_open(&g, c->model, e);

	if (!rc)
		rc = model_read_hparams(&hp, g, e);
	gguf_close(g);
	if (rc)
		return rc;
	s = b->has_split ? c->split : hp.n_layers / 2;
	if (!b->tour && (s < 2 || s + 2 >= hp.n_layers))
		return err_set(e, ERR_LIMIT, "--split %u of %u layers has no room to move",
			       (unsigned)s, (unsigned)hp.n_layers);
	c->split = s;
	c->any_split = true;
	c->context_tokens = 2 * b->prompt + b->tokens + 64;
	snprintf(usual, sizeof(usual), "%u,%u,%u,%u,%u", (unsigned)s + 2, (unsigned)s,
		 (unsigned)s - 2, (unsigned)s, (unsigned)hp.n_layers);
	return read_tour(b, b->tour ? b->tour : usual, hp.n_layers, e);
}

static int run_sessions(struct bench_handover *b, struct err *e)
{
	const struct bus_conf conf = { .host = "127.0.0.1",
				       .port = split_rig_port(b->rig),
				       .client_id = "bench-coordinator" };
	int rc;

	if (b->front)
		b->agent_conf.n_fronts = 1;
	snprintf(b->agent_conf.fronts[0].front, sizeof(b->agent_conf.fronts[0].front), OTHER);
	snprintf(b->agent_conf.fronts[0].model, sizeof(b->agent_conf.fronts[0].model), "%s",
		 b->front ? b->front : "");
	rc = bus_mqtt_open(&b->coordinator, &conf, ignore, NULL, e);

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
	printf("%-14s %8s %10s %12s %8s %8s %8s %8s %8s\n", "change", "moved", "gap ms",
	       "longest ms", "pause", "min", "max", "turn", "still");
	for (unsigned i = 0; i < b->n_stops; i++) {
		struct move *m = &b->moves[i];
		const struct spread p = spread_of(m->pause, b->rounds);

		printf("%5s -> %-5s %5u/%-2u %10.3f %12.3f %8.2f %8.2f %8.2f %8.2f %8.2f\n",
		       m->from->name, m->to->name, m->moved, (unsigned)b->rounds,
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
	for (unsigned i = 0; i < b->n_stops; i++) {
		struct json *o = json_push_object(list);
		struct spread p = spread_of(b->moves[i].pause, b->rounds);

		json_add_str(o, "from", b->moves[i].from->name);
		json_add_str(o, "to", b->moves[i].to->name);
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
	for (unsigned i = 0; i < b->n_stops; i++) {
		struct move *m = &b->moves[i];
		const struct move *there = &b->moves[(i + 1) % b->n_stops];

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
	{ 0, "tour", "LIST", OPTIONS_TEXT(struct bench_handover, tour),
	  .help = "what changes, in order: splits, KV types of the agent (" KV_TYPE_WORDS
		  "), other and first for --front; then all that is undone at once",
	  .preset = "L+2,L,L-2,L, and no worker" },
	{ 0, "front", "FILE", OPTIONS_TEXT(struct bench_handover, front),
	  .help = "another precision of the same model, for --tour" },
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
	.summary = "the gap between tokens while the split moves, or something else changes",
	.synopsis = "[-m FILE] [OPTIONS]",
	OPTIONS_ROWS(options),
	.notes =
		"Starts a private mosquitto and splitmq-worker; this process is the agent. In each "
		"session a decision changes one thing; by default the split: two layers up and "
		"back, two down and back, to no worker and back. \"pause\" is the longest gap "
		"between tokens from the decision until 4 tokens after the change (after 12 tokens "
		"for a KV type; to the end of the answer for a front, which is loaded meanwhile), "
		"in "
		"median gaps of the slower of the two, each in a session that began there, at the "
		"same positions (a trip is part of a token there, also for one that comes from no "
		"worker); \"turn\" is the gap in which the split moved. "
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
