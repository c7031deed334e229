/* engine/gguf_write.h - a GGUF v3 file, written in one go.
 *
 *	gguf_write_open(&w, path, e);
 *	gguf_write_copy(w, kv); gguf_write_u32(w, key, v); ...     metadata, in file order
 *	gguf_write_tensor(w, name, type, n_dims, dims); ...        shapes, in file order
 *	gguf_write_data(w, bytes, n, e); ...                       weights, in the same order
 *	gguf_write_commit(w, e);
 *	gguf_write_close(w);
 *
 * Bytes go to PATH.tmp-PID, which becomes PATH when everything is on the disk; without a commit,
 * close removes it. The alignment is 32. One thread. Source: ggml/docs/gguf.md (v3). */
#ifndef ENGINE_GGUF_WRITE_H
#define ENGINE_GGUF_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/gguf.h"

#define GGUF_WRITE_ALIGNMENT 32

struct gguf_write;

/* ERR_IO when PATH exists and is no regular file, or nothing can be created beside it. */
MUST_CHECK int gguf_write_open(struct gguf_write **out, const char *path, struct err *e);

/* NULL is fine. */
void gguf_write_close(struct gguf_write *w);

/* The header. What is wrong here (memory, a key longer than 65535 bytes) is told by the first
 * gguf_write_data or by gguf_write_commit. Keys and names must differ; that is not checked. */
void gguf_write_copy(struct gguf_write *w, const struct gguf_kv *kv);
void gguf_write_u32(struct gguf_write *w, const char *key, uint32_t v);
void gguf_write_str(struct gguf_write *w, const char *key, const char *text);
void gguf_write_tensor(struct gguf_write *w, const char *name, enum quant_type type,
		       unsigned n_dims, const uint64_t *dims);

/* The next n bytes of the current tensor; the first call ends the header. n must not go beyond the
 * tensor. Padding is added. Returns 0, ERR_IO, ERR_NOMEM or what the header has kept. */
MUST_CHECK int gguf_write_data(struct gguf_write *w, const void *bytes, size_t n, struct err *e);

/* All tensors are there: flush to the disk and rename. ERR_IO; ERR_STATE when bytes are missing. */
MUST_CHECK int gguf_write_commit(struct gguf_write *w, struct err *e);

#endif
