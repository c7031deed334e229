#include "agent/fallback.h"

#include <string.h>

#include "base/log.h"

struct candidate {
	unsigned front;
	uint32_t layers, n_layers; /* it has [0, layers) */
	uint64_t bytes;            /* all of its layers, and the head behind the last one */
};

static int weigh(struct candidate *c, const char *path, struct err *e)
{
	struct model_slice slice;
	struct model_hparams hp;
	struct gguf *g = NULL;
	int rc = gguf_open(&g, path, e);

	if (!rc)
		rc = model_read_hparams(&hp, g, e);
	if (!rc)
		rc = model_read_slice(&slice, g, &hp, e);
	if (!rc) {
		const struct model_conf all = { .last = slice.last,
						.head = slice.last == hp.n_layers };

		c->layers = slice.last;
		c->n_layers = hp.n_layers;
		c->bytes = model_weight_bytes(g, &hp, &all);
	}
	gguf_close(g);
	return rc;
}

/* Of those with more than `below` allows, the one with most bytes; NULL: none is left. */
static const struct candidate *finest(const struct candidate *list, unsigned n, uint64_t below)
{
	const struct candidate *best = NULL;

	for (unsigned i = 0; i < n; i++) {
		if (list[i].bytes < below && (!best || list[i].bytes > best->bytes))
			best = &list[i];
	}
	return best;
}

static bool try_one(struct head **h, const struct segment_conf *sc, const struct candidate *c,
		    uint32_t spin_us, head_done *done, void *ctx)
{
	struct segment_conf lent = *sc;
	struct err e = { 0 };

	lent.lent_bytes = c->bytes;
	lent.lent_last = c->layers;
	lent.lent_head = c->layers == c->n_layers;
	return !head_create(h, &lent, spin_us, done, ctx, &e);
}

int fallback_open(struct head **h, const struct segment_conf *sc, const struct config_agent *conf,
		  head_done *done, void *ctx, unsigned *front, struct err *e)
{
	struct candidate list[CONFIG_MAX_FRONTS];
	const struct candidate *c;
	uint64_t below = UINT64_MAX;
	unsigned n = 0;
	int rc = head_create(h, sc, conf->spin_us, done, ctx, e);

	*front = 0;
	if (rc != ERR_LIMIT || conf->front_fallback[0] != 'y')
		return rc;
	for (unsigned i = 0; i < conf->n_fronts; i++) {
		list[n].front = i + 1;
		if (!weigh(&list[n], conf->fronts[i].model, NULL)) /* fronts_create names it */
			n++;
	}
	while ((c = finest(list, n, below))) {
		below = c->bytes;
		if (!try_one(h, sc, c, conf->spin_us, done, ctx))
			continue;
		*front = c->front;
		log_event(LOG_LEVEL_WARN, "front.instead", "front=%s bytes=%llu reason=%s",
			  conf->fronts[c->front - 1].front, (unsigned long long)c->bytes,
			  LOG_QUOTED(e->text));
		return 0;
	}
	return rc;
}
