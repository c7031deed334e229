/* base/trace.h - where time goes: spans of threads and of sessions, written as a Chrome trace.
 *
 * Off until trace_open, and then a span costs a branch. On, a span is a store into a ring of the
 * thread that writes it: no lock, no allocation. A ring keeps the newest TRACE_SPANS spans; all are
 * written by trace_close. Times are clock_now_us(), so that traces of processes of one machine fit
 * each other. chrome://tracing and ui.perfetto.dev show the file. */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define TRACE_SPANS   32768u /* kept of each thread */
#define TRACE_THREADS 32u    /* those that write spans; of more than these nothing is kept */
#define TRACE_TRACKS  64u    /* beside the threads', such as one per session */

/* Create the file and switch tracing on. process: what the viewer calls us, without quotes or
 * backslashes; copied. Main thread, before others start. ERR_IO, ERR_NOMEM. */
MUST_CHECK int trace_open(const char *path, const char *process, struct err *e);

/* Write what was kept, switch off. Main thread, when no other thread writes spans any more.
 * Nothing when it is off. ERR_IO: the file is not whole. */
MUST_CHECK int trace_close(struct err *e);

bool trace_is_on(void);

/* The time now, or 0 when tracing is off: for spans only. */
uint64_t trace_now_us(void);

/* What the viewer calls the calling thread; a constant string, without quotes. */
void trace_thread(const char *name);

/* A span of the calling thread. name: a constant string, without quotes. pos: position in the
 * session of what it was for. Spans of one thread nest or follow each other. */
void trace_span(const char *name, uint64_t start_us, uint64_t end_us, uint32_t pos);

/* What the viewer calls a track, instead of "session <track + 1>"; likewise. Main thread. */
void trace_track_name(unsigned track, const char *name);

/* A span of track < TRACE_TRACKS instead, from whichever thread; others are not kept. */
void trace_track(unsigned track, const char *name, uint64_t start_us, uint64_t end_us,
		 uint32_t pos);

#endif
