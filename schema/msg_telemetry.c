/* schema/msg_telemetry.c - how agents and workers fare. */
#include "schema/msg_field.h"

static int get_counters(struct msg_telemetry *t, const struct json *o, struct err *e)
{
	const struct {
		const char *key;
		uint64_t *v;
	} counters[] = {
		{ "uptime_ms", &t->uptime_ms },
		{ "rss_bytes", &t->rss_bytes },
		{ "mem_available_bytes", &t->mem_available_bytes },
		{ "sessions_done", &t->sessions_done },
		{ "sessions_failed", &t->sessions_failed },
		{ "tokens", &t->tokens },
		{ "rows", &t->rows },
		{ "bytes_up", &t->bytes_up },
		{ "bytes_down", &t->bytes_down },
		{ "retries", &t->retries },
	};
	int rc = 0;

	for (size_t i = 0; !rc && i < sizeof(counters) / sizeof(counters[0]); i++)
		rc = json_get_u64(o, counters[i].key, true, 0, FIELD_EXACT_MAX, counters[i].v, e);
	return rc;
}

static int get_telemetry(struct msg *m, const struct json *o, const char *who, struct err *e)
{
	struct msg_telemetry *t = &m->u.telemetry;
	int rc;

	if ((rc = field_get_name(o, who, FIELD_NEEDED, t->name, e)) ||
	    (rc = field_get_hex(o, "boot", &t->boot, e)) || (rc = get_counters(t, o, e)) ||
	    (rc = json_get_u32(o, "sessions", true, 0, UINT32_MAX, &t->sessions, e)) ||
	    (rc = json_get_f64(o, "token_ms", false, 0, 1e9, &t->token_ms, e)))
		return rc;
	return json_get_f64(o, "rtt_ms", false, 0, 1e9, &t->rtt_ms, e);
}

static void add_telemetry(const struct msg_telemetry *t, struct json *o, const char *who)
{
	json_add_str(o, who, t->name);
	field_add_hex(o, "boot", t->boot);
	json_add_u64(o, "uptime_ms", t->uptime_ms);
	json_add_u64(o, "rss_bytes", t->rss_bytes);
	json_add_u64(o, "mem_available_bytes", t->mem_available_bytes);
	json_add_u64(o, "sessions", t->sessions);
	json_add_u64(o, "sessions_done", t->sessions_done);
	json_add_u64(o, "sessions_failed", t->sessions_failed);
	json_add_u64(o, "tokens", t->tokens);
	json_add_u64(o, "rows", t->rows);
	json_add_u64(o, "bytes_up", t->bytes_up);
	json_add_u64(o, "bytes_down", t->bytes_down);
	json_add_u64(o, "retries", t->retries);
	if (t->token_ms >= 0.0005) /* less would print as 0, which means none yet */
		field_add_ms(o, "token_ms", t->token_ms);
	if (t->rtt_ms >= 0.0005)
		field_add_ms(o, "rtt_ms", t->rtt_ms);
}

/* A position, or a mean of some. */
static int get_at(const struct json *o, const char *key, double *at, struct err *e)
{
	return json_get_f64(o, key, false, 0, FIELD_POS_MAX, at, e);
}

static int get_speed(void *item, const struct json *o, struct err *e)
{
	struct msg_speed *s = item;
	int rc;

	if ((rc = field_get_front(o, "front", FIELD_NEEDED, s->front, e)) ||
	    (rc = field_get_ms(o, "layer_token_ms", &s->layer_token_ms, e)) ||
	    (rc = field_get_ms(o, "layer_row_ms", &s->layer_row_ms, e)) ||
	    (rc = field_get_ms(o, "embed_ms", &s->embed_ms, e)) ||
	    (rc = field_get_ms(o, "local_layer_ms", &s->local_layer_ms, e)) ||
	    (rc = field_get_ms(o, "local_ms", &s->local_ms, e)) ||
	    (rc = field_get_ms(o, "head_ms", &s->head_ms, e)) ||
	    (rc = field_get_ms(o, "encode_ms", &s->encode_ms, e)) ||
	    (rc = get_at(o, "layer_token_at", &s->layer_token_at, e)) ||
	    (rc = get_at(o, "layer_row_at", &s->layer_row_at, e)) ||
	    (rc = get_at(o, "local_layer_at", &s->local_layer_at, e)) ||
	    (rc = field_get_ms(o, "deeper_token_ms", &s->deeper_token_ms, e)))
		return rc;
	return field_get_ms(o, "deeper_row_ms", &s->deeper_row_ms, e);
}

