/* Compiled for AVX2, FMA and F16C; kern.c looks before it calls. */
#include "engine/vec_avx2.h"

#define KERN_TABLE kern_avx2
#include "engine/kern_vec.h"
#include "engine/strip.h"

const struct kern kern_avx2 =
	KERN_VEC_TABLE("avx2", strip_avx2, 12, strip_avx2_panels, strip_avx2_strips, NULL);
