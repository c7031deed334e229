"""Integration cases of the coordinator: leases, decisions, answers to them."""

import json
import signal
import time

from prompts import PROMPT
from world import World, expect, wait_until

STATIC = "policy:\n  objective: none\n  split: 3\nlease_ms: 2000\n"
PLANNED = "policy:\n  split: 3\n  codec: f32\n  kv: f16\n"


def decisions_of(sub, agent="gw1"):
    """Numbers as they came, and the newest decision."""
    found = [json.loads(p) for t, p in sub.lines() if t.endswith(f"/decision/{agent}") and p]
    return [d["number"] for d in found], (found[-1] if found else None)


def decided(sub, agent="gw1"):
    """The newest decision; it may come to who listens after the agent has taken it."""
    return wait_until(f"a decision for {agent}", lambda: decisions_of(sub, agent)[1])


def a_standby_takes_over_from_a_killed_coordinator(w: World):
    """kill -9 of the active one: what was decided stays, what is new is decided by the other."""
    w.start_broker()
    sub = w.listen("decision/+")
    first = w.start_coordinator(STATIC, "main")
    first.wait_log("state=holding")
    second = w.start_coordinator(STATIC, "spare")
    second.wait_log("holder=main")
    agent = w.start_agent(name="gw1")
    agent.wait_log("decision.taken")
    expect(decided(sub)["coordinator"], "main", "who decides")
    first.stop(signal.SIGKILL)
    began = time.monotonic()
    w.start_agent(name="gw2").wait_log("decision.taken")
    print(f"decided {time.monotonic() - began:.2f} s after the kill")
    newest = decided(sub, "gw2")
    expect((newest["coordinator"], newest["term"]), ("spare", 2), "who decides now")
    expect(decisions_of(sub)[0], [1], "decisions for the first agent")
    third = w.start_coordinator(STATIC, "main")
    third.wait_log("holder=spare")
    expect(second.stop(), 0, "status of a clean stop")
    third.wait_log("state=holding")
    w.start_agent(name="gw3").wait_log("decision.taken")
    expect(decided(sub, "gw3")["coordinator"], "main", "who decides in the end")
    expect(decisions_of(sub)[0], [1], "decisions for the first agent")


def a_coordinator_that_restarts_says_nothing_new(w: World):
    """Nor does an agent without one forget what it was told."""
    w.start_broker()
    sub = w.listen("#")
    first = w.start_coordinator(PLANNED)
    w.start_worker("telemetry_s: 1\n")
    w.start_agent("telemetry_s: 1\n")
    number = planned(sub, lambda d: d.get("worker"), "a plan")["number"]
    first.stop(signal.SIGKILL)
    w.prompt(prompt=PROMPT, id="alone", max_tokens=20)
    expect(sub.final("alone")["stats"]["split"], 3, "split while nobody decides")
    began = len(sub.lines())
    second = w.start_coordinator(PLANNED)
    second.wait_log("state=holding")

    def told(what):
        return sum(t.endswith(what) for t, _ in sub.lines()[began:])
    wait_until("telemetry", lambda: told("agent/gw1/telemetry") > 3
               and told("worker/w1/telemetry") > 3)
    expect(decisions_of(sub)[0][-1], number, "number of the newest decision")


def planned(sub, condition, what, agent="gw1"):
    """The newest decision of the planner, once condition holds for it."""
    def newest():
        d = decisions_of(sub, agent)[1]
        return d if d and d.get("objective") and condition(d) else None
    return wait_until(what, newest)


def agents_of_a_draining_worker_move(w: World):
    """SIGTERM of a worker with a session: its agents are told another one, the text stays."""
    w.start_broker()
    sub = w.listen("decision/+")
    replies = w.listen("agent/+/reply/+")
    w.start_coordinator(PLANNED)
    workers = {name: w.start_worker("telemetry_s: 1\n", name=name) for name in ("w1", "w2")}
    agents = {name: w.start_agent("telemetry_s: 1\n", name=name) for name in ("gw1", "gw2")}
    wanted = w.generate(PROMPT, 60)
    for name in agents:  # so that speeds of workers are known, and a plan can be made
        w.prompt(name=name, prompt=PROMPT, id=f"{name}-first", max_tokens=60)
        expect(replies.final(f"{name}-first")["ids"], wanted["ids"], "ids")
    first = planned(sub, lambda d: d.get("worker"), "a plan that names a worker")["worker"]
    other = "w2" if first == "w1" else "w1"
    expect(workers[first].stop(), 0, "status")
    for name in agents:
        planned(sub, lambda d: d.get("worker") == other, f"{name} to move", name)
        w.prompt(name=name, prompt=PROMPT, id=f"{name}-second", max_tokens=60)
        reply = replies.final(f"{name}-second")
        expect(reply["ids"], wanted["ids"], "ids")
        expect(reply["stats"]["worker"], other, "worker")


