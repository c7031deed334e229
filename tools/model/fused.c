/* The steps of training that are not matrix products, each in one pass. Rows are bf16 (uint16_t)
 * beside the f32 residual stream. Compiled and called by fast.py; no threads. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define HEADS    8
#define KV_HEADS 4
#define GROUP    (HEADS / KV_HEADS)
#define HEAD     32
#define QKV      ((HEADS + 2 * KV_HEADS) * HEAD)
#define MAX_T    1024

typedef float lanes __attribute__((vector_size(64), aligned(4))); /* sixteen floats, anywhere */

static inline float up(uint16_t b)
{
	uint32_t u = (uint32_t)b << 16;
	float x;
	memcpy(&x, &u, 4);
	return x;
}

static inline uint16_t down(float x)
{
	uint32_t u;
	memcpy(&u, &x, 4);
	return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

/* x[n][d] += delta (unless NULL); y = x / rms(x), scale = 1 / rms(x). */
void add_rms(float *x, const uint16_t *delta, uint16_t *y, float *scale, int64_t n, int64_t d,
	     float eps)
{
	for (int64_t i = 0; i < n; i++, x += d, y += d) {
		float sum = 0;
		if (delta)
			for (int64_t j = 0; j < d; j++)
				x[j] += up(delta[i * d + j]);
		for (int64_t j = 0; j < d; j++)
			sum += x[j] * x[j];
		float s = 1 / sqrtf(sum / d + eps);
		for (int64_t j = 0; j < d; j++)
			y[j] = down(x[j] * s);
		scale[i] = s;
	}
}

/* Gradient of add_rms: gx += what comes back through y; low = gx as bf16. */
void rms_back(float *gx, const uint16_t *gy, const uint16_t *y, const float *scale, uint16_t *low,
	      int64_t n, int64_t d)
{
	for (int64_t i = 0; i < n; i++, gx += d, gy += d, y += d, low += d) {
		float dot = 0;
		for (int64_t j = 0; j < d; j++)
			dot += up(gy[j]) * up(y[j]);
		dot /= d;
		for (int64_t j = 0; j < d; j++) {
			gx[j] += scale[i] * (up(gy[j]) - dot * up(y[j]));
			low[j] = down(gx[j]);
		}
	}
}

/* a[n][f] = silu(gate) * up, of gu[n][2f]. */
void swiglu(const uint16_t *gu, uint16_t *a, int64_t n, int64_t f)
{
	for (int64_t i = 0; i < n; i++, gu += 2 * f, a += f)
		for (int64_t j = 0; j < f; j++) {
			float g = up(gu[j]);
			a[j] = down(g / (1 + expf(-g)) * up(gu[f + j]));
		}
}

void swiglu_back(const uint16_t *ga, const uint16_t *gu, uint16_t *ggu, int64_t n, int64_t f)
{
	for (int64_t i = 0; i < n; i++, gu += 2 * f, ggu += 2 * f, ga += f)
		for (int64_t j = 0; j < f; j++) {
			float g = up(gu[j]), s = 1 / (1 + expf(-g)), grad = up(ga[j]);
			ggu[j] = down(grad * up(gu[f + j]) * s * (1 + g * (1 - s)));
			ggu[f + j] = down(grad * g * s);
		}
}

/* sum += part */
void accumulate(float *sum, const uint16_t *part, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		sum[i] += up(part[i]);
}

/* Rotated copy of one head: out[t][HEAD]; sign -1 turns back. */
static void rotate(float *out, const float *in, const float *cosine, const float *sine, int64_t T,
		   float sign)
{
	for (int64_t t = 0; t < T; t++)
		for (int j = 0; j < HEAD / 2; j++) {
			float a = in[t * HEAD + 2 * j], b = in[t * HEAD + 2 * j + 1];
			float c = cosine[t * HEAD / 2 + j], s = sign * sine[t * HEAD / 2 + j];
			out[t * HEAD + 2 * j] = a * c - b * s;
			out[t * HEAD + 2 * j + 1] = a * s + b * c;
		}
}

static void load(float *out, const uint16_t *rows, int64_t T, float factor)
{
	for (int64_t t = 0; t < T; t++)
		for (int j = 0; j < HEAD; j++)
			out[t * HEAD + j] = factor * up(rows[t * QKV + j]);
}

static void store(uint16_t *rows, const float *in, int64_t T, int64_t stride, float factor)
{
	for (int64_t t = 0; t < T; t++)
		for (int j = 0; j < HEAD; j++)
			rows[t * stride + j] = down(factor * in[t * HEAD + j]);
}

/* Loops over columns run to a multiple of 16; columns beyond the last are finite rubbish that softmax() masks. */
static inline int64_t whole(int64_t n)
{
	return (n + 15) & ~(int64_t)15;
}

/* Floats from one column of a transposed head to the next: no power of two, which would share one cache set. */
static inline int64_t pitch(int64_t T)
{
	return whole(T) + 16;
}

static void transpose(float *out, const float *in, int64_t T)
{
	for (int64_t t = 0; t < T; t++)
		for (int j = 0; j < HEAD; j++)
			out[j * pitch(T) + t] = in[t * HEAD + j];
}

static inline lanes at(const float *p)
{
	return *(const lanes *)p;
}

/* out[j] = x . column j, of a transposed head; n a multiple of 16 */
static void dots(float *restrict out, const float *x, const float *restrict columns, int64_t step,
		 int64_t n)
{
	for (int64_t j = 0; j < n; j += 16) {
		const float *c = columns + j;
		lanes a = { 0 }, b = { 0 };
		for (int d = 0; d < HEAD; d += 2) {
			a += x[d] * at(c + d * step);
			b += x[d + 1] * at(c + (d + 1) * step);
		}
		*(lanes *)(out + j) = a + b;
	}
}

/* Softmax of p[0..n); zeros up to the next multiple of 16. */
static void softmax(float *p, int64_t n)
{
	float top = -1e30f, sum = 0;
	int64_t end = whole(n);
	for (int64_t j = n; j < end; j++)
		p[j] = -1e30f;
	for (int64_t j = 0; j < end; j++)
		top = p[j] > top ? p[j] : top;
	for (int64_t j = 0; j < end; j++) {
		p[j] = expf(p[j] - top);
		sum += p[j];
	}
	sum = 1 / sum;
	for (int64_t j = 0; j < end; j++)
		p[j] *= sum;
}

/* out[HEAD] = sum of p[j] rows[j]; n even, as p ends in zeros */
static void blend(float *restrict out, const float *p, const float *restrict rows, int64_t n)
{
	lanes a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
	for (int64_t j = 0; j < n; j += 2, rows += 2 * HEAD) {
		a += p[j] * at(rows);
		b += p[j] * at(rows + 16);
		c += p[j + 1] * at(rows + HEAD);
		d += p[j + 1] * at(rows + HEAD + 16);
	}
	*(lanes *)out = a + c;
	*(lanes *)(out + 16) = b + d;
}

/* One head pair's scratch: rotated k and v by row and by column, gradients. */
struct scratch {
	float raw[MAX_T * HEAD], q[MAX_T * HEAD], k[MAX_T * HEAD], v[MAX_T * HEAD], o[MAX_T * HEAD],
		go[MAX_T * HEAD];
	float gq[MAX_T * HEAD], gk[MAX_T * HEAD], gv[MAX_T * HEAD];
	float k_column[HEAD * (MAX_T + 16)], v_column[HEAD * (MAX_T + 16)], p[MAX_T], dp[MAX_T];
};

static struct scratch *open_head(const uint16_t *qkv, int kv, const float *cosine,
				 const float *sine, int64_t T)
{
	static struct scratch *s;
	if (!s && !(s = calloc(1, sizeof *s)))
		abort();
	load(s->raw, qkv + (HEADS + kv) * HEAD, T, 1);
	rotate(s->k, s->raw, cosine, sine, T, 1);
	transpose(s->k_column, s->k, T);
	load(s->v, qkv + (HEADS + KV_HEADS + kv) * HEAD, T, 1);
	return s;
}

/* Causal attention of B sequences of T rows: qkv[B][T][QKV] before rotation, out[B][T][HEADS][HEAD]. */
void attention(const uint16_t *qkv, uint16_t *out, const float *cosine, const float *sine,
	       int64_t B, int64_t T)
{
	for (int64_t b = 0; b < B; b++, qkv += T * QKV, out += T * HEADS * HEAD)
		for (int kv = 0; kv < KV_HEADS; kv++) {
			struct scratch *s = open_head(qkv, kv, cosine, sine, T);
			for (int h = kv * GROUP; h < (kv + 1) * GROUP; h++) {
				load(s->raw, qkv + h * HEAD, T, 1 / sqrtf(HEAD));
				rotate(s->q, s->raw, cosine, sine, T, 1);
				for (int64_t i = 0; i < T; i++) {
					dots(s->p, s->q + i * HEAD, s->k_column, pitch(T),
					     whole(i + 1));
					softmax(s->p, i + 1);
					blend(s->o + i * HEAD, s->p, s->v, (i + 2) & ~(int64_t)1);
				}
				store(out + h * HEAD, s->o, T, HEADS * HEAD, 1);
			}
		}
}

/* gk[j] += w[j] q, gv[j] += p[j] go, for j < n */
static void spread(float *restrict gk, float *restrict gv, const float *w, const float *p,
		   const float *restrict q, const float *restrict go, int64_t n)
{
	lanes q0 = at(q), q1 = at(q + 16), go0 = at(go), go1 = at(go + 16);
	for (int64_t j = 0; j < n; j++, gk += HEAD, gv += HEAD) {
		*(lanes *)gk += w[j] * q0;
		*(lanes *)(gk + 16) += w[j] * q1;
		*(lanes *)gv += p[j] * go0;
		*(lanes *)(gv + 16) += p[j] * go1;
	}
}

static void back_row(struct scratch *s, int64_t step, int64_t i)
{
	float dot = 0;
	int64_t end = whole(i + 1);
	const float *q = s->q + i * HEAD, *go = s->go + i * HEAD;
	dots(s->p, q, s->k_column, step, end);
	softmax(s->p, i + 1);
	dots(s->dp, go, s->v_column, step, end);
	for (int64_t j = 0; j < end; j++)
		dot += s->p[j] * s->dp[j];
	for (int64_t j = 0; j < end; j++)
		s->dp[j] = s->p[j] * (s->dp[j] - dot);
	blend(s->gq + i * HEAD, s->dp, s->k, (i + 2) & ~(int64_t)1);
	spread(s->gk, s->gv, s->dp, s->p, q, go, i + 1);
}

/* Gradient of attention(): gout[B][T][HEADS][HEAD] to gqkv[B][T][QKV]. */
void attention_back(const uint16_t *gout, const uint16_t *qkv, uint16_t *gqkv, const float *cosine,
		    const float *sine, int64_t B, int64_t T)
{
	for (int64_t b = 0; b < B; b++, qkv += T * QKV, gqkv += T * QKV, gout += T * HEADS * HEAD)
		for (int kv = 0; kv < KV_HEADS; kv++) {
			struct scratch *s = open_head(qkv, kv, cosine, sine, T);
			transpose(s->v_column, s->v, T);
			memset(s->gk, 0, sizeof(float) * T * HEAD);
			memset(s->gv, 0, sizeof(float) * T * HEAD);
			for (int h = kv * GROUP; h < (kv + 1) * GROUP; h++) {
				load(s->raw, qkv + h * HEAD, T, 1 / sqrtf(HEAD));
				rotate(s->q, s->raw, cosine, sine, T, 1);
				for (int64_t t = 0; t < T; t++)
					for (int j = 0; j < HEAD; j++)
						s->go[t * HEAD + j] =
							up(gout[t * HEADS * HEAD + h * HEAD + j]);
				for (int64_t i = 0; i < T; i++)
					back_row(s, pitch(T), i);
				rotate(s->raw, s->gq, cosine, sine, T, -1);
				store(gqkv + h * HEAD, s->raw, T, QKV, 1 / sqrtf(HEAD));
			}
			rotate(s->raw, s->gk, cosine, sine, T, -1);
			store(gqkv + (HEADS + kv) * HEAD, s->raw, T, QKV, 1);
			store(gqkv + (HEADS + KV_HEADS + kv) * HEAD, s->gv, T, QKV, 1);
		}
}

/* Weighted cross-entropy: logits[n][v] become their gradients; sums = {weighted loss, loss on answers, answers}. */
void entropy(uint16_t *logits, const int64_t *target, const float *weight, float factor,
	     double *sums, int64_t n, int64_t v)
{
	float *p = malloc(sizeof(float) * v);
	if (!p)
		abort();
	for (int64_t i = 0; i < n; i++, logits += v) {
		if (weight[i] == 0) {
			memset(logits, 0, sizeof *logits * v);
			continue;
		}
		for (int64_t j = 0; j < v; j++)
			p[j] = up(logits[j]);
		softmax(p, v);
		double nll = -log(p[target[i]] + 1e-30);
		sums[0] += weight[i] * nll;
		sums[1] += weight[i] == 1 ? nll : 0;
		sums[2] += weight[i] == 1;
		p[target[i]] -= 1;
		for (int64_t j = 0; j < v; j++)
			logits[j] = down(p[j] * weight[i] * factor);
	}
	free(p);
}

/* x[n][d] = table rows; and back: table += gx */
void embed(const float *table, const int64_t *ids, float *x, int64_t n, int64_t d)
{
	for (int64_t i = 0; i < n; i++)
		memcpy(x + i * d, table + ids[i] * d, sizeof(float) * d);
}

void embed_back(float *table, const int64_t *ids, const float *gx, int64_t n, int64_t d)
{
	for (int64_t i = 0; i < n; i++)
		for (int64_t j = 0; j < d; j++)
			table[ids[i] * d + j] += gx[i * d + j];
}
