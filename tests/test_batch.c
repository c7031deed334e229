/* tests/test_batch.c - a session's bits do not depend on who else is in the step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine/model.h"
#include "tests/tiny_model.h"

#define SESSIONS 16
#define MAX_ROWS 61
#define LONGEST  80 /* rows of a session: more than a page of a cache */

/* Rows that go through some of the layers with a cache of some type. */
struct session {
	uint32_t first, last, rows;
	enum kv_type type;
	float *in;           /* [rows][d] */
	float *out, *logits; /* alone: [rows][d], [rows][V] */
	float *x;            /* [rows][d]: in a batch */
	struct kv *kv;
	uint32_t pending, layer; /* rows that have stopped on their way, before that layer */
};

struct hall {
	struct gguf *g;
	struct build built; /* of a tiny model */
	struct model_hparams hp;
	struct session s[SESSIONS];
};

static struct model *open_model(const struct hall *h, unsigned threads, uint32_t max_rows)
{
	const struct model_conf conf = {
		.last = h->hp.n_layers, .head = true, .threads = threads, .max_rows = max_rows
	};
	struct model *m = NULL;
	struct err e;

	if (model_open(&m, h->g, &conf, &e))
		fail_msg("%s", e.text);
	return m;
}

static void open_cache(const struct hall *h, struct session *s)
{
	assert_int_equal(kv_create(&s->kv, NULL, &h->hp, s->first, s->last, s->rows, s->type), 0);
	s->pending = 0;
}

/* Workers' sessions end at the last layer, gateways' begin at the first; some have one layer. */
static void give_layers(struct session *s, unsigned i, uint32_t n_layers)
{
	s->first = i % 3 == 1 ? 0 : i % n_layers;
	s->last = i % 3 == 1 ? 1 + i % n_layers : n_layers;
	if (i % 8 == 6)
		s->last = s->first + 1;
	if (i % 8 == 7)
		s->first = s->last;
}

static void run_alone(const struct hall *h, struct model *m, struct session *s)
{
	const size_t d = h->hp.dim;

	open_cache(h, s);
	memcpy(s->out, s->in, s->rows * d * sizeof(*s->in));
	assert_int_equal(model_forward(m, s->kv, s->out, s->rows), 0);
	model_logits(m, s->out, s->rows, s->logits);
	kv_destroy(s->kv);
}

static void make_sessions(struct hall *h)
{
	const size_t d = h->hp.dim;
	struct model *m = open_model(h, 1, 64);

	for (unsigned i = 0; i < SESSIONS; i++) {
		struct session *s = &h->s[i];

		give_layers(s, i, h->hp.n_layers);
		s->rows = 1 + i * (LONGEST - 1) / (SESSIONS - 1);
		s->type = (enum kv_type)(i % KV_TYPE_COUNT);
		s->in = malloc(s->rows * d * sizeof(float));
		s->out = malloc(s->rows * d * sizeof(float));
		s->x = malloc(s->rows * d * sizeof(float));
		s->logits = malloc((size_t)s->rows * h->hp.n_vocab * sizeof(float));
		assert_true(s->in && s->out && s->x && s->logits);
		for (size_t k = 0; k < s->rows * d; k++)
			s->in[k] = (float)rng_unit(i, k) - 0.5f;
		run_alone(h, m, s);
	}
	model_close(m);
}

static void open_gateway(struct hall *h)
{
	const char *root = getenv("SPLITMQ_ROOT");
	struct err e;
	char path[512];

	memset(h, 0, sizeof(*h));
	snprintf(path, sizeof(path), "%s/models/gateway.gguf", root ? root : ".");
	if (gguf_open(&h->g, path, &e) || model_read_hparams(&h->hp, h->g, &e))
		fail_msg("%s", e.text);
	make_sessions(h);
}

/* Odd sizes, norms of heads, values that are longer than keys. */
static void open_tiny(struct hall *h)
{
	struct tiny_model tiny = TINY_MODEL;
	struct err e;

	memset(h, 0, sizeof(*h));
	tiny.arch = "qwen3";
	tiny.layers = 4;
	tiny.qk_norm = tiny.qkv_bias = true;
	tiny.head_dim_v = 10;
	h->built = tiny_build(&tiny);
	if (gguf_open_memory(&h->g, h->built.data, h->built.len, &e) ||
	    model_read_hparams(&h->hp, h->g, &e))
		fail_msg("%s", e.text);
	make_sessions(h);
}

static void close_hall(struct hall *h)
{
	for (unsigned i = 0; i < SESSIONS; i++) {
		free(h->s[i].in);
		free(h->s[i].out);
		free(h->s[i].x);
		free(h->s[i].logits);
	}
	gguf_close(h->g);
	free(h->built.data);
}

