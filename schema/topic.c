#include "schema/topic.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ROOT           "splitmq/v1"
#define SESSION_DIGITS 16
#define LEVELS_MAX     9 /* one more than the longest topic has */

/* One level of a topic: a run of src that holds no '/'. */
struct level {
	const char *at;
	size_t len;
};

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '.' || c == '-';
}

static bool level_is_name(struct level l)
{
	if (!l.len || l.len > TOPIC_NAME_MAX)
		return false;
	for (size_t i = 0; i < l.len; i++) {
		if (!is_name_char(l.at[i]))
			return false;
	}
	return true;
}

bool topic_name_ok(const char *name)
{
	return level_is_name((struct level){ name, strnlen(name, TOPIC_NAME_MAX + 1) });
}

/* An empty name matches any. */
static const char *or_any(const char *name)
{
	assert(!name[0] || topic_name_ok(name));
	return name[0] ? name : "+";
}

static void put_session(char dst[static TOPIC_MAX], const struct topic *t, const char *leaf)
{
	char session[SESSION_DIGITS + 1] = "+";

	if (t->session)
		snprintf(session, sizeof(session), "%016" PRIx64, t->session);
	snprintf(dst, TOPIC_MAX, ROOT "/%s/session/%s/%s/%s/%s", or_any(t->fleet),
		 or_any(t->worker), or_any(t->agent), session, leaf);
}

static void put_leaf(char dst[static TOPIC_MAX], const struct topic *t, const char *folder,
		     const char *name, const char *leaf)
{
	snprintf(dst, TOPIC_MAX, ROOT "/%s/%s/%s/%s", or_any(t->fleet), folder, or_any(name), leaf);
}

void topic_put(char dst[static TOPIC_MAX], const struct topic *t)
{
	switch (t->kind) {
	case TOPIC_AGENT_STATUS:
		put_leaf(dst, t, "agent", t->agent, "status");
		break;
	case TOPIC_AGENT_TELEMETRY:
		put_leaf(dst, t, "agent", t->agent, "telemetry");
		break;
	case TOPIC_AGENT_PROFILE:
		put_leaf(dst, t, "agent", t->agent, "profile");
		break;
	case TOPIC_AGENT_ANSWER:
		put_leaf(dst, t, "agent", t->agent, "answer");
		break;
	case TOPIC_AGENT_PROBE:
		put_leaf(dst, t, "agent", t->agent, "probe");
		break;
	case TOPIC_AGENT_PROMPT:
		put_leaf(dst, t, "agent", t->agent, "prompt");
		break;
	case TOPIC_AGENT_REPLY:
		snprintf(dst, TOPIC_MAX, ROOT "/%s/agent/%s/reply/%s", or_any(t->fleet),
			 or_any(t->agent), or_any(t->reply));
		break;
	case TOPIC_WORKER_STATUS:
		put_leaf(dst, t, "worker", t->worker, "status");
		break;
	case TOPIC_WORKER_TELEMETRY:
		put_leaf(dst, t, "worker", t->worker, "telemetry");
		break;
	case TOPIC_COORDINATOR_STATUS:
		put_leaf(dst, t, "coordinator", t->coordinator, "status");
		break;
	case TOPIC_COORDINATOR_LEASE:
		snprintf(dst, TOPIC_MAX, ROOT "/%s/coordinator/lease", or_any(t->fleet));
		break;
	case TOPIC_DECISION:
		snprintf(dst, TOPIC_MAX, ROOT "/%s/decision/%s", or_any(t->fleet),
			 or_any(t->agent));
		break;
	case TOPIC_OPEN:
		put_leaf(dst, t, "open", t->model, or_any(t->agent));
		break;
	case TOPIC_UP:
		put_session(dst, t, "up");
		break;
	case TOPIC_DOWN:
		put_session(dst, t, "down");
		break;
	case TOPIC_KIND_COUNT:
		assert(!"a topic kind");
	}
}

void topic_put_shared(char dst[static TOPIC_MAX], const char *group, const struct topic *t)
{
	char filter[TOPIC_MAX];
	int n;

	assert(topic_name_ok(group));
	topic_put(filter, t);
	n = snprintf(dst, TOPIC_MAX, "$share/%s/%s", group, filter);
	assert(n < TOPIC_MAX);
	(void)n;
}

