"""Integration cases of what is told: telemetry, traffic, statuses, memory, traces, plans."""

import json
import os
import re
import signal
import time

from prompts import LONG, LONG_KEYS, PROMPT
from random_model import BIG, write_model
from trace import Trace, check_tokens, median_sum
from world import PATIENCE_S, Process, World, expect, free_port, wait_until


def telemetry_of(sub, kind, name):
    return [json.loads(text) for topic, text in sub.lines()
            if topic.endswith(f"{kind}/{name}/telemetry") and text.endswith("}")]


def linked_telemetry(sub):
    """The agent's first one that knows of its link."""
    return wait_until("telemetry of a link", lambda: [t for t in telemetry_of(sub, "agent", "gw1")
                                                      if "link" in t])[0]


def later_telemetry(sub, kind, name, sessions_done):
    """The newest one, once it knows of so many sessions."""
    return wait_until("telemetry", lambda: [t for t in telemetry_of(sub, kind, name)
                                            if t["sessions_done"] >= sessions_done])[-1]


def busy_elsewhere():
    """How much farther than usual times may be off, here and now."""
    return 3 if os.getloadavg()[0] > os.cpu_count() else 1


def predict_ms(split, layers, agent, worker, stats):
    """A decode token by the formulas of schema/msg.h."""
    speed, link, one = agent["speeds"][0], agent["link"], worker["batches"][0]
    expect(one["rows"], 1, "the smallest step")
    trip = link["rtt_ms"]
    for way in ("up", "down"):
        rate = link.get(f"{way}_kbit_s")
        trip += 8 * stats[f"bytes_{way}"] / stats["tokens"] / rate if rate else 0
    return (speed["embed_ms"] + split * speed["layer_token_ms"] + speed["encode_ms"] + trip
            + stats["worker_queue_ms"] + (layers - split) * one["layer_ms"] + one["head_ms"])


def telemetry_adds_up_to_what_a_token_takes(w: World):
    """Speeds are told before the first session; later, all figures together are a token's time."""
    w.start_broker()
    sub = w.listen()
    w.start_worker("telemetry_s: 1\nthreads: 1\n")
    w.start_agent("telemetry_s: 1\nthreads: 1\nsplit: 3\ndrafts: 0\n")
    first = linked_telemetry(sub)
    speed = first["speeds"][0]
    expect(speed["front"], "Q8_0", "front")
    for key in ("layer_token_ms", "layer_row_ms", "encode_ms", "head_ms"):
        assert speed[key] > 0, first
    assert 0 < first["used_bytes"] < first["budget_bytes"], first
    assert first["rss_bytes"] <= 1.05 * first["used_bytes"], first
    assert first["link"]["samples"] >= 2 and first["broker_rtt_ms"] > 0, first
    profile = [json.loads(text) for topic, text in sub.lines() if topic.endswith("/profile")][0]
    front = profile["fronts"][0]
    expect((profile["layers"], front["layers"]), (8, 8), "layers")
    weights = sum(front["layer_bytes"][:3])
    assert weights + profile["base_bytes"] <= first["used_bytes"] < weights * 2 \
        + profile["base_bytes"], (profile, first)
    ready = [json.loads(text) for topic, text in sub.lines() if topic.endswith("w1/status")][0]
    expect(ready["layer_bytes"], front["layer_bytes"][0], "bytes of a layer")
    expect(ready["kv_elements"], profile["kv_elements"], "numbers of a position")
    seen = []
    for i in range(8):
        w.prompt(id=f"q{i}", prompt=PROMPT, **LONG_KEYS)
        stats = sub.final(f"q{i}")["stats"]
        agent = later_telemetry(sub, "agent", "gw1", i + 1)
        worker = later_telemetry(sub, "worker", "w1", i + 1)
        assert agent.get("begin_ms") and agent["link"].get("open_ms"), agent
        predicted = predict_ms(3, 8, agent, worker, stats)
        head = agent["speeds"][0]["layer_token_ms"] * 3
        seen.append((predicted, 1000 / stats["tok_s"], head, stats["head_ms"]))
        room = 0.2 * busy_elsewhere()
        if abs(predicted * stats["tok_s"] / 1000 - 1) < room and \
                abs(head / stats["head_ms"] - 1) < room:
            return
    raise AssertionError(f"(token predicted, took, layers predicted, took) {seen}")


