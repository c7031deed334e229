#include "engine/kv_layers.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/kv.h"

int kv_layers_view(struct kv **out, const struct kv *of, uint32_t first, uint32_t last)
{
	const size_t bytes = sizeof(*of) + of->n_layers * sizeof(of->layers[0]);
	struct kv *kv;

	if (first > last || first < of->first || last > of->last)
		return ERR_LIMIT;
	kv = calloc(1, bytes);
	if (!kv)
		return ERR_NOMEM;
	memcpy(&kv->budget, &of->budget, bytes - offsetof(struct kv, budget));
	kv->budget = NULL;
	kv->booked_bytes = 0;
	kv->borrowed = true;
	kv->first = first;
	kv->last = last;
	*out = kv;
	return 0;
}

void kv_layers_aim(struct kv *view, uint32_t first, uint32_t last, uint32_t length)
{
	assert(view->borrowed && first <= last && last <= view->n_layers);
	view->first = first;
	view->last = last;
	view->length = length;
}

void kv_layers_reach(struct kv *kv, uint32_t length)
{
	assert(length <= kv->capacity);
	kv->length = length;
}

static bool alike(const struct kv *a, const struct kv *b)
{
	return a->n_layers == b->n_layers && a->capacity == b->capacity && a->length == b->length &&
	       a->n_heads == b->n_heads && a->head_dim == b->head_dim &&
	       a->head_dim_v == b->head_dim_v && a->type == b->type && !a->borrowed && !b->borrowed;
}

int kv_layers_join(struct kv *kv, struct kv *other)
{
	const bool above = other->first == kv->last, below = other->last == kv->first;

	if ((!above && !below) || !alike(kv, other))
		return ERR_STATE;
	memcpy(kv->layers + other->first, other->layers + other->first,
	       (other->last - other->first) * sizeof(kv->layers[0]));
	if (above)
		kv->last = other->last;
	else
		kv->first = other->first;
	other->last = other->first;
	return 0;
}

int kv_layers_keep(struct kv *kv, uint32_t first, uint32_t last)
{
	if (first > last || first < kv->first || last > kv->last)
		return ERR_LIMIT;
	for (uint32_t l = kv->first; l < kv->last && !kv->borrowed; l++) {
		if (l < first || l >= last)
			munmap(kv->layers[l], kv_layer_map_bytes(kv));
	}
	kv->first = first;
	kv->last = last;
	return 0;
}

/* *out has what kv has; each gives up what is not its own. */
static int part(struct kv **out, struct kv *kv, uint32_t at)
{
	const size_t bytes = sizeof(*kv) + kv->n_layers * sizeof(kv->layers[0]);

	if (at < kv->first || at > kv->last)
		return ERR_LIMIT;
	if (kv->borrowed)
		return ERR_STATE;
	*out = malloc(bytes);
	if (!*out)
		return ERR_NOMEM;
	memcpy(*out, kv, bytes);
	(*out)->booked_bytes = 0;
	return 0;
}

int kv_layers_cut(struct kv **out, struct kv *kv, uint32_t at)
{
	const int rc = part(out, kv, at);

	if (!rc)
		(*out)->first = kv->last = at;
	return rc;
}

int kv_layers_cut_below(struct kv **out, struct kv *kv, uint32_t at)
{
	const int rc = part(out, kv, at);

	if (!rc)
		(*out)->last = kv->first = at;
	return rc;
}

void kv_layers_settle(struct kv *kv)
{
	const size_t bytes = kv->position_bytes * kv->capacity * (kv->last - kv->first);

	if (!kv->budget)
		return;
	kv->budget->booked_bytes += bytes;
	kv->budget->booked_bytes -= kv->booked_bytes;
	kv->booked_bytes = bytes;
}

uint32_t kv_layers_first(const struct kv *kv)
{
	return kv->first;
}

uint32_t kv_layers_last(const struct kv *kv)
{
	return kv->last;
}
