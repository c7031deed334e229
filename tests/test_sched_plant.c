/* tests/test_sched_plant.c - which rows make a step: a simulated machine and its sessions, and how
 * long their tokens take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/sched_desk.h"

#define DECODERS 16u
#define TOKENS   1200u /* most of a session */
#define PROMPT   2000u
#define CHUNK    12u

#define LAYERS   22u

/* What all layers take: memory for the weights, or arithmetic of rows, whichever is longer. */
struct machine {
	double memory_us, base_us, row_us;
	double attention_us; /* of a position */
	double tile_us;      /* not 0: of 16 rows, which fewer may fill in part; ... */
	double least_us;     /* ... of which one takes this much, however few they are */
};

static const struct machine linear = { .base_us = BASE_US, .row_us = ROW_US };
/* TinyLlama-1.1B in Q4_0, two threads of Zen 3. */
static const struct machine small_server = { 21000, 3000, 9300, 2.5, 0, 0 };
/* The same by AMX. */
static const struct machine tiles = {
	.base_us = 30000, .row_us = 9400, .attention_us = 1.2, .tile_us = 46000, .least_us = 20000
};

struct plant {
	struct desk d;
	const struct machine *machine;
	unsigned decoders;
	bool bulk;         /* what the decoders are */
	bool prompt;       /* there is one; token times are those beside it */
	uint32_t most;     /* tokens of a decoder */
	uint64_t away_us;  /* from answer to the next row, and up to as much again */
	uint64_t stall_us; /* every eighth time the loop is kept from running, for up to so long */
	uint64_t back_us[FLOWS], began_us[FLOWS];
	uint32_t tokens[FLOWS];
	uint64_t spans_us[FLOWS * TOKENS]; /* of tokens, from one answer to the next */
	unsigned n_spans;
	uint32_t prompt_rows; /* that have run */
	uint64_t prompt_us;   /* when the prompt was done */
	uint32_t beside;      /* tokens of the first decoder until then */
	uint64_t longest_us;  /* step */
	unsigned steps, rows;
};

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t percentile(struct plant *p, unsigned percent)
{
	qsort(p->spans_us, p->n_spans, sizeof(*p->spans_us), by_size);
	return p->spans_us[p->n_spans * percent / 100];
}

static void arrive(struct plant *p)
{
	uint64_t now_us;

	for (uint32_t i = 0; i < p->decoders; i++) {
		if (p->back_us[i] > p->d.now_us || p->tokens[i] == p->most)
			continue;
		now_us = p->d.now_us;
		p->d.now_us = p->back_us[i]; /* during the step that has just run, perhaps */
		p->back_us[i] = UINT64_MAX;
		put(&p->d, i, 1 + p->tokens[i], 1, true, p->bulk);
		p->d.now_us = now_us;
	}
}

/* While there is a prompt, all is measured until it is done. */
static bool counts(const struct plant *p)
{
	return !p->prompt || p->prompt_rows < PROMPT;
}

static double rows_us(const struct machine *m, uint32_t rows)
{
	const uint32_t rest = m->tile_us > 0 ? rows % 16 : rows;
	const double few_us = rest * m->row_us;
	const double part_us = m->least_us + rest * (m->tile_us - m->least_us) / 16;
	double us = m->base_us + (rows - rest) / 16 * m->tile_us;

	us += m->tile_us > 0 && part_us < few_us ? part_us : few_us;
	return us > m->memory_us ? us : m->memory_us;
}

/* One layer, of those of the step's rows that run through it. */
static double layer_us(const struct machine *m, const struct sched_step *step, uint32_t layer)
{
	double us = 0;
	uint32_t rows = 0;

	for (unsigned i = 0; i < step->n; i++) {
		const struct sched_part *part = &step->parts[i];

		if (i >= step->urgent && (layer < step->from || layer >= step->until))
			continue;
		rows += part->rows;
		us += part->rows * m->attention_us *
		      (part->job->pos + part->first + part->rows / 2.0);
	}
	return rows ? (us + rows_us(m, rows)) / LAYERS : 0;
}

