#include "codec/loop_lanes.h"
#define LOOP_TABLE loop_avx2
#define LOOP_NAME  "avx2"
#define LOOP_PUT   put
#define LOOP_GET   get
#include "codec/loop_part.h"
