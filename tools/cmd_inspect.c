#include "tools/commands.h"

#include <stdbool.h>
#include <stdio.h>

#include "engine/gguf.h"
#include "tools/cmd.h"
#include "tools/inspect.h"
#include "tools/inspect_cal.h"
#include "tools/shares.h"

#define NAME "inspect"

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

struct request {
	const char *path;
	bool json;
};

static const struct options_row options[] = {
	{ 0, "FILE", NULL, OPTIONS_TEXT(struct request, path), .operand = true, .needed = true,
	  .help = "a model (GGUF) or a calibration (.cal)" },
	{ 0, "json", NULL, OPTIONS_FLAG(struct request, json),
	  .help = "one JSON object instead of tables; arrays of the metadata are cut" },
};

const struct options_table cmd_inspect_options = {
	.program = "splitmq " NAME,
	.summary = "what a GGUF file holds, and what each split would weigh",
	.synopsis = "FILE [--json]",
	.about = "Shows a GGUF file: metadata, bytes and types of each layer, what agent and "
		 "worker would hold at each split, and what the KV caches take. The hash is the "
		 "one that both sides of a session compare. Of a calibration file (MODEL.cal): "
		 "what it is of, its splits, and the table of what splitting costs.",
	OPTIONS_ROWS(options),
};

int cmd_inspect(int argc, char **argv)
{
	struct request r = { 0 };
	int rc = options_read(&cmd_inspect_options, &r, argc, argv);

	return rc != OPTIONS_GO_ON ? rc : inspect(r.path, r.json);
}
