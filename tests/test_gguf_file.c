/* tests/test_gguf_file.c - GGUF files on disk: opened, hashed, read piece by piece. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/gguf.h"
#include "tests/gguf_sample.h"
#include "tests/gguf_walk.h"

static unsigned sink; /* what is read only to be read */

/* A file of our own under the temporary directory; the caller unlinks path. */
static int make_file(char path[static 64], const void *data, size_t len)
{
	int fd;

	snprintf(path, 64, "/tmp/test_gguf.XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	return fd;
}

/* Tensors by gguf_copy, in pieces of 7 bytes. */
static void check_copies(const struct gguf *g)
{
	uint8_t piece[7];

	for (size_t i = 0; i < gguf_n_tensors(g); i++) {
		const struct gguf_tensor *t = gguf_tensor_at(g, i);

		for (size_t at = 0; at < t->bytes; at += 7) {
			size_t n = t->bytes - at < 7 ? t->bytes - at : 7;

			assert_int_equal(gguf_copy(g, t, at, piece, n), 0);
			assert_memory_equal(piece, t->data + at, n);
		}
	}
}

/* The last byte of the file. */
static int copy_end(const struct gguf *g)
{
	const struct gguf_tensor *last = gguf_tensor_at(g, 0);
	uint8_t byte;

	for (size_t i = 0; i < gguf_n_tensors(g); i++) {
		if (gguf_tensor_at(g, i)->offset > last->offset)
			last = gguf_tensor_at(g, i);
	}
	return gguf_copy(g, last, last->bytes - 1, &byte, 1);
}

static void a_file_equals_the_same_bytes_in_memory(void **state)
{
	char in_memory[GGUF_HASH_LEN + 1], in_file[GGUF_HASH_LEN + 1], path[64];
	struct build b = sample(3);
	struct gguf *g = open_ok(&b);
	struct err e;

	(void)state;
	close(make_file(path, b.data, b.len));
	assert_int_equal(gguf_hash(g, in_memory, &e), 0);
	check_copies(g);
	gguf_close(g);
	assert_int_equal(gguf_open(&g, path, &e), 0);
	assert_string_equal(gguf_path(g), path);
	assert_int_equal(gguf_hash(g, in_file, &e), 0);
	assert_string_equal(in_file, in_memory);
	walk_gguf(g);
	for (size_t i = 0; i < gguf_n_tensors(g); i++) {
		gguf_will_need(g, gguf_tensor_at(g, i));
		gguf_dont_need(g, gguf_tensor_at(g, i));
	}
	walk_gguf(g);
	check_copies(g);
	assert_int_equal(truncate(path, (off_t)(b.len / 2)), 0);
	assert_int_equal(copy_end(g), ERR_IO);
	gguf_close(g);
	unlink(path);
	free(b.data);
}

static void what_cannot_be_opened_names_its_path(void **state)
{
	char path[64];
	struct gguf *g = NULL;
	struct err e;

	(void)state;
	assert_int_equal(gguf_open(&g, "/no/such/file.gguf", &e), ERR_IO);
	assert_string_equal(e.text, "open /no/such/file.gguf: No such file or directory");
	assert_int_equal(gguf_open(&g, "/", &e), ERR_IO);
	assert_int_equal(gguf_open(&g, "/dev/zero", &e), ERR_IO);
	assert_string_equal(e.text, "open /dev/zero: not a regular file");
	close(make_file(path, "", 0));
	assert_int_equal(gguf_open(&g, path, &e), ERR_FORMAT);
	assert_non_null(strstr(e.text, "empty"));
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(gguf_open(&g, path, &e), ERR_IO); /* and does not wait for a writer */
	unlink(path);
	close(make_file(path, "GGUF\3\0\0\0", 8));
	assert_int_equal(gguf_open(&g, path, &e), ERR_FORMAT);
	assert_non_null(strstr(e.text, path));
	unlink(path);
	assert_null(g);
	gguf_close(NULL);
}

static void hash_of(const struct build *b, char hash[static GGUF_HASH_LEN + 1])
{
	struct gguf *g = open_ok(b);
	struct err e;

	if (gguf_hash(g, hash, &e))
		fail_msg("%s", e.text);
	gguf_close(g);
}

static void the_hash_sees_header_and_ends_and_middle_of_tensors(void **state)
{
	struct build b = one_tensor(QUANT_F32, 1, (uint64_t[]){ 1024 }, 0);
	char was[GGUF_HASH_LEN + 1], is[GGUF_HASH_LEN + 1];
	const size_t data = b.len - 4096;
	const size_t seen[] = { data,        data + 255, data + 2048 - 128, data + 2048 + 127,
				b.len - 256, b.len - 1 };

	(void)state;
	hash_of(&b, was);
	assert_int_equal(strspn(was, "0123456789abcdef"), GGUF_HASH_LEN);
	for (size_t i = 0; i < sizeof(seen) / sizeof(seen[0]); i++) {
		b.data[seen[i]] ^= 1;
		hash_of(&b, is);
		assert_string_not_equal(is, was);
		b.data[seen[i]] ^= 1;
	}
	b.data[data + 1000] ^= 1; /* in no sample: the price of not reading everything */
	hash_of(&b, is);
	assert_string_equal(is, was);
	b.data[32] = 'v'; /* the tensor's name */
	hash_of(&b, is);
	assert_string_not_equal(is, was);
	free(b.data);
}

static void the_hash_of_a_known_file_never_changes(void **state)
{
	struct build b = sample(3);
	char is[GGUF_HASH_LEN + 1];

	(void)state;
	hash_of(&b, is);
	assert_string_equal(is, "25a493386906d4a9efd1b24623c3f51b");
	free(b.data);
}

static void a_file_that_says_its_id_is_believed(void **state)
{
	static const char *const bad[] = { "", "0123456789abcdef0123456789abcde",
					   "0123456789ABCDEF0123456789ABCDEF",
					   "0123456789abcdef0123456789abcdef0" };
	char is[GGUF_HASH_LEN + 1] = "untouched";
	struct build b = { 0 };
	struct gguf *g;
	struct err e;

	(void)state;
	build_header(&b, 3, 0, 1);
	build_key_str(&b, "splitmq.model.id", "0123456789abcdef0123456789abcdef");
	hash_of(&b, is);
	assert_string_equal(is, "0123456789abcdef0123456789abcdef");
	free(b.data);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		b = (struct build){ 0 };
		build_header(&b, 3, 0, 1);
		build_key_str(&b, "splitmq.model.id", bad[i]);
		g = open_ok(&b);
		assert_int_equal(gguf_hash(g, is, &e), ERR_FORMAT);
		assert_non_null(strstr(e.text, "splitmq.model.id"));
		gguf_close(g);
		free(b.data);
	}
	assert_string_equal(is, "0123456789abcdef0123456789abcdef");
}

