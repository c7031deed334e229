/* tools/cmd_quantize.c - OPSC files and slices. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec/cal.h"
#include "engine/pool.h"
#include "engine/quantize.h"
#include "tools/cmd.h"
#include "tools/commands.h"
#include "tools/progress.h"
#include "tools/quantize.h"

#define NAME        "quantize"
#define DEFAULT_CTX 2048u /* or the model's own, when that is shorter */

struct request {
	const char *in, *out, *imatrix;
	struct opsc_conf conf;
	uint64_t fit_bytes; /* 0: not asked for */
	uint32_t ctx, threads;
	bool has_type, has_front, has_back, has_split, has_layers, dry_run, json;
};

static int take_type(void *place, const char *text, struct err *e)
{
	unsigned *type = place;
	enum quant_type got;

	if (!strcasecmp(text, "keep")) {
		*type = OPSC_KEEP;
		return 0;
	}
	if (quantize_parse(&got, text))
		return err_set(e, ERR_USAGE, "\"%s\" is no type that can be written", text);
	*type = got;
	return 0;
}

/* "A..B" */
static int take_layers(void *place, const char *text, struct err *e)
{
	struct opsc_conf *c = place;
	unsigned first, last;
	int used = 0;

	if (!isdigit((unsigned char)text[0]) ||
	    sscanf(text, "%5u..%5u%n", &first, &last, &used) != 2 || text[used] || first > last)
		return err_set(e, ERR_USAGE, "must be A..B with A <= B, not \"%s\"", text);
	c->first = first;
	c->last = last;
	return 0;
}

/* A number, perhaps with K, M or G. */
static int take_bytes(void *place, const char *text, struct err *e)
{
	uint64_t *bytes = place;
	unsigned long long n;
	unsigned shift = 0;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (*end) {
		shift = toupper((unsigned char)*end) == 'K'   ? 10
			: toupper((unsigned char)*end) == 'M' ? 20
			: toupper((unsigned char)*end) == 'G' ? 30
							      : 64;
		end++;
	}
	if (!isdigit((unsigned char)text[0]) || errno || *end || shift == 64 || !n ||
	    n > UINT64_MAX >> shift)
		return err_set(e, ERR_USAGE, "must be a number of bytes, not \"%s\"", text);
	*bytes = n << shift;
	return 0;
}

#define TYPE(field)  OPTIONS_TAKEN(struct request, conf.field, take_type)
#define GIVEN(field) .given = OPTIONS_GIVEN(struct request, field)

static const struct options_row options[] = {
	{ 0, "IN", NULL, OPTIONS_TEXT(struct request, in), .operand = true,
	  .help = "the file that is read" },
	{ 0, "OUT", NULL, OPTIONS_TEXT(struct request, out), .operand = true,
	  .help = "the file that is written" },
	{ 0, "type", "T", TYPE(back), GIVEN(has_type), .help = "all layers" },
	{ 0, "front", "T", TYPE(front), GIVEN(has_front),
	  .help = "layers [0, L), what a gateway runs at this split" },
	{ 0, "back", "T", TYPE(back), GIVEN(has_back), .help = "layers [L, all)" },
	{ 0, "split", "L", OPTIONS_U32(struct request, conf.boundary, 0, 4096), GIVEN(has_split),
	  .help = "the boundary" },
	{ 0, "fit", "BYTES", OPTIONS_TAKEN(struct request, fit_bytes, take_bytes),
	  .help = "choose the finest front whose weights, KV cache and scratch fit; K, M and G "
		  "(of 1024) may follow the number" },
	{ 0, "embed", "T", TYPE(embed), .help = "embedding",
	  .preset = "as the front, but at least Q4_K" },
	{ 0, "head", "T", TYPE(head),
	  .help = "output matrix; also of an embedding that serves as the output matrix",
	  .preset = "as the back, but at least Q6_K" },
	{ 0, "layers", "A..B", OPTIONS_TAKEN(struct request, conf, take_layers), GIVEN(has_layers),
	  .help = "write a slice: layers [A, B), the embedding when A is 0, the output matrix when "
		  "B is the number of layers. Slices and whole files of one recipe are one model "
		  "to "
		  "agent and worker. With --type keep the file is only cut" },
	{ 0, "imatrix", "FILE", OPTIONS_TEXT(struct request, imatrix),
	  .help = "importance of the columns, from splitmq calibrate" },
	{ 0, "ctx", "W", OPTIONS_U32(struct request, ctx, 1, 1u << 30), .unit = "tokens",
	  .help = "length of the KV cache in the memory table",
	  .preset = "the model's context, at most 2048" },
	{ 't', "threads", "N", OPTIONS_U32(struct request, threads, 1, POOL_MAX_THREADS),
	  .help = "threads that compute", .preset = "the number of processors" },
	{ 0, "dry-run", NULL, OPTIONS_FLAG(struct request, dry_run),
	  .help = "the memory table only; OUT may be left out" },
	{ 0, "json", NULL, OPTIONS_FLAG(struct request, json),
	  .help = "results as one JSON object on stdout instead of tables on stderr" },
};

