/* schema/msg_field.h - fields that several control messages share; for schema/msg_*.c only.
 *
 * field_get_* read a key of an object, check it and name it in the error; field_add_* write it. */
#ifndef SCHEMA_MSG_FIELD_H
#define SCHEMA_MSG_FIELD_H

#include "schema/json.h"
#include "schema/msg.h"

#define FIELD_POS_MAX	 (1u << 20) /* positions, tokens of a context */
#define FIELD_DIM_MAX	 (1u << 20)
#define FIELD_SPLIT_MAX	 4096u
#define FIELD_VOCAB_MAX	 (1u << 20) /* token ids are below */
#define FIELD_EXACT_MAX	 (1ull << 53)	   /* integers that every JSON reader keeps */
#define FIELD_PACKET_MAX 268435456u	   /* bytes of an MQTT packet */
#define FIELD_MS_MAX	 (86400u * 1000u) /* a deadline: one day */
#define FIELD_DRAFTS_MAX 64u
#define FIELD_TEXT_MAX	 (4u << 20)	   /* bytes of an answer */

enum field_need { FIELD_OPTIONAL = 0, FIELD_NEEDED = 1 };

/* A string -> dst[cap], NUL included in cap. */
MUST_CHECK int field_get_text(const struct json *o, const char *key, enum field_need need,
			      char *dst, size_t cap, struct err *e);
/* A name that may stand in a topic -> dst. */
MUST_CHECK int field_get_name(const struct json *o, const char *key, enum field_need need,
			      char dst[static TOPIC_NAME_MAX + 1], struct err *e);
/* A model hash: 32 lower-case hex digits. */
MUST_CHECK int field_get_hash(const struct json *o, const char *key, enum field_need need,
			      char dst[static MSG_HASH_LEN + 1], struct err *e);
/* A codec SPEC: 1..127 printable ASCII characters. */
MUST_CHECK int field_get_calibration(const struct json *o, const char *key, enum field_need need,
				     char dst[static MSG_CALIBRATION_LEN + 1], struct err *e);
MUST_CHECK int field_get_spec(const struct json *o, const char *key, enum field_need need,
			      char dst[static MSG_SPEC_MAX], struct err *e);
/* A type of KV cache, one of KV_TYPE_WORDS; optional. */
MUST_CHECK int field_get_kv(const struct json *o, const char *key, char dst[static KV_TYPE_MAX],
			    struct err *e);
/* A class of sessions, one of MSG_CLASS_WORDS; optional. */
MUST_CHECK int field_get_class(const struct json *o, const char *key, enum msg_class *class,
			       struct err *e);
/* Name of a precision: characters of a name, 1..31. */
MUST_CHECK int field_get_front(const struct json *o, const char *key, enum field_need need,
			       char dst[static MSG_FRONT_MAX], struct err *e);
/* A number 0..2^53, a time or rate 0..1e9: optional, *v stays where there is none. */
MUST_CHECK int field_get_count(const struct json *o, const char *key, uint64_t *v, struct err *e);
MUST_CHECK int field_get_ms(const struct json *o, const char *key, double *v, struct err *e);
/* An array of at most max objects, optional: get reads element i into items + i * stride. *n is
 * their number. */
struct field_list {
	uint32_t max;
	size_t stride;
	int (*get)(void *item, const struct json *o, struct err *e);
};
MUST_CHECK int field_get_list(const struct json *o, const char *key, const struct field_list *l,
			      void *items, uint32_t *n, struct err *e);
/* 16 lower-case hex digits. */
MUST_CHECK int field_get_hex(const struct json *o, const char *key, uint64_t *v, struct err *e);
/* The keys "session" (not 0) and "epoch". */
MUST_CHECK int field_get_session(const struct json *o, uint64_t *session, uint32_t *epoch,
				 struct err *e);
/* An array of token ids, at most max; *n 0 when it is missing. */
MUST_CHECK int field_get_ids(const struct json *o, const char *key, enum field_need need,
			     uint32_t *ids, size_t max, uint32_t *n, struct err *e);
/* The sampling keys of o, each optional; *given has a bit for each that is there. */
MUST_CHECK int field_get_sampling(const struct json *o, struct msg_sampling *s, unsigned *given,
				  struct err *e);

void field_add_text(struct json *o, const char *key, const char *v); /* left out when empty */
void field_add_hex(struct json *o, const char *key, uint64_t v);
void field_add_session(struct json *o, uint64_t session, uint32_t epoch);
void field_add_ids(struct json *o, const char *key, const uint32_t *ids, size_t n);
void field_add_sampling(struct json *o, const struct msg_sampling *s, unsigned given);
void field_add_count(struct json *o, const char *key, uint64_t v); /* left out when 0 */
void field_add_ms(struct json *o, const char *key, double v);	   /* rounded to 0.001 */

void field_add_fine(struct json *o, const char *key, double v); /* to 1e-6; left out when 0 */

/* One reader and one writer per message; the envelope (v, type) is read and written by msg.c. */
#define FIELD_MESSAGES(X)                                                                          \
	X(agent_status)                                                                            \
	X(worker_status)                                                                           \
	X(coordinator_status)                                                                      \
	X(coordinator_lease)                                                                       \
	X(agent_profile)                                                                           \
	X(agent_telemetry)                                                                         \
	X(worker_telemetry)                                                                        \
	X(decision)                                                                                \
	X(decision_answer)                                                                         \
	X(open)                                                                                    \
	X(accept)                                                                                  \
	X(error)                                                                                   \
	X(tokens)                                                                                  \
	X(need)                                                                                    \
	X(close)                                                                                   \
	X(prompt)                                                                                  \
	X(cancel)                                                                                  \
	X(reply)

#define FIELD_DECLARE(name)                                                                        \
	MUST_CHECK int msg_get_##name(struct msg *m, const struct json *o, struct err *e);         \
	void msg_add_##name(const struct msg *m, struct json *o);
FIELD_MESSAGES(FIELD_DECLARE)
#undef FIELD_DECLARE

#endif
