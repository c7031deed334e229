#include "engine/opsc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/quantize.h"

#define EMBED "token_embd.weight"
#define HEAD  "output.weight"

/* Bits of 1024 elements, to compare precisions. */
static unsigned bits_of(unsigned type)
{
	return quant_block_bytes(type) * 8 * (1024 / quant_block_elements(type));
}

static unsigned finer(unsigned a, unsigned b)
{
	return bits_of(a) >= bits_of(b) ? a : b;
}

static bool fits(unsigned type, uint64_t cols)
{
	return cols % quant_block_elements(type) == 0;
}

/* type, or the next finer one whose blocks fill rows of cols elements. */
static enum quant_type fit_type(unsigned type, uint64_t cols)
{
	static const enum quant_type small[QUANT_TYPE_END] = {
		[QUANT_Q2_K] = QUANT_Q4_0, [QUANT_Q3_K] = QUANT_Q4_0, [QUANT_Q4_K] = QUANT_Q4_1,
		[QUANT_Q5_K] = QUANT_Q5_1, [QUANT_Q6_K] = QUANT_Q8_0,
	};

	if (!fits(type, cols) && small[type])
		type = small[type];
	return fits(type, cols) ? type : QUANT_F16;
}

/* Layer of "blk.N.*", or -1. */
static int64_t layer_of(const struct gguf_tensor *t)
{
	uint32_t layer;

	return sscanf(t->name, "blk.%9" SCNu32 ".", &layer) == 1 ? (int64_t)layer : -1;
}

static bool is_named(const struct gguf_tensor *t, const char *name)
{
	return !strcmp(t->name, name);
}

/* The type of embedding or head: the default is want, at least `least`, and at most the source. */
static unsigned outer_type(unsigned given, unsigned want, unsigned least, unsigned source)
{
	unsigned type = want == OPSC_KEEP ? source : finer(want, least);

	if (given == OPSC_KEEP)
		return source;
	if (given != OPSC_DEFAULT)
		return given;
	return finer(source, type) == source ? type : source;
}

static unsigned wanted_type(const struct opsc_plan *p, const struct opsc_conf *c,
			    const struct gguf_tensor *t)
{
	const int64_t layer = layer_of(t);
	unsigned type, other;

	if (t->n_rows == 1)
		return t->type;
	if (layer >= 0) {
		type = layer < (int64_t)c->boundary ? c->front : c->back;
		return type == OPSC_KEEP ? t->type : type;
	}
	if (is_named(t, EMBED)) {
		type = outer_type(p->tied ? OPSC_DEFAULT : c->embed, c->front, QUANT_Q4_K, t->type);
		other = outer_type(c->head, c->back, QUANT_Q6_K, t->type);
		if (!p->tied)
			return type;
		return c->head == OPSC_DEFAULT ? finer(type, other) : other;
	}
	if (is_named(t, HEAD))
		return outer_type(c->head, c->back, QUANT_Q6_K, t->type);
	return t->type;
}

static bool in_slice(const struct opsc_plan *p, const struct gguf_tensor *t)
{
	const bool head = p->slice.last == p->hp.n_layers;
	const int64_t layer = layer_of(t);

	if (layer >= 0)
		return layer >= (int64_t)p->slice.first && layer < (int64_t)p->slice.last;
	if (is_named(t, EMBED))
		return p->slice.first == 0 || (head && p->tied);
	return head || !(is_named(t, HEAD) || is_named(t, "output_norm.weight"));
}

static int decide(struct opsc_plan *p, const struct opsc_conf *c, struct opsc_tensor *to,
		  struct err *e)
{
	const struct gguf_tensor *t = to->from;
	unsigned want = wanted_type(p, c, t);
	int rc = 0;

	to->type = want == t->type ? t->type : fit_type(want, t->dims[0]);
	to->wanted = want;
	to->bytes = quant_row_bytes(to->type, (size_t)t->dims[0]) * t->n_rows;
	to->in_slice = in_slice(p, t);
	p->n_fell_back += to->type != want;
	if (to->type == t->type)
		return 0;
	p->n_changed++;
	if (c->imatrix)
		rc = imatrix_find(c->imatrix, t->name, t->dims[0], &to->mean, e);
	p->n_without_mean += c->imatrix && !to->mean;
	return rc;
}

