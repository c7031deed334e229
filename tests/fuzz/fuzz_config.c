/* Configuration files of the programs, and scenarios; what loads must print and load again. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/config.h"
#include "config/scenario.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void again(const struct config_coordinator *c)
{
	static struct config_coordinator d;
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	struct err e;

	if (!f)
		abort();
	config_print_coordinator(c, f);
	if (fclose(f) || config_parse_coordinator(&d, "f", text, len, &e))
		abort();
	free(text);
}

static void again_scenario(const struct scenario *s)
{
	static struct scenario t;
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	struct err e;

	if (!f)
		abort();
	scenario_print(s, f);
	if (fclose(f) || scenario_parse(&t, "f", text, len, &e))
		abort();
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct config_agent a;
	static struct config_worker w;
	static struct config_coordinator c;
	static struct scenario s;
	const char *text = (const char *)data;
	struct err e;

	if (!config_parse_agent(&a, "f", text, len, &e) && !a.broker.port)
		abort();
	if (!config_parse_worker(&w, "f", text, len, &e) && !*w.worker)
		abort();
	if (!config_parse_coordinator(&c, "f", text, len, &e))
		again(&c);
	if (!scenario_parse(&s, "f", text, len, &e))
		again_scenario(&s);
	return 0;
}
