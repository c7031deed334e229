#include "engine/weights.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/pack.h"

#define LLAMA (1u << MODEL_LLAMA)
#define QWEN2 (1u << MODEL_QWEN2)
#define QWEN3 (1u << MODEL_QWEN3)
#define ALL   (LLAMA | QWEN2 | QWEN3)

enum dim { ONE, DIM, QUERY, KEY, VALUE, MIXED, HEAD, ROPE, FF, VOCAB };

/* A tensor by its name (inside a layer: after "blk.N."), its shape, the architectures that have it,
 * and where it goes. Vectors have rows ONE and go to a float *. */
struct spec {
	const char *name;
	enum dim cols, rows;
	unsigned need, may; /* architectures, bits */
	size_t at;          /* offset in struct layer (struct weights for the others) */
};

#define VECTOR(name, cols, need, may, field)                                                       \
	{                                                                                          \
		name, cols, ONE, need, may, offsetof(struct layer, field)                          \
	}
#define MATRIX(name, cols, rows, field)                                                            \
	{                                                                                          \
		name, cols, rows, ALL, ALL, offsetof(struct layer, field)                          \
	}

static const struct spec layer_specs[] = {
	VECTOR("attn_norm.weight", DIM, ALL, ALL, attn_norm),
	MATRIX("attn_q.weight", DIM, QUERY, q),
	MATRIX("attn_k.weight", DIM, KEY, k),
	MATRIX("attn_v.weight", DIM, VALUE, v),
	VECTOR("attn_q.bias", QUERY, QWEN2, ALL, q.bias),
	VECTOR("attn_k.bias", KEY, QWEN2, ALL, k.bias),
	VECTOR("attn_v.bias", VALUE, QWEN2, ALL, v.bias),
	VECTOR("attn_q_norm.weight", HEAD, QWEN3, QWEN3, q_norm),
	VECTOR("attn_k_norm.weight", HEAD, QWEN3, QWEN3, k_norm),
	MATRIX("attn_output.weight", MIXED, DIM, o),
	VECTOR("attn_output.bias", DIM, 0, ALL, o.bias),
	VECTOR("ffn_norm.weight", DIM, ALL, ALL, ffn_norm),
	MATRIX("ffn_gate.weight", DIM, FF, gate),
	MATRIX("ffn_up.weight", DIM, FF, up),
	MATRIX("ffn_down.weight", FF, DIM, down),
	VECTOR("ffn_gate.bias", FF, 0, ALL, gate.bias),
	VECTOR("ffn_up.bias", FF, 0, ALL, up.bias),
	VECTOR("ffn_down.bias", DIM, 0, ALL, down.bias),
};

#undef VECTOR
#undef MATRIX

static const struct spec global_specs[] = {
	{ "token_embd.weight", DIM, VOCAB, 0, ALL, 0 },
	{ "output_norm.weight", DIM, ONE, 0, ALL, 0 },
	{ "output.weight", DIM, VOCAB, 0, ALL, 0 },
	{ "rope_freqs.weight", ROPE, ONE, 0, ALL, 0 },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static uint64_t length(enum dim dim, const struct model_hparams *hp)
{
	switch (dim) {
	case ONE:
		return 1;
	case DIM:
		return hp->dim;
	case QUERY:
		return (uint64_t)hp->n_heads * hp->head_dim;
	case KEY:
		return (uint64_t)hp->n_kv_heads * hp->head_dim;
	case VALUE:
		return (uint64_t)hp->n_kv_heads * hp->head_dim_v;
	case MIXED:
		return (uint64_t)hp->n_heads * hp->head_dim_v;
	case HEAD:
		return hp->head_dim;
	case ROPE:
		return hp->rope_dim / 2;
	case FF:
		return hp->ff_dim;
	case VOCAB:
		return hp->n_vocab;
	}
	return 0;
}

static const struct spec *find_spec(const struct spec *specs, size_t n, const char *name,
				    enum model_arch arch)
{
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(specs[i].name, name) && specs[i].may & 1u << arch)
			return &specs[i];
	}
	return NULL;
}

/* "blk.12.attn_q.weight" -> 12 and "attn_q.weight"; NULL when the name is not of that form. */
static const char *inside_layer(const char *name, uint64_t *layer)
{
	int used = 0;

	if (sscanf(name, "blk.%9" SCNu64 ".%n", layer, &used) != 1 || used == 0)
		return NULL;
	return name + used;
}

