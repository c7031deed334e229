"""What the integration cases ask an agent: prompts, and answers long enough to be disturbed."""

from world import wait_until

PROMPT = "turn on the pump in tank 3"
LONG = ["--temp", "3", "--seed", "11", "--raw"]  # wanders on and on, always the same way
LONG_TOKENS = 400  # long enough to be disturbed
LONG_KEYS = {"temperature": 3, "seed": 11, "raw": True, "max_tokens": LONG_TOKENS}


def long_answer(w, *more):
    return w.generate(PROMPT, LONG_TOKENS, *LONG, *more)


def begin_long(w, sub, prompt_id="long", **more):
    """Start a long session and return once it is under way; it has time on the slowest machine."""
    w.prompt(prompt=PROMPT, id=prompt_id, stream=True,
             **{"deadline_ms": 600000, **LONG_KEYS, **more})
    wait_until("the first pieces", lambda: len(sub.replies(prompt_id)) >= 3)
