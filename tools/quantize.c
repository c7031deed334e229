#include "tools/quantize.h"

#include <inttypes.h>

#include "agent/core.h"

#define THREADS 4 /* of the machine that will run it: unknown here, and worth little memory */

const unsigned quantize_choices[QUANTIZE_CHOICES] = {
	OPSC_KEEP,  QUANT_F16,  QUANT_Q8_0, QUANT_Q6_K,
	QUANT_Q5_K, QUANT_Q4_K, QUANT_Q3_K, QUANT_Q2_K,
};

const char *quantize_name(unsigned type)
{
	return type == OPSC_KEEP ? "as it is" : quant_name(type);
}

struct quantize_need quantize_need_of(const struct opsc_plan *p, const char *name, uint32_t first,
				      uint32_t last, uint32_t ctx)
{
	const struct model_conf conf = {
		.first = first, .last = last, .threads = THREADS, .max_rows = AGENT_CHUNK_ROWS
	};
	const size_t rows = (size_t)AGENT_CHUNK_ROWS * p->hp.dim + p->hp.n_vocab;

	return (struct quantize_need){
		.name = name,
		.first = first,
		.last = last,
		.weights_bytes = opsc_bytes(p, first, last, first == 0, last == p->hp.n_layers),
		.kv_bytes = kv_bytes(&p->hp, last - first, ctx, KV_F16),
		.scratch_bytes = model_scratch_bytes(&p->hp, &conf) + rows * sizeof(float),
	};
}

uint64_t quantize_total(const struct quantize_need *n)
{
	return n->weights_bytes + n->kv_bytes + n->scratch_bytes;
}

static int need_with(struct quantize_need *need, const struct gguf *g, const struct opsc_conf *conf,
		     uint32_t ctx, struct err *e)
{
	struct opsc_plan p;
	int rc = opsc_plan_init(&p, g, conf, e);

	if (rc)
		return rc;
	*need = quantize_need_of(&p, "front", 0, conf->boundary, ctx);
	opsc_plan_finish(&p);
	return 0;
}

int quantize_choose(struct quantize_fit *fit, const struct gguf *g, struct opsc_conf *conf,
		    uint32_t ctx, uint64_t budget_bytes, struct err *e)
{
	struct opsc_conf c = *conf;
	uint64_t least = UINT64_MAX;

	*fit = (struct quantize_fit){ .budget_bytes = budget_bytes, .chosen = -1 };
	for (int i = 0; i < QUANTIZE_CHOICES; i++) {
		int rc;

		c.front = quantize_choices[i];
		rc = need_with(&fit->need[i], g, &c, ctx, e);
		if (rc)
			return rc;
		fit->tried[i] = fit->need[i].weights_bytes < least;
		if (!fit->tried[i])
			continue;
		least = fit->need[i].weights_bytes;
		if (fit->chosen < 0 && quantize_total(&fit->need[i]) <= budget_bytes)
			fit->chosen = i;
	}
	if (fit->chosen >= 0) {
		conf->front = quantize_choices[fit->chosen];
		return 0;
	}
	for (int i = QUANTIZE_CHOICES - 1;; i--) {
		if (fit->tried[i])
			return err_set(e, ERR_LIMIT,
				       "no front precision fits: even %s needs %" PRIu64
				       " bytes more than the budget of %" PRIu64,
				       quantize_name(quantize_choices[i]),
				       quantize_total(&fit->need[i]) - budget_bytes, budget_bytes);
	}
}

void quantize_print_fit(FILE *to, const struct quantize_fit *fit)
{
	fprintf(to, "front in        needs bytes   of a budget of %" PRIu64 "\n",
		fit->budget_bytes);
	for (int i = 0; i < QUANTIZE_CHOICES; i++) {
		uint64_t total = quantize_total(&fit->need[i]);

		if (!fit->tried[i])
			continue;
		fprintf(to, "  %-10s %14" PRIu64 "   ", quantize_name(quantize_choices[i]), total);
		if (total > fit->budget_bytes)
			fprintf(to, "%" PRIu64 " too many\n", total - fit->budget_bytes);
		else
			fprintf(to, "fits%s\n", i == fit->chosen ? ", chosen" : "");
	}
}

