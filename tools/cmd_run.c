/* tools/cmd_run.c - one prompt over the bus, through the agent's daemon or in its place. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/rng.h"
#include "base/trace.h"
#include "codec/codec.h"
#include "daemon/daemon.h"
#include "tools/cmd.h"
#include "tools/commands.h"
#include "tools/run.h"

const char cmd_run_usage[] =
	"usage: splitmq run -c AGENT.yaml -p TEXT [OPTIONS]\n\n"
	"The prompt goes to the agent's daemon when that is running, else this process takes the\n"
	"agent's place. Text is streamed to stdout, a summary follows on stderr.\n\n"
	"  -c, --config FILE      configuration of the agent\n"
	"  -p, --prompt TEXT      what to say to the model\n"
	"  -n, --max-tokens N     longest answer (default: max_tokens of the configuration)\n"
	"      --temp T           temperature 0..10; 0 is greedy (defaults of these: "
	"configuration)\n"
	"      --top-k K          0 is off\n"
	"      --top-p P\n"
	"      --min-p P\n"
	"      --repeat-penalty R\n"
	"      --seed S           0..2^53-1 (default: random)\n"
	"      --split L          layers on the gateway, instead of the decision's\n"
	"      --codec SPEC       f32, f16 or q8, instead of the decision's\n"
	"      --kv TYPE          KV caches of both sides: " KV_TYPE_WORDS ", likewise\n"
	"      --class WORD       " MSG_CLASS_WORDS " (default: configuration)\n"
	"      --raw              do not apply the model's chat template\n"
	"      --timeout S        give up after S seconds (default: timeouts.session_ms)\n"
	"      --in-process       be the agent, whatever runs already: a daemon of that name is\n"
	"                         thrown off the broker meanwhile\n"
	"      --trace FILE       write where the time of each token went, as a Chrome trace\n"
	"      --json             one JSON object instead of text\n";

enum {
	OPT_TEMP = 256,
	OPT_TOP_K,
	OPT_TOP_P,
	OPT_MIN_P,
	OPT_PENALTY,
	OPT_SEED,
	OPT_SPLIT,
	OPT_CODEC,
	OPT_KV,
	OPT_CLASS,
	OPT_RAW,
	OPT_TIMEOUT,
	OPT_IN_PROCESS,
	OPT_TRACE,
	OPT_JSON,
};

static const struct option longs[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "prompt", required_argument, NULL, 'p' },
	{ "max-tokens", required_argument, NULL, 'n' },
	{ "temp", required_argument, NULL, OPT_TEMP },
	{ "top-k", required_argument, NULL, OPT_TOP_K },
	{ "top-p", required_argument, NULL, OPT_TOP_P },
	{ "min-p", required_argument, NULL, OPT_MIN_P },
	{ "repeat-penalty", required_argument, NULL, OPT_PENALTY },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "split", required_argument, NULL, OPT_SPLIT },
	{ "codec", required_argument, NULL, OPT_CODEC },
	{ "kv", required_argument, NULL, OPT_KV },
	{ "class", required_argument, NULL, OPT_CLASS },
	{ "raw", no_argument, NULL, OPT_RAW },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "in-process", no_argument, NULL, OPT_IN_PROCESS },
	{ "trace", required_argument, NULL, OPT_TRACE },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static int take_u32(const char *option, unsigned long long max, uint32_t *v)
{
	unsigned long long n;
	int rc = cmd_u64("run", option, optarg, 0, max, &n);

	if (!rc)
		*v = (uint32_t)n;
	return rc;
}

/* Sampling options: 0, CMD_USAGE, or -1 for another option. */
static int take_sampling(struct msg_prompt *p, int opt)
{
	struct msg_sampling *s = &p->sampling;
	unsigned long long seed;
	int rc;

	switch (opt) {
	case OPT_TEMP:
		p->given |= MSG_TEMPERATURE;
		return cmd_f64("run", "--temp", optarg, 0, 10, &s->temperature);
	case OPT_TOP_K:
		p->given |= MSG_TOP_K;
		return take_u32("--top-k", 1 << 20, &s->top_k);
	case OPT_TOP_P:
		p->given |= MSG_TOP_P;
		return cmd_f64("run", "--top-p", optarg, 0.0001, 1, &s->top_p);
	case OPT_MIN_P:
		p->given |= MSG_MIN_P;
		return cmd_f64("run", "--min-p", optarg, 0, 0.9999, &s->min_p);
	case OPT_PENALTY:
		p->given |= MSG_REPEAT_PENALTY;
		return cmd_f64("run", "--repeat-penalty", optarg, 0.01, 10, &s->repeat_penalty);
	case OPT_SEED:
		p->given |= MSG_SEED;
		rc = cmd_u64("run", "--seed", optarg, 0, (1ull << 53) - 1, &seed);
		s->seed = rc ? 0 : seed;
		return rc;
	default:
		return -1;
	}
}