def later(condition):
    """Whether it comes true while more probes go out: of a few, those that wait for a processor may
    be the most."""
    end = time.monotonic() + 20
    while time.monotonic() < end and not condition():
        time.sleep(0.5)
    return condition()


def telemetry_finds_out_a_slow_link(w: World):
    """20 ms each way and 1 Mbit/s: told by probes at first, by prompts and rows later."""
    w.start_broker()
    sub = w.listen()
    w.start_worker()
    port = free_port()
    relay = Process(w, "relay", [os.path.join(w.bin, "tools", "splitmq"), "relay", "--to",
                                 f"127.0.0.1:{w.port}", "--listen", str(port), "--delay-ms", "20",
                                 "--rate-kbit", "1000"])
    own, w.port = w.port, port
    wait_until("the relay", w.broker_listens)
    w.start_agent("telemetry_s: 1\nsplit: 3\n")
    w.port = own
    seen = []

    def close():
        link = telemetry_of(sub, "agent", "gw1")[-1]["link"]
        if link not in seen[-1:]:
            seen.append(link)
        room = 0.2 * busy_elsewhere()
        return (abs(link["rtt_ms"] / 41.5 - 1) < room  # headers of packets go at that rate, too
                and abs(link["up_kbit_s"] / 1000 - 1) < room
                and link["down_kbit_s"] > 1000 / (1 + 2 * room))

    linked_telemetry(sub)
    by_probes = close() or busy_elsewhere() > 1 and later(close)
    said = str(seen)
    for i in range(20 if busy_elsewhere() > 1 else 10):
        w.prompt(id=f"q{i}", prompt=(PROMPT + " ") * (1 + i % 4), raw=True, max_tokens=40,
                 temperature=3, seed=i)
        sub.final(f"q{i}")
        later_telemetry(sub, "agent", "gw1", i + 1)
        if i >= 3 and close():
            break
    else:
        raise AssertionError(f"the link was found to be {seen}")
    assert by_probes, f"by probes alone the link was found to be {said}"
    assert relay.alive()


def a_metered_link_hears_little(w: World):
    """metered: no probes; telemetry once, and then no more while nothing changes."""
    w.start_broker()
    sub = w.listen()
    agent = w.start_agent("telemetry_s: 1\nmetered: yes\n")
    wait_until("telemetry", lambda: telemetry_of(sub, "agent", "gw1"))
    time.sleep(3)
    expect(len(telemetry_of(sub, "agent", "gw1")), 1, "messages")
    assert not [t for t, _ in sub.lines() if t.endswith("/probe")]
    assert "link" not in telemetry_of(sub, "agent", "gw1")[0]
    expect(agent.stop(), 0, "status")


def what_was_answered_before_runs_ahead(w: World):
    """The same prompt again: its tokens are guessed, rows go out on that, and the text stays."""
    w.start_broker()
    w.start_worker()
    wanted = w.generate(PROMPT, 200, *LONG)["ids"]
    for run_ahead, drafts in (("yes", 4), ("yes", 0), ("no", 4)):
        agent = w.start_agent(f"codec: f32\nsplit: 3\nrun_ahead: {run_ahead}\ndrafts: {drafts}\n")
        sub = w.listen("agent/+/reply/+")
        due = {"ahead": run_ahead == "yes", "drafts_right": run_ahead == "yes" and drafts > 0}
        seen = dict.fromkeys(due, 0)
        # Answers that are faster than a layer leave no time for it: some may.
        for i in range(30):
            prompt_id = f"{run_ahead}{drafts}{i}"
            w.prompt(prompt=PROMPT, id=prompt_id, **{**LONG_KEYS, "max_tokens": 200})
            reply = sub.final(prompt_id)
            expect(reply["ids"], wanted, prompt_id)
            seen = {key: n + reply["stats"].get(key, 0) for key, n in seen.items()}
            if i >= 2 and {key: n > 0 for key, n in seen.items()} == due:
                break
        expect({key: n > 0 for key, n in seen.items()}, due, f"{seen}")
        expect(agent.stop(), 0, "status")


