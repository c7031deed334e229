/* Models made of random numbers: they load, say finite things, and are the same for a seed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/model.h"
#include "engine/quantize.h"
#include "engine/tokenizer.h"
#include "tools/synth.h"

static char path[] = "/tmp/splitmq-synth-XXXXXX";

static int make_path(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

static int remove_path(void **state)
{
	(void)state;
	return unlink(path);
}

static struct gguf *make(const struct synth_shape *s, enum quant_type type, bool mixture,
			 uint64_t seed)
{
	const struct synth_conf conf = { s, type, mixture, seed };
	struct progress p = { .what = "synth", .units = "KiB" };
	struct gguf *g = NULL;
	struct err e = { 0 };

	if (synth_write(&conf, path, &p, NULL, &e) || gguf_open(&g, path, &e))
		fail_msg("%s", e.text);
	return g;
}

/* A shape as it is, made small: what loads then is the kind of model, not its size. */
static struct synth_shape small(const char *name)
{
	struct synth_shape s = *synth_find(name);

	s.layers = 2;
	s.dim = s.dim == 896 ? 128 : 256; /* rows that are no whole blocks of 256 stay so */
	s.heads = 4;
	s.kv_heads = 2;
	s.ff = 2 * s.dim;
	return s;
}

/* Rows after all layers have a size that is neither 0 nor large; logits are finite, and differ. */
static void says_finite_things(const struct gguf *g)
{
	static const uint32_t ids[] = { 1, 70, 99, 5 };
	struct model_conf conf = { .embed = true, .head = true, .threads = 1, .max_rows = 4 };
	struct model_hparams hp;
	struct model *m = NULL;
	struct kv *kv = NULL;
	struct err e = { 0 };
	float *x, *logits;
	double sum = 0;

	assert_int_equal(model_read_hparams(&hp, g, &e), 0);
	conf.last = hp.n_layers;
	if (model_open(&m, g, &conf, &e))
		fail_msg("%s", e.text);
	assert_int_equal(kv_create(&kv, NULL, &hp, 0, hp.n_layers, 4, KV_F32), 0);
	x = malloc(4 * hp.dim * sizeof(*x));
	logits = malloc(hp.n_vocab * sizeof(*logits));
	assert_int_equal(model_embed(m, ids, 4, x), 0);
	assert_int_equal(model_forward(m, kv, x, 4), 0);
	for (uint32_t i = 0; i < hp.dim; i++)
		sum += (double)x[i] * x[i] / hp.dim;
	assert_true(sum > 1e-4 && sum < 100);
	model_logits(m, x + 3 * (size_t)hp.dim, 1, logits);
	for (uint32_t i = 0; i < hp.n_vocab; i++)
		assert_true(isfinite(logits[i]));
	assert_true(logits[0] != logits[1]);
	free(x);
	free(logits);
	kv_destroy(kv);
	model_close(m);
}

static void every_type_loads_and_says_finite_things(void **state)
{
	(void)state;
	for (unsigned t = 0; t < QUANT_TYPE_END; t++) {
		struct gguf *g;

		if (!quantize_can((enum quant_type)t))
			continue;
		g = make(synth_find("toy"), (enum quant_type)t, false, 1);
		assert_int_equal(gguf_find_tensor(g, "blk.0.ffn_up.weight")->type, t);
		says_finite_things(g);
		gguf_close(g);
	}
}

static void every_shape_loads_and_speaks(void **state)
{
	(void)state;
	for (const struct synth_shape *s = synth_shapes; s->name; s++) {
		const struct synth_shape shape = small(s->name);
		struct tokenizer *t = NULL;
		struct err e = { 0 };
		struct gguf *g = make(&shape, QUANT_Q4_K, true, 1);
		uint32_t *ids = NULL;
		size_t n = 0;

		says_finite_things(g);
		if (tokenizer_create(&t, g, &e))
			fail_msg("%s: %s", s->name, e.text);
		assert_int_equal(tokenizer_n_vocab(t), s->vocab);
		assert_int_equal(tokenizer_encode(t, "a\n\xF0\x9F\x98\x80", 6, 0, &ids, &n, &e), 0);
		assert_true(n >= 3);
		free(ids);
		tokenizer_destroy(t);
		gguf_close(g);
	}
}

static unsigned count(const struct gguf *g, const char *part, enum quant_type type)
{
	unsigned n = 0;

	for (size_t i = 0; i < gguf_n_tensors(g); i++)
		n += strstr(gguf_tensor_at(g, i)->name, part) && gguf_tensor_at(g, i)->type == type;
	return n;
}