static void add_speed(const struct msg_speed *s, struct json *o)
{
	json_add_str(o, "front", s->front);
	field_add_fine(o, "layer_token_ms", s->layer_token_ms);
	field_add_fine(o, "layer_row_ms", s->layer_row_ms);
	field_add_fine(o, "embed_ms", s->embed_ms);
	field_add_fine(o, "local_layer_ms", s->local_layer_ms);
	field_add_fine(o, "local_ms", s->local_ms);
	field_add_fine(o, "head_ms", s->head_ms);
	field_add_fine(o, "encode_ms", s->encode_ms);
	field_add_fine(o, "layer_token_at", s->layer_token_at);
	field_add_fine(o, "layer_row_at", s->layer_row_at);
	field_add_fine(o, "local_layer_at", s->local_layer_at);
	field_add_fine(o, "deeper_token_ms", s->deeper_token_ms);
	field_add_fine(o, "deeper_row_ms", s->deeper_row_ms);
}

static int get_link(struct msg_link *l, const struct json *o, struct err *e)
{
	const struct json *link = json_get(o, "link");
	int rc;

	if (!link)
		return 0;
	if (!json_is_object(link))
		return err_set(e, ERR_FORMAT, "key \"link\" must be an object");
	if ((rc = field_get_ms(link, "rtt_ms", &l->rtt_ms, e)) ||
	    (rc = field_get_ms(link, "rtt_high_ms", &l->rtt_high_ms, e)) ||
	    (rc = field_get_ms(link, "up_kbit_s", &l->up_kbit_s, e)) ||
	    (rc = field_get_ms(link, "up_low_kbit_s", &l->up_low_kbit_s, e)) ||
	    (rc = field_get_ms(link, "down_kbit_s", &l->down_kbit_s, e)) ||
	    (rc = field_get_ms(link, "down_low_kbit_s", &l->down_low_kbit_s, e)) ||
	    (rc = field_get_ms(link, "idle_ms", &l->idle_ms, e)) ||
	    (rc = field_get_ms(link, "open_ms", &l->open_ms, e)) ||
	    (rc = json_get_u32(link, "samples", true, 1, UINT32_MAX, &l->samples, e)))
		return err_wrap(e, "link");
	return 0;
}

static void add_link(const struct msg_link *l, struct json *o)
{
	if (!l->samples)
		return;
	o = json_add_object(o, "link");
	field_add_fine(o, "rtt_ms", l->rtt_ms);
	field_add_fine(o, "rtt_high_ms", l->rtt_high_ms);
	field_add_fine(o, "up_kbit_s", l->up_kbit_s);
	field_add_fine(o, "up_low_kbit_s", l->up_low_kbit_s);
	field_add_fine(o, "down_kbit_s", l->down_kbit_s);
	field_add_fine(o, "down_low_kbit_s", l->down_low_kbit_s);
	json_add_u64(o, "samples", l->samples);
	field_add_ms(o, "idle_ms", l->idle_ms);
	field_add_fine(o, "open_ms", l->open_ms);
}

static int get_remaining(void *item, const struct json *o, struct err *e)
{
	struct msg_remaining *r = item;
	int rc;

	if ((rc = field_get_name(o, "id", FIELD_NEEDED, r->id, e)) ||
	    (rc = json_get_u32(o, "tokens", false, 0, FIELD_POS_MAX, &r->tokens, e)) ||
	    (rc = json_get_u32(o, "kv_tokens", false, 0, FIELD_POS_MAX, &r->kv_tokens, e)) ||
	    (rc = json_get_u32(o, "split", true, 0, FIELD_SPLIT_MAX, &r->split, e)))
		return rc;
	return field_get_ms(o, "deadline_ms", &r->deadline_ms, e);
}

