#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"

#define MINIMAL "agent: gw\nmodel: m.gguf\n"

static int agent(struct config_agent *c, const char *text, struct err *e)
{
	return config_parse_agent(c, "a.yaml", text, strlen(text), e);
}

static void assert_refused(const char *text, const char *message)
{
	struct config_agent c;
	struct err e = { 0 };

	assert_int_equal(agent(&c, text, &e), ERR_CONFIG);
	assert_string_equal(e.text, message);
}

static int coordinator(struct config_coordinator *c, const char *text, struct err *e)
{
	return config_parse_coordinator(c, "c.yaml", text, strlen(text), e);
}

static void what_is_not_said_has_its_default(void **state)
{
	struct config_agent c;
	struct err e;

	(void)state;
	assert_int_equal(agent(&c, MINIMAL, &e), 0);
	assert_string_equal(c.fleet, "default");
	assert_string_equal(c.broker.host, "127.0.0.1");
	assert_int_equal(c.broker.port, 1883);
	assert_int_equal(c.split, UINT32_MAX);
	assert_in_range(c.threads, 1, 64);
	assert_string_equal(c.pin_threads, "no");
	assert_int_equal(c.spin_us, 1000);
	assert_int_equal(c.memory_budget_bytes, 0);
	assert_int_equal(c.session_deadline_ms, 120000);
	assert_true(c.sampling.top_p == 1 && c.sampling.temperature == 0);
}

static void what_is_said_arrives(void **state)
{
	struct config_agent c;
	struct err e;

	(void)state;
	assert_int_equal(agent(&c,
			       MINIMAL "split: 3\nthreads: 2\nbroker: {host: h, port: 2000}\n"
				       "memory_budget: 512MiB\nsampling:\n  temperature: 0.75\n"
				       "broker.qos: 1\n",
			       &e),
			 0);
	assert_int_equal(c.split, 3);
	assert_int_equal(c.threads, 2);
	assert_string_equal(c.broker.host, "h");
	assert_int_equal(c.broker.port, 2000);
	assert_int_equal(c.broker.qos, 1);
	assert_true(c.memory_budget_bytes == 512u << 20);
	assert_true(c.sampling.temperature == 0.75);
}

static void fronts_have_names_and_files(void **state)
{
	struct config_agent c;
	struct err e;

	(void)state;
	assert_int_equal(agent(&c,
			       MINIMAL "fronts:\n  Q8_0: {model: fine.gguf}\n"
				       "  Q2_K:\n    model: /m/coarse.gguf\n",
			       &e),
			 0);
	assert_int_equal(c.n_fronts, 2);
	assert_string_equal(c.fronts[0].front, "Q8_0");
	assert_string_equal(c.fronts[0].model, "fine.gguf");
	assert_string_equal(c.fronts[1].front, "Q2_K");
	assert_string_equal(c.fronts[1].model, "/m/coarse.gguf");
	assert_refused(MINIMAL "fronts:\n  a: {modle: x}\n",
		       "a.yaml:4: fronts.a.modle: unknown key; did you mean \"model\"?");
	assert_refused(MINIMAL "fronts: {a: {}, b: {}, c: {}, d: {}, e: {}, f: {}, g: {}, h: {}}\n",
		       "a.yaml:3: fronts.h: more than 7 fronts");
}

static void an_unknown_key_names_line_and_nearest_key(void **state)
{
	(void)state;
	assert_refused(MINIMAL "\nsplti: 3\n",
		       "a.yaml:4: splti: unknown key; did you mean \"split\"?");
	assert_refused("broker:\n  prot: 1\n" MINIMAL,
		       "a.yaml:2: broker.prot: unknown key; did you mean \"broker.port\"?");
	assert_refused("host: x\n" MINIMAL,
		       "a.yaml:1: host: unknown key; did you mean \"broker.host\"?");
	assert_refused("brokr:\n  host: x\n" MINIMAL,
		       "a.yaml:1: brokr: unknown key; did you mean \"broker\"?");
	assert_refused("wonderland: x\n" MINIMAL, "a.yaml:1: wonderland: unknown key");
	assert_refused("broker: x\n" MINIMAL, "a.yaml:1: broker: must be a section");
	assert_refused("worker: x\n" MINIMAL,
		       "a.yaml:1: worker: unknown key here; it is one of splitmq-worker");
	assert_refused("policy: {split: 3}\n" MINIMAL,
		       "a.yaml:1: policy: unknown key here; it is one of splitmq-coordinator");
}

