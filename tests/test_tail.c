/* tests/test_tail.c - the compute side of a worker with the bundled model: many sessions in one
 * step answer as each of them does alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "tools/drive.h"

#define SESSIONS 16u
#define FEW      6u
#define TOKENS   12u
#define CONTEXT  200u

struct plant {
	struct drive *drive;
	struct drive_session s[SESSIONS];
	uint32_t prompts[SESSIONS][CONTEXT];
	struct drive_token tokens[SESSIONS][TOKENS];
};

static void open_plant(struct plant *p, unsigned threads)
{
	const char *root = getenv("SPLITMQ_ROOT");
	struct err e = { 0 };
	char path[512];

	snprintf(path, sizeof(path), "%s/models/gateway.gguf", root ? root : ".");
	if (drive_open(&p->drive,
		       &(struct drive_conf){ .model = path,
					     .threads = threads,
					     .sessions = SESSIONS,
					     .context_tokens = CONTEXT,
					     .share = 0.2,
					     .fronts = true },
		       &e))
		fail_msg("%s", e.text);
}

/* Sessions of all kinds: lengths, splits, caches, classes, and those that sample at random. */
static void fill(struct plant *p)
{
	static const uint32_t splits[] = { 2, 0, 5, 8 };
	const uint32_t vocab = drive_hparams(p->drive)->n_vocab;

	for (uint32_t i = 0; i < SESSIONS; i++) {
		const uint32_t n = i == 3 ? 150 : 1 + 5 * i;

		for (uint32_t k = 0; k < n; k++)
			p->prompts[i][k] = (uint32_t)(rng_u64(i, k) % vocab);
		p->s[i] = (struct drive_session){
			.prompt = p->prompts[i],
			.n_prompt = n,
			.chunk_rows = 5 + 3 * i,
			.max_new = TOKENS,
			.split = splits[i % 4],
			.kv = (enum kv_type)(i / 4 % KV_TYPE_COUNT),
			.bulk = i % 3 == 2,
			.begin_after = i % 5,
			.away_us = i % 2 * 300,
			.sampling = SAMPLER_DEFAULTS,
			.tokens = p->tokens[i],
			.logits = calloc(vocab, sizeof(float)),
		};
		assert_non_null(p->s[i].logits);
		p->s[i].sampling.temperature = i % 4 ? 1.5F : 0;
		p->s[i].sampling.seed = i;
	}
}

static void close_plant(struct plant *p)
{
	for (unsigned i = 0; i < SESSIONS; i++)
		free(p->s[i].logits);
	drive_close(p->drive);
	free(p);
}

static void run(struct plant *p, struct drive_session *s, unsigned n)
{
	struct err e = { 0 };

	if (drive_run(p->drive, s, n, &e))
		fail_msg("%s", e.text);
}

/* The first n, all at once, compared with what each gave alone. */
static void assert_same(struct plant *alone, struct plant *together, unsigned n)
{
	const size_t bytes = drive_hparams(together->drive)->n_vocab * sizeof(float);

	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(alone->s[i].rc, 0);
		if (together->s[i].rc)
			fail_msg("session %u: %s", i, together->s[i].err.text);
		assert_int_equal(together->s[i].n_tokens, TOKENS);
		for (unsigned k = 0; k < TOKENS; k++) {
			if (alone->tokens[i][k].id != together->tokens[i][k].id)
				fail_msg("session %u, token %u", i, k);
		}
		assert_memory_equal(alone->s[i].logits, together->s[i].logits, bytes);
	}
}

static struct plant *make(unsigned threads)
{
	struct plant *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	open_plant(p, threads);
	fill(p);
	return p;
}

/* All sessions at once; true when they shared steps. */
static bool run_together(struct plant *p)
{
	struct tail_counts before, after;

	drive_count(p->drive, &before);
	run(p, p->s, SESSIONS);
	drive_count(p->drive, &after);
	return after.steps - before.steps < SESSIONS * TOKENS;
}

