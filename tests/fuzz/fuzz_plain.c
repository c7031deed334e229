/* Bytes are refused, or the rows they stand for can be encoded again, to the same rows (for f32 and
 * f16: the same bytes). The first three bytes say codec, dim and rows. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec/plain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void encode_again(unsigned id, const float *x, size_t dim, size_t rows, const uint8_t *src,
			 size_t len)
{
	uint8_t *again = malloc(len);
	float *y = malloc(rows * dim * sizeof(*y));
	size_t again_len;
	struct err e;
	int rc;

	if (!again || !y)
		abort();
	rc = plain_encode((enum plain_id)id, x, dim, rows, again, len, &again_len, &e);
	if (rc == 0) {
		if (again_len != len || (id < PLAIN_Q8 && memcmp(again, src, len) != 0))
			abort();
		if (plain_decode(id, again, len, dim, rows, y, &e))
			abort();
		for (size_t i = 0; i < rows * dim; i++) {
			if (id < PLAIN_Q8 && y[i] != x[i])
				abort();
		}
	} else if (rc != ERR_NOT_FINITE || id < PLAIN_Q8) {
		abort();
	}
	free(again);
	free(y);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	size_t dim, rows;
	unsigned id;
	struct err e;
	float *x;

	if (len < 3)
		return 0;
	id = data[0] % (PLAIN_COUNT + 1);
	dim = data[1];
	rows = data[2];
	x = malloc((dim * rows + 1) * sizeof(*x));
	if (!x)
		return 0;
	if (!plain_decode(id, data + 3, len - 3, dim, rows, x, &e))
		encode_again(id, x, dim, rows, data + 3, len - 3);
	free(x);
	return 0;
}
