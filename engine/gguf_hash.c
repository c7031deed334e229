/* engine/gguf_hash.c - the identity of a model, without reading all of it. */
#include "engine/gguf_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

#define SAMPLE 256 /* bytes at the start, middle and end of each tensor */

_Static_assert(GGUF_HASH_LEN == 2 * sizeof(XXH128_canonical_t), "two hex digits per byte");

static bool is_hash(struct gguf_str s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (!memchr("0123456789abcdef", s.text[i], 16))
			return false;
	}
	return s.len == GGUF_HASH_LEN;
}

/* n bytes at offset: from the file when there is one, so that no page of the map is touched. */
static int read_at(const struct gguf *g, uint64_t offset, uint8_t *dst, size_t n)
{
	size_t done = 0;
	ssize_t got;

	if (g->fd < 0) {
		memcpy(dst, g->data + offset, n);
		return 0;
	}
	while (done < n) {
		got = pread(g->fd, dst + done, n - done, (off_t)(offset + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return ERR_IO;
		done += (size_t)got;
	}
	return 0;
}

static int hash_tensor(XXH3_state_t *state, const struct gguf *g, const struct gguf_tensor *t)
{
	size_t n = t->bytes < SAMPLE ? t->bytes : SAMPLE;
	size_t at[3] = { 0, (t->bytes - n) / 2, t->bytes - n };
	uint8_t sample[SAMPLE];

	for (size_t i = 0; i < 3; i++) {
		if (read_at(g, t->offset + at[i], sample, n) ||
		    XXH3_128bits_update(state, sample, n) != XXH_OK)
			return ERR_IO;
	}
	return 0;
}

static int hash_file(XXH3_state_t *state, const struct gguf *g, struct err *e)
{
	size_t head = g->data_start < g->len ? g->data_start : g->len;

	if (XXH3_128bits_reset(state) != XXH_OK ||
	    XXH3_128bits_update(state, g->data, head) != XXH_OK)
		return err_set(e, ERR_INTERNAL, "hash %s: XXH3 failed", g->path);
	for (size_t i = 0; i < g->n_tensors; i++) {
		if (hash_tensor(state, g, &g->tensors[i]))
			return err_set(e, ERR_IO, "hash %s: tensor %s cannot be read", g->path,
				       g->tensors[i].name);
	}
	return 0;
}

static void put_hex(char out[static GGUF_HASH_LEN + 1], const uint8_t *bytes)
{
	for (size_t i = 0; i < GGUF_HASH_LEN / 2; i++) {
		out[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
		out[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
	}
	out[GGUF_HASH_LEN] = '\0';
}

/* What quantize has made says what it was made of: any slice answers for the whole. */
static int given_hash(const struct gguf *g, const char *key, char out[static GGUF_HASH_LEN + 1],
		      struct err *e)
{
	struct gguf_str given;
	int rc = gguf_get_str(g, key, &given, e);

	if (rc)
		return rc;
	if (!is_hash(given))
		return err_set(e, ERR_FORMAT, "key %s is not %d lower-case hex digits", key,
			       GGUF_HASH_LEN);
	memcpy(out, given.text, GGUF_HASH_LEN);
	out[GGUF_HASH_LEN] = '\0';
	return 0;
}

/* Whether the tensors are still those that the id was given to. */
static int is_unchanged(const struct gguf *g, bool *unchanged, struct err *e)
{
	char now[GGUF_HASH_LEN + 1];
	XXH128_canonical_t digest;
	struct gguf_str then;
	XXH3_state_t *state;
	int rc;

	*unchanged = true;
	if (!gguf_find(g, GGUF_ID_TENSORS_KEY))
		return 0;
	rc = gguf_get_str(g, GGUF_ID_TENSORS_KEY, &then, e);
	if (rc)
		return rc;
	state = XXH3_createState();
	if (!state)
		return err_set(e, ERR_NOMEM, "hash %s: out of memory", g->path);
	if (XXH3_128bits_reset(state) != XXH_OK)
		rc = err_set(e, ERR_INTERNAL, "hash %s: XXH3 failed", g->path);
	for (size_t i = 0; !rc && i < g->n_tensors; i++) {
		char line[GGUF_NAME_MAX + 24];
		int n = snprintf(line, sizeof(line), GGUF_ID_TENSOR_LINE, g->tensors[i].name,
				 quant_name(g->tensors[i].type));

		if (XXH3_128bits_update(state, line, (size_t)n) != XXH_OK)
			rc = err_set(e, ERR_INTERNAL, "hash %s: XXH3 failed", g->path);
	}
	XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(state));
	XXH3_freeState(state);
	put_hex(now, digest.digest);
	*unchanged = then.len == GGUF_HASH_LEN && !memcmp(then.text, now, GGUF_HASH_LEN);
	return rc;
}

int gguf_hash(const struct gguf *g, char out[static GGUF_HASH_LEN + 1], struct err *e)
{
	XXH128_canonical_t digest;
	XXH3_state_t *state;
	bool given = gguf_find(g, GGUF_ID_KEY) != NULL;
	int rc = given ? is_unchanged(g, &given, e) : 0;

	if (rc || given)
		return rc ? rc : given_hash(g, GGUF_ID_KEY, out, e);
	state = XXH3_createState();
	if (!state)
		return err_set(e, ERR_NOMEM, "hash %s: out of memory", g->path);
	rc = hash_file(state, g, e);
	if (!rc) {
		XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(state));
		put_hex(out, digest.digest);
	}
	XXH3_freeState(state);
	return rc;
}

int gguf_source(const struct gguf *g, char out[static GGUF_HASH_LEN + 1], struct err *e)
{
	bool given = gguf_find(g, GGUF_SOURCE_KEY) != NULL;
	int rc = given ? is_unchanged(g, &given, e) : 0;

	if (rc)
		return rc;
	return given ? given_hash(g, GGUF_SOURCE_KEY, out, e) : gguf_hash(g, out, e);
}

void gguf_hash_bytes(const void *data, size_t len, char out[static GGUF_HASH_LEN + 1])
{
	XXH128_canonical_t digest;

	XXH128_canonicalFromHash(&digest, XXH3_128bits(data, len));
	put_hex(out, digest.digest);
}
