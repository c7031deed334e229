/* worker/worker.h - the worker with its threads: net (bus), loop (the caller), compute (tail). */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"

struct worker;

/* Load the model, connect in the background. conf must outlive the worker. */
MUST_CHECK int worker_create(struct worker **out, const struct config_worker *conf, struct err *e);
void worker_destroy(struct worker *w);

/* Loop until a signal has been obeyed: the first drains (running sessions go on until they close or
 * fall idle), the second ends at once. Returns 0, or ERR_* when the bus gave up for good. */
MUST_CHECK int worker_run(struct worker *w, struct err *e);

/* Any thread: deliver a signal (SIGINT, SIGTERM) to the loop. */
void worker_signal(void *worker, int signal);

struct worker_facts {
	uint32_t n_layers, first_layer;
	size_t weight_bytes; /* of layers [first_layer, L) and head */
};
void worker_get_facts(const struct worker *w, struct worker_facts *f);

/* --check: model and memory, without connecting. */
MUST_CHECK int worker_check(const struct config_worker *conf, struct err *e);

#endif
