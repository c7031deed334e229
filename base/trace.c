#include "base/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define NAME_MAX_BYTES 128
#define FIRST_TRACK    (TRACE_THREADS + 1) /* thread ids of the file; those of threads are below */

struct span {
	const char *name;
	uint64_t start_us, end_us;
	uint32_t pos;
	uint32_t tid;
};

/* One writer, its thread; read when that has ended. */
struct ring {
	_Atomic(const char *) thread;
	atomic_size_t n;    /* spans ever written */
	struct span *spans; /* [TRACE_SPANS] */
};

/* Written by trace_open and trace_close only, but for the rings. For the life of the process. */
static struct {
	atomic_bool on;
	atomic_uint generation; /* of the rings: a thread may outlive a trace */
	atomic_uint n_rings;    /* ever asked for */
	FILE *file;
	struct span *spans;
	struct ring rings[TRACE_THREADS];
	const char *tracks[TRACE_TRACKS]; /* names */
	char process[NAME_MAX_BYTES];
	char path[160]; /* of the file, for messages */
} trace;

static _Thread_local struct {
	struct ring *ring;
	unsigned generation;
} mine;

bool trace_is_on(void)
{
	return atomic_load_explicit(&trace.on, memory_order_relaxed);
}

uint64_t trace_now_us(void)
{
	return trace_is_on() ? clock_now_us() : 0;
}

int trace_open(const char *path, const char *process, struct err *e)
{
	FILE *f = fopen(path, "w");

	if (!f) {
		err_create(e, path, errno);
		return err_wrap(e, "trace");
	}
	trace.spans = calloc((size_t)TRACE_THREADS * TRACE_SPANS, sizeof(*trace.spans));
	if (!trace.spans) {
		fclose(f);
		return err_set(e, ERR_NOMEM, "spans of a trace");
	}
	for (unsigned i = 0; i < TRACE_THREADS; i++) {
		trace.rings[i].spans = trace.spans + (size_t)i * TRACE_SPANS;
		atomic_store(&trace.rings[i].thread, NULL);
		atomic_store(&trace.rings[i].n, 0);
	}
	trace.file = f;
	snprintf(trace.path, sizeof(trace.path), "%s", path);
	snprintf(trace.process, sizeof(trace.process), "%s", process);
	memset(trace.tracks, 0, sizeof(trace.tracks));
	atomic_store(&trace.n_rings, 0);
	atomic_fetch_add(&trace.generation, 1);
	atomic_store(&trace.on, true);
	return 0;
}

/* The calling thread's ring; NULL when there are no more. */
static struct ring *ring_of_thread(void)
{
	unsigned generation = atomic_load_explicit(&trace.generation, memory_order_relaxed), i;

	if (mine.generation == generation)
		return mine.ring;
	i = atomic_fetch_add(&trace.n_rings, 1);
	mine.generation = generation;
	mine.ring = i < TRACE_THREADS ? &trace.rings[i] : NULL;
	return mine.ring;
}

void trace_thread(const char *name)
{
	struct ring *r = trace_is_on() ? ring_of_thread() : NULL;

	if (r)
		atomic_store(&r->thread, name);
}

void trace_track_name(unsigned track, const char *name)
{
	if (trace_is_on())
		trace.tracks[track] = name;
}

static void put(const char *name, uint64_t start_us, uint64_t end_us, uint32_t pos, uint32_t tid)
{
	struct ring *r = ring_of_thread();
	size_t n;

	if (!r)
		return;
	n = atomic_load_explicit(&r->n, memory_order_relaxed);
	r->spans[n % TRACE_SPANS] = (struct span){
		.name = name,
		.start_us = start_us,
		.end_us = end_us > start_us ? end_us : start_us,
		.pos = pos,
		.tid = tid ? tid : (uint32_t)(r - trace.rings) + 1,
	};
	atomic_store_explicit(&r->n, n + 1, memory_order_release);
}

void trace_span(const char *name, uint64_t start_us, uint64_t end_us, uint32_t pos)
{
	if (trace_is_on())
		put(name, start_us, end_us, pos, 0);
}

void trace_track(unsigned track, const char *name, uint64_t start_us, uint64_t end_us, uint32_t pos)
{
	if (trace_is_on() && track < TRACE_TRACKS)
		put(name, start_us, end_us, pos, FIRST_TRACK + track);
}

/* ---- the file ---- */

static void write_name(FILE *f, long pid, const char *what, unsigned tid, const char *name)
{
	fprintf(f,
		"{\"ph\":\"M\",\"name\":\"%s\",\"pid\":%ld,\"tid\":%u,\"args\":{\"name\":\"%s\"}}",
		what, pid, tid, name);
}

static void write_spans(FILE *f, long pid, const struct ring *r, bool used[TRACE_TRACKS])
{
	size_t n = atomic_load_explicit(&r->n, memory_order_acquire);
	size_t first = n > TRACE_SPANS ? n - TRACE_SPANS : 0;

	for (size_t i = first; i < n; i++) {
		const struct span *s = &r->spans[i % TRACE_SPANS];

		if (s->tid >= FIRST_TRACK)
			used[s->tid - FIRST_TRACK] = true;
		fprintf(f,
			",\n{\"ph\":\"X\",\"name\":\"%s\",\"pid\":%ld,\"tid\":%u,\"ts\":%" PRIu64
			",\"dur\":%" PRIu64 ",\"args\":{\"pos\":%u}}",
			s->name, pid, s->tid, s->start_us, s->end_us - s->start_us, s->pos);
	}
}

static void write_all(FILE *f)
{
	bool used[TRACE_TRACKS] = { false };
	unsigned n = atomic_load(&trace.n_rings);
	long pid = (long)getpid();
	char name[32];

	fprintf(f, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
	write_name(f, pid, "process_name", 0, trace.process);
	for (unsigned i = 0; i < n && i < TRACE_THREADS; i++) {
		const char *thread = atomic_load(&trace.rings[i].thread);

		fprintf(f, ",\n");
		write_name(f, pid, "thread_name", i + 1, thread ? thread : "thread");
		write_spans(f, pid, &trace.rings[i], used);
	}
	for (unsigned i = 0; i < TRACE_TRACKS; i++) {
		if (!used[i])
			continue;
		snprintf(name, sizeof(name), "session %u", i + 1);
		fprintf(f, ",\n");
		write_name(f, pid, "thread_name", FIRST_TRACK + i,
			   trace.tracks[i] ? trace.tracks[i] : name);
	}
	fprintf(f, "\n]}\n");
}

int trace_close(struct err *e)
{
	bool bad;

	if (!trace_is_on())
		return 0;
	atomic_store(&trace.on, false);
	write_all(trace.file);
	bad = ferror(trace.file);
	bad |= fclose(trace.file) != 0;
	free(trace.spans);
	trace.file = NULL;
	trace.spans = NULL;
	return bad ? err_set(e, ERR_IO, "trace %s: %s", trace.path, strerror(errno)) : 0;
}
