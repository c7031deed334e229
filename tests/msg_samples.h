/* tests/msg_samples.h - control messages with every field set to something of its own, and the
 * shortest of their kind; for the tests of msg and of the JSON Schemas. */
#ifndef TESTS_MSG_SAMPLES_H
#define TESTS_MSG_SAMPLES_H

#include <stddef.h>

#include "schema/msg.h"

size_t msg_samples_count(void);

/* Copy of sample i < msg_samples_count(); what it points to is constant: no msg_finish. */
struct msg msg_samples_at(size_t i);

#endif
