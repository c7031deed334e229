/* Compiled for AVX2, FMA and F16C; kern.c looks before it calls. */
#include "engine/vec_avx2.h"

#define KERN_TABLE kern_avx2
#define KERN_NAME  "avx2"
#include "engine/kern_vec.h"
