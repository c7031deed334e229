#include "tools/commands.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>

#include "engine/gguf.h"
#include "tools/cmd.h"
#include "tools/inspect.h"
#include "tools/inspect_cal.h"
#include "tools/shares.h"

#define NAME "inspect"

const char cmd_inspect_usage[] =
	"usage: splitmq inspect FILE [--json]\n"
	"\n"
	"Shows a GGUF file: metadata, bytes and types of each layer, what agent and worker would\n"
	"hold at each split, and what the KV caches take. The hash is the one that both sides of a "
	"session compare. Of a calibration file (MODEL.cal): what it is of, its splits, and the\n"
	"table of what splitting costs.\n"
	"\n"
	"  --json      one JSON object instead of tables; arrays of the metadata are cut\n"
	"  -h, --help  this text\n";

static int inspect(const char *path, bool json)
{
	struct shares s = { 0 };
	struct gguf *g = NULL;
	char hash[GGUF_HASH_LEN + 1];
	struct err e;
	int rc;

	if (inspect_is_cal(path))
		return inspect_cal(path, json, &e) ? cmd_fail(NAME, &e) : CMD_OK;
	rc = gguf_open(&g, path, &e);
	if (rc)
		return cmd_fail(NAME, &e);
	rc = gguf_hash(g, hash, &e);
	if (!rc)
		rc = shares_measure(&s, g, &e);
	if (!rc && json)
		rc = inspect_json(g, hash, &s, &e);
	else if (!rc)
		inspect_text(g, hash, &s);
	shares_finish(&s);
	gguf_close(g);
	return rc ? cmd_fail(NAME, &e) : CMD_OK;
}

int cmd_inspect(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	bool json = false;
	int opt;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case 'j':
			json = true;
			break;
		case 'h':
			return cmd_help(NAME);
		default:
			return cmd_usage(NAME, "no option %s", argv[optind - 1]);
		}
	}
	if (argc - optind != 1)
		return cmd_usage(NAME, "one FILE wanted");
	return inspect(argv[optind], json);
}
