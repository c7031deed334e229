#include "tools/inspect_cal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/kv_type.h"
#include "codec/cal_layout.h"
#include "engine/quant.h"
#include "schema/json.h"

static const char *front_name(const struct cal_loss *l)
{
	const char *name = l->front_type == CAL_AS_IS ? "keep" : quant_name(l->front_type);

	return name ? name : "?";
}

static const char *kv_name(const struct cal_loss *l)
{
	return l->kv_type < KV_TYPE_COUNT ? kv_type_name((enum kv_type)l->kv_type) : "?";
}

static void print_line(const struct cal_loss *l)
{
	printf("%5u  %-7s  %-5s %-5s %-8g %6.3f  %8.5f  %8.5f  %7.4f\n", (unsigned)l->split,
	       l->decode ? "decode" : "prefill", front_name(l), kv_name(l), (double)l->delta,
	       (double)l->bits, (double)l->ppl_ratio, (double)l->kl, (double)l->top1);
}

static void add_line(struct json *o, const struct cal_loss *l)
{
	json_add_u64(o, "split", l->split);
	json_add_str(o, "front", front_name(l));
	json_add_str(o, "kv", kv_name(l));
	json_add_bool(o, "decode", l->decode);
	json_add_f64(o, "delta", (double)l->delta);
	json_add_f64(o, "bits_per_element", (double)l->bits);
	json_add_f64(o, "ppl_ratio", (double)l->ppl_ratio);
	json_add_f64(o, "kl", (double)l->kl);
	json_add_f64(o, "top1", (double)l->top1);
	json_add_u64(o, "tokens", l->tokens);
}

static void print_json(struct json *o)
{
	char *line = NULL;
	size_t len;

	if (!json_print(o, &line, &len))
		puts(line);
	free(line);
	json_free(o);
}

void inspect_cal_losses(const struct cal *c, bool json)
{
	if (!json && c->n_losses)
		puts("split  rows     front kv    delta    bits/el  ppl ratio        KL    top-1");
	for (uint32_t i = 0; i < c->n_losses; i++) {
		struct json *o;

		if (!json) {
			print_line(&c->losses[i]);
			continue;
		}
		o = json_object();
		add_line(o, &c->losses[i]);
		print_json(o);
	}
}

bool inspect_is_cal(const char *path)
{
	char magic[4] = "";
	FILE *f = fopen(path, "rb");
	bool is = f && fread(magic, 1, 4, f) == 4 && !memcmp(magic, CAL_MAGIC, 4);

	if (f)
		fclose(f);
	return is;
}

static void show_json(const struct cal *c, const char *path)
{
	struct json *o = json_object(), *list;

	json_add_str(o, "path", path);
	json_add_str(o, "calibration", c->id);
	json_add_str(o, "model", c->model);
	json_add_u64(o, "bytes", c->len);
	json_add_u64(o, "dim", c->dim);
	json_add_u64(o, "vocabulary", c->n_vocab);
	json_add_u64(o, "features", c->n_features);
	list = json_add_array(o, "splits");
	for (uint32_t i = 0; i < c->n_splits; i++) {
		struct json *s = json_push_object(list);

		json_add_u64(s, "split", c->splits[i].split);
		json_add_u64(s, "components", c->splits[i].k);
		json_add_u64(s, "bytes", c->splits[i].bytes);
	}
	list = json_add_array(o, "losses");
	for (uint32_t i = 0; i < c->n_losses; i++)
		add_line(json_push_object(list), &c->losses[i]);
	print_json(o);
}

static void show_text(const struct cal *c)
{
	printf("calibration  %s\nof model     %s\nbytes        %zu\nrows         %u elements\n",
	       c->id, c->model, c->len, (unsigned)c->dim);
	if (c->n_features)
		printf("tokens       %u, with %u features each\n\n", (unsigned)c->n_vocab,
		       (unsigned)c->n_features);
	else
		printf("tokens       %u, with values of their own\n\n", (unsigned)c->n_vocab);
	puts("split  components      bytes");
	for (uint32_t i = 0; i < c->n_splits; i++)
		printf("%5u  %10u %10zu\n", (unsigned)c->splits[i].split, (unsigned)c->splits[i].k,
		       c->splits[i].bytes);
	puts("");
	inspect_cal_losses(c, false);
}

/* All of it is read, so that damage anywhere is found. */
static int check_all(struct cal *c, struct err *e)
{
	const struct cal_split *s;
	int rc = 0;

	for (uint32_t i = 0; i < c->n_splits && !rc; i++)
		rc = cal_use(c, c->splits[i].split, &s, e);
	return rc;
}

int inspect_cal(const char *path, bool json, struct err *e)
{
	struct cal *c = NULL;
	int rc = cal_open(&c, path, e);

	if (rc)
		return rc;
	rc = check_all(c, e);
	if (rc)
		err_wrap(e, "%s", path);
	else if (json)
		show_json(c, path);
	else
		show_text(c);
	cal_close(c);
	return rc;
}
