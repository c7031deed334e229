/* engine/opsc_write.c - carrying out a plan: metadata, then tensor by tensor in chunks of rows. */
#include "engine/opsc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/gguf_write.h"
#include "engine/pool.h"
#include "engine/quantize.h"

#define CHUNK_BYTES ((size_t)1 << 20) /* of output, per thread */

/* llama.cpp's number for "mostly this type"; -1 when it has none of its own. */
static int file_type_of(unsigned type)
{
	static const int numbers[QUANT_TYPE_END] = {
		[QUANT_F32] = 0,     [QUANT_F16] = 1,     [QUANT_Q4_0] = 2,  [QUANT_Q4_1] = 3,
		[QUANT_Q8_0] = 7,    [QUANT_Q5_0] = 8,    [QUANT_Q5_1] = 9,  [QUANT_Q2_K] = 10,
		[QUANT_Q3_K] = 11,   [QUANT_Q4_K] = 14,   [QUANT_Q5_K] = 16, [QUANT_Q6_K] = 18,
		[QUANT_IQ4_NL] = 25, [QUANT_IQ4_XS] = 30, [QUANT_BF16] = 32,
	};

	return numbers[type];
}

/* Of the whole plan, so that slices say what the whole says. */
static uint32_t file_type(const struct opsc_plan *p)
{
	uint64_t bytes[QUANT_TYPE_END] = { 0 };
	unsigned most = QUANT_F32;

	for (size_t i = 0; i < p->n; i++)
		bytes[p->tensors[i].type] += p->tensors[i].bytes;
	for (unsigned i = 0; i < QUANT_TYPE_END; i++) {
		if (bytes[i] > bytes[most])
			most = i;
	}
	return (uint32_t)file_type_of(most);
}

/* Keys that are written anew, wherever they were. */
static bool is_ours(struct gguf_str key)
{
	static const char *const ours[] = {
		"general.alignment", "general.file_type", "general.quantization_version",
		GGUF_ID_KEY,         GGUF_ID_TENSORS_KEY, GGUF_SOURCE_KEY,
		MODEL_SLICE_FIRST,   MODEL_SLICE_LAST
	};

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		if (strlen(ours[i]) == key.len && !memcmp(ours[i], key.text, key.len))
			return true;
	}
	return false;
}

/* What ties the identity to these tensors. ERR_NOMEM. */
static int put_id(struct gguf_write *w, const struct opsc_plan *p, struct err *e)
{
	const size_t cap = 1 + p->n * (GGUF_MAX_NAME + 24);
	char hash[GGUF_HASH_LEN + 1], *text = malloc(cap);
	size_t len = 0;

	if (!text)
		return err_set(e, ERR_NOMEM, "list of tensors: out of memory");
	for (size_t i = 0; i < p->n; i++) {
		const struct opsc_tensor *t = &p->tensors[i];

		if (t->in_slice)
			len += (size_t)snprintf(text + len, cap - len, GGUF_ID_TENSOR_LINE,
						t->from->name, quant_name(t->type));
	}
	gguf_hash_bytes(text, len, hash);
	free(text);
	gguf_write_str(w, GGUF_ID_KEY, p->id);
	gguf_write_str(w, GGUF_ID_TENSORS_KEY, hash);
	gguf_write_str(w, GGUF_SOURCE_KEY, p->source_id);
	return 0;
}

static int put_header(struct gguf_write *w, const struct opsc_plan *p, struct err *e)
{
	const struct gguf *g = p->source;
	int rc;

	for (size_t i = 0; i < gguf_n_kv(g); i++) {
		const struct gguf_kv *kv = gguf_kv_at(g, i);

		if (!is_ours(kv->key))
			gguf_write_copy(w, kv);
	}
	gguf_write_u32(w, "general.file_type", file_type(p));
	gguf_write_u32(w, "general.quantization_version", 2);
	rc = put_id(w, p, e);
	if (model_is_slice(&p->slice, &p->hp)) {
		gguf_write_u32(w, MODEL_SLICE_FIRST, p->slice.first);
		gguf_write_u32(w, MODEL_SLICE_LAST, p->slice.last);
	}
	for (size_t i = 0; i < p->n; i++) {
		const struct opsc_tensor *t = &p->tensors[i];

		if (t->in_slice)
			gguf_write_tensor(w, t->from->name, t->type, t->from->n_dims,
					  t->from->dims);
	}
	return rc;
}

/* Rows of one tensor on their way. */
struct chunk {
	const struct opsc_tensor *t;
	size_t cols, row_bytes, from_bytes; /* of a row: out, in */
	size_t first;                       /* row */
	float *x;                           /* [threads][cols] */
	uint8_t *out;                       /* [rows][row_bytes] */
	int *rc;                            /* [threads] */
};

