#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/le.h"
#include "codec/cal_layout.h"
#include "tests/tiny_cal.h"

static const struct tiny_cal small = { .dim = 6,
				       .k = 5,
				       .features = 3,
				       .vocab = 4,
				       .n_splits = 2,
				       .n_losses = 2,
				       .size = 1,
				       .seed = 1 };

/* The bytes of a calibration; the caller frees. */
static uint8_t *file_of(const struct tiny_cal *conf, size_t *len)
{
	struct cal *c = tiny_cal_make(conf);
	uint8_t *file = NULL;

	assert_int_equal(cal_print(c, &file, len), 0);
	cal_close(c);
	return file;
}

/* In its own allocation, so that a sanitizer sees a read one byte past the end; all splits used. */
static int parse(const uint8_t *file, size_t len, struct err *e)
{
	uint8_t *copy = malloc(len ? len : 1);
	const struct cal_split *s;
	struct cal *c = NULL;
	int rc;

	assert_non_null(copy);
	memcpy(copy, file, len);
	rc = cal_parse(&c, copy, len, e);
	assert_true(rc ? !c : !!c);
	for (uint32_t i = 0; !rc && i < c->n_splits; i++) {
		rc = cal_use(c, c->splits[i].split, &s, e);
		assert_true(rc ? !s : !!s);
	}
	cal_close(c);
	free(copy);
	return rc;
}

static size_t front_len(const uint8_t *file, size_t len)
{
	uint64_t front = CAL_HEADER_LEN + (uint64_t)le_get32(file + CAL_AT_SPLITS) * CAL_ENTRY_LEN +
			 (uint64_t)le_get32(file + CAL_AT_LOSSES) * CAL_LOSS_LEN;

	return front < len ? (size_t)front : len;
}

/* Length and CRC of the header, whatever it says. */
static void sign(uint8_t *file, size_t len)
{
	le_put64(file + CAL_AT_LEN, len);
	le_put32(file + CAL_AT_CRC, crc32c(crc32c(0, file, CAL_AT_CRC), file + CAL_AT_CRC + 4,
					   front_len(file, len) - CAL_AT_CRC - 4));
}

static void what_is_printed_is_read_and_printed_the_same(void **state)
{
	static const struct tiny_cal confs[] = {
		{ .dim = 6,
		  .k = 5,
		  .features = 3,
		  .vocab = 4,
		  .n_splits = 2,
		  .n_losses = 2,
		  .size = 1,
		  .seed = 1 },
		{ .dim = 6, .k = 6, .features = 0, .vocab = 4, .n_splits = 3, .size = 1 },
		{ .dim = 1, .k = 1, .features = 1, .vocab = 1, .n_losses = 3, .size = 1 },
		{ .dim = 64, .k = 20, .features = 8, .vocab = 300, .n_splits = 1, .size = 9 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(confs) / sizeof(confs[0]); i++) {
		size_t len = 0, len2 = 0;
		uint8_t *file = file_of(&confs[i], &len), *again = NULL;
		struct cal *c = NULL;
		struct err e;

		assert_int_equal(cal_parse(&c, file, len, &e), 0);
		assert_int_equal(c->dim, confs[i].dim);
		assert_int_equal(c->n_splits, confs[i].n_splits);
		assert_int_equal(c->n_losses, confs[i].n_losses);
		assert_string_equal(c->model, TINY_CAL_MODEL);
		assert_int_equal(strlen(c->id), CAL_ID_LEN);
		assert_int_equal(cal_print(c, &again, &len2), 0);
		assert_int_equal(len, len2);
		assert_memory_equal(file, again, len);
		for (uint32_t k = 0; k < c->n_losses; k++) {
			assert_int_equal(c->losses[k].tokens, 1000 + k);
			assert_int_equal(c->losses[k].front_type, CAL_AS_IS);
			assert_true(c->losses[k].ppl_ratio == 1.01f);
		}
		assert_null(tiny_cal_split(c, 0));
		assert_null(tiny_cal_split(c, confs[i].n_splits + 1));
		for (uint32_t k = 1; k <= c->n_splits; k++)
			assert_int_equal(tiny_cal_split(c, k)->split, k);
		free(again); /* once more, from what was taken apart */
		assert_int_equal(cal_print(c, &again, &len2), 0);
		assert_int_equal(len, len2);
		assert_memory_equal(file, again, len);
		cal_close(c);
		free(again);
		free(file);
	}
	assert_null(tiny_cal_split(NULL, 1));
	cal_close(NULL);
}

static void the_id_is_of_all_that_predicts_and_not_of_the_losses(void **state)
{
	struct tiny_cal conf = small;
	struct cal *a = tiny_cal_make(&conf), *b;

	(void)state;
	conf.n_losses = 9;
	b = tiny_cal_make(&conf);
	assert_string_equal(a->id, b->id);
	cal_close(b);
	conf.seed = 2;
	b = tiny_cal_make(&conf);
	assert_string_not_equal(a->id, b->id);
	cal_close(a);
	cal_close(b);
}

static void no_byte_of_a_file_can_change_unseen(void **state)
{
	size_t len = 0;
	uint8_t *file = file_of(&small, &len);

	(void)state;
	for (size_t i = 0; i < len; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			file[i] ^= (uint8_t)(1u << bit);
			if (!parse(file, len, NULL))
				fail_msg("bit %u of byte %zu", bit, i);
			file[i] ^= (uint8_t)(1u << bit);
		}
	}
	assert_int_equal(parse(file, len, NULL), 0);
	free(file);
}

