/* tools/bench_print.c - what `splitmq bench codec` measured: for people, as JSON, as CSV. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "schema/json.h"
#include "tools/bench.h"
#include "tools/bench_method.h"
#include "tools/cmd.h"

#define ACCEPT_GAP 0.35
#define LINE       "--------------------------------------------------------------------------"

static bool same_table(const struct bench_point *a, const struct bench_point *b)
{
	return a->source == b->source && a->split == b->split && !strcmp(a->mode, b->mode);
}

static void print_points(const struct bench *b)
{
	for (size_t i = 0; i < b->n_points; i++) {
		const struct bench_point *p = &b->points[i];
		char delta[24] = "";

		if (!i || !same_table(p, p - 1)) {
			if (p->source)
				printf("\n%s, %" PRIu32 " elements, rows one by one\n", p->source,
				       b->conf.dim);
			else
				printf("\nrows after layer %" PRIu32 ", %s\n", p->split, p->mode);
			printf("%-20s %9s %10s %8s %8s %7s\n%s\n", "method", "delta", "bits/elem",
			       "SNR dB", "bound", "gap", LINE);
		}
		if (p->delta > 0)
			snprintf(delta, sizeof(delta), "%g", p->delta);
		printf("%-20s %9s %10.3f %8.2f %8.3f %+7.3f\n", p->method, delta, p->bits, p->snr,
		       p->bound, p->bits - p->bound);
	}
}

static bool is_ours(const char *method)
{
	for (size_t i = 0; i < n_methods; i++) {
		if (methods[i].ours && !strcmp(methods[i].name, method))
			return true;
	}
	return false;
}

/* What the codec promises, of each source. */
static void print_acceptance(const struct bench *b)
{
	bool any = false;

	for (size_t i = 0; i < b->n_points; i++) {
		const struct bench_point *p = &b->points[i];
		const double gap = p->bits - p->bound;

		if (!p->source || !is_ours(p->method) || p->snr < 17 || p->snr > 18)
			continue;
		if (!any)
			printf("\nacceptance, 17 to 18 dB: at most %.2f bits above the bound\n",
			       ACCEPT_GAP);
		any = true;
		printf("%-20s %6.3f bits at %.2f dB, gap %.3f: %s\n", p->source, p->bits, p->snr,
		       gap, gap <= ACCEPT_GAP ? "holds" : "DOES NOT HOLD");
	}
}

static double melements(const struct bench_time *t)
{
	return (double)t->rows * t->dim / t->us;
}

static void print_times(const struct bench *b)
{
	if (!b->n_times)
		return;
	printf("\nmedian of %u (least .. most), microseconds a call\n", b->conf.repeat);
	for (size_t i = 0; i < b->n_times; i++) {
		const struct bench_time *t = &b->times[i];
		char what[64];

		if (t->split == UINT32_MAX)
			snprintf(what, sizeof(what), "%s", t->what);
		else
			snprintf(what, sizeof(what), "%s, split %" PRIu32, t->what, t->split);
		printf("%-26s %4" PRIu32 " x %-5" PRIu32 " %9.1f (%.1f .. %.1f)  %7.0f M "
		       "elements/s\n",
		       what, t->rows, t->dim, t->us, t->us_min, t->us_max, melements(t));
	}
	printf("a state for rows of 4096: %zu bytes\n", b->state_bytes);
}

void bench_print(const struct bench *b)
{
	print_points(b);
	print_acceptance(b);
	print_times(b);
}

static void add_point(struct json *o, const struct bench_point *p)
{
	if (p->source)
		json_add_str(o, "source", p->source);
	else
		json_add_u64(o, "split", p->split);
	json_add_str(o, "mode", p->mode);
	json_add_str(o, "method", p->method);
	json_add_f64(o, "delta", p->delta);
	json_add_f64(o, "bits", p->bits);
	json_add_f64(o, "snr_db", p->snr);
	json_add_f64(o, "bound", p->bound);
}

