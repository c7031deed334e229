#include "codec/dot.h"

#include <stdlib.h>
#include <string.h>

const struct dot *dot_pick(void)
{
	const char *word = getenv("SPLITMQ_ISA");

	if (word && !strcmp(word, "ref"))
		return &dot_ref;
#ifdef CODEC_X86
	if (__builtin_cpu_supports("avx2"))
		return &dot_avx2;
#endif
	return &dot_ref;
}
