/* tools/bench_codec.c - `splitmq bench codec`: its options, and which parts run. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codec/cal.h"
#include "engine/gguf.h"
#include "engine/model.h"
#include "tools/bench.h"
#include "tools/cmd.h"

#define NAME "bench codec"

static int take_part(void *place, const char *text, struct err *e)
{
	struct bench_conf *c = place;

	if (!strcmp(text, "rate"))
		c->rate = true;
	else if (!strcmp(text, "rows"))
		c->real = true;
	else if (!strcmp(text, "speed"))
		c->speed = true;
	else
		return err_set(e, ERR_USAGE, "must be rate, rows or speed, not \"%s\"", text);
	return 0;
}

#define TEXT(field)        OPTIONS_TEXT(struct bench_conf, field)
#define U32(field, lo, hi) OPTIONS_U32(struct bench_conf, field, lo, hi)

static const struct options_row options[] = {
	{ 'm', "model", "FILE", TEXT(model), .help = "GGUF file: also measure its rows, with -f" },
	{ 'f', "file", "TEXT", TEXT(text),
	  .help = "the text that the model reads, - for standard input" },
	{ 0, "split", "A,B,...",
	  OPTIONS_LIST(struct bench_conf, splits, 0, 4096, OPTIONS_LIST_MOST),
	  .help = "layers after which rows are taken", .preset = "four over the model" },
	{ 0, "calibration", "F", TEXT(calibration), .help = "predictors",
	  .preset = "MODEL.cal, if it is there" },
	{ 0, "tokens", "N", U32(tokens, 1, 1 << 20), .unit = "tokens",
	  .help = "how much of the text is read" },
	{ 0, "dim", "N", U32(dim, 8, 1 << 20), .help = "elements of a row of the known sources" },
	{ 0, "rows", "N", U32(rows, 1, 1 << 16), .unit = "rows",
	  .help = "how many of each source" },
	{ 0, "part", "WHAT", OPTIONS_TAKEN_ALL(take_part),
	  .help = "rate (known sources), rows (of the model) or speed; may be given again",
	  .preset = "all that can be" },
	{ 'r', "repeat", "N", U32(repeat, 1, BENCH_MAX_REPEAT),
	  .help = "how often times are measured" },
	{ 0, "csv", "DIR", TEXT(csv),
	  .help = "also write rate-sources.csv, rate-rows.csv and speed.csv there "
		  "(tools/plot-codec "
		  "draws them)" },
	{ 0, "json", NULL, OPTIONS_FLAG(struct bench_conf, json),
	  .help = "one line of JSON instead of tables" },
};

const struct options_table bench_codec_options = {
	.program = "splitmq " NAME,
	.summary = "bits, error and speed of the codec and of other ways to send rows",
	.synopsis = "[-m FILE -f TEXT] [OPTIONS]",
	OPTIONS_ROWS(options),
	.notes = "bits/elem counts all bytes of a chunk. SNR is 10 log10 of energy over error, "
		 "both of "
		 "what does not stick out of a row, averaged over rows; bound is what a Gaussian "
		 "source of that energy takes at that error, 1/2 log2(energy / error), and gap "
		 "what a "
		 "method takes beyond it. Rows of decoding cross one by one and their tokens are "
		 "known; of a prompt 64 at a time, and tokens that rows are predicted from count 4 "
		 "bytes each. Speed is that of one row, and of 64, of 4096 Gaussian elements in "
		 "tabq "
		 "without prediction; what prediction takes comes on top of it.",
};

/* OPTIONS_GO_ON, or the exit status. */
static int parse(struct bench_conf *c, int argc, char **argv)
{
	const int rc = options_read(&bench_codec_options, c, argc, argv);

	if (rc != OPTIONS_GO_ON)
		return rc;
	if (!c->model != !c->text)
		return options_wrong(&bench_codec_options, "-m and -f go together");
	if (c->real && !c->model)
		return options_wrong(&bench_codec_options, "--part rows needs -m and -f");
	if (!c->rate && !c->real && !c->speed)
		c->rate = c->speed = true, c->real = c->model;
	return rc;
}

/* The splits that were not named, the calibration beside the model, and that it is of the model. */
static int look_at_model(struct bench_conf *c, char path[static 4096], struct err *e)
{
	char hash[GGUF_HASH_LEN + 1];
	struct model_hparams hp;
	struct cal *cal = NULL;
	struct gguf *g = NULL;
	int rc = gguf_open(&g, c->model, e);

	if (!rc)
		rc = model_read_hparams(&hp, g, e);
	for (unsigned i = 0; i < 4 && !rc && !c->splits.n; i++)
		c->splits.v[i] = hp.n_layers < 4 ? (i + 1 < hp.n_layers ? i + 1 : hp.n_layers)
						 : (hp.n_layers * (i + 1) + 2) / 5;
	c->splits.n = c->splits.n ? c->splits.n : !rc && hp.n_layers < 4 ? hp.n_layers : 4;
	snprintf(path, 4096, "%s" CAL_SUFFIX, c->model);
	if (!rc && !c->calibration && !access(path, R_OK))
		c->calibration = path;
	if (!rc && c->calibration)
		rc = cal_open(&cal, c->calibration, e);
	if (!rc && cal)
		rc = gguf_hash(g, hash, e);
	if (!rc && cal && strcmp(hash, cal->model))
		rc = err_set(e, ERR_MODEL_MISMATCH, "%s is of model %s, not of %s (%s)",
			     c->calibration, cal->model, c->model, hash);
	cal_close(cal);
	gguf_close(g);
	return rc;
}

static int run(struct bench *b, struct err *e)
{
	char path[4096];
	int rc = b->conf.model ? look_at_model(&b->conf, path, e) : 0;

	if (!rc && b->conf.real && !b->conf.calibration)
		fprintf(stderr, "no calibration: nothing is predicted (splitmq calibrate)\n");
	if (!rc && b->conf.rate)
		rc = bench_rate(b, e);
	if (!rc && b->conf.real)
		rc = bench_real(b, e);
	if (!rc && b->conf.speed)
		rc = bench_speed(b, e);
	if (!rc && b->conf.csv)
		rc = bench_write_csv(b, e);
	if (!rc && b->conf.json)
		rc = bench_print_json(b, e);
	else if (!rc)
		bench_print(b);
	return rc;
}

int bench_codec(int argc, char **argv)
{
	struct bench b = {
		.conf = { .dim = 2048, .rows = 32, .tokens = 1024, .repeat = 15 },
	};
	struct err e;
	int rc = parse(&b.conf, argc, argv);

	if (rc != OPTIONS_GO_ON)
		return rc;
	rc = run(&b, &e) ? cmd_fail(NAME, &e) : CMD_OK;
	free(b.points);
	free(b.times);
	return rc;
}
