/* tests/test_options.c - tables of options: what is read, what is refused in which words, what
 * --help says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/daemon.h"
#include "daemon/options.h"

#define SEE_HELP " (see: tool do --help)\n"

struct conf {
	const char *model, *in, *out;
	uint32_t tokens, threads, delay_us;
	uint64_t seed, rate_bit_s;
	double temperature;
	float top_p;
	struct options_list batch;
	unsigned parts;
	bool json, has_threads;
};

static int take_part(void *place, const char *text, struct err *e)
{
	struct conf *c = place;

	if (strcmp(text, "a") && strcmp(text, "b"))
		return err_set(e, ERR_USAGE, "must be a or b, not \"%s\"", text);
	c->parts |= text[0] == 'a' ? 1 : 2;
	return 0;
}

static const struct options_row options[] = {
	{ 0, "IN", NULL, OPTIONS_TEXT(struct conf, in), .operand = true, .help = "what is read" },
	{ 0, "OUT", NULL, OPTIONS_TEXT(struct conf, out), .operand = true,
	  .help = "what is written" },
	{ 'm', "model", "FILE", OPTIONS_TEXT(struct conf, model), .help = "GGUF file",
	  .needed = true },
	{ 't', "threads", "N", OPTIONS_U32(struct conf, threads, 1, 64), .help = "threads",
	  .preset = "all processors", .given = OPTIONS_GIVEN(struct conf, has_threads) },
	{ 'n', "tokens", "N", OPTIONS_U32(struct conf, tokens, 3, 4096), .help = "length",
	  .unit = "tokens" },
	{ 0, "delay-ms", "D", OPTIONS_SCALED_U32(struct conf, delay_us, 0, 60000, 1000),
	  .help = "delay of a link whose description is longer than what is left of a line of "
		  "eighty columns",
	  .unit = "ms" },
	{ 0, "rate-kbit", "R", OPTIONS_SCALED_U64(struct conf, rate_bit_s, 0, 1e8, 1000),
	  .help = "rate", .unit = "kbit/s" },
	{ 0, "seed", "S", OPTIONS_U64(struct conf, seed, 0, OPTIONS_ANY), .help = "seed" },
	{ 0, "temp", "T", OPTIONS_F64(struct conf, temperature, 0, 10), .help = "temperature" },
	{ 0, "top-p", "P", OPTIONS_F32(struct conf, top_p, 0, 1), .help = "top p" },
	{ 'b', "batch", "LIST", OPTIONS_LIST(struct conf, batch, 1, 128, 3), .help = "sessions" },
	{ 0, "part", "WHAT", OPTIONS_TAKEN_ALL(take_part), .help = "may be given again" },
	{ 0, "json", NULL, OPTIONS_FLAG(struct conf, json), .help = "JSON instead of text" },
};

static const struct options_table table = {
	.program = "tool do",
	.summary = "does it",
	.synopsis = "IN OUT\nIN",
	.about = "First.\n  $ verbatim   it is\nLast.",
	OPTIONS_ROWS(options),
};

static struct conf conf;
static char said[8192]; /* on the stream that was listened to */

/* Read "tool " and words with blanks between them; said: what came on stream fd. */
static int read_listening(int fd, const char *words)
{
	static char text[512]; /* conf points into it */
	char *argv[32];
	FILE *f = tmpfile();
	const int was = dup(fd);
	int argc = 0, rc;
	size_t n;

	snprintf(text, sizeof(text), "do %s", words);
	for (char *w = strtok(text, " "); w; w = strtok(NULL, " "))
		argv[argc++] = w;
	conf = (struct conf){
		.tokens = 64, .delay_us = 1500, .batch = { { 1, 4 }, 2 }, .top_p = 1
	};
	assert_non_null(f);
	fflush(stdout);
	assert_true(was >= 0 && dup2(fileno(f), fd) == fd);
	rc = options_read(&table, &conf, argc, argv);
	fflush(stdout);
	assert_int_equal(dup2(was, fd), fd);
	close(was);
	rewind(f);
	n = fread(said, 1, sizeof(said) - 1, f);
	said[n] = '\0';
	fclose(f);
	return rc;
}

