/* tools/cmd_decode.c - what one payload says, frame or control message. */
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/kv_type.h"
#include "codec/codec.h"
#include "schema/json.h"
#include "schema/msg.h"
#include "schema/wire.h"
#include "tools/cmd.h"
#include "tools/commands.h"
#include "tools/frame.h"

#define NAME          "decode"
#define MAX_BYTES     ((size_t)256 << 20) /* of an MQTT packet */
#define ROWS_SHOWN    32
#define SESSION_SHOWN 17

/* Of one row. */
struct spread {
	double min, max, rms;
};

static const char *kind_name(enum wire_kind kind)
{
	return kind == WIRE_ROWS ? "rows" : kind == WIRE_LOGITS ? "logits" : "kv";
}

/* Keys and values are those of layers [split, state). */
static unsigned layers_of(const struct wire_hdr *h)
{
	return h->kind == WIRE_KV ? h->state - h->split : 1;
}

static const char *coding_name(const struct wire_hdr *h)
{
	if (h->kind != WIRE_KV)
		return codec_name(h->codec);
	return h->codec < KV_TYPE_COUNT ? kv_type_name((enum kv_type)h->codec) : "unknown";
}

static struct spread measure(const float *x, size_t dim)
{
	struct spread s = { .min = x[0], .max = x[0] };
	double squares = 0;

	for (size_t i = 0; i < dim; i++) {
		s.min = x[i] < s.min ? x[i] : s.min;
		s.max = x[i] > s.max ? x[i] : s.max;
		squares += (double)x[i] * x[i];
	}
	s.rms = sqrt(squares / (double)dim);
	return s;
}

static void print_header(const struct wire_hdr *h)
{
	printf("%s frame, version %d, %zu bytes\n", kind_name(h->kind), WIRE_VERSION,
	       WIRE_HDR_LEN + (size_t)h->body_len);
	printf("  session  %016" PRIx64 "\n", h->session);
	printf("  epoch    %" PRIu32 "\n", h->epoch);
	printf("  seq      %" PRIu32 "\n", h->seq);
	printf("  pos      %" PRIu32 "\n", h->pos);
	printf("  rows     %" PRIu32 "\n", h->rows);
	printf("  dim      %" PRIu32 "\n", h->dim);
	printf("  split    %" PRIu32 "\n", h->split);
	printf("  flags   %s%s%s%s%s%s\n", h->flags & WIRE_SAMPLE ? " sample" : "",
	       h->flags & WIRE_WANT_LOGITS ? " want_logits" : "", h->flags & WIRE_IDS ? " ids" : "",
	       h->flags & WIRE_FILL ? " fill" : "", h->flags & WIRE_TELL ? " tell" : "",
	       h->flags ? "" : " none");
	printf("  codec    %s, %.2f bits per element\n", coding_name(h),
	       8.0 * h->body_len / ((double)h->rows * h->dim * layers_of(h)));
}

static void print_rows(const struct wire_hdr *h, const float *x)
{
	uint32_t shown = h->rows < ROWS_SHOWN ? h->rows : ROWS_SHOWN;

	for (uint32_t r = 0; r < shown; r++) {
		struct spread s = measure(x + (size_t)r * h->dim, h->dim);

		printf("  row %-4" PRIu32 " min %-12.6g max %-12.6g rms %.6g\n", h->pos + r, s.min,
		       s.max, s.rms);
	}
	if (shown < h->rows)
		printf("  and %" PRIu32 " more rows\n", h->rows - shown);
}

/* Print root on one line or over several, and free it. */
static int print_json(struct json *root, bool indented, struct err *e)
{
	char *text = NULL;
	size_t len;
	int rc = indented ? json_print_indented(root, &text, &len) : json_print(root, &text, &len);

	if (rc)
		err_set(e, rc, "%s", err_phrase(rc));
	else
		puts(text);
	free(text);
	json_free(root);
	return rc;
}

