/* A text is refused with a reason, or a SPEC that is printed as one that says the same. */
#include <stdlib.h>
#include <string.h>

#include "codec/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int same(const struct codec_spec *a, const struct codec_spec *b)
{
	return a->tabq == b->tabq && a->plain == b->plain && a->delta == b->delta &&
	       a->row.tau_kind == b->row.tau_kind && a->row.tau == b->row.tau &&
	       a->row.bits_min == b->row.bits_min && a->row.bits_max == b->row.bits_max &&
	       a->entropy == b->entropy && a->predict == b->predict;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = malloc(len + 1), printed[SPEC_MAX];
	struct codec_spec a, b;
	struct err e = { 0 };

	if (!text)
		abort();
	memcpy(text, data, len);
	text[len] = '\0';
	if (spec_parse(&a, text, &e)) {
		if (!e.text[0])
			abort();
	} else if (spec_parse(&b, spec_print(&a, printed), &e) || !same(&a, &b)) {
		abort();
	}
	free(text);
	return 0;
}