static void sixteen_sessions_answer_as_each_does_alone(void **state)
{
	struct plant *alone = make(1), *together = make(2);
	struct tail_counts c;
	bool shared = false;

	(void)state;
	for (unsigned i = 0; i < SESSIONS; i++)
		run(alone, &alone->s[i], 1);
	drive_count(alone->drive, &c);
	assert_true(c.steps >= SESSIONS * TOKENS);
	assert_true(c.n_batches >= 2); /* single rows, and prompts */
	for (unsigned i = 0; i < c.n_batches; i++)
		assert_true(c.batches[i].layer_ms > 0 && c.batches[i].head_ms > 0);
	assert_int_equal(c.batches[0].rows, 1);
	/* A machine that is busy elsewhere may let them in one by one. */
	for (unsigned tries = 0; tries < 10 && !shared; tries++) {
		shared = run_together(together);
		assert_same(alone, together, SESSIONS);
	}
	assert_true(shared);
	close_plant(alone);
	close_plant(together);
}

/* A chunk in the midst of a prompt is too short: what is behind it fails as well, nothing else. */
static void a_chunk_that_cannot_be_decoded_ends_its_session_only(void **state)
{
	struct plant *fine = make(1), *spoilt = make(1);

	(void)state;
	run(fine, fine->s, FEW);
	spoilt->s[3].spoil = true;
	spoilt->s[5].spoil = true;
	run(spoilt, spoilt->s, FEW);
	for (unsigned i = 0; i < FEW; i++) {
		if (!spoilt->s[i].spoil)
			continue;
		assert_int_equal(spoilt->s[i].rc, ERR_FORMAT);
		assert_int_equal(spoilt->s[i].n_tokens, 0);
		spoilt->s[i].spoil = false;
		run(spoilt, &spoilt->s[i], 1); /* and its place can be used again */
	}
	assert_same(fine, spoilt, FEW);
	close_plant(fine);
	close_plant(spoilt);
}

/* The same while others decode: chunks before it are on their way through the layers, and go on. */
static void and_so_it_does_between_steps_of_others(void **state)
{
	struct plant *fine = make(1), *spoilt = make(1);

	(void)state;
	for (unsigned i = 0; i < FEW; i++) {
		spoilt->s[i].split = fine->s[i].split = 2;
		spoilt->s[i].bulk = fine->s[i].bulk = false;
		spoilt->s[i].away_us = 0;
		spoilt->s[i].begin_after = i == 3 ? 4 : 0;
		spoilt->s[i].spoil = i == 3;
		run(fine, &fine->s[i], 1);
	}
	for (unsigned turn = 0; turn < 5; turn++) {
		run(spoilt, spoilt->s, FEW);
		assert_int_equal(spoilt->s[3].rc, ERR_FORMAT);
	}
	spoilt->s[3].spoil = false;
	run(spoilt, spoilt->s, FEW);
	assert_same(fine, spoilt, FEW);
	close_plant(fine);
	close_plant(spoilt);
}

/* Keys and values are no rows: those behind them in a wave are not taken for others. */
static void keys_and_values_go_along_with_the_prompts_of_others(void **state)
{
	struct plant *fine = make(1), *mixed = make(1);

	(void)state;
	for (unsigned i = 0; i < FEW; i++) {
		mixed->s[i].split = fine->s[i].split = 2;
		mixed->s[i].bulk = fine->s[i].bulk = false;
		mixed->s[i].away_us = 0;
		mixed->s[i].begin_after = i >= 3 ? 4 : 0;
		mixed->s[i].values = i == 3;
		run(fine, &fine->s[i], 1);
	}
	for (unsigned turn = 0; turn < 5; turn++) {
		run(mixed, mixed->s, FEW);
		assert_true(mixed->s[3].rc);
		mixed->s[3].values = false;
		run(mixed, &mixed->s[3], 1); /* and its place can be used again */
		assert_same(fine, mixed, FEW);
		mixed->s[3].values = true;
	}
	close_plant(fine);
	close_plant(mixed);
}

