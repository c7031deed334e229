/* tests/test_room.c - whether something fits: the arithmetic, and what the system says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"
#include "daemon/memory.h"
#include "daemon/room.h"

#define MIB (UINT64_C(1) << 20)

/* No limit but those that a test sets. */
static struct room plenty(void)
{
	return (struct room){ .limit_bytes = UINT64_MAX,
			      .available_bytes = UINT64_MAX,
			      .mappable_bytes = UINT64_MAX };
}

static struct room_answer judge(const struct room *r, uint64_t weights, uint64_t session,
				uint64_t token, uint32_t tokens)
{
	struct room_answer a;

	room_judge(r, &(struct room_ask){ weights, session, token, tokens }, &a);
	return a;
}

static void without_limits_anything_fits(void **state)
{
	const struct room r = plenty();
	struct room_answer a = judge(&r, MIB, 10, UINT64_MAX / 2, 1000);

	(void)state;
	assert_int_equal(a.missing_bytes, 0);
	assert_int_equal(a.most_tokens, UINT32_MAX);
	assert_int_equal(a.need_bytes, UINT64_MAX);
}

static void a_budget_is_for_what_is_booked(void **state)
{
	struct room r = plenty();
	struct room_answer a;

	(void)state;
	r.limit_bytes = 1000;
	r.booked_bytes = 700;
	a = judge(&r, 100, 50, 10, 15);
	assert_int_equal(a.missing_bytes, 0);
	assert_int_equal(a.need_bytes, 300);
	assert_int_equal(a.most_tokens, 15);
	a = judge(&r, 100, 50, 10, 20);
	assert_int_equal(a.missing_bytes, 50);
	assert_int_equal(a.most_tokens, 15);
	assert_int_equal(a.by, ROOM_BUDGET);
	r.booked_bytes = 1100; /* it was cut */
	a = judge(&r, 100, 50, 10, 20);
	assert_int_equal(a.missing_bytes, 450);
	assert_int_equal(a.most_tokens, 0);
}

/* What was promised and is not in memory yet will be asked of the machine, too. */
static void the_machine_owes_what_was_promised(void **state)
{
	struct room r = plenty();
	struct room_answer a;

	(void)state;
	r.limit_bytes = 10000;
	r.booked_bytes = 700;
	r.resident_bytes = 400;
	r.available_bytes = 1000;
	r.reserve_bytes = 500;
	a = judge(&r, 0, 100, 10, 10);
	assert_int_equal(a.missing_bytes, 0);
	assert_int_equal(a.most_tokens, 10);
	a = judge(&r, 0, 100, 10, 11);
	assert_int_equal(a.missing_bytes, 10);
	assert_int_equal(a.by, ROOM_MACHINE);
	r.resident_bytes = 900; /* more than was thought: the rest is owed nothing */
	a = judge(&r, 0, 100, 10, 40);
	assert_int_equal(a.missing_bytes, 0);
}

/* Weights are mapped already, or stay in the file's map. */
static void addresses_are_for_sessions(void **state)
{
	struct room r = plenty();
	struct room_answer a;

	(void)state;
	r.mappable_bytes = 1000;
	r.mapped_bytes = 600;
	a = judge(&r, 5000, 100, 10, 30);
	assert_int_equal(a.missing_bytes, 0);
	a = judge(&r, 5000, 100, 10, 33);
	assert_int_equal(a.missing_bytes, 30);
	assert_int_equal(a.most_tokens, 30);
	assert_int_equal(a.by, ROOM_ADDRESSES);
}

/* The next number of a sequence. */
static uint64_t draw(uint64_t *n, uint64_t below)
{
	return rng_u64(7, (*n)++) % below;
}

