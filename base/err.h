/* base/err.h - error codes, and a sentence for the person who must act.
 *
 * Every fallible function returns 0 or a negative ERR_*. When a person must read the reason it
 * also takes a last `struct err *e`: whoever meets the failure states the fact with err_set, each
 * caller adds one piece of context with err_wrap: "open m.gguf: tensor blk.3.ffn_up: 12 bytes
 * short". Any thread; a struct err belongs to one thread at a time. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/* name, number, phrase. Numbers travel in ERROR messages: append only, never renumber. */
#define ERR_LIST(X)                                                                                \
	X(FORMAT, 1, "malformed data")                                                             \
	X(VERSION, 2, "unsupported version")                                                       \
	X(LIMIT, 3, "limit exceeded")                                                              \
	X(NOMEM, 4, "out of memory")                                                               \
	X(IO, 5, "input/output failed")                                                            \
	X(UNSUPPORTED, 6, "not supported")                                                         \
	X(NOT_FOUND, 7, "not found")                                                               \
	X(USAGE, 8, "wrong usage")                                                                 \
	X(CONFIG, 9, "wrong configuration")                                                        \
	X(MODEL_MISMATCH, 10, "the two sides hold different models")                               \
	X(TIMEOUT, 11, "no answer in time")                                                        \
	X(OFFLINE, 12, "broker not connected")                                                     \
	X(BUSY, 13, "no free capacity")                                                            \
	X(STATE, 14, "not possible in this state")                                                 \
	X(REFUSED, 15, "refused")                                                                  \
	X(NOT_FINITE, 16, "a value is NaN or infinite")                                            \
	X(CONTEXT, 17, "longer than the context")                                                  \
	X(CANCELLED, 18, "cancelled")                                                              \
	X(INTERNAL, 19, "internal error")

#define ERR_ENUM(name, number, phrase) ERR_##name = -(number),
enum err_code { ERR_NONE = 0, ERR_LIST(ERR_ENUM) };
#undef ERR_ENUM

#define MUST_CHECK             __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

struct err {
	int code;       /* 0 or ERR_* */
	char text[240]; /* a sentence without final stop; cut text ends in "..." */
};

/* Store code and text in *e (e may be NULL) and return code: `return err_set(...)` reads well. */
int err_set(struct err *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Put "context: " before the text that is there. Returns e's code (or ERR_INTERNAL without e). */
int err_wrap(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Why the file `path` could not be created, by the `number` that errno had: "path: ..."; a folder
 * that is missing is named. Returns ERR_IO. */
int err_create(struct err *e, const char *path, int number);

/* "ERR_LIMIT" -> "limit": the lower-case word used on the wire and in logs; "unknown" otherwise. */
const char *err_name(int code);

/* The phrase of the list, a constant string; "unknown error" for any other number. */
const char *err_phrase(int code);

/* Inverse of err_name: the code (negative), or ERR_INTERNAL for a word that is not in the list. */
int err_code_of(const char *name);

#endif
