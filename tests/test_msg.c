#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema/json.h"
#include "schema/msg.h"
#include "tests/msg_samples.h"

#define HASH "0123456789abcdef0123456789abcdef"

/* Parse a copy that ends where the message ends, so that a sanitizer sees any read beyond. */
static int parse(struct msg *m, const char *src, size_t len, enum msg_type want, struct err *e)
{
	char *copy = malloc(len ? len : 1);
	int rc;

	assert_non_null(copy);
	memcpy(copy, src, len);
	rc = msg_parse(m, copy, len, want, e);
	free(copy);
	return rc;
}

static void refused_as(const char *text, enum msg_type want, int code, const char *why)
{
	struct err e = { 0 };
	struct msg m;

	if (parse(&m, text, strlen(text), want, &e) != code)
		fail_msg("%s: %d, not %d", text, e.code, code);
	if (!strstr(e.text, why))
		fail_msg("%s: \"%s\" does not say \"%s\"", text, e.text, why);
}

static void refused(const char *text, const char *why)
{
	refused_as(text, MSG_TYPE_COUNT, ERR_FORMAT, why);
}

static FILE *open_golden(void)
{
	const char *root = getenv("SPLITMQ_ROOT");
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/schema/vectors/messages.jsonl", root ? root : ".");
	f = fopen(path, "rb");
	if (!f)
		fail_msg("cannot read %s", path);
	return f;
}

static void every_sample_is_printed_as_the_golden_line(void **state)
{
	FILE *f = open_golden();
	char line[4096];

	(void)state;
	for (size_t i = 0; i < msg_samples_count(); i++) {
		struct msg m = msg_samples_at(i);
		char *text;
		size_t len;

		assert_non_null(fgets(line, sizeof(line), f));
		line[strcspn(line, "\n")] = '\0';
		assert_int_equal(msg_print(&m, &text, &len), 0);
		assert_string_equal(text, line);
		assert_int_equal(len, strlen(line));
		free(text);
	}
	assert_null(fgets(line, sizeof(line), f));
	fclose(f);
}

static void every_golden_line_is_read_and_printed_the_same(void **state)
{
	FILE *f = open_golden();
	char line[4096];
	bool seen[MSG_TYPE_COUNT] = { false };

	(void)state;
	while (fgets(line, sizeof(line), f)) {
		struct msg m;
		struct err e;
		char *text;
		size_t len;

		line[strcspn(line, "\n")] = '\0';
		if (parse(&m, line, strlen(line), MSG_TYPE_COUNT, &e))
			fail_msg("%s: %s", line, e.text);
		seen[m.type] = true;
		assert_int_equal(msg_print(&m, &text, &len), 0);
		assert_string_equal(text, line);
		free(text);
		msg_finish(&m);
	}
	fclose(f);
	for (unsigned t = 0; t < MSG_TYPE_COUNT; t++)
		assert_true(seen[t]);
}

static void every_prefix_of_a_message_is_refused(void **state)
{
	FILE *f = open_golden();
	char line[4096];

	(void)state;
	while (fgets(line, sizeof(line), f)) {
		size_t full = strcspn(line, "\n");

		for (size_t len = 0; len < full; len++) {
			struct msg m;

			assert_int_equal(parse(&m, line, len, MSG_PROMPT, NULL), ERR_FORMAT);
		}
	}
	fclose(f);
}

/* The message with one key taken out: either it still stands, or the error names the key. */
static void without_key(const struct json *o, size_t skip, unsigned *kept)
{
	struct json *copy = json_object();
	const char *key, *missing = NULL;
	struct err e = { 0 };
	struct msg m;
	char *text;
	size_t len;

	for (size_t i = 0; json_member_at(o, i, &key); i++) {
		const char *str = json_str(json_get(o, key));
		uint64_t n;

		if (i == skip)
			missing = key;
		else if (str)
			json_add_str(copy, key, str);
		else if (!json_u64(json_get(o, key), UINT64_MAX, &n))
			json_add_u64(copy, key, n);
	}
	assert_int_equal(json_print(copy, &text, &len), 0);
	json_free(copy);
	if (!parse(&m, text, len, MSG_NEED, &e)) {
		(*kept)++;
		msg_finish(&m);
	} else if (!strstr(e.text, missing)) {
		fail_msg("%s: \"%s\" does not name \"%s\"", text, e.text, missing);
	}
	free(text);
}

