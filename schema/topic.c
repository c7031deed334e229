#include "schema/topic.h"
