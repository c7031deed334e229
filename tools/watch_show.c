/* Text: time, topic, then the control message as compact JSON or the frame in words. JSON: one
 * object {"time_ms","topic","retained","bytes"} and then "message", "frame" or "error". */
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "codec/codec.h"
#include "schema/json.h"
#include "schema/msg.h"
#include "schema/wire.h"
#include "tools/frame.h"
#include "tools/watch.h"

struct frame {
	struct wire_hdr h;
	bool has_values;      /* false: rows that are predicted from earlier ones */
	double min, max, rms; /* of all elements */
};

static double bits_per_element(const struct frame *f)
{
	size_t ids = f->h.flags & WIRE_IDS ? 4u * f->h.rows : 0;

	return 8.0 * (double)(f->h.body_len - ids) / ((double)f->h.rows * f->h.dim);
}

static void measure(struct frame *f, const float *x, size_t n)
{
	double squares = 0;

	f->min = f->max = x[0];
	for (size_t i = 0; i < n; i++) {
		f->min = x[i] < f->min ? x[i] : f->min;
		f->max = x[i] > f->max ? x[i] : f->max;
		squares += (double)x[i] * x[i];
	}
	f->rms = sqrt(squares / (double)n);
}

static int decode(struct frame *f, const uint8_t *bytes, size_t len, struct err *e)
{
	int rc = wire_get_hdr(&f->h, bytes, len, e);
	float *x;

	if (rc)
		return rc;
	rc = frame_values(&f->h, bytes + WIRE_HDR_LEN, &x, e);
	if (rc)
		return rc;
	f->has_values = x;
	if (x)
		measure(f, x, (size_t)f->h.rows * f->h.dim);
	free(x);
	return 0;
}

static const char *kind_name(enum wire_kind kind)
{
	return kind == WIRE_ROWS ? "rows" : kind == WIRE_LOGITS ? "logits" : "kv";
}

/* A control message as it came, unknown keys included, on one line; *e says if it is not one of
 * ours. Returns malloc'ed text, or NULL when it is not JSON at all. */
static char *compact(const struct bus_event *ev, struct err *e)
{
	const char *src = (const char *)ev->payload;
	struct json *root;
	char *text = NULL;
	struct msg m;
	size_t len;

	if (json_parse(&root, src, ev->len, e))
		return NULL;
	if (json_print(root, &text, &len))
		text = NULL;
	json_free(root);
	if (msg_parse(&m, src, ev->len, MSG_PROMPT, e) == 0) {
		e->code = 0;
		msg_finish(&m);
	}
	return text;
}

/* Bytes that mean something to their sender alone. */
static bool is_probe(const struct bus_event *ev)
{
	struct topic t;

	return !topic_get(&t, ev->topic, strlen(ev->topic)) && t.kind == TOPIC_AGENT_PROBE;
}

/* ---- text ---- */

