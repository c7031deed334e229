#include "tools/generate.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tools/progress.h"

/* One continuation in the making. */
struct run {
	struct local *l;
	const struct tokenizer *tok;
	const struct generate_job *job;
	struct generate_result *result;
	struct sampler *sampler;
	struct detok detok;
	char *piece; /* text of one token */
	size_t piece_cap;
	uint32_t capacity; /* tokens of the sequence */
};

/* The prompt's rows, chunk by chunk; *last is the row after its last token. */
static int prefill(struct run *r, const float **last, struct err *e)
{
	const struct generate_job *job = r->job;
	struct progress progress = { .what = "prompt", .units = "tokens", .total = job->n_prompt };
	int rc = 0;

	for (uint32_t at = 0; at < job->n_prompt && !rc; at += LOCAL_ROWS) {
		uint32_t n = job->n_prompt - at < LOCAL_ROWS ? job->n_prompt - at : LOCAL_ROWS;
		const float *x;

		rc = local_run(r->l, job->prompt + at, n, &x, e);
		if (!rc)
			*last = x + (size_t)(n - 1) * local_hparams(r->l)->dim;
		if (job->n_prompt > LOCAL_ROWS)
			progress_show(&progress, at + n);
	}
	progress_clear(&progress);
	return rc;
}

static int emit(struct run *r, uint32_t id, struct err *e)
{
	size_t need = tokenizer_piece(r->tok, id, true, NULL, 0) + 8;

	if (need > r->piece_cap) {
		char *bigger = realloc(r->piece, need);

		if (!bigger)
			return err_set(e, ERR_NOMEM, "text of token %" PRIu32, id);
		r->piece = bigger;
		r->piece_cap = need;
	}
	r->job->emit(r->job->arg, r->piece, detok_push(&r->detok, id, r->piece, r->piece_cap));
	return 0;
}

/* Sample after row x; *id ends the answer or has been emitted. */
static int next_token(struct run *r, const float *x, uint32_t *id, struct err *e)
{
	struct generate_result *out = r->result;
	const float *logits;
	int rc = local_logits(r->l, x, 1, &logits, e);

	if (rc)
		return rc;
	rc = sampler_pick(r->sampler, &r->job->sampling, logits, out->ids, out->n,
			  r->job->n_prompt + out->n, id);
	if (rc)
		return err_set(e, rc, "logits of token %" PRIu32 ": %s", r->job->n_prompt + out->n,
			       err_phrase(rc));
	out->ids[out->n++] = *id;
	return tokenizer_is_end(r->tok, *id) ? 0 : emit(r, *id, e);
}

static int decode(struct run *r, const float *x, struct err *e)
{
	struct generate_result *out = r->result;

	local_generating(r->l, true);
	for (;;) {
		uint32_t id;
		int rc = next_token(r, x, &id, e);

		if (rc)
			return rc;
		if (tokenizer_is_end(r->tok, id))
			out->finish_reason = "stop";
		else if (out->n == r->job->n_max)
			out->finish_reason = "length";
		else if (r->job->n_prompt + out->n >= r->capacity)
			out->finish_reason = "context";
		if (out->finish_reason)
			return 0;
		rc = local_run(r->l, &id, 1, &x, e);
		if (rc)
			return rc;
	}
}

static int open_run(struct run *r, struct err *e)
{
	const struct generate_job *job = r->job;
	const uint32_t ctx = local_ctx(r->l);

	if (job->n_prompt >= ctx)
		return err_set(e, ERR_CONTEXT,
			       "prompt of %" PRIu32
			       " tokens leaves no room in a context of %" PRIu32,
			       job->n_prompt, ctx);
	r->capacity = job->n_max < ctx - job->n_prompt ? job->n_prompt + job->n_max : ctx;
	r->result->ids = malloc((r->capacity - job->n_prompt) * sizeof(*r->result->ids));
	if (!r->result->ids)
		return err_set(e, ERR_NOMEM, "answer: out of memory");
	if (sampler_create(&r->sampler, local_hparams(r->l)->n_vocab))
		return err_set(e, ERR_NOMEM, "sampler: out of memory");
	detok_init(&r->detok, r->tok, false, false);
	return local_begin(r->l, r->capacity, e);
}

int generate_run(struct generate_result *out, struct local *l, const struct tokenizer *tok,
		 const struct generate_job *job, struct err *e)
{
	struct run r = { .l = l, .tok = tok, .job = job, .result = out };
	uint64_t begun, read_at;
	const float *x = NULL;
	char rest[8];
	int rc;

	*out = (struct generate_result){ 0 };
	rc = open_run(&r, e);
	begun = read_at = clock_now_us();
	if (!rc) {
		rc = prefill(&r, &x, e);
		read_at = clock_now_us();
	}
	if (!rc)
		rc = decode(&r, x, e);
	if (!rc)
		job->emit(job->arg, rest, detok_flush(&r.detok, rest, sizeof(rest)));
	out->prompt_us = read_at - begun;
	out->decode_us = clock_now_us() - read_at;
	if (rc) {
		free(out->ids);
		out->ids = NULL;
	}
	sampler_destroy(r.sampler);
	free(r.piece);
	return rc;
}