static const struct spec *spec_of(const struct gguf_tensor *t, const struct model_hparams *hp)
{
	const char *rest;
	uint64_t layer;

	rest = inside_layer(t->name, &layer);
	if (!rest)
		return find_spec(global_specs, COUNT(global_specs), t->name, hp->arch);
	if (layer >= hp->n_layers)
		return NULL;
	return find_spec(layer_specs, COUNT(layer_specs), rest, hp->arch);
}

int weights_check(const struct gguf *g, const struct model_hparams *hp, struct err *e)
{
	for (size_t i = 0; i < gguf_n_tensors(g); i++) {
		const struct gguf_tensor *t = gguf_tensor_at(g, i);
		const struct spec *s = spec_of(t, hp);
		uint64_t cols, rows;

		if (!s)
			return err_set(e, ERR_UNSUPPORTED,
				       "tensor %s is not one of this architecture", t->name);
		cols = length(s->cols, hp);
		rows = length(s->rows, hp);
		if (t->dims[0] != cols || t->dims[1] != rows || t->n_rows != rows)
			return err_set(e, ERR_FORMAT,
				       "tensor %s: shape %" PRIu64 " x %" PRIu64
				       " where the metadata says %" PRIu64 " x %" PRIu64,
				       t->name, t->dims[0], t->n_rows, cols, rows);
		if (t->type == QUANT_F32 && (uintptr_t)t->data % sizeof(float))
			return err_set(e, ERR_FORMAT, "tensor %s: data at an odd address", t->name);
	}
	return 0;
}

static const struct gguf_tensor *find(const struct gguf *g, const char *name, struct err *e)
{
	const struct gguf_tensor *t = gguf_find_tensor(g, name);

	if (!t)
		err_set(e, ERR_NOT_FOUND, "tensor %s is missing", name);
	return t;
}

static void set_matrix(struct weight *w, const struct gguf *g, const struct gguf_tensor *t)
{
	w->rows = (struct kern_rows){ .type = t->type,
				      .data = t->data,
				      .row_bytes = quant_row_bytes(t->type, t->dims[0]),
				      .n_rows = t->n_rows };
	w->cols = t->dims[0];
	w->tensor = t;
	gguf_will_need(g, t);
}

static int copy_vector(float **out, const struct gguf_tensor *t, struct err *e)
{
	*out = malloc(t->dims[0] * sizeof(**out));
	if (!*out)
		return err_set(e, ERR_NOMEM, "tensor %s: out of memory", t->name);
	quant_dequant_row(t->type, t->data, *out, t->dims[0]);
	return 0;
}

static int load_layer(struct layer *l, const struct gguf *g, const struct model_hparams *hp,
		      uint32_t index, struct err *e)
{
	for (size_t i = 0; i < COUNT(layer_specs); i++) {
		const struct spec *s = &layer_specs[i];
		const struct gguf_tensor *t;
		uint8_t *to = (uint8_t *)l + s->at;
		char name[64];
		int rc = 0;

		snprintf(name, sizeof(name), "blk.%" PRIu32 ".%s", index, s->name);
		t = s->need & 1u << hp->arch ? find(g, name, e) : gguf_find_tensor(g, name);
		if (!t && s->need & 1u << hp->arch)
			return ERR_NOT_FOUND;
		if (!t)
			continue;
		if (s->rows == ONE)
			rc = copy_vector((float **)(void *)to, t, e);
		else
			set_matrix((struct weight *)(void *)to, g, t);
		if (rc)
			return rc;
	}
	return 0;
}

static int load_head(struct weights *w, const struct gguf *g, struct err *e)
{
	const struct gguf_tensor *norm = find(g, "output_norm.weight", e);
	const struct gguf_tensor *head = gguf_find_tensor(g, "output.weight");

	if (!norm)
		return ERR_NOT_FOUND;
	if (!head) /* tied: the embedding is the head */
		head = find(g, "token_embd.weight", e);
	if (!head)
		return ERR_NOT_FOUND;
	set_matrix(&w->head, g, head);
	return copy_vector(&w->norm, norm, e);
}

static int load_rope_factors(struct weights *w, const struct gguf_tensor *t, struct err *e)
{
	int rc = copy_vector(&w->rope_factors, t, e);

	for (uint64_t i = 0; !rc && i < t->dims[0]; i++) {
		if (!(w->rope_factors[i] > 0))
			rc = err_set(e, ERR_FORMAT, "tensor %s: factors must be above 0, not %g",
				     t->name, (double)w->rope_factors[i]);
	}
	return rc;
}

