/* tools/cmd_run.c - one prompt over the bus, through the agent's daemon or in its place. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/rng.h"
#include "base/trace.h"
#include "codec/codec.h"
#include "daemon/daemon.h"
#include "schema/utf8.h"
#include "tools/cmd.h"
#include "tools/commands.h"
#include "tools/run.h"

#define NAME "run"

/* As given; has_...: else what the configuration or the decision says. */
struct request {
	struct run *run;
	const char *config, *prompt, *trace;
	double temperature, top_p, min_p, repeat_penalty;
	uint64_t seed;
	uint32_t max_tokens, top_k, split, timeout_s;
	bool has_temperature, has_top_k, has_top_p, has_min_p, has_penalty, has_seed, has_split;
	bool raw, in_process, json;
};

static int take_codec(void *place, const char *text, struct err *e)
{
	struct msg_prompt *p = &((struct request *)place)->run->prompt;
	const char *codec;
	int rc = strlen(text) < sizeof(p->codec) ? cmd_take_codec(&codec, text, e)
						 : err_set(e, ERR_LIMIT, "is too long");

	if (!rc)
		memcpy(p->codec, text, strlen(text) + 1);
	return rc;
}

static int take_kv(void *place, const char *text, struct err *e)
{
	struct msg_prompt *p = &((struct request *)place)->run->prompt;
	enum kv_type type;
	int rc = cmd_take_kv(&type, text, e);

	if (!rc)
		memcpy(p->kv, text, strlen(text) + 1);
	return rc;
}

static int take_class(void *place, const char *text, struct err *e)
{
	struct msg_prompt *p = &((struct request *)place)->run->prompt;

	if (!text[0] || msg_class_parse(&p->class, text))
		return err_set(e, ERR_USAGE, "must be " MSG_CLASS_WORDS ", not \"%s\"", text);
	return 0;
}

#define TEXT(field)        OPTIONS_TEXT(struct request, field)
#define FLAG(field)        OPTIONS_FLAG(struct request, field)
#define U32(field, lo, hi) OPTIONS_U32(struct request, field, lo, hi)
#define F64(field, lo, hi) OPTIONS_F64(struct request, field, lo, hi)
#define GIVEN(field)       .given = OPTIONS_GIVEN(struct request, field)
#define CONFIGURED         .preset = "as configured"
#define DECIDED            .preset = "as decided"

static const struct options_row options[] = {
	{ 'c', "config", "FILE", TEXT(config), .needed = true,
	  .help = "configuration of the agent" },
	{ 'p', "prompt", "TEXT", TEXT(prompt), .needed = true, .help = "what to say to the model" },
	{ 'n', "max-tokens", "N", U32(max_tokens, 1, 1 << 20), CONFIGURED,
	  .help = "longest answer" },
	{ 0, "temp", "T", F64(temperature, 0, 10), GIVEN(has_temperature), CONFIGURED,
	  .help = "temperature; 0 is greedy" },
	{ 0, "top-k", "K", U32(top_k, 0, 1 << 20), GIVEN(has_top_k), CONFIGURED,
	  .help = "draw from the K likeliest; 0 is off" },
	{ 0, "top-p", "P", F64(top_p, 0.0001, 1), GIVEN(has_top_p), CONFIGURED,
	  .help = "draw from the fewest that reach probability P" },
	{ 0, "min-p", "P", F64(min_p, 0, 0.9999), GIVEN(has_min_p), CONFIGURED,
	  .help = "drop those less likely than P times the likeliest" },
	{ 0, "repeat-penalty", "R", F64(repeat_penalty, 0.01, 10), GIVEN(has_penalty), CONFIGURED,
	  .help = "divide logits of recent tokens by R" },
	{ 0, "seed", "S", OPTIONS_U64(struct request, seed, 0, (1ull << 53) - 1), GIVEN(has_seed),
	  .help = "of the draws", .preset = "random" },
	{ 0, "split", "L", U32(split, 0, 4096), GIVEN(has_split), DECIDED,
	  .help = "layers on the gateway" },
	{ 0, "codec", "SPEC", OPTIONS_TAKEN_ALL(take_codec), DECIDED,
	  .help = "how rows cross: f32, f16, q8, q4, tabq:... (docs/codec.md)" },
	{ 0, "kv", "TYPE", OPTIONS_TAKEN_ALL(take_kv), DECIDED,
	  .help = "KV caches of both sides: " KV_TYPE_WORDS },
	{ 0, "class", "WORD", OPTIONS_TAKEN_ALL(take_class), CONFIGURED,
	  .help = MSG_CLASS_WORDS ": bulk ones wait at a worker for the others" },
	{ 0, "raw", NULL, FLAG(raw), .help = "do not apply the model's chat template" },
	{ 0, "timeout", "S", U32(timeout_s, 0, 86400), .unit = "seconds", .help = "when to give up",
	  .preset = "timeouts.session_ms" },
	{ 0, "in-process", NULL, FLAG(in_process),
	  .help = "be the agent, whatever runs already: a daemon of that name is thrown off the "
		  "broker meanwhile" },
	{ 0, "trace", "FILE", TEXT(trace),
	  .help = "write where the time of each token went, as a Chrome trace" },
	{ 0, "json", NULL, FLAG(json), .help = "one JSON object instead of text" },
};