/* The step that was formed, on the plant's machine. */
static void run_step(struct plant *p)
{
	const uint64_t before_us = p->d.now_us;
	double us = 0;

	for (uint32_t layer = 0; layer < LAYERS; layer++)
		us += layer_us(p->machine, &p->d.step, layer);
	p->d.now_us += (uint64_t)us;
	sched_ran(p->d.s, &p->d.step, p->d.now_us, p->d.now_us - before_us);
	if (counts(p) && us > (double)p->longest_us)
		p->longest_us = (uint64_t)us;
	p->steps++;
	p->rows += p->d.step.rows;
}

static void answer(struct plant *p)
{
	const uint64_t dice = rng_u64(6, p->steps);
	const uint64_t stall_us = dice % 8 ? 0 : (dice >> 8) % (p->stall_us + 1);

	for (unsigned i = 0; i < p->d.step.n; i++) {
		const struct sched_part *part = &p->d.step.parts[i];
		const uint32_t f = part->job->flow;

		if (i >= p->d.step.urgent && !p->d.step.ends)
			continue;
		if (f >= p->decoders) {
			p->prompt_rows += part->rows;
			p->prompt_us = p->d.now_us;
			p->beside = p->tokens[0];
			continue;
		}
		if (counts(p))
			p->spans_us[p->n_spans++] = p->d.now_us - p->began_us[f];
		p->began_us[f] = p->d.now_us;
		p->back_us[f] = p->d.now_us + stall_us + p->away_us +
				rng_u64(5, f * TOKENS + p->tokens[f]) % (p->away_us + 1);
		p->tokens[f]++;
	}
}

/* The next event: somebody comes back, or the scheduler wants to be asked. */
static uint64_t next_us(const struct plant *p)
{
	uint64_t at = p->d.wake_us;

	for (uint32_t i = 0; i < p->decoders; i++) {
		if (p->tokens[i] < p->most && p->back_us[i] < at)
			at = p->back_us[i];
	}
	return at;
}

static void run_plant(struct plant *p, bool prompt)
{
	p->prompt = prompt;
	for (uint32_t i = 0; i < p->decoders; i++)
		p->back_us[i] = p->began_us[i] = p->d.now_us + i * 700;
	for (uint32_t pos = 0; prompt && pos < PROMPT; pos += CHUNK)
		put(&p->d, FLOWS - 1, pos, pos + CHUNK < PROMPT ? CHUNK : PROMPT - pos,
		    pos + CHUNK >= PROMPT, false);
	for (;;) {
		arrive(p);
		if (form(&p->d)) {
			run_step(p);
			answer(p);
			continue;
		}
		if (next_us(p) == UINT64_MAX)
			return;
		assert_true(next_us(p) > p->d.now_us);
		p->d.now_us = next_us(p);
	}
}

/* As teach. */
static void warm(struct plant *p)
{
	for (uint32_t pos = 0; pos < 2; pos++) {
		put(&p->d, FLOWS - 2, pos, pos ? 32 : 1, false, false);
		assert_true(form(&p->d));
		run_step(p);
	}
	p->steps = p->rows = 0;
}

static struct plant *make_plant_of(const struct machine *machine, unsigned decoders,
				   uint64_t away_us)
{
	struct plant *p = calloc(1, sizeof(*p));
	struct desk *d = make_desk_of(LAYERS, SCHED_MAX_ROWS,
				      machine->attention_us / machine->row_us * 1.2); /* about */

	assert_non_null(p);
	memcpy(&p->d, d, sizeof(p->d));
	free(d);
	p->machine = machine;
	warm(p);
	p->decoders = decoders;
	p->most = 200;
	p->away_us = away_us;
	return p;
}

static struct plant *make_plant(unsigned decoders, uint64_t away_us)
{
	return make_plant_of(&linear, decoders, away_us);
}

static void free_plant(struct plant *p)
{
	sched_destroy(p->d.s);
	free(p);
}

static void sessions_that_come_back_soon_are_taken_together(void **state)
{
	struct plant *p = make_plant(DECODERS, 50);

	(void)state;
	run_plant(p, false);
	assert_true(p->rows > 14 * p->steps);
	free_plant(p);
}

static void sessions_that_take_their_time_share_steps_all_the_same(void **state)
{
	struct plant *p = make_plant(DECODERS, 4000);

	(void)state;
	run_plant(p, false);
	/* half of them run while the others are away */
	assert_true(p->rows >= 7 * p->steps);
	free_plant(p);
}