static void a_key_given_twice_is_refused(void **state)
{
	(void)state;
	assert_refused(MINIMAL "agent: b\n", "a.yaml:3: agent: given twice (first on line 1)");
	assert_refused(MINIMAL "broker: {qos: 1}\nbroker.qos: 1\n",
		       "a.yaml:4: broker.qos: given twice (first on line 3)");
	assert_refused(MINIMAL "broker: {qos: 1}\nbroker: {port: 1}\n",
		       "a.yaml:4: broker: given twice (first on line 3)");
}

static void a_wrong_value_names_what_is_allowed(void **state)
{
	(void)state;
	assert_refused(MINIMAL "broker: {port: 0}\n",
		       "a.yaml:3: broker.port: must be an integer 1..65535 or auto, not \"0\"");
	assert_refused(MINIMAL "broker: {port: 65536}\n",
		       "a.yaml:3: broker.port: must be an integer 1..65535 or auto, not \"65536\"");
	assert_refused(MINIMAL "max_sessions: -1\n",
		       "a.yaml:3: max_sessions: must be an integer 1..64, not \"-1\"");
	assert_refused(MINIMAL "max_sessions: 4x\n",
		       "a.yaml:3: max_sessions: must be an integer 1..64, not \"4x\"");
	assert_refused(MINIMAL "max_sessions: 99999999999999999999\n",
		       "a.yaml:3: max_sessions: must be an integer 1..64, not "
		       "\"99999999999999999999\"");
	assert_refused(MINIMAL "sampling: {top_p: 1.5}\n",
		       "a.yaml:3: sampling.top_p: must be a number 0.0001..1, not \"1.5\"");
	assert_refused(MINIMAL "sampling: {top_p: nan}\n",
		       "a.yaml:3: sampling.top_p: must be a number 0.0001..1, not \"nan\"");
	assert_refused(MINIMAL "kv: q8\n",
		       "a.yaml:3: kv: must be one of f16|f32|q8_0|q4_0, not \"q8\"");
	assert_refused("agent: a/b\nmodel: m\n",
		       "a.yaml:1: agent: must be letters, digits, '_', '.' or '-', not \"a/b\"");
	assert_refused(MINIMAL "memory_budget: 5 parsecs\n",
		       "a.yaml:3: memory_budget: unknown unit in \"5 parsecs\" "
		       "(kB, MB, GB, KiB, MiB, GiB, TiB)");
	assert_refused(MINIMAL "memory_budget: 99999999999TiB\n",
		       "a.yaml:3: memory_budget: must be a size of bytes in "
		       "1048576..1000000000000000 or auto, not \"99999999999TiB\"");
}

static void a_value_of_the_wrong_kind_is_refused(void **state)
{
	(void)state;
	assert_refused(MINIMAL "codec: [f16]\n", "a.yaml:3: codec: a list is not possible here");
	assert_refused(MINIMAL "codec:\n  x: 1\n", "a.yaml:3: codec: takes a value, not a section");
	assert_refused(MINIMAL "broker: localhost\n", "a.yaml:3: broker: must be a section");
	assert_refused(MINIMAL "codec:\n",
		       "a.yaml:3: codec: has no value (leave the line out, or write \"\")");
	assert_refused(MINIMAL "codec: \"\"\n", "a.yaml:3: codec: must not be empty");
	assert_refused(MINIMAL "fleet: \"a\\nb\"\n",
		       "a.yaml:3: fleet: a value must be one line of printable text");
	assert_refused("just words\n", "a.yaml:1: not a list of `key: value` lines");
	assert_refused("- agent: a\n", "a.yaml:1: a list is not possible here");
	assert_refused("{agent: a}: b\n", "a.yaml:1: a key must be text");
}

