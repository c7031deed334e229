#include "engine/quantize.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#include "base/half.h"
#include "base/le.h"
#include "engine/quantize_block.h"

#define BLOCK_MAX    256
#define LEAST_WEIGHT 1e-4f /* of the mean */

typedef void encode_fn(const float *x, const float *w, uint8_t *dst);

static encode_fn *const encoders[QUANT_TYPE_END] = {
	[QUANT_Q4_0] = quantize_block_q4_0, [QUANT_Q4_1] = quantize_block_q4_1,
	[QUANT_Q5_0] = quantize_block_q5_0, [QUANT_Q5_1] = quantize_block_q5_1,
	[QUANT_Q8_0] = quantize_block_q8_0, [QUANT_Q2_K] = quantize_block_q2_k,
	[QUANT_Q3_K] = quantize_block_q3_k, [QUANT_Q4_K] = quantize_block_q4_k,
	[QUANT_Q5_K] = quantize_block_q5_k, [QUANT_Q6_K] = quantize_block_q6_k,
};

bool quantize_can(enum quant_type type)
{
	return type == QUANT_F32 || type == QUANT_F16 || type == QUANT_BF16 ||
	       (quant_name(type) && encoders[type]);
}

int quantize_parse(enum quant_type *type, const char *name)
{
	for (unsigned i = 0; i < QUANT_TYPE_END; i++) {
		if (quant_name(i) && !strcasecmp(quant_name(i), name) && quantize_can(i)) {
			*type = i;
			return 0;
		}
	}
	return ERR_USAGE;
}

static int check(const float *x, size_t n, bool any_size)
{
	float most = 0;

	for (size_t i = 0; i < n; i++) {
		if (!isfinite(x[i]))
			return ERR_NOT_FINITE;
		if (fabsf(x[i]) > most)
			most = fabsf(x[i]);
	}
	return any_size || most <= QUANTIZE_MAX ? 0 : ERR_LIMIT;
}

/* *scale makes the mean 1; 0: all weights are 0. */
static int weigh(const float *importance, size_t n, float *scale)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++) {
		if (!(importance[i] >= 0) || !isfinite(importance[i]))
			return ERR_NOT_FINITE;
		sum += (double)importance[i];
	}
	*scale = sum > 0 ? (float)((double)n / sum) : 0;
	if (!isfinite(*scale)) /* denormal weights: as good as none */
		*scale = 0;
	return 0;
}

static void take_weights(float *w, const float *importance, float scale, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		float v = importance && scale > 0 ? importance[i] * scale : 1;

		w[i] = v > LEAST_WEIGHT ? v : LEAST_WEIGHT;
	}
}

static uint16_t to_bf16(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, sizeof(bits));
	/* to nearest, ties to even; the largest floats stop short of infinity */
	if ((bits & 0x7fffffffu) > 0x7f7f0000u)
		return (uint16_t)(bits >> 16);
	return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static void put_plain(enum quant_type type, const float *x, uint8_t *dst, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t bits;

		memcpy(&bits, x + i, sizeof(bits));
		if (type == QUANT_F32)
			le_put32(dst + 4 * i, bits);
		else if (type == QUANT_F16)
			le_put16(dst + 2 * i, half_from_f32(x[i]));
		else
			le_put16(dst + 2 * i, to_bf16(x[i]));
	}
}

int quantize_row(enum quant_type type, const float *x, const float *importance, void *dst, size_t n)
{
	const unsigned elements = quant_block_elements(type), bytes = quant_block_bytes(type);
	float w[BLOCK_MAX], scale = 0;
	uint8_t *to = dst;
	int rc;

	if (!quantize_can(type))
		return ERR_UNSUPPORTED;
	rc = check(x, n, type == QUANT_F32 || type == QUANT_BF16);
	if (!rc && importance)
		rc = weigh(importance, n, &scale);
	if (rc)
		return rc;
	if (!encoders[type]) {
		put_plain(type, x, dst, n);
		return 0;
	}
	for (size_t i = 0; i < n; i += elements, to += bytes) {
		take_weights(w, importance ? importance + i : NULL, scale, elements);
		encoders[type](x + i, w, to);
	}
	return 0;
}