/* Rows of session i in a round: mostly one, as when tokens are generated; now and then a chunk. */
static uint32_t rows_of(const struct session *s, unsigned i, unsigned round, uint32_t room)
{
	uint32_t left = s->rows - kv_length(s->kv);
	uint32_t wish = (i + round) % 5 == 0 ? 1 + (uint32_t)(rng_u64(i, round) % 23) : 1;

	if ((i + round) % 7 == 3)
		wish = 0;
	wish = wish < room ? wish : room;
	return wish < left ? wish : left;
}

static void compare(const struct hall *h, struct model *m, const struct model_part *parts,
		    const unsigned *whose, uint32_t n)
{
	const size_t d = h->hp.dim, vocab = h->hp.n_vocab;
	float *logits = malloc(n * vocab * sizeof(*logits));
	const float *last[SESSIONS];

	assert_non_null(logits);
	for (uint32_t p = 0; p < n; p++)
		last[p] = parts[p].x + (parts[p].rows - 1) * d;
	model_logits_of(m, last, n, logits);
	for (uint32_t p = 0; p < n; p++) {
		const struct session *s = &h->s[whose[p]];
		const uint32_t end = kv_length(s->kv), at = end - parts[p].rows;

		if (memcmp(parts[p].x, s->out + at * d, parts[p].rows * d * sizeof(float)))
			fail_msg("session %u: other rows from %u to %u", whose[p], at, end);
		assert_memory_equal(logits + p * vocab, s->logits + (end - 1) * vocab,
				    vocab * sizeof(float));
	}
	free(logits);
}

/* Rows of session i, at most so many, of which some run through some of their layers only, and go
 * on from there in the next round. Returns false when there are none. */
static bool take_part(const struct hall *h, struct session *s, unsigned i, unsigned round,
		      uint32_t room, struct model_part *part)
{
	const uint32_t at = kv_length(s->kv), dice = (uint32_t)(rng_u64(77 + i, round) % 8);
	const uint32_t mine = s->pending ? s->pending : rows_of(s, i, round, room);
	float *x = s->x + at * h->hp.dim;

	if (!mine || mine > room)
		return false;
	*part = (struct model_part){ .kv = s->kv, .x = x, .rows = mine };
	if (s->pending)
		part->from = s->layer;
	else
		memcpy(x, s->in + at * h->hp.dim, mine * h->hp.dim * sizeof(*x));
	if (dice < 4)
		part->until = (s->pending ? s->layer : s->first) + dice;
	s->layer = part->until;
	s->pending = part->until && part->until < s->last ? mine : 0;
	return true;
}

/* One step of who is ready. Returns the number of rows. */
static uint32_t run_round(struct hall *h, struct model *m, unsigned round, uint32_t max_rows)
{
	struct model_part parts[SESSIONS], ended[SESSIONS];
	unsigned whose[SESSIONS];
	uint32_t rows = 0, n = 0, n_ended = 0;

	for (unsigned k = 0; k < SESSIONS; k++) {
		const unsigned i =
			(k * 5 + round) % SESSIONS; /* not in the order of their layers */
		struct session *s = &h->s[i];

		if (!take_part(h, s, i, round, max_rows - rows, &parts[n]))
			continue;
		rows += parts[n].rows;
		if (!s->pending) {
			whose[n_ended] = i;
			ended[n_ended++] = parts[n];
		}
		n++;
	}
	if (!n)
		return 0;
	assert_int_equal(model_step(m, parts, n), 0);
	if (n_ended)
		compare(h, m, ended, whose, n_ended);
	return rows;
}

static bool unfinished(const struct hall *h)
{
	for (unsigned i = 0; i < SESSIONS; i++) {
		if (kv_length(h->s[i].kv) < h->s[i].rows)
			return true;
	}
	return false;
}

/* Every session until its rows are used up, some falling back to an earlier position on the way. */
static void run_batches(struct hall *h, unsigned threads, uint32_t max_rows)
{
	struct model *m = open_model(h, threads, max_rows);
	uint32_t most = 0;

	for (unsigned i = 0; i < SESSIONS; i++)
		open_cache(h, &h->s[i]);
	for (unsigned round = 0; unfinished(h); round++) {
		uint32_t rows = run_round(h, m, round, max_rows);

		most = rows > most ? rows : most;
		for (unsigned i = 0; round % 40 == 17 && round < 200 && i < SESSIONS; i += 3) {
			if (!h->s[i].pending)
				kv_truncate(h->s[i].kv, kv_length(h->s[i].kv) / 2);
		}
		assert_true(round < 1000);
	}
	assert_true(most > SESSIONS || most == max_rows);
	for (unsigned i = 0; i < SESSIONS; i++)
		kv_destroy(h->s[i].kv);
	model_close(m);
}

