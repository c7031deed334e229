#include "tools/bench_worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/rng.h"
#include "engine/pool.h"
#include "schema/json.h"
#include "tools/cmd.h"
#include "tools/drive.h"
#include "tools/spread.h"

#define NAME          "bench worker"
#define MOST_SESSIONS 128
#define PROMPT        8u  /* tokens that a decoding session begins with */
#define HEAD_START    16u /* tokens of each session before the long prompt comes */

struct conf {
	const char *model;
	unsigned threads;
	uint32_t sessions, tokens, prefill, chunk, share, away_ms;
	bool json;
};

/* Of one run. */
struct result {
	uint32_t sessions;
	double tok_s; /* of all sessions together */
	struct spread token_ms;
	double step_rows; /* mean */
};

struct bench {
	struct conf c;
	struct drive *drive;
	struct drive_session s[MOST_SESSIONS + 1]; /* the last one: the long prompt */
	uint32_t *prompts;                         /* [MOST_SESSIONS][PROMPT], [prefill] */
	struct drive_token *tokens;                /* [sessions + 1][longest] */
	uint32_t longest;
	double *spans; /* [sessions * longest] */
	struct result one, many, still, beside;
	double prefill_s;
	bool same; /* a session's tokens alone and among the others */
};

/* Sessions of max_new tokens. */
static void fill(struct bench *b, unsigned n, uint32_t max_new)
{
	for (unsigned i = 0; i < n; i++)
		b->s[i] = (struct drive_session){
			.prompt = b->prompts + (size_t)i * PROMPT,
			.n_prompt = PROMPT,
			.chunk_rows = PROMPT,
			.max_new = max_new,
			.away_us = b->c.away_ms * 1000ull,
			.sampling = SAMPLER_DEFAULTS,
			.tokens = b->tokens + (size_t)i * b->longest,
		};
}

/* Tokens that came in (from_us, to_us], but for each session's first. */
static void evaluate(struct bench *b, unsigned n, uint64_t from_us, uint64_t to_us,
		     struct result *r)
{
	size_t n_spans = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct drive_token *t = b->s[i].tokens;

		for (uint32_t k = 1; k < b->s[i].n_tokens; k++) {
			if (t[k - 1].at_us >= from_us && t[k].at_us <= to_us)
				b->spans[n_spans++] = (double)(t[k].at_us - t[k - 1].at_us) / 1e3;
		}
	}
	r->sessions = n;
	if (!n_spans)
		return;
	r->token_ms = spread_of(b->spans, n_spans);
	r->tok_s = (double)n_spans * 1e6 / (double)(to_us - from_us);
}

/* When the last session was answered first, and the first one last: all decode in between. */
static void evaluate_all(struct bench *b, unsigned n, struct result *r)
{
	uint64_t from_us = 0, to_us = UINT64_MAX;

	for (unsigned i = 0; i < n; i++) {
		const struct drive_session *s = &b->s[i];

		from_us = s->tokens[0].at_us > from_us ? s->tokens[0].at_us : from_us;
		if (s->tokens[s->n_tokens - 1].at_us < to_us)
			to_us = s->tokens[s->n_tokens - 1].at_us;
	}
	evaluate(b, n, from_us, to_us, r);
}

static int run(struct bench *b, unsigned n, struct result *r, struct err *e)
{
	struct tail_counts before, after;
	int rc;

	drive_count(b->drive, &before);
	rc = drive_run(b->drive, b->s, n, e);
	drive_count(b->drive, &after);
	for (unsigned i = 0; i < n && !rc; i++) {
		if (b->s[i].rc) {
			*e = b->s[i].err;
			rc = b->s[i].rc;
		}
	}
	r->step_rows = after.steps > before.steps ? (double)(after.rows - before.rows) /
							    (double)(after.steps - before.steps)
						  : 0;
	return rc;
}

