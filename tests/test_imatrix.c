#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "base/crc32c.h"
#include "base/le.h"
#include "engine/opsc.h"
#include "tests/segments.h"
#include "tests/tiny_model.h"

static struct tiny_model small(void)
{
	struct tiny_model m = TINY_MODEL;

	m.dim = 64;
	m.ff = 96;
	m.head_dim = m.head_dim_v = m.rope_dim = 16;
	return m;
}

/* Statistics of the model over the tokens of tests/segments.h, split after `split` layers. */
static struct imatrix_sums *collect(const struct gguf *g, uint32_t split, unsigned threads)
{
	struct imatrix_sums *s;
	struct model_hparams hp;
	struct err e;
	size_t n;

	segments_check(model_read_hparams(&hp, g, &e), &e);
	assert_int_equal(imatrix_sums_create(&s, &hp), 0);
	free(segments_logits(g, g, split, threads, s, &n));
	return s;
}

static struct gguf *open_built(const struct tiny_model *m, struct build *b)
{
	struct gguf *g;
	struct err e;

	*b = tiny_build(m);
	segments_check(gguf_open_memory(&g, b->data, b->len, &e), &e);
	return g;
}

static struct imatrix *decoded(const struct imatrix_sums *s)
{
	struct imatrix *im;
	uint8_t *bytes;
	struct err e;
	size_t len;

	assert_int_equal(imatrix_sums_encode(s, false, &bytes, &len), 0);
	segments_check(imatrix_decode(&im, bytes, len, &e), &e);
	free(bytes);
	return im;
}

/* Mean squares of the tensor in im; it must be there. */
static const float *find(const struct imatrix *im, const char *name, uint64_t cols)
{
	const float *mean;
	struct err e;

	segments_check(imatrix_find(im, name, cols, &mean, &e), &e);
	if (!mean)
		fail_msg("%s has no entry", name);
	return mean;
}

/* RMSNorm leaves rows whose mean square, before its weights, is 1. */
static void every_matrix_gets_the_mean_square_of_its_inputs(void **state)
{
	struct tiny_model m = small();
	struct build b;
	struct gguf *g = open_built(&m, &b);
	struct imatrix_sums *s = collect(g, 1, 2);
	struct imatrix *im = decoded(s);
	const float *norm =
		(const float *)(const void *)gguf_find_tensor(g, "output_norm.weight")->data;
	const float *head = find(im, "output.weight", m.dim);
	const float *mean;
	double sum = 0;
	struct err e;

	(void)state;
	assert_int_equal(imatrix_count(im), 2 * 7 + 1);
	for (uint32_t i = 0; i < m.dim; i++)
		sum += (double)head[i] / ((double)norm[i] * (double)norm[i]);
	assert_true(fabs(sum / m.dim - 1) < 1e-3);
	assert_memory_equal(find(im, "blk.1.attn_q.weight", 64),
			    find(im, "blk.1.attn_v.weight", 64), 64 * sizeof(float));
	assert_memory_equal(find(im, "blk.0.ffn_gate.weight", 64),
			    find(im, "blk.0.ffn_up.weight", 64), 64 * sizeof(float));
	find(im, "blk.0.attn_output.weight", 64);
	find(im, "blk.1.ffn_down.weight", 96);
	segments_check(imatrix_find(im, "token_embd.weight", 64, &mean, &e), &e);
	assert_null(mean);
	assert_int_equal(imatrix_find(im, "blk.1.ffn_down.weight", 64, &mean, &e), ERR_FORMAT);
	assert_non_null(strstr(e.text, "blk.1.ffn_down.weight"));
	imatrix_close(im);
	imatrix_sums_destroy(s);
	gguf_close(g);
	free(b.data);
}

static void observing_changes_no_bit_of_the_logits(void **state)
{
	struct tiny_model m = small();
	struct build b;
	struct gguf *g = open_built(&m, &b);
	struct imatrix_sums *s;
	struct model_hparams hp;
	float *plain, *seen;
	struct err e;
	size_t n;

	(void)state;
	segments_check(model_read_hparams(&hp, g, &e), &e);
	assert_int_equal(imatrix_sums_create(&s, &hp), 0);
	plain = segments_logits(g, g, 1, 1, NULL, &n);
	seen = segments_logits(g, g, 1, 1, s, &n);
	assert_memory_equal(plain, seen, n * sizeof(*plain));
	free(plain);
	free(seen);
	imatrix_sums_destroy(s);
	gguf_close(g);
	free(b.data);
}

