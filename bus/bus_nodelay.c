/* With Nagle's algorithm a QoS 1 round trip of 1 KB takes 88 ms instead of 0.1 ms: the last short
 * segment of a packet waits for an acknowledgement that the broker's side delays. Paho 1.3 has no
 * option for it and does not show its socket, so we look for the socket ourselves: it is the one
 * whose peer has the broker's port. Setting the option on another connection to the same port (a
 * second bus) does no harm. Interposing connect() would do too, but fights the sanitizers. */
#include "bus/bus_nodelay.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static bool peer_has_port(int fd, uint16_t port)
{
	struct sockaddr_storage peer = { 0 };
	socklen_t len = sizeof(peer), type_len = sizeof(int);
	int type = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) || type != SOCK_STREAM ||
	    getpeername(fd, (struct sockaddr *)&peer, &len))
		return false;
	if (peer.ss_family == AF_INET)
		return ((struct sockaddr_in *)&peer)->sin_port == htons(port);
	if (peer.ss_family == AF_INET6)
		return ((struct sockaddr_in6 *)&peer)->sin6_port == htons(port);
	return false;
}

static int set(int fd, struct err *e)
{
	socklen_t len = sizeof(int);
	int on = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		return err_set(e, ERR_IO, "setsockopt: %s", strerror(errno));
	on = 0;
	if (getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &len) || !on)
		return err_set(e, ERR_IO, "the option did not take");
	return 0;
}

/* Linux calls a socket writable while at most two thirds of its send buffer are in use. */
static void keep(struct bus_sockets *s, int fd)
{
	socklen_t len = sizeof(int);
	int bytes = 0;

	if (s->n == BUS_SOCKETS_MAX || getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &len)) {
		s->room_bytes = 0;
		return;
	}
	s->fds[s->n++] = fd;
	if (s->room_bytes > (size_t)bytes / 8)
		s->room_bytes = (size_t)bytes / 8;
}

bool bus_sockets_have_room(const struct bus_sockets *s, size_t len)
{
	struct pollfd p[BUS_SOCKETS_MAX];

	if (!s->n || len > s->room_bytes)
		return false;
	for (unsigned i = 0; i < s->n; i++)
		p[i] = (struct pollfd){ .fd = s->fds[i], .events = POLLOUT };
	return poll(p, s->n, 0) == (int)s->n;
}

int bus_nodelay_set(uint16_t port, struct bus_sockets *s, struct err *e)
{
	DIR *dir = opendir("/proc/self/fd");
	int rc = ERR_NOT_FOUND;

	*s = (struct bus_sockets){ .room_bytes = SIZE_MAX };
	if (!dir)
		return err_set(e, ERR_IO, "/proc/self/fd: %s", strerror(errno));
	for (struct dirent *d; (d = readdir(dir)) && (rc == 0 || rc == ERR_NOT_FOUND);) {
		int fd = (int)strtol(d->d_name, NULL, 10); /* "." and ".." read as 0 */

		if (!peer_has_port(fd, port))
			continue;
		rc = set(fd, e);
		keep(s, fd);
	}
	closedir(dir);
	return rc == ERR_NOT_FOUND ? err_set(e, rc, "no socket to port %u found", port) : rc;
}