/* As when another program converts a file and copies its metadata. */
static void an_id_does_not_outlive_its_tensors(void **state)
{
	static const enum quant_type kinds[] = { QUANT_F32, QUANT_F16, QUANT_F16 };
	char is[3][GGUF_HASH_LEN + 1], tensors[GGUF_HASH_LEN + 1];

	(void)state;
	gguf_hash_bytes("x=F32;", 6, tensors);
	for (unsigned i = 0; i < 3; i++) {
		struct build b = { 0 };

		build_header(&b, 3, 1, 2);
		build_key_str(&b, GGUF_ID_KEY, "0123456789abcdef0123456789abcdef");
		build_key_str(&b, i < 2 ? GGUF_ID_TENSORS_KEY : "another.key", tensors);
		build_tensor(&b, "x", kinds[i], 1, (uint64_t[]){ 8 }, 0);
		build_pad(&b, 32);
		build_bytes(&b, "01234567890123456789012345678901", 32);
		hash_of(&b, is[i]);
		free(b.data);
	}
	assert_string_equal(is[0], "0123456789abcdef0123456789abcdef");
	assert_string_not_equal(is[1], "0123456789abcdef0123456789abcdef");
	assert_string_equal(is[2], "0123456789abcdef0123456789abcdef"); /* nothing was promised */
}

