/* tools/cmd_quantize.c - OPSC files and slices. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
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

const char cmd_quantize_usage[] =
	"usage: splitmq quantize IN OUT --type T [OPTIONS]\n"
	"       splitmq quantize IN OUT --front T --back T --split L [OPTIONS]\n"
	"       splitmq quantize IN OUT --fit BYTES --back T --split L [OPTIONS]\n"
	"\n"
	"Writes a GGUF file with the matrices of IN in other types. T is F32, F16, BF16, Q8_0,\n"
	"Q6_K, Q5_1, Q5_0, Q5_K, Q4_1, Q4_0, Q4_K, Q3_K, Q2_K, or keep: as in IN. Vectors stay as\n"
	"they are. Rows that are no whole blocks of T get the next finer type that fits.\n"
	"\n"
	"  --type T         all layers\n"
	"  --front T        layers [0, L), what a gateway runs at this split\n"
	"  --back T         layers [L, all)\n"
	"  --split L        the boundary\n"
	"  --fit BYTES      choose the finest front whose weights, KV cache and scratch fit; K, M\n"
	"                   and G (of 1024) may follow the number\n"
	"  --embed T        embedding (default: as the front, but at least Q4_K)\n"
	"  --head T         output matrix (default: as the back, but at least Q6_K); also of an\n"
	"                   embedding that serves as the output matrix\n"
	"  --layers A..B    write a slice: layers [A, B), the embedding when A is 0, the output\n"
	"                   matrix when B is the number of layers. Slices and whole files of one\n"
	"                   recipe are one model to agent and worker. With --type keep the file "
	"is\n"
	"                   only cut\n"
	"  --imatrix FILE   importance of the columns, from splitmq calibrate\n"
	"  --ctx W          tokens of the KV cache in the memory table (default: the model's\n"
	"                   context, at most 2048)\n"
	"  -t, --threads N  default: the number of processors\n"
	"  --dry-run        the memory table only; OUT may be left out\n"
	"  --json           results as one JSON object on stdout instead of tables on stderr\n"
	"  -h, --help       this text\n";

struct options {
	const char *in, *out, *imatrix;
	struct opsc_conf conf;
	uint64_t fit_bytes; /* 0: not asked for */
	uint32_t ctx, threads;
	bool has_type, has_front, has_back, has_split, has_layers, dry_run, json;
};

enum {
	OPT_TYPE = 0x200,
	OPT_FRONT,
	OPT_BACK,
	OPT_SPLIT,
	OPT_FIT,
	OPT_EMBED,
	OPT_HEAD,
	OPT_LAYERS,
	OPT_IMATRIX,
	OPT_CTX,
	OPT_DRY_RUN,
	OPT_JSON
};

