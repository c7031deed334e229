/* agent/lens.h - which token may come next, as the rows at the split tell it.
 *
 * Half of a model knows much of what the whole one will say: a row behind the agent's layers, and
 * one matrix, give the next token more often than the tokens before it do (guess.h). The matrix is
 * learned here, from the tokens that do come: a softmax regression on rows less their mean, of RMS
 * 1, one step of stochastic gradient descent for each token. A token has a line in it from its
 * first answer on, which begins as its embedding (at an output matrix that is tied to it, this is
 * the logit lens); where there is no more room, the one that was not seen for longest goes. It is
 * of one split: rows of another one begin anew.
 *
 * Guesses do not change what is answered, so nothing here need be exact; float sums differ between
 * machines. One thread. Source: the tuned lens, arXiv 2303.08112, learned on the way. */
#ifndef AGENT_LENS_H
#define AGENT_LENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define LENS_BYTES_MAX (4u << 20) /* of the matrix */
#define LENS_TOKENS_MAX 1024u

struct lens;

/* The embedding of token id -> x [dim]; nonzero: there is none. */
typedef int lens_embed(void *ctx, uint32_t id, float *x);

/* For rows of dim elements. ERR_NOMEM, or as kern_pick. */
MUST_CHECK int lens_create(struct lens **out, size_t dim, lens_embed *embed, void *ctx);
void lens_destroy(struct lens *l);

/* The newest row of a session (any number that is its own): x [dim] behind layers [0, split), of
 * position pos. Rows of some positions before stay. rival: what else guesses at the token behind
 * it; NULL: this one does not count in the comparison. */
void lens_keep(struct lens *l, unsigned session, uint32_t split, uint32_t pos, const float *x,
	       const uint32_t *rival);
#define LENS_NO_RIVAL UINT32_MAX /* it had no guess */

/* What may come behind the row at pos, and how likely it seems. False: nothing is known. */
bool lens_guess(struct lens *l, unsigned session, uint32_t pos, uint32_t *id, double *p);

/* What came behind the row at pos, which must have been sampled: nothing is learned yet. */
void lens_told(struct lens *l, unsigned session, uint32_t pos, uint32_t id);

/* Something was told that is to be learned: when there is time. */
bool lens_wants(struct lens *l);
void lens_learn(struct lens *l);

/* It is right more often than its rival, of late. */
bool lens_is_better(const struct lens *l);

#endif
