/* An importance file: what is accepted can be looked up, and is finite. The checksum is put right,
 * so that mutations get beyond it. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/le.h"
#include "engine/imatrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(int ok)
{
	if (!ok)
		abort();
}

/* All values of the entry that is named first in the file. */
static void look_up(const struct imatrix *m, const uint8_t *data)
{
	const uint8_t *entry = data + 12;
	const size_t name_len = le_get16(entry);
	char name[GGUF_MAX_NAME + 1] = "";
	const float *mean;
	struct err e;
	uint32_t cols;

	must(name_len >= 1 && name_len <= GGUF_MAX_NAME);
	memcpy(name, entry + 2, name_len);
	cols = le_get32(entry + 2 + name_len + 8);
	must(imatrix_find(m, name, cols, &mean, &e) == 0 && mean);
	must(imatrix_find(m, name, (uint64_t)cols + 1, &mean, &e) == ERR_FORMAT);
	must(imatrix_find(m, name, cols, &mean, &e) == 0);
	for (uint32_t i = 0; i < cols; i++)
		must(isfinite(mean[i]) && mean[i] >= 0);
}

static void decode(const uint8_t *data, size_t len)
{
	struct err e = { .code = 0 };
	struct imatrix *m;

	if (imatrix_decode(&m, data, len, &e)) {
		must(e.code < 0 && e.text[0]);
		return;
	}
	if (imatrix_count(m))
		look_up(m, data);
	imatrix_close(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t *copy;

	decode(data, len);
	if (len < 4)
		return 0;
	copy = malloc(len);
	must(copy != NULL);
	memcpy(copy, data, len);
	le_put32(copy + len - 4, crc32c(0, copy, len - 4));
	decode(copy, len);
	free(copy);
	return 0;
}