static void add_remaining(const struct msg_remaining *r, struct json *o)
{
	json_add_str(o, "id", r->id);
	json_add_u64(o, "tokens", r->tokens);
	json_add_u64(o, "kv_tokens", r->kv_tokens);
	json_add_u64(o, "split", r->split);
	field_add_ms(o, "deadline_ms", r->deadline_ms);
}

static const struct {
	const char *key;
	unsigned bit;
} facts[] = {
	{ "temperature_c", MSG_HAS_TEMPERATURE },
	{ "throttled", MSG_HAS_THROTTLED },
	{ "battery_percent", MSG_HAS_BATTERY },
	{ "on_battery", MSG_HAS_ON_BATTERY },
};

/* What only some machines tell. */
static int get_sensors(struct msg_telemetry *t, const struct json *o, struct err *e)
{
	int rc;

	for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++)
		t->has |= json_get(o, facts[i].key) ? facts[i].bit : 0;
	if ((rc = json_get_f64(o, "temperature_c", false, -273, 1000, &t->temperature_c, e)) ||
	    (rc = json_get_bool(o, "throttled", false, &t->throttled, e)) ||
	    (rc = json_get_f64(o, "battery_percent", false, 0, 100, &t->battery_percent, e)))
		return rc;
	return json_get_bool(o, "on_battery", false, &t->on_battery, e);
}

static void add_sensors(const struct msg_telemetry *t, struct json *o)
{
	if (t->has & MSG_HAS_TEMPERATURE)
		field_add_ms(o, "temperature_c", t->temperature_c);
	if (t->has & MSG_HAS_THROTTLED)
		json_add_bool(o, "throttled", t->throttled);
	if (t->has & MSG_HAS_BATTERY)
		field_add_ms(o, "battery_percent", t->battery_percent);
	if (t->has & MSG_HAS_ON_BATTERY)
		json_add_bool(o, "on_battery", t->on_battery);
}

int msg_get_agent_telemetry(struct msg *m, const struct json *o, struct err *e)
{
	const struct field_list speeds = { MSG_FRONTS_MAX, sizeof(struct msg_speed), get_speed };
	const struct field_list remaining = { MSG_REMAINING_MAX, sizeof(struct msg_remaining),
					      get_remaining };
	struct msg_telemetry *t = &m->u.telemetry;
	int rc;

	if ((rc = get_telemetry(m, o, "agent", e)) ||
	    (rc = field_get_count(o, "budget_bytes", &t->budget_bytes, e)) ||
	    (rc = field_get_count(o, "used_bytes", &t->used_bytes, e)) ||
	    (rc = field_get_list(o, "speeds", &speeds, t->speeds, &t->n_speeds, e)) ||
	    (rc = field_get_front(o, "front", FIELD_OPTIONAL, t->front, e)) ||
	    (rc = get_link(&t->link, o, e)) ||
	    (rc = field_get_ms(o, "broker_rtt_ms", &t->broker_rtt_ms, e)) ||
	    (rc = field_get_ms(o, "broker_rtt_high_ms", &t->broker_rtt_high_ms, e)) ||
	    (rc = field_get_ms(o, "begin_ms", &t->begin_ms, e)) || (rc = get_sensors(t, o, e)))
		return rc;
	return field_get_list(o, "remaining", &remaining, t->remaining, &t->n_remaining, e);
}