def watch_and_decode_read_the_traffic(w: World):
    w.start_all()
    config = w.agent_config()
    p = Process(w, "watch", [os.path.join(w.bin, "tools", "splitmq"), "watch", "-c", config])
    p.wait_log("agent.status")
    rc, _, err = w.tool("run", "-c", config, "-p", PROMPT, "-n", "20")
    expect(rc, 0, err)
    p.wait_log("rows")
    p.wait_log("tokens")
    status = p.stop(signal.SIGINT)
    assert status in (0, 130), (status, p.log())
    rc, out, err = w.tool("decode", stdin='{"v":1,"type":"cancel","id":"1"}')
    expect(rc, 0, err)
    rc, out, err = w.tool("decode", stdin="SQ nonsense")
    expect(rc, 1, out)


def retained_statuses_tell_who_is_there(w: World):
    agent, worker = w.start_all()
    worker.stop(signal.SIGKILL)
    sub = w.listen("+/+/status")

    def state(kind):
        found = [json.loads(p)["state"] for t, p in sub.lines() if f"/{kind}/" in t]
        return found[-1] if found else None
    wait_until("lost", lambda: state("worker") == "lost")
    expect(state("agent"), "ready", "agent")
    agent.stop(signal.SIGTERM)
    wait_until("offline", lambda: state("agent") == "offline")


def an_agent_maps_in_only_its_layers(w: World):
    """RSS of an agent with a quarter of the layers is near that share of the weights."""
    path = w.path("big.gguf")
    total = write_model(w.model, path, BIG)
    w.start_broker()
    w.start_worker("kv: f16\n", model=path)
    base = agent_rss(w, w.start_agent(name="small"))
    for split, share in ((2, 0.25), (6, 0.75)):
        name = f"gw{split}"
        agent = w.start_agent(f"split: {split}\n", name=name, model=path)
        sub = w.listen(f"agent/{name}/reply/+")
        w.prompt(name=name, prompt=PROMPT, id="p", max_tokens=4, raw=True)
        reply = sub.final("p")
        expect(reply.get("error"), None, "error")
        rss = agent_rss(w, agent) - base
        print(f"split {split} of 8: {rss / 1e6:.1f} MB above the base of {base / 1e6:.1f}, "
              f"share of the weights {share * total / 1e6:.1f}")
        assert rss < share * total * 1.25 + 24e6, (rss, share * total)
        assert rss > share * total * 0.8, (rss, share * total)


