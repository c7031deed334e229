#include "agent/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/admit.h"
#include "agent/core.h"
#include "codec/chunk.h"

#define TYPES_MAX 64
#define EXACT_MAX (1ull << 53) /* integers that every JSON reader keeps */

void profile_front_name(const struct segment *s, char dst[static MSG_FRONT_MAX])
{
	uint64_t bytes[TYPES_MAX] = { 0 };
	unsigned most = 0;

	for (size_t i = 0; i < gguf_n_tensors(s->gguf); i++) {
		const struct gguf_tensor *t = gguf_tensor_at(s->gguf, i);

		if (!strncmp(t->name, "blk.", 4) && (unsigned)t->type < TYPES_MAX)
			bytes[t->type] += t->bytes;
	}
	for (unsigned k = 1; k < TYPES_MAX; k++)
		most = bytes[k] > bytes[most] ? k : most;
	snprintf(dst, MSG_FRONT_MAX, "%s", quant_name(most));
}

static uint64_t layer_bytes(const struct segment *s, uint32_t layer)
{
	return segment_weight_bytes(s, layer, layer + 1, false, false);
}

static uint64_t head_bytes(const struct segment *s)
{
	const uint32_t n = s->hp.n_layers;

	return s->slice.last == n ? segment_weight_bytes(s, n, n, false, true) : 0;
}

double profile_head_layers(const struct segment *s)
{
	uint64_t sum = 0;

	for (uint32_t i = s->slice.first; i < s->slice.last; i++)
		sum += layer_bytes(s, i);
	return sum ? (double)head_bytes(s) * (s->slice.last - s->slice.first) / (double)sum : 0;
}

int profile_fill(struct msg_agent_profile *p, const struct config_agent *conf,
		 const struct segment *s)
{
	const uint64_t limit = s->budget.limit_bytes;
	struct segment_extra extra;
	struct codec_spec codec;
	int rc = spec_parse(&codec, conf->codec, NULL);

	if (rc)
		return rc;
	extra = admit_extra(&codec, s->hp.dim, false);
	snprintf(p->agent, sizeof(p->agent), "%s", conf->agent);
	p->threads = conf->threads;
	p->max_sessions = conf->max_sessions;
	p->context_tokens = conf->context_tokens;
	p->prefill_rows = chunk_rows(&codec, s->hp.dim, SIZE_MAX, AGENT_CHUNK_ROWS);
	memcpy(p->model, s->hash, sizeof(p->model));
	p->n_layers = s->hp.n_layers;
	p->dim = s->hp.dim;
	p->kv_elements = s->hp.n_kv_heads * (s->hp.head_dim + s->hp.head_dim_v);
	p->budget_bytes = limit < EXACT_MAX ? limit : EXACT_MAX;
	p->base_bytes = s->base_bytes + s->scratch_bytes;
	p->session_bytes = extra.session_bytes;
	p->token_bytes = extra.token_bytes;
	return 0;
}
