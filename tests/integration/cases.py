"""Integration cases: real broker, real daemons, real model. Each function is one case."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import fleet
import observe
import soak
from memory import Matrix, reply_of
from observe import telemetry_of
from prompts import (LONG, LONG_KEYS, LONG_TOKENS, PROMPT, begin_endless, begin_long,
                     end_endless, endless_model, long_answer, some_more)
from random_model import BIG, write_model
from world import FLEET, PATIENCE_S, Process, World, expect, free_port, wait_until


def decision(number, **keys):
    return json.dumps({"v": 1, "type": "decision", "agent": "gw1", "number": number, "split": 3,
                       "reason": "by hand", **keys})


def decide(w, number, **keys):
    w.publish("decision/gw1", decision(number, **keys), "-r")


def one_prompt_crosses_the_broker(w: World):
    """splitmq run without a daemon: layers on both sides, f32 rows, the text of one process."""
    w.start_broker()
    w.start_worker()
    wanted = w.generate(PROMPT, 100)
    for split in ("0", "3", "8"):
        rc, out, err = w.tool("run", "-c", w.agent_config("codec: f32\n"), "-p", PROMPT,
                              "-n", "100", "--json", "--split", split, "--in-process")
        expect(rc, 0, err)
        reply = json.loads(out)
        expect(reply["text"], wanted["text"], f"split {split}")
        expect(reply["ids"], wanted["ids"], f"split {split}")
        expect(reply["stats"]["split"], int(split), "split")
        assert (reply["stats"]["bytes_up"] > 0) == (split != "8")


def a_session_has_the_caches_that_were_asked_for(w: World):
    """--kv reaches both sides: the text is that of one process with such a cache."""
    w.start_broker()
    w.start_worker()
    splits = {"f32": ("3",), "q8_0": ("0", "3"), "q4_0": ("3", "8")}
    wanted = {kv: w.generate(PROMPT, 120, "--kv", kv, *LONG) for kv in splits}
    assert len({tuple(a["ids"]) for a in wanted.values()}) == 3, "the types make no difference"
    for kv, answer in wanted.items():
        for split in splits[kv]:
            rc, out, err = w.tool("run", "-c", w.agent_config("codec: f32\n"), "-p", PROMPT, "-n",
                                  "120", "--json", "--split", split, "--kv", kv, *LONG,
                                  "--in-process")
            expect(rc, 0, err)
            reply = json.loads(out)
            expect(reply["ids"], answer["ids"], f"split {split}, kv {kv}")
            expect(reply["stats"]["kv"], kv, "kv")


def run_finds_the_daemon_and_streams(w: World):
    agent, _ = w.start_all()
    rc, out, err = w.tool("run", "-c", w.agent_config(), "-p", PROMPT, "-n", "100")
    expect(rc, 0, err)
    expect(out.rstrip("\n"), w.generate(PROMPT, 100)["text"], "text")
    assert "bytes/token" in err and "tokens/s" in err, err
    agent.wait_log("session.ended")


def mosquitto_pub_alone_drives_a_gateway(w: World):
    w.start_all()
    w.start_coordinator("policy:\n  objective: none\n  split: 3\n  codec: q8\n  kv: q4_0\n")
    sub = w.listen()
    wait_until("a decision", lambda: [p for t, p in sub.lines() if t.endswith("/decision/gw1")])
    w.prompt(prompt=PROMPT, id="p1", max_tokens=100, stream=True)
    reply = sub.final("p1")
    expect(reply["stats"]["split"], 3, "split")
    expect(reply["stats"]["codec"], "q8", "codec")
    expect(reply["stats"]["kv"], "q4_0", "kv")
    pieces = "".join(r["text"] for r in sub.replies("p1") if not r["done"])
    expect(pieces, reply["text"], "the streamed pieces")
    types = set()
    for topic, payload in sub.lines():
        if topic.endswith("/up") and not payload.startswith("{"):
            continue  # rows, the one binary thing
        if payload.startswith("{"):
            types.add(json.loads(payload).get("type", "as typed by a person"))
    for wanted in ("open", "accept", "tokens", "close", "reply", "decision", "agent.status",
                   "worker.status", "coordinator.status"):
        assert wanted in types, f"no {wanted} among {sorted(types)}"


def eight_sessions_answer_like_one(w: World):
    w.start_broker()
    w.start_worker("max_sessions: 16\n")
    for a in ("gw1", "gw2"):
        w.start_agent("codec: f32\nsplit: 2\nmax_sessions: 4\n", name=a)
    sub = w.listen("agent/+/reply/+")
    prompts = [f"set the thermostat in room {i} to {18 + i} degrees" for i in range(8)]
    keys = [{"temperature": 1.5, "seed": 100 + i, "raw": i % 2 == 1} for i in range(8)]
    for i, prompt in enumerate(prompts):
        w.prompt(name=f"gw{i % 2 + 1}", prompt=prompt, id=f"s{i}", max_tokens=150, **keys[i])
    for i, prompt in enumerate(prompts):
        args = ["--temp", "1.5", "--seed", str(100 + i)] + (["--raw"] if i % 2 else [])
        wanted = w.generate(prompt, 150, *args)
        reply = sub.final(f"s{i}")
        expect(reply.get("error"), None, f"session {i}")
        expect(reply["ids"], wanted["ids"], f"session {i}")


def a_killed_broker_that_comes_back_changes_nothing(w: World):
    agent, worker = w.start_all("codec: f32\n")
    coordinator = w.start_coordinator("policy:\n  objective: none\n  split: 3\n")
    agent.wait_log("decision.taken")
    wanted = long_answer(w)
    sub = w.listen("agent/+/reply/+")
    begin_long(w, sub)
    w.mosquitto.stop(signal.SIGKILL)
    time.sleep(0.3)
    w.start_broker()
    again = w.listen("agent/+/reply/+")
    agent.wait_log("session.ended")
    assert agent.alive() and worker.alive() and coordinator.alive()
    decisions = w.listen("decision/+")  # the broker kept nothing: it must be said again
    wait_until("the decision", lambda: [t for t, p in decisions.lines() if "/decision/gw1" in t])
    log = agent.log()
    assert "finish=length" in log or "finish=stop" in log, log
    reply = [r for r in again.replies("long") + sub.replies("long") if r["done"]]
    if reply:  # the reply itself may have been published while nobody was subscribed
        expect(reply[0]["ids"], wanted["ids"], "ids over the restart")
    w.prompt(prompt=PROMPT, id="after", max_tokens=100)
    expect(again.final("after")["text"], w.generate(PROMPT, 100)["text"], "the next prompt")


def without_a_worker_the_answer_goes_on_alone(w: World):
    """The only worker dies in the middle: same text, said to be degraded; then split again."""
    agent, worker = w.start_all("codec: f32\nsplit: 2\noffline_after_ms: 300\n")
    wanted = long_answer(w)
    sub = w.listen("agent/+/reply/+")
    begin_long(w, sub)
    worker.stop(signal.SIGKILL)
    reply = sub.final("long")
    expect((reply["ids"], reply.get("degraded")), (wanted["ids"], True), "an answer alone")
    expect(reply["stats"]["handovers"], 1, "handovers")
    w.prompt(prompt=PROMPT, id="alone", max_tokens=40)
    reply = sub.final("alone")
    expect((reply["ids"], reply.get("degraded")), (w.generate(PROMPT, 40)["ids"], True), "a prompt")
    begin_long(w, sub, "back")
    w.start_worker()
    reply = sub.final("back")
    expect((reply["ids"], reply.get("degraded")), (wanted["ids"], True), "begun alone")
    agent.wait_log("offline.ended")
    w.prompt(prompt=PROMPT, id="split", max_tokens=40)
    reply = sub.final("split")
    expect((reply["stats"]["split"], reply.get("degraded")), (2, None), "with the fleet")
    expect(reply["ids"], w.generate(PROMPT, 40)["ids"], "ids")


def without_a_broker_the_answer_goes_on_alone(w: World):
    """It is killed in the middle of an answer that `splitmq run` shows; and is not there at all."""
    w.start_broker()
    w.start_worker()
    wanted = long_answer(w)
    slow, fast = free_port(), w.port  # so that it is not over before it is killed
    Process(w, "relay", [os.path.join(w.bin, "tools", "splitmq"), "relay", "--listen", str(slow),
                         "--to", f"127.0.0.1:{fast}", "--delay-ms", "5"])
    w.port = slow
    config = w.agent_config("codec: f32\nsplit: 3\noffline_after_ms: 2000\n")
    wait_until("the relay to listen", w.broker_listens)
    w.port = fast
    run = [os.path.join(w.bin, "tools", "splitmq"), "run", "-c", config, "-p", PROMPT, "--json",
           "-n", str(LONG_TOKENS), *LONG, "--in-process"]
    sub = w.listen("session/+/+/+/down")
    p = Process(w, "run", run)
    wait_until("some tokens", lambda: len(sub.lines()) > 20 or p.fail_if_dead("never"))
    w.mosquitto.stop(signal.SIGKILL)
    expect(p.p.wait(PATIENCE_S), 0, p.log())
    reply = json.loads(p.log()[p.log().index('{"'):].splitlines()[0])
    expect((reply["ids"], reply.get("degraded")), (wanted["ids"], True), "killed in the middle")
    rc, out, err = w.tool(*run[1:])
    expect(rc, 0, err)
    reply = json.loads(out)
    expect((reply["ids"], reply.get("degraded")), (wanted["ids"], True), "never there")


def a_front_with_all_layers_is_what_it_goes_on_with(w: World):
    """The agent's own file is a slice; another one, loaded when it is needed, has the rest."""
    own = slice_of(w, "own.gguf", "keep", "0..3")
    w.start_broker()
    worker = w.start_worker()
    agent = w.start_agent("codec: f32\nsplit: 2\noffline_after_ms: 300\n"
                          f"fronts:\n  whole:\n    model: {w.model}\n", model=own)
    wanted = long_answer(w)
    sub = w.listen("agent/+/reply/+")
    begin_long(w, sub)
    worker.stop(signal.SIGKILL)
    reply = sub.final("long")
    expect((reply["ids"], reply.get("degraded"), reply["stats"]["front"]),
           (wanted["ids"], True, "whole"), "an answer alone")
    begin_long(w, sub, "back")
    w.start_worker()
    reply = sub.final("back")
    expect((reply["ids"], reply.get("degraded")), (wanted["ids"], True), "begun alone")
    agent.wait_log("front.closed front=whole")
    w.prompt(prompt=PROMPT, id="split", max_tokens=40)
    reply = sub.final("split")
    expect((reply["stats"]["split"], reply.get("degraded")), (2, None), "with the fleet")
    assert reply["stats"]["front"] != "whole", reply["stats"]