void msg_add_agent_telemetry(const struct msg *m, struct json *o)
{
	const struct msg_telemetry *t = &m->u.telemetry;
	struct json *arr = NULL;

	add_telemetry(t, o, "agent");
	field_add_count(o, "budget_bytes", t->budget_bytes);
	field_add_count(o, "used_bytes", t->used_bytes);
	if (t->n_speeds)
		arr = json_add_array(o, "speeds");
	for (uint32_t i = 0; i < t->n_speeds; i++)
		add_speed(&t->speeds[i], json_push_object(arr));
	field_add_text(o, "front", t->front);
	add_link(&t->link, o);
	field_add_fine(o, "broker_rtt_ms", t->broker_rtt_ms);
	field_add_fine(o, "broker_rtt_high_ms", t->broker_rtt_high_ms);
	field_add_fine(o, "begin_ms", t->begin_ms);
	add_sensors(t, o);
	if (t->n_remaining)
		arr = json_add_array(o, "remaining");
	for (uint32_t i = 0; i < t->n_remaining; i++)
		add_remaining(&t->remaining[i], json_push_object(arr));
}

static int get_batch(void *item, const struct json *o, struct err *e)
{
	struct msg_batch *b = item;
	int rc;

	if ((rc = json_get_u32(o, "rows", true, 1, FIELD_POS_MAX, &b->rows, e)) ||
	    (rc = field_get_ms(o, "layer_ms", &b->layer_ms, e)) ||
	    (rc = field_get_ms(o, "head_ms", &b->head_ms, e)) || (rc = get_at(o, "at", &b->at, e)))
		return rc;
	return field_get_ms(o, "deeper_ms", &b->deeper_ms, e);
}

static void add_batch(const struct msg_batch *b, struct json *o)
{
	json_add_u64(o, "rows", b->rows);
	field_add_fine(o, "layer_ms", b->layer_ms);
	field_add_fine(o, "head_ms", b->head_ms);
	field_add_fine(o, "at", b->at);
	field_add_fine(o, "deeper_ms", b->deeper_ms);
}

int msg_get_worker_telemetry(struct msg *m, const struct json *o, struct err *e)
{
	const struct field_list batches = { MSG_BATCHES_MAX, sizeof(struct msg_batch), get_batch };
	struct msg_telemetry *t = &m->u.telemetry;
	int rc;

	if ((rc = get_telemetry(m, o, "worker", e)) ||
	    (rc = json_get_f64(o, "batch_rows", false, 0, 1e9, &t->batch_rows, e)) ||
	    (rc = json_get_f64(o, "queue_ms", false, 0, 1e9, &t->queue_ms, e)) ||
	    (rc = field_get_count(o, "evictions", &t->evictions, e)) ||
	    (rc = field_get_count(o, "kv_bytes", &t->kv_bytes, e)) ||
	    (rc = field_get_count(o, "kv_budget_bytes", &t->kv_budget_bytes, e)) ||
	    (rc = field_get_ms(o, "queue_high_ms", &t->queue_high_ms, e)) ||
	    (rc = field_get_ms(o, "decode_ms", &t->decode_ms, e)) ||
	    (rc = field_get_count(o, "weight_bytes", &t->weight_bytes, e)) ||
	    (rc = json_get_bool(o, "draining", false, &t->draining, e)))
		return rc;
	return field_get_list(o, "batches", &batches, t->batches, &t->n_batches, e);
}

void msg_add_worker_telemetry(const struct msg *m, struct json *o)
{
	const struct msg_telemetry *t = &m->u.telemetry;
	struct json *arr = NULL;

	add_telemetry(t, o, "worker");
	if (t->batch_rows >= 0.0005) {
		field_add_ms(o, "batch_rows", t->batch_rows);
		field_add_ms(o, "queue_ms", t->queue_ms);
	}
	json_add_u64(o, "evictions", t->evictions);
	json_add_u64(o, "kv_bytes", t->kv_bytes);
	field_add_count(o, "kv_budget_bytes", t->kv_budget_bytes);
	field_add_fine(o, "queue_high_ms", t->queue_high_ms);
	field_add_fine(o, "decode_ms", t->decode_ms);
	field_add_count(o, "weight_bytes", t->weight_bytes);
	if (t->draining)
		json_add_bool(o, "draining", true);
	if (t->n_batches)
		arr = json_add_array(o, "batches");
	for (uint32_t i = 0; i < t->n_batches; i++)
		add_batch(&t->batches[i], json_push_object(arr));
}
