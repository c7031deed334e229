#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "engine/opsc.h"
#include "tests/conformance.h"
#include "tests/segments.h"
#include "tests/tiny_model.h"

#define ALL(t)                                                                                     \
	((struct opsc_conf){ .front = (t),                                                         \
			     .back = (t),                                                          \
			     .embed = OPSC_DEFAULT,                                                \
			     .head = OPSC_DEFAULT,                                                 \
			     .last = 3 })

/* A model whose rows are whole super-blocks. */
static struct tiny_model wide(void)
{
	struct tiny_model m = TINY_MODEL;

	m.layers = 3;
	m.dim = 256;
	m.head_dim = m.head_dim_v = m.rope_dim = 64;
	m.ff = 512;
	m.vocab = 40;
	m.rope_freqs = true;
	return m;
}

static struct gguf *open_built(const struct tiny_model *m, struct build *b)
{
	struct gguf *g;
	struct err e;

	*b = tiny_build(m);
	segments_check(gguf_open_memory(&g, b->data, b->len, &e), &e);
	return g;
}

static struct gguf *reopen(const char *path)
{
	struct gguf *g;
	struct err e;

	segments_check(gguf_open(&g, path, &e), &e);
	return g;
}

static struct gguf *write_open(const struct gguf *g, const struct opsc_conf *c, const char *path)
{
	struct opsc_plan p;
	struct err e;

	segments_check(opsc_plan_init(&p, g, c, &e), &e);
	segments_check(opsc_write(&p, path, 2, NULL, &e), &e);
	opsc_plan_finish(&p);
	return reopen(path);
}

static void hash_of(const struct gguf *g, char hash[static GGUF_HASH_LEN + 1])
{
	struct err e;

	segments_check(gguf_hash(g, hash, &e), &e);
}

static enum quant_type type_of(const struct gguf *g, const char *name)
{
	const struct gguf_tensor *t = gguf_find_tensor(g, name);

	if (!t)
		fail_msg("no tensor %s", name);
	return t->type;
}

/* error^2 / signal^2 between the logits of two files. */
static double distance(const struct gguf *a, const struct gguf *b)
{
	size_t n, m;
	float *x = segments_logits(a, a, 1, 2, NULL, &n);
	float *y = segments_logits(b, b, 1, 2, NULL, &m);
	double error = 0, signal = 0;

	assert_int_equal(n, m);
	for (size_t i = 0; i < n; i++) {
		error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
		signal += (double)x[i] * (double)x[i];
	}
	free(x);
	free(y);
	return error / signal;
}

/* Every key of a is in b, with the same bytes. */
static void same_metadata(const struct gguf *a, const struct gguf *b)
{
	for (size_t i = 0; i < gguf_n_kv(a); i++) {
		const struct gguf_kv *x = gguf_kv_at(a, i), *y;
		char key[128];

		snprintf(key, sizeof(key), "%.*s", (int)x->key.len, x->key.text);
		if (!strcmp(key, "general.file_type") || !strcmp(key, "general.alignment") ||
		    !strcmp(key, "general.quantization_version"))
			continue;
		y = gguf_find(b, key);
		if (!y || x->type != y->type || x->item_type != y->item_type ||
		    x->count != y->count)
			fail_msg("key %s is another", key);
		/* values lie between this key and the next: compare what both ends allow */
		if (x->item_type == GGUF_STRING) {
			const uint8_t *p = x->data, *q = y->data;

			for (uint64_t k = 0; k < x->count; k++) {
				struct gguf_str s = gguf_next_str(&p), t = gguf_next_str(&q);

				assert_int_equal(s.len, t.len);
				assert_memory_equal(s.text, t.text, s.len);
			}
			continue;
		}
		for (uint64_t k = 0; k < x->count; k++)
			assert_true(gguf_float_at(x, k) == gguf_float_at(y, k));
	}
}

