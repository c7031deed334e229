/* tools/calibrate_main.c - `splitmq calibrate` is a program of its own: the only one that needs a
 * BLAS, whose threads and memory no gateway should have. */
#include "daemon/options.h"
#include "tools/commands.h"

int main(int argc, char **argv)
{
	return options_finish("splitmq calibrate", cmd_calibrate(argc, argv));
}
