#include "tools/bandwidth.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/pool.h"

#define MOST_BYTES  ((size_t)1024 << 20)
#define LEAST_BYTES ((size_t)16 << 20)
#define PIECE_BYTES ((size_t)1 << 20)
#define PASSES      8

/* Of a piece, read in turn: prefetchers go page by page, and on some machines several get more out
 * of the memory than one. */
#define MOST_STREAMS 8

struct reading {
	const uint64_t *words;
	size_t words_per_piece, streams;
	uint64_t sums[POOL_MAX_THREADS]; /* so that no compiler can leave the reads out */
};

/* Eight sums: the additions do not wait for each other. */
static void read_piece(void *arg, size_t piece, unsigned thread)
{
	struct reading *r = arg;
	const uint64_t *w = r->words + piece * r->words_per_piece;
	const size_t part = r->words_per_piece / r->streams;
	uint64_t sum[8] = { 0 };

	for (size_t i = 0; i < part; i += 8) {
		for (size_t at = i; at < r->words_per_piece; at += part) {
			for (unsigned k = 0; k < 8; k++)
				sum[k] += w[at + k];
		}
	}
	for (unsigned k = 0; k < 8; k++)
		r->sums[thread] += sum[k];
}

static size_t buffer_bytes(void)
{
	const long pages = sysconf(_SC_AVPHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	size_t n = pages > 0 && page > 0 ? (size_t)pages * (size_t)page / 4 : LEAST_BYTES;

	n = n > MOST_BYTES ? MOST_BYTES : n < LEAST_BYTES ? LEAST_BYTES : n;
	return n / PIECE_BYTES * PIECE_BYTES;
}

static double fastest(struct pool *p, struct reading *r, size_t bytes)
{
	double best = 0;

	for (unsigned i = 0; i < PASSES; i++) {
		const uint64_t start = clock_now_us();
		double rate;

		r->streams = i % 2 ? MOST_STREAMS : 1;
		pool_run(p, read_piece, r, bytes / PIECE_BYTES);
		rate = (double)bytes / ((double)(clock_now_us() - start) * 1e-6);
		best = rate > best ? rate : best;
	}
	return best;
}

int bandwidth_measure(unsigned threads, double *bytes_s, struct err *e)
{
	const size_t bytes = buffer_bytes();
	struct reading r = { .words_per_piece = PIECE_BYTES / sizeof(uint64_t) };
	struct pool *p = NULL;
	uint64_t *words;
	int rc = 0;

	words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (words == MAP_FAILED || pool_create(&p, threads)) {
		rc = err_set(e, ERR_NOMEM, "memory to read: out of memory");
	} else {
		madvise(words, bytes,
			MADV_HUGEPAGE); /* fewer misses of the TLB: nearer the bound */
		for (size_t i = 0; i < bytes / sizeof(uint64_t); i++)
			words[i] = i;
		r.words = words;
		*bytes_s = fastest(p, &r, bytes);
	}
	pool_destroy(p);
	if (words != MAP_FAILED)
		munmap(words, bytes);
	return rc;
}
