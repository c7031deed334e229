#include "schema/wire.h"

#include "base/crc32c.h"
#include "base/le.h"

/* Offsets; the table of schema/PROTOCOL.md, section "Frames". */
enum {
	AT_MAGIC = 0,
	AT_VERSION = 2,
	AT_KIND = 3,
	AT_FLAGS = 4,
	AT_CODEC = 5,
	AT_STATE = 6,
	AT_SESSION = 8,
	AT_EPOCH = 16,
	AT_SEQ = 20,
	AT_POS = 24,
	AT_ROWS = 28,
	AT_DIM = 32,
	AT_SPLIT = 36,
	AT_RESERVED = 38,
	AT_BODY_LEN = 40,
	AT_CRC = 44,
};

_Static_assert(AT_CRC + 4 == WIRE_HDR_LEN, "the CRC ends the header");

bool wire_is_frame(const uint8_t *src, size_t len)
{
	return len > 0 && src[0] == 'S';
}

/* Everything but the CRC itself. */
static uint32_t checksum(const uint8_t *hdr, const uint8_t *body, size_t body_len)
{
	return crc32c(crc32c(0, hdr, AT_CRC), body, body_len);
}

bool wire_is_fill(const struct wire_hdr *h)
{
	return h->kind == WIRE_KV || (h->kind == WIRE_ROWS && h->flags & WIRE_FILL);
}

void wire_put_hdr(uint8_t dst[static WIRE_HDR_LEN], const struct wire_hdr *h, const uint8_t *body)
{
	dst[AT_MAGIC] = 'S';
	dst[AT_MAGIC + 1] = 'Q';
	dst[AT_VERSION] = WIRE_VERSION;
	dst[AT_KIND] = (uint8_t)h->kind;
	dst[AT_FLAGS] = h->flags;
	dst[AT_CODEC] = h->codec;
	le_put16(dst + AT_STATE, h->state);
	le_put64(dst + AT_SESSION, h->session);
	le_put32(dst + AT_EPOCH, h->epoch);
	le_put32(dst + AT_SEQ, h->seq);
	le_put32(dst + AT_POS, h->pos);
	le_put32(dst + AT_ROWS, h->rows);
	le_put32(dst + AT_DIM, h->dim);
	le_put16(dst + AT_SPLIT, (uint16_t)h->split);
	le_put16(dst + AT_RESERVED, 0);
	le_put32(dst + AT_BODY_LEN, h->body_len);
	le_put32(dst + AT_CRC, checksum(dst, body, h->body_len));
}

/* The envelope: is this a whole, undamaged frame of a version that we speak? */
static int check_envelope(const uint8_t *src, size_t len, struct err *e)
{
	uint32_t body_len;

	if (len < WIRE_HDR_LEN)
		return err_set(e, ERR_FORMAT, "frame of %zu bytes is shorter than its header (%d)",
			       len, WIRE_HDR_LEN);
	if (src[AT_MAGIC] != 'S' || src[AT_MAGIC + 1] != 'Q')
		return err_set(e, ERR_FORMAT,
			       "frame begins with %02x %02x, not with the magic \"SQ\"",
			       src[AT_MAGIC], src[AT_MAGIC + 1]);
	if (src[AT_VERSION] != WIRE_VERSION)
		return err_set(e, ERR_VERSION, "frame version %u, this side speaks %d",
			       src[AT_VERSION], WIRE_VERSION);
	body_len = le_get32(src + AT_BODY_LEN);
	if (body_len != len - WIRE_HDR_LEN)
		return err_set(e, ERR_FORMAT, "frame claims a body of %u bytes, %zu arrived",
			       (unsigned)body_len, len - WIRE_HDR_LEN);
	if (le_get32(src + AT_CRC) != checksum(src, src + WIRE_HDR_LEN, body_len))
		return err_set(e, ERR_FORMAT, "frame fails its CRC-32C");
	return 0;
}

static void read_fields(struct wire_hdr *h, const uint8_t *src)
{
	h->kind = (enum wire_kind)src[AT_KIND];
	h->flags = src[AT_FLAGS];
	h->codec = src[AT_CODEC];
	h->state = le_get16(src + AT_STATE);
	h->session = le_get64(src + AT_SESSION);
	h->epoch = le_get32(src + AT_EPOCH);
	h->seq = le_get32(src + AT_SEQ);
	h->pos = le_get32(src + AT_POS);
	h->rows = le_get32(src + AT_ROWS);
	h->dim = le_get32(src + AT_DIM);
	h->split = le_get16(src + AT_SPLIT);
	h->body_len = le_get32(src + AT_BODY_LEN);
}

