#include "codec/loop_lanes.h"
#define LOOP_TABLE loop_avx2
#define LOOP_NAME  "avx2"
#define LOOP_LANES put, get, put_each, get_each
#include "codec/loop_part.h"
