/* tools/commands.h - what each tools/cmd_<name>.c puts into the table of splitmq.c. */
#ifndef TOOLS_COMMANDS_H
#define TOOLS_COMMANDS_H

extern const char cmd_inspect_usage[];
int cmd_inspect(int argc, char **argv);

#endif
