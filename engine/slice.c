/* engine/slice.c - which layers a file holds; the contract is in model.h. */
#include "engine/model.h"

#include <inttypes.h>

int model_read_slice(struct model_slice *s, const struct gguf *g, const struct model_hparams *hp,
		     struct err *e)
{
	struct model_slice got = { 0, hp->n_layers };
	int rc;

	if (!gguf_find(g, MODEL_SLICE_FIRST) && !gguf_find(g, MODEL_SLICE_LAST)) {
		*s = got;
		return 0;
	}
	rc = gguf_get_u32(g, MODEL_SLICE_FIRST, &got.first, e);
	if (!rc)
		rc = gguf_get_u32(g, MODEL_SLICE_LAST, &got.last, e);
	if (rc)
		return rc == ERR_NOT_FOUND ? err_set(e, ERR_FORMAT, "%s and %s: one is missing",
						     MODEL_SLICE_FIRST, MODEL_SLICE_LAST)
					   : rc;
	if (got.first > got.last || got.last > hp->n_layers)
		return err_set(e, ERR_FORMAT,
			       "a slice with layers %" PRIu32 "..%" PRIu32 " of %" PRIu32,
			       got.first, got.last, hp->n_layers);
	*s = got;
	return 0;
}

bool model_is_slice(const struct model_slice *s, const struct model_hparams *hp)
{
	return s->first > 0 || s->last < hp->n_layers;
}

int model_slice_has(const struct model_slice *s, const struct model_hparams *hp, uint32_t first,
		    uint32_t last, bool embed, bool head, struct err *e)
{
	const uint32_t missing = first < s->first ? first : s->last > first ? s->last : first;

	if (first < last && (first < s->first || last > s->last))
		return err_set(e, ERR_NOT_FOUND,
			       "layer %" PRIu32 " is not in this file, a slice with layers %" PRIu32
			       "..%" PRIu32 " of %" PRIu32,
			       missing, s->first, s->last, hp->n_layers);
	if ((embed && s->first > 0) || (head && s->last < hp->n_layers))
		return err_set(e, ERR_NOT_FOUND,
			       "the %s is not in this file, a slice with layers %" PRIu32
			       "..%" PRIu32 " of %" PRIu32,
			       embed && s->first > 0 ? "embedding" : "head", s->first, s->last,
			       hp->n_layers);
	return 0;
}
