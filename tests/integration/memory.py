"""Programs under limits of memory: each either works or says which number is missing.

A limit is a kind and bytes: "budget" (memory_budget of a configuration), "as" and "data"
(RLIMIT_AS, RLIMIT_DATA), "cgroup" (a control group below the one of this process, of version 1 or
2; only where that may be made). A process of which anything was ever swapped has failed. Used by
the integration case and by tools/bench-memory.
"""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time

from world import World, die_with_parent

PROMPT = "turn on the pump in tank 3"
NAMES_A_NUMBER = re.compile(r"\d+ (bytes )?more than .*at most \d+ (tokens )?(would fit|fit now)|"
                            r"no room for (a map of|the) \d+ bytes")
RLIMITS = {"as": resource.RLIMIT_AS, "data": resource.RLIMIT_DATA}
FILES_BYTES = 12 << 20  # a peak has pages of programs and libraries, shared with others, beside
KINDS = ("budget", "as", "data", "cgroup")


def read(path):
    try:
        with open(path, encoding="ascii", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def number_of(text, key):
    """The number behind key at the start of a line; 0: there is none."""
    found = re.search(rf"^{key}\s+(\d+)", text, re.M)
    return int(found.group(1)) if found else 0


class Group:
    """A control group below the one of this process that limits memory and never swaps."""

    # version -> how /proc/self/cgroup names it, mount, files: limit, no swap, count of kills
    VERSIONS = {
        1: (r"^\d+:memory:(.*)$", "/sys/fs/cgroup/memory", "memory.limit_in_bytes",
            "memory.swappiness", "memory.oom_control"),
        2: (r"^0::(.*)$", "/sys/fs/cgroup", "memory.max", "memory.swap.max", "memory.events"),
    }

    def __init__(self, version, limit):
        """OSError says why it cannot be."""
        name, mount, most, swap, self.events = self.VERSIONS[version]
        own = re.search(name, read("/proc/self/cgroup"), re.M)
        if not own or not os.path.isdir(mount):
            raise OSError("not there")
        path = mount + own.group(1).rstrip("/")
        self.path = f"{path if os.path.isdir(path) else mount}/splitmq-{os.getpid()}"
        os.mkdir(self.path)
        try:
            self.put(most, limit)  # there by itself, in a group that counts memory
            self.put(swap, 0)
        except OSError:
            self.close()
            raise

    @staticmethod
    def make(limit):
        """One of either version, else None."""
        for version in Group.VERSIONS:
            try:
                return Group(version, limit)
            except OSError:
                continue
        return None

    def put(self, name, value):
        with open(os.path.join(self.path, name), "r+", encoding="ascii") as f:
            f.write(str(value))

    def killed(self):
        return number_of(read(os.path.join(self.path, self.events)), "oom_kill") > 0

    def close(self):
        try:
            os.rmdir(self.path)
        except OSError:
            pass


def why_no_group(cwd):
    """None where a program that takes too much is killed in such a group, and that is seen."""
    reasons = []
    for version in Group.VERSIONS:
        try:
            Group(version, 64 << 20).close()
        except OSError as e:
            reasons.append(f"version {version}: {e.strerror or e}")
    if len(reasons) == len(Group.VERSIONS):
        return "; ".join(reasons)
    greedy = [sys.executable, "-c", "x = bytearray(256 << 20)"]
    run = limited(greedy, "greedy", "cgroup", 64 << 20, cwd)
    return None if run.verdict() == "FAILED (-9)" else f"256 MiB in 64 MiB: {run.verdict()}"


class Run:
    """What became of one run."""

    def __init__(self, program, kind, limit, status, text, rss, swap, loaded=True):
        self.program, self.kind, self.limit = program, kind, limit
        self.status, self.text, self.rss, self.swap = status, text, rss, swap
        self.loaded = loaded  # by the system

    def verdict(self):
        if self.swap:
            return f"FAILED ({self.swap} bytes swapped)"
        if self.status == 0 and self.kind == "budget" and self.rss > self.limit + FILES_BYTES:
            return f"FAILED ({self.rss - self.limit} bytes over its budget)"
        if self.status == 0:
            return "works"
        if self.status > 0 and NAMES_A_NUMBER.search(self.text):
            return "refused"
        if not self.loaded:
            return "not loaded"
        return f"FAILED ({self.status})"

    def fine(self):
        return not self.verdict().startswith("FAILED")


def swapped(pid):
    return number_of(read(f"/proc/{pid}/status"), "VmSwap:") * 1024


def is_loaded(argv0, limits):
    """The system takes it to its first line. The loader says so where it does not, and the kernel
    ends what it cannot even map."""
    r = subprocess.run([argv0, "--version"], capture_output=True, check=False, preexec_fn=limits)
    return r.returncode == 0


def limited(argv, program, kind, limit, cwd, timeout_s=300, ask=None):
    """Run argv under the limit; None where a control group cannot be made. ask: argv is a daemon,
    that is asked so once it is connected, and then ended; status and words are those of ask().
    """
    group = Group.make(limit) if kind == "cgroup" else None
    if kind == "cgroup" and not group:
        return None

    def limit_it():
        if kind in RLIMITS:
            resource.setrlimit(RLIMITS[kind], (limit, limit))

    def prepare():
        die_with_parent()
        limit_it()
        if group:
            group.put("cgroup.procs", os.getpid())

    out = os.path.join(cwd, "limited.out")
    with open(out, "wb") as f:
        p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=f, stderr=f, cwd=cwd,
                             preexec_fn=prepare)
    end = time.monotonic() + timeout_s
    swap = 0
    asked = None
    while True:
        swap = max(swap, swapped(p.pid))
        if ask and not asked and "broker.connected" in read(out):
            asked = ask()
            swap = max(swap, swapped(p.pid))
            p.send_signal(signal.SIGTERM)
        pid, status, usage = os.wait4(p.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > end:
            p.kill()
        time.sleep(0.01)
    p.returncode = os.waitstatus_to_exitcode(status)
    with open(out, encoding="utf-8", errors="replace") as f:
        text = f.read()
    if asked and p.returncode == 0:
        p.returncode = asked[0]
        text += asked[1]
    killed = group and group.killed()
    if group:
        group.close()
    status = -signal.SIGKILL if killed else p.returncode
    return Run(program, kind, limit, status, text, usage.ru_maxrss * 1024, swap,
               not status or is_loaded(argv[0], limit_it))


class Matrix:
    """Programs that answer a prompt with this world's model. There is a worker without limits."""

    def __init__(self, world: World, tokens, context, split):
        self.w, self.tokens, self.context, self.split = world, tokens, context, split

    def keys(self, kind, limit):
        budget = f"memory_budget: {limit}\n" if kind == "budget" else ""
        return f"context_tokens: {self.context}\n{budget}"

    def agent(self, kind, limit):
        """The whole way: an agent in the process of `splitmq run`, and a worker without limits."""
        config = self.w.agent_config(self.keys(kind, limit) +
                                     f"split: {self.split}\nmax_tokens: {self.tokens}\n")
        return limited([os.path.join(self.w.bin, "tools", "splitmq"), "run", "-c", config, "-p",
                        PROMPT, "--in-process", "--json"], "agent", kind, limit, self.w.dir)

    def worker(self, kind, limit):
        """Its start, and an answer with what it holds then."""
        config = self.w.worker_config(self.keys(kind, limit) + f"first_layer: {self.split}\n",
                                      name="limited")
        return limited([os.path.join(self.w.bin, "worker", "splitmq-worker"), "-c", config],
                       "worker", kind, limit, self.w.dir, ask=self.ask)

    def ask(self):
        """The worker "limited", by an agent without limits; (status, what was said)."""
        self.w.publish("decision/asker", json.dumps({
            "v": 1, "type": "decision", "agent": "asker", "number": 1, "split": self.split,
            "worker": "limited", "reason": "by hand"}), "-r")
        config = self.w.agent_config(f"context_tokens: {self.context}\nsplit: {self.split}\n"
                                     f"max_tokens: {self.tokens}\noffline_after_ms: 0\n",
                                     name="asker")
        rc, out, err = self.w.tool("run", "-c", config, "-p", PROMPT, "--in-process", "--json",
                                   "--timeout", "60")
        if rc == 0 and json.loads(out)["stats"]["worker"] != "limited":
            return 1, f"answered by another: {out}"
        return rc, err

    def generate(self, kind, limit):
        if kind == "budget":
            return None  # it has no configuration
        return limited([os.path.join(self.w.bin, "tools", "splitmq"), "generate", "-m",
                        self.w.model, "-p", PROMPT, "-n", str(self.tokens), "--json"],
                       "generate", kind, limit, self.w.dir)

    def run(self, kinds, limits, tell=lambda run: None):
        """All of it; the runs that failed, those that were refused, those that worked."""
        runs = []
        for program in (self.generate, self.worker, self.agent):
            for kind in kinds:
                for limit in limits:
                    run = program(kind, limit)
                    if run:
                        tell(run)
                        runs.append(run)
        return runs


def reply_of(run):
    """The JSON of `splitmq run`, when it worked."""
    return json.loads(run.text[run.text.index("{"):])