static struct room random_room(uint64_t *rng)
{
	return (struct room){
		.limit_bytes = draw(rng, 4) ? draw(rng, 2000) : UINT64_MAX,
		.booked_bytes = draw(rng, 1500),
		.resident_bytes = draw(rng, 1500),
		.available_bytes = draw(rng, 4) ? draw(rng, 2000) : UINT64_MAX,
		.reserve_bytes = draw(rng, 300),
		.mappable_bytes = draw(rng, 4) ? draw(rng, 2000) : UINT64_MAX,
		.mapped_bytes = draw(rng, 500),
	};
}

/* most_tokens is the largest number that misses nothing, whatever the limits. */
static void the_longest_context_is_the_longest(void **state)
{
	uint64_t rng = 0;

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		const struct room r = random_room(&rng);
		const uint64_t w = draw(&rng, 300), s = draw(&rng, 300);
		const uint64_t t = 1 + draw(&rng, 20);
		const uint32_t n = (uint32_t)draw(&rng, 100);
		struct room_answer a = judge(&r, w, s, t, n);

		assert_int_equal(a.missing_bytes == 0,
				 n <= a.most_tokens && !judge(&r, w, s, t, 0).missing_bytes);
		if (a.most_tokens == UINT32_MAX)
			continue;
		assert_true(judge(&r, w, s, t, a.most_tokens + 1).missing_bytes > 0);
		if (a.most_tokens)
			assert_int_equal(judge(&r, w, s, t, a.most_tokens).missing_bytes, 0);
		assert_int_equal(a.need_bytes, w + s + t * n);
	}
}

/* A tree of files that stands for /proc and /sys. */
struct tree {
	char root[64];
};

static void make_tree(struct tree *t)
{
	snprintf(t->root, sizeof(t->root), "/tmp/splitmq-test-XXXXXX");
	assert_non_null(mkdtemp(t->root));
}