def what_cannot_go_on_alone_waits_and_says_so(w: World):
    """The front's slice is all there is: the prompt ends by its deadline, as an error of a kind."""
    front = w.path("front.gguf")
    rc, _, err = w.tool("quantize", w.model, front, "--type", "keep", "--layers", "0..1")
    expect(rc, 0, err)
    w.start_broker()
    agent = w.start_agent("codec: f32\noffline_after_ms: 200\n", model=front)
    sub = w.listen("agent/+/reply/+")
    w.prompt(prompt=PROMPT, id="p1", deadline_ms=1500)
    expect(sub.final("p1")["error"], "timeout", "code")
    assert "offline.waiting" in agent.log() and "has layers 0..1" in agent.log(), agent.log()


def slice_of(w, name, kind, layers):
    path = w.path(name)
    rc, _, err = w.tool("quantize", w.model, path, "--type", kind, "--layers", layers)
    expect(rc, 0, err)
    return path


def another_precision_of_the_front_takes_over(w: World):
    """Loaded beside a session, used from its next job on; the same weights give the same text."""
    fronts = (f"fronts:\n  same:\n    model: {slice_of(w, 'same.gguf', 'keep', '0..2')}\n"
              f"  Q2_K:\n    model: {slice_of(w, 'coarse.gguf', 'Q2_K', '0..2')}\n")
    agent, _ = w.start_all("codec: f32\nsplit: 2\n" + fronts)
    wanted = long_answer(w)
    sub = w.listen("agent/+/#")
    wait_until("the profile", lambda: [p for t, p in sub.lines() if t.endswith("/profile")])
    profile = json.loads([p for t, p in sub.lines() if t.endswith("/profile")][-1])
    expect([f["name"] for f in profile["fronts"]][1:], ["same", "Q2_K"], "fronts")
    expect([f["layers"] for f in profile["fronts"]][1:], [2, 2], "layers")
    sizes = [sum(f["layer_bytes"][:2]) for f in profile["fronts"]]
    assert sizes[0] == sizes[1] and 0 < sizes[2] < sizes[1], sizes
    begin_long(w, sub)
    decide(w, 1, split=2, front="same")
    agent.wait_log("front.used front=same")
    reply = sub.final("long")
    expect(reply["ids"], wanted["ids"], "ids over the switch")
    w.prompt(prompt=PROMPT, id="same", max_tokens=40)
    reply = sub.final("same")
    expect((reply["ids"], reply["stats"]["front"]), (w.generate(PROMPT, 40)["ids"], "same"),
           "a session on it")
    decide(w, 2, split=2, front="Q2_K")
    agent.wait_log("front.closed front=same")
    w.prompt(prompt=PROMPT, id="coarse", max_tokens=40)
    reply = sub.final("coarse")
    expect((reply.get("error"), reply["stats"]["front"]), (None, "Q2_K"), "a coarser one")
    decide(w, 3, split=2, front="Q9_0")
    decide(w, 4, split=1)
    agent.wait_log("front.closed front=Q2_K")
    w.prompt(prompt=PROMPT, id="first", max_tokens=40)
    expect(sub.final("first")["ids"], w.generate(PROMPT, 40)["ids"], "the first one again")
    assert '"Q9_0"' not in agent.log() and "has no front Q9_0" in agent.log(), agent.log()