def weights_that_ran_once_are_given_back(w: World):
    """A prompt with a split of its own, then none: RSS and bookings of both sides are as before."""
    path = w.path("big.gguf")
    layer = write_model(w.model, path, BIG) / 8
    w.start_broker()
    sub = w.listen()
    more = "kv: f16\ntelemetry_s: 1\nrelease_after_ms: 2000\n"
    worker = w.start_worker(more, model=path)
    agent = w.start_agent(more + "split: 2\n", model=path)
    linked_telemetry(sub)

    def ask(name, split):
        w.prompt(prompt=PROMPT, id=name, max_tokens=4, raw=True, split=split)
        expect(sub.final(name).get("error"), None, f"error of {name}")

    def booked(kind, name):
        return telemetry_of(sub, kind, name)[-1]["used_bytes" if kind == "agent" else
                                                 "weight_bytes"]
    ask("usual", 2)
    before, base, promised = booked("agent", "gw1"), agent_rss(w, agent), booked("worker", "w1")
    whole = agent_rss(w, worker)
    for name, split in (("alone", 8), ("high", 6)):
        ask(name, split)
        high = agent_rss(w, agent)
        assert high > base + (split - 2.5) * layer, (name, high, base, layer)
        wait_until("the bookings", lambda: booked("agent", "gw1") > before + 3 * layer)
        wait_until("they are as before", lambda: booked("agent", "gw1") < before + layer / 2)
        low = agent_rss(w, agent)
        print(f"split {split}: {base / 1e6:.1f} -> {high / 1e6:.1f} -> {low / 1e6:.1f} MB")
        assert low < base + layer, (name, low, base, layer)
    worker.wait_log("weights.released")
    wait_until("layers below 6 are gone", lambda: "layers=6..8 head=yes" in worker.log())
    assert agent_rss(w, worker) < whole + layer, (agent_rss(w, worker), whole)
    later_telemetry(sub, "worker", "w1", 2)
    assert abs(booked("worker", "w1") - promised) < layer / 2, (booked("worker", "w1"), promised)
    ask("again", 2)