static int take_prompt(struct msg_prompt *p)
{
	p->prompt_len = strlen(optarg);
	if (!p->prompt_len || p->prompt_len > MSG_PROMPT_MAX)
		return cmd_usage("run", "-p must be 1..%d bytes of text", MSG_PROMPT_MAX);
	free(p->prompt);
	p->prompt = strdup(optarg);
	return 0;
}

static int take_codec(struct msg_prompt *p)
{
	struct codec_spec spec;
	struct err e = { 0 };

	if (strlen(optarg) >= sizeof(p->codec) || spec_parse(&spec, optarg, &e))
		return cmd_usage("run", "--codec: %s", e.code ? e.text : "too long");
	memcpy(p->codec, optarg, strlen(optarg) + 1);
	return 0;
}

static int take_kv(struct msg_prompt *p)
{
	enum kv_type type;

	if (kv_type_parse(&type, optarg))
		return cmd_usage("run", "--kv must be " KV_TYPE_WORDS ", not \"%s\"", optarg);
	memcpy(p->kv, optarg, strlen(optarg) + 1);
	return 0;
}

static int take_class(struct msg_prompt *p)
{
	if (!optarg[0] || msg_class_parse(&p->class, optarg))
		return cmd_usage("run", "--class must be " MSG_CLASS_WORDS ", not \"%s\"", optarg);
	return 0;
}

/* What the session shall be: 0, CMD_USAGE, or -1 for another option. */
static int take_session(struct run *r, int opt)
{
	struct msg_prompt *p = &r->prompt;
	uint32_t seconds = 0;
	int rc;

	switch (opt) {
	case 'n':
		rc = take_u32("-n", 1 << 20, &p->max_tokens);
		return rc || p->max_tokens ? rc : cmd_usage("run", "-n must be at least 1");
	case OPT_SPLIT:
		p->has_split = true;
		return take_u32("--split", 4096, &p->split);
	case OPT_CODEC:
		return take_codec(p);
	case OPT_KV:
		return take_kv(p);
	case OPT_CLASS:
		return take_class(p);
	case OPT_RAW:
		p->raw = true;
		return 0;
	case OPT_TIMEOUT:
		rc = take_u32("--timeout", 86400, &seconds);
		p->deadline_ms = seconds * 1000;
		return rc;
	default:
		return -1;
	}
}

static int take(struct run *r, int opt, const char **config)
{
	int rc = take_sampling(&r->prompt, opt);

	if (rc < 0)
		rc = take_session(r, opt);
	if (rc >= 0)
		return rc;
	if (opt == 'c')
		*config = optarg;
	else if (opt == 'p')
		return take_prompt(&r->prompt);
	else if (opt == OPT_JSON)
		r->json = true;
	else if (opt == OPT_IN_PROCESS)
		r->local = true;
	else if (opt == OPT_TRACE)
		r->trace = optarg;
	else
		return cmd_usage("run", "unknown or incomplete option");
	return 0;
}

static int answer(struct run *r)
{
	struct err e = { 0 }, bad = { 0 };
	int rc = r->trace ? trace_open(r->trace, "splitmq run", &e) : 0;

	if (rc)
		return cmd_fail("run", &e);
	rc = r->local ? ERR_NOT_FOUND : run_remote(r, &e);
	if (rc == ERR_NOT_FOUND)
		rc = run_in_process(r, &e);
	if (trace_close(&bad) && !rc)
		rc = (e = bad).code;
	if (rc)
		return cmd_fail("run", &e);
	return r->error ? CMD_FAILED : CMD_OK;
}

static int load(struct run *r, const char *config)
{
	struct err e = { 0 };

	if (config_load_agent(&r->conf, config, &e))
		return cmd_fail("run", &e);
	snprintf(r->prompt.id, sizeof(r->prompt.id), "run-%08x", (unsigned)rng_entropy());
	r->prompt.stream = !r->json;
	log_set_level(LOG_LEVEL_ERROR);
	return 0;
}

int cmd_run(int argc, char **argv)
{
	static struct run r; /* configuration: too large for a stack */
	const char *config = NULL;
	int c, rc = 0;

	opterr = 0;
	while (!rc && (c = getopt_long(argc, argv, "c:p:n:h", longs, NULL)) != -1) {
		if (c == '?')
			rc = cmd_usage("run", "%s: no such option, or its value is missing",
				       argv[optind - 1]);
		if (rc)
			break;
		if (c == 'h')
			return cmd_help("run");
		rc = take(&r, c, &config);
	}
	if (!rc && (optind != argc || !config || !r.prompt.prompt))
		rc = cmd_usage("run", "needs -c FILE and -p TEXT, nothing else");
	daemon_block_signals();
	if (!rc)
		rc = load(&r, config);
	if (!rc)
		rc = answer(&r);
	free(r.prompt.prompt);
	return rc;
}
