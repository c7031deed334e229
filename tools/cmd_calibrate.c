/* tools/cmd_calibrate.c - learn predictors for the splits of a model, and what splitting costs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/cal.h"
#include "engine/model.h"
#include "engine/quantize.h"
#include "tools/calibrate.h"
#include "tools/cmd.h"
#include "tools/commands.h"
#include "tools/inspect_cal.h"

#define NAME       "calibrate"
#define MAX_DELTAS 16

struct request {
	struct calibrate_conf conf;
	char out[4096];
	uint32_t splits[CAL_MAX_SPLITS];
	bool all_splits;
	float deltas[MAX_DELTAS];
	unsigned fronts[MAX_DELTAS];
	enum kv_type caches[KV_TYPE_COUNT];
	bool json;
};

static int take_splits(void *place, const char *arg, struct err *e)
{
	struct request *o = place;
	uint32_t *ids = NULL;
	size_t n = 0;
	int rc = cmd_read_ids(arg, &ids, &n, e);

	if (rc)
		return rc;
	o->conf.n_splits = 0;
	for (size_t i = 0; i < n && i < CAL_MAX_SPLITS; i++)
		o->splits[o->conf.n_splits++] = ids[i];
	o->all_splits = false;
	free(ids);
	return 0;
}

static int take_deltas(void *place, const char *arg, struct err *e)
{
	struct request *o = place;
	const char *at = arg;

	o->conf.n_deltas = 0;
	if (!strcmp(arg, "none"))
		return 0;
	while (*at) {
		char *end;
		double v = strtod(at, &end);

		if (end == at || (*end && *end != ',') || !(v >= 1e-6 && v <= 0.5) ||
		    o->conf.n_deltas == MAX_DELTAS)
			return err_set(e, ERR_USAGE,
				       "must be up to %d numbers in 0.000001..0.5, not \"%s\"",
				       MAX_DELTAS, arg);
		o->deltas[o->conf.n_deltas++] = (float)v;
		at = *end ? end + 1 : end;
	}
	return 0;
}

/* The next of some words with commas between them; false at the end. */
static bool next_word(const char **at, char word[static 16])
{
	size_t len = strcspn(*at, ",");

	if (!**at)
		return false;
	snprintf(word, 16, "%.*s", len < 16 ? (int)len : 15, *at);
	*at += len + ((*at)[len] == ',');
	return true;
}

static int take_caches(void *place, const char *arg, struct err *e)
{
	struct request *o = place;
	char word[16];

	o->conf.n_caches = 0;
	for (const char *at = arg; next_word(&at, word);) {
		if (o->conf.n_caches == KV_TYPE_COUNT ||
		    kv_type_parse(&o->caches[o->conf.n_caches++], word))
			return err_set(e, ERR_USAGE, "\"%s\" is none of " KV_TYPE_WORDS, word);
	}
	return 0;
}

static int take_fronts(void *place, const char *arg, struct err *e)
{
	struct request *o = place;
	char word[16];

	o->conf.n_fronts = 0;
	for (const char *at = arg; next_word(&at, word);) {
		enum quant_type type = QUANT_F32;
		bool keep = !strcmp(word, "keep");

		if (o->conf.n_fronts == MAX_DELTAS || (!keep && quantize_parse(&type, word)))
			return err_set(e, ERR_USAGE, "\"%s\" is no type that can be written", word);
		o->fronts[o->conf.n_fronts++] = keep ? CAL_AS_IS : (unsigned)type;
	}
	return 0;
}

#define TEXT(field)        OPTIONS_TEXT(struct request, conf.field)
#define U32(field, lo, hi) OPTIONS_U32(struct request, conf.field, lo, hi)