static void assert_good(const char *words)
{
	const int rc = read_listening(STDERR_FILENO, words);

	if (rc != OPTIONS_GO_ON || said[0])
		fail_msg("\"%s\": %d, %s", words, rc, said);
}

/* Wrong usage, said in one line that has this in it. */
static void assert_wrong(const char *words, const char *why)
{
	const int rc = read_listening(STDERR_FILENO, words);
	const size_t len = strlen(said), tail = strlen(SEE_HELP);

	if (rc != 2 || !strstr(said, why) || strncmp(said, "tool do: ", 9) || len < tail ||
	    strcmp(said + len - tail, SEE_HELP) || strchr(said, '\n') != said + len - 1)
		fail_msg("\"%s\": %d, %s", words, rc, said);
}

static void every_kind_finds_its_place(void **state)
{
	(void)state;
	assert_good("-m a.gguf -t 3 --tokens=9 --delay-ms 2.5 --rate-kbit 1000 --seed "
		    "18446744073709551615 --temp 0.7 --top-p 0.5 -b 8,16,128 --part b --part a "
		    "--json x y");
	assert_string_equal(conf.model, "a.gguf");
	assert_int_equal(conf.threads, 3);
	assert_true(conf.has_threads);
	assert_int_equal(conf.tokens, 9);
	assert_int_equal(conf.delay_us, 2500);
	assert_true(conf.rate_bit_s == 1000000);
	assert_true(conf.seed == UINT64_MAX);
	assert_true(fabs(conf.temperature - 0.7) < 1e-9 && fabsf(conf.top_p - 0.5f) < 1e-9f);
	assert_int_equal(conf.batch.n, 3);
	assert_memory_equal(conf.batch.v, ((uint32_t[]){ 8, 16, 128 }), 12);
	assert_int_equal(conf.parts, 3);
	assert_true(conf.json);
	assert_string_equal(conf.in, "x");
	assert_string_equal(conf.out, "y");
}

static void what_is_not_given_stays(void **state)
{
	(void)state;
	assert_good("x -m a");
	assert_int_equal(conf.tokens, 64);
	assert_int_equal(conf.batch.n, 2);
	assert_false(conf.has_threads || conf.json || conf.parts);
	assert_string_equal(conf.in, "x");
	assert_null(conf.out);
}

static void words_may_stand_anywhere_and_be_shortened(void **state)
{
	(void)state;
	assert_good("x --mod a --js -- -y");
	assert_string_equal(conf.model, "a");
	assert_true(conf.json);
	assert_string_equal(conf.out, "-y");
	assert_wrong("-m a --t 3", "--t may be --threads or --tokens");
}

static void numbers_beyond_their_limits_are_refused_with_them(void **state)
{
	(void)state;
	assert_wrong("-m a -t 65", "--threads must be an integer in 1..64, not \"65\"");
	assert_wrong("-m a -t 0", "1..64");
	assert_wrong("-m a -t -1", "1..64");
	assert_wrong("-m a -t 2x", "not \"2x\"");
	assert_wrong("-m a -t 4294967297", "1..64"); /* 1 when cut to 32 bits */
	assert_wrong("-m a -n 2", "--tokens must be an integer in 3..4096 tokens, not \"2\"");
	assert_wrong("-m a --seed 18446744073709551616", "--seed must be an integer, not");
	assert_wrong("-m a --delay-ms 60001", "--delay-ms must be a number in 0..60000 ms");
	assert_wrong("-m a --temp nan", "--temp must be a number in 0..10, not \"nan\"");
	assert_wrong("-m a --temp -0.1", "0..10");
	assert_wrong("-m a --top-p 1.5", "0..1");
}

