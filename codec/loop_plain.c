#include "codec/loop_lanes.h"
#define LOOP_TABLE loop_plain
#define LOOP_NAME  "plain"
#define LOOP_PUT   put
#define LOOP_GET   get
#include "codec/loop_part.h"
