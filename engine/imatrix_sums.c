/* engine/imatrix_sums.c - collecting; reading is in imatrix.c. */
#include "engine/imatrix.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/le.h"

struct site {
	uint64_t rows;
	uint32_t cols;
	double *sum; /* [cols] of squares */
};

struct imatrix_sums {
	uint32_t n_layers;
	struct site *sites; /* [n_layers][IMATRIX_SITES], then the head's */
	double *sums;       /* of all sites */
};

/* Which matrices read a site: up to three, ended by NULL. */
static const char *const readers[IMATRIX_SITES + 1][4] = {
	[IMATRIX_ATTENTION] = { "attn_q", "attn_k", "attn_v" },
	[IMATRIX_MIXED] = { "attn_output" },
	[IMATRIX_FEED] = { "ffn_gate", "ffn_up" },
	[IMATRIX_DOWN] = { "ffn_down" },
	[IMATRIX_HEAD] = { "output" },
};

static struct site *site_of(const struct imatrix_sums *s, uint32_t layer, enum imatrix_site site)
{
	if (site == IMATRIX_HEAD)
		return &s->sites[(size_t)s->n_layers * IMATRIX_SITES];
	return &s->sites[(size_t)layer * IMATRIX_SITES + site];
}

int imatrix_sums_create(struct imatrix_sums **out, const struct model_hparams *hp)
{
	const uint32_t cols[IMATRIX_SITES] = {
		[IMATRIX_ATTENTION] = hp->dim,
		[IMATRIX_MIXED] = hp->n_heads * hp->head_dim_v,
		[IMATRIX_FEED] = hp->dim,
		[IMATRIX_DOWN] = hp->ff_dim,
	};
	const size_t n = (size_t)hp->n_layers * IMATRIX_SITES + 1;
	struct imatrix_sums *s = calloc(1, sizeof(*s));
	size_t total = hp->dim;
	double *at;

	if (!s)
		return ERR_NOMEM;
	for (unsigned i = 0; i < IMATRIX_SITES; i++)
		total += (size_t)cols[i] * hp->n_layers;
	s->n_layers = hp->n_layers;
	s->sites = calloc(n, sizeof(*s->sites));
	s->sums = at = calloc(total, sizeof(*s->sums));
	if (!s->sites || !s->sums) {
		imatrix_sums_destroy(s);
		return ERR_NOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		s->sites[i].cols = i == n - 1 ? hp->dim : cols[i % IMATRIX_SITES];
		s->sites[i].sum = at;
		at += s->sites[i].cols;
	}
	*out = s;
	return 0;
}

void imatrix_sums_destroy(struct imatrix_sums *s)
{
	if (!s)
		return;
	free(s->sites);
	free(s->sums);
	free(s);
}

void imatrix_sums_add(struct imatrix_sums *s, uint32_t layer, enum imatrix_site site,
		      const float *x, uint32_t rows)
{
	struct site *to = site_of(s, layer, site);

	assert(site == IMATRIX_HEAD || layer < s->n_layers);
	for (uint32_t r = 0; r < rows; r++, x += to->cols) {
		for (uint32_t i = 0; i < to->cols; i++)
			to->sum[i] += (double)x[i] * (double)x[i];
	}
	to->rows += rows;
}

static void name_of(char name[static GGUF_MAX_NAME + 1], uint32_t layer, enum imatrix_site site,
		    const char *reader, bool tied)
{
	if (site != IMATRIX_HEAD)
		snprintf(name, GGUF_MAX_NAME + 1, "blk.%" PRIu32 ".%s.weight", layer, reader);
	else
		snprintf(name, GGUF_MAX_NAME + 1, "%s",
			 tied ? "token_embd.weight" : "output.weight");
}

static uint8_t *put_entry(uint8_t *p, const char *name, const struct site *from)
{
	const size_t len = strlen(name);

	le_put16(p, (uint16_t)len);
	memcpy(p + 2, name, len);
	p += 2 + len;
	le_put64(p, from->rows);
	le_put32(p + 8, from->cols);
	p += 12;
	for (uint32_t i = 0; i < from->cols; i++, p += 4) {
		double mean = from->sum[i] / (double)from->rows;
		float f = mean < 3e38 ? (float)mean : 3e38f; /* a NaN as well: the reader wants
							      * finite numbers */
		uint32_t bits;

		memcpy(&bits, &f, sizeof(bits));
		le_put32(p, bits);
	}
	return p;
}

int imatrix_sums_encode(const struct imatrix_sums *s, bool tied, uint8_t **bytes, size_t *len)
{
	const size_t n = (size_t)s->n_layers * IMATRIX_SITES + 1;
	size_t cap = 16;
	uint32_t entries = 0;
	uint8_t *data, *p;

	for (size_t i = 0; i < n; i++)
		cap += 3 * (2 + GGUF_MAX_NAME + 12 + 4 * (size_t)s->sites[i].cols);
	data = malloc(cap);
	if (!data)
		return ERR_NOMEM;
	p = data + 12;
	for (size_t i = 0; i < n; i++) {
		enum imatrix_site site = i == n - 1 ? IMATRIX_HEAD : i % IMATRIX_SITES;

		for (unsigned k = 0; s->sites[i].rows && readers[site][k]; k++, entries++) {
			char name[GGUF_MAX_NAME + 1];

			name_of(name, (uint32_t)(i / IMATRIX_SITES), site, readers[site][k], tied);
			p = put_entry(p, name, &s->sites[i]);
		}
	}
	memcpy(data, "SMQI", 4);
	le_put32(data + 4, 1);
	le_put32(data + 8, entries);
	le_put32(p, crc32c(0, data, (size_t)(p - data)));
	*bytes = data;
	*len = (size_t)(p - data) + 4;
	return 0;
}

static int save(const char *path, const char *temp, const uint8_t *bytes, size_t len, struct err *e)
{
	FILE *f = fopen(temp, "wbx");
	bool fine;

	if (!f)
		return err_create(e, path, errno);
	fine = fwrite(bytes, 1, len, f) == len;
	fine = !fclose(f) && fine;
	if (fine && !rename(temp, path))
		return 0;
	err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
	unlink(temp);
	return ERR_IO;
}

int imatrix_sums_save(const struct imatrix_sums *s, const struct gguf *g, const char *path,
		      struct err *e)
{
	const bool tied = !gguf_find_tensor(g, "output.weight");
	const size_t cap = strlen(path) + 32;
	char *temp = malloc(cap);
	uint8_t *bytes = NULL;
	size_t len;
	int rc;

	if (!temp || imatrix_sums_encode(s, tied, &bytes, &len)) {
		free(temp);
		return err_set(e, ERR_NOMEM, "%s: out of memory", path);
	}
	snprintf(temp, cap, "%s.tmp-%ld", path, (long)getpid());
	rc = save(path, temp, bytes, len, e);
	free(bytes);
	free(temp);
	return rc;
}
