#include "bus/bus.h"

#include <string.h>

#include "bus/bus_impl.h"

#define TOPIC_BYTES_MAX 65535u /* a string's length field has two bytes */

/* Fixed header 1 + 4, topic length 2, packet id 2, property length 1, message expiry 5. */
#define PUBLISH_OVERHEAD 15u

const char *bus_filter_body(const char *filter)
{
	const char *slash;

	if (strncmp(filter, "$share/", 7))
		return filter;
	slash = strchr(filter + 7, '/');
	return slash ? slash + 1 : filter;
}

/* A wildcard fills its level; '#' is the last one. */
static bool levels_ok(const char *body)
{
	for (const char *c = body; *c; c++) {
		bool first = c == body || c[-1] == '/';

		if (*c == '+' && !(first && (c[1] == '/' || !c[1])))
			return false;
		if (*c == '#' && !(first && !c[1]))
			return false;
	}
	return true;
}

bool bus_filter_ok(const char *filter)
{
	const char *body = bus_filter_body(filter);

	if (!*body || strlen(filter) > TOPIC_BYTES_MAX)
		return false;
	if (body == filter)
		return strncmp(filter, "$share/", 7) && levels_ok(filter);
	/* The group is one level without wildcards. */
	return body - filter > 8 && strcspn(filter, "+#") >= (size_t)(body - filter) &&
	       levels_ok(body);
}

bool bus_topic_ok(const char *topic)
{
	return *topic && strlen(topic) <= TOPIC_BYTES_MAX && !strpbrk(topic, "+#");
}

/* Match level by level; both point at the start of a level. */
static bool match_levels(const char *f, const char *t)
{
	for (;;) {
		size_t nf = strcspn(f, "/"), nt = strcspn(t, "/");

		if (*f == '#')
			return true;
		if (!(nf == 1 && *f == '+') && (nf != nt || memcmp(f, t, nf)))
			return false;
		f += nf;
		t += nt;
		if (!*t) /* "a/#" matches "a" too */
			return !*f || !strcmp(f, "/#");
		if (!*f)
			return false;
		f++;
		t++;
	}
}

bool bus_filter_match(const char *filter, const char *topic)
{
	const char *body = bus_filter_body(filter);

	/* Broker's own topics ($SYS) are not for wildcards (MQTT 5.0, 4.7.2). */
	if (*topic == '$' && (*body == '+' || *body == '#'))
		return false;
	return match_levels(body, topic);
}

size_t bus_payload_room(uint32_t packet_bytes, const char *topic)
{
	size_t used = PUBLISH_OVERHEAD + strlen(topic);

	return used < packet_bytes ? packet_bytes - used : 0;
}

int bus_subscribe(struct bus *b, const char *filter, int qos)
{
	if (!bus_filter_ok(filter) || qos < 0 || qos > 1)
		return ERR_USAGE;
	return b->ops->subscribe(b, filter, qos);
}

int bus_set_birth(struct bus *b, const char *topic, const char *payload)
{
	if (!bus_topic_ok(topic))
		return ERR_USAGE;
	return b->ops->set_birth(b, topic, payload);
}

int bus_publish(struct bus *b, const struct bus_publish *p)
{
	if (!bus_topic_ok(p->topic) || p->qos < 0 || p->qos > 1 || (p->len && !p->payload))
		return ERR_USAGE;
	if (!b->ops->is_up(b))
		return ERR_OFFLINE;
	if (p->len > bus_max_payload(b, p->topic))
		return ERR_LIMIT;
	return b->ops->publish(b, p);
}

size_t bus_max_payload(struct bus *b, const char *topic)
{
	return bus_payload_room(b->ops->max_packet(b), topic);
}

bool bus_is_up(struct bus *b)
{
	return b->ops->is_up(b);
}

void bus_get_counts(struct bus *b, struct bus_counts *n)
{
	b->ops->get_counts(b, n);
}

void bus_close(struct bus *b, uint32_t timeout_ms)
{
	if (b)
		b->ops->close(b, timeout_ms);
}
