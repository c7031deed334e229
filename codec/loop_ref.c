#define LOOP_TABLE loop_ref
#define LOOP_NAME  "ref"
#define LOOP_LANES NULL, NULL, NULL, NULL
#include "codec/loop_part.h"