static void a_mixture_is_finer_where_llama_cpp_is(void **state)
{
	struct gguf *g = make(synth_find("toy"), QUANT_Q4_K, true, 1);

	(void)state;
	/* of eight layers: the first, the last, and every third between */
	assert_int_equal(count(g, "ffn_down", QUANT_Q6_K), 4);
	assert_int_equal(count(g, "attn_v", QUANT_Q6_K), 4);
	assert_int_equal(gguf_find_tensor(g, "blk.0.attn_v.weight")->type, QUANT_Q6_K);
	assert_int_equal(gguf_find_tensor(g, "blk.1.attn_v.weight")->type, QUANT_Q4_K);
	assert_int_equal(gguf_find_tensor(g, "blk.3.ffn_down.weight")->type, QUANT_Q6_K);
	assert_int_equal(gguf_find_tensor(g, "blk.7.ffn_down.weight")->type, QUANT_Q6_K);
	assert_int_equal(count(g, "ffn_up", QUANT_Q4_K), 8);
	assert_int_equal(gguf_find_tensor(g, "output.weight")->type, QUANT_Q6_K);
	assert_int_equal(gguf_find_tensor(g, "token_embd.weight")->type, QUANT_Q4_K);
	gguf_close(g);
}

static void rows_of_no_whole_blocks_have_small_ones(void **state)
{
	const struct synth_shape shape = small("qwen2.5-0.5b");
	struct gguf *g = make(&shape, QUANT_Q4_K, true, 1);

	(void)state;
	assert_int_equal(gguf_find_tensor(g, "blk.1.attn_v.weight")->type, QUANT_Q8_0);
	assert_int_equal(gguf_find_tensor(g, "blk.0.attn_q.weight")->type, QUANT_Q5_0);
	assert_int_equal(gguf_find_tensor(g, "token_embd.weight")->type, QUANT_Q8_0);
	assert_null(gguf_find_tensor(g, "output.weight"));
	gguf_close(g);
}

static void a_seed_makes_its_file_again_and_another_one_another(void **state)
{
	char first[GGUF_HASH_LEN + 1], again[GGUF_HASH_LEN + 1], other[GGUF_HASH_LEN + 1];
	struct gguf *g = make(synth_find("toy"), QUANT_Q4_0, false, 1);
	struct err e;

	(void)state;
	assert_int_equal(gguf_hash(g, first, &e), 0);
	gguf_close(g);
	g = make(synth_find("toy"), QUANT_Q4_0, false, 1);
	assert_int_equal(gguf_hash(g, again, &e), 0);
	gguf_close(g);
	g = make(synth_find("toy"), QUANT_Q4_0, false, 2);
	assert_int_equal(gguf_hash(g, other, &e), 0);
	gguf_close(g);
	assert_string_equal(first, again);
	assert_string_not_equal(first, other);
}

static void elements_have_the_mean_and_deviation_asked_for(void **state)
{
	enum { BLOCKS = 256 };
	static uint8_t bytes[BLOCKS * 1024];
	static float x[BLOCKS * 256];

	(void)state;
	for (unsigned t = 0; t < QUANT_TYPE_END; t++) {
		struct synth_random r = { 7, 0 };
		double sum = 0, squares = 0;
		size_t n;

		if (!quantize_can((enum quant_type)t))
			continue;
		n = BLOCKS * (size_t)quant_block_elements(t);
		synth_fill(&r, (enum quant_type)t, 0.02f, bytes, BLOCKS);
		quant_dequant_row((enum quant_type)t, bytes, x, n);
		for (size_t i = 0; i < n; i++) {
			sum += x[i];
			squares += (double)x[i] * x[i];
		}
		/* few plain numbers are drawn, and blocks move together */
		assert_true(fabs(sum / (double)n) < 0.003);
		assert_true(fabs(sqrt(squares / (double)n) / 0.02 - 1) < 0.06);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_loads_and_says_finite_things),
		cmocka_unit_test(every_shape_loads_and_speaks),
		cmocka_unit_test(a_mixture_is_finer_where_llama_cpp_is),
		cmocka_unit_test(rows_of_no_whole_blocks_have_small_ones),
		cmocka_unit_test(a_seed_makes_its_file_again_and_another_one_another),
		cmocka_unit_test(elements_have_the_mean_and_deviation_asked_for),
	};

	return cmocka_run_group_tests(tests, make_path, remove_path);
}
