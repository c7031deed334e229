#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

#define POSITIONS (2 * KV_PAGE + 7)

/* Keys (values) of a head in a page: all bytes are `mark`, or shall be. */
static void paint(uint8_t *rows, unsigned mark, uint32_t page, size_t row_bytes)
{
	const size_t n = page < POSITIONS / KV_PAGE ? KV_PAGE : POSITIONS % KV_PAGE;

	memset(rows, (int)mark, n * row_bytes);
}

static void see(const uint8_t *rows, unsigned mark, uint32_t page, size_t row_bytes)
{
	const size_t n = page < POSITIONS / KV_PAGE ? KV_PAGE : POSITIONS % KV_PAGE;

	for (size_t i = 0; i < n * row_bytes; i++)
		assert_int_equal(rows[i], mark);
}

/* Rows of so many bytes. */
static void heads_lie_apart(enum kv_type type, size_t key_bytes, size_t value_bytes)
{
	struct kv *kv = NULL;
	unsigned mark = 1;

	assert_int_equal(kv_create(&kv, NULL, &hp, 2, 5, POSITIONS, type), 0);
	assert_int_equal(kv_size_bytes(kv), kv_bytes(&hp, 3, POSITIONS, type));
	for (uint32_t i = 0; i < 3 * 2 * 3; i++, mark++) {
		paint(kv_keys(kv, 2 + i / 6, i % 2, i / 2 % 3), mark, i / 2 % 3, key_bytes);
		paint(kv_values(kv, 2 + i / 6, i % 2, i / 2 % 3), mark + 100, i / 2 % 3,
		      value_bytes);
	}
	mark = 1;
	for (uint32_t i = 0; i < 3 * 2 * 3; i++, mark++) {
		see(kv_keys(kv, 2 + i / 6, i % 2, i / 2 % 3), mark, i / 2 % 3, key_bytes);
		see(kv_values(kv, 2 + i / 6, i % 2, i / 2 % 3), mark + 100, i / 2 % 3, value_bytes);
	}
	/* the last byte of the last head is the last byte of the layer */
	assert_ptr_equal(kv_values(kv, 4, 1, 2) + 7 * value_bytes,
			 kv->layers[4] + kv_bytes(&hp, 1, POSITIONS, type));
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

static const struct model_hparams wide = {
	.n_layers = 1, .n_kv_heads = 2, .head_dim = 40, .head_dim_v = 70
};

/* A row as a cache of that type stores it. */
static void store(const struct kv *kv, bool key, float x[96], uint8_t row[static 400])
{
	const size_t n = key ? kv->key_row : kv->value_row;
	const struct kern *k = kern_at(0);

	for (size_t e = 0; key && kv_has_blocks(kv->type) && e < n; e += KV_BLOCK) {
		float turned[KV_BLOCK];

		k->rotate(turned, x + e, KV_KEY_SCALE, KV_BLOCK);
		memcpy(x + e, turned, sizeof(turned));
	}
	if (kv->type == KV_F32)
		memcpy(row, x, n * sizeof(*x));
	else if (kv->type == KV_F16)
		k->to_f16(x, (uint16_t *)(void *)row, n);
	else if (kv->type == KV_Q8_0)
		k->to_q8_0(x, row, n);
	else
		k->to_q4_0(x, row, n);
}

/* Key or value i of all, of numbers or of bytes. */
static struct kv_place place(uint32_t i)
{
	return (struct kv_place){ 0, i % 2, i / 4, i / 2 % 2 };
}

/* What is put as numbers is there as rows, in whole pages and in the last; so is what is put as
 * rows. */
static void rows_come_back(enum kv_type type)
{
	struct kv *numbers = NULL, *rows = NULL;
	_Alignas(4) uint8_t want[400];
	uint8_t got[400];

	assert_int_equal(kv_create(&numbers, NULL, &wide, 0, 1, POSITIONS, type), 0);
	assert_int_equal(kv_create(&rows, NULL, &wide, 0, 1, POSITIONS - 3, type), 0);
	for (uint32_t i = 0; i < 2 * (POSITIONS - 3) * 4; i++) {
		const struct kv_place at = place(i % ((POSITIONS - 3) * 4));
		const size_t bytes = at.key ? rows->key_bytes : rows->value_bytes;
		const bool put = i < (POSITIONS - 3) * 4;
		float x[96] = { 0 };

		for (uint32_t e = 0; e < (at.key ? 40 : 70); e++)
			x[e] = (float)((int)(at.pos * 11 + at.head * 7 + at.key * 3 + e * 5) % 23 -
				       11);
		if (put)
			kv_put_head(numbers, kern_at(0), &at, x);
		store(rows, at.key, x, want);
		if (put)
			kv_put_row(rows, &at, want);
		kv_get_row(put ? numbers : rows, &at, got);
		assert_memory_equal(got, want, bytes);
		kv_get_row(numbers, &at, got);
		assert_memory_equal(got, want, bytes);
	}
	kv_destroy(numbers);
	kv_destroy(rows);
}

static void every_type_gives_back_its_rows(void **state)
{
	(void)state;
	for (unsigned t = 0; t < KV_TYPE_COUNT; t++)
		rows_come_back((enum kv_type)t);
}

static void truncation_only_shortens(void **state)
{
	struct kv *kv = NULL;

	(void)state;
	assert_int_equal(kv_create(&kv, NULL, &hp, 0, 6, 9, KV_F32), 0);
	assert_int_equal(kv_capacity(kv), 9);
	kv->length = 5;
	kv_truncate(kv, 7);
	assert_int_equal(kv_length(kv), 5);
	kv_truncate(kv, 2);
	assert_int_equal(kv_length(kv), 2);
	kv_destroy(kv);
	kv_destroy(NULL);
}

/* Bytes of the cache that the system has given memory to. */
static size_t resident(const struct kv *kv)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const size_t n = kv_layer_map_bytes(kv) / page;
	unsigned char *there = malloc(n);
	size_t sum = 0;

	assert_non_null(there);
	for (uint32_t l = kv->first; l < kv->last; l++) {
		assert_int_equal(mincore(kv->layers[l], kv_layer_map_bytes(kv), there), 0);
		for (size_t i = 0; i < n; i++)
			sum += there[i] & 1 ? page : 0;
	}
	free(there);
	return sum;
}