/* One session alone, then all. */
static int run_decoding(struct bench *b, struct err *e)
{
	const uint32_t n = b->c.tokens;
	uint32_t *ids = malloc(n * sizeof(*ids));
	int rc = ids ? 0 : err_set(e, ERR_NOMEM, "out of memory");

	fill(b, 1, n);
	if (!rc)
		rc = run(b, 1, &b->one, e);
	if (!rc) {
		evaluate_all(b, 1, &b->one);
		for (uint32_t i = 0; i < n; i++)
			ids[i] = b->s[0].tokens[i].id;
		fill(b, b->c.sessions, n);
		rc = run(b, b->c.sessions, &b->many, e);
	}
	if (!rc) {
		evaluate_all(b, b->c.sessions, &b->many);
		b->same = true;
		for (uint32_t i = 0; i < n; i++)
			b->same &= ids[i] == b->s[0].tokens[i].id;
	}
	free(ids);
	return rc;
}

/* All sessions with the long prompt beside them, then as long without it. */
static int run_beside(struct bench *b, struct err *e)
{
	const unsigned n = b->c.sessions;
	struct drive_session *p = &b->s[n];
	uint32_t made = 0;
	int rc;

	fill(b, n, b->longest);
	for (unsigned i = 0; i < n; i++)
		b->s[i].fills = true;
	*p = (struct drive_session){ .prompt = b->prompts + (size_t)MOST_SESSIONS * PROMPT,
				     .n_prompt = b->c.prefill,
				     .chunk_rows = b->c.chunk,
				     .max_new = 1,
				     .begin_after = HEAD_START,
				     .sampling = SAMPLER_DEFAULTS,
				     .tokens = b->tokens + (size_t)n * b->longest };
	rc = run(b, n + 1, &b->beside, e);
	if (rc)
		return rc;
	evaluate(b, n, p->begun_us, p->tokens[0].at_us, &b->beside);
	b->prefill_s = (double)(p->tokens[0].at_us - p->begun_us) / 1e6;
	for (unsigned i = 0; i < n; i++)
		made = b->s[i].n_tokens > made ? b->s[i].n_tokens : made;
	fill(b, n, made > HEAD_START + 2 ? made : HEAD_START + 2);
	rc = run(b, n, &b->still, e);
	if (!rc)
		evaluate_all(b, n, &b->still);
	return rc;
}

static void print_line(const char *what, const struct result *r)
{
	printf("%-28s %8.1f %10.2f %10.2f %10.2f %11.1f\n", what, r->tok_s, r->token_ms.median,
	       r->token_ms.p95, r->token_ms.max, r->step_rows);
}

static double growth(const struct bench *b)
{
	return 100 * (b->beside.token_ms.p95 / b->still.token_ms.p95 - 1);
}

static void print(const struct bench *b)
{
	char what[64];

	printf("%s: %u threads\n\n", b->c.model, b->c.threads);
	printf("%-28s %8s %10s %10s %10s %11s\n", "", "tokens/s", "ms: median", "p95", "max",
	       "rows a step");
	print_line("1 session", &b->one);
	snprintf(what, sizeof(what), "%u sessions", b->c.sessions);
	print_line(what, &b->many);
	if (b->c.prefill) {
		print_line("as long as with the prompt", &b->still);
		snprintf(what, sizeof(what), "beside a prompt of %u", b->c.prefill);
		print_line(what, &b->beside);
	}
	printf("\n%u sessions make %.2f times the tokens of one; the tokens of a session are %s\n",
	       b->c.sessions, b->many.tok_s / b->one.tok_s, b->same ? "the same" : "NOT THE SAME");
	if (b->c.prefill)
		printf("the prompt takes %.1f s (%.0f tokens/s), and p95 grows by %.0f %%\n",
		       b->prefill_s, b->c.prefill / b->prefill_s, growth(b));
}

static void add_result(struct json *o, const char *key, const struct result *r)
{
	struct json *j = json_add_object(o, key);

	json_add_u64(j, "sessions", r->sessions);
	json_add_f64(j, "tok_s", r->tok_s);
	spread_add_json(j, "token_ms", &r->token_ms, true);
	json_add_f64(j, "step_rows", r->step_rows);
}

static int print_json(const struct bench *b, struct err *e)
{
	struct json *o = json_object();

	json_add_str(o, "model", b->c.model);
	json_add_u64(o, "threads", b->c.threads);
	add_result(o, "one", &b->one);
	add_result(o, "many", &b->many);
	json_add_bool(o, "same", b->same);
	if (b->c.prefill) {
		add_result(o, "still", &b->still);
		add_result(o, "beside", &b->beside);
		json_add_u64(o, "prefill", b->c.prefill);
		json_add_f64(o, "prefill_s", b->prefill_s);
		json_add_f64(o, "growth_percent", growth(b));
	}
	return cmd_print_json(o, e);
}