static const struct options_row options[] = {
	{ 'm', "model", "FILE", TEXT(model), .needed = true, .help = "GGUF file" },
	{ 'f', "file", "TEXT", TEXT(text), .needed = true,
	  .help = "text like that which the model will be used for; 20,000 tokens and more are "
		  "good" },
	{ 'o', "output", "FILE", TEXT(out), .help = "where to",
	  .preset = "MODEL.cal, where every other command looks" },
	{ 0, "splits", "A,B,...", OPTIONS_TAKEN_ALL(take_splits), .help = "layers of the agent",
	  .preset = "all, 0 to L-1" },
	{ 0, "deltas", "D,D,...", OPTIONS_TAKEN_ALL(take_deltas), .preset = "0.005,0.02,0.05",
	  .help = "codec levels of the accuracy table; none: no table" },
	{ 0, "kv", "T,T,...", OPTIONS_TAKEN_ALL(take_caches), .help = "caches of the table",
	  .preset = "f16,q8_0,q4_0" },
	{ 0, "front", "T,T,...", OPTIONS_TAKEN_ALL(take_fronts), .preset = "keep,Q4_K",
	  .help = "precisions of the front layers in it; keep: as in the file" },
	{ 0, "features", "N", U32(features, 1, CAL_MAX_F),
	  .preset = "256 where vocabulary x width "
		    "is above 1 Mi",
	  .help = "describe a token by N numbers instead of giving it values of "
		  "its own" },
	{ 0, "imatrix", "FILE", TEXT(imatrix),
	  .help = "also write importance of the weights, for splitmq quantize" },
	{ 0, "tokens", "N", U32(loss_tokens, 16, 1 << 24), .unit = "tokens",
	  .help = "what a line of the table is measured over, at most" },
	{ 0, "ctx", "N", U32(ctx, 2, 1 << 20), .unit = "tokens", .help = "length of a window",
	  .preset = "the model's context, at most 512" },
	{ 0, "hold", "N", U32(hold, 2, 1000),
	  .help = "every Nth window is not learned from, but measured with" },
	{ 0, "fresh", NULL, OPTIONS_FLAG(struct request, conf.fresh),
	  .help = "begin anew; else what FILE holds already is kept and completed" },
	{ 't', "threads", "N", U32(threads, 1, 64), .help = "threads that compute" },
	{ 0, "json", NULL, OPTIONS_FLAG(struct request, json),
	  .help = "print the accuracy table as JSON, a line each" },
};

const struct options_table cmd_calibrate_options = {
	.program = "splitmq " NAME,
	.summary = "learn to predict rows, and what a split costs",
	.synopsis = "-m FILE -f TEXT [OPTIONS]",
	OPTIONS_ROWS(options),
	.notes =
		"Agent and worker need the same calibration file to predict rows from one another. "
		"It is saved after every step: an interrupted run goes on where it was.",
};

static int compare_splits(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* What depends on the model: all its splits, its context. */
static int complete(struct request *o, struct err *e)
{
	struct model_hparams hp;
	struct gguf *g = NULL;
	int rc = gguf_open(&g, o->conf.model, e);

	if (!rc)
		rc = model_read_hparams(&hp, g, e);
	gguf_close(g);
	if (rc)
		return rc;
	for (uint32_t i = 0; o->all_splits && i < hp.n_layers && i < CAL_MAX_SPLITS; i++)
		o->splits[o->conf.n_splits++] = i;
	qsort(o->splits, o->conf.n_splits, sizeof(o->splits[0]), compare_splits);
	if (o->conf.n_splits && o->splits[o->conf.n_splits - 1] >= hp.n_layers)
		return err_set(e, ERR_LIMIT, "split %u: this model has splits 0..%u",
			       (unsigned)o->splits[o->conf.n_splits - 1],
			       (unsigned)hp.n_layers - 1);
	if (!o->conf.ctx)
		o->conf.ctx = hp.n_ctx_train < 512 ? hp.n_ctx_train : 512;
	return 0;
}

static int print_table(const struct request *o, struct err *e)
{
	struct cal *c = NULL;
	int rc = cal_open(&c, o->conf.out, e);

	if (rc)
		return rc;
	inspect_cal_losses(c, o->json);
	if (!o->json)
		fprintf(stderr, "%s: %u splits, calibration %s\n", o->conf.out,
			(unsigned)c->n_splits, c->id);
	cal_close(c);
	return 0;
}

int cmd_calibrate(int argc, char **argv)
{
	static struct request o = {
		.conf = { .threads = 1,
			  .hold = 8,
			  .loss_tokens = 1024,
			  .n_deltas = 3,
			  .n_fronts = 2,
			  .n_caches = 3 },
		.all_splits = true,
		.deltas = { 0.005f, 0.02f, 0.05f },
		.fronts = { CAL_AS_IS, QUANT_Q4_K },
		.caches = { KV_F16, KV_Q8_0, KV_Q4_0 },
	};
	struct err e = { 0 };
	int rc = options_read(&cmd_calibrate_options, &o, argc, argv);

	if (rc != OPTIONS_GO_ON)
		return rc;
	o.conf.splits = o.splits;
	o.conf.deltas = o.deltas;
	o.conf.fronts = o.fronts;
	o.conf.caches = o.caches;
	if (!o.conf.out) {
		snprintf(o.out, sizeof(o.out), "%s" CAL_SUFFIX, o.conf.model);
		o.conf.out = o.out;
	}
	rc = complete(&o, &e);
	if (!rc)
		rc = calibrate_run(&o.conf, &e);
	if (!rc)
		rc = print_table(&o, &e);
	return rc ? cmd_fail(NAME, &e) : CMD_OK;
}
