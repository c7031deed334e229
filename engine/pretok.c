#include "engine/pretok.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "engine/utf8.h"

#define MAX_LEVELS  6
#define MATCH_STEPS 100000000u

/* Inside of a character class: Unicode's White_Space. PCRE2's own \s also has U+180E. */
#define WS                                                                                         \
	"\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}"   \
	"\\x{3000}"

/* A run of white space leaves its last character to the word that follows. */
#define SPACES "[" WS "]+(?![^" WS "])|[" WS "]+"

#define GPT2   "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|" SPACES

/* GPT-4's rule, with the longest number that is one word. */
#define GPT4(digits)                                                                               \
	"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"                                    \
	"|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1," digits "}"                                      \
	"| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*|[" WS "]*[\\r\\n]+|" SPACES

/* DeepSeek lists the letters that have case, of an older Unicode, rather than \p{L&}. */
#define CASED                                                                                      \
	"A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}"             \
	"\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}"     \
	"\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}"              \
	"\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}"                   \
	"\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}"             \
	"\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}"             \
	"\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}"    \
	"\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}"     \
	"\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}"             \
	"\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}"              \
	"\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}"               \
	"\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}"    \
	"\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}"     \
	"\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}"              \
	"\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}"             \
	"\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}"           \
	"\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}"     \
	"\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"

#define DEEPSEEK_SIGNS                                                                             \
	"!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}"

#define DEEPSEEK_CJK "[\\x{800}-\\x{9FA5}\\x{AC00}-\\x{D7FF}]+"

/* White space at the end. The look-behind keeps a long run elsewhere from being tried at each of
 * its characters. */
#define TRAILING "(?<![" WS "])[" WS "]++\\z"

struct rule {
	const char *const *levels; /* ended by NULL */
	bool whole_words, adds_bos;
};

static const char *const default_levels[] = { "[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+",
					      "[0-9][0-9][0-9]", NULL };
static const char *const gpt2_levels[] = { GPT2, NULL };
static const char *const llama3_levels[] = { GPT4("3"), NULL };
static const char *const qwen2_levels[] = { GPT4("1"), NULL };
static const char *const starcoder_levels[] = { "\\p{N}", GPT2, NULL };
static const char *const deepseek_llm_levels[] = { "[\\r\\n]",
						   "[" WS "]?[" CASED "]+",
						   "[" WS "]?[" DEEPSEEK_SIGNS "]+",
						   TRAILING,
						   DEEPSEEK_CJK,
						   "\\p{N}+",
						   NULL };
static const char *const deepseek_coder_levels[] = { "[\\r\\n]",         "[" WS "]?\\p{L}+",
						     "[" WS "]?\\p{P}+", DEEPSEEK_CJK,
						     "\\p{N}",           NULL };

static const struct rule default_rule = { .levels = default_levels };
static const struct rule gpt2_rule = { .levels = gpt2_levels };
static const struct rule llama3_rule = { llama3_levels, .whole_words = true, .adds_bos = true };
static const struct rule smaug_rule = { .levels = llama3_levels };
static const struct rule qwen2_rule = { .levels = qwen2_levels };
static const struct rule starcoder_rule = { .levels = starcoder_levels };
static const struct rule deepseek_llm_rule = { .levels = deepseek_llm_levels };
static const struct rule deepseek_coder_rule = { .levels = deepseek_coder_levels };

static const struct {
	const char *name;
	const struct rule *rule;
} names[] = {
	{ "default", &default_rule },
	{ "llama-bpe", &llama3_rule },
	{ "llama3", &llama3_rule },
	{ "llama-v3", &llama3_rule },
	{ "falcon3", &llama3_rule },
	{ "smaug-bpe", &smaug_rule },
	{ "gpt-2", &gpt2_rule },
	{ "phi-2", &gpt2_rule },
	{ "mpt", &gpt2_rule },
	{ "olmo", &gpt2_rule },
	{ "qwen2", &qwen2_rule },
	{ "deepseek-r1-qwen", &qwen2_rule },
	{ "stablelm2", &qwen2_rule },
	{ "megrez", &qwen2_rule },
	{ "starcoder", &starcoder_rule },
	{ "smollm", &starcoder_rule },
	{ "refact", &starcoder_rule },
	{ "command-r", &starcoder_rule },
	{ "codeshell", &starcoder_rule },
	{ "minerva-7b", &starcoder_rule },
	{ "deepseek-llm", &deepseek_llm_rule },
	{ "deepseek-coder", &deepseek_coder_rule },
};

struct pretok {
	const struct rule *rule;
	pcre2_code *levels[MAX_LEVELS + 1]; /* ended by NULL */
	uint32_t steps;
};

static const struct rule *find_rule(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strlen(names[i].name) == len && !memcmp(names[i].name, name, len))
			return names[i].rule;
	}
	return NULL;
}

