#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "engine/prompt.h"
#include "tests/tiny_vocab.h"

static const char *family_of(const char *template)
{
	static struct tiny v;
	struct err e = { 0 };
	const char *family;
	struct gguf *g;

	tiny_init(&v, "llama", NULL);
	v.n_types = v.n_scores = 0;
	v.chat_template = template;
	g = tiny_open(&v, &e);
	if (!g)
		fail_msg("%s", e.text);
	family = prompt_family(g);
	gguf_close(g);
	tiny_free(&v);
	return family;
}

/* The telling lines of published templates. */
static void families_are_known_by_the_marks_of_their_templates(void **state)
{
	(void)state;
	assert_string_equal(
		family_of("{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + "
			  "m['content'] + '<|im_end|>' + '\n'}}{% endfor %}"),
		"chatml");
	assert_string_equal(
		family_of("{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
			  "+ m['content'] | trim + '<|eot_id|>' }}"),
		"llama-3");
	assert_string_equal(family_of("{% set content = '<<SYS>>\\n' + system_message %}"
				      "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"),
			    "llama-2");
	assert_string_equal(family_of("{{ '[INST] ' + message['content'] + ' [/INST]' }}"),
			    "mistral");
	assert_string_equal(family_of("{{ '[INST] ' + message['content'] + '[/INST]' }}"),
			    "mistral-v3");
	assert_string_equal(family_of("{{ '<|user|>\n' + message['content'] + eos_token }}"
				      "{{ '<|assistant|>' }}"),
			    "zephyr");
	assert_string_equal(family_of("{{ messages[-1]['content'] + '<|answer|>' }}"), "gateway");
}

static void a_template_of_no_known_family_is_none(void **state)
{
	(void)state;
	assert_string_equal(family_of(NULL), "none");
	assert_string_equal(family_of(""), "none");
	assert_string_equal(family_of("{{ message }}"), "none");
	assert_string_equal(family_of("<|user|> <|assistant|> <|end|>"), "none");
	assert_string_equal(family_of("[INST] alone"), "none");
}

static void check(const char *family, const char *text, const char *expected)
{
	char *out = NULL;
	size_t len = 0;

	assert_int_equal(prompt_apply(family, text, strlen(text), &out, &len), 0);
	assert_string_equal(out, expected);
	assert_int_equal(len, strlen(expected));
	free(out);
}

static void the_text_becomes_the_users_turn(void **state)
{
	(void)state;
	check("chatml", "hi", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
	check("llama-3", " hi\n",
	      "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
	      "<|start_header_id|>assistant<|end_header_id|>\n\n");
	check("llama-2", " hi ", "[INST] hi [/INST]");
	check("mistral", "hi", "[INST] hi [/INST]");
	check("mistral-v3", "hi", "[INST] hi[/INST]");
	check("zephyr", "hi", "<|user|>\nhi</s>\n<|assistant|>\n");
	check("gateway", "open the vents", "open the vents<|answer|>");
	check("none", " as it is ", " as it is ");
	check("none", "", "");
	check("llama-2", " \n ", "[INST]  [/INST]");
}

static void a_text_may_hold_any_byte(void **state)
{
	char *out = NULL;
	size_t len = 0;

	(void)state;
	assert_int_equal(prompt_apply("gateway", "a\0\xFF", 3, &out, &len), 0);
	assert_int_equal(len, 3 + strlen("<|answer|>"));
	assert_memory_equal(out, "a\0\xFF<|answer|>", len + 1);
	free(out);
}

static void an_unknown_family_is_not_found(void **state)
{
	char *out = NULL;
	size_t len = 0;

	(void)state;
	assert_int_equal(prompt_apply("klingon", "x", 1, &out, &len), ERR_NOT_FOUND);
	assert_null(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(families_are_known_by_the_marks_of_their_templates),
		cmocka_unit_test(a_template_of_no_known_family_is_none),
		cmocka_unit_test(the_text_becomes_the_users_turn),
		cmocka_unit_test(a_text_may_hold_any_byte),
		cmocka_unit_test(an_unknown_family_is_not_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
