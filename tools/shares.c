#include "tools/shares.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "blk.N.": N, or -1 when the tensor belongs to no layer. */
static long layer_of(const char *name)
{
	long n;
	char *end;

	if (strncmp(name, "blk.", 4) || !isdigit((unsigned char)name[4]))
		return -1;
	n = strtol(name + 4, &end, 10);
	return *end == '.' && n < SHARES_MAX_LAYERS ? n : -1;
}

static bool begins(const char *name, const char *with)
{
	return !strncmp(name, with, strlen(with));
}

static void count(struct shares_part *part, const struct gguf_tensor *t)
{
	part->bytes += t->bytes;
	part->tensors[t->type]++;
}

static struct shares_part *part_of(struct shares *s, const char *name)
{
	long layer = layer_of(name);

	if (layer >= 0)
		return &s->layers[layer];
	if (begins(name, "token_embd"))
		return &s->embed;
	if (begins(name, "output"))
		return &s->head;
	return &s->rest;
}

/* Layers that the metadata promises; 0 when it is silent or absurd. */
static uint32_t promised_layers(const struct gguf *g)
{
	struct gguf_str arch;
	uint32_t n = 0;
	char key[128];

	if (gguf_get_str(g, "general.architecture", &arch, NULL) || arch.len > 64)
		return 0;
	snprintf(key, sizeof(key), "%.*s.block_count", (int)arch.len, arch.text);
	if (gguf_get_u32(g, key, &n, NULL) || n > SHARES_MAX_LAYERS)
		return 0;
	return n;
}

int shares_measure(struct shares *s, const struct gguf *g, struct err *e)
{
	const struct gguf_tensor *embed = gguf_find_tensor(g, "token_embd.weight");
	struct shares sum = { .n_layers = promised_layers(g) };

	for (size_t i = 0; i < gguf_n_tensors(g); i++) {
		long layer = layer_of(gguf_tensor_at(g, i)->name);

		if (layer >= (long)sum.n_layers)
			sum.n_layers = (uint32_t)layer + 1;
	}
	sum.layers = calloc((size_t)sum.n_layers + 1, sizeof(*sum.layers));
	if (!sum.layers)
		return err_set(e, ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < gguf_n_tensors(g); i++) {
		const struct gguf_tensor *t = gguf_tensor_at(g, i);

		count(part_of(&sum, t->name), t);
		sum.total += t->bytes;
	}
	if (embed && sum.head.bytes && !gguf_find_tensor(g, "output.weight"))
		sum.tied_bytes = embed->bytes;
	*s = sum;
	return 0;
}

void shares_finish(struct shares *s)
{
	free(s->layers);
	*s = (struct shares){ 0 };
}

uint64_t shares_agent_min(const struct shares *s)
{
	return s->embed.bytes + s->rest.bytes;
}

uint64_t shares_worker_max(const struct shares *s)
{
	return s->total - s->embed.bytes + s->tied_bytes;
}