static const struct option options[] = {
	{ "type", required_argument, NULL, OPT_TYPE },
	{ "front", required_argument, NULL, OPT_FRONT },
	{ "back", required_argument, NULL, OPT_BACK },
	{ "split", required_argument, NULL, OPT_SPLIT },
	{ "fit", required_argument, NULL, OPT_FIT },
	{ "embed", required_argument, NULL, OPT_EMBED },
	{ "head", required_argument, NULL, OPT_HEAD },
	{ "layers", required_argument, NULL, OPT_LAYERS },
	{ "imatrix", required_argument, NULL, OPT_IMATRIX },
	{ "ctx", required_argument, NULL, OPT_CTX },
	{ "threads", required_argument, NULL, 't' },
	{ "dry-run", no_argument, NULL, OPT_DRY_RUN },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static int take_type(const char *option, unsigned *type)
{
	enum quant_type got;

	if (!strcasecmp(optarg, "keep")) {
		*type = OPSC_KEEP;
		return 0;
	}
	if (quantize_parse(&got, optarg))
		return cmd_usage(NAME, "%s: \"%s\" is no type that can be written", option, optarg);
	*type = got;
	return 0;
}

static int take_u32(const char *option, uint32_t min, uint32_t max, uint32_t *v)
{
	unsigned long long n = 0;
	int rc = cmd_u64(NAME, option, optarg, min, max, &n);

	if (!rc)
		*v = (uint32_t)n;
	return rc;
}

/* "A..B" */
static int take_layers(struct options *o)
{
	unsigned first, last;
	int used = 0;

	if (!isdigit((unsigned char)optarg[0]) ||
	    sscanf(optarg, "%5u..%5u%n", &first, &last, &used) != 2 || optarg[used] || first > last)
		return cmd_usage(NAME, "--layers must be A..B with A <= B, not \"%s\"", optarg);
	o->conf.first = first;
	o->conf.last = last;
	o->has_layers = true;
	return 0;
}

/* A number, perhaps with K, M or G. */
static int take_bytes(uint64_t *bytes)
{
	unsigned long long n;
	unsigned shift = 0;
	char *end;

	errno = 0;
	n = strtoull(optarg, &end, 10);
	if (*end) {
		shift = toupper((unsigned char)*end) == 'K'   ? 10
			: toupper((unsigned char)*end) == 'M' ? 20
			: toupper((unsigned char)*end) == 'G' ? 30
							      : 64;
		end++;
	}
	if (!isdigit((unsigned char)optarg[0]) || errno || *end || shift == 64 || !n ||
	    n > UINT64_MAX >> shift)
		return cmd_usage(NAME, "--fit must be a number of bytes, not \"%s\"", optarg);
	*bytes = n << shift;
	return 0;
}

/* One of getopt's results; 0 or CMD_USAGE. */
static int take(struct options *o, int opt, const char *seen)
{
	switch (opt) {
	case OPT_TYPE:
		o->has_type = true;
		return take_type("--type", &o->conf.back);
	case OPT_FRONT:
		o->has_front = true;
		return take_type("--front", &o->conf.front);
	case OPT_BACK:
		o->has_back = true;
		return take_type("--back", &o->conf.back);
	case OPT_EMBED:
		return take_type("--embed", &o->conf.embed);
	case OPT_HEAD:
		return take_type("--head", &o->conf.head);
	case OPT_SPLIT:
		o->has_split = true;
		return take_u32("--split", 0, 4096, &o->conf.boundary);
	case OPT_FIT:
		return take_bytes(&o->fit_bytes);
	case OPT_LAYERS:
		return take_layers(o);
	case OPT_IMATRIX:
		o->imatrix = optarg;
		return 0;
	case OPT_CTX:
		return take_u32("--ctx", 1, 1u << 30, &o->ctx);
	case 't':
		return take_u32("--threads", 1, POOL_MAX_THREADS, &o->threads);
	case OPT_DRY_RUN:
		o->dry_run = true;
		return 0;
	case OPT_JSON:
		o->json = true;
		return 0;
	default:
		return cmd_usage(NAME, "no option %s, or its value is missing", seen);
	}
}

/* Whether the options make one of the three forms of the command. */
static int check(struct options *o, int n_files)
{
	const bool parts = o->has_front || o->has_back || o->has_split || o->fit_bytes;

	if (n_files != 2 && !(n_files == 1 && o->dry_run))
		return cmd_usage(NAME, "IN and OUT wanted");
	if (o->has_type && parts)
		return cmd_usage(NAME, "either --type or --front, --back and --split");
	if (o->has_type) {
		o->conf.front = o->conf.back;
		return 0;
	}
	if (o->has_front && o->fit_bytes)
		return cmd_usage(NAME, "either --front or --fit, which chooses it");
	if (!(o->has_front || o->fit_bytes) || !o->has_back || !o->has_split)
		return cmd_usage(NAME, "--type wanted, or --back, --split, and --front or --fit");
	return 0;
}

static int parse(struct options *o, int argc, char **argv, bool *help)
{
	int opt, rc;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "ht:", options, NULL)) != -1) {
		if (opt == 'h') {
			*help = true;
			return 0;
		}
		rc = take(o, opt, argv[optind - 1]);
		if (rc)
			return rc;
	}
	o->in = optind < argc ? argv[optind] : NULL;
	o->out = optind + 1 < argc ? argv[optind + 1] : NULL;
	return check(o, argc - optind);
}

static volatile sig_atomic_t stopped;

static void stop(int signal_number)
{
	(void)signal_number;
	stopped = 1;
}

static bool go_on(void *arg, uint64_t done_bytes)
{
	progress_show(arg, done_bytes >> 10);
	return !stopped;
}

/* A run from its files on. */
struct work {
	struct options *o;
	struct gguf *gguf;
	struct imatrix *imatrix;
	struct opsc_plan plan;
	struct quantize_need needs[2];
	unsigned n_needs;
	struct quantize_fit fit;
};

static int open_files(struct work *w, struct err *e)
{
	struct options *o = w->o;
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
	struct options *o = w->o;
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
	struct options *o = w->o;
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
	struct options *o = w->o;
	struct progress progress = { .what = NAME,
				     .units = "KiB",
				     .total = opsc_slice_bytes(&w->plan) >> 10 };
	const struct opsc_watch watch = { go_on, &progress };
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned threads = o->threads ? o->threads : n < 1 ? 1 : n > 64 ? 64 : (unsigned)n;
	int rc;

	signal(SIGINT, stop);
	signal(SIGTERM, stop);
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
	char *text = NULL;
	size_t len;
	int rc;

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
	rc = json_print(root, &text, &len);
	if (rc)
		err_set(e, rc, "%s", err_phrase(rc));
	else
		puts(text);
	free(text);
	json_free(root);
	return rc;
}

int cmd_quantize(int argc, char **argv)
{
	struct options o = { .conf = { .embed = OPSC_DEFAULT, .head = OPSC_DEFAULT } };
	struct work w = { .o = &o };
	bool help = false;
	struct err e;
	int rc = parse(&o, argc, argv, &help);

	if (help)
		return cmd_help(NAME);
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
