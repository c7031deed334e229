/* tests/vector.h - a golden frame of schema/vectors/: X.bin and what X.json says of it. Include
 * after cmocka.h. */
#ifndef TESTS_VECTOR_H
#define TESTS_VECTOR_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/spec.h"
#include "schema/json.h"
#include "schema/wire.h"

#define VECTOR_VALUES 2048
#define VECTOR_FRAME  8192
#define VECTOR_TOKENS 16
#define VECTOR_TEXT   (1u << 17)

struct vector {
	uint8_t frame[VECTOR_FRAME];
	size_t frame_len;
	struct wire_hdr hdr;
	uint32_t crc;
	struct codec_spec spec;
	float input[VECTOR_VALUES], decoded[VECTOR_VALUES]; /* [rows][dim] */
	uint32_t tokens[VECTOR_TOKENS];
	uint32_t n_tokens;       /* 0: the worker does not know them */
	char calibration[64];    /* a file of the same folder, or "" */
	char calibration_id[64]; /* its identity */
	bool follows;            /* predicted from the vector before */
};

static inline void vector_path(char path[static 4096], const char *name, const char *suffix)
{
	const char *root = getenv("SPLITMQ_ROOT");

	snprintf(path, 4096, "%s/schema/vectors/%s%s", root ? root : ".", name, suffix);
}

/* Returns its length, which is below cap. */
static inline size_t vector_read_file(const char *name, const char *suffix, void *dst, size_t cap)
{
	char path[4096];
	size_t len;
	FILE *f;

	vector_path(path, name, suffix);
	f = fopen(path, "rb");
	if (!f)
		fail_msg("cannot read %s", path);
	len = fread(dst, 1, cap, f);
	assert_true(len < cap);
	fclose(f);
	return len;
}

static inline uint32_t vector_number(const struct json *o, const char *key, bool need)
{
	struct err e;
	uint32_t v = 0;

	if (json_get_u32(o, key, need, 0, UINT32_MAX, &v, &e))
		fail_msg("%s", e.text);
	return v;
}

static inline const char *vector_word(const struct json *o, const char *key, bool need)
{
	struct err e;
	const char *v = NULL;

	if (json_get_str(o, key, need, 128, &v, &e))
		fail_msg("%s", e.text);
	return v ? v : "";
}

static inline void vector_values(const struct json *rows, float *dst, uint32_t n)
{
	uint32_t count = 0;

	for (const struct json *r = json_array_at(rows, 0); r; r = json_next(r)) {
		for (const struct json *v = json_array_at(r, 0); v; v = json_next(v)) {
			double value;

			assert_int_equal(json_f64(v, &value), 0);
			assert_true(count < n && n <= VECTOR_VALUES);
			dst[count++] = (float)value;
		}
	}
	assert_int_equal(count, n);
}

static inline uint8_t vector_flags(const struct json *flags)
{
	uint8_t bits = 0;

	for (const struct json *v = json_array_at(flags, 0); v; v = json_next(v))
		bits |= !strcmp(json_str(v), "sample")  ? WIRE_SAMPLE
			: !strcmp(json_str(v), "ids")   ? WIRE_IDS
			: !strcmp(json_str(v), "fill")  ? WIRE_FILL
			: !strcmp(json_str(v), "draft") ? WIRE_DRAFT
							: WIRE_WANT_LOGITS;
	return bits;
}

/* What a description says before there is a frame. */
static inline void vector_describe(struct vector *v, const struct json *o)
{
	struct err e;

	*v = (struct vector){ 0 };
	if (spec_parse(&v->spec, vector_word(o, "codec", true), &e))
		fail_msg("%s", e.text);
	v->hdr = (struct wire_hdr){
		.kind = strcmp(vector_word(o, "kind", true), "rows") ? WIRE_LOGITS : WIRE_ROWS,
		.flags = vector_flags(json_get(o, "flags")),
		.session = strtoull(vector_word(o, "session", true), NULL, 16),
		.epoch = vector_number(o, "epoch", true),
		.seq = vector_number(o, "seq", true),
		.pos = vector_number(o, "pos", true),
		.rows = vector_number(o, "rows", true),
		.dim = vector_number(o, "dim", true),
		.split = vector_number(o, "split", true),
	};
	v->follows = json_get(o, "after");
	snprintf(v->calibration, sizeof(v->calibration), "%s",
		 vector_word(o, "calibration", false));
	for (const struct json *t = json_array_at(json_get(o, "tokens"), 0); t; t = json_next(t)) {
		double value;

		assert_int_equal(json_f64(t, &value), 0);
		assert_true(v->n_tokens < VECTOR_TOKENS);
		v->tokens[v->n_tokens++] = (uint32_t)value;
	}
	vector_values(json_get(o, "input"), v->input, v->hdr.rows * v->hdr.dim);
}

/* What it says of the frame. */
static inline void vector_promise(struct vector *v, const struct json *o)
{
	v->hdr.codec = v->spec.tabq ? (uint8_t)vector_number(o, "codec_byte", true)
				    : (uint8_t)v->spec.plain;
	v->hdr.state = (uint16_t)vector_number(o, "state", v->spec.tabq);
	v->hdr.body_len = vector_number(o, "body_len", true);
	v->crc = (uint32_t)strtoul(vector_word(o, "crc", true), NULL, 16);
	snprintf(v->calibration_id, sizeof(v->calibration_id), "%s",
		 vector_word(o, "calibration_id", v->calibration[0]));
	vector_values(json_get(o, "decoded"), v->decoded, v->hdr.rows * v->hdr.dim);
}

/* made: the frame is there, and described; else only its input. */
static inline void vector_load(struct vector *v, const char *name, bool made)
{
	static char text[VECTOR_TEXT];
	struct json *o;
	struct err e;

	if (json_parse(&o, text, vector_read_file(name, ".json", text, sizeof(text)), &e))
		fail_msg("%s", e.text);
	vector_describe(v, o);
	if (made) {
		vector_promise(v, o);
		v->frame_len = vector_read_file(name, ".bin", v->frame, sizeof(v->frame));
	}
	json_free(o);
}

#endif