static void no_file_can_be_cut_unseen(void **state)
{
	size_t len = 0;
	uint8_t *file = file_of(&small, &len);
	uint8_t *cut = malloc(len);

	(void)state;
	assert_non_null(cut);
	for (size_t n = 0; n < len; n++) {
		assert_true(parse(file, n, NULL));
		if (n < CAL_HEADER_LEN)
			continue;
		memcpy(cut, file, n);
		sign(cut, n); /* even when it claims to be whole */
		assert_int_equal(parse(cut, n, NULL), ERR_FORMAT);
	}
	free(cut);
	free(file);
}

/* A number before the features replaced, and the CRC made to fit. */
static int with_u32(size_t at, uint32_t v, const char *why)
{
	size_t len = 0;
	uint8_t *file = file_of(&small, &len);
	struct err e = { 0 };
	int rc;

	le_put32(file + at, v);
	sign(file, len);
	rc = parse(file, len, &e);
	if (rc && !strstr(e.text, why))
		fail_msg("offset %zu, %u: \"%s\" does not say \"%s\"", at, (unsigned)v, e.text,
			 why);
	free(file);
	return rc;
}

static void sizes_that_cannot_be_are_refused_with_a_fitting_crc(void **state)
{
	static const size_t sizes[] = { CAL_AT_DIM, CAL_AT_VOCAB, CAL_AT_FEATURES, CAL_AT_SPLITS,
					CAL_AT_LOSSES };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(with_u32(sizes[i], UINT32_MAX, "out of range"), ERR_FORMAT);
		assert_int_equal(with_u32(sizes[i], 1u << 31, "out of range"), ERR_FORMAT);
		for (uint32_t v = 1; v < 40; v++) {
			int rc = with_u32(sizes[i], v, "calibration");

			assert_true(rc == 0 || rc == ERR_FORMAT);
		}
	}
	assert_int_equal(with_u32(CAL_AT_DIM, 0, "out of range"), ERR_FORMAT);
	assert_int_equal(with_u32(CAL_AT_VOCAB, 0, "out of range"), ERR_FORMAT);
	assert_int_equal(with_u32(CAL_AT_DIM, (1 << 20) + 1, "out of range"), ERR_FORMAT);
	assert_int_equal(with_u32(CAL_AT_DIM, 1 << 20, "calibration"), ERR_FORMAT);
	assert_int_equal(with_u32(CAL_AT_DIM, 5, "calibration"), ERR_FORMAT);
	assert_int_equal(with_u32(CAL_AT_VOCAB, 1 << 24, "not in the file"), ERR_FORMAT);
	assert_int_equal(with_u32(CAL_AT_FEATURES, CAL_MAX_F, "not in the file"), ERR_FORMAT);
	assert_int_equal(with_u32(CAL_AT_SPLITS, CAL_MAX_SPLITS, "middle"), ERR_FORMAT);
	assert_int_equal(with_u32(CAL_AT_LOSSES, CAL_MAX_LOSSES, "middle"), ERR_FORMAT);
	assert_int_equal(with_u32(CAL_AT_MODEL, 0x30303041, "model hash"), ERR_FORMAT);
	assert_int_equal(with_u32(CAL_AT_MODEL, 0, "model hash"), ERR_FORMAT);
	assert_int_equal(with_u32(CAL_AT_MAGIC, 0, "not a calibration"), ERR_FORMAT);
	assert_int_equal(with_u32(CAL_AT_VERSION, CAL_VERSION + 1, "version"), ERR_VERSION);
}