static void a_missing_key_is_named(void **state)
{
	static const char need[] = "{\"v\":1,\"type\":\"need\",\"session\":\"0123456789abcdef\","
				   "\"epoch\":1,\"seq\":9,\"kv_len\":32,\"more\":1}";
	struct json *o;
	unsigned kept = 0;

	(void)state;
	assert_int_equal(json_parse(&o, need, strlen(need), NULL), 0);
	for (size_t i = 0; i < 7; i++)
		without_key(o, i, &kept);
	json_free(o);
	assert_int_equal(kept, 3); /* v, type (assumed), more (unknown) */
}

static void a_person_needs_no_more_than_a_prompt(void **state)
{
	static const char text[] = "  {\"prompt\":\"turn on the pump\"}\n";
	struct msg m;
	struct err e;

	(void)state;
	assert_int_equal(parse(&m, text, strlen(text), MSG_PROMPT, &e), 0);
	assert_int_equal(m.type, MSG_PROMPT);
	assert_string_equal(m.u.prompt.prompt, "turn on the pump");
	assert_int_equal(m.u.prompt.prompt_len, 16);
	assert_string_equal(m.u.prompt.id, "");
	assert_false(m.u.prompt.given || m.u.prompt.has_split || m.u.prompt.stream);
	assert_true(m.u.prompt.sampling.top_p == 1 && m.u.prompt.sampling.temperature == 0);
	assert_int_equal(m.u.prompt.sampling.repeat_last, 64);
	msg_finish(&m);
	refused_as(text, MSG_TYPE_COUNT, ERR_FORMAT, "\"type\" is missing");
	refused_as(text, MSG_CANCEL, ERR_FORMAT, "cancel: key \"id\" is missing");
}

static void a_nul_in_a_prompt_is_a_character_like_others(void **state)
{
	static const char text[] = "{\"prompt\":\"a\\u0000b\"}", nul[] = "{\"prompt\":\"\\u0000\"}";
	struct msg m;
	struct err e;

	(void)state;
	assert_int_equal(parse(&m, text, strlen(text), MSG_PROMPT, &e), 0);
	assert_int_equal(m.u.prompt.prompt_len, 3);
	assert_memory_equal(m.u.prompt.prompt, "a\0b", 4);
	msg_finish(&m);
	assert_int_equal(parse(&m, nul, strlen(nul), MSG_PROMPT, &e), 0);
	assert_int_equal(m.u.prompt.prompt_len, 1);
	msg_finish(&m);
}

static void a_type_that_is_there_beats_the_one_expected(void **state)
{
	static const char text[] = "{\"type\":\"cancel\",\"id\":\"1\"}";
	struct msg m;

	(void)state;
	assert_int_equal(parse(&m, text, strlen(text), MSG_PROMPT, NULL), 0);
	assert_int_equal(m.type, MSG_CANCEL);
	assert_string_equal(m.u.cancel.id, "1");
	msg_finish(&m);
}

