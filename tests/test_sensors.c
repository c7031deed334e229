#define _XOPEN_SOURCE 700 /* nftw */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/sensors.h"

static char root[] = "/tmp/splitmq-sensors-XXXXXX";

static int make_root(void **state)
{
	(void)state;
	memcpy(root + strlen(root) - 6, "XXXXXX", 6);
	return mkdtemp(root) ? 0 : -1;
}

static int drop(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path);
}

static int drop_root(void **state)
{
	(void)state;
	return nftw(root, drop, 8, FTW_DEPTH | FTW_PHYS);
}

/* root/sys/<path>, with the folders before it. */
static void put(const char *path, const char *text)
{
	char full[512];
	FILE *f;

	snprintf(full, sizeof(full), "%s/sys/%s", root, path);
	for (char *c = full + strlen(root) + 1; (c = strchr(c, '/')); c++) {
		*c = '\0';
		mkdir(full, 0700);
		*c = '/';
	}
	f = fopen(full, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static struct msg_telemetry look(void)
{
	struct msg_telemetry t = { .has = ~0u, .throttled = true, .on_battery = true };

	sensors_read(&t, root);
	return t;
}

static void a_machine_that_tells_nothing_is_no_error(void **state)
{
	(void)state;
	assert_int_equal(look().has, 0);
	put("class/thermal/thermal_zone0/type", "acpitz\n");
	put("class/thermal/thermal_zone1/temp", "hot\n");
	put("class/power_supply/BAT0/type", "Battery\n");
	put("class/power_supply/BAT0/capacity", "\n");
	put("devices/system/cpu/cpufreq/policy0/scaling_max_freq", "");
	assert_int_equal(look().has, 0);
}

static void the_hottest_zone_counts(void **state)
{
	(void)state;
	put("class/thermal/thermal_zone0/temp", "41500\n");
	put("class/thermal/thermal_zone1/temp", "47250\n");
	put("class/thermal/thermal_zone2/temp", "-274000\n");
	assert_int_equal(look().has, MSG_HAS_TEMPERATURE);
	assert_true(look().temperature_c == 47.25);
}

static void zones_of_the_processor_come_first(void **state)
{
	(void)state;
	put("class/thermal/thermal_zone0/type", "battery\n");
	put("class/thermal/thermal_zone0/temp", "90000\n");
	put("class/thermal/thermal_zone1/type", "cpu-thermal\n");
	put("class/thermal/thermal_zone1/temp", "-5000\n");
	put("class/thermal/thermal_zone2/type", "x86_pkg_temp\n");
	put("class/thermal/thermal_zone2/temp", "-3000\n");
	assert_true(look().temperature_c == -3);
}

static void a_processor_that_is_held_back_is_throttled(void **state)
{
	(void)state;
	put("devices/system/cpu/cpufreq/policy0/scaling_max_freq", "1500000\n");
	put("devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", "1500000\n");
	assert_int_equal(look().has, MSG_HAS_THROTTLED);
	assert_false(look().throttled);
	put("devices/system/cpu/cpufreq/policy4/scaling_max_freq", "600000\n");
	put("devices/system/cpu/cpufreq/policy4/cpuinfo_max_freq", "2400000\n");
	assert_true(look().throttled);
}

static void cooling_by_the_processor_is_throttling_a_fan_is_not(void **state)
{
	(void)state;
	put("class/thermal/cooling_device0/type", "Fan\n");
	put("class/thermal/cooling_device0/cur_state", "3\n");
	assert_int_equal(look().has, 0);
	put("class/thermal/cooling_device1/type", "cpufreq-cpu0\n");
	put("class/thermal/cooling_device1/cur_state", "0\n");
	assert_int_equal(look().has, MSG_HAS_THROTTLED);
	assert_false(look().throttled);
	put("class/thermal/cooling_device1/cur_state", "2\n");
	assert_true(look().throttled);
}

static void the_battery_of_a_mouse_does_not_power_the_gateway(void **state)
{
	(void)state;
	put("class/power_supply/mouse/type", "Battery\n");
	put("class/power_supply/mouse/scope", "Device\n");
	put("class/power_supply/mouse/capacity", "3\n");
	put("class/power_supply/mouse/status", "Discharging\n");
	put("class/power_supply/AC/type", "Mains\n");
	put("class/power_supply/AC/capacity", "5\n");
	assert_int_equal(look().has, 0);
	put("class/power_supply/BAT0/type", "Battery\n");
	put("class/power_supply/BAT0/status", "Charging\n");
	put("class/power_supply/BAT0/capacity", "60\n");
	put("class/power_supply/BAT1/type", "Battery\n");
	put("class/power_supply/BAT1/capacity", "90\n");
	assert_int_equal(look().has, MSG_HAS_BATTERY | MSG_HAS_ON_BATTERY);
	assert_true(look().battery_percent == 75);
	assert_false(look().on_battery);
	put("class/power_supply/BAT0/status", "Discharging\n");
	assert_true(look().on_battery);
}

#define IN_A_ROOT(test) cmocka_unit_test_setup_teardown(test, make_root, drop_root)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_A_ROOT(a_machine_that_tells_nothing_is_no_error),
		IN_A_ROOT(the_hottest_zone_counts),
		IN_A_ROOT(zones_of_the_processor_come_first),
		IN_A_ROOT(a_processor_that_is_held_back_is_throttled),
		IN_A_ROOT(cooling_by_the_processor_is_throttling_a_fan_is_not),
		IN_A_ROOT(the_battery_of_a_mouse_does_not_power_the_gateway),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