static void a_file_in_its_own_types_is_the_same_model(void **state)
{
	struct tiny_model m = wide();
	struct opsc_conf c = ALL(OPSC_KEEP);
	struct segments_dir d;
	struct build b;
	struct gguf *g = open_built(&m, &b), *out;
	char before[GGUF_HASH_LEN + 1], after[GGUF_HASH_LEN + 1];
	uint32_t v;

	(void)state;
	segments_dir_make(&d);
	out = write_open(g, &c, d.path[0]);
	same_metadata(g, out);
	assert_int_equal(gguf_get_u32(out, "general.file_type", &v, NULL), 0);
	assert_int_equal(v, 0); /* all F32 */
	assert_int_equal(gguf_n_tensors(out), gguf_n_tensors(g));
	for (size_t i = 0; i < gguf_n_tensors(g); i++) {
		const struct gguf_tensor *x = gguf_tensor_at(g, i), *y = gguf_tensor_at(out, i);

		assert_string_equal(x->name, y->name);
		assert_int_equal(x->n_dims, y->n_dims);
		assert_int_equal(x->bytes, y->bytes);
		assert_int_equal(y->offset % 32, 0);
		assert_memory_equal(x->data, y->data, x->bytes);
	}
	hash_of(g, before);
	hash_of(out, after);
	assert_string_equal(before, after);
	gguf_close(out);
	gguf_close(g);
	free(b.data);
	segments_dir_remove(&d);
}

static void each_precision_costs_about_what_its_bits_say(void **state)
{
	static const struct {
		enum quant_type type;
		double most; /* of distance(); random weights make more of it than trained ones,
				8-bit activations half of what Q8_0 shows, those of super-blocks
				as much as it shows: of Q6_K 0.009 beside 0.054, together up to
				(0.097 + 0.232)^2 */
		uint32_t file_type;
	} cases[] = {
		{ QUANT_F16, 2e-5, 1 },   { QUANT_BF16, 3e-3, 32 }, { QUANT_Q8_0, 0.02, 7 },
		{ QUANT_Q6_K, 0.10, 18 }, { QUANT_Q5_K, 0.3, 16 },  { QUANT_Q5_1, 0.3, 9 },
		{ QUANT_Q5_0, 0.3, 8 },   { QUANT_Q4_K, 0.4, 14 },  { QUANT_Q4_1, 0.5, 3 },
		{ QUANT_Q4_0, 0.5, 2 },   { QUANT_Q3_K, 1.1, 11 },  { QUANT_Q2_K, 1.4, 10 },
	};
	struct tiny_model m = wide();
	struct segments_dir d;
	struct build b;
	struct gguf *g = open_built(&m, &b);

	(void)state;
	segments_dir_make(&d);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct opsc_conf c = ALL(cases[i].type);
		struct gguf *out = write_open(g, &c, d.path[0]);
		double got = distance(g, out);
		uint32_t v = 0;

		if (getenv("SPLITMQ_SHOW"))
			print_message("%s: %g\n", quant_name(cases[i].type), got);
		if (!(got <= cases[i].most))
			fail_msg("%s: logits differ by %g", quant_name(cases[i].type), got);
		assert_int_equal(gguf_get_u32(out, "general.file_type", &v, NULL), 0);
		assert_int_equal(v, cases[i].file_type);
		assert_int_equal(type_of(out, "blk.1.ffn_down.weight"), cases[i].type);
		assert_int_equal(type_of(out, "blk.1.ffn_norm.weight"), QUANT_F32);
		assert_int_equal(type_of(out, "rope_freqs.weight"), QUANT_F32);
		gguf_close(out);
	}
	gguf_close(g);
	free(b.data);
	segments_dir_remove(&d);
}

static void front_back_embedding_and_head_get_their_types(void **state)
{
	struct tiny_model m = wide();
	struct opsc_conf c = ALL(QUANT_Q8_0);
	struct segments_dir d;
	struct build b;
	struct gguf *g = open_built(&m, &b), *out, *again;

	(void)state;
	segments_dir_make(&d);
	c.front = QUANT_Q2_K;
	c.boundary = 2;
	out = write_open(g, &c, d.path[0]);
	assert_int_equal(type_of(out, "blk.0.attn_q.weight"), QUANT_Q2_K);
	assert_int_equal(type_of(out, "blk.1.ffn_up.weight"), QUANT_Q2_K);
	assert_int_equal(type_of(out, "blk.2.attn_q.weight"), QUANT_Q8_0);
	assert_int_equal(type_of(out, "token_embd.weight"), QUANT_Q4_K);
	assert_int_equal(type_of(out, "output.weight"), QUANT_Q8_0);
	c = ALL(QUANT_Q3_K);
	c.embed = QUANT_F16;
	again = write_open(out, &c, d.path[1]);
	assert_int_equal(type_of(again, "token_embd.weight"), QUANT_F16);
	assert_int_equal(type_of(again, "output.weight"), QUANT_Q6_K);
	gguf_close(again);
	c.back = QUANT_F32;
	c.embed = OPSC_DEFAULT;
	again = write_open(out, &c, d.path[1]); /* a default is not finer than the source */
	assert_int_equal(type_of(again, "output.weight"), QUANT_Q8_0);
	assert_int_equal(type_of(again, "token_embd.weight"), QUANT_Q4_K);
	assert_int_equal(type_of(again, "blk.0.attn_q.weight"), QUANT_F32);
	gguf_close(again);
	gguf_close(out);
	gguf_close(g);
	free(b.data);
	segments_dir_remove(&d);
}

