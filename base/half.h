/* base/half.h - IEEE 754 binary16 <-> binary32.
 *
 * By integer arithmetic: the same bits on every machine. Any thread. */
#ifndef BASE_HALF_H
#define BASE_HALF_H

#include <stdint.h>
#include <string.h>

/* Exact. Infinities and NaNs stay what they are. */
static inline float half_to_f32(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
	uint32_t exponent = h >> 10 & 31u, mantissa = h & 0x3ffu, bits;
	float f;

	if (exponent == 31) {
		bits = sign | 0x7f800000u | mantissa << 13;
	} else if (exponent) {
		bits = sign | (exponent + 112) << 23 | mantissa << 13;
	} else {
		f = (float)mantissa * 0x1p-24f; /* exact: subnormal halves are normal floats */
		return sign ? -f : f;
	}
	memcpy(&f, &bits, sizeof(f));
	return f;
}

/* Round to nearest, ties to even. From 65520 on: infinity. A NaN stays a (quiet) NaN. */
static inline uint16_t half_from_f32(float f)
{
	uint32_t bits, sign, magnitude, shift, kept, lost, middle;

	memcpy(&bits, &f, sizeof(bits));
	sign = bits >> 16 & 0x8000u;
	magnitude = bits & 0x7fffffffu;
	if (magnitude > 0x7f800000u)
		return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
	if (magnitude >= 0x477ff000u)
		return (uint16_t)(sign | 0x7c00u);
	if (magnitude >= 0x38800000u) /* a normal half: rebias, round, carry into the exponent */
		return (uint16_t)(sign |
				  (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >>
					  13);
	if (magnitude < 0x33000000u) /* below half of the smallest subnormal */
		return (uint16_t)sign;
	shift = 126 - (magnitude >> 23); /* 14..24 */
	kept = ((magnitude & 0x7fffffu) | 0x800000u) >> shift;
	lost = ((magnitude & 0x7fffffu) | 0x800000u) & ((1u << shift) - 1);
	middle = 1u << (shift - 1);
	return (uint16_t)(sign | (kept + (lost > middle || (lost == middle && (kept & 1u)))));
}

#endif