static int compile(struct pretok *p, struct err *e)
{
	const char *const *levels = p->rule->levels;

	for (unsigned i = 0; levels[i]; i++) {
		PCRE2_SIZE at = 0;
		int error = 0;

		p->levels[i] = pcre2_compile((PCRE2_SPTR)levels[i], PCRE2_ZERO_TERMINATED,
					     PCRE2_UTF | PCRE2_UCP, &error, &at, NULL);
		if (!p->levels[i])
			return err_set(e, ERR_INTERNAL,
				       "pre-tokenizer: pattern %u, error %d at %zu", i, error, at);
		/* Without a just-in-time compiler the interpreter does the same, more slowly. */
		(void)pcre2_jit_compile(p->levels[i], PCRE2_JIT_COMPLETE);
	}
	return 0;
}

int pretok_create(struct pretok **out, const char *name, size_t len, struct err *e)
{
	const struct rule *rule = find_rule(name, len);
	struct pretok *p;
	int rc;

	if (!rule)
		return err_set(e, ERR_UNSUPPORTED, "pre-tokenizer \"%.*s\"",
			       (int)(len < 64 ? len : 64), name);
	p = calloc(1, sizeof(*p));
	if (!p)
		return err_set(e, ERR_NOMEM, "pre-tokenizer");
	p->rule = rule;
	p->steps = MATCH_STEPS;
	rc = compile(p, e);
	if (rc) {
		pretok_destroy(p);
		return rc;
	}
	*out = p;
	return 0;
}

void pretok_destroy(struct pretok *p)
{
	if (!p)
		return;
	for (unsigned i = 0; p->levels[i]; i++)
		pcre2_code_free(p->levels[i]);
	free(p);
}

bool pretok_whole_words(const struct pretok *p)
{
	return p->rule->whole_words;
}

bool pretok_adds_bos(const struct pretok *p)
{
	return p->rule->adds_bos;
}

void pretok_set_limit(struct pretok *p, uint32_t steps)
{
	p->steps = steps;
}

/* One call of pretok_split. */
struct split {
	const struct pretok *p;
	pcre2_match_data *found;
	pcre2_match_context *limits;
	int (*emit)(void *ctx, const char *word, size_t len);
	void *ctx;
};

/* Next match of a level in text from byte `from` -> [*start, *end). No match ends the text, and
 * so does a match beyond the limits: what is left stays in one piece, which costs quality, not
 * safety. */
static int next_match(const struct split *s, unsigned level, const char *text, size_t len,
		      size_t from, size_t *start, size_t *end)
{
	int rc = pcre2_match(s->p->levels[level], (PCRE2_SPTR)text, len, from, PCRE2_NO_UTF_CHECK,
			     s->found, s->limits);
	const PCRE2_SIZE *at = pcre2_get_ovector_pointer(s->found);

	if (rc == PCRE2_ERROR_NOMEMORY)
		return ERR_NOMEM;
	*start = *end = len;
	if (rc >= 0 && at[1] > at[0]) {
		*start = at[0];
		*end = at[1];
	}
	return 0;
}

/* Cut text, which is valid UTF-8, by this level and those after it. The recursion is as deep as
 * there are levels. */
static int cut(const struct split *s, unsigned level, const char *text, size_t len)
{
	size_t from = 0, start, end;
	int rc = 0;

	if (!len)
		return 0;
	if (!s->p->levels[level])
		return s->emit(s->ctx, text, len);
	while (!rc && from < len) {
		rc = next_match(s, level, text, len, from, &start, &end);
		if (!rc)
			rc = cut(s, level + 1, text + from, start - from);
		if (!rc)
			rc = cut(s, level + 1, text + start, end - start);
		from = end;
	}
	return rc;
}

/* Bytes at the beginning of text that are all UTF-8, or none of them. */
static size_t run(const char *text, size_t len, bool *valid)
{
	size_t n = 0;

	*valid = utf8_check(text, len) > 0;
	while (n < len) {
		int k = utf8_check(text + n, len - n);

		if ((k > 0) != *valid)
			break;
		n += k > 0 ? (size_t)k : k < 0 ? (size_t)-k : len - n;
	}
	return n;
}

static int split(const struct split *s, const char *text, size_t len)
{
	int rc = 0;

	while (!rc && len) {
		bool valid;
		size_t n = run(text, len, &valid);

		rc = valid ? cut(s, 0, text, n) : s->emit(s->ctx, text, n);
		text += n;
		len -= n;
	}
	return rc;
}

int pretok_split(const struct pretok *p, const char *text, size_t len,
		 int (*emit)(void *ctx, const char *word, size_t len), void *ctx)
{
	struct split s = { .p = p, .emit = emit, .ctx = ctx };
	int rc = ERR_NOMEM;

	s.found = pcre2_match_data_create(1, NULL);
	s.limits = pcre2_match_context_create(NULL);
	if (s.found && s.limits) {
		pcre2_set_match_limit(s.limits, p->steps);
		pcre2_set_depth_limit(s.limits, p->steps);
		rc = split(&s, text, len);
	}
	pcre2_match_data_free(s.found);
	pcre2_match_context_free(s.limits);
	return rc;
}
