#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/scenario.h"

static int parse(struct scenario *s, const char *text, struct err *e)
{
	return scenario_parse(s, "s.yaml", text, strlen(text), e);
}

static void assert_refused(const char *text, const char *message)
{
	struct scenario s;
	struct err e = { 0 };

	assert_int_equal(parse(&s, text, &e), ERR_CONFIG);
	assert_string_equal(e.text, message);
}

static void what_is_not_said_has_its_default(void **state)
{
	struct scenario s;
	struct err e;

	(void)state;
	assert_int_equal(parse(&s, "", &e), 0);
	assert_int_equal(s.agents, 100);
	assert_int_equal(s.seed, 1);
	assert_int_equal(s.agent.memory_mib.kind, DRAW_LOGNORMAL);
	assert_true(s.agent.memory_mib.at[0] == 800 && s.agent.memory_mib.at[1] == 0.5);
	assert_int_equal(s.agent.threads.n, 3);
	assert_int_equal(s.model.n_fronts, 2);
	assert_string_equal(s.model.fronts[1].name, "Q4_0");
	assert_true(s.model.fronts[1].bits == 4.5);
}

static void what_is_said_arrives(void **state)
{
	struct scenario s;
	struct err e;

	(void)state;
	assert_int_equal(parse(&s,
			       "seed: 7\nagents: 10000\nlink:\n  rtt_ms: choice( 10,20 , 40 )\n"
			       "  up_kbit_s: 250\n  down_kbit_s: uniform(1e3, 2e3)\n"
			       "model:\n  fronts: ' F16:16 '\n",
			       &e),
			 0);
	assert_int_equal(s.seed, 7);
	assert_int_equal(s.agents, 10000);
	assert_int_equal(s.link.rtt_ms.kind, DRAW_CHOICE);
	assert_int_equal(s.link.rtt_ms.n, 3);
	assert_true(s.link.rtt_ms.at[2] == 40);
	assert_int_equal(s.link.up_kbit_s.kind, DRAW_FIXED);
	assert_true(s.link.up_kbit_s.at[0] == 250);
	assert_true(s.link.down_kbit_s.at[0] == 1000 && s.link.down_kbit_s.at[1] == 2000);
	assert_int_equal(s.model.n_fronts, 1);
	assert_string_equal(s.model.fronts[0].name, "F16");
}

#define SHAPE                                                                                      \
	"must be a number, uniform(LOW, HIGH), lognormal(MEDIAN, DEVIATION) or choice(A, B, "      \
	"...), "

static void what_cannot_be_drawn_names_line_and_key(void **state)
{
	static const char *const malformed[] = { "uniform",      "uniform(1)",
						 "uniform(1, 2", "uniform(1,2,3)",
						 "normal(1, 2)", "choice()",
						 "1 2",          "choice(1,)",
						 "nan" };
	char text[100], message[300];

	(void)state;
	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
		snprintf(text, sizeof(text), "link:\n  rtt_ms: %s\n", malformed[i]);
		snprintf(message, sizeof(message), "s.yaml:2: link.rtt_ms: " SHAPE "not \"%s\"",
			 malformed[i]);
		assert_refused(text, message);
	}
	assert_refused("link:\n  rtt_ms: choice(1,2,3,4,5,6,7,8,9)\n",
		       "s.yaml:2: link.rtt_ms: " SHAPE "not \"choice(1,2,3,4,5,6,7,8,9)\"");
	assert_refused("link: {rtt_ms: -1}\n",
		       "s.yaml:1: link.rtt_ms: must be within 0..100000, not -1");
	assert_refused("link: {rtt_ms: 'uniform(1, 1e9)'}\n",
		       "s.yaml:1: link.rtt_ms: must be within 0..100000, not 1000000000");
	assert_refused("link: {rtt_ms: 'uniform(5, 1)'}\n",
		       "s.yaml:1: link.rtt_ms: the low end 5 is above the high end 1");
	assert_refused("link: {rtt_ms: 'lognormal(0, 1)'}\n",
		       "s.yaml:1: link.rtt_ms: the median of a lognormal must be above 0");
	assert_refused("link: {rtt_ms: 'lognormal(5, 11)'}\n",
		       "s.yaml:1: link.rtt_ms: the deviation of a lognormal must be 0..10");
}

