/* engine/gguf.c - opening and closing; the rest is in gguf_read (bytes), gguf_index (names),
 * gguf_value (metadata) and gguf_hash (identity). */
#include "engine/gguf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/gguf_file.h"

/* The whole file, read-only; nothing is read yet. */
static int map(struct gguf *g, const char *path, struct err *e)
{
	struct stat st;
	void *data;

	/* O_NONBLOCK: a FIFO must be refused below, not waited for. */
	g->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (g->fd < 0 || fstat(g->fd, &st))
		return err_set(e, ERR_IO, "%s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_IO, "not a regular file");
	if (st.st_size <= 0)
		return err_set(e, ERR_FORMAT, "the file is empty");
	if ((uintmax_t)st.st_size > SIZE_MAX)
		return err_set(e, ERR_UNSUPPORTED, "too large for the address space");
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, g->fd, 0);
	if (data == MAP_FAILED)
		return err_set(e, errno == ENOMEM ? ERR_NOMEM : ERR_IO,
			       "no room for a map of %" PRIuMAX " bytes: %s", (uintmax_t)st.st_size,
			       strerror(errno));
	g->data = data;
	g->len = (size_t)st.st_size;
	return 0;
}

static struct gguf *create(const char *path)
{
	struct gguf *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->fd = -1;
	g->path = strdup(path);
	if (!g->path) {
		free(g);
		return NULL;
	}
	return g;
}

int gguf_open(struct gguf **out, const char *path, struct err *e)
{
	struct gguf *g = create(path);
	int rc;

	if (!g)
		return err_set(e, ERR_NOMEM, "open %s: out of memory", path);
	rc = map(g, path, e);
	if (rc)
		goto out;
	rc = gguf_read(g, e);
	if (rc)
		goto out;
	*out = g;
	g = NULL; /* handed over */
out:
	if (rc)
		err_wrap(e, "open %s", path);
	gguf_close(g);
	return rc;
}

int gguf_open_memory(struct gguf **out, const void *data, size_t len, struct err *e)
{
	struct gguf *g = create("(memory)");
	int rc;

	if (!g)
		return err_set(e, ERR_NOMEM, "out of memory");
	g->data = data;
	g->len = len;
	rc = gguf_read(g, e);
	if (rc) {
		gguf_close(g);
		return rc;
	}
	*out = g;
	return 0;
}

void gguf_close(struct gguf *g)
{
	if (!g)
		return;
	if (g->fd >= 0) {
		if (g->data)
			munmap((void *)(uintptr_t)g->data, g->len);
		close(g->fd);
	}
	free(g->tensor_by_name);
	free(g->kv_by_key);
	free(g->names);
	free(g->tensors);
	free(g->kv);
	free(g->path);
	free(g);
}

const char *gguf_path(const struct gguf *g)
{
	return g->path;
}

unsigned gguf_version(const struct gguf *g)
{
	return g->version;
}

size_t gguf_file_bytes(const struct gguf *g)
{
	return g->len;
}

size_t gguf_n_kv(const struct gguf *g)
{
	return g->n_kv;
}

const struct gguf_kv *gguf_kv_at(const struct gguf *g, size_t i)
{
	return &g->kv[i];
}

size_t gguf_n_tensors(const struct gguf *g)
{
	return g->n_tensors;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i)
{
	return &g->tensors[i];
}

/* Advice for the pages of t. It is only a hint, so a refusal by the kernel is no error. */
static void advise(const struct gguf *g, const struct gguf_tensor *t, int advice)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t begin = (size_t)t->offset & ~(page - 1);

	if (g->fd >= 0)
		(void)madvise((void *)(uintptr_t)(g->data + begin),
			      (size_t)t->offset + t->bytes - begin, advice);
}

void gguf_will_need(const struct gguf *g, const struct gguf_tensor *t)
{
	advise(g, t, MADV_WILLNEED);
}

void gguf_dont_need(const struct gguf *g, const struct gguf_tensor *t)
{
	advise(g, t, MADV_DONTNEED);
}

int gguf_copy(const struct gguf *g, const struct gguf_tensor *t, size_t at, void *dst, size_t len)
{
	uint8_t *to = dst;

	assert(at <= t->bytes && len <= t->bytes - at);
	if (g->fd < 0) {
		memcpy(dst, t->data + at, len);
		return 0;
	}
	while (len > 0) {
		ssize_t n = pread(g->fd, to, len, (off_t)(t->offset + at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return ERR_IO;
		to += n;
		at += (size_t)n;
		len -= (size_t)n;
	}
	return 0;
}