static void an_empty_section_changes_nothing(void **state)
{
	struct config_agent c;
	struct err e;

	(void)state;
	assert_int_equal(agent(&c, MINIMAL "broker:\n  # host: x\nsampling: {}\n", &e), 0);
	assert_string_equal(c.broker.host, "127.0.0.1");
}

static void a_missing_required_key_is_named(void **state)
{
	(void)state;
	assert_refused("model: m\n", "a.yaml: agent: required, but not given");
	assert_refused("agent: a\n", "a.yaml: model: required, but not given");
	assert_refused("", "a.yaml: agent: required, but not given");
	assert_refused("---\n", "a.yaml: agent: required, but not given");
	assert_refused("agent: a\nmodel: \"\"\n", "a.yaml:2: model: required, but not given");
}

static void the_clever_parts_of_yaml_are_refused(void **state)
{
	(void)state;
	assert_refused("agent: &x a\nmodel: *x\n",
		       "a.yaml:1: agent: YAML anchors, aliases and tags are not used here");
	assert_refused("agent: !!str a\n",
		       "a.yaml:1: agent: YAML anchors, aliases and tags are not used here");
	assert_refused("broker: !x {}\n",
		       "a.yaml:1: broker: YAML anchors, aliases and tags are not used here");
	assert_refused(MINIMAL "---\nagent: b\n", "a.yaml:3: a second YAML document");
	assert_refused("a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}\n",
		       "a.yaml:1: a.b.c.d.e.f.g.h: sections are nested too deeply");
	assert_refused("agent: \"a\n", "a.yaml:2: found unexpected end of stream");
	assert_refused("broker:\n\thost: x\n" MINIMAL,
		       "a.yaml:2: found character that cannot start any token (a tab? YAML indents "
		       "with blanks)");
	assert_refused("agent: a\nmodel: \x01\n", "a.yaml:1: control characters are not allowed");
}

static void a_huge_file_is_refused(void **state)
{
	size_t len = ((size_t)1 << 20) + 1;
	char *text = malloc(len);
	struct config_agent c;
	struct err e;

	(void)state;
	assert_non_null(text);
	memset(text, '#', len);
	assert_int_equal(config_parse_agent(&c, "a.yaml", text, len, &e), ERR_LIMIT);
	assert_string_equal(e.text, "a.yaml: larger than 1048576 bytes");
	free(text);
}

static void nothing_is_written_on_failure(void **state)
{
	struct config_agent c, before;
	struct err e;

	(void)state;
	memset(&c, 0x5a, sizeof(c));
	memcpy(&before, &c, sizeof(c));
	assert_int_equal(agent(&c, MINIMAL "kv: q8\n", &e), ERR_CONFIG);
	assert_memory_equal(&c, &before, sizeof(c));
	assert_int_equal(agent(&c, "kv: q8\n", NULL), ERR_CONFIG);
}

static void a_relative_path_starts_at_the_file(void **state)
{
	const char *text = "agent: a\nmodel: ../m.gguf\nbroker: {ca_file: /etc/ca.pem}\n";
	struct config_agent c;
	struct err e;

	(void)state;
	assert_int_equal(config_parse_agent(&c, "/etc/splitmq/a.yaml", text, strlen(text), &e), 0);
	assert_string_equal(c.model, "/etc/splitmq/../m.gguf");
	assert_string_equal(c.broker.ca_file, "/etc/ca.pem");
	assert_string_equal(c.broker.cert_file, "");
	assert_int_equal(agent(&c, text, &e), 0);
	assert_string_equal(c.model, "../m.gguf");
}

static void a_text_of_any_length_fits_or_is_refused(void **state)
{
	char text[CONFIG_TEXT_MAX + 100];
	struct config_agent c;
	struct err e;

	(void)state;
	for (int n = CONFIG_TEXT_MAX - 2; n <= CONFIG_TEXT_MAX + 1; n++) {
		int rc;

		snprintf(text, sizeof(text), MINIMAL "broker: {username: %0*d}\n", n, 7);
		rc = agent(&c, text, &e);
		assert_int_equal(rc, n < CONFIG_TEXT_MAX ? 0 : ERR_CONFIG);
		if (rc)
			assert_string_equal(e.text,
					    "a.yaml:3: broker.username: longer than 255 bytes");
		else
			assert_int_equal(strlen(c.broker.username), n);
	}
}

