#include "tools/private_broker.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon/daemon.h"
#include "tools/child.h"

#define START_MS 5000
#define STOP_MS  2000
#define TRIES    5

/* The folder of the one that runs goes even when the process is interrupted; children die with it.
 * For the life of the process. */
static struct {
	pthread_mutex_t lock;
	const char *folder; /* or NULL */
} left = { .lock = PTHREAD_MUTEX_INITIALIZER };
static pthread_once_t caught = PTHREAD_ONCE_INIT;

struct private_broker {
	char folder[256];
	uint16_t port;
	struct child child;
};

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons(port),
				     .sin_addr = { htonl(INADDR_LOOPBACK) } };
}

/* One that nobody listens on now. */
static int free_port(uint16_t *port, struct err *e)
{
	struct sockaddr_in a = loopback(0);
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0), rc = 0;

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) ||
	    getsockname(fd, (struct sockaddr *)&a, &len))
		rc = err_set(e, ERR_IO, "no free port: %s", strerror(errno));
	*port = ntohs(a.sin_port);
	if (fd >= 0)
		close(fd);
	return rc;
}

static bool accepts(uint16_t port)
{
	struct sockaddr_in a = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	bool yes = fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;

	if (fd >= 0)
		close(fd);
	return yes;
}

static int write_conf(const struct private_broker *b, const char *path, struct err *e)
{
	FILE *f = fopen(path, "w");

	if (!f)
		return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
	/* Started by root it would become another user, who cannot read our folder. */
	if (geteuid() == 0)
		fprintf(f, "user root\n");
	fprintf(f, "listener %u 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n",
		(unsigned)b->port);
	return fclose(f) ? err_set(e, ERR_IO, "%s: %s", path, strerror(errno)) : 0;
}

/* ERR_STATE: it ended at once; somebody else may have taken the port meanwhile. */
static int try_start(struct private_broker *b, struct err *e)
{
	const struct timespec step = { .tv_nsec = 5000000 };
	const uint64_t until = clock_now_ms() + START_MS;
	char conf[300], log[300], name[] = "mosquitto", option[] = "-c";
	char *const argv[] = { name, option, conf, NULL };
	int rc = free_port(&b->port, e);

	snprintf(conf, sizeof(conf), "%s/mosquitto.conf", b->folder);
	snprintf(log, sizeof(log), "%s/mosquitto.log", b->folder);
	if (!rc)
		rc = write_conf(b, conf, e);
	if (!rc)
		rc = child_start(&b->child, argv, log, e);
	while (!rc && !accepts(b->port)) {
		nanosleep(&step, NULL);
		if (!child_runs(&b->child))
			return err_set(e, ERR_STATE, "mosquitto does not run (is it installed?)");
		if (clock_now_ms() > until)
			return err_set(e, ERR_TIMEOUT, "mosquitto does not listen");
	}
	return rc;
}

static void remove_folder(const char *folder)
{
	DIR *d = opendir(folder);
	char path[600];

	if (!d)
		return;
	for (struct dirent *f; (f = readdir(d));) {
		snprintf(path, sizeof(path), "%s/%s", folder, f->d_name);
		if (strcmp(f->d_name, ".") && strcmp(f->d_name, ".."))
			unlink(path);
	}
	closedir(d);
	rmdir(folder);
}

/* Signals' own thread. */
static void on_signal(void *ctx, int number)
{
	(void)ctx;
	pthread_mutex_lock(&left.lock);
	if (left.folder)
		remove_folder(left.folder);
	_exit(128 + number);
}

static void catch_signals(void)
{
	daemon_block_signals();
	(void)!daemon_catch_signals(on_signal, NULL);
}

static void keep(const char *folder)
{
	pthread_once(&caught, catch_signals);
	pthread_mutex_lock(&left.lock);
	left.folder = folder;
	pthread_mutex_unlock(&left.lock);
}

int private_broker_start(struct private_broker **out, struct err *e)
{
	struct private_broker *b = calloc(1, sizeof(*b));
	const char *tmp = getenv("TMPDIR");
	int rc = ERR_STATE;

	if (!b)
		return err_set(e, ERR_NOMEM, "broker: out of memory");
	snprintf(b->folder, sizeof(b->folder), "%.200s/splitmq-bench-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(b->folder)) {
		rc = err_set(e, ERR_IO, "%s: %s", b->folder, strerror(errno));
		free(b);
		return rc;
	}
	keep(b->folder);
	for (unsigned i = 0; i < TRIES && rc == ERR_STATE; i++)
		rc = try_start(b, e);
	if (rc) {
		private_broker_stop(b);
		return rc == ERR_STATE ? err_set(e, ERR_NOT_FOUND, "mosquitto does not run") : rc;
	}
	*out = b;
	return 0;
}

void private_broker_stop(struct private_broker *b)
{
	if (!b)
		return;
	child_stop(&b->child, STOP_MS);
	keep(NULL);
	remove_folder(b->folder);
	free(b);
}

uint16_t private_broker_port(const struct private_broker *b)
{
	return b->port;
}

const char *private_broker_folder(const struct private_broker *b)
{
	return b->folder;
}
