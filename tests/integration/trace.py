"""A Chrome trace as --trace writes it: read, checked, and put in order."""

import json
from collections import defaultdict

PARTS = ("wait", "head", "encode", "publish", "broker", "queue", "tail", "return")


class Trace:
    """Spans by the name of their thread or track, in order."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as f:
            events = json.load(f)["traceEvents"]
        names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
        self.process = [e["args"]["name"] for e in events if e["name"] == "process_name"]
        self.rows = defaultdict(list)
        for e in events:
            if e["ph"] == "X":
                self.rows[e["tid"]].append((e["ts"], -e["dur"], e["name"], e["args"]["pos"]))
        for tid, row in self.rows.items():
            row.sort()
            check_nesting(names[tid], row)
        self.threads = {names[tid]: row for tid, row in self.rows.items()}

    def spans(self, thread, name):
        """(start, end, pos) of the spans of one name."""
        return [(ts, ts - dur, pos) for ts, dur, n, pos in self.threads.get(thread, [])
                if n == name]

    def by_pos(self, thread, name):
        """Position -> microseconds, all spans of that name together."""
        sums = defaultdict(int)
        for start, end, pos in self.spans(thread, name):
            sums[pos] += end - start
        return sums


def check_nesting(thread, row):
    """Spans of one thread lie inside each other or follow each other."""
    open_ends = []
    for ts, dur, name, pos in row:
        end = ts - dur
        while open_ends and open_ends[-1] <= ts:
            open_ends.pop()
        assert not open_ends or end <= open_ends[-1], \
            f"{thread}: {name} at {pos} ends {end - open_ends[-1]} us after what it began in"
        open_ends.append(end)


def check_tokens(trace, session, n_prompt):
    """The parts of each decode token fill it without a gap."""
    tokens = [t for t in trace.spans(session, "token") if t[2] >= n_prompt]
    parts = {name: trace.by_pos(session, name) for name in PARTS}
    for start, end, pos in tokens:
        total = sum(p[pos] for p in parts.values())
        assert total == end - start, f"token {pos} takes {end - start} us, its parts {total}"


def median_sum(trace, n_prompt, *parts):
    """Of the decode tokens of session 1, by the median's definition in agent/reply.c."""
    rows = [trace.by_pos("session 1", name) for name in parts]
    sums = sorted(sum(r[pos] for r in rows) for pos in rows[0] if pos >= n_prompt)
    return sums[len(sums) // 2]
