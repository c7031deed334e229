#include "codec/spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const predicts[SPEC_PREDICTS] = {
	[SPEC_PREDICT_NONE] = "none",
	[SPEC_ROWS] = "rows",
	[SPEC_TOKENS] = "tokens",
	[SPEC_AUTO] = "auto",
};

static const char *const entropies[SPEC_ENTROPIES] = {
	[SPEC_NONE] = "none",
	[SPEC_RANS] = "rans",
	[SPEC_LZ4] = "lz4",
};

const char *spec_predict_name(enum spec_predict p)
{
	return (unsigned)p < SPEC_PREDICTS ? predicts[p] : "unknown";
}

const char *spec_entropy_name(enum spec_entropy e)
{
	return (unsigned)e < SPEC_ENTROPIES ? entropies[e] : "unknown";
}

/* A number in min..max that fills the text. */
static bool number(const char *text, double min, double max, double *v)
{
	char *end;

	*v = strtod(text, &end);
	return end != text && !*end && *v >= min && *v <= max;
}

static int set_delta(struct codec_spec *s, const char *value, struct err *e)
{
	double v;

	if (!number(value, 1e-6, 0.5, &v))
		return err_set(e, ERR_CONFIG, "delta must be a number in 0.000001..0.5, not \"%s\"",
			       value);
	s->delta = (float)v;
	return 0;
}

static int set_tau(struct codec_spec *s, const char *value, struct err *e)
{
	double v = 0;

	if (!strcmp(value, "auto"))
		s->row.tau_kind = ROW_TAU_AUTO;
	else if (!strcmp(value, "off"))
		s->row.tau_kind = ROW_TAU_OFF;
	else if (!strncmp(value, "abs:", 4) && number(value + 4, 1e-9, 1e18, &v))
		s->row.tau_kind = ROW_TAU_ABS;
	else if (number(value, 2, 1e6, &v))
		s->row.tau_kind = ROW_TAU_RMS;
	else
		return err_set(e, ERR_CONFIG,
			       "tau must be auto, off, a number in 2..1000000 (times the RMS) or "
			       "abs:V, V in 1e-9..1e18; not \"%s\"",
			       value);
	s->row.tau = (float)v;
	return 0;
}

static int set_bits(unsigned *bits, const char *key, const char *value, struct err *e)
{
	double v;

	if (!number(value, 1, ROW_MAX_BITS, &v) || v != (unsigned)v)
		return err_set(e, ERR_CONFIG, "%s must be an integer in 1..%d, not \"%s\"", key,
			       ROW_MAX_BITS, value);
	*bits = (unsigned)v;
	return 0;
}

static int set_entropy(struct codec_spec *s, const char *value, struct err *e)
{
	for (unsigned i = 0; i < SPEC_ENTROPIES; i++) {
		if (!strcmp(entropies[i], value)) {
			s->entropy = (enum spec_entropy)i;
			return 0;
		}
	}
	return err_set(e, ERR_CONFIG, "entropy must be rans, lz4 or none, not \"%s\"", value);
}

static int set_predict(struct codec_spec *s, const char *value, struct err *e)
{
	for (unsigned i = 0; i < SPEC_PREDICTS; i++) {
		if (!strcmp(predicts[i], value)) {
			s->predict = (enum spec_predict)i;
			return 0;
		}
	}
	return err_set(e, ERR_CONFIG, "predict must be auto, none, rows or tokens, not \"%s\"",
		       value);
}

static int set(struct codec_spec *s, const char *key, const char *value, struct err *e)
{
	if (!strcmp(key, "delta"))
		return set_delta(s, value, e);
	if (!strcmp(key, "tau"))
		return set_tau(s, value, e);
	if (!strcmp(key, "min"))
		return set_bits(&s->row.bits_min, key, value, e);
	if (!strcmp(key, "max"))
		return set_bits(&s->row.bits_max, key, value, e);
	if (!strcmp(key, "entropy"))
		return set_entropy(s, value, e);
	if (!strcmp(key, "predict"))
		return set_predict(s, value, e);
	return err_set(e, ERR_CONFIG,
		       "tabq has no key \"%s\"; there are delta, tau, min, max, entropy and "
		       "predict",
		       key);
}

/* "key=value,key=value"; the text is taken apart. */
static int set_all(struct codec_spec *s, char *text, struct err *e)
{
	char *rest = NULL;

	for (char *part = strtok_r(text, ",", &rest); part; part = strtok_r(NULL, ",", &rest)) {
		char *value = strchr(part, '=');
		int rc;

		if (!value)
			return err_set(e, ERR_CONFIG, "\"%s\" is not KEY=VALUE", part);
		*value++ = '\0';
		rc = set(s, part, value, e);
		if (rc)
			return rc;
	}
	if (s->row.bits_min > s->row.bits_max)
		return err_set(e, ERR_CONFIG, "min=%u is above max=%u", s->row.bits_min,
			       s->row.bits_max);
	return 0;
}

int spec_parse(struct codec_spec *spec, const char *text, struct err *e)
{
	struct codec_spec s = { .tabq = true,
				.delta = 0.005f,
				.row = { .tau_kind = ROW_TAU_AUTO, .bits_min = 2, .bits_max = 8 },
				.entropy = SPEC_RANS,
				.predict = SPEC_AUTO };
	char copy[SPEC_MAX];
	int rc = 0;

	for (unsigned id = 0; id < PLAIN_COUNT; id++) {
		if (!strcmp(plain_name((enum plain_id)id), text)) {
			*spec = (struct codec_spec){ .plain = (enum plain_id)id };
			return 0;
		}
	}
	if (strncmp(text, "tabq", 4) || (text[4] && text[4] != ':'))
		return err_set(e, ERR_CONFIG,
			       "no codec \"%.40s\"; there are f32, f16, q8, q4 and tabq", text);
	if (strlen(text) >= sizeof(copy))
		return err_set(e, ERR_CONFIG, "a codec of more than %zu bytes", sizeof(copy) - 1);
	memcpy(copy, text, strlen(text) + 1);
	if (copy[4])
		rc = set_all(&s, copy + 5, e);
	if (!rc)
		*spec = s;
	return rc;
}

/* With as few digits as are read as the same number: 0.1, where nine would be 0.100000001; and an
 * end of a range must not be printed as what is beyond it. */
static void print_float(float v, char dst[static 24])
{
	for (int digits = 6; digits <= 9; digits++) {
		snprintf(dst, 24, "%.*g", digits, (double)v);
		if (strtof(dst, NULL) == v)
			return;
	}
}

static void print_tau(const struct row_conf *row, char dst[static 32])
{
	char value[24];

	print_float(row->tau, value);
	if (row->tau_kind == ROW_TAU_AUTO)
		snprintf(dst, 32, "auto");
	else if (row->tau_kind == ROW_TAU_OFF)
		snprintf(dst, 32, "off");
	else
		snprintf(dst, 32, "%s%s", row->tau_kind == ROW_TAU_ABS ? "abs:" : "", value);
}

const char *spec_print(const struct codec_spec *spec, char dst[static SPEC_MAX])
{
	char tau[32], delta[24];

	if (!spec->tabq) {
		snprintf(dst, SPEC_MAX, "%s", plain_name(spec->plain));
		return dst;
	}
	print_tau(&spec->row, tau);
	print_float(spec->delta, delta);
	snprintf(dst, SPEC_MAX, "tabq:delta=%s,tau=%s,min=%u,max=%u,entropy=%s,predict=%s", delta,
		 tau, spec->row.bits_min, spec->row.bits_max, spec_entropy_name(spec->entropy),
		 spec_predict_name(spec->predict));
	return dst;
}