#define ENTRY(n) (CAL_HEADER_LEN + (n)*CAL_ENTRY_LEN)

static void directories_that_cannot_be_are_refused_with_a_fitting_crc(void **state)
{
	(void)state;
	assert_int_equal(with_u32(ENTRY(0) + CAL_ENTRY_SPLIT, 0, ""), 0);
	assert_int_equal(with_u32(ENTRY(0) + CAL_ENTRY_SPLIT, 2, "split 2 comes after 2"),
			 ERR_FORMAT);
	assert_int_equal(with_u32(ENTRY(1) + CAL_ENTRY_SPLIT, 1, "split 1 comes after 1"),
			 ERR_FORMAT);
	assert_int_equal(with_u32(ENTRY(0) + CAL_ENTRY_K, 0, "0 components"), ERR_FORMAT);
	assert_int_equal(with_u32(ENTRY(0) + CAL_ENTRY_K, 7, "7 components of rows of 6"),
			 ERR_FORMAT);
	assert_int_equal(with_u32(ENTRY(0) + CAL_ENTRY_K, 6, "calibration"), ERR_FORMAT);
	assert_int_equal(with_u32(ENTRY(0) + CAL_ENTRY_K, 4, "calibration"), ERR_FORMAT);
	for (size_t half = 0; half < 8; half += 4) {
		const size_t at = ENTRY(1) + half;

		assert_int_equal(with_u32(at + CAL_ENTRY_AT, UINT32_MAX, "not in the file"),
				 ERR_FORMAT);
		assert_int_equal(with_u32(at + CAL_ENTRY_BYTES, UINT32_MAX, "not in the file"),
				 ERR_FORMAT);
		assert_int_equal(with_u32(CAL_AT_FEATURES_AT + half, UINT32_MAX, "not in the file"),
				 ERR_FORMAT);
	}
	assert_int_equal(with_u32(ENTRY(1) + CAL_ENTRY_AT, 0, "CRC"), ERR_FORMAT);
	assert_int_equal(with_u32(ENTRY(1) + CAL_ENTRY_CRC, 0, "CRC"), ERR_FORMAT);
	assert_int_equal(with_u32(CAL_AT_FEATURES_CRC, 0, "CRC"), ERR_FORMAT);
}

