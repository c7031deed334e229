#!/usr/bin/env python3
"""A small fleet to which things happen: processes die, sleep, drain and come back, links are cut
and slow, splits move, strangers talk nonsense; meanwhile sessions run.

    soak.py --bin BUILD_DIR --root SOURCE_DIR [--seed N] [--rounds N] [--seconds S]

A round is S seconds of it and then quiet. Held: whoever asks until it is answered gets the text of
one process (rows are f32, caches of one type); nobody ends who was not ended; in the quiet all
sessions are over, everybody says `ready`, a prompt is split again, and memory, descriptors and
threads of who lives on are what they were. What happens, and for how long, follows from the seed;
when, from the machine. The integration case is a short round.
"""

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True

from world import FLEET, PATIENCE_S, Process, World, expect, free_port, wait_until  # noqa: E402

AGENTS = ("gw1", "gw2")
WORKERS = ("w1", "w2")
COORDINATORS = ("main", "spare")
LAYERS = 8
TOKENS = 400
ASKED = 3  # prompts of an agent at a time
AGAIN_S = 8  # who hears nothing for so long asks again, under the same id
GROWN_BYTES = 2 << 20  # what a process may have more of its own than in the first quiet
TEXTS = [("turn on the pump in tank 3", 11), ("set the thermostat in room 4 to 21 degrees", 12),
         ("open the vents in greenhouse 2", 13), ("close the valve of tank 3 at 6 pm", 14)]
# Replies that are no answers, each for a reason of which the asker hears: it asks again.
EXCUSES = {"refused", "draining", "busy", "offline", "timeout"}
NONSENSE = (
    ("agent/gw1/prompt", '{"v":99,"prompt":7}'), ("agent/gw1/prompt", "\x01nonsense"),
    ("decision/gw1", '{"v":2,"type":"decision","agent":"gw1","number":"x"}'),
    ("worker/w9/status", '{"v":2,"type":"worker.status","worker":"w9","state":"ready"}'),
    ("coordinator/lease", '{"v":1,"type":"coordinator.lease"}'),
    ("session/w1/gw1/00000000000000aa/up", "SMQ1 rows of nobody"),
    ("session/w1/gw1/00000000000000aa/down", '{"type":"tokens","ids":[-1]}'),
)


class Tail:
    """What a growing file has got since the last look, line by line."""

    def __init__(self, path):
        self.path, self.at, self.rest = path, 0, b""

    def lines(self):
        with open(self.path, "rb") as f:
            f.seek(self.at)
            data = f.read()
        self.at += len(data)
        *whole, self.rest = (self.rest + data).split(b"\n")
        return [line.decode(errors="replace") for line in whole]


