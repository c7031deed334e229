/* tests/emulated.c - in a test of kernels, the tables of AVX-512 and AMX in the place of those that
 * this machine has (linked with --wrap=kern_at). */
#include <stdio.h>

#include "engine/kern.h"

extern const struct kern emulated_avx512, emulated_avx512vnni, emulated_amx;

const struct kern *__real_kern_at(unsigned i);
const struct kern *__wrap_kern_at(unsigned i);

const struct kern *__wrap_kern_at(unsigned i)
{
	static const struct kern *const tables[] = { &emulated_avx512, &emulated_avx512vnni,
						     &emulated_amx };

	if (i == 0)
		return __real_kern_at(0);
	if (!__real_kern_at(1)) { /* what stands for AVX-512 is AVX2 */
		puts("  nothing is emulated: this machine has no AVX2");
		return NULL;
	}
	return i <= sizeof(tables) / sizeof(tables[0]) ? tables[i - 1] : NULL;
}
