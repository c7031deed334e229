/* engine/prompt.h - a person's text -> the text that the model was trained to continue.
 *
 * A chat template (Jinja, in the GGUF metadata) is recognized by the marks of its family, not
 * interpreted: chatml (Qwen, SmolLM), llama-3, llama-2, mistral, mistral-v3, zephyr (TinyLlama),
 * gateway (our own: "<|answer|>" after the text). No system prompt is added.
 * A model without a template, or with one of no known family, gets the text as it is. */
#ifndef ENGINE_PROMPT_H
#define ENGINE_PROMPT_H

#include <stddef.h>

#include "base/err.h"
#include "engine/gguf.h"

/* "chatml", ..., or "none". A constant string. */
const char *prompt_family(const struct gguf *g);

/* Wrap text as the single user turn of the family; *out is malloc'ed and NUL-terminated. Encode it
 * with TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL. ERR_NOT_FOUND for an unknown family. */
MUST_CHECK int prompt_apply(const char *family, const char *text, size_t len, char **out,
			    size_t *out_len);

#endif