static int print_frame_json(const struct wire_hdr *h, const float *x, struct err *e)
{
	struct json *o = json_object(), *list;
	char session[SESSION_SHOWN];

	snprintf(session, sizeof(session), "%016" PRIx64, h->session);
	json_add_str(o, "kind", kind_name(h->kind));
	json_add_u64(o, "v", WIRE_VERSION);
	list = json_add_array(o, "flags");
	if (h->flags & WIRE_SAMPLE)
		json_push_str(list, "sample");
	if (h->flags & WIRE_WANT_LOGITS)
		json_push_str(list, "want_logits");
	if (h->flags & WIRE_IDS)
		json_push_str(list, "ids");
	if (h->flags & WIRE_FILL)
		json_push_str(list, "fill");
	if (h->flags & WIRE_TELL)
		json_push_str(list, "tell");
	json_add_str(o, "codec", coding_name(h));
	json_add_str(o, "session", session);
	json_add_u64(o, "epoch", h->epoch);
	json_add_u64(o, "seq", h->seq);
	json_add_u64(o, "pos", h->pos);
	json_add_u64(o, "rows", h->rows);
	json_add_u64(o, "dim", h->dim);
	json_add_u64(o, "split", h->split);
	json_add_u64(o, "body_len", h->body_len);
	list = json_add_array(o, "stats");
	for (uint32_t r = 0; x && r < h->rows; r++) {
		struct spread s = measure(x + (size_t)r * h->dim, h->dim);
		struct json *row = json_push_object(list);

		json_add_f64(row, "min", s.min);
		json_add_f64(row, "max", s.max);
		json_add_f64(row, "rms", s.rms);
	}
	return print_json(o, false, e);
}

static int decode_frame(const uint8_t *frame, size_t len, bool json, struct err *e)
{
	struct wire_hdr h;
	float *x = NULL;
	int rc = wire_get_hdr(&h, frame, len, e);

	if (rc)
		return rc;
	rc = frame_values(&h, frame + WIRE_HDR_LEN, &x, e);
	if (!rc && json)
		rc = print_frame_json(&h, x, e);
	else if (!rc) {
		print_header(&h);
		if (x)
			print_rows(&h, x);
		else if (h.kind == WIRE_KV)
			puts("  keys and values of a cache: not shown");
		else
			puts("  rows are told as their difference to earlier ones: not shown");
	}
	free(x);
	return rc;
}

/* The message as it came, unknown keys included, once it has proved to be one. */
static int decode_message(const char *text, size_t len, bool json, struct err *e)
{
	struct json *root;
	struct msg m;
	int rc = msg_parse(&m, text, len, MSG_PROMPT, e);

	if (rc)
		return rc;
	rc = json_parse(&root, text, len, e);
	if (!rc && !json)
		printf("%s message, version %d, %zu bytes\n", msg_type_name(m.type), MSG_VERSION,
		       len);
	msg_finish(&m);
	return rc ? rc : print_json(root, !json, e);
}

struct request {
	bool json;
};

static const struct options_row options[] = {
	{ 0, "json", NULL, OPTIONS_FLAG(struct request, json),
	  .help = "one line of JSON instead of text" },
};

const struct options_table cmd_decode_options = {
	.program = "splitmq " NAME,
	.summary = "what a frame or control message from stdin says",
	.synopsis = "[--json] < PAYLOAD",
	OPTIONS_ROWS(options),
	.notes = "stdin is the payload of one MQTT message: a control message, or a binary frame "
		 "byte for byte, e.g. from\n"
		 "  mosquitto_sub -N -C 1 -t 'splitmq/v1/+/session/+/+/+/up'\n"
		 "A payload that is malformed is an error that says why.",
};

int cmd_decode(int argc, char **argv)
{
	struct request r = { 0 };
	struct err e = { 0 };
	char *text = NULL;
	size_t len = 0;
	int rc = options_read(&cmd_decode_options, &r, argc, argv);

	if (rc != OPTIONS_GO_ON)
		return rc;
	rc = cmd_read_file("-", MAX_BYTES, &text, &len, &e);
	if (!rc && !len)
		rc = err_set(&e, ERR_FORMAT, "nothing came on stdin");
	if (!rc && wire_is_frame((uint8_t *)text, len))
		rc = decode_frame((uint8_t *)text, len, r.json, &e);
	else if (!rc)
		rc = decode_message(text, len, r.json, &e);
	free(text);
	return rc ? cmd_fail(NAME, &e) : CMD_OK;
}
