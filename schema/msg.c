#include "schema/msg.h"
