"""Integration cases of the coordinator: leases, decisions, answers to them."""

import json
import signal
import time

from world import World

PROMPT = "turn on the pump in tank 3"


def expect(got, wanted, what):
    assert got == wanted, f"{what}: got {got!r}, wanted {wanted!r}"

def decisions_of(sub, agent="gw1"):
    """Numbers as they came, and the newest decision."""
    found = [json.loads(p) for t, p in sub.lines() if t.endswith(f"/decision/{agent}") and p]
    return [d["number"] for d in found], (found[-1] if found else None)


def a_standby_takes_over_from_a_killed_coordinator(w: World):
    """kill -9 of the active one: what was decided stays, what is new is decided by the other."""
    w.start_broker()
    sub = w.listen("decision/+")
    first = w.start_coordinator("policy:\n  split: 3\nlease_ms: 2000\n", "main")
    first.wait_log("state=holding")
    second = w.start_coordinator("policy:\n  split: 3\nlease_ms: 2000\n", "spare")
    second.wait_log("holder=main")
    agent = w.start_agent(name="gw1")
    agent.wait_log("decision.taken")
    expect(decisions_of(sub)[1]["coordinator"], "main", "who decides")
    first.stop(signal.SIGKILL)
    began = time.monotonic()
    w.start_agent(name="gw2").wait_log("decision.taken")
    print(f"decided {time.monotonic() - began:.2f} s after the kill")
    newest = decisions_of(sub, "gw2")[1]
    expect((newest["coordinator"], newest["term"]), ("spare", 2), "who decides now")
    expect(decisions_of(sub)[0], [1], "decisions for the first agent")
    third = w.start_coordinator("policy:\n  split: 3\nlease_ms: 2000\n", "main")
    third.wait_log("holder=spare")
    expect(second.stop(), 0, "status of a clean stop")
    third.wait_log("state=holding")
    w.start_agent(name="gw3").wait_log("decision.taken")
    expect(decisions_of(sub, "gw3")[1]["coordinator"], "main", "who decides in the end")
    expect(decisions_of(sub)[0], [1], "decisions for the first agent")


def a_coordinator_that_restarts_says_nothing_new(w: World):
    """Nor does an agent without one forget what it was told."""
    w.start_broker()
    w.start_worker()
    sub = w.listen("decision/+")
    first = w.start_coordinator("policy:\n  split: 3\n  codec: f32\n")
    agent = w.start_agent()
    agent.wait_log("decision.taken")
    first.stop(signal.SIGKILL)
    replies = w.listen("agent/+/reply/+")
    w.prompt(prompt=PROMPT, id="alone", max_tokens=20)
    expect(replies.final("alone")["stats"]["split"], 3, "split while nobody decides")
    second = w.start_coordinator("policy:\n  split: 3\n  codec: f32\n")
    second.wait_log("state=holding")
    w.start_agent(name="gw2").wait_log("decision.taken")
    expect(decisions_of(sub)[0], [1], "decisions")
