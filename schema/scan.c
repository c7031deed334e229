#include "schema/scan.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "schema/utf8.h"

#define KEY_SHOWN_MAX 32 /* bytes of a key that an error quotes */
#define NUMBER_MAX    63 /* characters that cJSON reads of one number */

struct scan {
	const char *src;
	size_t len, at;
	unsigned depth;
	const char *text; /* the string read last, between its quotes */
	size_t text_len;
	size_t nuls, text_nuls; /* \u0000 so far; before that string */
	const char *key;        /* the key whose value is being read; NULL: none */
	size_t key_len;
};

/* "offset 12" or `key "prompt"`, then what is wrong there. */
static int refuse(const struct scan *s, struct err *e, const char *what)
{
	err_set(e, ERR_FORMAT, "%s", what);
	if (s->key)
		err_wrap(e, "value of key \"%.*s\"",
			 (int)(s->key_len < KEY_SHOWN_MAX ? s->key_len : KEY_SHOWN_MAX), s->key);
	else
		err_wrap(e, "offset %zu", s->at);
	return ERR_FORMAT;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The four digits after \u at src[at], or -1. */
static long unit_at(const struct scan *s, size_t at)
{
	long unit = 0;

	if (s->len - at < 6 || s->src[at] != '\\' || s->src[at + 1] != 'u')
		return -1;
	for (size_t i = at + 2; i < at + 6; i++) {
		int digit = hex_digit(s->src[i]);

		if (digit < 0)
			return -1;
		unit = unit << 4 | digit;
	}
	return unit;
}

static int scan_unicode_escape(struct scan *s, struct err *e)
{
	long unit = unit_at(s, s->at), low;

	if (unit < 0)
		return refuse(s, e, "\\u without four hex digits");
	s->nuls += unit == 0;
	if (unit >= 0xdc00 && unit <= 0xdfff)
		return refuse(s, e, "half of a surrogate pair");
	s->at += 6;
	if (unit < 0xd800 || unit > 0xdbff)
		return 0;
	low = unit_at(s, s->at);
	if (low < 0xdc00 || low > 0xdfff)
		return refuse(s, e, "half of a surrogate pair");
	s->at += 6;
	return 0;
}

static int scan_escape(struct scan *s, struct err *e)
{
	if (s->len - s->at < 2)
		return refuse(s, e, "the text ends inside a string");
	if (s->src[s->at + 1] == 'u')
		return scan_unicode_escape(s, e);
	if (!memchr("\"\\/bfnrt", s->src[s->at + 1], 8))
		return refuse(s, e, "an unknown escape in a string");
	s->at += 2;
	return 0;
}

/* s->at is behind the opening quote; ends behind the closing one. */
static int scan_string(struct scan *s, struct err *e)
{
	size_t start = s->at;

	s->text_nuls = s->nuls;
	while (s->at < s->len) {
		char c = s->src[s->at];
		size_t n;
		int rc;

		if (c == '"') {
			s->text = s->src + start;
			s->text_len = s->at++ - start;
			return 0;
		}
		if (c == '\\') {
			rc = scan_escape(s, e);
			if (rc)
				return rc;
			continue;
		}
		if ((unsigned char)c < ' ')
			return refuse(s, e, "a control character in a string");
		n = utf8_char_len(s->src + s->at, s->len - s->at);
		if (!n)
			return refuse(s, e, "not UTF-8");
		s->at += n;
	}
	return refuse(s, e, "the text ends inside a string");
}

static bool is_digit(const struct scan *s)
{
	return s->at < s->len && s->src[s->at] >= '0' && s->src[s->at] <= '9';
}

static bool skip(struct scan *s, const char *chars)
{
	if (s->at == s->len || !s->src[s->at] || !strchr(chars, s->src[s->at]))
		return false;
	s->at++;
	return true;
}

static bool skip_digits(struct scan *s)
{
	size_t start = s->at;

	while (is_digit(s))
		s->at++;
	return s->at > start;
}

/* RFC 8259, section 6: -? (0 | 1-9 digits) (. digits)? ([eE] [+-]? digits)? */
static int scan_number(struct scan *s, struct err *e)
{
	size_t start = s->at;
	bool ok;

	skip(s, "-");
	ok = skip(s, "0") ? !is_digit(s) : skip_digits(s);
	if (ok && skip(s, "."))
		ok = skip_digits(s);
	if (ok && skip(s, "eE")) {
		skip(s, "+-");
		ok = skip_digits(s);
	}
	if (!ok)
		return refuse(s, e, "not a JSON number");
	if (s->at - start > NUMBER_MAX)
		return refuse(s, e, "a number of more than 63 characters");
	return 0;
}

/* One token that is neither string nor number. */
static int scan_mark(struct scan *s, struct err *e)
{
	char c = s->src[s->at];

	if (c == '{' || c == '[') {
		if (++s->depth > SCAN_DEPTH_MAX)
			return refuse(s, e, "nested more than 32 deep");
	} else if (c == '}' || c == ']') {
		if (!s->depth--)
			return refuse(s, e, "a bracket that closes nothing");
	} else if (c == ':') {
		if (s->nuls > s->text_nuls)
			return refuse(s, e, "a NUL character (\\u0000) in a key");
		s->key = s->text;
		s->key_len = s->text_len;
	} else if (!memchr(" \t\r\n,", c, 5) && !(c >= 'a' && c <= 'z')) {
		return refuse(s, e, "a character that is not JSON");
	}
	if (c != ':' && c != '[' && !memchr(" \t\r\n", c, 4) && !(c >= 'a' && c <= 'z'))
		s->key = NULL;
	s->at++;
	return 0;
}

int scan_json(const char *src, size_t len, size_t *nuls, struct err *e)
{
	struct scan s = { .src = src, .len = len };
	int rc = 0;

	while (!rc && s.at < s.len) {
		if (skip(&s, "\""))
			rc = scan_string(&s, e);
		else if (s.src[s.at] == '-' || is_digit(&s))
			rc = scan_number(&s, e);
		else
			rc = scan_mark(&s, e);
	}
	if (!rc && s.depth)
		rc = refuse(&s, e, "the text ends inside an object or array");
	*nuls = s.nuls;
	return rc;
}
