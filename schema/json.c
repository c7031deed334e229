#include "schema/json.h"