/* The matrices of a layer in the order of layer_specs; NULL at the end. */
static struct weight *matrix_at(struct layer *l, unsigned i)
{
	for (size_t s = 0; s < COUNT(layer_specs); s++) {
		if (layer_specs[s].rows != ONE && i-- == 0)
			return (struct weight *)(void *)((uint8_t *)l + layer_specs[s].at);
	}
	return NULL;
}

static size_t strips_of(const struct weight *w)
{
	return (w->rows.n_rows + KERN_STRIP - 1) / KERN_STRIP;
}

/* Room for the strips of w behind what there is, while the limit admits it. */
static void plan(struct weights *all, struct weight *w, uint64_t limit)
{
	size_t end;

	w->room = WEIGHTS_NO_ROOM;
	if (!w->tensor || !pack_knows(w->rows.type))
		return;
	end = all->arena_bytes + strips_of(w) * pack_strip_bytes(w->rows.type, w->cols);
	end = (end + 63) / 64 * 64;
	if (limit && end > limit)
		return;
	w->room = all->arena_bytes;
	all->arena_bytes = end;
}

/* Layers from conf->pack_first on, those before, the head. */
static void plan_all(struct weights *w, const struct model_conf *conf)
{
	const uint32_t n = w->last - w->first;
	const uint32_t from = conf->pack_first > w->first ? conf->pack_first - w->first : 0;
	struct weight *one;

	for (uint32_t l = 0; l < n; l++) {
		struct layer *layer = &w->layers[(l + from) % n];

		for (unsigned i = 0; (one = matrix_at(layer, i)) != NULL; i++)
			plan(w, one, conf->pack_limit_bytes);
	}
	plan(w, &w->head, conf->pack_limit_bytes);
}

/* Addresses only: memory comes when a matrix is packed. Without it the weights stay in the map. */
static void reserve(struct weights *w, const struct model_conf *conf)
{
	void *at;

	plan_all(w, conf);
	if (!w->arena_bytes)
		return;
	at = mmap(NULL, w->arena_bytes, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return;
	w->arena = at;
	(void)madvise(at, w->arena_bytes, MADV_HUGEPAGE);
}

/* Strips of an item of packing. */
#define PACK_STRIPS 4

struct packing {
	const struct weight *w;
	uint8_t *to;
	size_t strip_bytes;
	size_t first; /* item */
};

static void pack_item(void *arg, size_t item, unsigned thread)
{
	const struct packing *p = arg;
	const struct kern_rows *w = &p->w->rows;
	const size_t from = (p->first + item) * PACK_STRIPS * KERN_STRIP;

	(void)thread;
	for (size_t i = from; i < from + PACK_STRIPS * KERN_STRIP && i < w->n_rows;
	     i += KERN_STRIP) {
		const size_t left = w->n_rows - i;

		pack_strip(w->type, w->data + i * w->row_bytes, w->row_bytes,
			   left < KERN_STRIP ? left : KERN_STRIP, p->w->cols,
			   p->to + i / KERN_STRIP * p->strip_bytes);
	}
}

/* True when all of it is packed, or it cannot be. */
static bool pack_matrix(struct weights *all, struct weight *w, struct pool *pool, uint64_t until_us)
{
	struct packing p = { .w = w };
	size_t items, each;

	if (!all->arena || w->room == WEIGHTS_NO_ROOM || w->strips.data)
		return true;
	items = (strips_of(w) + PACK_STRIPS - 1) / PACK_STRIPS;
	each = until_us == WEIGHTS_ALL ? items : pool_threads(pool);
	p.to = all->arena + w->room;
	p.strip_bytes = pack_strip_bytes(w->rows.type, w->cols);
	while (w->n_items < items) {
		const size_t left = items - w->n_items;

		if (until_us != WEIGHTS_ALL && clock_now_us() >= until_us)
			return false;
		p.first = w->n_items;
		pool_run(pool, pack_item, &p, left < each ? left : each);
		w->n_items += left < each ? left : each;
	}
	w->strips = (struct kern_strips){ .type = w->rows.type,
					  .data = p.to,
					  .strip_bytes = p.strip_bytes,
					  .blocks = w->cols / 32 };
	return true;
}

/* Once all are packed: the kernel maps neighbours of each page that it maps. */
static void drop_matrix(const struct weights *all, const struct weight *w)
{
	if (w->strips.data)
		gguf_dont_need(all->gguf, w->tensor);
}

bool weights_pack_layer(struct weights *w, uint32_t layer, struct pool *pool, uint64_t until_us)
{
	struct layer *l = &w->layers[layer - w->first];
	struct weight *one;

	if (l->packed)
		return true;
	for (unsigned i = 0; (one = matrix_at(l, i)) != NULL; i++) {
		if (!pack_matrix(w, one, pool, until_us))
			return false;
	}
	for (unsigned i = 0; (one = matrix_at(l, i)) != NULL; i++)
		drop_matrix(w, one);
	l->packed = true;
	return true;
}

bool weights_pack_head(struct weights *w, struct pool *pool, uint64_t until_us)
{
	if (w->head_packed)
		return true;
	if (!pack_matrix(w, &w->head, pool, until_us))
		return false;
	drop_matrix(w, &w->head);
	w->head_packed = true;
	return true;
}

/* Whole pages of the arena from byte `from` up to byte `to`. */
static void drop_arena(const struct weights *w, size_t from, size_t to)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	from = (from + page - 1) / page * page;
	to = to / page * page;
	if (from < to)
		(void)madvise(w->arena + from, to - from, MADV_DONTNEED);
}