const struct options_table cmd_run_options = {
	.program = "splitmq " NAME,
	.summary = "one prompt over the bus, through an agent",
	.synopsis = "-c AGENT.yaml -p TEXT [OPTIONS]",
	.about =
		"The prompt goes to the agent's daemon when that is running, else this process "
		"takes the agent's place. Text is streamed to stdout, a summary follows on stderr.",
	OPTIONS_ROWS(options),
};

/* What was asked for -> the prompt that is sent; CMD_OK, CMD_USAGE or CMD_FAILED. */
static int apply(const struct request *q)
{
	struct run *r = q->run;
	struct msg_prompt *p = &r->prompt;

	p->prompt_len = strlen(q->prompt);
	if (!p->prompt_len || p->prompt_len > MSG_PROMPT_MAX)
		return options_wrong(&cmd_run_options, "--prompt must be 1..%d bytes of text",
				     MSG_PROMPT_MAX);
	if (!utf8_is_valid(q->prompt))
		return options_wrong(&cmd_run_options, "--prompt is not UTF-8");
	p->prompt = strdup(q->prompt);
	if (!p->prompt)
		return cmd_fail(NAME, &(struct err){ ERR_NOMEM, "out of memory" });
	p->max_tokens = q->max_tokens;
	p->raw = q->raw;
	p->deadline_ms = q->timeout_s * 1000;
	p->has_split = q->has_split;
	p->split = q->split;
	p->given = (q->has_temperature ? MSG_TEMPERATURE : 0) | (q->has_top_k ? MSG_TOP_K : 0) |
		   (q->has_top_p ? MSG_TOP_P : 0) | (q->has_min_p ? MSG_MIN_P : 0) |
		   (q->has_penalty ? MSG_REPEAT_PENALTY : 0) | (q->has_seed ? MSG_SEED : 0);
	p->sampling = (struct msg_sampling){ .temperature = q->temperature,
					     .top_k = q->top_k,
					     .top_p = q->top_p,
					     .min_p = q->min_p,
					     .repeat_penalty = q->repeat_penalty,
					     .seed = q->seed };
	r->json = q->json;
	r->local = q->in_process;
	r->trace = q->trace;
	return CMD_OK;
}

static int answer(struct run *r)
{
	struct err e = { 0 }, bad = { 0 };
	int rc = r->trace ? trace_open(r->trace, "splitmq run", &e) : 0;

	if (rc)
		return cmd_fail(NAME, &e);
	rc = r->local ? ERR_NOT_FOUND : run_remote(r, &e);
	if (rc == ERR_NOT_FOUND && !r->local)
		fprintf(stderr, "splitmq run: %s: taking its place\n", e.text);
	if (rc == ERR_NOT_FOUND)
		rc = run_in_process(r, &e);
	if (trace_close(&bad) && !rc)
		rc = (e = bad).code;
	if (rc)
		return cmd_fail(NAME, &e);
	return r->error ? CMD_FAILED : CMD_OK;
}

static int load(struct run *r, const char *config)
{
	struct err e = { 0 };

	if (config_load_agent(&r->conf, config, &e))
		return cmd_fail(NAME, &e);
	config_warn_environment(stderr);
	snprintf(r->prompt.id, sizeof(r->prompt.id), "run-%08x", (unsigned)rng_entropy());
	r->prompt.stream = !r->json;
	log_set_level(LOG_LEVEL_ERROR);
	return 0;
}

int cmd_run(int argc, char **argv)
{
	static struct run r; /* configuration: too large for a stack */
	struct request q = { .run = &r };
	int rc = options_read(&cmd_run_options, &q, argc, argv);

	if (rc != OPTIONS_GO_ON)
		return rc;
	rc = apply(&q);
	daemon_block_signals();
	if (!rc)
		rc = load(&r, q.config);
	if (!rc)
		rc = answer(&r);
	free(r.prompt.prompt);
	return rc;
}