static void put(const struct tree *t, const char *path, const char *text)
{
	char full[512];
	FILE *f;

	snprintf(full, sizeof(full), "%s%s", t->root, path);
	for (char *p = full + strlen(t->root) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(full, 0700);
		*p = '/';
	}
	f = fopen(full, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void remove_tree(const struct tree *t)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -r %s", t->root);
	assert_int_equal(system(command), 0);
}

static uint64_t available(const struct tree *t)
{
	struct memory m;

	memory_read_at(&m, t->root);
	return m.available_bytes;
}

#define PROC_FILES(t, cgroup)                                                                      \
	put(&(t), "/proc/meminfo",                                                                 \
	    "MemTotal: 900 kB\nMemAvailable:    512000 kB\nBuffers: 1 kB\n");                      \
	put(&(t), "/proc/self/status", "Name: x\nVmRSS:\t    2048 kB\n");                          \
	put(&(t), "/proc/self/cgroup", (cgroup))

static void the_machine_says_what_is_available(void **state)
{
	struct memory m;
	struct tree t;

	(void)state;
	make_tree(&t);
	PROC_FILES(t, "0::/\n");
	memory_read_at(&m, t.root);
	assert_int_equal(m.available_bytes, 500 * MIB);
	assert_int_equal(m.resident_bytes, 2 * MIB);
	assert_int_equal(m.mappable_bytes, UINT64_MAX);
	remove_tree(&t);
}

static void a_group_may_leave_less(void **state)
{
	struct tree t;

	(void)state;
	make_tree(&t);
	PROC_FILES(t, "0::/a/b\n");
	put(&t, "/sys/fs/cgroup/a/b/memory.max", "max\n");
	put(&t, "/sys/fs/cgroup/a/b/memory.high", "max\n");
	put(&t, "/sys/fs/cgroup/a/b/memory.current", "1048576\n");
	assert_int_equal(available(&t), 500 * MIB);
	put(&t, "/sys/fs/cgroup/a/memory.max", "104857600\n"); /* of the group above */
	put(&t, "/sys/fs/cgroup/a/memory.current", "62914560\n");
	put(&t, "/sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 20971520\n");
	assert_int_equal(available(&t), 60 * MIB);
	put(&t, "/sys/fs/cgroup/a/b/memory.high", "31457280\n"); /* slowed down beyond 30 */
	assert_int_equal(available(&t), 29 * MIB);
	put(&t, "/sys/fs/cgroup/a/b/memory.max", "524288\n"); /* it has more than it may have */
	assert_int_equal(available(&t), 0);
	remove_tree(&t);
}

static void groups_of_version_1_count(void **state)
{
	struct tree t;

	(void)state;
	make_tree(&t);
	PROC_FILES(t, "9:cpu:/x\n4:memory:/a\n0::/\n");
	put(&t, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put(&t, "/sys/fs/cgroup/memory/memory.usage_in_bytes", "4096\n");
	assert_int_equal(available(&t), 500 * MIB);
	put(&t, "/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "104857600\n");
	put(&t, "/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "73400320\n");
	put(&t, "/sys/fs/cgroup/memory/a/memory.stat",
	    "inactive_file 1\ntotal_inactive_file 10485760\n");
	assert_int_equal(available(&t), 40 * MIB);
	remove_tree(&t);
}

/* In a container the path is the host's, and the limits lie at the mount. */
static void a_container_sees_its_own_limit(void **state)
{
	struct tree t;

	(void)state;
	make_tree(&t);
	PROC_FILES(t, "0::/system.slice/docker-1.scope\n");
	put(&t, "/sys/fs/cgroup/memory.max", "52428800\n");
	put(&t, "/sys/fs/cgroup/memory.current", "10485760\n");
	assert_int_equal(available(&t), 40 * MIB);
	remove_tree(&t);
}

static void files_that_are_missing_or_odd_are_no_limit(void **state)
{
	struct memory m;
	struct tree t;

	(void)state;
	make_tree(&t);
	memory_read_at(&m, t.root);
	assert_int_equal(m.available_bytes, UINT64_MAX);
	assert_int_equal(m.resident_bytes, 0);
	put(&t, "/proc/meminfo", "MemAvailable: lots\n");
	put(&t, "/proc/self/cgroup", "nonsense\n0:\n:::\n\n0::/../../x\n");
	assert_int_equal(available(&t), UINT64_MAX);
	remove_tree(&t);
}

static void this_machine_answers(void **state)
{
	struct memory m;

	(void)state;
	memory_read(&m);
	assert_true(m.resident_bytes > 0 && m.resident_bytes < UINT64_C(1) << 45);
	assert_true(m.available_bytes > 0);
}

static void what_was_read_of_late_is_not_read_again(void **state)
{
	const size_t much = 64 * MIB;
	struct memory_look look = { 0 };
	uint64_t before;
	char *p;

	(void)state;
	memory_look(&look, 1000, 500);
	before = look.m.resident_bytes;
	assert_true(before > 0);
	p = malloc(much);
	assert_non_null(p);
	memset(p, 1, much);
	memory_look(&look, 1500, 500);
	assert_int_equal(look.m.resident_bytes, before);
	memory_look(&look, 1501, 500);
	assert_true(look.m.resident_bytes > before + much / 2);
	assert_int_equal(p[much - 1], 1);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_limits_anything_fits),
		cmocka_unit_test(a_budget_is_for_what_is_booked),
		cmocka_unit_test(the_machine_owes_what_was_promised),
		cmocka_unit_test(addresses_are_for_sessions),
		cmocka_unit_test(the_longest_context_is_the_longest),
		cmocka_unit_test(the_machine_says_what_is_available),
		cmocka_unit_test(a_group_may_leave_less),
		cmocka_unit_test(groups_of_version_1_count),
		cmocka_unit_test(a_container_sees_its_own_limit),
		cmocka_unit_test(files_that_are_missing_or_odd_are_no_limit),
		cmocka_unit_test(this_machine_answers),
		cmocka_unit_test(what_was_read_of_late_is_not_read_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