/* Cut src at its slashes; returns the number of levels, LEVELS_MAX for too many. */
static size_t cut(struct level levels[static LEVELS_MAX], const char *src, size_t len)
{
	size_t n = 0;

	levels[0] = (struct level){ src, 0 };
	for (size_t i = 0; i < len; i++) {
		if (src[i] != '/') {
			levels[n].len++;
			continue;
		}
		if (++n == LEVELS_MAX)
			return n;
		levels[n] = (struct level){ src + i + 1, 0 };
	}
	return n + 1;
}

static bool is(struct level l, const char *word)
{
	return l.len == strlen(word) && !memcmp(l.at, word, l.len);
}

static bool get_name(char dst[static TOPIC_NAME_MAX + 1], struct level l)
{
	if (!level_is_name(l))
		return false;
	memcpy(dst, l.at, l.len);
	dst[l.len] = '\0';
	return true;
}

/* 16 lower-case hex digits, not all zero. */
static bool get_session(uint64_t *session, struct level l)
{
	uint64_t v = 0;

	if (l.len != SESSION_DIGITS)
		return false;
	for (size_t i = 0; i < l.len; i++) {
		char c = l.at[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	*session = v;
	return v != 0;
}

/* agent/<a>/...: l[0] is the folder, n levels are left. */
static bool get_agent(struct topic *t, const struct level *l, size_t n)
{
	static const struct {
		const char *leaf;
		enum topic_kind kind;
	} leaves[] = {
		{ "status", TOPIC_AGENT_STATUS },   { "telemetry", TOPIC_AGENT_TELEMETRY },
		{ "profile", TOPIC_AGENT_PROFILE }, { "answer", TOPIC_AGENT_ANSWER },
		{ "probe", TOPIC_AGENT_PROBE },     { "prompt", TOPIC_AGENT_PROMPT },
	};

	if (n < 3 || !get_name(t->agent, l[1]))
		return false;
	for (size_t i = 0; n == 3 && i < sizeof(leaves) / sizeof(leaves[0]); i++) {
		if (is(l[2], leaves[i].leaf)) {
			t->kind = leaves[i].kind;
			return true;
		}
	}
	t->kind = TOPIC_AGENT_REPLY;
	return n == 4 && is(l[2], "reply") && get_name(t->reply, l[3]);
}

/* worker/<w>/... */
static bool get_worker(struct topic *t, const struct level *l, size_t n)
{
	if (n != 3 || !get_name(t->worker, l[1]))
		return false;
	t->kind = is(l[2], "status") ? TOPIC_WORKER_STATUS : TOPIC_WORKER_TELEMETRY;
	return is(l[2], "status") || is(l[2], "telemetry");
}

/* coordinator/lease and coordinator/<c>/status */
static bool get_coordinator(struct topic *t, const struct level *l, size_t n)
{
	t->kind = n == 2 ? TOPIC_COORDINATOR_LEASE : TOPIC_COORDINATOR_STATUS;
	if (n == 2)
		return is(l[1], "lease");
	return n == 3 && get_name(t->coordinator, l[1]) && is(l[2], "status");
}

static bool get_session_topic(struct topic *t, const struct level *l, size_t n)
{
	if (n != 5 || !get_name(t->worker, l[1]) || !get_name(t->agent, l[2]) ||
	    !get_session(&t->session, l[3]))
		return false;
	if (!is(l[4], "up") && !is(l[4], "down"))
		return false;
	t->kind = is(l[4], "up") ? TOPIC_UP : TOPIC_DOWN;
	return true;
}

/* What follows splitmq/v1/<fleet>/. */
static bool get_rest(struct topic *t, const struct level *l, size_t n)
{
	if (is(l[0], "agent"))
		return get_agent(t, l, n);
	if (is(l[0], "worker"))
		return get_worker(t, l, n);
	if (is(l[0], "session"))
		return get_session_topic(t, l, n);
	if (is(l[0], "coordinator"))
		return get_coordinator(t, l, n);
	if (is(l[0], "decision")) {
		t->kind = TOPIC_DECISION;
		return n == 2 && get_name(t->agent, l[1]);
	}
	t->kind = TOPIC_OPEN;
	return is(l[0], "open") && n == 3 && get_name(t->model, l[1]) && get_name(t->agent, l[2]);
}

int topic_get(struct topic *t, const char *src, size_t len)
{
	struct topic got = { 0 };
	struct level l[LEVELS_MAX];
	size_t n = cut(l, src, len);

	if (n < 5 || n == LEVELS_MAX || !is(l[0], "splitmq") || !is(l[1], "v1"))
		return ERR_FORMAT;
	if (!get_name(got.fleet, l[2]) || !get_rest(&got, l + 3, n - 3))
		return ERR_FORMAT;
	*t = got;
	return 0;
}
