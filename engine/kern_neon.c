/* Compiled for AArch64 as such: every such machine has NEON with FMA and conversions of f16. The
 * tables differ in their integer kernels. */
#include "engine/vec_neon.h"

#define KERN_TABLE kern_neon
#include "engine/kern_vec.h"
#include "engine/strip.h"

const struct kern kern_neon = KERN_VEC_TABLE("neon", strip_neon, 4, NULL, NULL, NULL);
const struct kern kern_dotprod = KERN_VEC_TABLE("dotprod", strip_dotprod, 4, NULL, NULL, NULL);
const struct kern kern_i8mm = KERN_VEC_TABLE("i8mm", strip_i8mm, 4, NULL, NULL, NULL);