static void a_tied_embedding_is_as_fine_as_the_head_needs_it(void **state)
{
	static const unsigned cases[][4] = {
		/* front, back, head; what the embedding becomes */
		{ QUANT_Q2_K, QUANT_Q2_K, OPSC_DEFAULT, QUANT_Q6_K },
		{ QUANT_Q8_0, QUANT_Q4_K, OPSC_DEFAULT, QUANT_Q8_0 },
		{ QUANT_Q8_0, QUANT_Q4_K, QUANT_Q4_K, QUANT_Q4_K },
		{ OPSC_KEEP, QUANT_Q4_K, OPSC_DEFAULT, QUANT_F32 },
		{ QUANT_Q4_K, QUANT_Q4_K, OPSC_KEEP, QUANT_F32 },
	};
	struct tiny_model m = wide();
	struct build b;
	struct gguf *g;
	struct err e;

	(void)state;
	m.tied = true;
	g = open_built(&m, &b);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct opsc_conf c = ALL(cases[i][1]);
		struct opsc_plan p;

		c.front = cases[i][0];
		c.head = cases[i][2];
		c.boundary = 1;
		segments_check(opsc_plan_init(&p, g, &c, &e), &e);
		assert_true(p.tied);
		assert_string_equal(p.tensors[0].from->name, "token_embd.weight");
		assert_int_equal(p.tensors[0].type, cases[i][3]);
		opsc_plan_finish(&p);
	}
	gguf_close(g);
	free(b.data);
}

static void rows_that_are_no_whole_blocks_get_a_finer_type(void **state)
{
	static const unsigned cases[][2] = {
		{ QUANT_Q2_K, QUANT_Q4_0 }, { QUANT_Q3_K, QUANT_Q4_0 }, { QUANT_Q4_K, QUANT_Q4_1 },
		{ QUANT_Q5_K, QUANT_Q5_1 }, { QUANT_Q6_K, QUANT_Q8_0 }, { QUANT_Q4_0, QUANT_Q4_0 },
	};
	struct tiny_model m = TINY_MODEL;
	struct opsc_conf c;
	struct opsc_plan p;
	struct build b;
	struct gguf *g;
	struct err e;

	(void)state;
	m.layers = 3;
	m.dim = 96; /* 32 x 3; ff stays 40 */
	g = open_built(&m, &b);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		c = ALL(cases[i][0]);
		segments_check(opsc_plan_init(&p, g, &c, &e), &e);
		for (size_t k = 0; k < p.n; k++) {
			const struct gguf_tensor *t = p.tensors[k].from;

			if (strstr(t->name, "ffn_gate"))
				assert_int_equal(p.tensors[k].type, cases[i][1]);
			if (strstr(t->name, "ffn_down"))
				assert_int_equal(p.tensors[k].type, QUANT_F16);
		}
		assert_true(p.n_fell_back >= 3);
		opsc_plan_finish(&p);
	}
	gguf_close(g);
	free(b.data);
}