static void lists_are_refused_as_a_whole(void **state)
{
	static const char *const bad[] = { "-b 1,2,3,4", "-b 0", "-b 129", "-b 1,",
					   "-b ,1",      "-b x", "-b 1;2", "-b 1,,2" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_wrong(bad[i], "--batch must be up to 3 numbers in 1..128, not \"");
		assert_int_equal(conf.batch.n, 2);
	}
}

static void what_is_unknown_is_named_with_what_may_be_meant(void **state)
{
	(void)state;
	assert_wrong("-m a --thraeds 3", "--thraeds: no such option; is --threads meant?");
	assert_wrong("-m a --Jsno", "is --json meant?");
	assert_wrong("-m a --takes 3", "--takes: no such option (see");
	assert_wrong("-m a --wonderful=3", "--wonderful: no such option (see");
	assert_wrong("-m a -xj", "-x: no such option");
	assert_wrong("-m a --json=1", "--json takes no value");
	assert_wrong("--tokens", "--tokens: its value N is missing");
	assert_wrong("-m", "--model: its value FILE is missing");
	assert_wrong("-m a x y z", "what is \"z\"?");
	assert_wrong("x", "-m FILE is missing");
	assert_wrong("-m a --part c", "--part must be a or b, not \"c\"");
}

static void assert_told(const char *line)
{
	if (!strstr(said, line))
		fail_msg("\"%s\" is not in\n%s", line, said);
}

static void help_tells_limits_units_and_defaults(void **state)
{
	size_t longest = 0;

	(void)state;
	assert_int_equal(read_listening(STDOUT_FILENO, "-n 9 --wonderful -h"), 0);
	assert_true(said == strstr(said,
				   "tool do - does it\n\nusage: tool do IN OUT\n"
				   "       tool do IN\n\nFirst.\n  $ verbatim   it is\nLast.\n\n"
				   "  IN "));
	assert_told("  -t, --threads N    threads (1..64; default: all processors)\n");
	assert_told("  -n, --tokens N     length (3..4096 tokens; default: 64)\n"); /* not 9 */
	assert_told("      --delay-ms D   delay of a link whose");
	assert_told("\n                     ");
	assert_told("columns (0..60000 ms; default:\n                     1.5)\n");
	assert_told("  -b, --batch LIST   sessions (1..128; default: 1,4)\n");
	assert_told("      --seed S       seed (default: 0)\n");
	assert_told("      --top-p P      top p (0..1; default: 1)\n");
	assert_told("      --json         JSON instead of text\n");
	assert_told("  -h, --help         this text\n");
	for (const char *at = said; *at; at += strcspn(at, "\n") + 1)
		longest = strcspn(at, "\n") > longest ? strcspn(at, "\n") : longest;
	assert_true(longest <= 80);
}

static void a_daemon_has_traces_or_not(void **state)
{
	char *argv[] = { "bin/daemon", "-c", "a.yaml", "--trace", "t.json", NULL };
	struct daemon_args args;

	(void)state;
	assert_int_equal(daemon_parse(&args, 5, argv, "what it is", "1", true), -1);
	assert_string_equal(args.config, "a.yaml");
	assert_string_equal(args.trace, "t.json");
	assert_false(args.check || args.print_config);
	assert_int_equal(daemon_parse(&args, 5, argv, "what it is", "1", false), 2);
	assert_int_equal(daemon_parse(&args, 1, argv, "what it is", "1", false), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_finds_its_place),
		cmocka_unit_test(what_is_not_given_stays),
		cmocka_unit_test(words_may_stand_anywhere_and_be_shortened),
		cmocka_unit_test(numbers_beyond_their_limits_are_refused_with_them),
		cmocka_unit_test(lists_are_refused_as_a_whole),
		cmocka_unit_test(what_is_unknown_is_named_with_what_may_be_meant),
		cmocka_unit_test(help_tells_limits_units_and_defaults),
		cmocka_unit_test(a_daemon_has_traces_or_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
