#include "engine/model.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/touch.h"
#include "engine/attention.h"
#include "engine/batch.h"
#include "engine/imatrix.h"
#include "engine/kern.h"
#include "engine/kv.h"
#include "engine/matmul.h"
#include "engine/pool.h"
#include "engine/rope.h"
#include "engine/weights.h"

#define DEFAULT_ROWS 256

#define HUGE_PAGE    ((size_t)2 << 20)

/* For so long model_prepare goes on to the next layer. */
#define PREPARE_MS 1000

/* Elements of an embedding that are read at a time: whole blocks of every type. */
#define EMBED_ELEMENTS 2048

struct model {
	struct model_hparams hp;
	struct model_conf conf;
	const struct kern *kern;
	struct pool *pool;
	struct weights weights;
	struct rope rope;
	struct matmul matmul;
	struct attention attention;
	struct imatrix_sums *sums; /* of an observer, or NULL */
	void (*between)(void);     /* layers of a step, or NULL */

	/* Scratch, one allocation; R = conf.max_rows. */
	float *scratch;
	float *norm;      /* [R][d] normed rows; later what a block adds to x */
	float *q, *k, *v; /* [R][H][D], [R][H_kv][D], [R][H_kv][D_v] */
	float *mixed;     /* [R][H][D_v] */
	float *gate, *up; /* [R][ff] */
	struct batch batch;
};

/* The rows that are in m->batch, at one layer. */
struct pass {
	struct model *m;
	uint32_t layer, rows;
};

/* Floats of each part of the scratch, in the order of struct model; then those per thread. */
enum { NORM, Q, K, V, MIXED, GATE, UP, ROWS, TURNS, TILES, ATTENTION, N_PARTS };

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

static size_t max_cols(const struct model_hparams *hp)
{
	return larger(larger(hp->dim, hp->ff_dim), (size_t)hp->n_heads * hp->head_dim_v);
}

static uint32_t max_rows(const struct model_conf *conf)
{
	return conf->max_rows ? conf->max_rows : DEFAULT_ROWS;
}

/* Each part is rounded up to whole cache lines. Returns the sum. */
static size_t measure(const struct model_hparams *hp, const struct model_conf *conf,
		      size_t parts[N_PARTS])
{
	const size_t rows = max_rows(conf);
	const struct kern *k;
	size_t sum = 0;

	if (kern_pick(&k, NULL))
		k = kern_at(0); /* what opens a model says why */
	parts[NORM] = rows * hp->dim;
	parts[Q] = rows * hp->n_heads * hp->head_dim;
	parts[K] = rows * hp->n_kv_heads * hp->head_dim;
	parts[V] = rows * hp->n_kv_heads * hp->head_dim_v;
	parts[MIXED] = rows * hp->n_heads * hp->head_dim_v;
	parts[GATE] = parts[UP] = rows * hp->ff_dim;
	parts[ROWS] = rows * hp->dim;
	parts[TURNS] = rows * hp->rope_dim;
	parts[TILES] = matmul_scratch(k, conf->threads, rows, max_cols(hp));
	parts[ATTENTION] = attention_scratch(hp, conf->threads);
	for (unsigned i = 0; i < N_PARTS; i++) {
		parts[i] = (parts[i] + 15) / 16 * 16;
		sum += parts[i];
	}
	return sum;
}

size_t model_scratch_bytes(const struct model_hparams *hp, const struct model_conf *conf)
{
	size_t parts[N_PARTS];

	return measure(hp, conf, parts) * sizeof(float);
}

size_t model_layer_bytes(const struct gguf *g, const struct model_hparams *hp, uint32_t layer)
{
	char prefix[32];
	size_t bytes = 0, len;

	(void)hp;
	len = (size_t)snprintf(prefix, sizeof(prefix), "blk.%" PRIu32 ".", layer);
	for (size_t i = 0; i < gguf_n_tensors(g); i++) {
		const struct gguf_tensor *t = gguf_tensor_at(g, i);

		if (!strncmp(t->name, prefix, len))
			bytes += t->bytes;
	}
	return bytes;
}

static size_t tensor_bytes(const struct gguf *g, const char *name)
{
	const struct gguf_tensor *t = gguf_find_tensor(g, name);

	return t ? t->bytes : 0;
}

size_t model_weight_bytes(const struct gguf *g, const struct model_hparams *hp,
			  const struct model_conf *conf)
{
	const size_t embed = tensor_bytes(g, "token_embd.weight");
	const size_t head = tensor_bytes(g, "output.weight");
	size_t bytes = tensor_bytes(g, "rope_freqs.weight");

	for (uint32_t i = conf->first; i < conf->last; i++)
		bytes += model_layer_bytes(g, hp, i);
	if (conf->embed || (conf->head && !head)) /* a tied head is the embedding, once */
		bytes += embed;
	if (conf->head)
		bytes += head + tensor_bytes(g, "output_norm.weight");
	return bytes;
}

