#define LOOP_TABLE loop_ref
#define LOOP_NAME  "ref"
#define LOOP_PUT   NULL
#define LOOP_GET   NULL
#include "codec/loop_part.h"
