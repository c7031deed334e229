#include "engine/imatrix.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/le.h"

#define HEAD_BYTES  12
#define ENTRY_BYTES 19 /* the least: a name of 1, one column */
#define COLS_MAX    (1u << 24)
#define FILE_MAX    ((size_t)1 << 31)

struct entry {
	char name[GGUF_MAX_NAME + 1];
	uint32_t cols;
	float *mean; /* [cols], owned */
};

struct imatrix {
	char hash[GGUF_HASH_LEN + 1];
	size_t n;
	struct entry *entries; /* [n], by name */
};

static int by_name(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* One entry from *p, of which `left` bytes are there; both are moved on. */
static int take_entry(struct entry *to, const uint8_t **p, size_t *left, struct err *e)
{
	size_t len = *left < 2 ? 0 : le_get16(*p);

	if (len < 1 || len > GGUF_MAX_NAME || *left < 2 + len + 12)
		return err_set(e, ERR_FORMAT, "a name of %zu bytes with %zu bytes left", len,
			       *left);
	for (size_t i = 0; i < len; i++) {
		to->name[i] = (char)(*p)[2 + i];
		if (to->name[i] <= 0x20 || to->name[i] > 0x7e)
			return err_set(e, ERR_FORMAT, "a name with the character %u", (*p)[2 + i]);
	}
	to->cols = le_get32(*p + 2 + len + 8);
	*p += 2 + len + 12;
	*left -= 2 + len + 12;
	if (to->cols < 1 || to->cols > COLS_MAX || to->cols > *left / 4)
		return err_set(e, ERR_FORMAT, "%s: %u columns with %zu bytes left", to->name,
			       to->cols, *left);
	to->mean = malloc(to->cols * sizeof(*to->mean));
	if (!to->mean)
		return err_set(e, ERR_NOMEM, "%s: out of memory", to->name);
	for (uint32_t i = 0; i < to->cols; i++, *p += 4) {
		uint32_t bits = le_get32(*p);

		memcpy(&to->mean[i], &bits, sizeof(bits));
		if (!isfinite(to->mean[i]) || to->mean[i] < 0)
			return err_set(e, ERR_FORMAT, "%s: column %u is %g", to->name, i,
				       (double)to->mean[i]);
	}
	*left -= 4 * (size_t)to->cols;
	return 0;
}

static int take_entries(struct imatrix *m, const uint8_t *p, size_t left, size_t n, struct err *e)
{
	int rc = 0;

	if (n > left / ENTRY_BYTES)
		return err_set(e, ERR_FORMAT, "%zu entries in %zu bytes", n, left);
	m->entries = calloc(n ? n : 1, sizeof(*m->entries));
	if (!m->entries)
		return err_set(e, ERR_NOMEM, "out of memory");
	m->n = n;
	for (size_t i = 0; !rc && i < n; i++)
		rc = take_entry(&m->entries[i], &p, &left, e);
	if (rc)
		return rc;
	if (left)
		return err_set(e, ERR_FORMAT, "%zu bytes after the last entry", left);
	qsort(m->entries, n, sizeof(*m->entries), by_name);
	for (size_t i = 1; i < n; i++) {
		if (!by_name(&m->entries[i - 1], &m->entries[i]))
			return err_set(e, ERR_FORMAT, "%s is there twice", m->entries[i].name);
	}
	return 0;
}

int imatrix_decode(struct imatrix **out, const void *bytes, size_t len, struct err *e)
{
	const uint8_t *p = bytes;
	struct imatrix *m;
	int rc;

	if (len < HEAD_BYTES + 4 || memcmp(p, "SMQI", 4))
		return err_set(e, ERR_FORMAT, "not an importance matrix");
	if (le_get32(p + 4) != 1)
		return err_set(e, ERR_VERSION, "importance matrix of version %u, 1 is read",
			       le_get32(p + 4));
	if (le_get32(p + len - 4) != crc32c(0, p, len - 4))
		return err_set(e, ERR_FORMAT, "damaged: the checksum is another");
	m = calloc(1, sizeof(*m));
	if (!m)
		return err_set(e, ERR_NOMEM, "out of memory");
	rc = take_entries(m, p + HEAD_BYTES, len - HEAD_BYTES - 4, le_get32(p + 8), e);
	if (rc) {
		imatrix_close(m);
		return rc;
	}
	gguf_hash_bytes(bytes, len, m->hash);
	*out = m;
	return 0;
}

static int read_all(const char *path, uint8_t **bytes, size_t *len, struct err *e)
{
	FILE *f = fopen(path, "rb");
	long size = -1;
	int rc = 0;

	if (!f)
		return err_set(e, ERR_IO, "%s", strerror(errno));
	if (!fseek(f, 0, SEEK_END))
		size = ftell(f);
	rewind(f);
	if (size < 0)
		rc = err_set(e, ERR_IO, "not a regular file");
	else if ((unsigned long)size > FILE_MAX)
		rc = err_set(e, ERR_LIMIT, "longer than 2 GiB");
	*len = rc ? 0 : (size_t)size;
	*bytes = rc ? NULL : malloc(*len + 1);
	if (!rc && !*bytes)
		rc = err_set(e, ERR_NOMEM, "out of memory");
	if (!rc && fread(*bytes, 1, *len, f) != *len)
		rc = err_set(e, ERR_IO, "cannot be read");
	fclose(f);
	return rc;
}

int imatrix_open(struct imatrix **out, const char *path, struct err *e)
{
	uint8_t *bytes = NULL;
	size_t len = 0;
	int rc = read_all(path, &bytes, &len, e);

	if (!rc)
		rc = imatrix_decode(out, bytes, len, e);
	if (rc)
		err_wrap(e, "%s", path);
	free(bytes);
	return rc;
}

void imatrix_close(struct imatrix *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n; i++)
		free(m->entries[i].mean);
	free(m->entries);
	free(m);
}

const char *imatrix_hash(const struct imatrix *m)
{
	return m->hash;
}

size_t imatrix_count(const struct imatrix *m)
{
	return m->n;
}

int imatrix_find(const struct imatrix *m, const char *name, uint64_t cols, const float **mean,
		 struct err *e)
{
	struct entry key = { .cols = 0 };
	const struct entry *found;

	snprintf(key.name, sizeof(key.name), "%s", name);
	found = bsearch(&key, m->entries, m->n, sizeof(*m->entries), by_name);
	if (found && found->cols != cols)
		return err_set(e, ERR_FORMAT,
			       "importance of %s has %u columns, the tensor %llu: of another "
			       "model?",
			       name, found->cols, (unsigned long long)cols);
	*mean = found ? found->mean : NULL;
	return 0;
}
