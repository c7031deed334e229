#include "tests/broker.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define START_TIMEOUT_MS 10000
#define N_PATHS          8
#define PATH_BYTES       512

struct broker {
	char dir[PATH_BYTES / 2];
	uint16_t port;
	pid_t pid; /* 0: not running */
	char *lines;
};

static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "broker: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	abort();
}

static const char *binary(void)
{
	static const char *const places[] = { "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto",
					      "/usr/bin/mosquitto",
					      "/opt/homebrew/sbin/mosquitto" };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (access(places[i], X_OK) == 0)
			return places[i];
	}
	return NULL;
}

const char *broker_missing(void)
{
	const char *wanted = getenv("SPLITMQ_BROKER_TESTS");

	if (wanted && !strcmp(wanted, "0"))
		return "tests with a broker are switched off";
	return binary() ? NULL : "no mosquitto on this machine";
}

/* ---- files ---- */

const char *broker_path(const struct broker *b, const char *name)
{
	static char paths[N_PATHS][PATH_BYTES];
	static unsigned turn;
	char *path = paths[turn++ % N_PATHS];

	if (snprintf(path, PATH_BYTES, "%s/%s", b->dir, name) >= PATH_BYTES)
		die("path too long: %s", name);
	return path;
}

void broker_write(const struct broker *b, const char *name, const char *text)
{
	FILE *f = fopen(broker_path(b, name), "w");

	if (!f || fputs(text, f) < 0 || fclose(f))
		die("%s: %s", name, strerror(errno));
}

static void print_log(const struct broker *b)
{
	char line[512];
	FILE *f = fopen(broker_path(b, "broker.log"), "r");

	while (f && fgets(line, sizeof(line), f))
		fprintf(stderr, "  %s", line);
	if (f)
		fclose(f);
}

static void remove_dir(const char *dir)
{
	DIR *d = opendir(dir);
	char path[2 * PATH_BYTES];

	if (!d)
		return;
	for (struct dirent *f; (f = readdir(d));) {
		snprintf(path, sizeof(path), "%s/%s", dir, f->d_name);
		if (f->d_name[0] != '.')
			unlink(path);
	}
	closedir(d);
	rmdir(dir);
}

/* ---- processes ---- */

/* In a child: output to the log, working directory is the broker's, die with the parent. */
static void exec_in(const struct broker *b, char *const argv[], pid_t parent)
{
	int fd = open(broker_path(b, "broker.log"), O_WRONLY | O_CREAT | O_APPEND, 0600);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fd < 0 || getppid() != parent || chdir(b->dir))
		_exit(126);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	execvp(argv[0], argv);
	_exit(127);
}

static pid_t spawn(const struct broker *b, char *const argv[])
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid == 0)
		exec_in(b, argv, parent);
	return pid;
}

static void run(const struct broker *b, char *const argv[])
{
	int status;
	pid_t pid = spawn(b, argv);

	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status)) {
		print_log(b);
		die("%s failed", argv[0]);
	}
}

static uint16_t free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) ||
	    getsockname(fd, (struct sockaddr *)&a, &len))
		die("no free port: %s", strerror(errno));
	close(fd);
	return ntohs(a.sin_port);
}

static void sleep_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

static bool accepts_now(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	bool yes = fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;

	if (fd >= 0)
		close(fd);
	return yes;
}

bool broker_accepts(uint16_t port, unsigned timeout_ms)
{
	uint64_t until = clock_now_ms() + timeout_ms;

	while (!accepts_now(port)) {
		if (clock_now_ms() >= until)
			return false;
		sleep_ms(10);
	}
	return true;
}

/* ---- the broker ---- */

struct broker *broker_create(void)
{
	struct broker *b = calloc(1, sizeof(*b));
	const char *tmp = getenv("TMPDIR");