static void sizes_have_units(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} rows[] = {
		{ "1000000000", 1000000000 },  { "1GiB", 1u << 30 },
		{ "\"512 MiB\"", 512u << 20 }, { "3GB", 3000000000 },
		{ "2048KiB", 2048u << 10 },    { "2TiB", UINT64_C(2) << 40 },
		{ "2000kB", 2000000 },         { "auto", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[100];
		struct config_agent c;
		struct err e;

		snprintf(text, sizeof(text), MINIMAL "memory_budget: %s\n", rows[i].text);
		assert_int_equal(agent(&c, text, &e), 0);
		assert_true(c.memory_budget_bytes == rows[i].bytes);
	}
}

static void tls_and_passwords_come_complete_or_not_at_all(void **state)
{
	struct config_agent c;
	struct err e;

	(void)state;
	assert_int_equal(agent(&c, MINIMAL "broker: {ca_file: ca.pem}\n", &e), 0);
	assert_int_equal(c.broker.port, 8883);
	assert_refused(MINIMAL "broker:\n  ca_file: c\n  cert_file: c\n",
		       "a.yaml:5: broker.cert_file: needs broker.key_file as well");
	assert_refused(MINIMAL "broker:\n  ca_file: c\n  key_file: c\n",
		       "a.yaml:5: broker.key_file: needs broker.cert_file as well");
	assert_refused(MINIMAL "broker:\n  cert_file: c\n  key_file: c\n",
		       "a.yaml:4: broker.cert_file: needs broker.ca_file as well");
	assert_refused(MINIMAL "broker:\n  password: x\n",
		       "a.yaml:4: broker.password: needs broker.username as well");
	assert_refused(MINIMAL "broker:\n  password: x\n  password_file: y\n",
		       "a.yaml:5: broker.password_file: broker.password is given, too; one of "
		       "them must go");
}

static void a_coordinator_has_overrides_by_agent(void **state)
{
	struct config_coordinator c;
	struct err e;

	(void)state;
	assert_int_equal(
		coordinator(&c,
			    "policy: {codec: q8, kv: q8_0}\nagents:\n  gw-1:\n    split: 2\n"
			    "  gw.2: {worker: w1, context_tokens: 64}\n  gw-3:\n",
			    &e),
		0);
	assert_string_equal(c.coordinator, "coordinator");
	assert_string_equal(c.policy.codec, "q8");
	assert_int_equal(c.policy.split, UINT32_MAX);
	assert_int_equal(c.n_agents, 3);
	assert_string_equal(c.agents[0].agent, "gw-1");
	assert_int_equal(c.agents[0].split, 2);
	assert_string_equal(c.agents[0].codec, "");
	assert_string_equal(c.policy.kv, "q8_0");
	assert_string_equal(c.agents[0].kv, "auto");
	assert_string_equal(c.agents[1].agent, "gw.2");
	assert_string_equal(c.agents[1].worker, "w1");
	assert_int_equal(c.agents[1].context_tokens, 64);
	assert_int_equal(c.agents[1].split, UINT32_MAX);
	assert_string_equal(c.agents[2].agent, "gw-3");
}

static void limits_and_objectives_can_be_an_agents_own(void **state)
{
	struct config_coordinator c;
	struct err e;

	(void)state;
	assert_int_equal(
		coordinator(&c,
			    "policy: {objective: bytes}\n"
			    "limits: {ttft_ms: 900, loss: 0.1}\n"
			    "expect: {answer_tokens: 7, epsilon: 0.5}\n"
			    "agents:\n  a: {objective: none, token_ms: 80, loss: 0}\n  b:\n",
			    &e),
		0);
	assert_string_equal(c.policy.objective, "bytes");
	assert_int_equal(c.policy.ttft_ms, 900);
	assert_int_equal(c.policy.token_ms, UINT32_MAX);
	assert_true(c.policy.loss == 0.1);
	assert_int_equal(c.expect.answer_tokens, 7);
	assert_true(c.expect.epsilon == 0.5);
	assert_string_equal(c.agents[0].objective, "none");
	assert_int_equal(c.agents[0].token_ms, 80);
	assert_true(c.agents[0].loss == 0);
	assert_true(c.agents[1].loss != c.agents[1].loss); /* not said */
	assert_int_equal(c.agents[1].ttft_ms, UINT32_MAX);
}

