/* schema/topic.h - names of topics (schema/PROTOCOL.md, section "Topics").
 *
 * Fleet, agent, worker and model names are 1..64 characters of [A-Za-z0-9_.-]; session ids are
 * written as 16 lower-case hex digits. Pure; any thread. */
#ifndef SCHEMA_TOPIC_H
#define SCHEMA_TOPIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define TOPIC_NAME_MAX 64
#define TOPIC_MAX 384 /* bytes of the longest topic or filter, NUL included */

enum topic_kind {
	TOPIC_AGENT_STATUS,	  /* agent/<a>/status */
	TOPIC_AGENT_TELEMETRY,	  /* agent/<a>/telemetry */
	TOPIC_AGENT_PROFILE,	  /* agent/<a>/profile */
	TOPIC_AGENT_ANSWER,	  /* agent/<a>/answer */
	TOPIC_AGENT_PROBE,	  /* agent/<a>/probe */
	TOPIC_AGENT_PROMPT,	  /* agent/<a>/prompt */
	TOPIC_AGENT_REPLY,	  /* agent/<a>/reply/<id> */
	TOPIC_WORKER_STATUS,	  /* worker/<w>/status */
	TOPIC_WORKER_TELEMETRY,	  /* worker/<w>/telemetry */
	TOPIC_COORDINATOR_STATUS, /* coordinator/<c>/status */
	TOPIC_COORDINATOR_LEASE,  /* coordinator/lease */
	TOPIC_DECISION,		  /* decision/<a> */
	TOPIC_OPEN,		  /* open/<model>/<a> */
	TOPIC_UP,		  /* session/<w>/<a>/<s>/up */
	TOPIC_DOWN,		  /* session/<w>/<a>/<s>/down */
	TOPIC_KIND_COUNT
};

struct topic {
	enum topic_kind kind;
	char fleet[TOPIC_NAME_MAX + 1];
	char agent[TOPIC_NAME_MAX + 1];
	char worker[TOPIC_NAME_MAX + 1];
	char coordinator[TOPIC_NAME_MAX + 1];
	char model[TOPIC_NAME_MAX + 1]; /* of TOPIC_OPEN: the model's hash */
	char reply[TOPIC_NAME_MAX + 1]; /* of TOPIC_AGENT_REPLY: the prompt's id */
	uint64_t session;
};

/* A name that may stand as one topic level. */
bool topic_name_ok(const char *name);

/* Write the topic of t; a name that is empty becomes "+" (a filter); for TOPIC_UP/TOPIC_DOWN
 * session 0 becomes "+". Names must be ok or empty (assert). */
void topic_put(char dst[static TOPIC_MAX], const struct topic *t);

/* "$share/<group>/<topic>" around the filter of t. */
void topic_put_shared(char dst[static TOPIC_MAX], const char *group, const struct topic *t);

/* Parse a concrete topic. ERR_FORMAT for anything that is not ours; *t is written only on 0. */
MUST_CHECK int topic_get(struct topic *t, const char *src, size_t len);

#endif
