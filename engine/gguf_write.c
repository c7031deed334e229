#include "engine/gguf_write.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/le.h"
#include "engine/gguf_file.h"

struct gguf_write {
	char *path, *temp;
	int fd;
	bool made;  /* temp exists and is ours */
	int failed; /* ERR_* of the header */

	uint8_t *head; /* metadata, after the counts */
	size_t head_len, head_cap;
	uint8_t *list; /* tensor list */
	size_t list_len, list_cap;
	uint64_t n_kv, n_tensors;

	uint64_t *bytes; /* [n_tensors] of each tensor */
	size_t bytes_cap;
	uint64_t offset;        /* of the next tensor, from the start of the weights */
	uint64_t current, done; /* tensor whose bytes are next, and how many are there */
	bool begun;
};

static void append(struct gguf_write *w, uint8_t **buf, size_t *len, size_t *cap, const void *bytes,
		   size_t n)
{
	if (w->failed)
		return;
	if (n > *cap - *len) {
		size_t more = 2 * (*len + n);
		uint8_t *bigger = realloc(*buf, more);

		if (!bigger) {
			w->failed = ERR_NOMEM;
			return;
		}
		*buf = bigger;
		*cap = more;
	}
	if (n)
		memcpy(*buf + *len, bytes, n);
	*len += n;
}

static void put_head(struct gguf_write *w, const void *bytes, size_t n)
{
	append(w, &w->head, &w->head_len, &w->head_cap, bytes, n);
}

static void put_list(struct gguf_write *w, const void *bytes, size_t n)
{
	append(w, &w->list, &w->list_len, &w->list_cap, bytes, n);
}

static void put_key(struct gguf_write *w, const char *key, size_t len, enum gguf_value_type type)
{
	uint8_t number[8];

	if (len < 1 || len > GGUF_KEY_MAX)
		w->failed = ERR_LIMIT;
	le_put64(number, len);
	put_head(w, number, 8);
	put_head(w, key, len);
	le_put32(number, type);
	put_head(w, number, 4);
	w->n_kv++;
}

/* Bytes of the items of kv in its file. */
static size_t items_bytes(const struct gguf_kv *kv)
{
	const uint8_t *cursor = kv->data;

	if (kv->item_type != GGUF_STRING)
		return (size_t)kv->count * gguf_value_bytes(kv->item_type);
	for (uint64_t i = 0; i < kv->count; i++)
		gguf_next_str(&cursor);
	return (size_t)(cursor - kv->data);
}

void gguf_write_copy(struct gguf_write *w, const struct gguf_kv *kv)
{
	uint8_t number[12];

	put_key(w, kv->key.text, kv->key.len, kv->type);
	if (kv->type == GGUF_ARRAY) {
		le_put32(number, kv->item_type);
		le_put64(number + 4, kv->count);
		put_head(w, number, 12);
	}
	put_head(w, kv->data, items_bytes(kv));
}

void gguf_write_u32(struct gguf_write *w, const char *key, uint32_t v)
{
	uint8_t number[4];

	put_key(w, key, strlen(key), GGUF_U32);
	le_put32(number, v);
	put_head(w, number, 4);
}

void gguf_write_str(struct gguf_write *w, const char *key, const char *text)
{
	uint8_t number[8];

	put_key(w, key, strlen(key), GGUF_STRING);
	le_put64(number, strlen(text));
	put_head(w, number, 8);
	put_head(w, text, strlen(text));
}

static uint64_t aligned(uint64_t n)
{
	return (n + GGUF_WRITE_ALIGNMENT - 1) / GGUF_WRITE_ALIGNMENT * GGUF_WRITE_ALIGNMENT;
}

static void remember_bytes(struct gguf_write *w, uint64_t bytes)
{
	if (w->n_tensors == w->bytes_cap) {
		size_t more = w->bytes_cap ? 2 * w->bytes_cap : 64;
		uint64_t *bigger = realloc(w->bytes, more * sizeof(*bigger));

		if (!bigger) {
			w->failed = ERR_NOMEM;
			return;
		}
		w->bytes = bigger;
		w->bytes_cap = more;
	}
	w->bytes[w->n_tensors++] = bytes;
}

