#include "codec/loop.h"

#include <stdlib.h>
#include <string.h>

const struct loop *loop_pick(void)
{
	const char *word = getenv("SPLITMQ_ISA");

	if (word && !strcmp(word, "ref"))
		return &loop_ref;
	if (word && !strcmp(word, "plain"))
		return &loop_plain;
#ifdef CODEC_X86
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"))
		return &loop_avx2;
#endif
	return &loop_plain;
}
