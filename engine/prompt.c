#include "engine/prompt.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MAX_MARKS 3

/* The first family all of whose marks are in the template, and whose `without` is not, is it. */
static const struct family {
	const char *name;
	const char *marks[MAX_MARKS];
	const char *without;
	bool trim; /* the template trims the text */
	const char *before, *after;
} families[] = {
	{ .name = "gateway", .marks = { "<|answer|>" }, .before = "", .after = "<|answer|>" },
	{ .name = "chatml",
	  .marks = { "<|im_start|>" },
	  .before = "<|im_start|>user\n",
	  .after = "<|im_end|>\n<|im_start|>assistant\n" },
	{ .name = "llama-3",
	  .marks = { "<|start_header_id|>", "<|end_header_id|>" },
	  .trim = true,
	  .before = "<|start_header_id|>user<|end_header_id|>\n\n",
	  .after = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n" },
	{ .name = "zephyr",
	  .marks = { "<|user|>", "<|assistant|>" },
	  .without = "<|end|>",
	  .before = "<|user|>\n",
	  .after = "</s>\n<|assistant|>\n" },
	{ .name = "llama-2",
	  .marks = { "[INST]", "[/INST]", "<<SYS>>" },
	  .trim = true,
	  .before = "[INST] ",
	  .after = " [/INST]" },
	{ .name = "mistral",
	  .marks = { "[INST]", " [/INST]" },
	  .before = "[INST] ",
	  .after = " [/INST]" },
	{ .name = "mistral-v3",
	  .marks = { "[INST]", "[/INST]" },
	  .before = "[INST] ",
	  .after = "[/INST]" },
	{ .name = "none", .before = "", .after = "" }, /* last: has no marks, fits every template */
};

#define N_FAMILIES (sizeof(families) / sizeof(families[0]))

static bool has(struct gguf_str text, const char *mark)
{
	size_t n = strlen(mark);

	for (size_t i = 0; i + n <= text.len; i++) {
		if (!memcmp(text.text + i, mark, n))
			return true;
	}
	return false;
}

static bool fits(const struct family *f, struct gguf_str template)
{
	for (unsigned i = 0; i < MAX_MARKS && f->marks[i]; i++) {
		if (!has(template, f->marks[i]))
			return false;
	}
	return !f->without || !has(template, f->without);
}

const char *prompt_family(const struct gguf *g)
{
	struct gguf_str template;
	size_t i = 0;

	if (gguf_get_str(g, "tokenizer.chat_template", &template, NULL))
		return "none";
	while (i < N_FAMILIES - 1 && !fits(&families[i], template))
		i++;
	return families[i].name;
}

static const struct family *find(const char *name)
{
	for (size_t i = 0; i < N_FAMILIES; i++) {
		if (!strcmp(families[i].name, name))
			return &families[i];
	}
	return NULL;
}

static void trim(const char **text, size_t *len)
{
	while (*len && isspace((unsigned char)(*text)[0])) {
		(*text)++;
		(*len)--;
	}
	while (*len && isspace((unsigned char)(*text)[*len - 1]))
		(*len)--;
}

int prompt_apply(const char *family, const char *text, size_t len, char **out, size_t *out_len)
{
	const struct family *f = find(family);
	size_t before, after;
	char *p;

	if (!f)
		return ERR_NOT_FOUND;
	if (f->trim)
		trim(&text, &len);
	before = strlen(f->before);
	after = strlen(f->after);
	p = malloc(before + len + after + 1);
	if (!p)
		return ERR_NOMEM;
	memcpy(p, f->before, before);
	if (len)
		memcpy(p + before, text, len);
	memcpy(p + before + len, f->after, after + 1);
	*out = p;
	*out_len = before + len + after;
	return 0;
}
