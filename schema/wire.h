/* schema/wire.h - bytes of a binary splitmq frame (schema/PROTOCOL.md, section "Frames").
 *
 * Pure: no allocation, no I/O, no clock. All integers are little-endian. A frame never begins with
 * '{', a control message always does: wire_is_frame tells them apart on a shared topic. */
#ifndef SCHEMA_WIRE_H
#define SCHEMA_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define WIRE_HDR_LEN 48
#define WIRE_VERSION 1

/* Numbers travel: append only. */
enum wire_kind { WIRE_ROWS = 1, WIRE_LOGITS = 2, WIRE_KV = 3, WIRE_KIND_END };

enum {
	WIRE_SAMPLE = 1, /* ROWS: sample after the last row, answer TOKENS; else answer nothing */
	WIRE_WANT_LOGITS = 2, /* ROWS: also send a LOGITS frame for the last row */
	WIRE_IDS = 4,         /* ROWS: the body begins with the tokens of the rows, 4 bytes each */
	WIRE_FILL =
		8, /* ROWS: for layers that are filled beside; SAMPLE: answer how far they are */
	WIRE_TELL = 16,  /* ROWS without SAMPLE or FILL: answer when they have run */
	WIRE_DRAFT = 32, /* ROWS with SAMPLE and IDS, of one row: its token is only guessed */
};

struct wire_hdr {
	enum wire_kind kind;
	uint8_t flags;
	uint8_t codec;  /* codec/codec.h; of LOGITS: a plain one; of KV: enum kv_type */
	uint16_t state; /* hash of what the rows are predicted from; 0: from nothing. Of KV: layers
			 * [split, state) */
	uint64_t session;
	uint32_t epoch;
	uint32_t seq;
	uint32_t pos;   /* position of the first row */
	uint32_t rows;  /* >= 1 */
	uint32_t dim;   /* elements of a row; of LOGITS: vocabulary; of KV: of a position's layer */
	uint32_t split; /* layers that have been run on the rows; 16 bits on the wire */
	uint32_t body_len;
};

/* First byte says frame (true) or JSON (false). len 0 is false. */
bool wire_is_frame(const uint8_t *src, size_t len);

/* ROWS with FILL, or KV: for layers that are filled beside. */
bool wire_is_fill(const struct wire_hdr *h);

/* Write a header for body[0..h->body_len), CRC included, to dst. */
void wire_put_hdr(uint8_t dst[static WIRE_HDR_LEN], const struct wire_hdr *h, const uint8_t *body);

/* Read a header from src[0..len) and check it against what really arrived: magic, version, kind,
 * flags, reserved bytes 0, session not 0, rows, dim, pos + rows and split within WIRE_MAX_*,
 * body_len == len - WIRE_HDR_LEN, CRC-32C of everything but the CRC. The codec id is the codec's
 * to judge.
 * Returns 0, ERR_FORMAT or ERR_VERSION; *h is written only on 0. The body is src + WIRE_HDR_LEN. */
MUST_CHECK int wire_get_hdr(struct wire_hdr *h, const uint8_t *src, size_t len, struct err *e);

#define WIRE_MAX_ROWS  65536u
#define WIRE_MAX_DIM   (1u << 20)
#define WIRE_MAX_POS   (1u << 20) /* pos + rows */
#define WIRE_MAX_SPLIT 4096u

#endif