/* Its strips go with those of its layer. Returns where they end; 0: it has none. */
static size_t unpack_matrix(const struct weights *all, struct weight *w)
{
	if (w->tensor)
		gguf_dont_need(all->gguf, w->tensor);
	if (!w->n_items)
		return 0;
	w->n_items = 0;
	w->strips = (struct kern_strips){ 0 };
	return w->room + strips_of(w) * pack_strip_bytes(w->rows.type, w->cols);
}

void weights_release_layer(struct weights *w, uint32_t layer)
{
	struct layer *l = &w->layers[layer - w->first];
	size_t from = SIZE_MAX, to = 0;
	struct weight *one;

	for (unsigned i = 0; (one = matrix_at(l, i)) != NULL; i++) {
		const size_t end = unpack_matrix(w, one);

		from = end && one->room < from ? one->room : from;
		to = end > to ? end : to;
	}
	if (to)
		drop_arena(w, from, to);
	l->packed = false;
}

void weights_release_head(struct weights *w)
{
	const size_t end = unpack_matrix(w, &w->head);

	if (end)
		drop_arena(w, w->head.room, end);
	w->head_packed = false;
}

int weights_init(struct weights *w, const struct gguf *g, const struct model_hparams *hp,
		 const struct model_conf *conf, struct err *e)
{
	uint32_t n = conf->last - conf->first;
	const struct gguf_tensor *freqs = gguf_find_tensor(g, "rope_freqs.weight");
	int rc = 0;

	assert(conf->first <= conf->last && conf->last <= hp->n_layers);
	*w = (struct weights){ .first = conf->first, .last = conf->last, .gguf = g };
	w->layers = calloc(n ? n : 1, sizeof(*w->layers));
	if (!w->layers)
		return err_set(e, ERR_NOMEM, "%" PRIu32 " layers: out of memory", n);
	for (uint32_t i = 0; i < n && !rc; i++)
		rc = load_layer(&w->layers[i], g, hp, conf->first + i, e);
	if (!rc && conf->embed) {
		w->embed = find(g, "token_embd.weight", e);
		rc = w->embed ? 0 : ERR_NOT_FOUND;
	}
	if (!rc && conf->head)
		rc = load_head(w, g, e);
	if (!rc && freqs)
		rc = load_rope_factors(w, freqs, e);
	if (!rc)
		reserve(w, conf);
	return rc;
}

void weights_finish(struct weights *w)
{
	for (uint32_t i = 0; w->layers && i < w->last - w->first; i++) {
		for (size_t s = 0; s < COUNT(layer_specs); s++) {
			uint8_t *at = (uint8_t *)&w->layers[i] + layer_specs[s].at;

			if (layer_specs[s].rows == ONE)
				free(*(float **)(void *)at);
		}
	}
	free(w->layers);
	free(w->norm);
	free(w->rope_factors);
	if (w->arena)
		munmap(w->arena, w->arena_bytes);
	*w = (struct weights){ 0 };
}
