#include "tools/inspect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model.h"
#include "schema/json.h"

#define ITEMS_MAX 16 /* items of an array that are shown */

/* NUL-terminated copy for the JSON writer, which puts U+FFFD for bytes that are no UTF-8; a NUL
 * inside is made such a byte. NULL when memory runs out. */
static char *copy_str(struct gguf_str s)
{
	char *copy = malloc(s.len + 1);

	if (!copy)
		return NULL;
	for (size_t i = 0; i < s.len; i++)
		copy[i] = s.text[i] ? s.text[i] : '\xff';
	copy[s.len] = '\0';
	return copy;
}

static int add_single(struct json *obj, const char *key, const struct gguf_kv *kv)
{
	const uint8_t *cursor = kv->data;
	char *text;

	switch (kv->type) {
	case GGUF_STRING:
		text = copy_str(gguf_next_str(&cursor));
		if (!text)
			return ERR_NOMEM;
		json_add_str(obj, key, text);
		free(text);
		break;
	case GGUF_BOOL:
		json_add_bool(obj, key, gguf_int_at(kv, 0) != 0);
		break;
	case GGUF_U8:
	case GGUF_U16:
	case GGUF_U32:
	case GGUF_U64:
		json_add_u64(obj, key, gguf_uint_at(kv, 0));
		break;
	default:
		json_add_f64(obj, key, gguf_float_at(kv, 0));
	}
	return 0;
}

/* {"type":"string","count":32000,"first":[...]}: `first` holds up to ITEMS_MAX strings or numbers
 * that are not negative integers; for other items it is left out. */
static int add_array(struct json *obj, const char *key, const struct gguf_kv *kv)
{
	struct json *arr = json_add_object(obj, key), *first = NULL;
	const uint8_t *cursor = kv->data;

	json_add_str(arr, "type", inspect_type_name(kv->item_type));
	json_add_u64(arr, "count", kv->count);
	if (kv->item_type == GGUF_F32 || kv->item_type == GGUF_F64)
		return 0;
	for (uint64_t i = 0; i < kv->count && i < ITEMS_MAX; i++) {
		if (kv->item_type != GGUF_STRING && gguf_int_at(kv, i) < 0)
			return 0;
	}
	first = json_add_array(arr, "first");
	for (uint64_t i = 0; i < kv->count && i < ITEMS_MAX; i++) {
		char *text;

		if (kv->item_type != GGUF_STRING) {
			json_push_u64(first, gguf_uint_at(kv, i));
			continue;
		}
		text = copy_str(gguf_next_str(&cursor));
		if (!text)
			return ERR_NOMEM;
		json_push_str(first, text);
		free(text);
	}
	return 0;
}

static int add_metadata(struct json *root, const struct gguf *g)
{
	struct json *obj = json_add_object(root, "metadata");
	int rc = 0;

	for (size_t i = 0; !rc && i < gguf_n_kv(g); i++) {
		const struct gguf_kv *kv = gguf_kv_at(g, i);
		char *key = copy_str(kv->key);

		if (!key)
			return ERR_NOMEM;
		rc = kv->type == GGUF_ARRAY ? add_array(obj, key, kv) : add_single(obj, key, kv);
		free(key);
	}
	return rc;
}

static void add_tensors(struct json *root, const struct gguf *g)
{
	struct json *list = json_add_array(root, "tensors");

	for (size_t i = 0; i < gguf_n_tensors(g); i++) {
		const struct gguf_tensor *t = gguf_tensor_at(g, i);
		struct json *obj = json_push_object(list), *shape;

		json_add_str(obj, "name", t->name);
		json_add_str(obj, "type", quant_name(t->type));
		shape = json_add_array(obj, "shape");
		for (unsigned k = 0; k < t->n_dims; k++)
			json_push_u64(shape, t->dims[k]);
		json_add_u64(obj, "offset", t->offset);
		json_add_u64(obj, "bytes", t->bytes);
	}
}

static void add_weights(struct json *root, const struct shares *s)
{
	uint64_t agent = shares_agent_min(s), worker = shares_worker_max(s);
	struct json *layers = json_add_array(root, "layers"), *segments;

	for (uint32_t i = 0; i < s->n_layers; i++)
		json_push_u64(layers, s->layers[i].bytes);
	json_add_u64(root, "embed_bytes", s->embed.bytes);
	json_add_u64(root, "head_bytes", s->head.bytes);
	json_add_u64(root, "tied_bytes", s->tied_bytes);
	json_add_u64(root, "other_bytes", s->rest.bytes);
	json_add_u64(root, "total_bytes", s->total);
	segments = json_add_array(root, "segments");
	for (uint32_t split = 0; s->total && !json_get(root, "slice") && split <= s->n_layers;
	     split++) {
		struct json *obj = json_push_object(segments);

		json_add_u64(obj, "split", split);
		json_add_u64(obj, "agent_bytes", agent);
		json_add_u64(obj, "worker_bytes", worker);
		if (split < s->n_layers) {
			agent += s->layers[split].bytes;
			worker -= s->layers[split].bytes;
		}
	}
}

/* Of a token in one layer; empty for a model that the engine cannot run. */
static void add_caches(struct json *root, const struct gguf *g)
{
	struct json *obj = json_add_object(root, "kv_bytes_per_token_layer");
	struct model_hparams hp;
	struct err e;

	if (model_read_hparams(&hp, g, &e))
		return;
	for (unsigned i = 0; i < KV_TYPE_COUNT; i++)
		json_add_u64(obj, kv_type_name((enum kv_type)i),
			     kv_bytes(&hp, 1, 1, (enum kv_type)i));
}

/* "slice": {"first", "last"} of a file that is one. */
static void add_slice(struct json *root, const struct gguf *g)
{
	uint32_t first, last;
	struct json *obj;

	if (gguf_get_u32(g, MODEL_SLICE_FIRST, &first, NULL) ||
	    gguf_get_u32(g, MODEL_SLICE_LAST, &last, NULL))
		return;
	obj = json_add_object(root, "slice");
	json_add_u64(obj, "first", first);
	json_add_u64(obj, "last", last);
}

int inspect_json(const struct gguf *g, const char *hash, const struct shares *s, struct err *e)
{
	struct json *root = json_object();
	char *text = NULL;
	size_t len;
	int rc;

	json_add_str(root, "path", gguf_path(g));
	json_add_u64(root, "version", gguf_version(g));
	json_add_str(root, "hash", hash);
	json_add_u64(root, "file_bytes", gguf_file_bytes(g));
	add_slice(root, g);
	rc = add_metadata(root, g);
	add_tensors(root, g);
	add_weights(root, s);
	add_caches(root, g);
	if (!rc)
		rc = json_print(root, &text, &len);
	if (rc)
		rc = err_set(e, rc, "%s: %s", gguf_path(g), err_phrase(rc));
	else
		puts(text);
	free(text);
	json_free(root);
	return rc;
}
