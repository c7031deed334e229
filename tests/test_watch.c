/* `splitmq watch` as a process, beside a real mosquitto. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codec/plain.h"
#include "schema/json.h"
#include "schema/wire.h"
#include "tests/bus_box.h"

struct child {
	pid_t pid;
	FILE *out, *err;
};

/* splitmq watch -c agent.yaml and up to two more words. */
static void spawn(struct child *c, const char *conf, const char *a, const char *b)
{
	const char *splitmq = getenv("SPLITMQ_TOOL");
	int out[2], err[2];

	assert_non_null(splitmq);
	assert_int_equal(pipe(out), 0);
	assert_int_equal(pipe(err), 0);
	c->pid = fork();
	if (c->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out[1], STDOUT_FILENO);
		dup2(err[1], STDERR_FILENO);
		execl(splitmq, splitmq, "watch", "-c", conf, a, b, (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	close(err[1]);
	c->out = fdopen(out[0], "r");
	c->err = fdopen(err[0], "r");
}

static void read_line(FILE *f, char *line, size_t cap)
{
	if (!fgets(line, (int)cap, f))
		fail_msg("the output ended early");
	line[strcspn(line, "\n")] = '\0';
}

/* Its exit status, once its output has been read to the end. */
static int finish(struct child *c)
{
	int status;

	while (fgetc(c->out) != EOF)
		;
	fclose(c->out);
	fclose(c->err);
	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static const char *agent_conf(void)
{
	char text[200];

	snprintf(text, sizeof(text),
		 "fleet: site1\nagent: gw\nmodel: none.gguf\nbroker:\n  port: %u\n",
		 broker_port(box_broker));
	broker_write(box_broker, "agent.yaml", text);
	return broker_path(box_broker, "agent.yaml");
}

/* Wait until the child is subscribed. */
static void await_connected(struct child *c)
{
	char line[400];

	read_line(c->err, line, sizeof(line));
	assert_non_null(strstr(line, "connected to 127.0.0.1"));
}

static size_t rows_frame(uint8_t *dst, size_t cap)
{
	static const float x[2][4] = { { 1, -2, 3, 0 }, { 0.5, 0, 0, -4 } };
	struct wire_hdr h = {
		.kind = WIRE_ROWS,
		.flags = WIRE_SAMPLE,
		.codec = PLAIN_F16,
		.session = 0xabc,
		.epoch = 1,
		.seq = 7,
		.pos = 40,
		.rows = 2,
		.dim = 4,
		.split = 2,
	};
	struct err e;
	size_t len;

	if (plain_encode(PLAIN_F16, x[0], 4, 2, dst + WIRE_HDR_LEN, cap - WIRE_HDR_LEN, &len, &e))
		fail_msg("%s", e.text);
	h.body_len = (uint32_t)len;
	wire_put_hdr(dst, &h, dst + WIRE_HDR_LEN);
	return WIRE_HDR_LEN + len;
}

static void publish(struct box *x, const char *topic, const void *payload, size_t len)
{
	struct bus_publish p = { .topic = topic, .payload = payload, .len = len, .qos = 1 };

	assert_int_equal(bus_publish(x->bus, &p), 0);
}

#define UP "splitmq/v1/site1/session/w/gw/0000000000000abc/up"

/* A status, a frame, a cut frame, text that is no JSON, nothing at all, a probe. */
static void publish_some(struct box *x)
{
	static const char cancel[] = "{\"type\":\"cancel\",\n \"id\": \"1\", \"extra\":2}";
	uint8_t frame[256];
	size_t len = rows_frame(frame, sizeof(frame));

	publish(x, "splitmq/v1/site1/agent/gw/prompt", cancel, sizeof(cancel) - 1);
	publish(x, "splitmq/v1/elsewhere/agent/gw/prompt", cancel, sizeof(cancel) - 1);
	publish(x, UP, frame, len);
	publish(x, UP, frame, len - 1);
	publish(x, "splitmq/v1/site1/odd", "{odd", 4);
	publish(x, "splitmq/v1/site1/odd", NULL, 0);
	publish(x, "splitmq/v1/site1/agent/gw/probe", "\0\1{", 3);
}

static void text_shows_messages_and_frames(void **state)
{
	struct child c;
	struct box x;
	char line[600];

	(void)state;
	box_need_broker();
	spawn(&c, agent_conf(), "-n6", NULL);
	await_connected(&c);
	box_open_up(&x, box_broker, "x");
	publish_some(&x);
	read_line(c.out, line, sizeof(line));
	assert_string_equal(line + 13, "splitmq/v1/site1/agent/gw/prompt "
				       "{\"type\":\"cancel\",\"id\":\"1\",\"extra\":2}");
	read_line(c.out, line, sizeof(line));
	assert_string_equal(
		line + 13, UP
		" rows session=0000000000000abc epoch=1 seq=7 pos=40 rows=2 dim=4 split=2 sample "
		"f16 16.00 bit/element (16 bytes) min=-4 max=3 rms=1.945");
	read_line(c.out, line, sizeof(line));
	assert_non_null(strstr(line, UP " (63 bytes: "));
	read_line(c.out, line, sizeof(line));
	assert_non_null(strstr(line, "splitmq/v1/site1/odd (4 bytes: "));
	read_line(c.out, line, sizeof(line));
	assert_string_equal(line + 13, "splitmq/v1/site1/odd (empty)");
	read_line(c.out, line, sizeof(line));
	assert_string_equal(line + 13, "splitmq/v1/site1/agent/gw/probe probe (3 bytes)");
	assert_int_equal(finish(&c), 0);
	box_close(&x);
}

/* A line of --json: the whole object. */
static struct json *parse(FILE *f)
{
	char line[1200];
	struct json *o;
	struct err e;

	read_line(f, line, sizeof(line));
	if (json_parse(&o, line, strlen(line), &e))
		fail_msg("%s: %s", e.text, line);
	return o;
}

static void json_shows_one_object_per_message(void **state)
{
	struct child c;
	struct json *o;
	struct box x;
	const char *s;
	struct err e;
	double bits;

	(void)state;
	box_need_broker();
	spawn(&c, agent_conf(), "-n6", "--json");
	await_connected(&c);
	box_open_up(&x, box_broker, "x");
	publish_some(&x);
	o = parse(c.out);
	assert_int_equal(json_get_str(json_get(o, "message"), "id", true, 10, &s, &e), 0);
	assert_string_equal(s, "1");
	json_free(o);
	o = parse(c.out);
	assert_int_equal(
		json_get_f64(json_get(o, "frame"), "bits_per_element", true, 0, 99, &bits, &e), 0);
	assert_true(bits == 16);
	assert_null(json_get(o, "error"));
	json_free(o);
	for (int i = 0; i < 2; i++) {
		o = parse(c.out);
		assert_int_equal(json_get_str(o, "error", true, 240, &s, &e), 0);
		assert_null(json_get(o, "frame"));
		json_free(o);
	}
	for (int i = 0; i < 2; i++) {
		o = parse(c.out);
		assert_null(json_get(o, "error"));
		json_free(o);
	}
	assert_int_equal(finish(&c), 0);
	box_close(&x);
}

static void a_filter_and_ctrl_c_do_what_they_should(void **state)
{
	struct child c;
	struct box x;
	char line[600];

	(void)state;
	box_need_broker();
	spawn(&c, agent_conf(), "+/v1/elsewhere/#", NULL);
	await_connected(&c);
	box_open_up(&x, box_broker, "x");
	publish_some(&x);
	read_line(c.out, line, sizeof(line));
	assert_non_null(strstr(line, " splitmq/v1/elsewhere/agent/gw/prompt "));
	kill(c.pid, SIGINT);
	assert_int_equal(finish(&c), 0);
	box_close(&x);
}

static void what_is_wrong_is_said(void **state)
{
	struct child c;
	char line[400];

	(void)state;
	box_need_broker();
	spawn(&c, "/no/such.yaml", NULL, NULL);
	read_line(c.err, line, sizeof(line));
	assert_string_equal(line, "splitmq watch: /no/such.yaml: No such file or directory");
	assert_int_equal(finish(&c), 1);
	broker_write(box_broker, "worker.yaml", "worker: w\nmodel: m\nbroker:\n  prot: 1\n");
	spawn(&c, broker_path(box_broker, "worker.yaml"), NULL, NULL);
	read_line(c.err, line, sizeof(line));
	assert_non_null(strstr(line, "worker.yaml:4: "));
	assert_non_null(strstr(line, "broker.prot"));
	assert_int_equal(finish(&c), 1);
	spawn(&c, agent_conf(), "a/#/b", NULL);
	read_line(c.err, line, sizeof(line));
	assert_string_equal(line, "splitmq watch: \"a/#/b\" is not a topic filter");
	assert_int_equal(finish(&c), 1);
}

static void a_broker_that_is_not_there_is_told_of_once(void **state)
{
	struct child c;
	char line[400];

	(void)state;
	box_need_broker();
	broker_write(box_broker, "away.yaml", "agent: gw\nmodel: none.gguf\nbroker:\n  port: 1\n");
	spawn(&c, broker_path(box_broker, "away.yaml"), NULL, NULL);
	read_line(c.err, line, sizeof(line));
	assert_non_null(strstr(line, "refused"));
	sleep(3); /* it tries again within 1 s, 2 s, ... */
	kill(c.pid, SIGINT);
	assert_null(fgets(line, sizeof(line), c.err));
	assert_int_equal(finish(&c), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_shows_messages_and_frames),
		cmocka_unit_test(json_shows_one_object_per_message),
		cmocka_unit_test(a_filter_and_ctrl_c_do_what_they_should),
		cmocka_unit_test(what_is_wrong_is_said),
		cmocka_unit_test(a_broker_that_is_not_there_is_told_of_once),
	};

	return cmocka_run_group_tests(tests, box_start_broker, box_stop_broker);
}
