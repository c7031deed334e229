/* tools/capture.h - what agents and workers said, as far as one agent's plan needs it.
 *
 * A profile file is what mosquitto_sub prints: a message a line, as on the wire, with or without
 * its topic before it. The newest message of a kind counts. One thread. */
#ifndef TOOLS_CAPTURE_H
#define TOOLS_CAPTURE_H

#include "schema/msg.h"

#define CAPTURE_WORKERS 32

struct capture_worker {
	char name[TOPIC_NAME_MAX + 1];
	bool has_status, has_telemetry;
	struct msg_worker_status status;
	struct msg_telemetry telemetry;
};

struct capture {
	char agent[TOPIC_NAME_MAX + 1]; /* whose; empty at first: the first that speaks */
	char other[TOPIC_NAME_MAX + 1]; /* one that is not asked for and told its profile, too */
	bool has_profile, has_telemetry, has_decision;
	struct msg profile; /* owned */
	struct msg_telemetry telemetry;
	struct msg_decision decision;
	struct capture_worker workers[CAPTURE_WORKERS];
	uint32_t n_workers;
};

void capture_finish(struct capture *c);

/* One message, [len]. What is of other agents, or of no use for a plan, is passed over. As
 * msg_parse; ERR_LIMIT: too many workers. */
MUST_CHECK int capture_message(struct capture *c, const char *text, size_t len, struct err *e);

/* All lines of the text of a file, [len]; errors name it and the line. */
MUST_CHECK int capture_lines(struct capture *c, const char *name, const char *text, size_t len,
			     struct err *e);

/* Profile and telemetry of the agent, status and telemetry of each worker are there. */
bool capture_is_whole(const struct capture *c);

#endif
