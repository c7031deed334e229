/* tools/bench_model_print.c - what `splitmq bench model` found, for people and for programs. */
#include "tools/bench_model.h"

#include <stdio.h>

#include "schema/json.h"
#include "tools/cmd.h"

#define MIB 1048576.0

double bench_model_share(const struct bench_model *b, const struct bench_model_line *l)
{
	return l->tok_s.median / l->batch * l->bytes_per_step / b->bandwidth;
}

static void print_line(const struct bench_model *b, const struct bench_model_line *l)
{
	printf("%-8s %6u %7u %6u %10.2f %10.2f %10.2f", l->decode ? "decode" : "prefill",
	       (unsigned)l->tokens, (unsigned)l->depth, (unsigned)l->batch, l->tok_s.median,
	       l->tok_s.min, l->tok_s.max);
	if (l->decode && l->batch == 1)
		printf(" %9.0f %%", 100 * bench_model_share(b, l));
	putchar('\n');
}

static void print_memory(const struct bench_model *b)
{
	const double known = (double)(b->weights_bytes + b->kv_bytes);

	if (b->rss_bytes)
		printf("memory: %.0f MiB resident: weights %.0f, cache %.0f, other %.0f\n",
		       (double)b->rss_bytes / MIB, (double)b->weights_bytes / MIB,
		       (double)b->kv_bytes / MIB, ((double)b->rss_bytes - known) / MIB);
}

void bench_model_print(const struct bench_model *b)
{
	const struct bench_model_conf *c = &b->conf;

	printf("%s: %s kernels, %u threads, %s cache; medians of %u\n", c->model, b->isa,
	       c->threads, kv_type_name(c->kv), c->repeat);
	printf("open:   %.0f ms, first token after %.0f ms (%.0f..%.0f)\n", b->open_ms.median,
	       b->first_ms.median, b->first_ms.min, b->first_ms.max);
	print_memory(b);
	printf("reads:  %.1f GB/s by one thread, %.1f by %u\n\n", b->bandwidth_1 * 1e-9,
	       b->bandwidth * 1e-9, c->threads);
	printf("%-8s %6s %7s %6s %10s %10s %10s %11s\n", "", "tokens", "depth", "batch", "tokens/s",
	       "min", "max", "of memory");
	for (unsigned i = 0; i < b->n_lines; i++)
		print_line(b, &b->lines[i]);
}

static void add_line(const struct bench_model *b, struct json *list,
		     const struct bench_model_line *l)
{
	struct json *o = json_push_object(list);

	json_add_str(o, "what", l->decode ? "decode" : "prefill");
	json_add_u64(o, "tokens", l->tokens);
	json_add_u64(o, "depth", l->depth);
	json_add_u64(o, "batch", l->batch);
	spread_add_json(o, "tok_s", &l->tok_s, false);
	if (l->decode && l->batch == 1)
		json_add_f64(o, "of_bandwidth", bench_model_share(b, l));
}

/* Figures for whoever wants two numbers: the longest prompt, and decoding alone from the start. */
static void add_short(const struct bench_model *b, struct json *root)
{
	const struct bench_model_line *pp = NULL, *tg = NULL;

	for (unsigned i = 0; i < b->n_lines; i++) {
		const struct bench_model_line *l = &b->lines[i];

		if (!l->decode && (!pp || l->tokens > pp->tokens))
			pp = l;
		if (l->decode && l->batch == 1 && !tg)
			tg = l;
	}
	if (pp)
		json_add_f64(root, "pp_tok_s", pp->tok_s.median);
	if (tg)
		json_add_f64(root, "tg_tok_s", tg->tok_s.median);
}

int bench_model_print_json(const struct bench_model *b, struct err *e)
{
	struct json *root = json_object(), *list;

	json_add_str(root, "model", b->conf.model);
	json_add_str(root, "isa", b->isa);
	json_add_u64(root, "threads", b->conf.threads);
	json_add_str(root, "kv", kv_type_name(b->conf.kv));
	add_short(b, root);
	spread_add_json(root, "open_ms", &b->open_ms, false);
	spread_add_json(root, "first_token_ms", &b->first_ms, false);
	json_add_u64(root, "weights_bytes", b->weights_bytes);
	json_add_u64(root, "kv_bytes", b->kv_bytes);
	json_add_u64(root, "rss_bytes", b->rss_bytes);
	json_add_f64(root, "bandwidth_1_bytes_s", b->bandwidth_1);
	json_add_f64(root, "bandwidth_bytes_s", b->bandwidth);
	list = json_add_array(root, "lines");
	for (unsigned i = 0; i < b->n_lines; i++)
		add_line(b, list, &b->lines[i]);
	return cmd_print_json(root, e);
}
