#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "engine/kv.h"

static const struct model_hparams hp = {
	.n_layers = 6, .dim = 64, .n_heads = 8, .n_kv_heads = 2, .head_dim = 8, .head_dim_v = 12
};

static void types_have_names(void **state)
{
	enum kv_type type = KV_F32;
	char words[64] = "";

	(void)state;
	for (unsigned i = 0; i < KV_TYPE_COUNT; i++) {
		strcat(strcat(words, i ? "|" : ""), kv_type_name((enum kv_type)i));
		assert_int_equal(kv_type_parse(&type, kv_type_name((enum kv_type)i)), 0);
		assert_int_equal(type, i);
	}
	assert_string_equal(words, KV_TYPE_WORDS);
	assert_int_equal(kv_type_parse(&type, "f16"), 0);
	assert_int_equal(type, KV_F16);
	assert_string_equal(kv_type_name(KV_F32), "f32");
	assert_int_equal(kv_type_parse(&type, "q9"), ERR_CONFIG);
	assert_int_equal(type, KV_F16);
}

static void bytes_are_those_of_keys_and_values(void **state)
{
	struct model_hparams huge = hp;

	(void)state;
	/* 3 layers x 100 tokens x 2 heads x (8 + 12) elements */
	assert_int_equal(kv_bytes(&hp, 3, 100, KV_F16), 3 * 100 * 2 * 20 * 2);
	assert_int_equal(kv_bytes(&hp, 3, 100, KV_F32), 3 * 100 * 2 * 20 * 4);
	/* one block for 8 elements and one for 12; three for 65 */
	assert_int_equal(kv_bytes(&hp, 3, 100, KV_Q8_0), 3 * 100 * 2 * (34 + 34));
	assert_int_equal(kv_bytes(&hp, 3, 100, KV_Q4_0), 3 * 100 * 2 * (18 + 18));
	huge.head_dim = 65;
	huge.head_dim_v = 128;
	assert_int_equal(kv_bytes(&huge, 1, 1, KV_Q4_0), 2 * (3 + 4) * 18);
	assert_int_equal(kv_bytes(&huge, 1, 1, KV_Q8_0), 2 * (3 + 4) * 34);
	huge.n_kv_heads = 4096;
	huge.head_dim = 4096;
	assert_true(kv_bytes(&huge, UINT32_MAX, UINT32_MAX, KV_F32) == SIZE_MAX);
}

/* Rows of so many bytes, 7 positions. */
static void heads_lie_apart(enum kv_type type, size_t key_bytes, size_t value_bytes)
{
	struct kv *kv = NULL;
	unsigned mark = 1;

	assert_int_equal(kv_create(&kv, &hp, 2, 5, 7, type), 0);
	assert_int_equal(kv_size_bytes(kv), kv_bytes(&hp, 3, 7, type));
	for (uint32_t l = 2; l < 5; l++) {
		for (uint32_t h = 0; h < 2; h++, mark++) {
			memset(kv_keys(kv, l, h), (int)mark, 7 * key_bytes);
			memset(kv_values(kv, l, h), (int)mark + 100, 7 * value_bytes);
		}
	}
	mark = 1;
	for (uint32_t l = 2; l < 5; l++) {
		for (uint32_t h = 0; h < 2; h++, mark++) {
			for (unsigned i = 0; i < 7 * key_bytes; i++)
				assert_int_equal(kv_keys(kv, l, h)[i], mark);
			for (unsigned i = 0; i < 7 * value_bytes; i++)
				assert_int_equal(kv_values(kv, l, h)[i], mark + 100);
		}
	}
	/* the last byte of the last head is the last byte of all */
	assert_ptr_equal(kv_values(kv, 4, 1) + 7 * value_bytes,
			 kv->data + kv_bytes(&hp, 3, 7, type));
	kv_destroy(kv);
}

static void no_two_heads_overlap(void **state)
{
	(void)state;
	heads_lie_apart(KV_F16, 8 * 2, 12 * 2);
	heads_lie_apart(KV_F32, 8 * 4, 12 * 4);
	heads_lie_apart(KV_Q8_0, 34, 34);
	heads_lie_apart(KV_Q4_0, 18, 18);
}

static void truncation_only_shortens(void **state)
{
	struct kv *kv = NULL;

	(void)state;
	assert_int_equal(kv_create(&kv, &hp, 0, 6, 9, KV_F32), 0);
	assert_int_equal(kv_capacity(kv), 9);
	kv->length = 5;
	kv_truncate(kv, 7);
	assert_int_equal(kv_length(kv), 5);
	kv_truncate(kv, 2);
	assert_int_equal(kv_length(kv), 2);
	kv_destroy(kv);
	kv_destroy(NULL);
}

static void what_cannot_be_is_refused(void **state)
{
	struct kv *kv = NULL;

	(void)state;
	assert_int_equal(kv_create(&kv, &hp, 3, 2, 9, KV_F32), ERR_LIMIT);
	assert_int_equal(kv_create(&kv, &hp, 0, 7, 9, KV_F32), ERR_LIMIT);
	assert_int_equal(kv_create(&kv, &hp, 0, 6, 0, KV_F32), ERR_LIMIT);
	assert_null(kv);
	assert_int_equal(kv_create(&kv, &hp, 3, 3, 1, KV_F32), 0); /* no layers: only a length */
	kv_destroy(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(types_have_names),
		cmocka_unit_test(bytes_are_those_of_keys_and_values),
		cmocka_unit_test(no_two_heads_overlap),
		cmocka_unit_test(truncation_only_shortens),
		cmocka_unit_test(what_cannot_be_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
