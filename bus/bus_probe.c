/* Paho tells only that a connection failed. For the person who reads the log "Connection refused"
 * and "Name or service not known" are worth a second look after the failure. */
#include "bus/bus_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* errno of a connect, 0 when it was accepted. */
static int try_connect(const struct addrinfo *a)
{
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	int reason = 0;
	socklen_t len = sizeof(reason);

	if (fd < 0)
		return errno;
	if (connect(fd, a->ai_addr, a->ai_addrlen) && errno != EINPROGRESS)
		reason = errno;
	else if (poll(&p, 1, BUS_PROBE_MS) != 1)
		reason = ETIMEDOUT;
	else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &reason, &len))
		reason = errno;
	close(fd);
	return reason;
}

int bus_probe(const char *host, uint16_t port, struct err *e)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	char service[8];
	int reason;

	snprintf(service, sizeof(service), "%u", port);
	reason = getaddrinfo(host, service, &hints, &list);
	if (reason)
		return err_set(e, ERR_IO, "%s", gai_strerror(reason));
	reason = try_connect(list); /* the first, as the address that Paho takes mostly is */
	freeaddrinfo(list);
	return reason ? err_set(e, ERR_IO, "%s", strerror(reason)) : 0;
}
