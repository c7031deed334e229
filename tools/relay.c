#include "tools/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rng.h"

#define MOST_QUEUED ((size_t)8 << 20) /* bytes on the way in a direction; then TCP holds back */
#define SLACK_NS    1000              /* of the kernel's timers for this thread */

struct packet {
	struct packet *next;
	uint64_t due_us;
	uint32_t len, done; /* bytes; passed on already */
	uint8_t bytes[];
};

/* One direction of one connection: what was read from `from` and is not yet written to `to`. */
struct flow {
	int from, to;
	struct packet *first, *last;
	size_t queued;
	bool ended; /* nothing more can be read */
	bool shut;  /* and the other side was told */
};

struct connection {
	bool used, connecting;
	struct flow flows[2]; /* up, down */
};

/* The wire of a direction. */
struct wire {
	uint64_t free_us; /* when the last packet has left */
	uint64_t due_us;  /* of the last packet: none overtakes */
	uint64_t packets;
	_Atomic uint64_t bytes;
};

struct relay {
	struct relay_conf conf;
	_Atomic uint64_t rate_bit_s; /* that of conf at first */
	struct sockaddr_storage to;
	socklen_t to_len;
	int listener, wake[2]; /* wake: a pipe that ends the thread */
	uint16_t port;
	pthread_t thread;
	bool runs;
	struct connection connections[RELAY_MAX_CONNECTIONS];
	struct wire wires[2];
};