static int check_conf(const struct model_hparams *hp, const struct model_conf *conf, struct err *e)
{
	if (conf->first > conf->last || conf->last > hp->n_layers)
		return err_set(e, ERR_LIMIT,
			       "layers %" PRIu32 "..%" PRIu32 " of a model of %" PRIu32,
			       conf->first, conf->last, hp->n_layers);
	if (conf->threads < 1 || conf->threads > POOL_MAX_THREADS)
		return err_set(e, ERR_LIMIT, "threads must be in 1..%d, not %u", POOL_MAX_THREADS,
			       conf->threads);
	if (max_rows(conf) > 1 << 16)
		return err_set(e, ERR_LIMIT, "at most 65536 rows a pass, not %" PRIu32,
			       conf->max_rows);
	return 0;
}

/* A tied head is an embedding too, so that slices at the end may have one. */
static int check_slice(const struct model_hparams *hp, const struct model_conf *conf,
		       const struct gguf *g, struct err *e)
{
	const bool embed = conf->embed && !gguf_find_tensor(g, "token_embd.weight");
	struct model_slice slice;
	int rc = model_read_slice(&slice, g, hp, e);

	if (rc)
		return rc;
	return model_slice_has(&slice, hp, conf->first, conf->last, embed, conf->head, e);
}

/* Items of a product store to many rows at once, each in a page of its own. What is left at the end
 * stays in small pages, so that nothing is taken beyond what was booked. */
