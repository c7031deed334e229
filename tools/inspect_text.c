#include "tools/inspect.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/model.h"

#define TEXT_MAX  60 /* bytes of a string that are shown */
#define ITEMS_MAX 4  /* items of an array that are shown */

const char *inspect_type_name(enum gguf_value_type type)
{
	static const char *const names[GGUF_VALUE_TYPE_COUNT] = {
		[GGUF_U8] = "u8",       [GGUF_I8] = "i8",     [GGUF_U16] = "u16",
		[GGUF_I16] = "i16",     [GGUF_U32] = "u32",   [GGUF_I32] = "i32",
		[GGUF_F32] = "f32",     [GGUF_BOOL] = "bool", [GGUF_STRING] = "string",
		[GGUF_ARRAY] = "array", [GGUF_U64] = "u64",   [GGUF_I64] = "i64",
		[GGUF_F64] = "f64",
	};

	return names[type];
}

static void put_bytes(char dst[static 16], uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double v = (double)bytes;
	size_t unit = 0;
	int digits;

	while (v >= 1000 && unit < 4) {
		v /= 1024;
		unit++;
	}
	digits = unit == 0 || v >= 99.95 ? 0 : v >= 9.995 ? 1 : 2;
	snprintf(dst, 16, "%.*f %s", digits, v, units[unit]);
}

/* A string on one line: quoted, control characters escaped, cut before TEXT_MAX at a character. */
static void print_str(struct gguf_str s)
{
	size_t shown = s.len;

	if (shown > TEXT_MAX) {
		shown = TEXT_MAX;
		while (shown && ((uint8_t)s.text[shown] & 0xc0) == 0x80)
			shown--;
	}
	putchar('"');
	for (size_t i = 0; i < shown; i++) {
		uint8_t c = (uint8_t)s.text[i];

		if (c == '\n')
			fputs("\\n", stdout);
		else if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			printf("\\x%02x", c);
		else
			putchar(c);
	}
	putchar('"');
	if (shown < s.len)
		printf(" ... (%zu bytes)", s.len);
}

/* Item i; strings are taken from *cursor. */
static void print_item(const struct gguf_kv *kv, uint64_t i, const uint8_t **cursor)
{
	switch (kv->item_type) {
	case GGUF_STRING:
		print_str(gguf_next_str(cursor));
		break;
	case GGUF_BOOL:
		fputs(gguf_int_at(kv, i) ? "true" : "false", stdout);
		break;
	case GGUF_F32:
	case GGUF_F64:
		printf("%g", gguf_float_at(kv, i));
		break;
	case GGUF_U64:
		printf("%" PRIu64, gguf_uint_at(kv, i));
		break;
	default:
		printf("%" PRId64, gguf_int_at(kv, i));
	}
}

static void print_kv(const struct gguf_kv *kv, int width)
{
	uint64_t shown = kv->count < ITEMS_MAX ? kv->count : ITEMS_MAX;
	const uint8_t *cursor = kv->data;
	char type[48];

	if (kv->type == GGUF_ARRAY)
		snprintf(type, sizeof(type), "%s[%" PRIu64 "]", inspect_type_name(kv->item_type),
			 kv->count);
	else
		snprintf(type, sizeof(type), "%s", inspect_type_name(kv->type));
	printf("  %-*.*s  %-14s  ", width, (int)kv->key.len, kv->key.text, type);
	for (uint64_t i = 0; i < shown; i++) {
		if (i)
			fputs(", ", stdout);
		print_item(kv, i, &cursor);
	}
	puts(shown < kv->count ? ", ..." : "");
}

static void print_metadata(const struct gguf *g)
{
	size_t width = 0;

	for (size_t i = 0; i < gguf_n_kv(g); i++) {
		size_t len = gguf_kv_at(g, i)->key.len;

		if (len > width && len <= 48)
			width = len;
	}
	puts("\nmetadata");
	for (size_t i = 0; i < gguf_n_kv(g); i++)
		print_kv(gguf_kv_at(g, i), (int)width);
}

/* ", WHAT 12" when the key ARCH.KEY is there. */
static void print_number(const struct gguf *g, struct gguf_str arch, const char *key,
			 const char *what)
{
	char full[160];
	uint64_t v;

	snprintf(full, sizeof(full), "%.*s.%s", (int)arch.len, arch.text, key);
	if (!gguf_get_u64(g, full, &v, NULL))
		printf(", %s %" PRIu64, what, v);
}

static bool is_word(struct gguf_str s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (!isalnum((unsigned char)s.text[i]) && !strchr("-_", s.text[i]))
			return false;
	}
	return s.len > 0 && s.len <= TEXT_MAX;
}

