/* A file that is a GGUF, but perhaps of no possible model: open it and run a few tokens. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "engine/model.h"

#define MAX_SCRATCH_BYTES ((size_t)32 << 20)
#define MAX_VOCAB         4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(int ok)
{
	if (!ok)
		abort();
}

static void run(struct model *m)
{
	const struct model_hparams *hp = model_hparams(m);
	const uint32_t ids[3] = { 0, hp->n_vocab / 2, hp->n_vocab - 1 };
	float *x = malloc(3 * (size_t)hp->dim * sizeof(*x));
	float *logits = malloc(3 * (size_t)hp->n_vocab * sizeof(*logits));
	struct kv *kv = NULL;

	if (x && logits && !kv_create(&kv, NULL, hp, 0, hp->n_layers, 4, KV_F16)) {
		must(model_embed(m, ids, 3, x) == 0);
		must(model_forward(m, kv, x, 3) == 0);
		must(model_forward(m, kv, x, 2) == ERR_CONTEXT);
		model_logits(m, x, 3, logits);
	}
	kv_destroy(kv);
	free(x);
	free(logits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct model_conf conf = { .embed = true, .head = true, .threads = 1, .max_rows = 2 };
	struct err e = { .code = 0 };
	struct model_hparams hp;
	struct model *m = NULL;
	struct gguf *g;

	if (gguf_open_memory(&g, data, len, &e))
		return 0;
	if (model_read_hparams(&hp, g, &e)) {
		must(e.code < 0 && e.text[0]);
	} else if (hp.n_vocab <= MAX_VOCAB) {
		conf.last = hp.n_layers;
		if (model_scratch_bytes(&hp, &conf) <= MAX_SCRATCH_BYTES) {
			must(model_weight_bytes(g, &hp, &conf) <= len);
			if (model_open(&m, g, &conf, &e) == 0)
				run(m);
		}
	}
	model_close(m);
	gguf_close(g);
	return 0;
}