void gguf_write_tensor(struct gguf_write *w, const char *name, enum quant_type type,
		       unsigned n_dims, const uint64_t *dims)
{
	uint64_t bytes = quant_row_bytes(type, (size_t)dims[0]);
	uint8_t number[12];

	assert(!w->begun && n_dims >= 1 && n_dims <= GGUF_MAX_DIMS);
	le_put64(number, strlen(name));
	put_list(w, number, 8);
	put_list(w, name, strlen(name));
	le_put32(number, n_dims);
	put_list(w, number, 4);
	for (unsigned i = 0; i < n_dims; i++) {
		le_put64(number, dims[i]);
		put_list(w, number, 8);
		bytes *= i ? dims[i] : 1;
	}
	le_put32(number, type);
	le_put64(number + 4, w->offset);
	put_list(w, number, 12);
	w->offset += aligned(bytes);
	if (!w->failed)
		remember_bytes(w, bytes);
}

static int put(struct gguf_write *w, const void *bytes, size_t n, struct err *e)
{
	const uint8_t *from = bytes;

	while (n) {
		ssize_t done = write(w->fd, from, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return err_set(e, ERR_IO, "%s: %s", w->path, strerror(errno));
		from += done;
		n -= (size_t)done;
	}
	return 0;
}

static int pad(struct gguf_write *w, uint64_t written, struct err *e)
{
	static const uint8_t zeros[GGUF_WRITE_ALIGNMENT];

	return put(w, zeros, (size_t)(aligned(written) - written), e);
}

static int put_header(struct gguf_write *w, struct err *e)
{
	uint8_t start[24] = "GGUF";
	int rc;

	if (w->failed)
		return err_set(e, w->failed, "header of %s: %s", w->path, err_phrase(w->failed));
	w->begun = true;
	le_put32(start + 4, 3);
	le_put64(start + 8, w->n_tensors);
	le_put64(start + 16, w->n_kv);
	rc = put(w, start, sizeof(start), e);
	if (!rc)
		rc = put(w, w->head, w->head_len, e);
	if (!rc)
		rc = put(w, w->list, w->list_len, e);
	if (!rc)
		rc = pad(w, sizeof(start) + w->head_len + w->list_len, e);
	return rc;
}

int gguf_write_data(struct gguf_write *w, const void *bytes, size_t n, struct err *e)
{
	int rc = w->begun ? 0 : put_header(w, e);

	if (rc)
		return rc;
	assert(w->current < w->n_tensors && n <= w->bytes[w->current] - w->done);
	rc = put(w, bytes, n, e);
	if (rc)
		return rc;
	w->done += n;
	if (w->done == w->bytes[w->current]) {
		rc = pad(w, w->done, e);
		w->current++;
		w->done = 0;
	}
	return rc;
}

int gguf_write_commit(struct gguf_write *w, struct err *e)
{
	int rc = w->begun ? 0 : put_header(w, e);

	if (rc)
		return rc;
	if (w->current != w->n_tensors)
		return err_set(e, ERR_STATE, "%s: %llu tensors are missing", w->path,
			       (unsigned long long)(w->n_tensors - w->current));
	if (fsync(w->fd))
		return err_set(e, ERR_IO, "%s: %s", w->path, strerror(errno));
	if (rename(w->temp, w->path))
		return err_set(e, ERR_IO, "%s: %s", w->path, strerror(errno));
	w->made = false;
	return 0;
}

static int create(struct gguf_write *w, const char *path, struct err *e)
{
	size_t cap = strlen(path) + 32;
	struct stat st;

	w->path = strdup(path);
	w->temp = malloc(cap);
	if (!w->path || !w->temp)
		return err_set(e, ERR_NOMEM, "%s: out of memory", path);
	if (!stat(path, &st) && !S_ISREG(st.st_mode))
		return err_set(e, ERR_IO, "%s: not a regular file", path);
	snprintf(w->temp, cap, "%s.tmp-%ld", path, (long)getpid());
	w->fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (w->fd < 0)
		return err_create(e, path, errno);
	w->made = true;
	return 0;
}

int gguf_write_open(struct gguf_write **out, const char *path, struct err *e)
{
	struct gguf_write *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return err_set(e, ERR_NOMEM, "%s: out of memory", path);
	w->fd = -1;
	rc = create(w, path, e);
	if (rc) {
		gguf_write_close(w);
		return rc;
	}
	*out = w;
	return 0;
}

void gguf_write_close(struct gguf_write *w)
{
	if (!w)
		return;
	if (w->fd >= 0)
		close(w->fd);
	if (w->made)
		unlink(w->temp);
	free(w->path);
	free(w->temp);
	free(w->head);
	free(w->list);
	free(w->bytes);
	free(w);
}
