#include "codec/dot.h"

#define LANES 16

static int32_t i8_i16(const int8_t *a, const int16_t *b, size_t n)
{
	int32_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (int16_t)a[i] * b[i];
	return sum;
}

static float tree(const float *lane)
{
	float s[LANES / 2];

	for (unsigned i = 0; i < LANES / 2; i++)
		s[i] = lane[i] + lane[i + LANES / 2];
	for (unsigned width = LANES / 4; width; width /= 2) {
		for (unsigned i = 0; i < width; i++)
			s[i] += s[i + width];
	}
	return s[0];
}

static float i16_f32(const int16_t *a, const float *b, size_t n)
{
	float lane[LANES] = { 0 };
	size_t at = 0;

	for (; at + LANES <= n; at += LANES) {
		for (unsigned i = 0; i < LANES; i++)
			lane[i] += (float)a[at + i] * b[at + i];
	}
	for (; at < n; at++)
		lane[at % LANES] += (float)a[at] * b[at];
	return tree(lane);
}

static float i8_f32(const int8_t *a, const float *b, size_t n)
{
	float lane[LANES] = { 0 };
	size_t at = 0;

	for (; at + LANES <= n; at += LANES) {
		for (unsigned i = 0; i < LANES; i++)
			lane[i] += (float)a[at + i] * b[at + i];
	}
	for (; at < n; at++)
		lane[at % LANES] += (float)a[at] * b[at];
	return tree(lane);
}

static void i8_i16_rows(const int8_t *a, size_t rows, const int16_t *b, size_t n, int32_t *out)
{
	for (size_t r = 0; r < rows; r++)
		out[r] = i8_i16(a + r * n, b, n);
}

static void i16_f32_rows(const int16_t *a, size_t rows, const float *b, size_t n, float *out)
{
	for (size_t r = 0; r < rows; r++)
		out[r] = i16_f32(a + r * n, b, n);
}

static void i8_f32_rows(const int8_t *a, size_t rows, const float *b, size_t n, float *out)
{
	for (size_t r = 0; r < rows; r++)
		out[r] = i8_f32(a + r * n, b, n);
}

const struct dot dot_ref = {
	"ref", i8_i16, i16_f32, i8_f32, i8_i16_rows, i16_f32_rows, i8_f32_rows
};
