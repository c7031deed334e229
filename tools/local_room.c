#include "tools/local_room.h"

#include "daemon/daemon.h"
#include "daemon/memory.h"

#define OTHER_BYTES  (1u << 20) /* code that has not run yet, what else is allocated */
#define SPARE_STACKS 2

void local_room_add(struct local_room *r, const struct gguf *g, const struct model_hparams *hp,
		    const struct model_conf *conf)
{
	struct model_conf held = *conf;

	held.embed = false; /* it is read row by row */
	if (!r->fixed_bytes) {
		r->base_bytes = memory_resident_bytes();
		r->fixed_bytes = r->buffer_bytes = OTHER_BYTES;
	}
	r->buffer_bytes += model_scratch_bytes(hp, conf);
	r->fixed_bytes += model_scratch_bytes(hp, conf) + model_weight_bytes(g, hp, &held);
	r->threads += conf->threads;
}

int local_room_prove(const struct local_room *r, uint64_t token_bytes, uint32_t tokens,
		     uint64_t *pack_limit_bytes, struct err *e)
{
	const struct room_ask ask = { .token_bytes = token_bytes, .tokens = tokens };
	struct room_answer a;
	struct memory m;
	struct room room;
	uint64_t used;

	memory_read(&m);
	room = (struct room){
		.limit_bytes = UINT64_MAX,
		.booked_bytes = r->base_bytes + r->fixed_bytes,
		.resident_bytes = m.resident_bytes,
		.available_bytes = m.available_bytes,
		.mappable_bytes = m.mappable_bytes,
		.mapped_bytes = !pack_limit_bytes ? 0 /* the buffers are there */
						  : r->buffer_bytes + (r->threads + SPARE_STACKS) *
									      daemon_stack_bytes(),
	};
	room_judge(&room, &ask, &a);
	used = room.mapped_bytes + a.need_bytes;
	if (pack_limit_bytes)
		*pack_limit_bytes = m.mappable_bytes == UINT64_MAX ? 0
				    : m.mappable_bytes > used      ? m.mappable_bytes - used
								   : 1;
	if (!a.missing_bytes)
		return 0;
	return err_set(e, ERR_LIMIT,
		       "%u tokens do not fit: %llu bytes more than %s has (at most %u would fit): "
		       "process %llu + weights and buffers %llu + cache %llu",
		       tokens, (unsigned long long)a.missing_bytes, room_limit_name(a.by),
		       a.most_tokens, (unsigned long long)r->base_bytes,
		       (unsigned long long)r->fixed_bytes, (unsigned long long)a.need_bytes);
}