/* Parts that nobody looked into are written as they were read, whatever they are. */
static void parts_that_were_not_used_are_kept_byte_by_byte(void **state)
{
	(void)state;
	for (unsigned empty = 0; empty < 2; empty++) {
		size_t len = 0, again_len = 0;
		uint8_t *file = file_of(&small, &len), *again = NULL;
		struct cal *c = NULL;

		if (empty)
			le_put64(file + ENTRY(1) + CAL_ENTRY_BYTES, 0);
		sign(file, len);
		assert_int_equal(cal_parse(&c, file, len, NULL), 0);
		assert_int_equal(cal_print(c, &again, &again_len), 0);
		if (!empty) {
			assert_int_equal(again_len, len);
			assert_memory_equal(again, file, len);
		}
		assert_true(again_len <= len);
		cal_close(c);
		free(again);
		free(file);
	}
}

/* A number in the first split of `small` replaced, and the CRCs made to fit. */
static int with_part(size_t at, uint32_t v, const char *why)
{
	size_t len = 0;
	uint8_t *file = file_of(&small, &len), *entry = file + ENTRY(0), *part;
	struct err e = { 0 };
	int rc;

	part = file + le_get64(entry + CAL_ENTRY_AT);
	le_put32(part + at, v);
	le_put32(entry + CAL_ENTRY_CRC, crc32c(0, part, le_get64(entry + CAL_ENTRY_BYTES)));
	sign(file, len);
	rc = parse(file, len, &e);
	if (rc && !strstr(e.text, why))
		fail_msg("offset %zu, %u: \"%s\" does not say \"%s\"", at, (unsigned)v, e.text,
			 why);
	free(file);
	return rc;
}

#define AT_SCALE (2 * 5 * 6)
#define AT_CLASS (AT_SCALE + 4 * 5 + 6 * 5 + 4 * 6 + 2 * 4 * 5 + 5 * 5 + 2 * 4 * 5)

static void splits_that_cannot_be_are_refused_with_fitting_crcs(void **state)
{
	(void)state;
	assert_int_equal(with_part(AT_SCALE, 0x3f800000, ""), 0);
	assert_int_equal(with_part(AT_SCALE, 0x7f800000, "not finite"), ERR_FORMAT);
	assert_int_equal(with_part(AT_SCALE, 0x7fc00000, "not finite"), ERR_FORMAT);
	assert_int_equal(with_part(AT_CLASS, 0x00003cc4, ""), 0); /* -60, 60 */
	assert_int_equal(with_part(AT_CLASS, 0x00003d00, "class 61"), ERR_FORMAT);
	assert_int_equal(with_part(AT_CLASS, 0x000000c3, "class -61"), ERR_FORMAT);
}

static void a_file_is_saved_and_opened(void **state)
{
	struct cal *c = tiny_cal_make(&small), *back = NULL;
	char path[64] = "/tmp/splitmq-cal-XXXXXX";
	int fd = mkstemp(path);
	struct err e = { 0 };

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(cal_save(c, path, &e), 0);
	assert_int_equal(cal_open(&back, path, &e), 0);
	assert_string_equal(c->id, back->id);
	cal_close(back);
	back = NULL;
	unlink(path);
	assert_int_equal(cal_open(&back, path, &e), ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, path));
	assert_true(cal_open(&back, "/tmp", &e) < 0);
	assert_int_equal(cal_save(c, "/no/such/folder/x", &e), ERR_IO);
	assert_null(back);
	cal_close(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_printed_is_read_and_printed_the_same),
		cmocka_unit_test(the_id_is_of_all_that_predicts_and_not_of_the_losses),
		cmocka_unit_test(no_byte_of_a_file_can_change_unseen),
		cmocka_unit_test(no_file_can_be_cut_unseen),
		cmocka_unit_test(sizes_that_cannot_be_are_refused_with_a_fitting_crc),
		cmocka_unit_test(directories_that_cannot_be_are_refused_with_a_fitting_crc),
		cmocka_unit_test(parts_that_were_not_used_are_kept_byte_by_byte),
		cmocka_unit_test(splits_that_cannot_be_are_refused_with_fitting_crcs),
		cmocka_unit_test(a_file_is_saved_and_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