void quantize_print_needs(FILE *to, const struct quantize_need *needs, unsigned n, uint32_t ctx)
{
	fprintf(to,
		"bytes     layers        weights    KV %5" PRIu32 " tokens        scratch"
		"          total\n",
		ctx);
	for (unsigned i = 0; i < n; i++) {
		char layers[32];

		snprintf(layers, sizeof(layers), "%" PRIu32 "..%" PRIu32, needs[i].first,
			 needs[i].last);
		fprintf(to, "  %-7s %-8s %12" PRIu64 " %18" PRIu64 " %14" PRIu64 " %14" PRIu64 "\n",
			needs[i].name, layers, needs[i].weights_bytes, needs[i].kv_bytes,
			needs[i].scratch_bytes, quantize_total(&needs[i]));
	}
}

/* How many tensors of the slice wanted one type and got another. */
static unsigned count_pair(const struct opsc_plan *p, unsigned wanted, unsigned got)
{
	unsigned n = 0;

	for (size_t i = 0; i < p->n; i++) {
		const struct opsc_tensor *t = &p->tensors[i];

		n += t->in_slice && t->wanted == wanted && t->type == got;
	}
	return n;
}

void quantize_print_tensors(FILE *to, const struct opsc_plan *p, bool imatrix)
{
	for (unsigned got = 0; got < QUANT_TYPE_END; got++) {
		unsigned n = 0;

		for (unsigned wanted = 0; wanted < QUANT_TYPE_END; wanted++)
			n += count_pair(p, wanted, got);
		if (n)
			fprintf(to, "  %3u tensor%s %s\n", n, n == 1 ? "" : "s", quant_name(got));
		for (unsigned wanted = 0; wanted < QUANT_TYPE_END; wanted++) {
			n = wanted == got ? 0 : count_pair(p, wanted, got);
			if (n)
				fprintf(to,
					"      %u of them in place of %s, whose blocks of %u "
					"do not fit their rows\n",
					n, quant_name(wanted), quant_block_elements(wanted));
		}
	}
	if (imatrix && p->n_without_mean)
		fprintf(to, "  %zu of %zu changed tensors have no importance in the file\n",
			p->n_without_mean, p->n_changed);
}

static void add_need(struct json *obj, const struct quantize_need *n)
{
	json_add_str(obj, "name", n->name);
	json_add_u64(obj, "first", n->first);
	json_add_u64(obj, "last", n->last);
	json_add_u64(obj, "weights_bytes", n->weights_bytes);
	json_add_u64(obj, "kv_bytes", n->kv_bytes);
	json_add_u64(obj, "scratch_bytes", n->scratch_bytes);
	json_add_u64(obj, "total_bytes", quantize_total(n));
}

static void add_types(struct json *root, const struct opsc_plan *p)
{
	struct json *types = json_add_object(root, "tensors");

	for (unsigned got = 0; got < QUANT_TYPE_END; got++) {
		unsigned n = 0;

		for (unsigned wanted = 0; wanted < QUANT_TYPE_END; wanted++)
			n += count_pair(p, wanted, got);
		if (n)
			json_add_u64(types, quant_name(got), n);
	}
	json_add_u64(root, "changed", p->n_changed);
	json_add_u64(root, "fell_back", p->n_fell_back);
	json_add_u64(root, "without_importance", p->n_without_mean);
}

void quantize_add_json(struct json *root, const struct opsc_plan *p,
		       const struct quantize_need *needs, unsigned n, uint32_t ctx,
		       const struct quantize_fit *fit)
{
	struct json *list;

	json_add_str(root, "id", p->id);
	json_add_u64(root, "first", p->slice.first);
	json_add_u64(root, "last", p->slice.last);
	json_add_u64(root, "weights_bytes", opsc_slice_bytes(p));
	json_add_u64(root, "context_tokens", ctx);
	add_types(root, p);
	list = json_add_array(root, "segments");
	for (unsigned i = 0; i < n; i++)
		add_need(json_push_object(list), &needs[i]);
	if (!fit)
		return;
	json_add_u64(root, "budget_bytes", fit->budget_bytes);
	list = json_add_array(root, "candidates");
	for (int i = 0; i < QUANTIZE_CHOICES; i++) {
		struct json *obj;

		if (!fit->tried[i])
			continue;
		obj = json_push_object(list);
		json_add_str(obj, "type", i ? quantize_name(quantize_choices[i]) : "keep");
		json_add_u64(obj, "total_bytes", quantize_total(&fit->need[i]));
		json_add_bool(obj, "fits", quantize_total(&fit->need[i]) <= fit->budget_bytes);
	}
}