static void add_time(struct json *o, const struct bench_time *t)
{
	json_add_str(o, "what", t->what);
	if (t->split != UINT32_MAX)
		json_add_u64(o, "split", t->split);
	json_add_u64(o, "rows", t->rows);
	json_add_u64(o, "dim", t->dim);
	json_add_f64(o, "us", t->us);
	json_add_f64(o, "us_min", t->us_min);
	json_add_f64(o, "us_max", t->us_max);
	json_add_f64(o, "melements_per_s", melements(t));
}

int bench_print_json(const struct bench *b, struct err *e)
{
	struct json *root = json_object(), *points, *times;

	points = json_add_array(root, "points");
	for (size_t i = 0; i < b->n_points; i++)
		add_point(json_push_object(points), &b->points[i]);
	times = json_add_array(root, "times");
	for (size_t i = 0; i < b->n_times; i++)
		add_time(json_push_object(times), &b->times[i]);
	json_add_u64(root, "state_bytes", b->state_bytes);
	return cmd_print_json(root, e);
}

static int open_csv(const struct bench *b, const char *name, FILE **f, struct err *e)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", b->conf.csv, name);
	*f = fopen(path, "w");
	return *f ? 0 : err_create(e, path, errno);
}

static int close_csv(const struct bench *b, FILE *f, const char *name, struct err *e)
{
	bool bad = ferror(f);

	bad |= fclose(f) != 0;
	return bad ? err_set(e, ERR_IO, "%s/%s: %s", b->conf.csv, name, strerror(errno)) : 0;
}

static int write_points(const struct bench *b, const char *name, bool synthetic, struct err *e)
{
	const char *slash = b->conf.model ? strrchr(b->conf.model, '/') : NULL;
	const char *model = slash ? slash + 1 : b->conf.model;
	FILE *f;
	int rc = open_csv(b, name, &f, e);

	if (rc)
		return rc;
	fprintf(f, "%s,mode,method,delta,bits,snr_db,bound\n",
		synthetic ? "source" : "model,split");
	for (size_t i = 0; i < b->n_points; i++) {
		const struct bench_point *p = &b->points[i];

		if (!p->source == synthetic)
			continue;
		if (synthetic)
			fprintf(f, "%s", p->source);
		else
			fprintf(f, "\"%s\",%" PRIu32, model, p->split);
		fprintf(f, ",%s,\"%s\",%g,%.5f,%.4f,%.5f\n", p->mode, p->method, p->delta, p->bits,
			p->snr, p->bound);
	}
	return close_csv(b, f, name, e);
}

static int write_times(const struct bench *b, const char *name, struct err *e)
{
	FILE *f;
	int rc = open_csv(b, name, &f, e);

	if (rc)
		return rc;
	fprintf(f, "what,split,rows,dim,us,us_min,us_max\n");
	for (size_t i = 0; i < b->n_times; i++) {
		const struct bench_time *t = &b->times[i];

		fprintf(f, "%s,", t->what);
		if (t->split != UINT32_MAX)
			fprintf(f, "%" PRIu32, t->split);
		fprintf(f, ",%" PRIu32 ",%" PRIu32 ",%.3f,%.3f,%.3f\n", t->rows, t->dim, t->us,
			t->us_min, t->us_max);
	}
	return close_csv(b, f, name, e);
}

int bench_write_csv(const struct bench *b, struct err *e)
{
	int rc = 0;

	if (mkdir(b->conf.csv, 0777) && errno != EEXIST)
		return err_set(e, ERR_IO, "%s: %s", b->conf.csv, strerror(errno));
	if (b->conf.rate)
		rc = write_points(b, "rate-sources.csv", true, e);
	if (!rc && b->conf.real)
		rc = write_points(b, "rate-rows.csv", false, e);
	if (!rc && b->conf.speed)
		rc = write_times(b, "speed.csv", e);
	return rc;
}

int bench_add_point(struct bench *b, const struct bench_point *p, struct err *e)
{
	if (b->n_points == b->cap_points) {
		size_t cap = b->cap_points * 2 + 64;
		struct bench_point *more = realloc(b->points, cap * sizeof(*more));

		if (!more)
			return err_set(e, ERR_NOMEM, "out of memory");
		b->points = more;
		b->cap_points = cap;
	}
	b->points[b->n_points++] = *p;
	return 0;
}