def a_front_that_does_not_fit_is_refused_with_its_bytes(w: World):
    keys = "codec: f32\nsplit: 2\n"
    rc, err = check(w, "agent", w.agent_config(keys + "memory_budget: 1MiB\n"))
    expect(rc, 1, err)
    parts = re.search(r"process (\d+) \+ weights (\d+) \+ scratch (\d+) \+ session .* (\d+)", err)
    budget = sum(map(int, parts.groups())) + 1000000
    front = slice_of(w, "all.gguf", "F16", "0..8")
    keys += f"memory_budget: {budget}\nfronts:\n  F16:\n    model: {front}\n"
    w.start_broker()
    w.start_agent(keys)
    sub = w.listen("agent/+/answer")
    decide(w, 1, split=2, front="F16")
    wait_until("an answer", lambda: [p for t, p in sub.lines() if '"taken":false' in p])
    answer = json.loads([p for t, p in sub.lines() if '"taken":false' in p][0])
    assert answer["code"] == "limit" and answer["missing_bytes"] > 1000000, answer
    other = w.path("other.gguf")
    write_model(w.model, other, BIG)
    rc, err = check(w, "agent", w.agent_config(f"fronts:\n  x:\n    model: {other}\n"))
    assert rc == 1 and "front x" in err and "not made of this agent's model" in err, err


def budget_with(w: World, keys, share):
    """Bytes of an agent as configured, scratch of another front, and a share of its weights."""
    rc, err = check(w, "agent", w.agent_config(keys + "memory_budget: 1MiB\n"))
    expect(rc, 1, err)
    process, weights, scratch, one = map(int, re.search(
        r"process (\d+) \+ weights (\d+) \+ scratch (\d+) \+ session .* (\d+)", err).groups())
    return process + weights + 2 * scratch + one + int(share * weights)


def refusals(sub, number):
    """Answers to that decision which say no."""
    answers = [json.loads(p) for t, p in sub.lines() if t.endswith("/answer") and p]
    return [a for a in answers if a["number"] == number and not a["taken"]]


def a_front_takes_the_place_of_another(w: World):
    """Two do not fit beside each other: they change places while no session runs."""
    keys = "codec: f32\nsplit: 2\ncontext_tokens: 256\n"
    write_model(w.model, w.path("big.gguf"), BIG)
    w.model = w.path("big.gguf")
    fronts = {n: slice_of(w, f"{n}.gguf", "keep", "0..2") for n in ("same", "twin", "lost")}
    listed = "".join(f"  {n}:\n    model: {path}\n" for n, path in fronts.items())
    keys += f"memory_budget: {budget_with(w, keys, 0.5)}\nfronts:\n{listed}"
    w.start_broker()
    w.start_worker()
    agent = w.start_agent(keys)
    wanted = w.generate(PROMPT, 40)["ids"]
    sub = w.listen("agent/+/#")

    def answer(number, front, name):
        decide(w, number, split=2, front=front)
        agent.wait_log(f"front.used front={name}")
        w.prompt(prompt=PROMPT, id=f"p{number}", max_tokens=40)
        reply = sub.final(f"p{number}")
        expect((reply.get("error"), reply["ids"]), (None, wanted), f"ids with {front}")
        expect(reply["stats"]["front"], name, "front")

    answer(1, "same", "same")
    agent.wait_log("front.swapped front=same")
    answer(2, "twin", "twin")
    agent.wait_log("front.closed front=same")
    os.unlink(fronts["lost"])
    decide(w, 3, split=2, front="lost")
    agent.wait_log("front.failed front=lost")
    wait_until("a corrected answer", lambda: refusals(sub, 3))
    refusal = refusals(sub, 3)[-1]
    expect(refusal["code"], "not_found", "why a front that is not there was not taken")
    assert "front lost" in refusal["reason"], refusal
    wait_until("the one before", lambda: agent.log().count("front.ready front=twin") == 2)
    w.prompt(prompt=PROMPT, id="again", max_tokens=40)
    reply = sub.final("again")
    expect((reply["ids"], reply["stats"]["front"]), (wanted, "twin"), "after a load that failed")
    begin_long(w, sub)
    decide(w, 4, split=2, front="same")
    wait_until("a refusal", lambda: refusals(sub, 4))
    refusal = refusals(sub, 4)[-1]
    assert refusal["missing_bytes"] > 0 and "when none runs" in refusal["reason"], refusal
    sub.final("long")
    own = json.loads([p for t, p in sub.lines() if t.endswith("/profile")][0])["fronts"][0]
    answer(5, own["name"], own["name"])
    assert agent.alive() and "front.refused" not in agent.log(), agent.log()


def a_coarser_front_is_taken_where_the_model_does_not_fit(w: World):
    keys = "codec: f32\nsplit: 2\ncontext_tokens: 256\nrun_ahead: no\n"
    write_model(w.model, w.path("big.gguf"), BIG)
    w.model = w.path("big.gguf")
    fronts = {n: slice_of(w, f"{n}.gguf", t, "0..2") for n, t in (("fine", "keep"),
                                                                  ("coarse", "Q3_K"),
                                                                  ("coarsest", "Q2_K"))}
    listed = "".join(f"  {n}:\n    model: {path}\n" for n, path in fronts.items())
    keys += f"memory_budget: {budget_with(w, keys, -0.4)}\nfronts:\n{listed}"
    rc, err = check(w, "agent", w.agent_config(keys + "front_fallback: no\n"))
    assert rc == 1 and "does not fit" in err, err
    rc, err = check(w, "agent", w.agent_config(keys))
    assert rc == 0 and "front.instead front=coarse " in err, err
    w.start_broker()
    w.start_worker()
    agent = w.start_agent(keys + "telemetry_s: 1\n")
    agent.wait_log("front.instead front=coarse ")
    sub = w.listen("agent/+/#")
    w.prompt(prompt=PROMPT, id="p1", max_tokens=20)
    reply = sub.final("p1")
    expect((reply.get("error"), reply["stats"]["front"]), (None, "coarse"), "front")
    profile = json.loads([p for t, p in sub.lines() if t.endswith("/profile")][0])
    expect(profile["front"], "coarse", "front of decisions that name none")
    wait_until("telemetry", lambda: telemetry_of(sub, "agent", "gw1"))
    expect(telemetry_of(sub, "agent", "gw1")[-1]["front"], "coarse", "front of the telemetry")
    decide(w, 1, split=2, front=profile["fronts"][0]["name"])
    wait_until("a refusal", lambda: [p for t, p in sub.lines() if '"taken":false' in p])
    refusal = json.loads([p for t, p in sub.lines() if '"taken":false' in p][-1])
    assert refusal["missing_bytes"] > 1000000, refusal
    decide(w, 2, split=1)  # of those that there are
    wait_until("it to be taken", lambda: [p for t, p in sub.lines() if '"taken":true' in p])
    decide(w, 3, split=2, front="coarsest")
    agent.wait_log("front.used front=coarsest")
    w.prompt(prompt=PROMPT, id="p2", max_tokens=20)
    expect(sub.final("p2")["stats"]["front"], "coarsest", "front")
    wait_until("telemetry", lambda: telemetry_of(sub, "agent", "gw1")[-1]["front"] == "coarsest")


def a_killed_worker_that_comes_back_continues_the_text(w: World):
    agent, worker = w.start_all("codec: f32\n")
    wanted = long_answer(w)
    sub = w.listen("agent/+/reply/+")
    begin_long(w, sub)
    worker.stop(signal.SIGKILL)
    w.start_worker()
    reply = sub.final("long")
    expect(reply.get("error"), None, "error")
    expect(reply["ids"], wanted["ids"], "ids over the worker's death")
    assert reply["stats"]["epochs"] > 1, reply["stats"]
    assert agent.alive()