class Soak:
    def __init__(self, w: World, seed, say=print):
        self.w, self.rng, self.say = w, random.Random(seed), say
        self.began = time.monotonic()
        self.live = {}  # name -> Process
        self.ends = []  # (when, what to do) of disturbances that last
        self.asked = {}  # id -> (agent, index of TEXTS, when)
        self.counts = collections.Counter()
        self.n_asked = 0
        self.number = 0
        self.wanted = [w.generate(p, TOKENS, "--temp", "3", "--seed", str(s), "--raw")["ids"]
                       for p, s in TEXTS]

    # ---- the fleet ----

    def start(self):
        w = self.w
        w.broker_section = "  keepalive_s: 2\n"
        own, w.port = w.port, free_port()
        self.relay_port = w.port
        common = "telemetry_s: 1\nrelease_after_ms: 1000\n"
        agent = (common + "codec: f32\noffline_after_ms: 1500\nmax_sessions: 2\n"
                 "deadline:\n  max_delta: 0\n")
        self.configs = {"gw1": w.agent_config(agent, "gw1")}
        w.port = own
        self.configs["gw2"] = w.agent_config(agent, "gw2")
        for name in WORKERS:
            self.configs[name] = w.worker_config(
                common + "timeouts:\n  evict_ms: 500\n  idle_ms: 3000\n", name)
        for name in COORDINATORS:
            self.configs[name] = w.config(f"{name}.yaml", f"coordinator: {name}\nlease_ms: 1000\n"
                                          "policy:\n  codec: f32\n  kv: f16\n")
        w.start_broker()
        self.live["broker"] = w.mosquitto
        self.rate = 0
        self.start_relay()
        for name in WORKERS + AGENTS + COORDINATORS:
            self.start_daemon(name)
        self.replies = w.listen("agent/+/reply/+")
        self.heard = Tail(self.replies.log_path)
        for name in self.configs:
            self.live[name].wait_log("broker.connected")

    def start_daemon(self, name):
        kind = ("agent" if name in AGENTS else "worker" if name in WORKERS else "coordinator")
        self.live[name] = self.w.start(kind, self.configs[name], name)

    def start_relay(self):
        self.live["relay"] = Process(self.w, "relay", [
            os.path.join(self.w.bin, "tools", "splitmq"), "relay", "--listen",
            str(self.relay_port), "--to", f"127.0.0.1:{self.w.port}", "--rate-kbit",
            str(self.rate), "--delay-ms", "2", "--control"], stdin=subprocess.PIPE)

    def start_broker(self):
        self.w.start_broker()
        self.live["broker"] = self.w.mosquitto

    # ---- what happens ----

    def later(self, seconds, what):
        self.ends.append((time.monotonic() + seconds, what))

    def end(self, name, sig, begin):
        """End it, and have it begin again a while later."""
        p = self.live.pop(name)
        if sig == signal.SIGTERM:
            p.p.send_signal(sig)
            pause = self.rng.uniform(0.5, 3)

            def ended():
                if p.alive():
                    assert time.monotonic() < end, f"{name} was asked to end:\n{p.log()}"
                    self.later(0.1, ended)
                    return
                expect(p.p.returncode, 0, f"status of {name}, which was asked to end:\n{p.log()}")
                self.later(pause, begin)
            end = time.monotonic() + PATIENCE_S
            self.later(0.1, ended)
        else:
            p.stop(sig)
            self.later(self.rng.uniform(0, 2), begin)

    def end_daemon(self, name, sig):
        self.end(name, sig, lambda: self.start_daemon(name))

    def sleep(self, name):
        p = self.live.pop(name)
        p.p.send_signal(signal.SIGSTOP)

        def wake():
            p.p.send_signal(signal.SIGCONT)
            self.live[name] = p
        self.later(self.rng.uniform(0.1, 4), wake)

    def slow(self, rate):
        self.rate = rate
        self.live["relay"].p.stdin.write(f"rate-kbit {rate}\n".encode())
        self.live["relay"].p.stdin.flush()

    def decide(self, agent, split):
        self.number += 1000  # above what coordinators count up to meanwhile; they will overrule it
        self.publish(f"decision/{agent}", json.dumps({
            "v": 1, "type": "decision", "agent": agent, "number": self.number, "split": split,
            "codec": "f32", "kv": "f16", "reason": "somebody else"}), "-r")

    def publish(self, topic, text, *args):
        """False when there is no broker that takes it."""
        r = subprocess.run(["mosquitto_pub", "-p", str(self.w.port), "-q", "1", "-t",
                            f"splitmq/v1/{FLEET}/{topic}", *args, "-m", text],
                           stderr=subprocess.DEVNULL, check=False, timeout=30)
        return r.returncode == 0

    def disturb(self):
        """One of what may happen. gw1, w1 and spare are never ended: their memory is watched."""
        rng = self.rng
        what = rng.choice(("broker", "link", "slow", "worker", "drain worker", "agent",
                           "drain agent", "coordinator", "sleep", "sleep", "decide", "decide",
                           "decide", "nonsense"))
        name, split = rng.choice(WORKERS + AGENTS + COORDINATORS), rng.randrange(LAYERS + 1)
        agent, rate = rng.choice(AGENTS), rng.choice((0, 2000, 20000))
        topic, text = rng.choice(NONSENSE)
        needed, act = {
            "broker": ("broker", lambda: self.end("broker", signal.SIGKILL, self.start_broker)),
            "link": ("relay", lambda: self.end("relay", signal.SIGKILL, self.start_relay)),
            "slow": ("relay", lambda: self.slow(rate)),
            "worker": ("w2", lambda: self.end_daemon("w2", signal.SIGKILL)),
            "drain worker": ("w2", lambda: self.end_daemon("w2", signal.SIGTERM)),
            "agent": ("gw2", lambda: self.end_daemon("gw2", signal.SIGKILL)),
            "drain agent": ("gw2", lambda: self.end_daemon("gw2", signal.SIGTERM)),
            "coordinator": ("main", lambda: self.end_daemon("main", signal.SIGKILL)),
            "sleep": (name, lambda: self.sleep(name)),
            "decide": ("broker", lambda: self.decide(agent, split)),
            "nonsense": ("broker", lambda: self.publish(topic, text)),
        }[what]
        if needed not in self.live:
            return
        self.counts[what] += 1
        detail = {"sleep": name, "slow": rate, "decide": f"{agent} {split}", "nonsense": topic}
        self.say(f"{time.monotonic() - self.began:7.2f} {what} {detail.get(what, '')}".rstrip())
        act()

    # ---- who asks ----

    def ask(self, prompt_id):
        agent, i, _ = self.asked[prompt_id]
        prompt, seed = TEXTS[i]
        self.asked[prompt_id] = (agent, i, time.monotonic())
        self.publish(f"agent/{agent}/prompt", json.dumps({
            "id": prompt_id, "prompt": prompt, "seed": seed, "temperature": 3, "raw": True,
            "max_tokens": TOKENS, "deadline_ms": 60000}))

    def ask_more(self):
        for agent in AGENTS:
            while sum(a == agent for a, _, _ in self.asked.values()) < ASKED:
                self.n_asked += 1
                self.asked[f"s{self.n_asked}"] = (agent, self.n_asked % len(TEXTS), 0)
                self.ask(f"s{self.n_asked}")

    def hear(self):
        for line in self.heard.lines():
            _, _, text = line.partition(" ")
            if not text.startswith("{"):
                continue
            reply = json.loads(text)
            if reply["id"] not in self.asked or not reply["done"]:
                continue
            agent, i, _ = self.asked[reply["id"]]
            if reply.get("error"):
                self.counts[f"error {reply['error']}"] += 1
                assert reply["error"] in EXCUSES, reply
                self.asked[reply["id"]] = (agent, i, time.monotonic() - AGAIN_S + 0.5)
                continue
            assert reply["ids"] == self.wanted[i], f"another text than alone, of {agent}: {reply}"
            self.counts["answers"] += 1
            self.counts["degraded"] += bool(reply.get("degraded"))
            self.counts["handovers"] += reply["stats"].get("handovers", 0)
            self.counts["epochs beyond the first"] += max(0, reply["stats"].get("epochs", 0) - 1)
            del self.asked[reply["id"]]

    def ask_again(self):
        for prompt_id, (_, _, when) in list(self.asked.items()):
            if time.monotonic() - when > AGAIN_S:
                self.counts["asked again"] += 1
                self.ask(prompt_id)

    # ---- rounds ----

    def step(self):
        now = time.monotonic()
        due = [e for e in self.ends if e[0] <= now]
        self.ends = [e for e in self.ends if e[0] > now]
        for _, what in due:
            what()
        for name, p in self.live.items():
            assert p.alive(), f"{name} ended by itself ({p.p.returncode}):\n{p.log()[-3000:]}"
        self.hear()
        self.ask_again()
        time.sleep(0.02)

    def round(self, seconds):
        end = time.monotonic() + seconds
        next_at = 0
        while time.monotonic() < end:
            if time.monotonic() >= next_at:
                self.disturb()
                next_at = time.monotonic() + self.rng.uniform(0.1, 1.5)
            self.ask_more()
            self.step()
        self.quiet()

    def quiet(self):
        """Everything is back; what was asked is answered; nobody is left with anything."""
        end = time.monotonic() + 2 * PATIENCE_S
        while self.ends or self.asked:
            assert time.monotonic() < end, f"not answered: {self.asked}"
            self.step()
        self.slow(0)
        sub = self.w.listen()

        def newest(topic):
            found = [p for t, p in sub.lines() if t.endswith(topic) and p.endswith("}")]
            return json.loads(found[-1]) if found else {}
        for kind, names in (("agent", AGENTS), ("worker", WORKERS), ("coordinator", COORDINATORS)):
            for name in names:
                wait_until(f"{name} to be ready",
                           lambda: newest(f"{kind}/{name}/status").get("state") == "ready")
        for name in AGENTS + WORKERS:
            wait_until(f"{name} without sessions",
                       lambda: newest(f"/{name}/telemetry").get("sessions") == 0)
        sub.stop()
        self.prompt_is_split_again()

    def prompt_is_split_again(self):
        """Also through a decision of those who decide."""
        for agent in AGENTS:
            self.decide(agent, 3)
            prompt, seed = TEXTS[0]
            for i in range(100):
                self.w.prompt(name=agent, id=f"quiet{self.number}-{i}", prompt=prompt, seed=seed,
                              temperature=3, raw=True, max_tokens=20, split=3)
                reply = self.replies.final(f"quiet{self.number}-{i}")
                if not reply.get("error"):
                    break
            expect((reply.get("error"), reply["ids"]), (None, self.wanted[0][:20]), f"{agent} in "
                   "the quiet")
            expect((reply["stats"]["split"], reply.get("degraded")), (3, None), "split")

    def sizes(self):
        """Of those that are never ended: bytes of their own, descriptors, threads."""
        time.sleep(3)  # weights that nobody needs any more have been given back
        found = {}
        for name in ("gw1", "w1", "spare"):
            pid = self.live[name].p.pid
            with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
                keys = dict(line.split(":", 1) for line in f.read().splitlines() if ":" in line)
            found[name] = (int(keys["RssAnon"].split()[0]) << 10,
                           len(os.listdir(f"/proc/{pid}/fd")), int(keys["Threads"]))
        return found


def compare(before, after):
    for name, (own, files, threads) in after.items():
        grown = own - before[name][0]
        assert grown <= GROWN_BYTES, f"{name} has {own} bytes, {grown} more than at first"
        expect((files, threads), before[name][1:], f"descriptors and threads of {name}")


def soak(w: World, seed, rounds, seconds, say=print):
    s = Soak(w, seed, say)
    s.start()
    before = None
    for i in range(rounds):
        s.round(seconds)
        sizes = s.sizes()
        say(f"round {i + 1}: {sizes}")
        if before:
            compare(before, sizes)
        before = before or sizes
    say(", ".join(f"{n} {what}" for what, n in sorted(s.counts.items())))
    return s.counts


def main():
    p = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    p.add_argument("--bin", required=True)
    p.add_argument("--root", required=True)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=30)
    a = p.parse_args()
    w = World(os.path.abspath(a.bin), os.path.abspath(os.path.join(a.root, "models/gateway.gguf")))
    try:
        soak(w, a.seed, a.rounds, a.seconds, lambda text: print(text, flush=True))
    except BaseException:
        w.show_logs()
        raise
    finally:
        w.close()


if __name__ == "__main__":
    main()
