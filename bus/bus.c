#include "bus/bus.h"