const struct options_table cmd_quantize_options = {
	.program = "splitmq " NAME,
	.summary = "a GGUF file in other precisions, whole or a slice of its layers",
	.synopsis = "IN OUT --type T [OPTIONS]\n"
		    "IN OUT --front T --back T --split L [OPTIONS]\n"
		    "IN OUT --fit BYTES --back T --split L [OPTIONS]",
	.about = "Writes a GGUF file with the matrices of IN in other types. T is F32, F16, BF16, "
		 "Q8_0, Q6_K, Q5_1, Q5_0, Q5_K, Q4_1, Q4_0, Q4_K, Q3_K, Q2_K, or keep: as in IN. "
		 "Vectors stay as they are. Rows that are no whole blocks of T get the next finer "
		 "type that fits.",
	OPTIONS_ROWS(options),
};

/* Whether the options make one of the three forms of the command. */
static int check(struct request *o)
{
	const struct options_table *table = &cmd_quantize_options;
	const bool parts = o->has_front || o->has_back || o->has_split || o->fit_bytes;

	if (!o->in || (!o->out && !o->dry_run))
		return options_wrong(table, "IN and OUT wanted");
	if (o->has_type && parts)
		return options_wrong(table, "either --type or --front, --back and --split");
	if (o->has_type) {
		o->conf.front = o->conf.back;
		return 0;
	}
	if (o->has_front && o->fit_bytes)
		return options_wrong(table, "either --front or --fit, which chooses it");
	if (!(o->has_front || o->fit_bytes) || !o->has_back || !o->has_split)
		return options_wrong(table,
				     "--type wanted, or --back, --split, and --front or --fit");
	return 0;
}

static bool go_on(void *arg, uint64_t done_bytes)
{
	progress_show(arg, done_bytes >> 10);
	return !cmd_interrupted();
}

/* A run from its files on. */
struct work {
	struct request *o;
	struct gguf *gguf;
	struct imatrix *imatrix;
	struct opsc_plan plan;
	struct quantize_need needs[2];
	unsigned n_needs;
	struct quantize_fit fit;
};

static int open_files(struct work *w, struct err *e)
{
	struct request *o = w->o;
	struct stat in, out;
	int rc;

	if (o->out && !stat(o->in, &in) && !stat(o->out, &out) && in.st_dev == out.st_dev &&
	    in.st_ino == out.st_ino)
		return err_set(e, ERR_USAGE, "%s is the input", o->out);
	rc = gguf_open(&w->gguf, o->in, e);
	if (!rc && o->imatrix)
		rc = imatrix_open(&w->imatrix, o->imatrix, e);
	o->conf.imatrix = w->imatrix;
	return rc;
}

/* What the options leave open and the model decides: a slice is cut from what is there. */
static int complete(struct work *w, struct err *e)
{
	struct request *o = w->o;
	struct model_hparams hp;
	struct model_slice have;
	int rc = model_read_hparams(&hp, w->gguf, e);

	if (!rc)
		rc = model_read_slice(&have, w->gguf, &hp, e);
	if (rc)
		return err_wrap(e, "%s", o->in);
	if (!o->has_layers) {
		o->conf.first = have.first;
		o->conf.last = have.last;
	}
	if (!o->ctx)
		o->ctx = hp.n_ctx_train < DEFAULT_CTX ? hp.n_ctx_train : DEFAULT_CTX;
	return 0;
}

