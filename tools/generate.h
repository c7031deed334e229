/* tools/generate.h - a prompt's continuation by a model in one process: the reference that answers
 * over the bus are compared with. */
#ifndef TOOLS_GENERATE_H
#define TOOLS_GENERATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/sampler.h"
#include "engine/tokenizer.h"
#include "tools/local.h"

struct generate_job {
	const uint32_t *prompt;
	uint32_t n_prompt; /* >= 1 */
	uint32_t n_max;    /* tokens to generate at most, >= 1 */
	struct sampler_params sampling;

	/* Complete characters as they come; text is not NUL-terminated. */
	void (*emit)(void *arg, const char *text, size_t len);
	void *arg;
};

struct generate_result {
	uint32_t *ids; /* [n], the end token included; the caller frees */
	uint32_t n;
	const char *finish_reason; /* "stop" (end token), "length" (n_max), "context" (full) */
	uint64_t prompt_us;        /* rows of the prompt */
	uint64_t decode_us;        /* everything after them */
};

/* ERR_CONTEXT when the prompt leaves no room for an answer. r->ids is NULL after an error. */
MUST_CHECK int generate_run(struct generate_result *r, struct local *l, const struct tokenizer *tok,
			    const struct generate_job *job, struct err *e);

#endif