	if (!b)
		die("out of memory");
	snprintf(b->dir, sizeof(b->dir), "%s/splitmq-test-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(b->dir))
		die("%s: %s", b->dir, strerror(errno));
	b->port = free_port();
	return b;
}

uint16_t broker_port(const struct broker *b)
{
	return b->port;
}

static void write_conf(const struct broker *b)
{
	FILE *f = fopen(broker_path(b, "mosquitto.conf"), "w");

	if (!f)
		die("mosquitto.conf: %s", strerror(errno));
	/* Started by root it would become another user, who cannot read our directory. */
	if (geteuid() == 0)
		fprintf(f, "user root\n");
	fprintf(f, "set_tcp_nodelay true\nmax_queued_messages 100000\n");
	if (!strstr(b->lines, "listener "))
		fprintf(f, "listener %u 127.0.0.1\n", b->port);
	fprintf(f, "%s\n", b->lines);
	if (fclose(f))
		die("mosquitto.conf: %s", strerror(errno));
}

/* Running and accepting; false when it ended at once (the port may have been taken meanwhile). */
static bool try_start(struct broker *b)
{
	char *argv[] = { (char *)(uintptr_t)binary(), "-c", "mosquitto.conf", NULL };
	uint64_t until = clock_now_ms() + START_TIMEOUT_MS;

	write_conf(b);
	b->pid = spawn(b, argv);
	while (!accepts_now(b->port)) {
		if (waitpid(b->pid, NULL, WNOHANG) == b->pid) {
			b->pid = 0;
			return false;
		}
		if (clock_now_ms() >= until)
			die("mosquitto does not accept connections");
		sleep_ms(5);
	}
	return waitpid(b->pid, NULL, WNOHANG) == 0;
}

void broker_start(struct broker *b, const char *lines)
{
	free(b->lines);
	b->lines = strdup(lines ? lines : "allow_anonymous true");
	if (!b->lines)
		die("out of memory");
	for (int tries = 0; tries < 5; tries++) {
		if (try_start(b))
			return;
		if (!strstr(b->lines, "listener "))
			b->port = free_port();
	}
	print_log(b);
	die("mosquitto does not start");
}

void broker_restart(struct broker *b)
{
	if (!try_start(b)) {
		print_log(b);
		die("mosquitto does not start again");
	}
}

static void end(struct broker *b, int sig)
{
	if (!b->pid)
		return;
	kill(b->pid, SIGCONT);
	/* Mosquitto forgets a SIGTERM that comes before its main loop begins. */
	for (unsigned tries = 0; waitpid(b->pid, NULL, WNOHANG) != b->pid; tries++) {
		if (tries % 100 == 0)
			kill(b->pid, sig);
		sleep_ms(5);
	}
	b->pid = 0;
}

void broker_stop(struct broker *b)
{
	end(b, SIGTERM);
}

void broker_kill(struct broker *b)
{
	end(b, SIGKILL);
}

void broker_freeze(struct broker *b)
{
	kill(b->pid, SIGSTOP);
}

void broker_thaw(struct broker *b)
{
	kill(b->pid, SIGCONT);
}

void broker_destroy(struct broker *b)
{
	if (!b)
		return;
	broker_kill(b);
	remove_dir(b->dir);
	free(b->lines);
	free(b);
}

/* ---- credentials ---- */

#define NEW_KEY "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"

static void make_authority(const struct broker *b, char *key, char *crt, char *subject)
{
	char *argv[] = { "openssl", "req", "-x509", NEW_KEY, "-keyout", key,
			 "-out",    crt,   "-subj", subject, NULL };

	run(b, argv);
}

static void make_signed(const struct broker *b, char *key, char *crt, char *subject, char *alt)
{
	char *argv[] = { "openssl", "req",    "-x509",   NEW_KEY, "-CA",  "ca.crt",
			 "-CAkey",  "ca.key", "-keyout", key,     "-out", crt,
			 "-subj",   subject,  "-addext", alt,     NULL };

	run(b, argv);
}

void broker_make_certificates(const struct broker *b)
{
	make_authority(b, "ca.key", "ca.crt", "/CN=test authority");
	make_authority(b, "other.key", "other.crt", "/CN=another authority");
	make_signed(b, "server.key", "server.crt", "/CN=localhost",
		    "subjectAltName=DNS:localhost,IP:127.0.0.1");
	make_signed(b, "client.key", "client.crt", "/CN=client", "subjectAltName=DNS:client");
}

void broker_add_user(const struct broker *b, const char *file, const char *user,
		     const char *password)
{
	char *argv[] = { "mosquitto_passwd",          "-b",
			 (char *)(uintptr_t)file,     (char *)(uintptr_t)user,
			 (char *)(uintptr_t)password, NULL };

	close(open(broker_path(b, file), O_WRONLY | O_CREAT | O_APPEND, 0600));
	run(b, argv);
}