def a_decision_beyond_a_budget_is_refused_and_the_next_one_fits(w: World):
    """Somebody decides what the agent cannot hold: it says which bytes are missing and goes on; the
    coordinator overrules it with what fits."""
    w.start_broker()
    w.start_worker("telemetry_s: 1\n")
    everything = w.listen()
    w.start_agent("telemetry_s: 1\ncontext_tokens: 512\nmax_sessions: 1\n", name="probe")
    def profile():
        found = [json.loads(p) for t, p in everything.lines() if t.endswith("probe/profile")]
        return found[-1] if found else None
    p = wait_until("a profile", profile)
    front = p["fronts"][0]
    half = (p["base_bytes"] + front["embed_bytes"] + sum(front["layer_bytes"][:4])
            + p["session_bytes"] + 512 * (p["token_bytes"] + 4 * 2 * p["kv_elements"]))
    agent = w.start_agent(f"telemetry_s: 1\nsplit: 2\nmax_sessions: 1\n"
                          f"memory_budget: {half + half // 8}\n")
    w.publish("decision/gw1", json.dumps({"type": "decision", "agent": "gw1", "number": 7,
                                          "split": 8, "kv": "f32"}), "-r")
    def answer(number, taken):
        found = [json.loads(p) for t, p in everything.lines() if t.endswith("gw1/answer")]
        return [a for a in found if a["number"] >= number and a["taken"] == taken]
    refusal = wait_until("a refusal", lambda: answer(7, False))[0]
    expect(refusal["code"], "limit", "code")
    assert refusal["missing_bytes"] > 0, refusal
    assert str(refusal["missing_bytes"]) in refusal["reason"], refusal
    agent.wait_log("decision.refused")
    w.prompt(prompt=PROMPT, id="p", max_tokens=8)
    expect(everything.final("p")["stats"]["split"], 2, "split of the agent's own")
    w.start_coordinator("policy:\n  objective: worker\n")
    d = planned(everything, lambda d: answer(d["number"], True), "a plan that is taken")
    assert 0 < d["split"] < 8 and d["predicted"]["edge_bytes"] <= half + half // 8, d
    w.prompt(prompt=PROMPT, id="q", max_tokens=8)
    expect(everything.final("q")["stats"]["split"], d["split"], "split")


def of_two_agents_with_one_id_the_later_gives_up(w: World):
    """Who had been connected for a minute stays, and answers; the other one ends, and says why."""
    conf = "codec: f32\n"  # another codec may say another text
    first, _ = w.start_all(conf)
    sub = w.listen("agent/+/reply/+")
    time.sleep(61)  # RETRY_STABLE_MS
    second = w.start("agent", w.agent_config(conf), "second")
    assert wait_until("the later one to end", lambda: not second.alive()), second.log()
    assert second.p.returncode > 0, second.p.returncode
    assert "another client is using the id it:agent:gw1" in second.log(), second.log()
    assert first.alive() and "broker.lost" in first.log(), first.log()
    wait_until("the first one to be back",
               lambda: first.log().count("broker.connected") > first.log().count("broker.lost"))
    w.prompt(prompt=PROMPT, id="p", max_tokens=8)
    expect(sub.final("p")["ids"], w.generate(PROMPT, 8)["ids"], "ids")


def a_simulated_fleet_is_decided_for_and_leaves_nothing(w: World):
    """splitmq simulate --live: agents that are not there, for a coordinator that is."""
    w.start_broker()
    w.start_coordinator("lease_ms: 2000\n").wait_log("state=holding")
    scenario = w.write("scenario.yaml", "telemetry_s: 2\nworkers: 2\nsession: {per_hour: 600}\n")
    rc, out, err = w.tool("simulate", scenario, "--live", "-c", w.config("sim.yaml", ""),
                          "--agents", "30", "--duration", "20", "--json")
    expect(rc, 0, err)
    report = json.loads(out)
    assert report["decisions"]["taken"] >= 30, report["decisions"]
    assert report["sessions_done"] > 0 and report["tokens"] > 0, report
    sub = w.listen("#")
    w.publish("agent/real/status", "{}")
    wait_until("the last message", lambda: any("/real/" in t for t, _ in sub.lines()))
    left = [t for t, p in sub.lines() if "/sim-" in t and p]
    expect(left, [], "topics that are left")