static int check_ranges(const struct opsc_plan *p, const struct opsc_conf *c,
			const struct model_slice *have, struct err *e)
{
	const uint32_t n = p->hp.n_layers;

	if (c->boundary > n)
		return err_set(e, ERR_LIMIT, "split %" PRIu32 " of a model of %" PRIu32 " layers",
			       c->boundary, n);
	if (c->first > c->last || c->last > n)
		return err_set(e, ERR_LIMIT,
			       "layers %" PRIu32 "..%" PRIu32 " of a model of %" PRIu32, c->first,
			       c->last, n);
	if (c->first < have->first || c->last > have->last)
		return err_set(e, ERR_LIMIT,
			       "layers %" PRIu32 "..%" PRIu32 " of a slice with %" PRIu32
			       "..%" PRIu32,
			       c->first, c->last, have->first, have->last);
	return 0;
}

/* "source;name=TYPE;...;importance": what the weights depend on, hashed. */
static int identify(struct opsc_plan *p, const struct imatrix *im, struct err *e)
{
	const size_t cap = 256 + p->n * (GGUF_MAX_NAME + 24);
	char *text;
	size_t len;
	int rc = gguf_hash(p->source, p->id, e);

	if (rc || !p->n_changed)
		return rc;
	text = malloc(cap);
	if (!text)
		return err_set(e, ERR_NOMEM, "recipe: out of memory");
	len = (size_t)snprintf(text, cap, "splitmq quantize %d;%s;", QUANTIZE_VERSION, p->id);
	for (size_t i = 0; i < p->n; i++)
		len += (size_t)snprintf(text + len, cap - len, GGUF_ID_TENSOR_LINE,
					p->tensors[i].from->name, quant_name(p->tensors[i].type));
	len += (size_t)snprintf(text + len, cap - len, "%s", im ? imatrix_hash(im) : "-");
	gguf_hash_bytes(text, len, p->id);
	free(text);
	return 0;
}

static int plan(struct opsc_plan *p, const struct opsc_conf *conf, struct err *e)
{
	struct model_slice have;
	int rc = model_read_hparams(&p->hp, p->source, e);

	if (!rc)
		rc = model_read_slice(&have, p->source, &p->hp, e);
	if (!rc)
		rc = check_ranges(p, conf, &have, e);
	if (rc)
		return rc;
	p->slice = (struct model_slice){ conf->first, conf->last };
	p->tied = !gguf_find_tensor(p->source, HEAD);
	p->n = gguf_n_tensors(p->source);
	p->tensors = calloc(p->n ? p->n : 1, sizeof(*p->tensors));
	if (!p->tensors)
		return err_set(e, ERR_NOMEM, "plan: out of memory");
	for (size_t i = 0; !rc && i < p->n; i++) {
		p->tensors[i].from = gguf_tensor_at(p->source, i);
		rc = decide(p, conf, &p->tensors[i], e);
	}
	if (!rc && p->n_changed && model_is_slice(&have, &p->hp))
		rc = err_set(e, ERR_UNSUPPORTED,
			     "a slice (layers %" PRIu32 "..%" PRIu32 " of %" PRIu32
			     ") can be cut, but not quantized: quantize the whole file",
			     have.first, have.last, p->hp.n_layers);
	if (!rc)
		rc = gguf_source(p->source, p->source_id, e);
	return rc ? rc : identify(p, conf->imatrix, e);
}

int opsc_plan_init(struct opsc_plan *p, const struct gguf *g, const struct opsc_conf *conf,
		   struct err *e)
{
	int rc;

	*p = (struct opsc_plan){ .source = g };
	rc = plan(p, conf, e);
	if (rc) {
		err_wrap(e, "%s", gguf_path(g));
		opsc_plan_finish(p);
	}
	return rc;
}

void opsc_plan_finish(struct opsc_plan *p)
{
	free(p->tensors);
	*p = (struct opsc_plan){ 0 };
}

size_t opsc_bytes(const struct opsc_plan *p, uint32_t first, uint32_t last, bool embed, bool head)
{
	size_t sum = 0;

	for (size_t i = 0; i < p->n; i++) {
		const struct gguf_tensor *t = p->tensors[i].from;
		const int64_t layer = layer_of(t);
		bool count = true; /* RoPE factors: of both sides */

		if (layer >= 0)
			count = layer >= (int64_t)first && layer < (int64_t)last;
		else if (is_named(t, EMBED))
			count = embed || (head && p->tied);
		else if (is_named(t, HEAD) || is_named(t, "output_norm.weight"))
			count = head;
		sum += count ? p->tensors[i].bytes : 0;
	}
	return sum;
}

size_t opsc_slice_bytes(const struct opsc_plan *p)
{
	size_t sum = 0;

	for (size_t i = 0; i < p->n; i++)
		sum += p->tensors[i].in_slice ? p->tensors[i].bytes : 0;
	return sum;
}