static void print_architecture(const struct gguf *g)
{
	static const char *const numbers[][2] = {
		{ "block_count", "layers" },
		{ "embedding_length", "hidden size" },
		{ "attention.head_count", "heads" },
		{ "attention.head_count_kv", "kv heads" },
		{ "attention.key_length", "head size" },
		{ "feed_forward_length", "feed-forward" },
		{ "context_length", "context" },
	};
	struct gguf_str arch;
	const struct gguf_kv *tokens = gguf_find(g, "tokenizer.ggml.tokens");

	if (gguf_get_str(g, "general.architecture", &arch, NULL) || !is_word(arch)) {
		puts("  architecture  not named");
		return;
	}
	printf("  architecture  %.*s", (int)arch.len, arch.text);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		print_number(g, arch, numbers[i][0], numbers[i][1]);
	if (tokens && tokens->type == GGUF_ARRAY)
		printf(", vocabulary %" PRIu64, tokens->count);
	putchar('\n');
}

static void print_part(const char *name, const struct shares_part *part, uint64_t total)
{
	const char *comma = "";
	char bytes[16];

	if (!part->bytes)
		return;
	put_bytes(bytes, part->bytes);
	printf("  %-12s %11s  %5.1f %%  ", name, bytes,
	       100.0 * (double)part->bytes / (double)total);
	for (unsigned type = 0; type < QUANT_TYPE_END; type++) {
		if (!part->tensors[type])
			continue;
		printf("%s%u %s", comma, part->tensors[type], quant_name(type));
		comma = ", ";
	}
	putchar('\n');
}

static void print_weights(const struct shares *s)
{
	char name[32], bytes[16];

	puts("\nweights            bytes    share  tensors");
	print_part("embedding", &s->embed, s->total);
	for (uint32_t i = 0; i < s->n_layers; i++) {
		snprintf(name, sizeof(name), "layer %" PRIu32, i);
		print_part(name, &s->layers[i], s->total);
	}
	print_part("head", &s->head, s->total);
	print_part("elsewhere", &s->rest, s->total);
	put_bytes(bytes, s->total);
	printf("  %-12s %11s  100.0 %%\n", "total", bytes);
	if (s->tied_bytes)
		puts("  The head has no matrix of its own: it uses the embedding.");
}

/* Whether it is a slice, in words; nothing when the keys are absent or wrong. */
static bool print_slice(const struct gguf *g, const struct shares *s)
{
	uint32_t first, last;

	if (gguf_get_u32(g, MODEL_SLICE_FIRST, &first, NULL) ||
	    gguf_get_u32(g, MODEL_SLICE_LAST, &last, NULL))
		return false;
	printf("  slice         layers %" PRIu32 "..%" PRIu32 " of %" PRIu32 "\n", first, last,
	       s->n_layers);
	return true;
}

static void print_segments(const struct shares *s)
{
	uint64_t agent = shares_agent_min(s), worker = shares_worker_max(s);
	char on_agent[16], on_worker[16];

	if (!s->n_layers)
		return;
	puts("\nsplit after l layers\n           agent holds   worker holds");
	for (uint32_t split = 0;; split++) {
		put_bytes(on_agent, agent);
		put_bytes(on_worker, worker);
		printf("  l = %-4" PRIu32 " %11s    %11s\n", split, on_agent, on_worker);
		if (split == s->n_layers)
			break;
		agent += s->layers[split].bytes;
		worker -= s->layers[split].bytes;
	}
	put_bytes(on_agent, s->total);
	printf("  no split %11s\n", on_agent);
}

/* Only of a model that the engine can run. */
static void print_caches(const struct gguf *g)
{
	struct model_hparams hp;
	struct err e;
	char bytes[16];

	if (model_read_hparams(&hp, g, &e))
		return;
	puts("\nKV cache of a token in one layer");
	for (unsigned i = 0; i < KV_TYPE_COUNT; i++) {
		put_bytes(bytes, kv_bytes(&hp, 1, 1, (enum kv_type)i));
		printf("  %-8s %11s\n", kv_type_name((enum kv_type)i), bytes);
	}
}

void inspect_text(const struct gguf *g, const char *hash, const struct shares *s)
{
	char bytes[16];
	bool slice;

	put_bytes(bytes, gguf_file_bytes(g));
	printf("%s\n", gguf_path(g));
	printf("  file          GGUF version %u, %s (%zu bytes), %zu keys, %zu tensors\n",
	       gguf_version(g), bytes, gguf_file_bytes(g), gguf_n_kv(g), gguf_n_tensors(g));
	printf("  hash          %s\n", hash);
	slice = print_slice(g, s);
	print_architecture(g);
	print_metadata(g);
	if (!gguf_n_tensors(g)) {
		puts("\nno weights: a vocabulary only");
		return;
	}
	print_weights(s);
	if (!slice) /* the other side's layers are not here to be weighed */
		print_segments(s);
	print_caches(g);
}
