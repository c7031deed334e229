/* tests/test_link.c - who daemons are to a broker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "daemon/link.h"

static struct topic a_status(enum topic_kind kind, const char *fleet, const char *name)
{
	struct topic t = { .kind = kind };

	memcpy(t.fleet, fleet, strlen(fleet) + 1);
	memcpy(t.agent, name, strlen(name) + 1);
	memcpy(t.worker, name, strlen(name) + 1);
	memcpy(t.coordinator, name, strlen(name) + 1);
	return t;
}

static void assert_client(const struct topic *t, const char *client)
{
	char got[LINK_CLIENT_MAX];

	link_client(got, t);
	assert_string_equal(got, client);
}

/* A broker throws one of two clients with the same id out. */
static void same_names_in_other_roles_and_fleets_are_other_clients(void **state)
{
	const struct topic agent = a_status(TOPIC_AGENT_STATUS, "default", "site-1");
	const struct topic worker = a_status(TOPIC_WORKER_STATUS, "default", "site-1");
	const struct topic other = a_status(TOPIC_COORDINATOR_STATUS, "other", "site-1");

	(void)state;
	assert_client(&agent, "default:agent:site-1");
	assert_client(&worker, "default:worker:site-1");
	assert_client(&other, "other:coordinator:site-1");
}

static void the_longest_names_are_whole(void **state)
{
	char name[TOPIC_NAME_MAX + 1], got[LINK_CLIENT_MAX];
	struct topic t;

	(void)state;
	memset(name, 'x', TOPIC_NAME_MAX);
	name[TOPIC_NAME_MAX] = '\0';
	t = a_status(TOPIC_COORDINATOR_STATUS, name, name);
	link_client(got, &t);
	assert_int_equal(strlen(got), 2 * TOPIC_NAME_MAX + strlen(":coordinator:"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_names_in_other_roles_and_fleets_are_other_clients),
		cmocka_unit_test(the_longest_names_are_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
