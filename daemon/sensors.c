#include "daemon/sensors.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_CAP 1024
#define WORD_CAP 64

/* A folder of devices, each a folder with files of one word. */
struct class
{
	char path[PATH_CAP];
	DIR *dir; /* NULL: there are none */
	char device[256];
};

static void open_class(struct class *c, const char *root, const char *path)
{
	snprintf(c->path, sizeof(c->path), "%s/sys/%s", root, path);
	c->dir = opendir(c->path);
}

/* The next device whose name begins with prefix; false at the end, and then c is closed. */
static bool next_device(struct class *c, const char *prefix)
{
	const struct dirent *entry = NULL;

	while (c->dir && (entry = readdir(c->dir))) {
		if (entry->d_name[0] == '.' || strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		snprintf(c->device, sizeof(c->device), "%s", entry->d_name);
		return true;
	}
	if (c->dir)
		closedir(c->dir);
	c->dir = NULL;
	return false;
}

static bool read_word(const struct class *c, const char *file, char word[static WORD_CAP])
{
	char path[PATH_CAP + 400];
	bool got;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s/%s", c->path, c->device, file);
	f = fopen(path, "re");
	if (!f)
		return false;
	got = fgets(word, WORD_CAP, f);
	fclose(f);
	if (got)
		word[strcspn(word, "\n")] = '\0';
	return got;
}

static bool read_number(const struct class *c, const char *file, double *v)
{
	char word[WORD_CAP], *end;

	if (!read_word(c, file, word))
		return false;
	*v = strtod(word, &end);
	return end != word && !*end;
}

/* Names that drivers give to the zone of the processor. */
static bool is_processor(const char *type)
{
	static const char *const parts[] = { "cpu", "CPU", "x86_pkg_temp", "soc", "SoC", "core" };

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (strstr(type, parts[i]))
			return true;
	}
	return false;
}

static void read_temperature(struct msg_telemetry *t, const char *root)
{
	bool have_processor = false;
	struct class c;

	open_class(&c, root, "class/thermal");
	while (next_device(&c, "thermal_zone")) {
		char type[WORD_CAP];
		double milli;
		bool processor;

		if (!read_number(&c, "temp", &milli) || milli < -100e3 || milli > 300e3)
			continue; /* a sensor that is switched off says such things */
		processor = read_word(&c, "type", type) && is_processor(type);
		if (have_processor && !processor)
			continue;
		if (!(t->has & MSG_HAS_TEMPERATURE) || (processor && !have_processor) ||
		    milli / 1000 > t->temperature_c)
			t->temperature_c = milli / 1000;
		t->has |= MSG_HAS_TEMPERATURE;
		have_processor = processor;
	}
}

/* A device that cools by making processors slower, and how much it does. */
static void read_cooling(struct msg_telemetry *t, const char *root)
{
	struct class c;

	open_class(&c, root, "class/thermal");
	while (next_device(&c, "cooling_device")) {
		char type[WORD_CAP];
		double state;

		if (!read_word(&c, "type", type) || !read_number(&c, "cur_state", &state))
			continue;
		if (strcmp(type, "Processor") != 0 && strncmp(type, "cpufreq", 7) != 0 &&
		    strncmp(type, "thermal-cpufreq", 15) != 0)
			continue;
		t->has |= MSG_HAS_THROTTLED;
		t->throttled = t->throttled || state > 0;
	}
}

static void read_limits(struct msg_telemetry *t, const char *root)
{
	struct class c;

	open_class(&c, root, "devices/system/cpu/cpufreq");
	while (next_device(&c, "policy")) {
		double allowed, most;

		if (!read_number(&c, "scaling_max_freq", &allowed) ||
		    !read_number(&c, "cpuinfo_max_freq", &most) || most <= 0)
			continue;
		t->has |= MSG_HAS_THROTTLED;
		t->throttled = t->throttled || allowed < 0.99 * most;
	}
}

static void read_battery(struct msg_telemetry *t, const char *root)
{
	double sum = 0, percent;
	unsigned n = 0;
	struct class c;

	open_class(&c, root, "class/power_supply");
	while (next_device(&c, "")) {
		char word[WORD_CAP];

		if (!read_word(&c, "type", word) || strcmp(word, "Battery") != 0)
			continue;
		if (read_word(&c, "scope", word) && !strcmp(word, "Device"))
			continue; /* of a mouse */
		if (read_word(&c, "status", word)) {
			t->has |= MSG_HAS_ON_BATTERY;
			t->on_battery = t->on_battery || !strcmp(word, "Discharging");
		}
		if (read_number(&c, "capacity", &percent) && percent >= 0 && percent <= 100) {
			sum += percent;
			n++;
		}
	}
	if (!n)
		return;
	t->has |= MSG_HAS_BATTERY;
	t->battery_percent = sum / n;
}

void sensors_read(struct msg_telemetry *t, const char *root)
{
	t->has = 0;
	t->throttled = t->on_battery = false;
	read_temperature(t, root);
	read_cooling(t, root);
	read_limits(t, root);
	read_battery(t, root);
}