static void ask_huge(void *at, size_t bytes)
{
#ifdef MADV_HUGEPAGE
	if (bytes >= HUGE_PAGE)
		(void)madvise(at, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#else
	(void)at;
	(void)bytes;
#endif
}

static int open_scratch(struct model *m, struct err *e)
{
	size_t parts[N_PARTS], n = measure(&m->hp, &m->conf, parts);
	void *scratch = NULL;
	float *at;

	if (posix_memalign(&scratch, n * sizeof(float) < HUGE_PAGE ? 64 : HUGE_PAGE,
			   larger(n, 16) * sizeof(float)))
		return err_set(e, ERR_NOMEM, "%zu MiB of scratch", n * sizeof(float) >> 20);
	m->scratch = scratch;
	ask_huge(m->scratch, n * sizeof(float));
	touch(m->scratch, n * sizeof(float));
	at = m->norm = m->scratch;
	at = m->q = at + parts[NORM];
	at = m->k = at + parts[Q];
	at = m->v = at + parts[K];
	at = m->mixed = at + parts[V];
	at = m->gate = at + parts[MIXED];
	at = m->up = at + parts[GATE];
	at = m->batch.x = at + parts[UP];
	at = m->batch.turns = at + parts[ROWS];
	at = at + parts[TURNS];
	matmul_init(&m->matmul, m->kern, m->pool, max_rows(&m->conf), max_cols(&m->hp), at);
	m->attention.scratch = at + parts[TILES];
	return 0;
}

static int open_parts(struct model *m, const struct gguf *g, struct err *e)
{
	int rc = check_conf(&m->hp, &m->conf, e);

	if (!rc)
		rc = check_slice(&m->hp, &m->conf, g, e);
	if (!rc)
		rc = kern_pick(&m->kern, e);
	if (!rc)
		rc = weights_init(&m->weights, g, &m->hp, &m->conf, e);
	if (rc)
		return rc;
	if (rope_init(&m->rope, &m->hp, m->weights.rope_factors))
		return err_set(e, ERR_NOMEM, "rotations: out of memory");
	rc = pool_create(&m->pool, m->conf.threads);
	if (rc)
		return err_set(e, rc, "%u threads: %s", m->conf.threads, err_phrase(rc));
	m->attention =
		(struct attention){ .kern = m->kern, .pool = m->pool, .n_heads = m->hp.n_heads };
	m->batch.first = m->conf.first;
	m->batch.last = m->conf.last;
	m->batch.dim = m->hp.dim;
	m->batch.rope = &m->rope;
	if (batch_init(&m->batch, max_rows(&m->conf)))
		return err_set(e, ERR_NOMEM, "batch: out of memory");
	rc = open_scratch(m, e);
	if (!rc && !m->conf.lazy)
		model_prepare(m, m->conf.first, m->conf.last, m->conf.head);
	return rc;
}

int model_open(struct model **out, const struct gguf *g, const struct model_conf *conf,
	       struct err *e)
{
	struct model *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return err_set(e, ERR_NOMEM, "model: out of memory");
	m->conf = *conf;
	rc = model_read_hparams(&m->hp, g, e);
	if (!rc)
		rc = open_parts(m, g, e);
	if (rc) {
		err_wrap(e, "%s", gguf_path(g));
		model_close(m);
		return rc;
	}
	if (conf->pin_threads)
		pool_pin(m->pool);
	*out = m;
	return 0;
}

void model_close(struct model *m)
{
	if (!m)
		return;
	pool_destroy(m->pool);
	weights_finish(&m->weights);
	rope_finish(&m->rope);
	batch_finish(&m->batch);
	free(m->scratch);
	free(m);
}

void model_prepare(struct model *m, uint32_t first, uint32_t last, bool head)
{
	const uint64_t end = clock_now_ms() + PREPARE_MS;

	first = first > m->conf.first ? first : m->conf.first;
	last = last < m->conf.last ? last : m->conf.last;
	if (head && m->conf.head)
		(void)weights_pack_head(&m->weights, m->pool, WEIGHTS_ALL);
	for (uint32_t l = first; l < last && clock_now_ms() < end; l++)
		(void)weights_pack_layer(&m->weights, l, m->pool, WEIGHTS_ALL);
}

bool model_prepare_some(struct model *m, uint32_t first, uint32_t last, bool head, uint32_t us)
{
	const uint64_t until_us = us ? clock_now_us() + us : 0;

	first = first > m->conf.first ? first : m->conf.first;
	last = last < m->conf.last ? last : m->conf.last;
	for (uint32_t l = first; l < last; l++) {
		if (!weights_pack_layer(&m->weights, l, m->pool, until_us))
			return false;
	}
	return !head || !m->conf.head || weights_pack_head(&m->weights, m->pool, until_us);
}

void model_release(struct model *m, uint32_t first, uint32_t last, bool head)
{
	first = first > m->conf.first ? first : m->conf.first;
	last = last < m->conf.last ? last : m->conf.last;
	if (head && m->conf.head)
		weights_release_head(&m->weights);
	for (uint32_t l = first; l < last; l++)
		weights_release_layer(&m->weights, l);
}

const struct model_hparams *model_hparams(const struct model *m)
{
	return &m->hp;
}

void model_observe(struct model *m, struct imatrix_sums *s)
{
	m->sums = s;
}

void model_pause(struct model *m, void (*between)(void))
{
	m->between = between;
}

static void observe(const struct model *m, uint32_t layer, enum imatrix_site site, const float *x,
		    uint32_t rows)
{
	if (m->sums)
		imatrix_sums_add(m->sums, layer, site, x, rows);
}

const char *model_isa(const struct model *m)
{
	return m->kern->name;
}

/* One row of the embedding. A tied head has it in another form: mapping its pages in, 16 for each
 * row, would soon have it in memory twice. */
static int embed_row(const struct model *m, uint32_t id, float *x)
{
	const struct gguf_tensor *t = m->weights.embed;
	const size_t row_bytes = quant_row_bytes(t->type, m->hp.dim);
	uint8_t piece[EMBED_ELEMENTS * sizeof(float)];

	for (size_t i = 0; i < m->hp.dim; i += EMBED_ELEMENTS) {
		size_t n = m->hp.dim - i < EMBED_ELEMENTS ? m->hp.dim - i : EMBED_ELEMENTS;
		int rc = gguf_copy(m->weights.gguf, t, id * row_bytes + quant_row_bytes(t->type, i),
				   piece, quant_row_bytes(t->type, n));

		if (rc)
			return rc;
		quant_dequant_row(t->type, piece, x + i, n);
	}
	return 0;
}

int model_embed(const struct model *m, const uint32_t *ids, uint32_t n, float *x)
{
	int rc = 0;

	assert(m->weights.embed);
	for (uint32_t i = 0; i < n && !rc; i++) {
		if (ids[i] >= m->hp.n_vocab)
			return ERR_LIMIT;
		rc = embed_row(m, ids[i], x + (size_t)i * m->hp.dim);
	}
	return rc;
}

/* Rows of m->norm are made of x. */
struct norming {
	const struct model *m;
	const float *x, *w;
};

static void norm_row(void *arg, size_t r, float *room)
{
	const struct norming *n = arg;
	const size_t d = n->m->hp.dim;

	n->m->kern->rms_norm(room ? room : n->m->norm + r * d, n->x + r * d, n->w, d,
			     n->m->hp.norm_eps);
}

/* outs of norm(x); m->norm is then what they read, if somebody observes it. */
static void run_normed(const struct model *m, const float *x, const float *w, uint32_t rows,
		       const struct matmul_out *outs, unsigned n_outs)
{
	struct norming n = { m, x, w };
	const struct matmul_in in = {
		.x = m->norm,
		.ldx = m->hp.dim,
		.rows = rows,
		.make = norm_row,
		.arg = &n,
		.passing = !m->sums,
	};

	matmul_run(&m->matmul, outs, n_outs, &in);
}

/* Per-head norm (qwen3) and position for n heads of D elements. */
static void turn_heads(const struct model *m, float *heads, uint32_t n, const float *norm,
		       const float *turn)
{
	const size_t d = m->hp.head_dim;

	for (uint32_t h = 0; h < n; h++) {
		if (norm)
			m->kern->rms_norm(heads + h * d, heads + h * d, norm, d, m->hp.norm_eps);
		rope_apply(&m->rope, turn, heads + h * d);
	}
}

/* Queries and keys of a span get their positions; keys and values go to the cache. */
static void place_span(void *arg, size_t i, unsigned thread)
{
	const struct pass *p = arg;
	const struct model *m = p->m;
	const struct model_hparams *hp = &m->hp;
	const struct layer *l = &m->weights.layers[p->layer - m->conf.first];
	const struct attention_span *s = &m->batch.spans[i];

	(void)thread;
	for (size_t r = s->row; r < (size_t)s->row + s->rows; r++) {
		const float *turn = m->batch.turns + r * hp->rope_dim;
		float *k = m->k + r * hp->n_kv_heads * hp->head_dim;

		turn_heads(m, m->q + r * hp->n_heads * hp->head_dim, hp->n_heads, l->q_norm, turn);
		turn_heads(m, k, hp->n_kv_heads, l->k_norm, turn);
		kv_put(s->kv, m->kern, p->layer, s->pos + (uint32_t)r - s->row, k,
		       m->v + r * hp->n_kv_heads * hp->head_dim_v);
	}
}

/* x += W_o attention(norm(x)) */
static void attend(struct pass *p, const struct layer *l, float *x)
{
	const struct model *m = p->m;
	const struct model_hparams *hp = &m->hp;
	const size_t mixed = (size_t)hp->n_heads * hp->head_dim_v;
	const struct matmul_out qkv[] = {
		{ .w = &l->q, .y = m->q, .ldy = (size_t)hp->n_heads * hp->head_dim },
		{ .w = &l->k, .y = m->k, .ldy = (size_t)hp->n_kv_heads * hp->head_dim },
		{ .w = &l->v, .y = m->v, .ldy = (size_t)hp->n_kv_heads * hp->head_dim_v },
	};
	const struct matmul_out o = { .w = &l->o, .y = m->norm, .ldy = hp->dim, .plus = x };
	const struct matmul_in in = { .x = m->mixed, .ldx = mixed, .rows = p->rows };

	run_normed(m, x, l->attn_norm, p->rows, qkv, 3);
	observe(m, p->layer, IMATRIX_ATTENTION, m->norm, p->rows);
	pool_run(m->pool, place_span, p, m->batch.n_spans);
	attention_run(&m->attention, m->batch.spans, m->batch.n_spans, p->layer, m->q, m->mixed);
	observe(m, p->layer, IMATRIX_MIXED, m->mixed, p->rows);
	matmul_run(&m->matmul, &o, 1, &in);
}

static void activate_row(void *arg, size_t r, float *room)
{
	const struct model *m = arg;
	const size_t ff = m->hp.ff_dim;

	(void)room; /* not passing */
	m->kern->silu_mul(m->gate + r * ff, m->up + r * ff, ff);
}

/* x += W_down (silu(W_gate n) * W_up n), n = norm(x) */
static void feed_forward(struct pass *p, const struct layer *l, float *x)
{
	struct model *m = p->m;
	const size_t ff = m->hp.ff_dim, d = m->hp.dim;
	const bool paired = matmul_pairs(&l->gate, &l->up);
	const struct matmul_out wide[] = {
		{ .w = &l->gate,
		  .y = m->gate,
		  .ldy = ff,
		  .up = paired ? &l->up : NULL,
		  .up_y = m->up },
		{ .w = &l->up, .y = m->up, .ldy = ff },
	};
	const struct matmul_out down = { .w = &l->down, .y = m->norm, .ldy = d, .plus = x };
	const struct matmul_in in = { .x = m->gate,
				      .ldx = ff,
				      .rows = p->rows,
				      .make = paired ? NULL : activate_row,
				      .arg = m };

	run_normed(m, x, l->ffn_norm, p->rows, wide, paired ? 1 : 2);
	observe(m, p->layer, IMATRIX_FEED, m->norm, p->rows);
	matmul_run(&m->matmul, &down, 1, &in);
	observe(m, p->layer, IMATRIX_DOWN, m->gate, p->rows);
}

static void run_layer(struct model *m, uint32_t layer)
{
	struct pass p = { .m = m, .layer = layer, .rows = m->batch.rows };
	const struct layer *l = &m->weights.layers[layer - m->conf.first];

	(void)weights_pack_layer(&m->weights, layer, m->pool, WEIGHTS_ALL);
	attend(&p, l, m->batch.x);
	feed_forward(&p, l, m->batch.x);
}

static int check_parts(const struct model *m, const struct model_part *parts, uint32_t n_parts)
{
	size_t rows = 0;

	for (uint32_t i = 0; i < n_parts; i++) {
		const struct kv *kv = parts[i].kv;

		assert(kv->n_heads == m->hp.n_kv_heads && kv->head_dim == m->hp.head_dim &&
		       kv->head_dim_v == m->hp.head_dim_v && parts[i].rows >= 1);
		if (parts[i].rows > kv->capacity - kv->length)
			return ERR_CONTEXT;
		rows += parts[i].rows;
	}
	assert(rows <= max_rows(&m->conf));
	(void)rows;
	return 0;
}

int model_step(struct model *m, const struct model_part *parts, uint32_t n_parts)
{
	int rc = check_parts(m, parts, n_parts);

	if (rc)
		return rc;
	for (uint32_t layer = m->conf.first; layer < m->conf.last; layer++) {
		batch_move(&m->batch, parts, n_parts, layer);
		batch_tap(&m->batch, parts, n_parts, layer);
		if (m->batch.rows)
			run_layer(m, layer);
		if (m->between && m->batch.rows)
			m->between();
	}
	batch_move(&m->batch, parts, n_parts, m->conf.last);
	batch_tap(&m->batch, parts, n_parts, m->conf.last);
	for (uint32_t i = 0; i < n_parts; i++) {
		if (batch_ends(&m->batch, &parts[i]))
			parts[i].kv->length += parts[i].rows;
	}
	return 0;
}

int model_forward(struct model *m, struct kv *kv, float *x, uint32_t rows)
{
	const uint32_t most = max_rows(&m->conf);

	if (rows > kv->capacity - kv->length)
		return ERR_CONTEXT;
	while (rows > 0) {
		const uint32_t n = rows < most ? rows : most;
		int rc = model_step(m, &(struct model_part){ .kv = kv, .x = x, .rows = n }, 1);

		if (rc)
			return rc;
		x += (size_t)n * m->hp.dim;
		rows -= n;
	}
	return 0;
}

int model_forward_tapped(struct model *m, struct kv *kv, float *x, uint32_t rows,
			 uint32_t tap_layer, float *tap)
{
	return model_step(
		m,
		&(struct model_part){
			.kv = kv, .x = x, .rows = rows, .tap = tap, .tap_layer = tap_layer },
		1);
}

void model_logits(struct model *m, const float *x, uint32_t rows, float *logits)
{
	const uint32_t most = max_rows(&m->conf);

	assert(m->weights.norm);
	(void)weights_pack_head(&m->weights, m->pool, WEIGHTS_ALL);
	while (rows > 0) {
		const uint32_t n = rows < most ? rows : most;
		const struct matmul_out out = { .w = &m->weights.head,
						.y = logits,
						.ldy = m->hp.n_vocab };

		run_normed(m, x, m->weights.norm, n, &out, 1);
		observe(m, 0, IMATRIX_HEAD, m->norm, n);
		x += (size_t)n * m->hp.dim;
		logits += (size_t)n * m->hp.n_vocab;
		rows -= n;
	}
}

void model_logits_of(struct model *m, const float *const *x, uint32_t rows, float *logits)
{
	const size_t d = m->hp.dim;
	const struct matmul_out out = { .w = &m->weights.head, .y = logits, .ldy = m->hp.n_vocab };
	const struct matmul_in in = { .x = m->norm, .ldx = d, .rows = rows };

	assert(m->weights.norm && rows <= max_rows(&m->conf));
	(void)weights_pack_head(&m->weights, m->pool, WEIGHTS_ALL);
	for (uint32_t r = 0; r < rows; r++)
		m->kern->rms_norm(m->norm + r * d, x[r], m->weights.norm, d, m->hp.norm_eps);
	matmul_run(&m->matmul, &out, 1, &in);
	observe(m, 0, IMATRIX_HEAD, m->norm, rows);
}
