/* codec/dot.h - the sums of products of the codec.
 *
 * Integers are exact; floats are summed in 16 lanes and a fixed tree, without fused operations. So
 * every variant gives the same bits. SPLITMQ_ISA=ref asks for the plain one. Any thread. */
#ifndef CODEC_DOT_H
#define CODEC_DOT_H

#include <stddef.h>
#include <stdint.h>

struct dot {
	const char *name;
	/* |b| <= 1023, n <= 16384: no overflow */
	int32_t (*i8_i16)(const int8_t *a, const int16_t *b, size_t n);
	float (*i16_f32)(const int16_t *a, const float *b, size_t n);
	float (*i8_f32)(const int8_t *a, const float *b, size_t n);
	/* out [rows] = a [rows][n] b, each row as above */
	void (*i8_i16_rows)(const int8_t *a, size_t rows, const int16_t *b, size_t n, int32_t *out);
	void (*i16_f32_rows)(const int16_t *a, size_t rows, const float *b, size_t n, float *out);
	void (*i8_f32_rows)(const int8_t *a, size_t rows, const float *b, size_t n, float *out);
};

extern const struct dot dot_ref;
#ifdef CODEC_X86
extern const struct dot dot_avx2;
#endif

/* The best that this machine has. */
const struct dot *dot_pick(void);

#endif