def another_worker_takes_over(w: World):
    w.start_broker()
    workers = {n: w.start_worker(name=n) for n in ("w1", "w2")}
    w.start_agent("codec: f32\n")
    wanted = long_answer(w)
    sub = w.listen()
    begin_long(w, sub)
    first = [json.loads(p)["worker"] for t, p in sub.lines() if '"type":"accept"' in p][0]
    workers[first].stop(signal.SIGKILL)
    reply = sub.final("long")
    expect(reply["ids"], wanted["ids"], "ids over the change of worker")
    assert reply["stats"]["worker"] != first, reply["stats"]


def a_worker_without_the_layers_is_passed_over(w: World):
    w.start_broker()
    w.start_worker("first_layer: 3\n", name="w1")
    w.start_worker(name="w2")
    w.start_agent("split: 2\n")
    sub = w.listen("agent/+/reply/+")
    for i in range(4):  # the broker asks them in turn
        w.prompt(prompt=PROMPT, id=f"p{i}", max_tokens=4)
        expect(sub.final(f"p{i}").get("error"), None, "error")


def a_draining_worker_hands_its_sessions_over(w: World):
    w.start_broker()
    workers = {n: w.start_worker(name=n) for n in ("w1", "w2")}
    w.start_agent("codec: f32\n")
    wanted = long_answer(w)
    sub = w.listen()
    begin_long(w, sub)
    first = [json.loads(p)["worker"] for t, p in sub.lines() if '"type":"accept"' in p][0]
    expect(workers[first].stop(signal.SIGTERM), 0, "exit status")
    reply = sub.final("long")
    expect(reply["ids"], wanted["ids"], "ids over the drain")


def budget_of(w: World, model, context, more=""):
    """Bytes of a worker without sessions (as pages of libraries are, 300 KB more or less at each
    start), and of a session of context tokens."""
    config = w.worker_config(f"memory_budget: 1MiB\ncontext_tokens: {context}\n{more}",
                             model=model)
    rc, err = check(w, "worker", config)
    expect(rc, 1, err)
    process, weights, scratch, one = map(int, re.search(
        r"process (\d+) \+ weights (\d+) \+ scratch (\d+) \+ session of \d+ tokens (\d+)",
        err).groups())
    return process + weights + scratch, one


def stop_in_the_middle(w, sub, agent):
    """Put the agent to sleep while a long session runs, and return its id. Where everything waits
    for a processor its first pieces are heard of when it is over: then another one is begun."""
    for i in range(20):
        begin_long(w, sub, f"long{i}")
        agent.p.send_signal(signal.SIGSTOP)
        time.sleep(1)
        if not any(r["done"] for r in sub.replies(f"long{i}")):
            return f"long{i}"
        agent.p.send_signal(signal.SIGCONT)
    raise AssertionError("no session was caught while it ran")