static void bad_prompts_are_refused_by_name(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{ "{\"prompt\":\"x\",\"id\":\"a\\u0000b\"}",
		  "key \"id\" must not have a NUL character" },
		{ "{\"prompt\":\"x\",\"a\\u0000b\":1}", "a NUL character (\\u0000) in a key" },
		{ "{\"prompt\":\"\"}", "\"prompt\" must not be empty" },
		{ "{\"prompt\":5}", "\"prompt\" must be a string, not 5" },
		{ "{\"prompt\":null}", "\"prompt\" is missing" },
		{ "{}", "\"prompt\" is missing" },
		{ "{\"prompt\":\"\xff\"}", "\"prompt\": not UTF-8" },
		{ "{\"prompt\":\"\xed\xa0\x80\"}", "\"prompt\": not UTF-8" },
		{ "{\"prompt\":\"\\ud83c\"}", "surrogate" },
		{ "{\"prompt\":\"x\",\"prompt\":\"y\"}", "\"prompt\" appears twice" },
		{ "{\"prompt\":\"x\",\"id\":\"a/b\"}", "\"id\" must be a name" },
		{ "{\"prompt\":\"x\",\"id\":\"\"}", "\"id\" must be a name" },
		{ "{\"prompt\":\"x\",\"id\":7}", "\"id\" must be a string" },
		{ "{\"prompt\":\"x\",\"temperature\":-0.1}", "\"temperature\"" },
		{ "{\"prompt\":\"x\",\"temperature\":\"hot\"}", "\"temperature\"" },
		{ "{\"prompt\":\"x\",\"temperature\":1e999}", "too large" },
		{ "{\"prompt\":\"x\",\"top_p\":0}", "\"top_p\"" },
		{ "{\"prompt\":\"x\",\"seed\":9007199254740992}", "\"seed\"" },
		{ "{\"prompt\":\"x\",\"seed\":1.5}", "\"seed\"" },
		{ "{\"prompt\":\"x\",\"seed\":-1}", "\"seed\"" },
		{ "{\"prompt\":\"x\",\"max_tokens\":1048577}", "\"max_tokens\"" },
		{ "{\"prompt\":\"x\",\"split\":4097}", "0..4096, not 4097" },
		{ "{\"prompt\":\"x\",\"codec\":\"\"}", "\"codec\"" },
		{ "{\"prompt\":\"x\",\"codec\":\"q8 \"}", "\"codec\"" },
		{ "{\"prompt\":\"x\",\"kv\":\"q5_0\"}",
		  "key \"kv\" must be one of f16|f32|q8_0|q4_0" },
		{ "{\"prompt\":\"x\",\"kv\":\"\"}", "\"kv\"" },
		{ "{\"prompt\":\"x\",\"kv\":8}", "\"kv\" must be a string" },
		{ "{\"prompt\":\"x\",\"class\":\"urgent\"}",
		  "key \"class\" must be one of interactive|bulk" },
		{ "{\"prompt\":\"x\",\"class\":\"\"}", "\"class\"" },
		{ "{\"prompt\":\"x\",\"raw\":1}", "\"raw\" must be true or false" },
		{ "[\"prompt\"]", "JSON object" },
		{ "{\"prompt\":\"x\",\"type\":\"please\"}", "unknown type \"please\"" },
		{ "{\"prompt\":\"x\"", "ends inside" },
		{ "{\"prompt\":\"x", "ends inside" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused_as(bad[i].text, MSG_PROMPT, ERR_FORMAT, bad[i].why);
	refused_as("{\"v\":2,\"prompt\":\"x\"}", MSG_PROMPT, ERR_VERSION, "version 2");
	refused_as("{\"v\":0,\"prompt\":\"x\"}", MSG_PROMPT, ERR_VERSION, "version 0");
	refused_as("{\"v\":\"1\",\"prompt\":\"x\"}", MSG_PROMPT, ERR_FORMAT, "\"v\"");
}

static void a_prompt_of_the_longest_length_passes_and_one_more_byte_does_not(void **state)
{
	size_t n = MSG_PROMPT_MAX;
	char *text = malloc(n + 32);
	struct msg m;
	struct err e;
	int len;

	(void)state;
	assert_non_null(text);
	len = snprintf(text, n + 32, "{\"prompt\":\"%*s\"}", (int)n, "x");
	assert_int_equal(parse(&m, text, (size_t)len, MSG_PROMPT, &e), 0);
	assert_int_equal(m.u.prompt.prompt_len, n);
	msg_finish(&m);
	len = snprintf(text, n + 32, "{\"prompt\":\"%*s\"}", (int)n + 1, "x");
	assert_int_equal(parse(&m, text, (size_t)len, MSG_PROMPT, &e), ERR_FORMAT);
	assert_non_null(strstr(e.text, "\"prompt\" is longer than 65536 bytes"));
	free(text);
}

#define SESSION "\"session\":\"0123456789abcdef\",\"epoch\":1"

static void bad_session_messages_are_refused_by_type_and_key(void **state)
{
	(void)state;
	refused("{\"type\":\"need\",\"session\":\"0000000000000000\",\"epoch\":1}",
		"need: key \"session\" must not be 0");
	refused("{\"type\":\"need\",\"session\":\"0123456789ABCDEF\",\"epoch\":1}",
		"need: key \"session\"");
	refused("{\"type\":\"need\",\"session\":\"+123456789abcdef\",\"epoch\":1}",
		"need: key \"session\"");
	refused("{\"type\":\"need\",\"session\":1,\"epoch\":1}", "need: key \"session\"");
	refused("{\"type\":\"need\",\"session\":\"0123456789abcdef\",\"epoch\":4294967296}",
		"need: key \"epoch\"");
	refused("{\"type\":\"need\"," SESSION ",\"seq\":1,\"kv_len\":1048577}",
		"need: key \"kv_len\"");
	refused("{\"type\":\"tokens\"," SESSION ",\"seq\":1,\"pos\":1,\"ids\":[]}", "at least one");
	refused("{\"type\":\"tokens\"," SESSION ",\"seq\":1,\"pos\":1,\"ids\":[1,-1]}",
		"element 1");
	refused("{\"type\":\"tokens\"," SESSION ",\"seq\":1,\"pos\":1,\"ids\":[1048576]}",
		"element 0");
	refused("{\"type\":\"tokens\"," SESSION ",\"seq\":1,\"pos\":1,\"ids\":7}", "array");
	refused("{\"type\":\"tokens\"," SESSION ",\"seq\":1,\"pos\":1}", "\"ids\"");
	refused("{\"type\":\"error\"," SESSION ",\"seq\":1}", "\"code\" is missing");
	refused("{\"type\":\"accept\"," SESSION ",\"worker\":\"a+b\"}", "accept: key \"worker\"");
	refused("{\"type\":\"accept\"," SESSION ",\"worker\":\"w\",\"context_tokens\":1,"
		"\"max_packet_bytes\":1,\"drafts\":65}",
		"accept: key \"drafts\"");
	refused("{\"type\":\"open\"," SESSION ",\"agent\":\"a\",\"model\":\"abc\"}",
		"open: key \"model\" must be 32");
	refused("{\"type\":\"open\"," SESSION ",\"agent\":\"a\",\"model\":\"" HASH "\",\"dim\":0}",
		"open: key \"dim\"");
	refused("{\"type\":\"open\"," SESSION ",\"agent\":\"a\",\"model\":\"" HASH
		"\",\"dim\":1,\"split\":0,\"context_tokens\":1,\"codec\":\"f32\",\"kv\":\"Q8_0\"}",
		"open: key \"kv\" must be one of f16");
	refused("{\"type\":\"decision\",\"agent\":\"a\",\"number\":1,\"split\":0,\"kv\":\"q8\"}",
		"decision: key \"kv\" must be one of f16");
	refused("{\"type\":\"open\"," SESSION ",\"agent\":\"a\",\"model\":\"" HASH
		"\",\"dim\":1,\"split\":0,\"context_tokens\":1,\"codec\":\"f32\"}",
		"open: key \"sampling\"");
	refused("{\"type\":\"open\"," SESSION ",\"agent\":\"a\",\"model\":\"" HASH
		"\",\"dim\":1,\"split\":0,\"context_tokens\":1,\"codec\":\"f32\","
		"\"sampling\":{\"top_k\":true}}",
		"open: sampling: key \"top_k\"");
}

#define PROFILE                                                                                    \
	"\"type\":\"agent.profile\",\"agent\":\"a\",\"boot\":\"0000000000000001\",\"model\":"      \
	"\"" HASH "\",\"layers\":8,\"dim\":8,\"kv_elements\":1,\"threads\":1,\"max_sessions\":1,"  \
	"\"context_tokens\":1,\"prefill_rows\":1,\"budget_bytes\":1,\"base_bytes\":1,"             \
	"\"session_bytes\":1,\"token_bytes\":1,\"fronts\":"
#define TELEMETRY                                                                                  \
	"\"type\":\"agent.telemetry\",\"agent\":\"a\",\"boot\":\"0000000000000001\",\"uptime_"     \
	"ms\":1,"                                                                                  \
	"\"rss_bytes\":1,\"mem_available_bytes\":1,\"sessions\":1,\"sessions_done\":1,"            \
	"\"sessions_failed\":1,\"tokens\":1,\"rows\":1,\"bytes_up\":1,\"bytes_down\":1,"           \
	"\"retries\":1,"

static void bad_facts_of_the_fleet_are_refused_by_place_and_key(void **state)
{
	(void)state;
	refused("{" PROFILE "[]}", "agent.profile: key \"fronts\" must name at least one");
	refused("{" PROFILE "[{}]}", "agent.profile: fronts[0]: key \"name\" is missing");
	refused("{" PROFILE "[7]}", "key \"fronts\", element 0 is not an object");
	refused("{" PROFILE "[{\"name\":\"Q4_0\",\"layers\":2,\"layer_bytes\":[1]}]}",
		"fronts[0]: key \"layer_bytes\" must be an array of 2 numbers");
	refused("{" PROFILE "[{\"name\":\"Q4_0\",\"layers\":0,\"layer_bytes\":[]},"
		"{\"name\":\"Q8_0\",\"layers\":2,\"layer_bytes\":[1,-1]}]}",
		"fronts[1]: key \"layer_bytes\", element 1 is not a number");
	refused("{" PROFILE "[{\"name\":\"Q4 0\",\"layers\":0,\"layer_bytes\":[]}]}",
		"fronts[0]: key \"name\" must be 1..31 characters");
	refused("{" TELEMETRY "\"link\":{\"rtt_ms\":1}}",
		"agent.telemetry: link: key \"samples\" is missing");
	refused("{" TELEMETRY "\"speeds\":{}}", "key \"speeds\" must be an array of objects");
	refused("{" TELEMETRY "\"battery_percent\":101}", "\"battery_percent\"");
	refused("{\"type\":\"decision.answer\",\"agent\":\"a\",\"number\":1}",
		"decision.answer: key \"taken\" is missing");
	refused("{\"type\":\"coordinator.lease\",\"coordinator\":\"c\","
		"\"boot\":\"0000000000000001\",\"term\":0,\"lease_ms\":1}",
		"coordinator.lease: key \"term\"");
	refused("{\"type\":\"decision\",\"agent\":\"a\",\"number\":1,\"split\":0,"
		"\"predicted\":{\"ttft_ms\":-1}}",
		"decision: predicted: key \"ttft_ms\"");
}

static void a_list_of_objects_is_no_longer_than_the_field(void **state)
{
	char text[1024] = "{" TELEMETRY "\"remaining\":[{\"id\":\"q\",\"split\":0}";
	size_t len = strlen(text);
	struct msg m;

	(void)state;
	for (unsigned i = 1; i < MSG_REMAINING_MAX; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					",{\"id\":\"q%u\",\"split\":%u}", i, i);
	memcpy(text + len, "]}", 3);
	assert_int_equal(parse(&m, text, len + 2, MSG_TYPE_COUNT, NULL), 0);
	assert_int_equal(m.u.telemetry.n_remaining, MSG_REMAINING_MAX);
	assert_string_equal(m.u.telemetry.remaining[15].id, "q15");
	msg_finish(&m);
	memcpy(text + len, ",{}]}", 6);
	refused(text, "more than 16 elements");
}

static void what_a_machine_does_not_tell_is_no_zero(void **state)
{
	static const char text[] = "{" TELEMETRY "\"temperature_c\":0,\"on_battery\":false}";
	struct msg m;

	(void)state;
	assert_int_equal(parse(&m, text, strlen(text), MSG_TYPE_COUNT, NULL), 0);
	assert_int_equal(m.u.telemetry.has, MSG_HAS_TEMPERATURE | MSG_HAS_ON_BATTERY);
	assert_int_equal(m.u.telemetry.link.samples, 0);
	msg_finish(&m);
}

static void numbers_at_their_limits_are_read(void **state)
{
	static const char text[] = "{\"type\":\"need\",\"session\":\"ffffffffffffffff\","
				   "\"epoch\":4294967295,\"seq\":4294967295,\"kv_len\":1048576}";
	struct msg m;

	(void)state;
	assert_int_equal(parse(&m, text, strlen(text), MSG_TYPE_COUNT, NULL), 0);
	assert_true(m.u.need.session == UINT64_MAX);
	assert_true(m.u.need.epoch == UINT32_MAX && m.u.need.seq == UINT32_MAX);
	assert_int_equal(m.u.need.kv_len, 1048576);
	msg_finish(&m);
}

static void a_list_of_ids_is_no_longer_than_the_field(void **state)
{
	char text[4096] = "{\"type\":\"tokens\"," SESSION ",\"seq\":1,\"pos\":1,\"ids\":[0";
	size_t len = strlen(text);
	struct msg m;

	(void)state;
	for (unsigned i = 1; i < MSG_IDS_MAX; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, ",%u", i);
	memcpy(text + len, "]}", 3);
	assert_int_equal(parse(&m, text, len + 2, MSG_TYPE_COUNT, NULL), 0);
	assert_int_equal(m.u.tokens.n_ids, MSG_IDS_MAX);
	assert_int_equal(m.u.tokens.ids[MSG_IDS_MAX - 1], MSG_IDS_MAX - 1);
	msg_finish(&m);
	memcpy(text + len, ",0]}", 5);
	refused(text, "more than 256 ids");
}

static void who_serves_says_what_and_who_left_need_not(void **state)
{
	struct msg m;
	static const char lost[] =
		"{\"type\":\"worker.status\",\"worker\":\"w\",\"state\":\"lost\","
		"\"boot\":\"0000000000000001\"}";

	(void)state;
	assert_int_equal(parse(&m, lost, strlen(lost), MSG_TYPE_COUNT, NULL), 0);
	assert_int_equal(m.u.worker_status.state, MSG_LOST);
	assert_int_equal(m.u.worker_status.n_layers, 0);
	msg_finish(&m);
	refused("{\"type\":\"worker.status\",\"worker\":\"w\",\"state\":\"ready\","
		"\"boot\":\"0000000000000001\"}",
		"worker.status: key \"model\" is missing");
	refused("{\"type\":\"agent.status\",\"agent\":\"w\",\"state\":\"asleep\","
		"\"boot\":\"0000000000000001\"}",
		"agent.status: key \"state\" must be");
}

static void an_error_word_of_a_later_version_is_an_internal_error(void **state)
{
	static const char text[] =
		"{\"type\":\"error\"," SESSION ",\"seq\":1,\"code\":\"out_of_coffee\"}";
	struct msg m;

	(void)state;
	assert_int_equal(parse(&m, text, strlen(text), MSG_TYPE_COUNT, NULL), 0);
	assert_int_equal(m.u.error.code, ERR_INTERNAL);
	assert_false(m.u.error.again);
	msg_finish(&m);
}

static void a_refused_message_leaves_the_callers_alone(void **state)
{
	struct msg m, before;

	(void)state;
	memset(&m, 0x5a, sizeof(m));
	memcpy(&before, &m, sizeof(m));
	assert_int_equal(msg_parse(&m, "{\"prompt\":\"x\",\"split\":-1}", 25, MSG_PROMPT, NULL),
			 ERR_FORMAT);
	assert_memory_equal(&m, &before, sizeof(m));
}

static void who_sent_a_bad_message_can_often_be_told(void **state)
{
	static const char prompt[] = "{\"prompt\":5,\"id\":\"q\"}";
	static const char open[] = "{\"type\":\"open\"," SESSION ",\"seq\":4,\"split\":true}";
	struct msg_peek p;

	(void)state;
	assert_true(msg_peek(&p, prompt, strlen(prompt)));
	assert_string_equal(p.id, "q");
	assert_true(p.session == 0);
	assert_true(msg_peek(&p, open, strlen(open)));
	assert_true(p.session == 0x0123456789abcdef);
	assert_int_equal(p.epoch, 1);
	assert_int_equal(p.seq, 4);
	assert_false(msg_peek(&p, "{\"id\":\"a/b\"}", 12));
	assert_false(msg_peek(&p, "{\"id\"", 5));
	assert_false(msg_peek(&p, "[]", 2));
}

/* ---- memory that runs out after a number of allocations ---- */

static int allocations_left = -1;

/* Fails once: what comes after the failure must not hide it. */
static void *scarce_malloc(size_t len)
{
	if (allocations_left >= 0 && allocations_left-- == 0)
		return NULL;
	return malloc(len);
}

/* Print m with one allocation more each time, until there are enough. */
static void print_with_scarce_memory(const struct msg *m, const char *want)
{
	int rc = ERR_NOMEM, n;

	for (n = 0; rc && n < 1000; n++) {
		char *text = NULL;
		size_t len;

		allocations_left = n;
		rc = msg_print(m, &text, &len);
		if (rc)
			assert_int_equal(rc, ERR_NOMEM);
		else
			assert_string_equal(text, want);
		free(text);
	}
	assert_int_equal(rc, 0);
	assert_true(n > 5);
}

static void a_message_is_printed_whole_or_not_at_all(void **state)
{
	(void)state;
	json_set_alloc(scarce_malloc, free);
	for (size_t i = 0; i < msg_samples_count(); i++) {
		struct msg m = msg_samples_at(i);
		char *whole;
		size_t len;

		allocations_left = -1;
		assert_int_equal(msg_print(&m, &whole, &len), 0);
		print_with_scarce_memory(&m, whole);
		free(whole);
	}
	allocations_left = -1;
	json_set_alloc(NULL, NULL);
}

static void a_message_is_read_whole_or_not_at_all(void **state)
{
	FILE *f = open_golden();
	char line[4096];

	(void)state;
	json_set_alloc(scarce_malloc, free);
	while (fgets(line, sizeof(line), f)) {
		int rc = ERR_NOMEM;

		for (int n = 0; rc && n < 1000; n++) {
			struct msg m;

			allocations_left = n;
			rc = parse(&m, line, strlen(line), MSG_TYPE_COUNT, NULL);
			if (!rc)
				msg_finish(&m);
		}
		assert_int_equal(rc, 0);
	}
	fclose(f);
	allocations_left = -1;
	json_set_alloc(NULL, NULL);
}

static void names_of_types_and_states_are_words(void **state)
{
	(void)state;
	assert_string_equal(msg_type_name(MSG_OPEN), "open");
	assert_string_equal(msg_type_name(MSG_TYPE_COUNT), "unknown");
	assert_string_equal(msg_state_name(MSG_LOST), "lost");
	assert_string_equal(msg_state_name(MSG_STATE_COUNT), "unknown");
	msg_finish(NULL);
	msg_finish(&(struct msg){ 0 });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_sample_is_printed_as_the_golden_line),
		cmocka_unit_test(every_golden_line_is_read_and_printed_the_same),
		cmocka_unit_test(every_prefix_of_a_message_is_refused),
		cmocka_unit_test(a_missing_key_is_named),
		cmocka_unit_test(a_person_needs_no_more_than_a_prompt),
		cmocka_unit_test(a_nul_in_a_prompt_is_a_character_like_others),
		cmocka_unit_test(a_type_that_is_there_beats_the_one_expected),
		cmocka_unit_test(bad_prompts_are_refused_by_name),
		cmocka_unit_test(a_prompt_of_the_longest_length_passes_and_one_more_byte_does_not),
		cmocka_unit_test(bad_session_messages_are_refused_by_type_and_key),
		cmocka_unit_test(bad_facts_of_the_fleet_are_refused_by_place_and_key),
		cmocka_unit_test(a_list_of_objects_is_no_longer_than_the_field),
		cmocka_unit_test(what_a_machine_does_not_tell_is_no_zero),
		cmocka_unit_test(numbers_at_their_limits_are_read),
		cmocka_unit_test(a_list_of_ids_is_no_longer_than_the_field),
		cmocka_unit_test(who_serves_says_what_and_who_left_need_not),
		cmocka_unit_test(an_error_word_of_a_later_version_is_an_internal_error),
		cmocka_unit_test(a_refused_message_leaves_the_callers_alone),
		cmocka_unit_test(who_sent_a_bad_message_can_often_be_told),
		cmocka_unit_test(a_message_is_printed_whole_or_not_at_all),
		cmocka_unit_test(a_message_is_read_whole_or_not_at_all),
		cmocka_unit_test(names_of_types_and_states_are_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