static void a_file_that_shrinks_after_opening_fails_to_hash(void **state)
{
	struct build b = one_tensor(QUANT_F32, 1, (uint64_t[]){ 1024 }, 0);
	char path[64], hash[GGUF_HASH_LEN + 1];
	int fd = make_file(path, b.data, b.len);
	struct gguf *g;
	struct err e;

	(void)state;
	assert_int_equal(gguf_open(&g, path, &e), 0);
	assert_int_equal(ftruncate(fd, (off_t)b.len - 1), 0);
	assert_int_equal(gguf_hash(g, hash, &e), ERR_IO);
	assert_non_null(strstr(e.text, path));
	assert_non_null(strstr(e.text, "tensor w"));
	gguf_close(g);
	close(fd);
	unlink(path);
	free(b.data);
}

/* Bytes of mapped files that are in this process' memory; 0 where the system does not tell. */
static size_t resident_file_bytes(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	unsigned long kib = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "RssFile: %lu kB", &kib) == 1)
			break;
	}
	if (f)
		fclose(f);
	return (size_t)kib << 10;
}

static void opening_and_hashing_touch_no_weights(void **state)
{
	const size_t weights = (size_t)64 << 20, slack = (size_t)4 << 20;
	struct build b = { 0 };
	char path[64], hash[GGUF_HASH_LEN + 1];
	struct gguf *g;
	size_t before, opened, read, dropped;
	struct err e;
	int fd;

	(void)state;
	build_header(&b, 3, 1, 0);
	build_tensor(&b, "w", QUANT_F32, 2, (uint64_t[]){ 1024, weights / 4096 }, 0);
	build_pad(&b, 32);
	fd = make_file(path, b.data, b.len);
	assert_int_equal(ftruncate(fd, (off_t)(b.len + weights)), 0);
	before = resident_file_bytes();
	assert_int_equal(gguf_open(&g, path, &e), 0);
	assert_int_equal(gguf_hash(g, hash, &e), 0);
	opened = resident_file_bytes();
	sink += walk_bytes(gguf_tensor_at(g, 0)->data, weights);
	read = resident_file_bytes();
	gguf_dont_need(g, gguf_tensor_at(g, 0));
	dropped = resident_file_bytes();
	gguf_close(g);
	close(fd);
	unlink(path);
	free(b.data);
	if (read < before + weights / 2) {
		print_message("this system does not tell the resident bytes of files\n");
		skip();
	}
	assert_true(opened < before + slack);
	assert_true(dropped < before + slack);
}

static void the_models_of_the_conformance_pack_open(void **state)
{
	static const struct {
		const char *file;
		size_t kv, tensors;
	} files[] = {
		{ "models/llama-f32.gguf", 22, 39 },
		{ "models/llama-q4_k_m.gguf", 23, 39 },
		{ "models/llama2l-q2_k.gguf", 23, 21 },
		{ "models/qwen2-f32.gguf", 22, 27 },
		{ "tokenizer/llama-spm.gguf", 22, 0 },
		{ "tokenizer/gpt-2.gguf", 16, 0 },
		{ "tokenizer/synth-qwen2.gguf", 17, 0 },
		{ "stories260K/stories260K-f32.gguf", 23, 48 },
	};
	const char *given = getenv("SPLITMQ_CONFORMANCE"), *root = getenv("SPLITMQ_ROOT");
	char path[4096];
	struct gguf *g;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s%s/%s",
			 given  ? given
			 : root ? root
				: ".",
			 given ? "" : "/../shared/conformance/given", files[i].file);
		if (access(path, R_OK)) {
			print_message("%s is not there (SPLITMQ_CONFORMANCE says where)\n", path);
			skip();
		}
		if (gguf_open(&g, path, &e))
			fail_msg("%s", e.text);
		assert_int_equal(gguf_n_kv(g), files[i].kv);
		assert_int_equal(gguf_n_tensors(g), files[i].tensors);
		walk_gguf(g);
		gguf_close(g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_equals_the_same_bytes_in_memory),
		cmocka_unit_test(what_cannot_be_opened_names_its_path),
		cmocka_unit_test(the_hash_sees_header_and_ends_and_middle_of_tensors),
		cmocka_unit_test(the_hash_of_a_known_file_never_changes),
		cmocka_unit_test(a_file_that_says_its_id_is_believed),
		cmocka_unit_test(an_id_does_not_outlive_its_tensors),
		cmocka_unit_test(a_file_that_shrinks_after_opening_fails_to_hash),
		cmocka_unit_test(opening_and_hashing_touch_no_weights),
		cmocka_unit_test(the_models_of_the_conformance_pack_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
