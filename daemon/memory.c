#include "daemon/memory.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define UNKNOWN  UINT64_MAX
#define PATH_CAP 4400

static FILE *open_at(const char *root, const char *path)
{
	char full[PATH_CAP];
	int n = snprintf(full, sizeof(full), "%s%s", root, path);

	return n > 0 && (size_t)n < sizeof(full) ? fopen(full, "re") : NULL;
}

/* The number behind `key` at the start of a line; UNKNOWN: there is none. */
static uint64_t number_of(const char *root, const char *path, const char *key)
{
	const size_t len = strlen(key);
	FILE *f = open_at(root, path);
	uint64_t v = UNKNOWN;
	char line[512];

	while (f && v == UNKNOWN && fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, len) || sscanf(line + len, "%" SCNu64, &v) != 1)
			v = UNKNOWN;
	}
	if (f)
		fclose(f);
	return v;
}

/* "VmRSS:  123 kB" in bytes. */
static uint64_t kb_of(const char *root, const char *path, const char *key)
{
	uint64_t kb = number_of(root, path, key);

	return kb < UNKNOWN / 1024 ? kb * 1024 : UNKNOWN;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t left_of(uint64_t limit, uint64_t used)
{
	return limit == UNKNOWN  ? UNKNOWN
	       : used == UNKNOWN ? limit
	       : used < limit    ? limit - used
				 : 0;
}

/* Files of one version of control groups. */
struct group_files {
	const char *mount, *max, *current;
	const char *high;  /* NULL: none */
	const char *cache; /* key in memory.stat of page cache that nobody uses */
};

static const struct group_files v1 = {
	.mount = "/sys/fs/cgroup/memory",
	.max = "memory.limit_in_bytes",
	.current = "memory.usage_in_bytes",
	.cache = "total_inactive_file ",
};

static const struct group_files v2 = {
	.mount = "/sys/fs/cgroup",
	.max = "memory.max",
	.high = "memory.high",
	.current = "memory.current",
	.cache = "inactive_file ",
};

/* What the group at `path` (below the mount) leaves. */
static uint64_t group_room(const char *root, const struct group_files *g, const char *path)
{
	char file[PATH_CAP];
	uint64_t limit, used, cache;

#define NUMBER(name, key)                                                                          \
	(snprintf(file, sizeof(file), "%s%s/%s", g->mount, path, (name)) < (int)sizeof(file)       \
		 ? number_of(root, file, (key))                                                    \
		 : UNKNOWN)
	limit = NUMBER(g->max, ""); /* "max" is no number: no limit */
	if (g->high)                /* beyond it the group is slowed down */
		limit = smaller(limit, NUMBER(g->high, ""));
	used = NUMBER(g->current, "");
	cache = NUMBER("memory.stat", g->cache);
#undef NUMBER
	if (used != UNKNOWN && cache != UNKNOWN)
		used -= smaller(used, cache);
	return left_of(limit, used);
}

/* The group and all above it. In a container the path may be that of the host, which is not to be
 * seen: then only what is at the mount counts. */
static uint64_t groups_room(const char *root, const struct group_files *g, const char *path)
{
	char at[PATH_CAP];
	uint64_t room = group_room(root, g, "");
	char *slash;

	snprintf(at, sizeof(at), "%s", path);
	while ((slash = strrchr(at, '/')) && at[1]) {
		room = smaller(room, group_room(root, g, at));
		*slash = '\0';
	}
	return room;
}

/* A line of /proc/self/cgroup, "4:memory:/a/b" or "0::/a/b": its path, and whether the memory of
 * the process is counted there. */
static const char *memory_group(char *line, const struct group_files **g)
{
	char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;

	if (!path)
		return NULL;
	*path++ = '\0';
	path[strcspn(path, "\n")] = '\0';
	if (names[1] == '\0')
		*g = &v2;
	else if (!strcmp(names + 1, "memory"))
		*g = &v1;
	else
		return NULL;
	return path;
}

static uint64_t cgroup_room(const char *root)
{
	FILE *f = open_at(root, "/proc/self/cgroup");
	uint64_t room = UNKNOWN;
	char line[PATH_CAP];

	while (f && fgets(line, sizeof(line), f)) {
		const struct group_files *g;
		const char *path = memory_group(line, &g);

		if (path)
			room = smaller(room, groups_room(root, g, path));
	}
	if (f)
		fclose(f);
	return room;
}

static uint64_t available(const char *root)
{
	return smaller(kb_of(root, "/proc/meminfo", "MemAvailable:"), cgroup_room(root));
}

static uint64_t known(uint64_t v)
{
	return v == UNKNOWN ? 0 : v;
}

void memory_read_at(struct memory *m, const char *root)
{
	m->resident_bytes = known(kb_of(root, "/proc/self/status", "VmRSS:"));
	m->available_bytes = available(root);
	m->mappable_bytes = UNKNOWN;
}

static uint64_t limit_room(int resource, const char *key)
{
	struct rlimit r;

	if (getrlimit(resource, &r) || r.rlim_cur == RLIM_INFINITY)
		return UNKNOWN;
	return left_of(r.rlim_cur, kb_of("", "/proc/self/status", key));
}

static uint64_t mappable(void)
{
	return smaller(limit_room(RLIMIT_DATA, "VmData:"), limit_room(RLIMIT_AS, "VmSize:"));
}

void memory_read(struct memory *m)
{
	memory_read_at(m, "");
	m->mappable_bytes = mappable();
}

void memory_look(struct memory_look *l, uint64_t now_us, uint64_t max_age_us)
{
	if (!l->read_us || now_us - l->read_us > max_age_us) {
		memory_read_at(&l->m, "");
		l->read_us = now_us;
	}
	l->m.mappable_bytes = mappable();
}

uint64_t memory_available_bytes(void)
{
	return known(available(""));
}

uint64_t memory_resident_bytes(void)
{
	return known(kb_of("", "/proc/self/status", "VmRSS:"));
}