static int check_kind(const struct wire_hdr *h, struct err *e)
{
	const unsigned of_rows =
		WIRE_SAMPLE | WIRE_WANT_LOGITS | WIRE_IDS | WIRE_FILL | WIRE_TELL | WIRE_DRAFT;
	const unsigned known = h->kind == WIRE_ROWS ? of_rows
			       : h->kind == WIRE_KV ? WIRE_SAMPLE
						    : 0;
	const unsigned logits_of_a_fill = WIRE_FILL | WIRE_WANT_LOGITS;

	if (!h->kind || h->kind >= WIRE_KIND_END)
		return err_set(e, ERR_FORMAT, "frame of unknown kind %u", (unsigned)h->kind);
	if (h->flags & ~known)
		return err_set(e, ERR_FORMAT, "frame with unknown flags 0x%02x", h->flags & ~known);
	if ((h->flags & logits_of_a_fill) == logits_of_a_fill)
		return err_set(e, ERR_FORMAT, "frame that asks for logits of a fill");
	if (h->flags & WIRE_TELL && h->flags & (WIRE_SAMPLE | WIRE_FILL))
		return err_set(e, ERR_FORMAT, "frame that asks for two answers");
	return 0;
}

static int check_draft(const struct wire_hdr *h, struct err *e)
{
	if (!(h->flags & WIRE_DRAFT))
		return 0;
	if (h->flags != (WIRE_DRAFT | WIRE_SAMPLE | WIRE_IDS) || h->rows != 1 || h->body_len < 4)
		return err_set(e, ERR_FORMAT, "draft that is not one row with its token");
	if (!h->pos)
		return err_set(e, ERR_FORMAT, "draft that follows on nothing");
	return 0;
}

static int check_layers(const struct wire_hdr *h, struct err *e)
{
	if (h->kind == WIRE_KV && (h->state <= h->split || h->state > WIRE_MAX_SPLIT))
		return err_set(e, ERR_FORMAT, "frame of keys and values of layers %u to %u",
			       (unsigned)h->split, (unsigned)h->state);
	return 0;
}

static int check_ranges(const struct wire_hdr *h, struct err *e)
{
	if (!h->session)
		return err_set(e, ERR_FORMAT, "frame of session 0");
	if (!h->rows || h->rows > WIRE_MAX_ROWS)
		return err_set(e, ERR_FORMAT, "frame of %u rows, 1..%u are allowed",
			       (unsigned)h->rows, WIRE_MAX_ROWS);
	if (!h->dim || h->dim > WIRE_MAX_DIM)
		return err_set(e, ERR_FORMAT, "frame with rows of %u elements, 1..%u are allowed",
			       (unsigned)h->dim, WIRE_MAX_DIM);
	if (h->pos > WIRE_MAX_POS || h->rows > WIRE_MAX_POS - h->pos)
		return err_set(e, ERR_FORMAT, "frame of %u rows at position %u ends after %u",
			       (unsigned)h->rows, (unsigned)h->pos, WIRE_MAX_POS);
	if (h->split > WIRE_MAX_SPLIT)
		return err_set(e, ERR_FORMAT, "frame of split %u, at most %u is allowed",
			       (unsigned)h->split, WIRE_MAX_SPLIT);
	return 0;
}

int wire_get_hdr(struct wire_hdr *h, const uint8_t *src, size_t len, struct err *e)
{
	struct wire_hdr got;
	int rc;

	rc = check_envelope(src, len, e);
	if (rc)
		return rc;
	if (le_get16(src + AT_RESERVED))
		return err_set(e, ERR_FORMAT, "frame with reserved bytes that are not zero");
	read_fields(&got, src);
	rc = check_kind(&got, e);
	if (rc)
		return rc;
	rc = check_ranges(&got, e);
	if (!rc)
		rc = check_draft(&got, e);
	if (!rc)
		rc = check_layers(&got, e);
	if (rc)
		return rc;
	*h = got;
	return 0;
}
