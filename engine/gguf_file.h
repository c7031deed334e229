/* engine/gguf_file.h - what a struct gguf holds. Private to gguf*.c. */
#ifndef ENGINE_GGUF_FILE_H
#define ENGINE_GGUF_FILE_H

#include "engine/gguf.h"

#define GGUF_NAME_MAX	   GGUF_MAX_NAME
#define GGUF_KEY_MAX	   65535     /* bytes of a key, as the format says */
#define GGUF_ALIGNMENT	   32	     /* unless general.alignment says otherwise */
#define GGUF_ALIGNMENT_MAX (1u << 20) /* ours: more than any page that weights are put on */

struct gguf {
	char *path;
	int fd; /* -1: in the caller's memory */
	const uint8_t *data;
	size_t len;
	unsigned version;
	size_t n_kv, n_tensors;
	size_t alignment;
	size_t data_start; /* first byte after the header, aligned; may be > len without tensors */
	struct gguf_kv *kv;
	struct gguf_tensor *tensors;
	char *names; /* [n_tensors][GGUF_NAME_MAX + 1] */
	const struct gguf_kv **kv_by_key;
	const struct gguf_tensor **tensor_by_name;
};

/* Header, keys and tensor list of data[0..len), each checked by itself; allocates the arrays. */
MUST_CHECK int gguf_read(struct gguf *g, struct err *e);

/* What only the whole list can tell. Each fills its sorted array, on which the look-ups rely:
 * no key twice; no tensor name twice, and no byte in two tensors. */
MUST_CHECK int gguf_index_keys(struct gguf *g, struct err *e);
MUST_CHECK int gguf_index_tensors(struct gguf *g, struct err *e);

/* Bytes of one value of a type other than STRING and ARRAY. */
size_t gguf_value_bytes(enum gguf_value_type type);

/* Little-endian number of n (1..8) bytes. */
static inline uint64_t gguf_number(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | p[n];
	return v;
}

#endif
