/* engine/gguf.h - a GGUF v2/v3 file, mapped read-only, believed only as far as it was checked.
 *
 * gguf_open checks everything that later code relies on: header, counts against the file's size,
 * strings, array types (an array of arrays is refused), bools (0 or 1), duplicate keys and tensor
 * names, dimensions (1..4, no zero, no overflow), known tensor types, whole blocks per row,
 * alignment (a power of two in 8..2^20), and that each tensor's bytes lie inside the file and do
 * not overlap another's. Keys have 1..65535 bytes, tensor names 1..64, neither with control
 * characters. Errors name file, tensor or key, and offset. Weight pages are not touched.
 *
 * The file must not be cut while it is mapped: reading a page that is gone ends the process
 * (SIGBUS). Replace a model by renaming a new file over it.
 *
 * A struct gguf is read-only after gguf_open: any thread. Source: ggml/docs/gguf.md (v3). */
#ifndef ENGINE_GGUF_H
#define ENGINE_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/quant.h"

#define GGUF_MAX_DIMS 4
#define GGUF_MAX_NAME 64 /* bytes of a tensor name, as the format says */

struct gguf;

struct gguf_tensor {
	const char *name; /* NUL-terminated; lives as long as the gguf */
	enum quant_type type;
	unsigned n_dims;
	uint64_t dims[GGUF_MAX_DIMS]; /* dims[0] is the row length (fastest); unused ones are 1 */
	uint64_t n_rows;	      /* dims[1] * dims[2] * dims[3] */
	size_t bytes;		      /* of the whole tensor */
	uint64_t offset;	      /* from the start of the file */
	const uint8_t *data; /* [n_rows][quant_row_bytes(type, dims[0])] in the read-only map; the
			      * address is a multiple of 8, in gguf_open_memory if its data is */
};

/* A string in the map: not NUL-terminated. */
struct gguf_str {
	const char *text;
	size_t len;
};

enum gguf_value_type {
	GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL,
	GGUF_STRING, GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64, GGUF_VALUE_TYPE_COUNT
};

struct gguf_kv {
	struct gguf_str key;
	enum gguf_value_type type;
	enum gguf_value_type item_type; /* of arrays */
	uint64_t count;			/* items of an array, else 1 */
	const uint8_t *data;		/* first byte of the value (of the first item) */
};

/* Map and check path. Returns 0 or ERR_IO, ERR_FORMAT, ERR_VERSION, ERR_UNSUPPORTED, ERR_NOMEM. */
MUST_CHECK int gguf_open(struct gguf **out, const char *path, struct err *e);

/* The same over len bytes in memory that outlive the gguf (tests, fuzzing). */
MUST_CHECK int gguf_open_memory(struct gguf **out, const void *data, size_t len, struct err *e);

void gguf_close(struct gguf *g);

const char *gguf_path(const struct gguf *g);
unsigned gguf_version(const struct gguf *g);
size_t gguf_file_bytes(const struct gguf *g);

size_t gguf_n_kv(const struct gguf *g);
const struct gguf_kv *gguf_kv_at(const struct gguf *g, size_t i);

/* NULL when there is no such key. */
const struct gguf_kv *gguf_find(const struct gguf *g, const char *key);

/* Typed getters. Integers of any width are accepted when the value fits. A missing key is
 * ERR_NOT_FOUND, a wrong type or a number that is out of range or not finite ERR_FORMAT; *v is
 * then untouched, and the reason in e names the key. */
MUST_CHECK int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *v, struct err *e);
MUST_CHECK int gguf_get_u64(const struct gguf *g, const char *key, uint64_t *v, struct err *e);
MUST_CHECK int gguf_get_f32(const struct gguf *g, const char *key, float *v, struct err *e);
MUST_CHECK int gguf_get_bool(const struct gguf *g, const char *key, bool *v, struct err *e);
MUST_CHECK int gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *v,
			    struct err *e);

/* Items of a string array are of varying length: walk them in order. *cursor starts as kv->data.
 * Only valid on an array of strings of an opened file, at most kv->count times. */
struct gguf_str gguf_next_str(const uint8_t **cursor);

/* Item i of an array of numbers or bools (0 of a single one), converted; i < kv->count. What does
 * not fit becomes the nearest number that does (NaN: 0), fractions are cut; strings give 0. */
int64_t gguf_int_at(const struct gguf_kv *kv, uint64_t i);
uint64_t gguf_uint_at(const struct gguf_kv *kv, uint64_t i);
double gguf_float_at(const struct gguf_kv *kv, uint64_t i);

size_t gguf_n_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name);

/* Ask the kernel to read a tensor's pages soon (madvise WILLNEED), or to let them go
 * (DONTNEED). */
void gguf_will_need(const struct gguf *g, const struct gguf_tensor *t);
void gguf_dont_need(const struct gguf *g, const struct gguf_tensor *t);

/* Copy bytes [at, at + len) of a tensor, within t->bytes, without mapping its pages in. ERR_IO when
 * the file has shrunk. */
MUST_CHECK int gguf_copy(const struct gguf *g, const struct gguf_tensor *t, size_t at, void *dst,
			 size_t len);

/* Identity of the model, the same on agent and worker: 128 bits as 32 lower-case hex digits + NUL.
 * XXH3-128 over all bytes before the tensor data, and over up to 256 bytes at the start, middle
 * and end of each tensor, read with pread so that no weight page is mapped in. When the metadata
 * has the string GGUF_ID_KEY, that value is returned instead, or ERR_FORMAT when it is no hash:
 * `splitmq quantize` writes there what the weights were made of and how (opsc.h), which a whole
 * file and its slices have in common. Tools that copy metadata and change weights would carry that
 * value along: it counts only while GGUF_ID_TENSORS_KEY, where there is one, is the hash of the
 * lines of all tensors in file order. ERR_IO when the file has shrunk. */
#define GGUF_HASH_LEN       32
#define GGUF_ID_KEY         "splitmq.model.id"
#define GGUF_ID_TENSORS_KEY "splitmq.model.tensors"
#define GGUF_ID_TENSOR_LINE "%s=%s;" /* name, type */
MUST_CHECK int gguf_hash(const struct gguf *g, char out[static GGUF_HASH_LEN + 1], struct err *e);

/* What the weights were made of, in whatever precision: GGUF_SOURCE_KEY where `splitmq quantize`
 * wrote it (the identity of the first file of the chain), else the file's own identity. Errors as
 * gguf_hash. */
#define GGUF_SOURCE_KEY "splitmq.model.source"
MUST_CHECK int gguf_source(const struct gguf *g, char out[static GGUF_HASH_LEN + 1], struct err *e);

/* The same hash of any bytes. */
void gguf_hash_bytes(const void *data, size_t len, char out[static GGUF_HASH_LEN + 1]);

#endif