static int allocate(struct bench *b, struct err *e)
{
	const size_t n = (size_t)MOST_SESSIONS * PROMPT + b->c.prefill;
	const uint32_t vocab = drive_hparams(b->drive)->n_vocab;

	b->prompts = malloc(n * sizeof(*b->prompts));
	b->tokens = calloc((size_t)(b->c.sessions + 1) * b->longest, sizeof(*b->tokens));
	b->spans = malloc((size_t)b->c.sessions * b->longest * sizeof(*b->spans));
	if (!b->prompts || !b->tokens || !b->spans)
		return err_set(e, ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < n; i++)
		b->prompts[i] = (uint32_t)(rng_u64(1, i) % vocab);
	return 0;
}

static int measure(struct bench *b, struct err *e)
{
	int rc;

	/* A prompt goes on by a row a token at least. */
	b->longest = (b->c.prefill > b->c.tokens ? b->c.prefill : b->c.tokens) + 2 * HEAD_START;
	rc = drive_open(&b->drive,
			&(struct drive_conf){ .model = b->c.model,
					      .threads = b->c.threads,
					      .sessions = b->c.sessions + 1,
					      .context_tokens = b->longest + PROMPT,
					      .share = b->c.share / 100.0 },
			e);
	if (!rc)
		rc = allocate(b, e);
	if (!rc)
		rc = run_decoding(b, e);
	if (!rc && b->c.prefill)
		rc = run_beside(b, e);
	if (!rc && b->c.json)
		rc = print_json(b, e);
	else if (!rc)
		print(b);
	drive_close(b->drive);
	free(b->prompts);
	free(b->tokens);
	free(b->spans);
	return rc;
}

#define U32(field, lo, hi) OPTIONS_U32(struct conf, field, lo, hi)

static const struct options_row options[] = {
	{ 'm', "model", "FILE", OPTIONS_TEXT(struct conf, model), .needed = true,
	  .help = "GGUF file; all of its layers run" },
	{ 't', "threads", "N", U32(threads, 1, POOL_MAX_THREADS), .help = "threads that compute",
	  .preset = "the number of processors" },
	{ 's', "sessions", "N", U32(sessions, 1, MOST_SESSIONS),
	  .help = "sessions that decode at once" },
	{ 'n', "tokens", "N", U32(tokens, 2, 65536), .unit = "tokens",
	  .help = "answer of each session" },
	{ 'p', "prefill", "N", U32(prefill, 0, 65536), .unit = "tokens",
	  .help = "length of a prompt beside them; 0: none" },
	{ 0, "chunk", "N", U32(chunk, 1, TAIL_MAX_ROWS), .unit = "rows",
	  .help = "chunks of that prompt" },
	{ 0, "share", "N", U32(share, 1, 1000), .unit = "%",
	  .help = "part of a token's time that the prompt may take" },
	{ 0, "away", "MS", U32(away_ms, 0, 10000), .unit = "ms",
	  .help = "from an answer to the next row" },
	{ 0, "json", NULL, OPTIONS_FLAG(struct conf, json),
	  .help = "one line of JSON instead of a table" },
};

const struct options_table bench_worker_options = {
	.program = "splitmq " NAME,
	.summary = "many sessions that decode at once, alone and beside a long prompt",
	.synopsis = "-m FILE [OPTIONS]",
	OPTIONS_ROWS(options),
	.notes = "The worker's scheduler, steps and sampling in this process, without a broker. A "
		 "token's time is that from one answer to the next. The sessions beside the prompt "
		 "are compared with as long a run without it.",
};

int bench_worker(int argc, char **argv)
{
	static struct bench b; /* too large for a stack */
	const long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct err e;
	int rc;

	b.c = (struct conf){ .threads = processors > 1 ? (unsigned)processors : 1,
			     .sessions = 16,
			     .tokens = 64,
			     .prefill = 2000,
			     .chunk = 64,
			     .share = 15 };
	rc = options_read(&bench_worker_options, &b.c, argc, argv);
	if (rc != OPTIONS_GO_ON)
		return rc;
	return measure(&b, &e) ? cmd_fail(NAME, &e) : CMD_OK;
}
