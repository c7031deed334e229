#define DOT_TABLE dot_ref
#define DOT_NAME  "ref"
#include "codec/dot_part.h"
