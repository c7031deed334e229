/* tools/calibrate_main.c - `splitmq calibrate` is a program of its own: the only one that needs a
 * BLAS, whose threads and memory no gateway should have. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/cmd.h"
#include "tools/commands.h"

int main(int argc, char **argv)
{
	int status = cmd_calibrate(argc, argv);

	if (!fflush(stdout) && !ferror(stdout))
		return status;
	fprintf(stderr, "splitmq calibrate: standard output cannot be written: %s\n",
		strerror(errno));
	return status ? status : CMD_FAILED;
}
