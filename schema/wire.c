#include "schema/wire.h"
