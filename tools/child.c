#include "tools/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define STEP_MS 5

/* In the child: nothing but system calls and exec. */
static void become(char *const argv[], int log, pid_t parent)
{
	static const char *const folders[] = { "/usr/sbin", "/usr/local/sbin" };
	char path[256];
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL); /* ours may be blocked */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(126);
	dup2(log, STDOUT_FILENO);
	dup2(log, STDERR_FILENO);
	close(STDIN_FILENO);
	execvp(argv[0], argv);
	for (unsigned i = 0; i < 2 && !strchr(argv[0], '/'); i++) {
		snprintf(path, sizeof(path), "%s/%s", folders[i], argv[0]);
		execv(path, argv);
	}
	_exit(127);
}

int child_start(struct child *c, char *const argv[], const char *log, struct err *e)
{
	const pid_t parent = getpid();
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_set(e, ERR_IO, "%s: %s", log, strerror(errno));
	c->pid = fork();
	if (c->pid == 0)
		become(argv, fd, parent);
	close(fd);
	if (c->pid > 0)
		return 0;
	c->pid = 0;
	return err_set(e, ERR_IO, "%s: %s", argv[0], strerror(errno));
}

int child_find(char *path, size_t room, const char *folder, const char *program, struct err *e)
{
	char self[2048];
	const ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return err_set(e, ERR_NOT_FOUND, "/proc/self/exe: %s", strerror(errno));
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	if ((size_t)snprintf(path, room, "%s/%s", self, program) >= room)
		return err_set(e, ERR_LIMIT, "%s: the path is too long", program);
	if (!access(path, X_OK))
		return 0;
	if ((size_t)snprintf(path, room, "%s/../%s/%s", self, folder, program) >= room)
		return err_set(e, ERR_LIMIT, "%s: the path is too long", program);
	return access(path, X_OK) ? err_set(e, ERR_NOT_FOUND, "no %s beside this program", program)
				  : 0;
}

bool child_runs(struct child *c)
{
	if (c->pid && waitpid(c->pid, NULL, WNOHANG) == c->pid)
		c->pid = 0;
	return c->pid != 0;
}

void child_stop(struct child *c, unsigned grace_ms)
{
	const struct timespec step = { .tv_nsec = STEP_MS * 1000000 };
	const uint64_t until = clock_now_ms() + grace_ms;

	if (!child_runs(c))
		return;
	kill(c->pid, SIGTERM);
	while (child_runs(c) && clock_now_ms() < until)
		nanosleep(&step, NULL);
	if (!c->pid)
		return;
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	c->pid = 0;
}