static void set_up(int fd)
{
	const int one = 1;

	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void close_connection(struct connection *c)
{
	for (unsigned i = 0; i < 2; i++) {
		while (c->flows[i].first) {
			struct packet *p = c->flows[i].first;

			c->flows[i].first = p->next;
			free(p);
		}
	}
	close(c->flows[0].from);
	close(c->flows[0].to);
	*c = (struct connection){ 0 };
}

static struct connection *unused(struct relay *r)
{
	for (unsigned i = 0; i < RELAY_MAX_CONNECTIONS; i++) {
		if (!r->connections[i].used)
			return &r->connections[i];
	}
	return NULL;
}

/* Somebody connects: connect on. Too many, or a failure, and he is turned away. */
static void accept_one(struct relay *r)
{
	struct connection *c = unused(r);
	int fd = accept(r->listener, NULL, NULL), to;

	if (fd < 0)
		return;
	to = socket(r->to.ss_family, SOCK_STREAM, 0);
	if (!c || to < 0 || to >= FD_SETSIZE || fd >= FD_SETSIZE) {
		close(fd);
		if (to >= 0)
			close(to);
		return;
	}
	set_up(fd);
	set_up(to);
	*c = (struct connection){ .used = true,
				  .flows = { { .from = fd, .to = to }, { .from = to, .to = fd } } };
	c->connecting = connect(to, (struct sockaddr *)&r->to, r->to_len) != 0;
	if (c->connecting && errno != EINPROGRESS)
		close_connection(c);
}

/* When a packet of len bytes that arrived now reaches the other end. */
static uint64_t due_us(struct relay *r, unsigned direction, uint32_t len)
{
	const struct relay_conf *c = &r->conf;
	struct wire *w = &r->wires[direction];
	const uint64_t now = clock_now_us();
	const uint64_t rate = atomic_load_explicit(&r->rate_bit_s, memory_order_relaxed);
	uint64_t due;

	if (w->free_us < now)
		w->free_us = now;
	if (rate)
		w->free_us += len * 8000000ull / rate;
	due = w->free_us + c->delay_us;
	if (c->jitter_us)
		due += rng_u64(c->seed + direction, w->packets) % (c->jitter_us + 1ull);
	w->packets++;
	w->due_us = due > w->due_us ? due : w->due_us;
	return w->due_us;
}

static void append(struct flow *f, struct packet *p)
{
	if (f->last && f->first)
		f->last->next = p;
	else
		f->first = p;
	f->last = p;
	f->queued += p->len;
}

/* Take what has arrived. False when the connection is broken. */
static bool take(struct relay *r, struct flow *f, unsigned direction)
{
	while (!f->ended && f->queued < MOST_QUEUED) {
		struct packet *p = malloc(sizeof(*p) + RELAY_PACKET);
		ssize_t n;

		if (!p)
			return false;
		n = recv(f->from, p->bytes, RELAY_PACKET, 0);
		if (n <= 0) {
			free(p);
			f->ended = n == 0;
			return n == 0 || errno == EAGAIN || errno == EINTR;
		}
		p->next = NULL;
		p->done = 0;
		p->len = (uint32_t)n;
		p->due_us = due_us(r, direction, p->len);
		append(f, p);
	}
	return true;
}

/* Pass on what is due. False when the connection is broken. */
static bool pass(struct relay *r, struct flow *f, unsigned direction)
{
	const uint64_t now = clock_now_us();

	while (f->first && f->first->due_us <= now) {
		struct packet *p = f->first;
		ssize_t n = send(f->to, p->bytes + p->done, p->len - p->done, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		p->done += (uint32_t)n;
		atomic_fetch_add_explicit(&r->wires[direction].bytes, (uint64_t)n,
					  memory_order_relaxed);
		if (p->done < p->len)
			return true;
		f->first = p->next;
		f->queued -= p->len;
		free(p);
	}
	if (f->ended && !f->first && !f->shut) {
		shutdown(f->to, SHUT_WR);
		f->shut = true;
	}
	return true;
}

static void serve(struct relay *r, struct connection *c)
{
	int failed = 0;
	socklen_t len = sizeof(failed);
	bool good = true;

	if (c->connecting) {
		good = !getsockopt(c->flows[0].to, SOL_SOCKET, SO_ERROR, &failed, &len) && !failed;
		c->connecting = false;
	}
	for (unsigned i = 0; i < 2 && good; i++)
		good = take(r, &c->flows[i], i) && pass(r, &c->flows[i], i);
	if (!good || (c->flows[0].shut && c->flows[1].shut))
		close_connection(c);
}

/* What the thread waits for. */
struct wait {
	fd_set reads, writes;
	int most;
	uint64_t next_us; /* when a packet is due; UINT64_MAX: never */
};

static void want(struct wait *w, fd_set *set, int fd)
{
	FD_SET(fd, set);
	w->most = fd > w->most ? fd : w->most;
}

static void want_flow(struct wait *w, const struct flow *f, uint64_t now)
{
	if (!f->ended && f->queued < MOST_QUEUED)
		want(w, &w->reads, f->from);
	if (!f->first)
		return;
	if (f->first->due_us <= now) /* its receiver does not take more */
		want(w, &w->writes, f->to);
	else if (f->first->due_us < w->next_us)
		w->next_us = f->first->due_us;
}

static void wait_for(struct relay *r, struct wait *w)
{
	const uint64_t now = clock_now_us();
	struct timespec t;

	FD_ZERO(&w->reads);
	FD_ZERO(&w->writes);
	w->most = 0;
	w->next_us = UINT64_MAX;
	want(w, &w->reads, r->wake[0]);
	want(w, &w->reads, r->listener);
	for (unsigned i = 0; i < RELAY_MAX_CONNECTIONS; i++) {
		struct connection *c = &r->connections[i];

		if (c->used && c->connecting)
			want(w, &w->writes, c->flows[0].to);
		for (unsigned k = 0; k < 2 && c->used && !c->connecting; k++)
			want_flow(w, &c->flows[k], now);
	}
	if (w->next_us != UINT64_MAX) {
		const uint64_t us = w->next_us > now ? w->next_us - now : 0;

		t = (struct timespec){ (time_t)(us / 1000000), (long)(us % 1000000) * 1000 };
	}
	if (pselect(w->most + 1, &w->reads, &w->writes, NULL, w->next_us == UINT64_MAX ? NULL : &t,
		    NULL) < 0) {
		FD_ZERO(&w->reads);
		FD_ZERO(&w->writes);
	}
}

static void *run(void *arg)
{
	struct relay *r = arg;
	struct wait w;

	prctl(PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0);
	for (;;) {
		wait_for(r, &w);
		if (FD_ISSET(r->wake[0], &w.reads))
			return NULL;
		for (unsigned i = 0; i < RELAY_MAX_CONNECTIONS; i++) {
			struct connection *c = &r->connections[i];

			if (c->used && (!c->connecting || FD_ISSET(c->flows[0].to, &w.writes)))
				serve(r, c);
		}
		if (FD_ISSET(r->listener, &w.reads))
			accept_one(r);
	}
}

/* First address of a host and a port -> *a. */
static int resolve(const char *host, uint16_t port, struct sockaddr_storage *a, socklen_t *len,
		   struct err *e)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
	struct addrinfo *found = NULL;
	char service[8];
	int rc;

	snprintf(service, sizeof(service), "%u", (unsigned)port);
	rc = getaddrinfo(host, service, &hints, &found);
	if (rc)
		return err_set(e, ERR_IO, "%s: %s", host, gai_strerror(rc));
	memcpy(a, found->ai_addr, found->ai_addrlen);
	*len = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

static int open_listener(struct relay *r, struct err *e)
{
	const char *host = r->conf.listen_host ? r->conf.listen_host : "127.0.0.1";
	struct sockaddr_storage a;
	socklen_t len = 0, full = sizeof(a);
	const int one = 1;
	int rc = resolve(host, r->conf.listen_port, &a, &len, e);

	if (rc)
		return rc;
	r->listener = socket(a.ss_family, SOCK_STREAM, 0);
	if (r->listener >= 0) {
		setsockopt(r->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		set_up(r->listener);
	}
	if (r->listener < 0 || r->listener >= FD_SETSIZE ||
	    bind(r->listener, (struct sockaddr *)&a, len) || listen(r->listener, 16) ||
	    getsockname(r->listener, (struct sockaddr *)&a, &full))
		return err_set(e, ERR_IO, "%s:%u: %s", host, (unsigned)r->conf.listen_port,
			       strerror(errno));
	r->port = ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&a)->sin6_port
						: ((struct sockaddr_in *)(void *)&a)->sin_port);
	return 0;
}

int relay_start(struct relay **out, const struct relay_conf *conf, struct err *e)
{
	struct relay *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_set(e, ERR_NOMEM, "relay: out of memory");
	r->conf = *conf;
	r->rate_bit_s = conf->rate_bit_s;
	r->listener = r->wake[0] = r->wake[1] = -1;
	rc = resolve(conf->to_host, conf->to_port, &r->to, &r->to_len, e);
	if (!rc)
		rc = open_listener(r, e);
	if (!rc && pipe(r->wake))
		rc = err_set(e, ERR_IO, "pipe: %s", strerror(errno));
	if (!rc && (r->wake[0] >= FD_SETSIZE || pthread_create(&r->thread, NULL, run, r)))
		rc = err_set(e, ERR_NOMEM, "relay: no thread");
	r->runs = !rc;
	if (rc) {
		relay_stop(r);
		return rc;
	}
	*out = r;
	return 0;
}

void relay_stop(struct relay *r)
{
	if (!r)
		return;
	if (r->runs) {
		(void)!write(r->wake[1], "", 1);
		pthread_join(r->thread, NULL);
	}
	for (unsigned i = 0; i < RELAY_MAX_CONNECTIONS; i++) {
		if (r->connections[i].used)
			close_connection(&r->connections[i]);
	}
	for (unsigned i = 0; i < 2; i++) {
		if (r->wake[i] >= 0)
			close(r->wake[i]);
	}
	if (r->listener >= 0)
		close(r->listener);
	free(r);
}

uint16_t relay_port(const struct relay *r)
{
	return r->port;
}

void relay_set_rate(struct relay *r, uint64_t rate_bit_s)
{
	atomic_store_explicit(&r->rate_bit_s, rate_bit_s, memory_order_relaxed);
}

void relay_get_bytes(const struct relay *r, uint64_t *up, uint64_t *down)
{
	*up = atomic_load_explicit(&r->wires[0].bytes, memory_order_relaxed);
	*down = atomic_load_explicit(&r->wires[1].bytes, memory_order_relaxed);
}
