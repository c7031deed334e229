#include "agent/admit.h"

#include "agent/session.h"
#include "agent/slot.h"
#include "codec/chunk.h"

#define TEXT_BYTES  16u   /* of the answer, for a token: twice what it is, as the buffer doubles */
#define STATE_BYTES 4096u /* of a session, allocations included */

size_t admit_row_bytes(const struct codec_spec *codec, size_t dim)
{
	return chunk_row_room(codec, (uint32_t)dim);
}

struct segment_extra admit_extra(const struct codec_spec *codec, size_t dim, bool local)
{
	const size_t row = admit_row_bytes(codec, dim);

	return (struct segment_extra){
		.session_bytes = STATE_BYTES + codec_state_bytes(dim) + slot_chunk_bytes(row),
		.token_bytes = sizeof(struct session_chunk) + sizeof(uint32_t) + TEXT_BYTES +
			       (local ? 0 : row),
	};
}

/* Until no job of it is out, and its handover is over. */
static uint32_t slot_layers(const struct slot *sl)
{
	uint32_t n = sl->session.conf.split;

	if (sl->side_ready && sl->move.from > n)
		n = sl->move.from;
	return sl->side_ready && sl->move.to > n ? sl->move.to : n;
}

struct segment_range admit_need(const struct agent_core *c)
{
	uint32_t most = c->alone          ? c->conf.n_layers
			: c->has_decision ? c->decision.split
					  : c->conf.split;

	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		const struct slot *sl = &c->slots[i];
		const uint32_t n = sl->used ? slot_layers(sl) : 0;

		most = n > most ? n : most;
	}
	return (struct segment_range){ .last = most, .head = most == c->conf.n_layers };
}

int admit_decision(const struct agent_core *c, const struct msg_decision *d, struct room_answer *a,
		   struct err *e)
{
	const uint32_t most = c->conf.context_tokens;
	struct codec_spec codec = c->conf.codec;
	struct admit_ask ask = {
		.front = d->front,
		.split = d->split,
		.context_tokens =
			d->context_tokens && d->context_tokens < most ? d->context_tokens : most,
		.kv = c->conf.kv,
		.codec = &codec,
		.alone = true,
	};
	int rc = 0;

	*a = (struct room_answer){ .most_tokens = most };
	if (ask.split > c->conf.n_layers)
		return err_set(e, ERR_LIMIT, "split %u is outside 0..%u", ask.split,
			       c->conf.n_layers);
	if (d->kv[0] && kv_type_parse(&ask.kv, d->kv))
		return err_set(e, ERR_FORMAT, "kv must be " KV_TYPE_WORDS ", not %s", d->kv);
	if (d->codec[0])
		rc = spec_parse(&codec, d->codec, e);
	if (rc || !c->ops.fits)
		return rc;
	return c->ops.fits(c->ops.ctx, &ask, a, e);
}
