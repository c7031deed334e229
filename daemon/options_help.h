/* daemon/options_help.h - what a table of options says of itself (daemon/options.h). Any thread. */
#ifndef DAEMON_OPTIONS_HELP_H
#define DAEMON_OPTIONS_HELP_H

#include "daemon/options.h"

#define OPTIONS_LIMITS_ROOM 96

/* "0..60000 ms" of a number or of each of a list; empty where there are none. */
void options_limits(char dst[static OPTIONS_LIMITS_ROOM], const struct options_row *r);

/* All of --help on stdout; defaults are what conf holds. */
void options_print_help(const struct options_table *o, const void *conf);

#endif
