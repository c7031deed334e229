/* tools/run_show.c - what `splitmq run` prints. */
#include <stdio.h>
#include <stdlib.h>

#include "tools/run.h"

static double per(uint64_t bytes, uint32_t n)
{
	return n ? (double)bytes / n : 0;
}

static void summary(const struct msg_reply *reply)
{
	const struct msg_stats *s = &reply->stats;
	uint32_t rows = s->prompt_tokens + (s->tokens ? s->tokens - 1 : 0);

	fprintf(stderr,
		"\n%u tokens (%s), prompt %u tokens, split %u, codec %s, kv %s, worker %s\n",
		s->tokens, reply->finish_reason, s->prompt_tokens, s->split, s->codec, s->kv,
		s->worker[0] ? s->worker : "none");
	if (reply->degraded)
		fprintf(stderr, "alone (degraded): no broker, or no worker for this model\n");
	fprintf(stderr, "first token after %.1f ms, then %.1f tokens/s; total %.1f ms\n",
		s->ttft_ms, s->tok_s, s->total_ms);
	fprintf(stderr,
		"bytes/token: %.0f up, %.0f down; round trip %.2f ms (median); %u sent again\n",
		per(s->bytes_up, rows), per(s->bytes_down, s->tokens), s->rtt_ms, s->retries);
	fprintf(stderr,
		"time of a token: gateway layers %.2f, encode %.2f, wire and broker %.2f, worker "
		"queue "
		"%.2f, worker layers %.2f, other %.2f ms\n",
		s->head_ms, s->encode_ms, s->wire_ms, s->worker_queue_ms, s->worker_ms,
		s->other_ms);
	if (s->ahead)
		fprintf(stderr, "%u tokens were guessed, and their gateway layers had run ahead\n",
			s->ahead);
	if (s->drafts)
		fprintf(stderr, "%u rows were sent on a guess, %u of them saved a round trip\n",
			s->drafts, s->drafts_right);
}

/* The reply message itself is the JSON output: one format to know. */
static void print_json(const struct msg_reply *reply)
{
	struct msg m = { .type = MSG_REPLY, .u.reply = *reply };
	size_t len;
	char *text;

	if (msg_print(&m, &text, &len))
		return;
	printf("%s\n", text);
	free(text);
}

void run_show(struct run *r, const struct msg_reply *reply)
{
	if (!reply->done) {
		fwrite(reply->text, 1, reply->text_len, stdout);
		fflush(stdout);
		r->streamed = true;
		return;
	}
	r->done = true;
	r->error = reply->error;
	if (r->json)
		print_json(reply);
	else if (!r->streamed)
		fwrite(reply->text, 1, reply->text_len, stdout);
	if (!r->json && !reply->error)
		printf("\n");
	fflush(stdout);
	if (reply->error)
		fprintf(stderr, "splitmq run: %s (%s)\n", reply->reason, err_name(reply->error));
	else if (!r->json)
		summary(reply);
}
