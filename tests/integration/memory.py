"""Programs under limits of memory: each either works or says which number is missing.

A limit is a kind and bytes: "budget" (memory_budget of a configuration), "as" and "data"
(RLIMIT_AS, RLIMIT_DATA), "cgroup" (a control group below the one of this process; only where that
may be made). Used by the integration case and by tools/bench-memory.
"""

import json
import os
import re
import resource
import subprocess
import time

from world import World, die_with_parent

PROMPT = "turn on the pump in tank 3"
NAMES_A_NUMBER = re.compile(r"\d+ (bytes )?more than .*at most \d+ (tokens )?(would fit|fit now)|"
                            r"no room for (a map of|the) \d+ bytes")
RLIMITS = {"as": resource.RLIMIT_AS, "data": resource.RLIMIT_DATA}
KINDS = ("budget", "as", "data", "cgroup")


class Group:
    """A control group of version 2 with memory.max; None from make() where there is none."""

    def __init__(self, path):
        self.path = path

    @staticmethod
    def make(limit):
        try:
            with open("/proc/self/cgroup", encoding="ascii") as f:
                own = [line[3:].strip() for line in f if line.startswith("0::")]
            path = f"/sys/fs/cgroup{own[0].rstrip('/')}/splitmq-{os.getpid()}"
            os.mkdir(path)
        except (OSError, IndexError):
            return None
        group = Group(path)
        try:
            group.put("memory.max", limit)  # there by itself, in a group that counts memory
            group.put("memory.swap.max", 0)
        except OSError:
            group.close()
            return None
        return group

    def put(self, name, value):
        with open(os.path.join(self.path, name), "r+", encoding="ascii") as f:
            f.write(str(value))

    def killed(self):
        with open(os.path.join(self.path, "memory.events"), encoding="ascii") as f:
            return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in f)

    def close(self):
        try:
            os.rmdir(self.path)
        except OSError:
            pass


class Run:
    """What became of one run."""

    def __init__(self, program, kind, limit, status, text, rss):
        self.program, self.kind, self.limit = program, kind, limit
        self.status, self.text, self.rss = status, text, rss

    def verdict(self):
        if self.status == 0:
            return "works"
        if self.status > 0 and NAMES_A_NUMBER.search(self.text):
            return "refused"
        if self.status == 127 and "loading shared libraries" in self.text:
            return "not loaded"  # by the system, before the first line of ours
        return f"FAILED ({self.status})"

    def fine(self):
        return not self.verdict().startswith("FAILED")


def limited(argv, program, kind, limit, cwd, timeout_s=300):
    """Run argv under the limit; None where a control group cannot be made."""
    group = Group.make(limit) if kind == "cgroup" else None
    if kind == "cgroup" and not group:
        return None

    def prepare():
        die_with_parent()
        if kind in RLIMITS:
            resource.setrlimit(RLIMITS[kind], (limit, limit))
        if group:
            group.put("cgroup.procs", os.getpid())

    out = os.path.join(cwd, "limited.out")
    with open(out, "wb") as f:
        p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=f, stderr=f, cwd=cwd,
                             preexec_fn=prepare)
    end = time.monotonic() + timeout_s
    while True:
        pid, status, usage = os.wait4(p.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > end:
            p.kill()
        time.sleep(0.01)
    p.returncode = os.waitstatus_to_exitcode(status)
    with open(out, encoding="utf-8", errors="replace") as f:
        text = f.read()
    killed = group and group.killed()
    if group:
        group.close()
    return Run(program, kind, limit, -9 if killed else p.returncode, text, usage.ru_maxrss * 1024)


class Matrix:
    """Programs that answer a prompt with this world's model."""

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
        """Only its start: what a worker takes, it takes then, but for caches."""
        config = self.w.worker_config(self.keys(kind, limit), name="limited")
        return limited([os.path.join(self.w.bin, "worker", "splitmq-worker"), "-c", config,
                        "--check"], "worker", kind, limit, self.w.dir)

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
