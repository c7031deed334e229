#include "agent/rows.h"

#include <string.h>

#include "codec/chunk.h"
#include "base/le.h"
#include "base/trace.h"
#include "schema/wire.h"

size_t slot_frame_bytes(uint32_t dim)
{
	size_t row = plain_bound(PLAIN_F32, dim, 1);

	return WIRE_HDR_LEN + (row > CHUNK_MAX_BYTES ? row : CHUNK_MAX_BYTES);
}

size_t slot_chunk_bytes(size_t row_bytes)
{
	const size_t rows = CHUNK_MAX_BYTES / row_bytes;

	return row_bytes * (rows < 1 ? 1 : rows > AGENT_CHUNK_ROWS ? AGENT_CHUNK_ROWS : rows);
}

/* Tokens that rows are predicted with and that this worker did not sample itself, or that a draft
 * is a guess at. */
static size_t put_ids(uint8_t *dst, const struct session *s, const struct session_chunk *ch,
		      const struct wire_hdr *h)
{
	const bool sampled = ch->pos >= s->sampled_from && !wire_is_fill(h);

	if (!(h->flags & WIRE_DRAFT) &&
	    (codec_needs(ch->codec) != CODEC_STATE_AND_TOKENS || sampled))
		return 0;
	for (uint32_t i = 0; i < ch->rows; i++)
		le_put32(dst + CHUNK_TOKEN_BYTES * (size_t)i, s->ids[ch->pos + i]);
	return CHUNK_TOKEN_BYTES * (size_t)ch->rows;
}

static void publish(struct agent_core *c, struct slot *sl, const struct wire_hdr *h)
{
	struct topic t = slot_topic(c, sl->session.worker, h->session);
	uint64_t start_us = trace_now_us();
	char topic[TOPIC_MAX];

	wire_put_hdr(c->frame, h, c->frame + WIRE_HDR_LEN);
	topic_put(topic, &t);
	slot_note_failure(sl, bus_publish(c->bus, &(struct bus_publish){
							  .topic = topic,
							  .payload = c->frame,
							  .len = WIRE_HDR_LEN + h->body_len,
							  .qos = c->conf.qos,
							  .expiry_s = SLOT_DATA_EXPIRY_S,
						  }));
	if (!(h->flags & WIRE_DRAFT))
		timeline_sent(&sl->timeline, sl->job.slot, h->pos, start_us);
	sl->times.bytes_up += WIRE_HDR_LEN + h->body_len;
	c->bytes_up += WIRE_HDR_LEN + h->body_len;
}

/* A frame with what ch says, from bytes; h has kind, flags and seq, and of KV state and dim. */
static void send_frame(struct agent_core *c, struct slot *sl, const struct session_chunk *ch,
		       const uint8_t *bytes, struct wire_hdr *h, uint64_t now_us)
{
	const struct session *s = &sl->session;
	size_t ids_len = 0;
	bool clear;

	h->codec = ch->codec;
	h->session = s->conf.id;
	h->epoch = s->epoch;
	h->pos = ch->pos;
	h->rows = ch->rows;
	h->split = ch->split;
	if (h->kind == WIRE_ROWS) {
		h->state = ch->state;
		h->dim = c->conf.dim;
		ids_len = put_ids(c->frame + WIRE_HDR_LEN, s, ch, h);
		h->flags |= ids_len ? WIRE_IDS : 0;
	}
	h->body_len = (uint32_t)(ids_len + ch->len);
	memcpy(c->frame + WIRE_HDR_LEN + ids_len, bytes, ch->len);
	publish(c, sl, h);
	clear = meter_sent(&c->meter, WIRE_HDR_LEN + h->body_len, now_us);
	/* Others are answered otherwise, or wait for rows before them. */
	if (!wire_is_fill(h) && !(h->flags & (WIRE_TELL | WIRE_DRAFT)))
		sl->trip = (struct slot_trip){
			.clear = clear,
			.up_bytes = WIRE_HDR_LEN + h->body_len,
			.sends = c->meter.sends,
		};
}

static void send_chunk(struct agent_core *c, struct slot *sl, uint32_t i, uint64_t now_us)
{
	const struct session *s = &sl->session;
	const bool back = s->handover.way == SESSION_BACK;
	struct wire_hdr h = { .kind = WIRE_ROWS,
			      .flags = session_wants_sample(s, i) ? WIRE_SAMPLE
				       : back                     ? WIRE_TELL
								  : 0,
			      .seq = s->chunks[i].seq };

	if (i >= s->n_chunks)
		h.flags |= WIRE_DRAFT;

	send_frame(c, sl, &s->chunks[i], session_chunk_bytes(s, i), &h, now_us);
}

/* Frames [from, to) of a fill. */
static void send_fill(struct agent_core *c, struct slot *sl, const struct session_fill *f,
		      uint32_t from, uint32_t to, uint8_t flags, uint64_t now_us)
{
	for (uint32_t i = from; i < to; i++) {
		struct wire_hdr h = { .kind = WIRE_ROWS, .seq = f->first_seq + i };

		h.flags = f->upto ? flags : (uint8_t)(flags | WIRE_FILL);
		if (f->upto) {
			h.kind = WIRE_KV;
			h.state = (uint16_t)f->upto;
			h.dim = c->conf.kv_elements;
		}
		send_frame(c, sl, &f->chunks[i], f->log + f->chunks[i].offset, &h, now_us);
	}
}

/* In a replay: the fills that chunk i of the log joins, from position `len` on. */
static void send_fills_before(struct agent_core *c, struct slot *sl, uint32_t i, uint32_t len,
			      uint64_t now_us)
{
	const struct session *s = &sl->session;

	for (unsigned k = 0; k < s->n_fills; k++) {
		const struct session_fill *f = &s->fills[k];
		uint32_t from = 0;

		if (f->before != i)
			continue;
		while (from < f->n_chunks && f->chunks[from].pos < len)
			from++;
		send_fill(c, sl, f, from, f->n_chunks, 0, now_us);
	}
}

void rows_send(struct agent_core *c, struct slot *sl, const struct session_effects *fx,
	       uint64_t now_us)
{
	const struct session *s = &sl->session;

	if (fx->fill_from < fx->fill_to)
		send_fill(c, sl, &s->fills[fx->fill], fx->fill_from, fx->fill_to, WIRE_SAMPLE,
			  now_us);
	for (uint32_t i = fx->send_from; i < fx->send_to; i++) {
		if (fx->refill)
			send_fills_before(c, sl, i, i == fx->send_from ? fx->refill_len : 0,
					  now_us);
		send_chunk(c, sl, i, now_us);
	}
	if (fx->refill && fx->send_from < fx->send_to)
		send_fills_before(c, sl, fx->send_to, 0, now_us);
	if (fx->draft)
		send_chunk(c, sl, s->n_chunks + s->n_drafts - 1, now_us);
}