static void slices_give_the_logits_of_the_whole_bit_for_bit(void **state)
{
	(void)state;
	for (unsigned tied = 0; tied < 2; tied++) {
		struct tiny_model m = wide();
		struct opsc_conf c = ALL(QUANT_Q6_K);
		struct segments_dir d;
		struct gguf *g, *whole, *front, *back;
		char hash[3][GGUF_HASH_LEN + 1];
		float *want, *got;
		struct build b;
		size_t n;

		m.tied = tied;
		g = open_built(&m, &b);
		segments_dir_make(&d);
		c.front = QUANT_Q4_K;
		c.boundary = 2;
		whole = write_open(g, &c, d.path[0]);
		c.last = 2;
		front = write_open(g, &c, d.path[1]);
		c.first = 2;
		c.last = 3;
		back = write_open(g, &c, d.path[2]);
		assert_null(gguf_find_tensor(front, "blk.2.attn_q.weight"));
		assert_null(gguf_find_tensor(front, "output_norm.weight"));
		assert_null(gguf_find_tensor(back, "blk.1.attn_q.weight"));
		assert_int_equal(gguf_find_tensor(back, "token_embd.weight") != NULL, tied);
		want = segments_logits(whole, whole, 2, 1, NULL, &n);
		got = segments_logits(front, back, 2, 2, NULL, &n);
		assert_memory_equal(got, want, n * sizeof(*got));
		hash_of(whole, hash[0]);
		hash_of(front, hash[1]);
		hash_of(back, hash[2]);
		assert_string_equal(hash[0], hash[1]);
		assert_string_equal(hash[0], hash[2]);
		free(want);
		free(got);
		gguf_close(whole);
		gguf_close(front);
		gguf_close(back);
		gguf_close(g);
		free(b.data);
		segments_dir_remove(&d);
	}
}

static void refused(const struct gguf *g, uint32_t first, uint32_t last, bool embed, bool head,
		    const char *says)
{
	const struct model_conf conf = {
		.first = first, .last = last, .embed = embed, .head = head, .threads = 1
	};
	struct model *m = NULL;
	struct err e;

	assert_int_equal(model_open(&m, g, &conf, &e), ERR_NOT_FOUND);
	if (!strstr(e.text, says))
		fail_msg("\"%s\" does not say \"%s\"", e.text, says);
}

static void a_layer_that_is_not_in_the_slice_is_named(void **state)
{
	struct tiny_model m = wide();
	struct opsc_conf c = ALL(OPSC_KEEP);
	struct segments_dir d;
	struct build b;
	struct gguf *g = open_built(&m, &b), *front, *back;

	(void)state;
	segments_dir_make(&d);
	c.last = 1;
	front = write_open(g, &c, d.path[0]);
	c.first = 1;
	c.last = 3;
	back = write_open(g, &c, d.path[1]);
	refused(front, 0, 3, true, true,
		"layer 1 is not in this file, a slice with layers 0..1 of 3");
	refused(front, 2, 3, false, true, "layer 2 is not");
	refused(front, 0, 1, true, true, "the head is not");
	refused(back, 0, 3, false, true, "layer 0 is not");
	refused(back, 1, 3, true, true, "the embedding is not");
	gguf_close(front);
	gguf_close(back);
	gguf_close(g);
	free(b.data);
	segments_dir_remove(&d);
}

static void a_slice_can_be_cut_again_but_not_quantized(void **state)
{
	struct tiny_model m = wide();
	struct opsc_conf c = ALL(OPSC_KEEP);
	struct segments_dir d;
	struct build b;
	struct gguf *g = open_built(&m, &b), *front, *cut;
	char whole[GGUF_HASH_LEN + 1], part[GGUF_HASH_LEN + 1];
	struct opsc_plan p;
	struct err e;

	(void)state;
	segments_dir_make(&d);
	c.last = 2;
	front = write_open(g, &c, d.path[0]);
	c.last = 1;
	cut = write_open(front, &c, d.path[1]);
	hash_of(g, whole);
	hash_of(cut, part);
	assert_string_equal(part, whole);
	assert_null(gguf_find_tensor(cut, "blk.1.attn_q.weight"));
	c.last = 3;
	assert_int_equal(opsc_plan_init(&p, front, &c, &e), ERR_LIMIT);
	assert_non_null(strstr(e.text, "0..3 of a slice with 0..2"));
	c = ALL(QUANT_Q8_0);
	c.last = 2;
	assert_int_equal(opsc_plan_init(&p, front, &c, &e), ERR_UNSUPPORTED);
	c.first = 3;
	assert_int_equal(opsc_plan_init(&p, g, &c, &e), ERR_LIMIT);
	c = ALL(QUANT_Q8_0);
	c.boundary = 4;
	assert_int_equal(opsc_plan_init(&p, g, &c, &e), ERR_LIMIT);
	gguf_close(cut);
	gguf_close(front);
	gguf_close(g);
	free(b.data);
	segments_dir_remove(&d);
}

