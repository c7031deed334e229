/* tools/cmd_tokenize.c - stdin, byte for byte, to token ids and back. */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/tokenizer.h"
#include "schema/json.h"
#include "tools/cmd.h"
#include "tools/commands.h"

#define NAME           "tokenize"

#define MAX_TEXT_BYTES ((size_t)16 << 20)
#define MAX_IDS_BYTES  ((size_t)256 << 20)

struct request {
	const char *model;
	bool plain, decode, json;
};

static int print_ids(const uint32_t *ids, size_t n, bool json, struct err *e)
{
	struct json *root, *list;

	if (!json) {
		for (size_t i = 0; i < n; i++)
			printf(i ? " %u" : "%u", ids[i]);
		putchar('\n');
		return 0;
	}
	root = json_object();
	list = json_add_array(root, "ids");
	for (size_t i = 0; i < n; i++)
		json_push_u64(list, ids[i]);
	json_add_u64(root, "n", n);
	return cmd_print_json(root, e);
}

static int print_text(const char *text, size_t len, bool json, struct err *e)
{
	struct json *root;

	if (!json) {
		fwrite(text, 1, len, stdout);
		return 0;
	}
	root = json_object();
	json_add_text(root, "text", text, len);
	json_add_u64(root, "bytes", len);
	return cmd_print_json(root, e);
}

static int encode(const struct tokenizer *t, const struct request *o, const char *text, size_t len,
		  struct err *e)
{
	unsigned flags = o->plain ? 0 : TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL;
	uint32_t *ids = NULL;
	size_t n;
	int rc = tokenizer_encode(t, text, len, flags, &ids, &n, e);

	if (!rc)
		rc = print_ids(ids, n, o->json, e);
	free(ids);
	return rc;
}

/* Ids of a list that may be empty. */
static int read_ids(const char *list, uint32_t **ids, size_t *n, struct err *e)
{
	*n = 0;
	while (isspace((unsigned char)*list))
		list++;
	if (*list == '@')
		return err_set(e, ERR_USAGE, "token 0 is not a token id: \"%.16s\"", list);
	return *list ? cmd_read_ids(list, ids, n, e) : 0;
}

static int decode(const struct tokenizer *t, const struct request *o, const char *list,
		  struct err *e)
{
	unsigned flags = TOKENIZER_PARSE_SPECIAL | (o->plain ? 0 : TOKENIZER_ADD_SPECIAL);
	uint32_t *ids = NULL;
	char *text = NULL;
	size_t n, len;
	int rc = read_ids(list, &ids, &n, e);

	if (!rc)
		rc = tokenizer_decode(t, ids, n, flags, &text, &len, e);
	if (!rc)
		rc = print_text(text, len, o->json, e);
	free(text);
	free(ids);
	return rc;
}

static int tokenize(const struct request *o, struct err *e)
{
	struct tokenizer *t = NULL;
	struct gguf *g = NULL;
	char *text = NULL;
	size_t len;
	int rc = gguf_open(&g, o->model, e);

	if (!rc)
		rc = tokenizer_create(&t, g, e);
	if (!rc) {
		rc = cmd_read_file("-", o->decode ? MAX_IDS_BYTES : MAX_TEXT_BYTES, &text, &len, e);
		if (rc)
			err_wrap(e, "stdin");
	}
	if (!rc)
		rc = o->decode ? decode(t, o, text, e) : encode(t, o, text, len, e);
	free(text);
	tokenizer_destroy(t);
	gguf_close(g);
	return rc;
}

static const struct options_row options[] = {
	{ 'm', "model", "FILE", OPTIONS_TEXT(struct request, model), .needed = true,
	  .help = "GGUF file with the vocabulary" },
	{ 0, "plain", NULL, OPTIONS_FLAG(struct request, plain),
	  .help = "neither add BOS/EOS nor read control tokens such as <|im_end|> in the text "
		  "(without it both, as the vocabulary says)" },
	{ 0, "decode", NULL, OPTIONS_FLAG(struct request, decode),
	  .help = "stdin holds ids, separated by spaces, commas or lines: write the bytes they "
		  "stand for, without BOS/EOS that encoding would add (with --plain: every "
		  "token)" },
	{ 0, "json", NULL, OPTIONS_FLAG(struct request, json),
	  .help = "{\"ids\":[...],\"n\":N}, or {\"text\":\"...\",\"bytes\":N} when decoding" },
};

const struct options_table cmd_tokenize_options = {
	.program = "splitmq " NAME,
	.summary = "text to token ids, or back",
	.synopsis = "-m FILE [--plain] [--decode] [--json] < INPUT",
	OPTIONS_ROWS(options),
	.notes = "stdin is text byte for byte, its last newline included.",
};

int cmd_tokenize(int argc, char **argv)
{
	struct request o = { 0 };
	struct err e = { 0 };
	int rc = options_read(&cmd_tokenize_options, &o, argc, argv);

	if (rc != OPTIONS_GO_ON)
		return rc;
	return tokenize(&o, &e) ? cmd_fail(NAME, &e) : CMD_OK;
}