/* Positions [from, to) of all layers. */
static void fill(struct kv *kv, uint32_t from, uint32_t to)
{
	const struct kern *k = kern_at(0);
	const float rows[2 * 128] = { 1, 2, 3 };

	for (uint32_t layer = kv->first; layer < kv->last; layer++) {
		for (uint32_t pos = from; pos < to; pos++)
			kv_put(kv, k, layer, pos, rows, rows);
	}
	kv->length = to;
}

static void memory_is_taken_when_filled_and_given_back_when_cut(void **state)
{
	struct model_hparams large = hp;
	const size_t edge = 3 * (size_t)sysconf(_SC_PAGESIZE); /* of each layer, at most */
	size_t of_100, of_256;
	struct kv *kv = NULL;

	(void)state;
	large.head_dim = large.head_dim_v = 128;
	of_100 = kv_bytes(&large, 3, 2 * KV_PAGE, KV_F32); /* whole pages */
	of_256 = kv_bytes(&large, 3, 256, KV_F32);
	assert_int_equal(kv_create(&kv, NULL, &large, 1, 4, 4096, KV_F32), 0);
	assert_int_equal(resident(kv), 0);
	fill(kv, 0, 256);
	assert_in_range(resident(kv), of_256, of_256 + 3 * edge);
	kv_truncate(kv, 100);
	assert_in_range(resident(kv), of_100, of_100 + 3 * edge);
	assert_int_equal(kv_length(kv), 100);
	assert_true(((float *)(void *)kv_keys(kv, 3, 0, 1))[KV_PAGE] == 2); /* what was kept */
	fill(kv, 100, 256);
	assert_in_range(resident(kv), of_256, of_256 + 3 * edge);
	kv_truncate(kv, 0);
	assert_in_range(resident(kv), 0, 3 * edge);
	kv_destroy(kv);
}

static void the_last_page_is_given_back_whole(void **state)
{
	struct model_hparams large = hp;
	struct kv *kv = NULL;

	(void)state;
	large.head_dim = large.head_dim_v = 128;
	assert_int_equal(kv_create(&kv, NULL, &large, 1, 2, 100, KV_F16), 0);
	fill(kv, 0, 100);
	kv_truncate(kv, 65);
	fill(kv, 65, 100);
	kv_truncate(kv, 1);
	assert_in_range(resident(kv), 0, kv_bytes(&large, 1, KV_PAGE, KV_F16) + 8192);
	kv_destroy(kv);
}

static void a_budget_is_booked_for_the_whole_capacity(void **state)
{
	const size_t one = kv_bytes(&hp, 6, 100, KV_F16);
	struct kv_budget budget = { .limit_bytes = 2 * one + 7, .booked_bytes = 7 };
	struct kv *a = NULL, *b = NULL, *c = NULL;

	(void)state;
	assert_int_equal(kv_create(&a, &budget, &hp, 0, 6, 100, KV_F16), 0);
	assert_int_equal(budget.booked_bytes, one + 7);
	assert_int_equal(kv_create(&b, &budget, &hp, 0, 6, 101, KV_F16), ERR_LIMIT);
	assert_null(b);
	assert_int_equal(kv_create(&b, &budget, &hp, 0, 6, 100, KV_F16), 0);
	assert_int_equal(kv_create(&c, &budget, &hp, 0, 1, 1, KV_Q4_0), ERR_LIMIT);
	kv_destroy(a);
	assert_int_equal(budget.booked_bytes, one + 7);
	assert_int_equal(kv_create(&a, &budget, &hp, 0, 6, 100, KV_F16), 0);
	budget.limit_bytes = 0; /* a budget that was cut below what is booked */
	assert_int_equal(kv_create(&c, &budget, &hp, 3, 4, 1, KV_Q4_0), ERR_LIMIT);
	kv_destroy(a);
	kv_destroy(b);
	assert_int_equal(budget.booked_bytes, 7);
}

static void what_cannot_be_is_refused(void **state)
{
	struct kv *kv = NULL;

	(void)state;
	assert_int_equal(kv_create(&kv, NULL, &hp, 3, 2, 9, KV_F32), ERR_LIMIT);
	assert_int_equal(kv_create(&kv, NULL, &hp, 0, 7, 9, KV_F32), ERR_LIMIT);
	assert_int_equal(kv_create(&kv, NULL, &hp, 0, 6, 0, KV_F32), ERR_LIMIT);
	assert_null(kv);
	assert_int_equal(kv_create(&kv, NULL, &hp, 3, 3, 1, KV_F32),
			 0); /* no layers: only a length */
	kv_destroy(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(types_have_names),
		cmocka_unit_test(bytes_are_those_of_keys_and_values),
		cmocka_unit_test(no_two_heads_overlap),
		cmocka_unit_test(every_type_gives_back_its_rows),
		cmocka_unit_test(truncation_only_shortens),
		cmocka_unit_test(memory_is_taken_when_filled_and_given_back_when_cut),
		cmocka_unit_test(the_last_page_is_given_back_whole),
		cmocka_unit_test(a_budget_is_booked_for_the_whole_capacity),
		cmocka_unit_test(what_cannot_be_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