static void wrong_overrides_are_refused(void **state)
{
	static const struct {
		const char *text, *message;
	} rows[] = {
		{ "agents:\n  a: {splt: 1}\n",
		  "c.yaml:2: agents.a.splt: unknown key; did you mean \"split\"?" },
		{ "agents:\n  a: {telemetry_s: 1}\n",
		  "c.yaml:2: agents.a.telemetry_s: unknown key" },
		{ "agents:\n  a: 3\n", "c.yaml:2: agents.a: must be a section" },
		{ "agents: a\n", "c.yaml:1: agents: must be a section" },
		{ "agents:\n  a b:\n    split: 1\n",
		  "c.yaml:2: agents.a b: must be letters, digits, '_', '.' or '-', not \"a b\"" },
		{ "agents:\n  a: {split: x}\n",
		  "c.yaml:2: agents.a.split: must be an integer 0..4096 or auto, not \"x\"" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct config_coordinator c;
		struct err e;

		assert_int_equal(coordinator(&c, rows[i].text, &e), ERR_CONFIG);
		assert_string_equal(e.text, rows[i].message);
	}
}

static void the_65th_override_is_refused(void **state)
{
	char text[8192] = "agents:\n";
	struct config_coordinator c;
	struct err e;

	(void)state;
	for (int i = 0; i <= CONFIG_MAX_AGENTS; i++) {
		size_t n = strlen(text);

		assert_int_equal(coordinator(&c, text, &e), 0);
		assert_int_equal(c.n_agents, i);
		snprintf(text + n, sizeof(text) - n, "  a%d: {split: %d}\n", i, i);
	}
	assert_int_equal(coordinator(&c, text, &e), ERR_CONFIG);
	assert_string_equal(e.text, "c.yaml:66: agents.a64: more than 64 agents");
}

/* ---- files and the environment -------------------------------------------------------------- */

static char folder[] = "/tmp/splitmq-config-XXXXXX";
static char path[sizeof(folder) + 16];

static int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/a.yaml", folder);
	return 0;
}

static int remove_folder(void **state)
{
	char other[sizeof(path) + 8];

	(void)state;
	snprintf(other, sizeof(other), "%s/secret", folder);
	unlink(other);
	unlink(path);
	return rmdir(folder);
}

