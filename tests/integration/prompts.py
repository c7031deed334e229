"""What the integration cases ask an agent: prompts, and answers long enough to be disturbed."""

from random_model import ENDLESS_TOKENS, MEDIUM, SMALL, write_model
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


def endless_model(w):
    """From now on w.model never stops, and its tokens take some milliseconds, so that there is time
    for anything on any machine. Returns what the configuration of both sides needs for it."""
    write_model(w.model, w.path("endless.gguf"), SMALL if w.sanitized else MEDIUM, endless=True)
    w.model = w.path("endless.gguf")
    return f"context_tokens: {ENDLESS_TOKENS}\n"


def begin_endless(w, sub):
    """With so much time that its rows need not become coarser, on any machine."""
    begin_long(w, sub, max_tokens=ENDLESS_TOKENS - 100, deadline_ms=3600000)


def some_more(sub, prompt_id="long"):
    """It has gone on by some tokens."""
    n = len(sub.replies(prompt_id))
    wait_until("more pieces", lambda: len(sub.replies(prompt_id)) >= n + 20)


def end_endless(w, sub, same_text=True):
    """Cancel it; the reply, whose text is that of one process if it should be."""
    w.publish("agent/gw1/prompt", '{"type":"cancel","id":"long"}')
    reply = sub.final("long")
    assert reply.get("error") is None, reply
    if same_text:
        wanted = w.generate(PROMPT, reply["stats"]["tokens"], *LONG)
        assert reply["ids"] == wanted["ids"], f"{reply}, wanted {wanted['ids']}"
    return reply
