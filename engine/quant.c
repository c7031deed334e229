#include "engine/quant.h"
