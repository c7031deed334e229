#include "agent/draft.h"

#include <string.h>

static bool may_be(const struct session *s)
{
	return s->state == SESSION_OPEN && s->awaiting && s->handover.way == SESSION_STAYS &&
	       s->wish == s->conf.split;
}

static uint32_t most(const struct session *s)
{
	return s->drafts < s->conf.drafts ? s->drafts : s->conf.drafts;
}

/* Bytes of the log behind those of chunk i - 1. */
static size_t end_of(const struct session *s, uint32_t i)
{
	return i == s->n_chunks ? s->log_len : s->chunks[i - 1].offset + s->chunks[i - 1].len;
}

void draft_on_row(struct session *s, const struct session_event *ev, struct session_effects *fx)
{
	const uint32_t i = s->n_chunks + s->n_drafts, pos = s->n_ids + s->n_drafts;
	const size_t offset = end_of(s, i);

	if (!may_be(s) || s->n_drafts >= most(s) || ev->pos != pos || pos + 1 >= s->conf.max_ids ||
	    ev->len > s->conf.log_bytes - offset)
		return;
	memcpy(s->log + offset, ev->bytes, ev->len);
	s->chunks[i] = (struct session_chunk){
		.pos = pos,
		.rows = 1,
		.seq = ++s->newest_seq,
		.codec = ev->codec,
		.state = ev->state,
		.split = (uint16_t)s->conf.split,
		.offset = offset,
		.len = ev->len,
	};
	s->ids[pos] = ev->id;
	s->n_drafts++;
	fx->draft = true;
}

bool draft_is_right(const struct session *s, uint32_t id)
{
	return s->n_drafts && s->ids[s->n_ids] == id;
}

void draft_promote(struct session *s, uint64_t now_us)
{
	s->log_len = end_of(s, s->n_chunks + 1);
	s->next_send = ++s->n_chunks;
	s->n_drafts--;
	s->computed = s->n_ids;
	s->awaiting = true;
	s->sent_us = 0; /* it waited for the rows before it: no round trip */
	s->due_us = now_us + s->conf.reply_us;
}

bool draft_awaits(const struct session *s, uint32_t seq)
{
	return s->awaiting && seq >= s->chunks[s->n_chunks - 1].seq &&
	       seq <= s->chunks[s->n_chunks + s->n_drafts - 1].seq;
}

bool draft_is_lost(struct session *s, const struct msg_need *need)
{
	const uint32_t n = need->kv_len > s->n_ids ? need->kv_len - s->n_ids : 0;

	if (s->n_drafts > n)
		s->n_drafts = n;
	return need->kv_len >= s->n_ids && need->seq != s->chunks[s->n_chunks - 1].seq;
}

uint32_t draft_without(const struct session *s, uint32_t len)
{
	const struct session_chunk *newest = &s->chunks[s->n_chunks - 1];
	const uint32_t before = s->n_chunks > 1 ? newest[-1].seq : 0;

	return len > newest->pos && len - newest->pos < newest->seq - before ? newest->pos : len;
}

void draft_check(struct session *s)
{
	if (!may_be(s))
		s->n_drafts = 0;
}