static void slice_keys_that_are_no_range_are_refused(void **state)
{
	static const struct {
		int first, last; /* -1: no such key */
		int rc;
	} cases[] = { { -1, -1, 0 },         { 0, 3, 0 },           { 1, 1, 0 },
		      { 0, -1, ERR_FORMAT }, { -1, 2, ERR_FORMAT }, { 2, 1, ERR_FORMAT },
		      { 0, 4, ERR_FORMAT } };
	const struct model_hparams hp = { .n_layers = 3 };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct build b = { 0 };
		struct model_slice s = { 77, 77 };
		struct gguf *g;
		struct err e;

		build_header(&b, 3, 0, (cases[i].first >= 0) + (cases[i].last >= 0));
		if (cases[i].first >= 0)
			build_key_u32(&b, MODEL_SLICE_FIRST, (uint32_t)cases[i].first);
		if (cases[i].last >= 0)
			build_key_u32(&b, MODEL_SLICE_LAST, (uint32_t)cases[i].last);
		segments_check(gguf_open_memory(&g, b.data, b.len, &e), &e);
		assert_int_equal(model_read_slice(&s, g, &hp, &e), cases[i].rc);
		assert_int_equal(s.first == 77, cases[i].rc != 0);
		gguf_close(g);
		free(b.data);
	}
}

static void the_identity_follows_the_recipe(void **state)
{
	struct tiny_model m = wide();
	struct opsc_conf c[5] = { ALL(QUANT_Q8_0), ALL(QUANT_Q4_K), ALL(QUANT_Q4_K),
				  ALL(QUANT_Q4_K), ALL(QUANT_Q4_K) };
	struct opsc_plan p[5];
	struct build b;
	struct gguf *g = open_built(&m, &b);
	struct err e;

	(void)state;
	c[1].boundary = 1; /* the same types on both sides: no other weights than those of 2 */
	c[3].back = QUANT_Q8_0;
	c[4].head = QUANT_Q8_0;
	for (unsigned i = 0; i < 5; i++)
		segments_check(opsc_plan_init(&p[i], g, &c[i], &e), &e);
	for (unsigned i = 0; i < 5; i++) {
		for (unsigned k = 0; k < i; k++)
			assert_int_equal(!strcmp(p[i].id, p[k].id), i == 2 && k == 1);
	}
	for (unsigned i = 0; i < 5; i++)
		opsc_plan_finish(&p[i]);
	gguf_close(g);
	free(b.data);
}

/* Precisions and slices of one model know each other, over any number of steps. */
static void all_recipes_of_a_model_have_one_source(void **state)
{
	const struct opsc_conf fine = ALL(QUANT_Q8_0), coarse = ALL(QUANT_Q4_0);
	struct opsc_conf cut = ALL(QUANT_Q4_0);
	struct tiny_model m = wide();
	char source[GGUF_HASH_LEN + 1], hash[GGUF_HASH_LEN + 1];
	struct segments_dir d;
	struct gguf *g[4];
	struct build b;
	struct err e;

	(void)state;
	segments_dir_make(&d);
	g[0] = open_built(&m, &b);
	cut.last = 1;
	g[1] = write_open(g[0], &fine, d.path[0]);
	g[2] = write_open(g[1], &coarse, d.path[1]);
	g[3] = write_open(g[0], &cut, d.path[2]);
	hash_of(g[0], hash);
	for (unsigned i = 0; i < 4; i++) {
		segments_check(gguf_source(g[i], source, &e), &e);
		assert_string_equal(source, hash);
		hash_of(g[i], source);
		assert_int_equal(!strcmp(source, hash), i == 0);
	}
	for (unsigned i = 0; i < 4; i++)
		gguf_close(g[i]);
	free(b.data);
	segments_dir_remove(&d);
}

static bool stop_at_once(void *arg, uint64_t done_bytes)
{
	(void)done_bytes;
	return ++*(unsigned *)arg < 3;
}

/* The file at path holds just "old". */
static void check_old(const char *path)
{
	char text[8] = "";
	FILE *f = fopen(path, "rb");

	assert_non_null(f);
	assert_int_equal(fread(text, 1, 8, f), 3);
	assert_string_equal(text, "old");
	fclose(f);
}

