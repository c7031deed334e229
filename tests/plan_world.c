#include "tests/plan_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void plan_world_front(struct plan_world *w, uint32_t f, uint32_t layers, uint64_t layer_bytes)
{
	struct plan_front *front = &w->fronts[f];

	*front = (struct plan_front){ .n_layers = layers,
				      .embed_bytes = 1000,
				      .head_bytes = 2000,
				      .weight_bytes = w->weights[f] };
	snprintf(front->name, sizeof(front->name), "front-%u", f);
	for (uint32_t l = 0; l <= PLAN_WORLD_LAYERS; l++)
		w->weights[f][l] = l * layer_bytes;
	w->agent.speeds[f] = (struct plan_speed){ .layer_token_ms = 2,
						  .layer_row_ms = 0.5,
						  .embed_ms = 0.2,
						  .local_layer_ms = 2,
						  .local_ms = 0.2,
						  .head_ms = 3,
						  .encode_ms = 0.1 };
}

void plan_world_accuracy(struct plan_world *w, uint32_t levels)
{
	const uint32_t n = w->agent.n_layers;
	struct plan_accuracy *a = &w->accuracy;

	*a = (struct plan_accuracy){ .n_layers = n,
				     .n_levels = levels,
				     .n_fronts = w->agent.n_fronts,
				     .row_bits = w->row_bits,
				     .prompt_bits = w->prompt_bits,
				     .loss = w->loss,
				     .codec_bytes = w->codec_bytes };
	for (uint32_t i = 0; i < levels; i++) {
		a->levels[i].chunk_rows = 16;
		snprintf(a->levels[i].spec, PLAN_SPEC_MAX, "level-%u", i);
		for (uint32_t l = 0; l <= n; l++) {
			w->row_bits[i * (n + 1) + l] = 8.0f / (float)(i + 1);
			w->prompt_bits[i * (n + 1) + l] = 9.0f / (float)(i + 1);
		}
	}
	for (uint32_t i = 0; i < a->n_fronts * KV_TYPE_COUNT * levels; i++) {
		for (uint32_t l = 0; l <= n; l++)
			w->loss[i * (n + 1) + l] = l == n ? 0 : 0.01f * (float)(i % levels);
	}
}

/* A gateway that is slower than its worker, 8 layers, a link of 1 Mbit/s and 20 ms. */
void plan_world_init(struct plan_world *w)
{
	memset(w, 0, sizeof(*w));
	w->agent = (struct plan_agent){ .n_layers = 8,
					.dim = 256,
					.begin_ms = 1,
					.n_fronts = 1,
					.fronts = w->fronts,
					.kv_bytes = { 512, 1024, 272, 144 },
					.budget_bytes = 1000000,
					.base_bytes = 5000,
					.session_bytes = 3000,
					.token_bytes = 100,
					.context_tokens = 512 };
	plan_world_front(w, 0, 8, 10000);
	w->worker = (struct plan_worker){ .present = true,
					  .kv_bytes = { 512, 1024, 272, 144 },
					  .budget_bytes = 10000000,
					  .context_tokens = 512,
					  .n_batches = 2,
					  .batch_rows = 1 };
	w->worker.batches[0] = (struct plan_batch){ .rows = 1, .layer_ms = 0.2, .head_ms = 0.5 };
	w->worker.batches[1] = (struct plan_batch){ .rows = 64, .layer_ms = 3.2, .head_ms = 4 };
	w->link = (struct plan_link){ .rtt_ms = 20,
				      .up_kbit_s = 1000,
				      .down_kbit_s = 1000,
				      .up_payload = 48,
				      .down_payload = 140,
				      .open_bytes = 500,
				      .open_ms = 2,
				      .accept_bytes = 150 };
	plan_world_accuracy(w, 2);
	w->policy = (struct plan_policy){ .loss = NAN,
					  .prompt_tokens = 64,
					  .answer_tokens = 32,
					  .sessions = 1,
					  .n_contexts = 2,
					  .contexts = { 128, 512 },
					  .max_split = PLAN_WORLD_LAYERS,
					  .kv_types = 15,
					  .levels = 255,
					  .fronts = 255 };
	w->in = (struct plan_input){ &w->agent,    &w->worker, &w->link,
				     &w->accuracy, &w->policy, &w->present };
}

int plan_world_open(void **state)
{
	struct plan_world *w = malloc(sizeof(*w));

	assert_non_null(w);
	plan_world_init(w);
	*state = w;
	return 0;
}

int plan_world_close(void **state)
{
	free(*state);
	return 0;
}

void plan_world_plan(struct plan_world *w)
{
	struct err e = { 0 };

	if (plan_make(&w->r, &w->in, &e))
		fail_msg("%s", e.text);
}