static void threads_and_splits_give_the_same_file(void **state)
{
	static const struct {
		uint32_t split;
		unsigned threads;
	} cases[] = { { 0, 1 }, { 1, 1 }, { 2, 3 } };
	struct tiny_model m = small();
	struct build b;
	struct gguf *g = open_built(&m, &b);
	uint8_t *first = NULL, *bytes;
	size_t len = 0, again;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct imatrix_sums *s = collect(g, cases[i].split, cases[i].threads);

		assert_int_equal(imatrix_sums_encode(s, false, &bytes, &again), 0);
		if (first) {
			assert_int_equal(len, again);
			assert_memory_equal(first, bytes, len);
			free(bytes);
		} else {
			first = bytes;
			len = again;
		}
		imatrix_sums_destroy(s);
	}
	free(first);
	gguf_close(g);
	free(b.data);
}

static void a_site_that_saw_nothing_is_left_out_and_a_tied_head_is_the_embedding(void **state)
{
	const struct model_hparams hp = {
		.n_layers = 2, .dim = 4, .n_heads = 1, .head_dim_v = 4, .ff_dim = 8
	};
	const float x[8] = { 1, 2, 3, 4, 3, 0, 1, 0 };
	struct imatrix_sums *s;
	struct imatrix *im;
	const float *mean;
	uint8_t *bytes;
	struct err e;
	size_t len;

	(void)state;
	assert_int_equal(imatrix_sums_create(&s, &hp), 0);
	imatrix_sums_add(s, 1, IMATRIX_MIXED, x, 2);
	imatrix_sums_add(s, 0, IMATRIX_HEAD, x, 1);
	assert_int_equal(imatrix_sums_encode(s, true, &bytes, &len), 0);
	segments_check(imatrix_decode(&im, bytes, len, &e), &e);
	assert_int_equal(imatrix_count(im), 2);
	mean = find(im, "blk.1.attn_output.weight", 4);
	assert_true(mean[0] == 5 && mean[1] == 2 && mean[2] == 5 && mean[3] == 8);
	find(im, "token_embd.weight", 4);
	assert_int_equal(strlen(imatrix_hash(im)), GGUF_HASH_LEN);
	imatrix_close(im);
	free(bytes);
	imatrix_sums_destroy(s);
}

/* One entry "ab" of two columns, with a place changed; the checksum is right again. */
static void patched(uint8_t bytes[static 44], size_t at, uint32_t v)
{
	static const uint8_t good[40] = { 'S', 'M', 'Q', 'I', 1, 0, 0,    0,    1, 0, 0, 0,
					  2,   0,   'a', 'b', 9, 0, 0,    0,    0, 0, 0, 0,
					  2,   0,   0,   0,   0, 0, 0x80, 0x3f, 0, 0, 0, 0 };

	memcpy(bytes, good, 36);
	if (at < 36)
		le_put32(bytes + at, v);
	le_put32(bytes + 36, crc32c(0, bytes, 36));
}

static void what_is_damaged_or_absurd_is_refused(void **state)
{
	static const struct {
		size_t at;
		uint32_t v;
		int rc;
	} cases[] = {
		{ 36, 0, 0 },
		{ 0, 0, ERR_FORMAT }, /* magic */
		{ 4, 2, ERR_VERSION },
		{ 8, 0, ERR_FORMAT }, /* bytes after the last entry */
		{ 8, 2, ERR_FORMAT }, /* more entries than bytes */
		{ 8, 0xffffffff, ERR_FORMAT },
		{ 12, 0x62610000, ERR_FORMAT }, /* an empty name */
		{ 12, 0x6261ffff, ERR_FORMAT }, /* a name beyond the file */
		{ 12, 0x0a610002, ERR_FORMAT }, /* a control character in it */
		{ 24, 0, ERR_FORMAT },          /* no columns */
		{ 24, 3, ERR_FORMAT },          /* more columns than bytes */
		{ 24, 1 << 23, ERR_FORMAT },    /* far beyond what is mapped */
		{ 24, 0xffffffff, ERR_FORMAT },
		{ 28, 0x7fc00000, ERR_FORMAT }, /* NaN */
		{ 28, 0x7f800000, ERR_FORMAT }, /* infinity */
		{ 28, 0xbf800000, ERR_FORMAT }, /* -1 */
	};
	uint8_t bytes[44], *exact;
	struct imatrix *im;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int rc;

		patched(bytes, cases[i].at, cases[i].v);
		e = (struct err){ 0 };
		rc = imatrix_decode(&im, bytes, 40, &e);
		if (rc != cases[i].rc)
			fail_msg("%zu: %d, not %d (%s)", i, rc, cases[i].rc, e.text);
		assert_true(!rc || e.text[0]);
		if (!rc)
			imatrix_close(im);
	}
	patched(bytes, 36, 0);
	for (size_t len = 0; len < 40; len++) { /* of exact size, for the sanitizer */
		exact = malloc(len + 1);
		assert_non_null(exact);
		memcpy(exact, bytes, len);
		assert_int_equal(imatrix_decode(&im, exact, len, &e), ERR_FORMAT);
		free(exact);
	}
	for (size_t i = 0; i < 320; i++) {
		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_int_not_equal(imatrix_decode(&im, bytes, 40, &e), 0);
		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
	}
}