/* While the other sessions of the plant decode, the prompt is taken in parts. */
static void a_prompt_that_is_cut_gives_the_same_answer(void **state)
{
	struct plant *alone = make(1), *together = make(1);

	(void)state;
	for (unsigned i = 0; i < SESSIONS; i++) {
		together->s[i].split = alone->s[i].split = 2;
		together->s[i].begin_after = i == 3 ? 4 : 0;
		together->s[i].bulk = alone->s[i].bulk = false;
		together->s[i].fills = i != 3;
	}
	run(alone, &alone->s[3], 1);
	run(together, together->s, FEW);
	assert_int_equal(together->s[3].n_tokens, TOKENS);
	for (unsigned k = 0; k < TOKENS; k++)
		assert_int_equal(together->tokens[3][k].id, alone->tokens[3][k].id);
	close_plant(alone);
	close_plant(together);
}

/* Guesses of every session's tokens, most of them right. */
static void guess(struct plant *p, const struct plant *truth, uint32_t guesses[SESSIONS][TOKENS])
{
	for (uint32_t i = 0; i < SESSIONS; i++) {
		for (uint32_t k = 0; k < TOKENS; k++)
			guesses[i][k] = truth->tokens[i][k].id ^ !(rng_u64(100 + i, k) % 4);
		p->s[i].guesses = guesses[i];
		p->s[i].drafts = 1 + i % 4;
	}
}

/* Greedy and seeded, with a penalty on what was said before. */
static void penalize(struct plant *p)
{
	for (unsigned i = 0; i < SESSIONS; i++) {
		p->s[i].sampling.repeat_penalty = 1.3F;
		p->s[i].sampling.repeat_last = 4 + i;
	}
}

static void drafts_change_no_token(void **state)
{
	static uint32_t guesses[SESSIONS][TOKENS];
	struct plant *plain = make(1), *drafted = make(2);
	struct tail_counts before, after;
	uint32_t skipped = 0;

	(void)state;
	penalize(plain);
	penalize(drafted);
	for (unsigned i = 0; i < SESSIONS; i++)
		run(plain, &plain->s[i], 1);
	guess(drafted, plain, guesses);
	for (unsigned i = 0; i < SESSIONS; i++) { /* alone: p, and drafts that came meanwhile */
		run(drafted, &drafted->s[i], 1);
		skipped += drafted->s[i].skipped;
	}
	assert_same(plain, drafted, SESSIONS);
	assert_true(skipped > 0); /* behind prompts, whatever the machine does */
	for (unsigned turn = 0; turn < 3; turn++) {
		run(drafted, drafted->s, SESSIONS);
		assert_same(plain, drafted, SESSIONS);
	}
	for (unsigned i = 0; i < SESSIONS; i++) { /* all of them right: several a step */
		for (unsigned k = 0; k < TOKENS; k++)
			guesses[i][k] = plain->tokens[i][k].id;
	}
	drive_count(drafted->drive, &before);
	for (unsigned i = 0; i < SESSIONS; i++)
		run(drafted, &drafted->s[i], 1);
	drive_count(drafted->drive, &after);
	assert_same(plain, drafted, SESSIONS);
	print_message("%u drafts skipped; %u steps of right ones\n", skipped,
		      (unsigned)(after.steps - before.steps));
	assert_true(after.steps > before.steps);
	close_plant(plain);
	close_plant(drafted);
}

/* It waits behind a prompt; when that is answered it has never been. */
static void a_draft_that_is_wrong_is_not_run(void **state)
{
	static uint32_t guesses[TOKENS];
	struct plant *p = make(1);
	struct drive_session *s = &p->s[3];

	(void)state;
	s->bulk = false;
	s->split = 0; /* its rows are there at once */
	s->max_new = 2;
	run(p, s, 1);
	for (unsigned k = 0; k < TOKENS; k++)
		guesses[k] = p->tokens[3][k].id ^ 1;
	s->guesses = guesses;
	s->drafts = 4;
	run(p, s, 1);
	assert_int_equal(s->rc, 0);
	assert_int_equal(s->skipped, 1);
	close_plant(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sixteen_sessions_answer_as_each_does_alone),
		cmocka_unit_test(a_chunk_that_cannot_be_decoded_ends_its_session_only),
		cmocka_unit_test(and_so_it_does_between_steps_of_others),
		cmocka_unit_test(keys_and_values_go_along_with_the_prompts_of_others),
		cmocka_unit_test(a_prompt_that_is_cut_gives_the_same_answer),
		cmocka_unit_test(drafts_change_no_token),
		cmocka_unit_test(a_draft_that_is_wrong_is_not_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