static void a_wrong_key_or_front_end_is_named(void **state)
{
	(void)state;
	assert_refused("agent:\n  memory: 5\n",
		       "s.yaml:2: agent.memory: unknown key; did you mean \"agent.memory_mib\"?");
	assert_refused("fleet: x\n",
		       "s.yaml:1: fleet: unknown key here; it is one of splitmq-agent");
	assert_refused("agents: 0\n", "s.yaml:1: agents: must be an integer 1..20000, not \"0\"");
	assert_refused("model:\n  fronts: Q4_0\n",
		       "s.yaml:2: model.fronts: must be NAME:BITS with 1..32 bits per number, "
		       "not \"Q4_0\"");
	assert_refused("model: {fronts: 'Q4_0:4.5 Q4_0:4'}\n",
		       "s.yaml:1: model.fronts: Q4_0 is named twice");
	assert_refused("model: {fronts: 'Q4_0:99'}\n",
		       "s.yaml:1: model.fronts: must be NAME:BITS with 1..32 bits per number, "
		       "not \"Q4_0:99\"");
	assert_refused("model: {fronts: ''}\n",
		       "s.yaml:1: model.fronts: must name a precision, such as Q4_0:4.5");
	assert_refused("model: {fronts: 'a:1 b:1 c:1 d:1 e:1 f:1 g:1 h:1 i:1'}\n",
		       "s.yaml:1: model.fronts: more than 8 precisions");
}

static char *printed(const struct scenario *s)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	scenario_print(s, f);
	assert_int_equal(fclose(f), 0);
	return text;
}

static void what_is_printed_is_read_again(void **state)
{
	struct scenario s, again;
	char *first, *second;
	struct err e;

	(void)state;
	assert_int_equal(parse(&s, "seed: 9\nsession: {prompt_tokens: 'choice(3,4.5)'}\n", &e), 0);
	first = printed(&s);
	assert_int_equal(parse(&again, first, &e), 0);
	second = printed(&again);
	assert_string_equal(first, second);
	assert_non_null(strstr(first, "prompt_tokens: choice(3, 4.5)\n"));
	free(first);
	free(second);
}

/* The example says every key, with the value that it has when it is not said. */
static void the_example_shows_every_key_with_its_default(void **state)
{
	char path[4096], *from_example, *from_nothing, *line, *rest, *example;
	struct scenario s, s0;
	struct err e;
	FILE *f;

	(void)state;
	snprintf(path, sizeof(path), "%s/config/scenario.yaml", getenv("SPLITMQ_ROOT"));
	assert_int_equal(scenario_load(&s, path, &e), 0);
	assert_int_equal(parse(&s0, "", &e), 0);
	from_example = printed(&s);
	from_nothing = printed(&s0);
	assert_string_equal(from_example, from_nothing);
	example = calloc(1, 65536);
	f = fopen(path, "r");
	assert_non_null(example);
	assert_non_null(f);
	assert_in_range(fread(example, 1, 65535, f), 1, 65534);
	fclose(f);
	for (line = strtok_r(from_nothing, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char key[300];

		snprintf(key, sizeof(key), "\n%.*s", (int)strcspn(line, ":") + 1, line);
		if (!strstr(example, key))
			fail_msg("config/scenario.yaml does not say%s", key);
	}
	free(example);
	free(from_example);
	free(from_nothing);
}

static void the_environment_changes_nothing(void **state)
{
	char path[4096];
	struct scenario s;
	struct err e;

	(void)state;
	snprintf(path, sizeof(path), "%s/config/scenario.yaml", getenv("SPLITMQ_ROOT"));
	assert_int_equal(setenv("SPLITMQ_AGENTS", "7", 1), 0);
	assert_int_equal(scenario_load(&s, path, &e), 0);
	assert_int_equal(s.agents, 100);
	unsetenv("SPLITMQ_AGENTS");
	assert_int_equal(scenario_load(&s, "/nowhere/s.yaml", &e), ERR_IO);
	assert_string_equal(e.text, "/nowhere/s.yaml: No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_said_has_its_default),
		cmocka_unit_test(what_is_said_arrives),
		cmocka_unit_test(what_cannot_be_drawn_names_line_and_key),
		cmocka_unit_test(a_wrong_key_or_front_end_is_named),
		cmocka_unit_test(what_is_printed_is_read_again),
		cmocka_unit_test(the_example_shows_every_key_with_its_default),
		cmocka_unit_test(the_environment_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