static void a_session_is_the_same_in_any_batch(void **state)
{
	struct hall h;

	(void)state;
	open_gateway(&h);
	run_batches(&h, 1, MAX_ROWS);
	run_batches(&h, 2, MAX_ROWS);
	close_hall(&h);
}

static void and_in_a_model_of_odd_sizes(void **state)
{
	struct hall h;

	(void)state;
	open_tiny(&h);
	run_batches(&h, 1, MAX_ROWS);
	run_batches(&h, 3, MAX_ROWS);
	run_batches(&h, 2, 7);
	close_hall(&h);
}

static void a_step_in_which_one_does_not_fit_runs_nobody(void **state)
{
	struct model_part parts[2];
	struct model *m;
	struct hall h;

	(void)state;
	open_tiny(&h);
	m = open_model(&h, 1, MAX_ROWS);
	for (unsigned i = 0; i < 2; i++) {
		struct session *s = &h.s[i + 2];

		open_cache(&h, s);
		memcpy(s->x, s->in, s->rows * h.hp.dim * sizeof(float));
		parts[i] = (struct model_part){ .kv = s->kv, .x = s->x, .rows = s->rows };
	}
	parts[1].rows++;
	assert_int_equal(model_step(m, parts, 2), ERR_CONTEXT);
	for (unsigned i = 0; i < 2; i++) {
		struct session *s = &h.s[i + 2];

		assert_int_equal(kv_length(s->kv), 0);
		assert_memory_equal(s->x, s->in, s->rows * h.hp.dim * sizeof(float));
		kv_destroy(s->kv);
	}
	model_close(m);
	close_hall(&h);
}

/* What rows are on their way, at each layer and at their end. */
static void rows_are_tapped_where_another_cache_would_end(void **state)
{
	const uint32_t rows = 5; /* of the longest session */
	struct hall h;
	struct model *m;
	float *whole, *part, *tap;
	size_t bytes;

	(void)state;
	open_tiny(&h);
	m = open_model(&h, 1, MAX_ROWS);
	bytes = rows * h.hp.dim * sizeof(float);
	whole = malloc(bytes);
	part = malloc(bytes);
	tap = calloc(1, bytes);
	assert_true(whole && part && tap);
	for (uint32_t at = 0; at <= h.hp.n_layers; at++) {
		struct kv *all = NULL, *some = NULL;

		assert_int_equal(kv_create(&all, NULL, &h.hp, 0, h.hp.n_layers, LONGEST, KV_F16),
				 0);
		assert_int_equal(kv_create(&some, NULL, &h.hp, 0, at, LONGEST, KV_F16), 0);
		memcpy(whole, h.s[SESSIONS - 1].in, bytes);
		memcpy(part, h.s[SESSIONS - 1].in, bytes);
		assert_int_equal(model_forward_tapped(m, all, whole, rows, at, tap), 0);
		assert_int_equal(model_forward(m, some, part, rows), 0);
		assert_memory_equal(tap, part, bytes);
		kv_destroy(all);
		kv_destroy(some);
	}
	free(whole);
	free(part);
	free(tap);
	model_close(m);
	close_hall(&h);
}

static unsigned pauses;

static void count_pause(void)
{
	pauses++;
}

/* A cache's layers, whatever the model has; and the bits are the same. */
static void others_may_have_the_processor_behind_each_layer(void **state)
{
	const uint32_t rows = 3, first = 1;
	struct hall h;
	struct model *m;
	float *with, *without;
	size_t bytes;

	(void)state;
	open_tiny(&h);
	m = open_model(&h, 1, MAX_ROWS);
	bytes = rows * h.hp.dim * sizeof(float);
	with = malloc(bytes);
	without = malloc(bytes);
	assert_true(with && without && h.hp.n_layers > first);
	for (unsigned i = 0; i < 2; i++) {
		struct kv *kv = NULL;
		float *x = i ? without : with;

		assert_int_equal(kv_create(&kv, NULL, &h.hp, first, h.hp.n_layers, LONGEST, KV_F16),
				 0);
		memcpy(x, h.s[SESSIONS - 1].in, bytes);
		pauses = 0;
		model_pause(m, i ? NULL : count_pause);
		assert_int_equal(model_forward(m, kv, x, rows), 0);
		assert_int_equal(pauses, i ? 0 : h.hp.n_layers - first);
		kv_destroy(kv);
	}
	assert_memory_equal(with, without, bytes);
	free(with);
	free(without);
	model_close(m);
	close_hall(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_is_the_same_in_any_batch),
		cmocka_unit_test(and_in_a_model_of_odd_sizes),
		cmocka_unit_test(a_step_in_which_one_does_not_fit_runs_nobody),
		cmocka_unit_test(rows_are_tapped_where_another_cache_would_end),
		cmocka_unit_test(others_may_have_the_processor_behind_each_layer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
