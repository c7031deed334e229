#define DOT_TABLE dot_avx2
#define DOT_NAME  "avx2"
#include "codec/dot_part.h"