static int convert_row(const struct chunk *c, size_t row, float *x, uint8_t *out)
{
	quant_dequant_row(c->t->from->type, c->t->from->data + row * c->from_bytes, x, c->cols);
	return quantize_row(c->t->type, x, c->t->mean, out, c->cols);
}

static void run_row(void *arg, size_t item, unsigned thread)
{
	const struct chunk *c = arg;
	int rc = convert_row(c, c->first + item, c->x + thread * c->cols,
			     c->out + item * c->row_bytes);

	if (rc)
		c->rc[thread] = rc;
}

/* What was wrong, and where: the first bad row of the chunk. */
static int explain(const struct chunk *c, size_t rows, struct err *e)
{
	int rc = 0;
	size_t row = c->first;

	for (; row < c->first + rows; row++) {
		rc = convert_row(c, row, c->x, c->out);
		if (rc)
			break;
	}
	if (rc == ERR_LIMIT)
		return err_set(e, rc, "tensor %s, row %zu: a value beyond 65504, %s cannot hold it",
			       c->t->from->name, row, quant_name(c->t->type));
	return err_set(e, rc, "tensor %s, row %zu: %s", c->t->from->name, row, err_phrase(rc));
}

struct job {
	const struct opsc_plan *p;
	struct gguf_write *w;
	struct pool *pool;
	const struct opsc_watch *watch;
	uint64_t done_bytes;
};

static int put(struct job *j, const void *bytes, size_t n, struct err *e)
{
	int rc = gguf_write_data(j->w, bytes, n, e);

	j->done_bytes += n;
	if (!rc && j->watch && !j->watch->go_on(j->watch->arg, j->done_bytes))
		rc = err_set(e, ERR_CANCELLED, "interrupted");
	return rc;
}

static int copy_tensor(struct job *j, const struct gguf_tensor *t, struct err *e)
{
	int rc = 0;

	for (size_t at = 0, n; !rc && at < t->bytes; at += n) {
		n = t->bytes - at < CHUNK_BYTES ? t->bytes - at : CHUNK_BYTES;
		rc = put(j, t->data + at, n, e);
	}
	return rc;
}

static int run_chunks(struct job *j, struct chunk *c, size_t most, struct err *e)
{
	const size_t rows = (size_t)c->t->from->n_rows;
	const unsigned threads = pool_threads(j->pool);
	int rc = 0;

	for (size_t n; !rc && c->first < rows; c->first += n) {
		n = rows - c->first < most ? rows - c->first : most;
		pool_run(j->pool, run_row, c, n);
		for (unsigned i = 0; !rc && i < threads; i++)
			rc = c->rc[i] ? explain(c, n, e) : 0;
		if (!rc)
			rc = put(j, c->out, n * c->row_bytes, e);
	}
	return rc;
}

static int convert_tensor(struct job *j, const struct opsc_tensor *t, struct err *e)
{
	const size_t cols = (size_t)t->from->dims[0];
	const unsigned threads = pool_threads(j->pool);
	struct chunk c = { .t = t,
			   .cols = cols,
			   .row_bytes = quant_row_bytes(t->type, cols),
			   .from_bytes = quant_row_bytes(t->from->type, cols) };
	size_t most = threads * CHUNK_BYTES / c.row_bytes;
	int rc;

	most = most < threads ? threads : most < t->from->n_rows ? most : (size_t)t->from->n_rows;
	c.x = malloc(threads * cols * sizeof(*c.x));
	c.out = malloc(most * c.row_bytes);
	c.rc = calloc(threads, sizeof(*c.rc));
	if (c.x && c.out && c.rc)
		rc = run_chunks(j, &c, most, e);
	else
		rc = err_set(e, ERR_NOMEM, "tensor %s: out of memory", t->from->name);
	free(c.x);
	free(c.out);
	free(c.rc);
	return rc;
}

static int put_tensors(struct job *j, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < j->p->n; i++) {
		const struct opsc_tensor *t = &j->p->tensors[i];

		if (!t->in_slice)
			continue;
		gguf_will_need(j->p->source, t->from);
		rc = t->type == t->from->type ? copy_tensor(j, t->from, e)
					      : convert_tensor(j, t, e);
		gguf_dont_need(j->p->source, t->from);
	}
	return rc;
}

int opsc_write(const struct opsc_plan *p, const char *path, unsigned threads,
	       const struct opsc_watch *watch, struct err *e)
{
	struct job j = { .p = p, .watch = watch };
	int rc = pool_create(&j.pool, threads);

	if (rc)
		return err_set(e, rc, "%u threads: %s", threads, err_phrase(rc));
	rc = gguf_write_open(&j.w, path, e);
	if (!rc)
		rc = put_header(j.w, p, e);
	if (!rc)
		rc = put_tensors(&j, e);
	if (!rc)
		rc = gguf_write_commit(j.w, e);
	gguf_write_close(j.w);
	pool_destroy(j.pool);
	return rc;
}
