#include "codec/loop_lanes.h"
#define LOOP_TABLE loop_plain
#define LOOP_NAME  "plain"
#define LOOP_LANES put, get, put_each, get_each
#include "codec/loop_part.h"