def agent_rss(w, process):
    with open(f"/proc/{process.p.pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1)) * 1024


def a_trace_tells_where_each_token_went(w: World):
    """run and worker with --trace: spans nest, fill a token, and agree with the reply. (A token
    whose row was a draft is not drawn.)"""
    w.start_broker()
    worker = w.start_worker(args=("--trace", w.path("worker.json")))
    config = w.agent_config("drafts: 0\n")
    rc, out, err = w.tool("run", "-c", config, "-p", PROMPT, "-n", "60", "--json",
                          "--in-process", *LONG, "--trace", w.path("agent.json"))
    expect(rc, 0, err)
    expect(worker.stop(), 0, "status of the worker")
    stats = json.loads(out)["stats"]
    agent, tail = Trace(w.path("agent.json")), Trace(w.path("worker.json"))
    expect(agent.process, ["splitmq run"], "process")
    expect(tail.process, ["splitmq-worker w1"], "process")
    n_prompt, n_tokens = stats["prompt_tokens"], stats["tokens"]
    expect(len(agent.spans("session 1", "token")), n_tokens, "tokens")
    check_tokens(agent, "session 1", n_prompt)

    head = agent.by_pos("compute", "head")
    mean = sum(us for pos, us in head.items() if pos >= n_prompt) / (n_tokens - 1) / 1000
    assert abs(mean - stats["head_ms"]) < 0.002, (mean, stats["head_ms"])
    rtt = stats["rtt_ms"]  # from the decision to send to the look at the answer
    trip = median_sum(agent, n_prompt, "broker", "queue", "tail")
    whole = median_sum(agent, n_prompt, "publish", "broker", "queue", "tail", "return")
    assert trip <= rtt * 1000 <= whole, (trip, rtt, whole)

    work = {p: tail.by_pos("compute", p) for p in ("decode", "tail", "sample")}
    there = {pos: (start, end) for start, end, pos in tail.spans("session 1", "compute")}
    sent = {pos: end for _, end, pos in agent.spans("session 1", "publish")}
    back = {pos: start for start, _, pos in agent.spans("session 1", "return")}
    for pos in range(n_prompt, n_prompt + n_tokens - 1):
        start, end = there[pos]
        expect(sum(p[pos] for p in work.values()), end - start, f"work at {pos}")
        assert agent.spans("session 1", "head")[0][0] < start < end <= back[pos], pos
        assert sent[pos] <= back[pos], pos


def a_trace_of_daemons_is_written_at_their_end(w: World):
    """agent --trace and, for a prompt that goes to it, what the reply tells run --trace."""
    w.start_broker()
    w.start_worker()
    agent = w.start_agent("drafts: 0\n", args=("--trace", w.path("agent.json")))
    rc, out, err = w.tool("run", "-c", w.agent_config(), "-p", PROMPT, "-n", "40", *LONG,
                          "--trace", w.path("run.json"))
    expect(rc, 0, err)
    expect(agent.stop(), 0, "status of the agent")
    daemon, run = Trace(w.path("agent.json")), Trace(w.path("run.json"))
    expect(daemon.process, ["splitmq-agent gw1"], "process")
    tokens = daemon.spans("session 1", "token")
    assert len(tokens) > 30, len(tokens)
    ((start, end, _),) = run.spans("session 1", "prompt")
    assert start <= tokens[0][0] and tokens[-1][1] <= end, "one clock for all processes"
    assert len(run.spans("session 1", "piece")) > 20, "a span for each reply"
    parts = run.threads["mean token of the reply"]
    mean = sum(-dur for _, dur, _, _ in parts)
    real = (tokens[-1][1] - tokens[0][1]) / (len(tokens) - 1)
    assert abs(mean - real) < 0.25 * real + 20, (mean, real)
    for program, key in (("agent", w.agent_config()), ("worker", w.worker_config())):
        p = w.start(program, key, args=("--trace", w.path("no/such/folder.json")))
        expect(p.p.wait(PATIENCE_S), 1, f"status of a {program} that cannot write")
        assert "no/such/folder.json" in p.log(), p.log()


HERE = os.path.dirname(os.path.abspath(__file__))
PROFILE = os.path.join(HERE, "gateway-profile.jsonl")
GATEWAY_CAL = os.path.join(HERE, "../../models/gateway.gguf.cal")


def plan_of(w: World, yaml, *args):
    rc, out, err = w.tool("plan", "-c", w.config("plan.yaml", yaml), "--json", *args)
    expect(rc, 0, err)
    return json.loads(out)


def a_plan_is_made_from_captured_messages(w: World):
    """Offline; the profile was captured behind a link of 1 Mbit/s and 10 ms."""
    yaml = f"calibration: {GATEWAY_CAL}\n"
    plan = plan_of(w, yaml, "--profile", PROFILE)
    expect(plan["agent"], "gw1", "agent")
    expect([s["split"] for s in plan["splits"]], list(range(9)), "splits")
    best = min((s for s in plan["splits"] if "reason" not in s), key=lambda s: s["token_ms"])
    expect(plan["best"]["split"], best["split"], "the fastest one")
    tight = plan_of(w, yaml + "limits: {token_ms: 20}\npolicy: {objective: bytes}\n", "--profile",
                    PROFILE)
    assert "time per token" in tight["splits"][0]["reason"], tight["splits"][0]
    expect(tight["best"]["split"], 8, "all that keeps the limit")
    rc, out, err = w.tool("plan", "-c", w.config("plan.yaml", yaml), "--profile", PROFILE)
    expect(rc, 0, err)
    assert "<- chosen" in out and "first token" in out, out
    rc, _, err = w.tool("plan", "-c", w.config("plan.yaml", ""), "--profile",
                        w.write("bad.jsonl", '{"type":"agent.profile"}\n'))
    expect(rc, 1, err)
    assert "bad.jsonl:1: " in err, err
    rc, _, err = w.tool("plan", "-c", w.config("plan.yaml", ""), "--profile", PROFILE, "--agent",
                        "nobody")
    expect(rc, 1, err)
    assert "no profile of agent nobody, but one of gw1" in err, err


def a_plan_is_made_from_what_is_said_at_the_broker(w: World):
    w.start_broker()
    w.start_worker("telemetry_s: 1\n")
    w.start_agent("telemetry_s: 1\n")
    plan = plan_of(w, "", "--agent", "gw1", "--wait", "30")
    expect(plan["possible"], True, plan["reason"])
    expect(plan["worker"], "w1", "worker")
    rc, _, err = w.tool("plan", "-c", w.config("plan.yaml", ""), "--agent", "nobody", "--wait", "1")
    expect(rc, 1, err)
    assert "no profile of agent nobody" in err, err