static void print_head(const struct bus_event *ev, uint64_t wall_ms)
{
	time_t s = (time_t)(wall_ms / 1000);
	struct tm tm;

	localtime_r(&s, &tm);
	printf("%02d:%02d:%02d.%03u ", tm.tm_hour, tm.tm_min, tm.tm_sec,
	       (unsigned)(wall_ms % 1000));
	for (const char *c = ev->topic; *c; c++) /* a topic is not ours to trust with a terminal */
		putchar((unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c);
	printf("%s ", ev->retained ? " (retained)" : "");
}

static void print_frame(const struct frame *f)
{
	const struct wire_hdr *h = &f->h;

	printf("%s session=%016" PRIx64 " epoch=%" PRIu32 " seq=%" PRIu32 " pos=%" PRIu32
	       " rows=%" PRIu32 " dim=%" PRIu32 " split=%" PRIu32
	       "%s%s%s%s%s %s %.2f bit/element (%" PRIu32 " bytes)",
	       kind_name(h->kind), h->session, h->epoch, h->seq, h->pos, h->rows, h->dim, h->split,
	       h->flags & WIRE_SAMPLE ? " sample" : "",
	       h->flags & WIRE_WANT_LOGITS ? " want_logits" : "", h->flags & WIRE_IDS ? " ids" : "",
	       h->flags & WIRE_FILL ? " fill" : "", h->flags & WIRE_TELL ? " tell" : "",
	       codec_name(h->codec), bits_per_element(f), h->body_len);
	if (f->has_values)
		printf(" min=%.4g max=%.4g rms=%.4g", f->min, f->max, f->rms);
	putchar('\n');
}

static void show_text(const struct bus_event *ev, uint64_t wall_ms)
{
	struct err e = { 0 };
	struct frame f;
	char *text;

	print_head(ev, wall_ms);
	if (!ev->len) {
		puts("(empty)");
		return;
	}
	if (is_probe(ev)) {
		printf("probe (%zu bytes)\n", ev->len);
		return;
	}
	if (wire_is_frame(ev->payload, ev->len)) {
		if (decode(&f, ev->payload, ev->len, &e))
			printf("(%zu bytes: %s)\n", ev->len, e.text);
		else
			print_frame(&f);
		return;
	}
	text = compact(ev, &e);
	if (text && !e.code)
		puts(text);
	else if (text)
		printf("%s (%s)\n", text, e.text);
	else
		printf("(%zu bytes: %s)\n", ev->len, e.text);
	free(text);
}

/* ---- JSON ---- */

static void add_frame(struct json *o, const struct frame *f)
{
	struct json *r = json_add_object(o, "frame"), *flags;
	char session[17];

	snprintf(session, sizeof(session), "%016" PRIx64, f->h.session);
	json_add_str(r, "kind", kind_name(f->h.kind));
	flags = json_add_array(r, "flags");
	if (f->h.flags & WIRE_SAMPLE)
		json_push_str(flags, "sample");
	if (f->h.flags & WIRE_WANT_LOGITS)
		json_push_str(flags, "want_logits");
	if (f->h.flags & WIRE_IDS)
		json_push_str(flags, "ids");
	if (f->h.flags & WIRE_FILL)
		json_push_str(flags, "fill");
	if (f->h.flags & WIRE_TELL)
		json_push_str(flags, "tell");
	json_add_str(r, "session", session);
	json_add_u64(r, "epoch", f->h.epoch);
	json_add_u64(r, "seq", f->h.seq);
	json_add_u64(r, "pos", f->h.pos);
	json_add_u64(r, "rows", f->h.rows);
	json_add_u64(r, "dim", f->h.dim);
	json_add_u64(r, "split", f->h.split);
	json_add_str(r, "codec", codec_name(f->h.codec));
	json_add_u64(r, "body_len", f->h.body_len);
	json_add_f64(r, "bits_per_element", bits_per_element(f));
	if (!f->has_values)
		return;
	json_add_f64(r, "min", f->min);
	json_add_f64(r, "max", f->max);
	json_add_f64(r, "rms", f->rms);
}

static void show_json(const struct bus_event *ev, uint64_t wall_ms)
{
	struct json *o = json_object();
	struct err e = { 0 };
	char *line = NULL, *message = NULL;
	struct frame f;
	size_t len;

	json_add_u64(o, "time_ms", wall_ms);
	json_add_str(o, "topic", ev->topic);
	json_add_bool(o, "retained", ev->retained);
	json_add_u64(o, "bytes", ev->len);
	if (wire_is_frame(ev->payload, ev->len)) {
		if (!decode(&f, ev->payload, ev->len, &e))
			add_frame(o, &f);
	} else if (ev->len && !is_probe(ev)) {
		message = compact(ev, &e);
	}
	if (e.code)
		json_add_str(o, "error", e.text);
	/* The message is JSON already: it takes the place of the closing brace. */
	if (json_print(o, &line, &len) == 0)
		printf("%.*s%s%s}\n", (int)len - 1, line, message ? ",\"message\":" : "",
		       message ? message : "");
	free(message);
	free(line);
	json_free(o);
}

void watch_show(const struct bus_event *ev, uint64_t wall_ms, bool json)
{
	if (json)
		show_json(ev, wall_ms);
	else
		show_text(ev, wall_ms);
}