static void a_write_that_fails_leaves_things_as_they_were(void **state)
{
	struct tiny_model m = wide();
	struct opsc_conf c = ALL(QUANT_Q4_K);
	unsigned calls = 0;
	const struct opsc_watch watch = { stop_at_once, &calls };
	struct segments_dir d;
	struct build b;
	struct gguf *g = open_built(&m, &b);
	const struct gguf_tensor *t = gguf_find_tensor(g, "blk.1.ffn_down.weight");
	const uint32_t values[2] = { 0x7f800000, 0x7f000000 }; /* infinity; 1.7e38 */
	struct opsc_plan p;
	struct err e;
	FILE *f;

	(void)state;
	segments_dir_make(&d);
	f = fopen(d.path[0], "wb");
	assert_non_null(f);
	fputs("old", f);
	fclose(f);
	segments_check(opsc_plan_init(&p, g, &c, &e), &e);
	assert_int_equal(opsc_write(&p, d.path[0], 1, &watch, &e), ERR_CANCELLED);
	check_old(d.path[0]);
	for (unsigned i = 0; i < 2; i++) {
		memcpy(b.data + t->offset + 4 * 512 * 17 + 40, &values[i], 4);
		assert_int_equal(opsc_write(&p, d.path[0], 2, NULL, &e),
				 i ? ERR_LIMIT : ERR_NOT_FINITE);
		assert_non_null(strstr(e.text, "blk.1.ffn_down.weight, row 17"));
		check_old(d.path[0]);
	}
	assert_int_equal(opsc_write(&p, "/no/such/folder/x.gguf", 1, NULL, &e), ERR_IO);
	assert_int_equal(opsc_write(&p, d.dir, 1, NULL, &e), ERR_IO);
	assert_int_equal(opsc_write(&p, "/dev/null", 1, NULL, &e), ERR_IO);
	opsc_plan_finish(&p);
	gguf_close(g);
	free(b.data);
	segments_dir_remove(&d); /* fails when a temporary file is left */
}

static void a_real_model_survives(void **state)
{
	static const struct {
		enum quant_type type;
		double most;
	} cases[] = { { QUANT_Q8_0, 2e-3 }, { QUANT_Q6_K, 1e-2 }, { QUANT_Q4_K, 0.1 } };
	struct segments_dir d;
	struct gguf *g;
	char path[512];
	struct model_hparams hp;
	struct err e;

	(void)state;
	conformance_or_skip();
	conformance_path(path, sizeof(path), "models/llama-f32.gguf");
	g = reopen(path);
	segments_check(model_read_hparams(&hp, g, &e), &e);
	segments_dir_make(&d);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct opsc_conf c = ALL(cases[i].type);
		struct gguf *out;
		double got;

		c.last = hp.n_layers;
		out = write_open(g, &c, d.path[0]);
		same_metadata(g, out);
		got = distance(g, out);
		if (getenv("SPLITMQ_SHOW"))
			print_message("%s: %g\n", quant_name(cases[i].type), got);
		assert_true(got <= cases[i].most && got > 0);
		gguf_close(out);
	}
	gguf_close(g);
	segments_dir_remove(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_in_its_own_types_is_the_same_model),
		cmocka_unit_test(each_precision_costs_about_what_its_bits_say),
		cmocka_unit_test(front_back_embedding_and_head_get_their_types),
		cmocka_unit_test(a_tied_embedding_is_as_fine_as_the_head_needs_it),
		cmocka_unit_test(rows_that_are_no_whole_blocks_get_a_finer_type),
		cmocka_unit_test(slices_give_the_logits_of_the_whole_bit_for_bit),
		cmocka_unit_test(a_layer_that_is_not_in_the_slice_is_named),
		cmocka_unit_test(a_slice_can_be_cut_again_but_not_quantized),
		cmocka_unit_test(slice_keys_that_are_no_range_are_refused),
		cmocka_unit_test(the_identity_follows_the_recipe),
		cmocka_unit_test(all_recipes_of_a_model_have_one_source),
		cmocka_unit_test(a_write_that_fails_leaves_things_as_they_were),
		cmocka_unit_test(a_real_model_survives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