def an_idle_session_makes_room_and_goes_on_later(w: World):
    """Memory for one session: the agent of the first one sleeps, and replays when it wakes up. At
    split 0 one takes 0.8 of what a whole context does, so two never fit, and one always does: by
    1.4 MB in f32, more than the process differs from start to start on a busy machine."""
    plain = w.path("plain.gguf")  # nothing but caches counts: no calibration beside it
    shutil.copy(w.model, plain)
    rest, one = budget_of(w, plain, 512, "kv: f32\n")
    w.start_broker()
    worker = w.start_worker(f"memory_budget: {rest + one * 5 // 4}\ntelemetry_s: 1\nkv: f32\n"
                            "timeouts:\n  evict_ms: 500\n", model=plain)
    w.broker_section = "  keepalive_s: 60\n"  # longer than one of them sleeps
    agents = {n: w.start_agent("codec: f32\nsplit: 0\n", name=n, model=plain)
              for n in ("gw1", "gw2")}
    wanted = long_answer(w, "--kv", "f32")
    sub = w.listen()
    name = stop_in_the_middle(w, sub, agents["gw1"])
    w.prompt(name="gw2", prompt=PROMPT, id="second", **LONG_KEYS)
    expect(sub.final("second")["ids"], wanted["ids"], "ids of the second session")
    worker.wait_log("session.evicted agent=gw1")
    agents["gw1"].p.send_signal(signal.SIGCONT)
    reply = sub.final(name)
    expect(reply.get("error"), None, "error")
    expect(reply["ids"], wanted["ids"], "ids of the session that was evicted")
    assert reply["stats"]["epochs"] > 1, reply["stats"]
    wait_until("telemetry", lambda: [p for t, p in sub.lines() if '"evictions":1' in p])
    told = [json.loads(p) for t, p in sub.lines() if t.endswith("worker/w1/telemetry")]
    assert all(one < t["kv_budget_bytes"] < one * 3 // 2 for t in told), (one, told)


def a_session_that_does_not_fit_is_told_what_would(w: World):
    plain = w.path("plain.gguf")
    shutil.copy(w.model, plain)
    rest, one = budget_of(w, plain, 512)
    w.start_broker()
    worker = w.start_worker(f"memory_budget: {rest + one + 400000}\n", model=plain)
    w.broker_section = "  keepalive_s: 60\n"
    more = "codec: f32\nsplit: 0\ntimeouts:\n  session_ms: 2000\n"
    agents = {n: w.start_agent(more, name=n, model=plain) for n in ("gw1", "gw2")}
    sub = w.listen("agent/+/reply/+")
    begin_long(w, sub, max_tokens=252)
    agents["gw1"].p.send_signal(signal.SIGSTOP)  # it is not idle for long enough to be evicted
    w.prompt(name="gw2", prompt=PROMPT, id="p2", raw=True, max_tokens=480)
    reply = sub.final("p2")
    expect(reply["error"], "timeout", "code")
    fits = re.search(r"(\d+) more than the memory budget leaves; at most (\d+) tokens fit now",
                     reply["reason"])
    assert fits and int(fits[1]) < one and 120 < int(fits[2]) < 440, reply
    assert fits[0] in worker.log()
    w.prompt(name="gw2", prompt=PROMPT, id="p3", raw=True, max_tokens=int(fits[2]) - 12)
    expect(sub.final("p3").get("error"), None, "error")
    agents["gw1"].p.send_signal(signal.SIGCONT)


def memory_that_is_short_is_named_never_overdrawn(w: World):
    """generate, worker and agent under budgets and resource limits from too small to ample."""
    w.start_broker()
    w.start_worker()
    steps = [int(m * 2**20) for m in (4, 9, 12, 16, 24, 40, 64, 160)]
    runs = Matrix(w, tokens=8, context=512, split=2).run(("budget", "as", "data"), steps)
    for run in runs:
        assert run.fine(), (run.program, run.kind, run.limit, run.text[-600:])
    for program, kinds in (("generate", ("as", "data")), ("worker", ("budget", "as", "data")),
                           ("agent", ("budget", "as", "data"))):
        for kind in kinds:
            verdicts = [r.verdict() for r in runs if (r.program, r.kind) == (program, kind)]
            expect((verdicts[0] == "works", verdicts[-1]), (False, "works"), (program, kind))
    agents = [reply_of(r)["ids"] for r in runs if r.program == "agent" and r.status == 0]
    assert agents and all(ids == agents[0] for ids in agents), agents


def an_agent_finishes_its_sessions_before_it_stops(w: World):
    agent, _ = w.start_all("codec: f32\n")
    wanted = long_answer(w)
    sub = w.listen("agent/gw1/#")
    begin_long(w, sub)
    expect(agent.stop(signal.SIGTERM), 0, "exit status")
    expect(sub.final("long")["ids"], wanted["ids"], "ids over the drain")

    def states():
        return [json.loads(p)["state"] for t, p in sub.lines() if t.endswith("/status")]
    wait_until("the offline status", lambda: states()[-1] == "offline")
    assert "draining" in states(), states()


def no_worker_is_an_error_by_the_deadline(w: World):
    w.start_broker()
    w.start_agent("timeouts:\n  session_ms: 2000\n")
    sub = w.listen("agent/+/reply/+")
    begun = time.monotonic()
    w.prompt(prompt=PROMPT, id="p1")
    reply = sub.final("p1", 15)
    expect(reply["finish_reason"], "error", "finish")
    expect(reply["error"], "timeout", "code")
    assert 1.9 < time.monotonic() - begun < 10


def a_prompt_may_bring_its_own_deadline(w: World):
    w.start_broker()
    w.start_agent()
    rc, out, err = w.tool("run", "-c", w.agent_config(), "-p", PROMPT, "--timeout", "1")
    expect(rc, 1, out)
    assert "timeout" in err and "no worker accepted" in err, err


def a_deadline_ends_the_answer_with_what_there_is(w: World):
    """Over 200 kbit/s whole rows take 40 ms: they become coarser, then the answer is cut."""
    w.start_broker()
    w.start_worker()
    slow = free_port()
    Process(w, "relay", [os.path.join(w.bin, "tools", "splitmq"), "relay", "--listen", str(slow),
                         "--to", f"127.0.0.1:{w.port}", "--rate-kbit", "200"])
    fast, w.port = w.port, slow
    w.start_agent("codec: f32\nsplit: 1\n")
    w.port = fast
    wanted = long_answer(w)
    sub = w.listen("agent/+/reply/+")
    begun = time.monotonic()
    w.prompt(prompt=PROMPT, id="p1", deadline_ms=3000, **LONG_KEYS)
    reply = sub.final("p1")
    expect((reply["finish_reason"], reply.get("error")), ("deadline", None), "finish")
    assert time.monotonic() - begun < 6, "it was late"
    assert 2 < reply["stats"]["tokens"] < LONG_TOKENS, reply["stats"]
    expect(len(reply["ids"]), reply["stats"]["tokens"], "ids")
    expect(reply["ids"][0], wanted["ids"][0], "the first token")
    assert reply["stats"]["levels_down"] > 0 and "tabq" in reply["stats"]["codec"], reply["stats"]


def another_model_is_named_in_the_error(w: World):
    with open(w.model, "rb") as f:
        data = bytearray(f.read())
    data[-1] ^= 1
    other = w.path("other.gguf")
    with open(other, "wb") as f:
        f.write(data)
    w.start_broker()
    w.start_worker(model=other)
    w.start_agent()
    sub = w.listen("agent/+/reply/+")
    begun = time.monotonic()
    w.prompt(prompt=PROMPT, id="p1")
    reply = sub.final("p1")
    expect(reply["error"], "model_mismatch", "code")
    assert "w1" in reply["reason"], reply
    assert time.monotonic() - begun < 15


def slices_of_one_recipe_are_one_model(w: World):
    """Front and back in files of their own answer as the whole; what a slice lacks is named."""
    recipe = ["--front", "Q4_K", "--back", "Q6_K", "--split", "2"]
    files = {}
    for name, layers in (("whole", "0..8"), ("front", "0..2"), ("back", "2..8")):
        files[name] = w.path(f"{name}.gguf")
        rc, _, err = w.tool("quantize", w.model, files[name], *recipe, "--layers", layers)
        expect(rc, 0, err)
    for kind, config, words in (
            ("agent", ("split: 3\n", "gw1", files["front"]), "layer 2 is not in"),
            ("agent", ("", "gw1", files["back"]), "layer 0 is not in"),
            ("worker", ("", "w1", files["back"]), "first_layer: 0: layer 0 is not in"),
            ("worker", ("first_layer: 1\n", "w1", files["front"]), "layer 2 is not in")):
        rc, err = check(w, kind, getattr(w, f"{kind}_config")(*config))
        expect(rc, 1, f"{words}: {err}")
        assert words in err and "slice with layers" in err, err
    w.start_broker()
    w.start_worker("first_layer: 2\n", model=files["back"])
    w.start_agent("codec: f32\n", model=files["front"])  # split: all that the slice has
    sub = w.listen("agent/+/reply/+")
    w.prompt(prompt=PROMPT, id="p1", max_tokens=100)
    reply = sub.final("p1")
    expect(reply["stats"]["split"], 2, "split")
    rc, out, err = w.tool("generate", "-m", files["whole"], "-p", PROMPT, "-n", "100", "--json")
    expect(rc, 0, err)
    expect(reply["text"], json.loads(out)["text"], "text")
    w.prompt(prompt=PROMPT, id="p2", split=3)
    reply = sub.final("p2")
    expect(reply["error"], "not_found", "code")
    assert "layer 2 is not in" in reply["reason"], reply


def rows_are_predicted_and_the_text_stays(w: World):
    """tabq with the calibration beside the model: the ids of one process, few bytes a row."""
    w.start_all("split: 3\ncodec: tabq:delta=0.02\n")
    wanted = w.generate(PROMPT, LONG_TOKENS, "--split", "3", "--codec", "tabq:delta=0.02", *LONG)
    sub = w.listen("agent/+/reply/+")
    begin_long(w, sub)
    reply = sub.final("long")
    expect(reply["ids"], wanted["ids"], "ids")
    stats = reply["stats"]
    assert stats["codec"].startswith("tabq:delta=0.02,") and "predict=auto" in stats["codec"], stats
    rows = stats["prompt_tokens"] + stats["tokens"] - 1
    assert stats["bytes_up"] < (48 + 130) * rows, f"{stats['bytes_up']} bytes for {rows} rows"


def a_worker_that_takes_over_predicts_alike(w: World):
    """The log is replayed with the tokens that the new worker did not sample itself."""
    w.start_broker()
    workers = {n: w.start_worker(name=n) for n in ("w1", "w2")}
    w.start_agent("split: 2\ncodec: tabq:delta=0.02\n")
    wanted = w.generate(PROMPT, LONG_TOKENS, "--split", "2", "--codec", "tabq:delta=0.02", *LONG)
    sub = w.listen()
    begin_long(w, sub)
    first = [json.loads(p)["worker"] for t, p in sub.lines() if '"type":"accept"' in p][0]
    workers[first].stop(signal.SIGKILL)
    reply = sub.final("long")
    expect(reply["ids"], wanted["ids"], "ids over the change of worker")
    assert reply["stats"]["worker"] != first, reply["stats"]


def frames_of(watch):
    found = []
    for line in watch.log().splitlines():
        if line.startswith("{") and line.endswith("}"):
            line = json.loads(line)
            if "frame" in line and line["frame"]["kind"] == "rows":
                found.append(line["frame"])
    return found


def the_codec_changes_between_two_tokens(w: World):
    """A decision in mid-session: the same session, epoch and worker go on with other rows."""
    room = endless_model(w)
    agent, _ = w.start_all(room, room)
    decide(w, 1, codec="f16")
    agent.wait_log("number=1")
    watch = Process(w, "watch", [os.path.join(w.bin, "tools", "splitmq"), "watch", "-c",
                                 w.agent_config(), "--json"])
    watch.wait_log("agent.status")
    sub = w.listen("agent/+/reply/+")
    begin_endless(w, sub)
    decide(w, 2, codec="tabq:delta=0.05")
    agent.wait_log("number=2")
    some_more(sub)
    reply = end_endless(w, sub, same_text=False)
    expect(reply["stats"]["retries"], 0, "retries")
    expect(reply["stats"]["epochs"], 1, "epochs")
    frames = wait_until("the last frame", lambda: [
        f for f in [frames_of(watch)] if f and f[-1]["pos"] + 1 >= len(reply["ids"])])[0]
    expect(len({f["session"] for f in frames}), 1, "sessions")
    bits = [f["bits_per_element"] for f in frames]
    before = [b for b in bits if b == 16.0]
    after = bits[len(before):]
    assert before and after and max(after) < 8, f"{len(before)} rows of 16 bits, then {after[:5]}"
    expect([f["seq"] for f in frames], list(range(1, len(frames) + 1)), "no chunk twice")


def the_split_moves_while_a_session_runs(w: World):
    """Up, down, to no worker at all and back; with f32 rows the text is that of one process."""
    room = endless_model(w)
    agent, _ = w.start_all("codec: f32\ntelemetry_s: 0\n" + room, room)
    sub = w.listen("agent/+/reply/+")
    decisions = w.publisher("decision/gw1")
    begin_endless(w, sub)
    moves = (4, 1, 8, 3, 5, 0)
    for number, split in enumerate(moves, 1):
        decisions.send(decision(number, split=split))
        wait_until(f"split {split}", lambda to=split: f" to={to} bytes=" in agent.log()
                   or "session.ended" in agent.log())
    stats = end_endless(w, sub)["stats"]
    expect(stats["handovers"], len(moves), "handovers")
    expect(stats["retries"], 0, "retries")
    token_ms = (stats["total_ms"] - stats["ttft_ms"]) / stats["tokens"]
    pauses = [float(p) for p in re.findall(r"handover\.done .*pause_ms=([0-9.]+)", agent.log())]
    print(f"{stats['handovers']} changes; longest pause {max(pauses) / token_ms:.1f} token times")


def the_agents_cache_changes_its_type_while_a_session_runs(w: World):
    """Decided in mid-session, once together with a split that moves."""
    room = endless_model(w)
    agent, _ = w.start_all("codec: f32\nsplit: 4\nkv: f32\ntelemetry_s: 0\n" + room, room)
    sub = w.listen("agent/+/reply/+")
    begin_endless(w, sub)
    decide(w, 1, split=4, kv="q8_0")
    agent.wait_log("session.kv id=long kv=q8_0 before=f32")
    decide(w, 2, split=2, kv="f32")  # and with a split that moves
    agent.wait_log("session.kv id=long kv=f32 before=q8_0")
    agent.wait_log(" to=2 bytes=")
    reply = end_endless(w, sub, same_text=False)
    expect(reply["stats"]["kv"], "f32", "type of the cache")
    expect(reply["stats"]["split"], 2, "split")


def a_worker_that_dies_after_a_move_is_replaced(w: World):
    """The log has two splits and what filled the layers between; another worker replays it."""
    w.start_broker()
    room = endless_model(w)
    workers = {name: w.start_worker(room, name) for name in ("w1", "w2")}
    agent = w.start_agent("codec: f32\n" + room)
    sub = w.listen("agent/+/reply/+")
    begin_endless(w, sub)
    decide(w, 1, split=1)
    agent.wait_log("handover.done")
    first, other = ("w1", "w2") if "session.opened" in workers["w1"].log() else ("w2", "w1")
    workers[first].stop(signal.SIGKILL)
    workers[other].wait_log("session.opened")
    some_more(sub)
    reply = end_endless(w, sub)
    assert reply["stats"]["handovers"] == 1, reply["stats"]
    expect(reply["stats"]["worker"], other, "worker")


def a_worker_without_the_calibration_gets_whole_rows(w: World):
    plain = w.path("plain.gguf")
    os.symlink(w.model, plain)
    w.start_broker()
    w.start_worker(model=plain)
    agent = w.start_agent("split: 3\ncodec: tabq:delta=0.02\n")
    agent.wait_log("broker.connected")
    time.sleep(0.5)  # the worker's retained status
    sub = w.listen("agent/+/reply/+")
    w.prompt(prompt=PROMPT, id="p1", max_tokens=100)
    reply = sub.final("p1")
    expect(reply.get("error"), None, "error")
    assert "predict=none" in reply["stats"]["codec"], reply["stats"]
    assert "codec.unpredicted" in agent.log(), agent.log()


def a_calibration_of_another_model_is_named(w: World):
    other = w.path("other.gguf")
    rc, _, err = w.tool("quantize", w.model, other, "--type", "Q4_0")
    expect(rc, 0, err)
    shutil.copy(w.model + ".cal", other + ".cal")
    rc, err = check(w, "agent", w.agent_config("", "gw1", other))
    expect(rc, 1, err)
    assert "other.gguf.cal is of another model" in err, err


def rows_that_are_not_finite_end_their_session(w: World):
    """A broken weight: nothing is sent, and the reply says why."""
    broken = w.path("broken.gguf")
    shutil.copy(w.model, broken)
    rc, out, err = w.tool("inspect", "--json", broken)
    expect(rc, 0, err)
    norm = [t for t in json.loads(out)["tensors"] if t["name"] == "blk.0.attn_norm.weight"][0]
    with open(broken, "r+b") as f:
        f.seek(norm["offset"])
        f.write(b"\x00\x00\xc0\x7f" * 4)
    w.start_broker()
    w.start_worker(model=broken)
    w.start_agent("split: 2\ncodec: tabq\n", model=broken)
    sub = w.listen()
    w.prompt(prompt=PROMPT, id="p1")
    reply = sub.final("p1")
    expect(reply["error"], "not_finite", "code")
    assert "row 0, element" in reply["reason"], reply
    assert not [t for t, p in sub.lines() if t.endswith("/up") and not p.startswith("{")], "rows"


def a_prompt_longer_than_the_context_is_refused(w: World):
    w.start_all("context_tokens: 64\n")
    sub = w.listen("agent/+/reply/+")
    w.prompt(prompt=PROMPT * 40, id="long")
    reply = sub.final("long")
    expect(reply["error"], "context", "code")
    w.prompt(prompt=PROMPT, id="short", max_tokens=100)
    expect(sub.final("short").get("error"), None, "the next prompt")


def malformed_messages_leave_other_sessions_alone(w: World):
    agent, worker = w.start_all("codec: f32\n")
    wanted = long_answer(w)
    sub = w.listen()
    begin_long(w, sub)
    up = [t for t, p in sub.lines() if t.endswith("/up")][0][len(f"splitmq/v1/{FLEET}/"):]
    down = up[:-2] + "down"
    other = "session/w1/gw1/00000000000000aa/up"
    for text in ("{", "SQ", "SQ" + "x" * 60, "{}", '{"v":9,"type":"open"}',
                 '{"v":1,"type":"open","session":"zz"}', '{"v":1,"type":"tokens"}', "[" * 3000,
                 "\u0000", '{"v":1,"type":"close","session":"1"}',
                 '{"a":' * 50 + "1" + "}" * 50, "x" * 100000):
        for topic in (other, up, down, "agent/gw1/prompt", "decision/gw1", "worker/w9/status"):
            if topic == up and text.startswith("{"):
                continue  # a malformed control message there is the session's own error
            try:
                w.publish(topic, text.replace("\u0000", "\\u0000"))
            except subprocess.CalledProcessError:
                pass  # mosquitto_pub itself refuses
    reply = sub.final("long")
    expect(reply["ids"], wanted["ids"], "the session beside them")
    bad = [r for r in sub.replies() if r["done"] and r["id"] != "long"]
    assert bad and all(r["error"] in ("format", "version", "limit") for r in bad), bad
    assert agent.alive() and worker.alive()


def wrong_credentials_are_said_in_words(w: World):
    w.broker_conf = "allow_anonymous false\npassword_file passwd\n"
    w.write("passwd", "")
    subprocess.run(["mosquitto_passwd", "-b", w.path("passwd"), "gw1", "right"], check=True,
                   capture_output=True)
    w.broker_conf = f"allow_anonymous false\npassword_file {w.path('passwd')}\n"
    os.chmod(w.dir, 0o755)
    os.chmod(w.path("passwd"), 0o644)
    w.start_broker()
    w.broker_section = "  username: gw1\n  password: wrong\n"
    p = w.start("agent", w.agent_config(name="gw1"))
    p.wait_log("broker.lost")
    assert re.search("user ?name or password|not authori", p.log(), re.I), p.log()
    rc, _, err = w.tool("run", "-c", w.agent_config(), "-p", PROMPT)
    expect(rc, 1, err)
    assert re.search("user ?name or password|not authori", err, re.I), err
    w.broker_section = "  username: gw1\n  password: right\n"
    w.start_agent(name="gw1")


def tls_with_client_certificates(w: World):
    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=w.dir)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=it-ca",
            "-keyout", "ca.key", "-out", "ca.crt")
    for name in ("localhost", "gw1", "w1"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.csr")
        w.write("ext", "subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", "2", "-extfile", "ext", "-out", f"{name}.crt")
    for f in os.listdir(w.dir):
        os.chmod(w.path(f), 0o644)
    os.chmod(w.dir, 0o755)
    w.broker_conf = ("allow_anonymous false\nrequire_certificate true\n"
                     "use_identity_as_username true\n"
                     f"cafile {w.path('ca.crt')}\ncertfile {w.path('localhost.crt')}\n"
                     f"keyfile {w.path('localhost.key')}\n")
    w.start_broker()
    for kind, name in (("worker", "w1"), ("agent", "gw1")):
        w.broker_section = (f"  host: localhost\n  ca_file: {w.path('ca.crt')}\n"
                            f"  cert_file: {w.path(name + '.crt')}\n"
                            f"  key_file: {w.path(name + '.key')}\n")
        if kind == "worker":
            w.start_worker()
        else:
            w.start_agent("codec: f32\n")
    rc, out, err = w.tool("run", "-c", w.agent_config(), "-p", PROMPT, "-n", "100", "--json")
    expect(rc, 0, err)
    expect(json.loads(out)["text"], w.generate(PROMPT, 100)["text"], "text over TLS")


def a_broker_that_comes_late_is_waited_for(w: World):
    agent = w.start("agent", w.agent_config())
    worker = w.start("worker", w.worker_config())
    agent.wait_log("broker.lost")
    worker.wait_log("broker.lost")
    for args in (("run", "-c", w.agent_config(), "-p", PROMPT),
                 ("plan", "-c", w.config("coordinator.yaml", ""), "--wait", "60")):
        rc, _, err = w.tool(*args, timeout_s=20)
        expect(rc, 1, err)
        assert f"connect to 127.0.0.1:{w.port}: " in err, err
    w.start_broker()
    agent.wait_log("broker.connected")
    worker.wait_log("broker.connected")
    rc, out, err = w.tool("run", "-c", w.agent_config(), "-p", PROMPT, "-n", "100")
    expect(rc, 0, err)


def check(w, kind, config):
    r = subprocess.run([os.path.join(w.bin, kind, f"splitmq-{kind}"), "-c", config, "--check"],
                       capture_output=True, text=True, timeout=60, cwd=w.dir)
    return r.returncode, r.stderr


def check_finds_what_is_wrong_before_the_start(w: World):
    expect(check(w, "agent", w.agent_config())[0], 0, "a good configuration")
    expect(check(w, "worker", w.worker_config())[0], 0, "a good configuration")
    expect(check(w, "coordinator", w.config("c.yaml", ""))[0], 0, "a good configuration")
    bad = w.write("bad.gguf", "GGUF but not really")
    for kind, config, words in (
            ("agent", lambda: w.agent_config("splitt: 3\n"), ("splitt", "gw1.yaml:", "split")),
            ("agent", lambda: w.agent_config("split: 99\n"), ("99", "0..8")),
            ("agent", lambda: w.agent_config("codec: mp3\n"), ("codec: ", "mp3")),
            ("agent", lambda: w.agent_config(model="missing.gguf"), ("missing.gguf",)),
            ("agent", lambda: w.agent_config(model=bad), ("bad.gguf",)),
            ("agent", lambda: w.agent_config("memory_budget: 1MiB\n"), ("budget", "more than")),
            ("agent", lambda: w.agent_config("broker:\n  port: 1\n"), ("broker", "twice")),
            ("worker", lambda: w.worker_config("first_layer: 99\n"), ("99",)),
            ("worker", lambda: "missing.yaml", ("missing.yaml",)),
            ("worker", lambda: w.config("tls.yaml", "  ca_file: /no/ca.crt\n" "worker: w\n"
                                        f"model: {w.model}\n"), ("broker.ca_file", "/no/ca.crt")),
            ("worker", lambda: w.config("tls.yaml", f"  ca_file: {w.model}\n" "worker: w\n"
                                        f"model: {w.model}\n"), ("CA file", "not a PEM file")),
            ("agent", lambda: w.agent_config("sampling:\n  temperature: 50\n"),
             ("sampling.temperature", "0..10")),
            ("coordinator", lambda: w.config("c2.yaml", "policy:\n  split: many\n"),
             ("policy.split", "many")),
            ("coordinator", lambda: w.config("c3.yaml", "agents:\n  gw1:\n    codec: mp3\n"),
             ("agents.gw1.codec", "mp3"))):
        rc, err = check(w, kind, config())
        expect(rc, 1, f"{words}: {err}")
        for word in words:
            assert word in err, f"{word!r} is not in: {err}"


def small_packets_of_the_broker_mean_smaller_chunks(w: World):
    w.max_packet = 4096
    w.start_all("codec: f32\n")
    sub = w.listen("session/+/gw1/+/up")
    answers = w.listen("agent/+/reply/+")
    w.prompt(prompt=PROMPT, id="p", max_tokens=8)
    expect(answers.final("p")["ids"], w.generate(PROMPT, 8)["ids"], "ids")
    assert len([t for t, p in sub.lines() if p.startswith("SQ")]) > 9, "prefill in one chunk"


def what_cannot_be_read_or_written_is_named(w: World):
    with open(w.model, "rb") as f:
        data = f.read()
    with open(w.path("cut.gguf"), "wb") as f:
        f.write(data[:100000])
    other = data.replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0bloom", 1)
    with open(w.path("bloom.gguf"), "wb") as f:
        f.write(other)
    for args, words in (
            (("generate", "-m", "cut.gguf", "-p", "x"), ("cut.gguf", "tensor", "100000")),
            (("generate", "-m", "bloom.gguf", "-p", "x"), ("bloom.gguf", "bloom")),
            (("logits", "-m", w.model, "--tokens", "1", "-o", "no/x.f32"), ("no/x.f32",)),
            (("logits", "-m", w.model, "--tokens", "1,999999", "-o", "x.f32"),
             ("token id 999999 ",)),
            (("quantize", w.model, "no/x.gguf", "--type", "Q4_0", "--json"),
             ("no/x.gguf: there is no folder no",)),
            (("synth", "--shape", "toy", "--type", "Q4_0", "no/x.gguf"),
             ("no/x.gguf: there is no folder no",)),
            (("generate", "-m", w.model, "-p", "a" * 20000), ("context",)),
            (("perplexity", "-m", w.model, "-f", "missing.txt"), ("missing.txt",)),
            (("run", "-c", "missing.yaml", "-p", "x"), ("missing.yaml",))):
        rc, _, err = w.tool(*args)
        expect(rc, 1, err)
        expect(len(err.strip().splitlines()), 1, f"lines of {err}")
        for word in words:
            assert word in err, f"{word!r} is not in: {err}"
    rc, _, err = w.tool("genrate")
    assert rc == 2 and "is generate meant?" in err, err
    rc, _, err = w.tool("run", "-c", w.agent_config(), "-p", b"25 \xb0C")
    assert rc == 2 and "--prompt is not UTF-8" in err, err
    live = Process(w, "live", [os.path.join(w.bin, "tools", "splitmq"), "simulate", "--live",
                               "--agents", "2", "-c", w.agent_config()])
    live.wait_log("Connection refused")
    time.sleep(2)  # at the next tries it is refused again
    live.stop(signal.SIGINT)
    expect(live.log().count("Connection refused"), 1, "times that it is told")


def who_is_interrupted_leaves_nothing(w: World):
    """In the middle: no half a file, no folder of a broker, and nobody still runs."""
    os.mkdir(w.path("tmp"))
    for args in (("synth", "--shape", "tinyllama-1.1b", "--type", "Q8_0", "big.gguf"),
                 ("bench", "bus", "-n", "100000"),
                 ("bench", "split", "-m", w.model, "-r", "100", "-n", "400")):
        for number in (signal.SIGINT, signal.SIGTERM):
            p = Process(w, args[1], [os.path.join(w.bin, "tools", "splitmq"), *args],
                        {"TMPDIR": w.path("tmp")})
            wait_until(f"{args} to make something", lambda: os.listdir(w.path("tmp")) or [
                f for f in os.listdir(w.dir) if f.startswith("big.gguf")])
            time.sleep(0.2)
            assert p.stop(number) != 0, p.log()
            expect(os.listdir(w.path("tmp")), [], f"folders that {args} left")
            expect([f for f in os.listdir(w.dir) if f.startswith("big.gguf")], [], "files")


def a_full_disk_is_no_success(w: World):
    configs = {"agent": w.agent_config(), "worker": w.worker_config(),
               "coordinator": w.config("c.yaml", "")}
    for program, args in (
            ("tools/splitmq", ("generate", "-m", w.model, "-p", "hi", "-n", "4")),
            ("tools/splitmq", ("inspect", w.model)), ("tools/splitmq", ("--version",)),
            *((f"{kind}/splitmq-{kind}", args) for kind, config in configs.items()
              for args in (("--help",), ("--version",), ("-c", config, "--print-config"),
                           ("-c", config, "--check")))):
        with open("/dev/full", "w", encoding="ascii") as full:
            r = subprocess.run([os.path.join(w.bin, program), *args], stdout=full,
                               stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        expect(r.returncode, 1, f"{program} {args}: {r.stderr}")
        assert f"{os.path.basename(program)}: standard output cannot" in r.stderr, r.stderr


def the_environment_overrides_the_file(w: World):
    w.start_broker()
    port, w.port = w.port, 1
    config = w.agent_config()
    w.port = port
    p = w.start("agent", config, env={"SPLITMQ_BROKER_PORT": str(port), "SPLITMQ_LOGG": "debug"})
    p.wait_log("broker.connected")
    assert "did you mean SPLITMQ_LOG?" in p.log(), p.log()


def run_says_what_it_waits_for(w: World):
    args = ("run", "-p", PROMPT, "-n", "4", "-c", w.agent_config("offline_after_ms: 2000\n"))
    rc, _, err = w.tool(*args)
    expect(rc, 1, err)
    first, last = err.strip().splitlines()
    assert first.startswith("splitmq run: waiting for the broker (") and "refused" in first, err
    assert last.startswith("splitmq run: no broker within 5 s: ") and "refused" in last, err
    rc, _, err = w.tool(*args, "--in-process")
    expect(rc, 0, err)
    assert "waiting for a broker (connect to " in err and "alone after 2 s" in err, err
    w.start_broker()
    rc, _, err = w.tool(*args, "--in-process")
    expect(rc, 0, err)
    assert "waiting for a worker; without one" in err, err


def a_cancelled_prompt_ends_at_once(w: World):
    w.start_all()
    sub = w.listen("agent/+/reply/+")
    begin_long(w, sub)
    w.publish("agent/gw1/prompt", '{"type":"cancel","id":"long"}')
    expect(sub.final("long")["finish_reason"], "cancelled", "finish")


def a_fleet_survives_what_happens_to_it(w: World):
    """A short round of soak.py: deaths, sleep, drains, cut links, decisions, nonsense."""
    soak.soak(w, seed=5, rounds=1, seconds=12)


CASES = {f.__name__: f for part in (globals(), vars(fleet), vars(observe))
         for f in part.values()
         if callable(f) and getattr(f, "__annotations__", {}).get("w") is World}

# These need the calibration, the size or the texts of models/gateway.gguf; under a sanitizer the
# others get a small model of random weights.
GATEWAY_MODEL = {"rows_are_predicted_and_the_text_stays", "a_worker_that_takes_over_predicts_alike",
                 "a_worker_without_the_calibration_gets_whole_rows",
                 "a_calibration_of_another_model_is_named",
                 "an_idle_session_makes_room_and_goes_on_later",
                 "a_session_that_does_not_fit_is_told_what_would",
                 "another_precision_of_the_front_takes_over",
                 "check_finds_what_is_wrong_before_the_start", "run_finds_the_daemon_and_streams",
                 "small_packets_of_the_broker_mean_smaller_chunks"}

# Sanitizers change what memory is resident, and how long things take.
PLAIN_ONLY = {"an_agent_maps_in_only_its_layers", "weights_that_ran_once_are_given_back",
              "telemetry_adds_up_to_what_a_token_takes", "telemetry_finds_out_a_slow_link",
              "memory_that_is_short_is_named_never_overdrawn",
              "a_front_that_does_not_fit_is_refused_with_its_bytes",
              "a_front_takes_the_place_of_another",
              "a_coarser_front_is_taken_where_the_model_does_not_fit",
              "a_decision_beyond_a_budget_is_refused_and_the_next_one_fits"}