static void an_entry_that_is_there_twice_is_refused(void **state)
{
	uint8_t bytes[64];
	struct imatrix *im;
	struct err e;

	(void)state;
	patched(bytes, 36, 0);
	memcpy(bytes + 36, bytes + 12, 24);
	le_put32(bytes + 8, 2);
	le_put32(bytes + 60, crc32c(0, bytes, 60));
	assert_int_equal(imatrix_decode(&im, bytes, 64, &e), ERR_FORMAT);
	assert_non_null(strstr(e.text, "ab is there twice"));
	bytes[39] = 'c';
	le_put32(bytes + 60, crc32c(0, bytes, 60));
	segments_check(imatrix_decode(&im, bytes, 64, &e), &e);
	assert_int_equal(imatrix_count(im), 2);
	imatrix_close(im);
}

static void a_saved_file_is_read_back_and_a_missing_one_named(void **state)
{
	struct tiny_model m = small();
	struct segments_dir d;
	struct build b;
	struct gguf *g = open_built(&m, &b);
	struct imatrix_sums *s = collect(g, 1, 1);
	struct imatrix *im;
	struct err e;

	(void)state;
	segments_dir_make(&d);
	segments_check(imatrix_sums_save(s, g, d.path[0], &e), &e);
	segments_check(imatrix_open(&im, d.path[0], &e), &e);
	assert_int_equal(imatrix_count(im), 15);
	imatrix_close(im);
	assert_int_equal(imatrix_open(&im, d.path[1], &e), ERR_IO);
	assert_non_null(strstr(e.text, d.path[1]));
	assert_int_not_equal(imatrix_open(&im, d.dir, &e), 0);
	assert_int_equal(imatrix_sums_save(s, g, "/no/such/folder/x", &e), ERR_IO);
	imatrix_sums_destroy(s);
	gguf_close(g);
	free(b.data);
	segments_dir_remove(&d);
}

static void a_plan_takes_the_importance_of_each_matrix_it_changes(void **state)
{
	struct tiny_model m = small();
	struct opsc_conf c = { .front = QUANT_Q4_0,
			       .back = QUANT_Q4_0,
			       .embed = OPSC_DEFAULT,
			       .head = OPSC_DEFAULT,
			       .last = 2 };
	struct build b;
	struct gguf *g = open_built(&m, &b);
	struct imatrix_sums *s = collect(g, 1, 1);
	struct imatrix *im = decoded(s);
	struct opsc_plan with, without;
	size_t matrices = 0;
	struct err e;

	(void)state;
	segments_check(opsc_plan_init(&without, g, &c, &e), &e);
	c.imatrix = im;
	segments_check(opsc_plan_init(&with, g, &c, &e), &e);
	assert_string_not_equal(with.id, without.id);
	assert_int_equal(with.n_without_mean, 1); /* the embedding */
	for (size_t i = 0; i < with.n; i++)
		matrices += with.tensors[i].mean != NULL;
	assert_int_equal(matrices, 15);
	opsc_plan_finish(&with);
	opsc_plan_finish(&without);
	imatrix_close(im);
	imatrix_sums_destroy(s);
	gguf_close(g);
	free(b.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_matrix_gets_the_mean_square_of_its_inputs),
		cmocka_unit_test(observing_changes_no_bit_of_the_logits),
		cmocka_unit_test(threads_and_splits_give_the_same_file),
		cmocka_unit_test(
			a_site_that_saw_nothing_is_left_out_and_a_tied_head_is_the_embedding),
		cmocka_unit_test(what_is_damaged_or_absurd_is_refused),
		cmocka_unit_test(an_entry_that_is_there_twice_is_refused),
		cmocka_unit_test(a_saved_file_is_read_back_and_a_missing_one_named),
		cmocka_unit_test(a_plan_takes_the_importance_of_each_matrix_it_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
