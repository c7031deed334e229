/* tests/fuzz/replay.c - run a fuzz target over the files of a folder, without libFuzzer.
 *
 * Each file is also run truncated at every length up to 512 and with single bytes flipped, so that
 * the corpus is a test of its own. Fails when the folder holds no file. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Each run gets its own allocation, so that a sanitizer sees a read one byte past the end. */
static void run_copy(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		abort();
	memcpy(copy, data, len);
	LLVMFuzzerTestOneInput(copy, len);
	free(copy);
}

static void run_variants(uint8_t *data, size_t len)
{
	size_t step = len / 512 + 1;

	run_copy(data, len);
	for (size_t n = 0; n < len; n += step)
		run_copy(data, n);
	for (size_t i = 0; i < len; i += step) {
		data[i] ^= (uint8_t)(1u << i % 8);
		run_copy(data, len);
		data[i] ^= (uint8_t)(1u << i % 8);
	}
}

static int run_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(1 << 24);
	size_t len;

	if (!f || !data) {
		fprintf(stderr, "%s: cannot read\n", path);
		free(data);
		if (f)
			fclose(f);
		return 1;
	}
	len = fread(data, 1, 1 << 24, f);
	fclose(f);
	run_variants(data, len);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
	struct dirent *ent;
	unsigned files = 0;
	int rc = 0;

	if (!dir) {
		fprintf(stderr, "usage: replay FOLDER (a readable corpus folder)\n");
		return 2;
	}
	while ((ent = readdir(dir))) {
		char path[4096];

		if (ent->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", argv[1], ent->d_name);
		rc |= run_file(path);
		files++;
	}
	closedir(dir);
	printf("%u files\n", files);
	return rc || !files;
}
