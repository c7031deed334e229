/* tests/broker.h - a private mosquitto for one test: own directory, own port on loopback.
 *
 * Nothing here returns an error: what goes wrong is printed and the test program aborts. The
 * broker dies with the thread that started it, so a test that crashes leaves no process behind.
 * One thread. */
#ifndef TESTS_BROKER_H
#define TESTS_BROKER_H

#include <stdbool.h>
#include <stdint.h>

struct broker;

/* NULL when brokers can be started here, else the reason to skip (no mosquitto, or switched off by
 * SPLITMQ_BROKER_TESTS=0). */
const char *broker_missing(void);

/* A directory under TMPDIR and a free port; nothing runs yet. */
struct broker *broker_create(void);

/* Stops it if it runs and removes the directory. NULL is fine. */
void broker_destroy(struct broker *b);

uint16_t broker_port(const struct broker *b);

/* Absolute path of a file in the broker's directory; valid until the next 32 calls. */
const char *broker_path(const struct broker *b, const char *name);
void broker_write(const struct broker *b, const char *name, const char *text);

/* Run mosquitto on these lines of mosquitto.conf and wait until it accepts connections. Without a
 * "listener" among them it listens on 127.0.0.1; NULL also allows anonymous clients. File names in
 * them may be relative to the directory. */
void broker_start(struct broker *b, const char *lines);

/* With the lines of before, on the same port. */
void broker_restart(struct broker *b);

void broker_stop(struct broker *b); /* SIGTERM, and wait. Not running is fine. */
void broker_kill(struct broker *b); /* SIGKILL, and wait */
void broker_freeze(struct broker *b);
void broker_thaw(struct broker *b);

/* Wait until something accepts connections on a loopback port; false after timeout_ms. */
bool broker_accepts(uint16_t port, unsigned timeout_ms);

/* Make ca.crt, server.crt/.key (localhost, 127.0.0.1), client.crt/.key (CN=client) and another
 * authority's other.crt in the directory, all valid for two days. */
void broker_make_certificates(const struct broker *b);

/* user:password for a password_file, by mosquitto_passwd. */
void broker_add_user(const struct broker *b, const char *file, const char *user,
		     const char *password);

#endif