/* The 95th percentile of token times with and without a prompt of 2,000 rows. */
static void a_prompt_slows_tokens_by_less_than_a_quarter(void **state)
{
	static const uint64_t away_us[] = { 50, 500, 4000 };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct plant *with = make_plant(DECODERS, away_us[i]);
		struct plant *without = make_plant(DECODERS, away_us[i]);
		double grown;

		run_plant(without, false);
		run_plant(with, true);
		grown = (double)percentile(with, 95) / (double)percentile(without, 95);
		if (grown >= 1.25)
			fail_msg("away %u us: %.2f times", (unsigned)away_us[i], grown);
		assert_int_equal(with->prompt_rows, PROMPT);
		free_plant(with);
		free_plant(without);
	}
}

/* TinyLlama, the whole prompt beside 16 sessions, and a loop that is kept from running now and then
 * so that all sessions seem to have gone: no long step begins all the same. */
static void beside_a_prompt(const struct machine *m, uint64_t away_us, uint64_t stall_us,
			    double most_longest, double least_rows_s)
{
	struct plant *with = make_plant_of(m, DECODERS, away_us);
	struct plant *without = make_plant_of(m, DECODERS, away_us);
	double grown, longest, rows_s;

	with->stall_us = without->stall_us = stall_us;
	with->most = TOKENS;
	run_plant(with, true);
	without->most = with->beside;
	run_plant(without, false);
	grown = (double)percentile(with, 95) / (double)percentile(without, 95);
	longest = (double)with->longest_us / (double)without->longest_us;
	rows_s = PROMPT * 1e6 / (double)with->prompt_us;
	assert_int_equal(with->prompt_rows, PROMPT);
	assert_true(with->beside < TOKENS); /* to its end */
	if (grown >= 1.25 || longest >= most_longest || rows_s < least_rows_s)
		fail_msg("away %u us, stalls of %u: %.2f times, longest step %.2f times, prompt "
			 "%.1f rows/s",
			 (unsigned)away_us, (unsigned)stall_us, grown, longest, rows_s);
	free_plant(with);
	free_plant(without);
}

static const uint64_t aways_us[] = { 30, 500, 20000 }, stalls_us[] = { 0, 2000, 40000 };

static void no_long_step_begins_when_the_loop_is_starved(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 9; i++)
		beside_a_prompt(&small_server, aways_us[i % 3], stalls_us[i / 3], 1.25, 10);
}

/* Where few rows more are dear and many are cheap. */
static void nor_where_rows_run_in_tiles(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 9; i++)
		beside_a_prompt(&tiles, aways_us[i % 3], stalls_us[i / 3], 1.4, 25);
}

/* 12 rows a chunk, many a step: as fast as if it were alone. */
static void a_prompt_does_not_wait_for_bulk_sessions(void **state)
{
	struct plant *p = make_plant(DECODERS, 50);
	uint64_t begun = p->d.now_us, alone;

	(void)state;
	p->bulk = true;
	alone = (PROMPT + 159) / 160 * (BASE_US + 160 * ROW_US);
	run_plant(p, true);
	assert_int_equal(p->prompt_rows, PROMPT);
	assert_true(p->prompt_us - begun < alone + alone / 10);
	free_plant(p);
}

static void a_prompt_goes_on_beside_sessions_that_decode_for_ever(void **state)
{
	struct plant *p = make_plant(1, 1);

	(void)state;
	run_plant(p, true);
	assert_int_equal(p->prompt_rows, PROMPT);
	assert_int_equal(p->tokens[0], p->most);
	free_plant(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sessions_that_come_back_soon_are_taken_together),
		cmocka_unit_test(sessions_that_take_their_time_share_steps_all_the_same),
		cmocka_unit_test(a_prompt_slows_tokens_by_less_than_a_quarter),
		cmocka_unit_test(no_long_step_begins_when_the_loop_is_starved),
		cmocka_unit_test(nor_where_rows_run_in_tiles),
		cmocka_unit_test(a_prompt_does_not_wait_for_bulk_sessions),
		cmocka_unit_test(a_prompt_goes_on_beside_sessions_that_decode_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