static void put_file(const char *at, const char *text)
{
	FILE *f = fopen(at, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void the_environment_wins_and_is_blamed(void **state)
{
	struct config_agent c;
	struct err e;

	(void)state;
	put_file(path, "model: m.gguf\nbroker: {port: 2000}\n");
	setenv("SPLITMQ_BROKER_PORT", "3000", 1);
	setenv("SPLITMQ_AGENT", "from-env", 1);
	assert_int_equal(config_load_agent(&c, path, &e), 0);
	assert_int_equal(c.broker.port, 3000);
	assert_string_equal(c.agent, "from-env");
	setenv("SPLITMQ_BROKER_PORT", "x", 1);
	assert_int_equal(config_load_agent(&c, path, &e), ERR_CONFIG);
	assert_string_equal(e.text,
			    "SPLITMQ_BROKER_PORT: must be an integer 1..65535 or auto, not \"x\"");
	setenv("SPLITMQ_BROKER_PORT", "1", 1);
	setenv("SPLITMQ_BROKER_CERT_FILE", "c.pem", 1);
	assert_int_equal(config_load_agent(&c, path, &e), ERR_CONFIG);
	assert_string_equal(e.text, "SPLITMQ_BROKER_CERT_FILE: needs broker.key_file as well");
	unsetenv("SPLITMQ_BROKER_CERT_FILE");
	unsetenv("SPLITMQ_BROKER_PORT");
	unsetenv("SPLITMQ_AGENT");
}

static void a_misspelt_variable_is_warned_about(void **state)
{
	char text[256] = "";
	FILE *f = tmpfile();

	(void)state;
	assert_non_null(f);
	setenv("SPLITMQ_BROKER_HOTS", "x", 1);
	setenv("SPLITMQ_ISA", "ref", 1);
	assert_int_equal(config_warn_environment(f), 1);
	unsetenv("SPLITMQ_BROKER_HOTS");
	unsetenv("SPLITMQ_ISA");
	assert_int_equal(config_warn_environment(f), 0);
	rewind(f);
	assert_non_null(fgets(text, sizeof(text), f));
	assert_string_equal(text, "SPLITMQ_BROKER_HOTS: no key of that name; did you mean "
				  "SPLITMQ_BROKER_HOST?\n");
	fclose(f);
}

static void a_password_can_live_in_its_own_file(void **state)
{
	char secret[sizeof(path) + 8], expected[256];
	struct config_agent c;
	struct err e;

	(void)state;
	snprintf(secret, sizeof(secret), "%s/secret", folder);
	put_file(path, MINIMAL "broker:\n  username: u\n  password_file: secret\n");
	assert_int_equal(config_load_agent(&c, path, &e), ERR_IO);
	snprintf(expected, sizeof(expected),
		 "%s:5: broker.password_file: %s: No such file or directory", path, secret);
	assert_string_equal(e.text, expected);
	put_file(secret, "open sesame\r\nsecond line\n");
	assert_int_equal(config_load_agent(&c, path, &e), 0);
	assert_string_equal(c.broker.password, "open sesame");
	put_file(secret, "\n");
	assert_int_equal(config_load_agent(&c, path, &e), ERR_CONFIG);
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
	struct config_agent c;
	struct err e;

	(void)state;
	assert_int_equal(config_load_agent(&c, "/nowhere/a.yaml", &e), ERR_IO);
	assert_string_equal(e.text, "/nowhere/a.yaml: No such file or directory");
	assert_int_equal(config_load_agent(&c, "/", &e), ERR_IO);
	assert_string_equal(e.text, "/: Is a directory");
}

/* ---- printing and the example files --------------------------------------------------------- */

static char *printed(void (*print)(const void *c, FILE *out), const void *c)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	print(c, f);
	assert_int_equal(fclose(f), 0);
	return text;
}

static void print_agent(const void *c, FILE *out)
{
	config_print_agent(c, out);
}

static void print_worker(const void *c, FILE *out)
{
	config_print_worker(c, out);
}

static void print_coordinator(const void *c, FILE *out)
{
	config_print_coordinator(c, out);
}

static void what_is_printed_loads_again_equal(void **state)
{
	struct config_agent a, b;
	struct config_coordinator c, d;
	char *text, *again;
	struct err e;

	(void)state;
	assert_int_equal(agent(&a, MINIMAL "broker: {username: 'a \"b\" \\ c'}\nsplit: 7\n", &e),
			 0);
	text = printed(print_agent, &a);
	assert_int_equal(agent(&b, text, &e), 0);
	again = printed(print_agent, &b);
	assert_string_equal(text, again);
	assert_string_equal(b.broker.username, "a \"b\" \\ c");
	assert_int_equal(b.split, 7);
	free(text);
	free(again);

	assert_int_equal(coordinator(&c, "agents: {x.y: {split: 1}, z: {codec: f32}}\n", &e), 0);
	text = printed(print_coordinator, &c);
	assert_int_equal(coordinator(&d, text, &e), 0);
	assert_memory_equal(&c, &d, sizeof(c));
	free(text);
}

static void a_password_is_not_printed(void **state)
{
	struct config_agent c;
	struct err e;
	char *text;

	(void)state;
	assert_int_equal(agent(&c, MINIMAL "broker: {username: u, password: sesame}\n", &e), 0);
	text = printed(print_agent, &c);
	assert_null(strstr(text, "sesame"));
	assert_non_null(strstr(text, "  password: \"********\"\n"));
	free(text);
}

/* The example says every key, with the value that it has when it is not said. */
static void assert_example(const char *name, char *from_example, char *from_nothing)
{
	char at[4096];
	char *example, *line, *rest;
	FILE *f;
	size_t n;

	assert_string_equal(from_example, from_nothing);
	snprintf(at, sizeof(at), "%s/config/%s", getenv("SPLITMQ_ROOT"), name);
	f = fopen(at, "r");
	example = calloc(1, 65536);
	assert_non_null(f);
	assert_non_null(example);
	n = fread(example, 1, 65535, f);
	assert_in_range(n, 1, 65534);
	fclose(f);
	for (line = strtok_r(from_nothing, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char key[300];

		snprintf(key, sizeof(key), "\n%.*s", (int)strcspn(line, ":") + 1, line);
		if (!strstr(example, key))
			fail_msg("config/%s does not say%s", name, key);
	}
	free(example);
	free(from_example);
	free(from_nothing);
}

static void the_example_files_show_every_key_with_its_default(void **state)
{
	const char *root = getenv("SPLITMQ_ROOT");
	struct config_agent a, a0;
	struct config_worker w, w0;
	struct config_coordinator c, c0;
	char at[4096], text[4200];
	struct err e;

	(void)state;
	assert_non_null(root);
	snprintf(at, sizeof(at), "%s/config/agent.yaml", root);
	assert_int_equal(config_load_agent(&a, at, &e), 0);
	snprintf(text, sizeof(text), "agent: gateway-1\nmodel: %s\n", a.model);
	assert_int_equal(agent(&a0, text, &e), 0);
	assert_example("agent.yaml", printed(print_agent, &a), printed(print_agent, &a0));

	snprintf(at, sizeof(at), "%s/config/worker.yaml", root);
	assert_int_equal(config_load_worker(&w, at, &e), 0);
	snprintf(text, sizeof(text), "worker: worker-1\nmodel: %s\n", w.model);
	assert_int_equal(config_parse_worker(&w0, "w", text, strlen(text), &e), 0);
	assert_example("worker.yaml", printed(print_worker, &w), printed(print_worker, &w0));

	snprintf(at, sizeof(at), "%s/config/coordinator.yaml", root);
	assert_int_equal(config_load_coordinator(&c, at, &e), 0);
	assert_int_equal(coordinator(&c0, "", &e), 0);
	assert_example("coordinator.yaml", printed(print_coordinator, &c),
		       printed(print_coordinator, &c0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_said_has_its_default),
		cmocka_unit_test(what_is_said_arrives),
		cmocka_unit_test(fronts_have_names_and_files),
		cmocka_unit_test(an_unknown_key_names_line_and_nearest_key),
		cmocka_unit_test(a_key_given_twice_is_refused),
		cmocka_unit_test(a_wrong_value_names_what_is_allowed),
		cmocka_unit_test(a_value_of_the_wrong_kind_is_refused),
		cmocka_unit_test(an_empty_section_changes_nothing),
		cmocka_unit_test(a_missing_required_key_is_named),
		cmocka_unit_test(the_clever_parts_of_yaml_are_refused),
		cmocka_unit_test(a_huge_file_is_refused),
		cmocka_unit_test(nothing_is_written_on_failure),
		cmocka_unit_test(a_relative_path_starts_at_the_file),
		cmocka_unit_test(a_text_of_any_length_fits_or_is_refused),
		cmocka_unit_test(sizes_have_units),
		cmocka_unit_test(tls_and_passwords_come_complete_or_not_at_all),
		cmocka_unit_test(a_coordinator_has_overrides_by_agent),
		cmocka_unit_test(limits_and_objectives_can_be_an_agents_own),
		cmocka_unit_test(wrong_overrides_are_refused),
		cmocka_unit_test(the_65th_override_is_refused),
		cmocka_unit_test(the_environment_wins_and_is_blamed),
		cmocka_unit_test(a_misspelt_variable_is_warned_about),
		cmocka_unit_test(a_password_can_live_in_its_own_file),
		cmocka_unit_test(a_file_that_cannot_be_read_is_named),
		cmocka_unit_test(what_is_printed_loads_again_equal),
		cmocka_unit_test(a_password_is_not_printed),
		cmocka_unit_test(the_example_files_show_every_key_with_its_default),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