static int make_plan(struct work *w, struct err *e)
{
	struct request *o = w->o;
	int rc = complete(w, e);

	if (!rc && o->fit_bytes) {
		rc = quantize_choose(&w->fit, w->gguf, &o->conf, o->ctx, o->fit_bytes, e);
		if (w->fit.budget_bytes && !o->json)
			quantize_print_fit(stderr, &w->fit);
	}
	if (!rc)
		rc = opsc_plan_init(&w->plan, w->gguf, &o->conf, e);
	if (rc)
		return rc;
	if (o->has_split) {
		w->needs[w->n_needs++] =
			quantize_need_of(&w->plan, "front", 0, o->conf.boundary, o->ctx);
		w->needs[w->n_needs++] = quantize_need_of(&w->plan, "back", o->conf.boundary,
							  w->plan.hp.n_layers, o->ctx);
	} else {
		w->needs[w->n_needs++] =
			quantize_need_of(&w->plan, o->has_layers ? "slice" : "whole", o->conf.first,
					 o->conf.last, o->ctx);
	}
	if (!o->json)
		quantize_print_needs(stderr, w->needs, w->n_needs, o->ctx);
	return 0;
}

static int write_file(struct work *w, struct err *e)
{
	struct request *o = w->o;
	struct progress progress = { .what = NAME,
				     .units = "KiB",
				     .total = opsc_slice_bytes(&w->plan) >> 10 };
	const struct opsc_watch watch = { go_on, &progress };
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned threads = o->threads ? o->threads : n < 1 ? 1 : n > 64 ? 64 : (unsigned)n;
	int rc;

	cmd_catch_interrupt();
	rc = opsc_write(&w->plan, o->out, threads, &watch, e);
	progress_clear(&progress);
	return rc;
}

/* IN.cal -> OUT.cal: predictors learned from the source serve its other precisions and its slices,
 * what a split costs does not. All slices of a recipe get the same one. */
static int carry_calibration(const struct work *w, struct err *e)
{
	char from[4096], to[4096], hash[GGUF_HASH_LEN + 1];
	struct cal *c = NULL;
	int rc;

	snprintf(from, sizeof(from), "%s" CAL_SUFFIX, w->o->in);
	snprintf(to, sizeof(to), "%s" CAL_SUFFIX, w->o->out);
	rc = cal_open(&c, from, e);
	if (rc)
		return rc == ERR_NOT_FOUND ? 0 : rc;
	rc = gguf_hash(w->gguf, hash, e);
	if (!rc && strcmp(hash, c->model)) {
		fprintf(stderr, "splitmq " NAME ": %s is of another model and stays where it is\n",
			from);
	} else if (!rc) {
		memcpy(c->model, w->plan.id, sizeof(c->model));
		c->n_losses = w->plan.n_changed ? 0 : c->n_losses;
		rc = cal_save(c, to, e);
	}
	cal_close(c);
	return rc;
}

static int report(const struct work *w, struct err *e)
{
	struct json *root;

	if (!w->o->json) {
		if (!w->o->dry_run)
			fprintf(stderr, "%s  %s\n", w->plan.id, w->o->out);
		quantize_print_tensors(stderr, &w->plan, w->imatrix);
		return 0;
	}
	root = json_object();
	json_add_str(root, "input", w->o->in);
	if (!w->o->dry_run)
		json_add_str(root, "output", w->o->out);
	json_add_str(root, "front",
		     w->o->conf.front == OPSC_KEEP ? "keep" : quant_name(w->o->conf.front));
	json_add_str(root, "back",
		     w->o->conf.back == OPSC_KEEP ? "keep" : quant_name(w->o->conf.back));
	quantize_add_json(root, &w->plan, w->needs, w->n_needs, w->o->ctx,
			  w->o->fit_bytes ? &w->fit : NULL);
	return cmd_print_json(root, e);
}

int cmd_quantize(int argc, char **argv)
{
	struct request o = { .conf = { .embed = OPSC_DEFAULT, .head = OPSC_DEFAULT } };
	struct work w = { .o = &o };
	struct err e;
	int rc = options_read(&cmd_quantize_options, &o, argc, argv);

	if (rc != OPTIONS_GO_ON)
		return rc;
	rc = check(&o);
	if (rc)
		return rc;
	rc = open_files(&w, &e);
	if (!rc)
		rc = make_plan(&w, &e);
	if (!rc && !o.dry_run)
		rc = write_file(&w, &e);
	if (!rc && !o.dry_run)
		rc = carry_calibration(&w, &e);
	if (!rc)
		rc = report(&w, &e);
	if (rc)
		rc = cmd_fail(NAME, &e);
	opsc_plan_finish(&w.plan);
	imatrix_close(w.imatrix);
	gguf_close(w.gguf);
	return rc;
}
