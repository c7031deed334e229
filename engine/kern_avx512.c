/* Compiled for AVX-512 F, BW, DQ and VL; kern.c looks before it calls. */
#include "engine/vec_avx512.h"

#define KERN_TABLE kern_avx512
#include "engine/kern_vec.h"
#include "engine/strip.h"

const struct kern kern_avx512 =
	KERN_VEC_TABLE("avx512", strip_avx2, 12, strip_avx2_panels, strip_avx2_strips, NULL);

/* Their integers are in files of their own, compiled for more than this one. */
const struct kern kern_avx512vnni =
	KERN_VEC_TABLE("avx512vnni", strip_avx512vnni, 8, NULL, NULL, NULL);
const struct kern kern_amx = KERN_VEC_TABLE("amx", strip_amx, 16, NULL, NULL, strip_amx_tiles);
