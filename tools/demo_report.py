#!/usr/bin/env python3
"""What tools/demo prints.

    demo_report.py same EXPECTED GOT     exit status 0 when both are the same JSON, or the same text
    demo_report.py prompt ID TEXT        a message for a prompt topic
    demo_report.py answer REPLY          the text of a reply file
    demo_report.py sides FOLDER NAME=PID...   layers, weights and memory of the daemons
    demo_report.py stats REPLY           bytes and times of a reply
    demo_report.py traffic LOG           lines `topic<TAB>hex` as people read them
"""

import json
import pathlib
import re
import sys

COLUMNS = 150


def load_reply(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def same(expected, got):
    try:
        return json.loads(expected) == json.loads(got)
    except ValueError:
        return expected.strip() == got.strip()


def human(n):
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n < 1024 or unit == "GiB":
            return f"{n:.0f} {unit}" if unit == "bytes" else f"{n:.1f} {unit}"
        n /= 1024
    return ""


def memory_of(pid):
    """{VmRSS, RssAnon, RssFile} in bytes."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.findall(r"^(VmRSS|RssAnon|RssFile):\s+(\d+) kB", text, re.M)
    return {key: int(value) * 1024 for key, value in found}


def started(log):
    """key=value of the line that a daemon logs when it has loaded its model."""
    for line in log.read_text(encoding="utf-8", errors="replace").split("\n"):
        if ".started " in line:
            return dict(re.findall(r"(\w+)=(\S+)", line))
    return {}


def print_sides(folder, sides):
    for side in sides:
        name, _, pid = side.partition("=")
        role = "worker" if name.startswith("worker") else "agent"
        facts = started(pathlib.Path(folder) / f"{role}.log")
        memory = memory_of(pid)
        weights = human(int(facts["weight_bytes"])) if "weight_bytes" in facts else "?"
        print(f"{role:7} layers {facts.get('layers', '?')}, weights {weights}, "
              f"resident {human(memory['VmRSS'])} ({human(memory.get('RssFile', 0))} of files, "
              f"{human(memory.get('RssAnon', 0))} of its own)")


def print_stats(reply):
    s = reply["stats"]
    rows = max(1, s["prompt_tokens"] + s["tokens"] - 1)
    tokens = max(1, s["tokens"])
    print(f"prompt  {s['prompt_tokens']} tokens, answer {s['tokens']} tokens, "
          f"first one after {s.get('ttft_ms', 0):.1f} ms, {s.get('tok_s', 0):.1f} tokens/s")
    print(f"bytes   up {s['bytes_up']} ({s['bytes_up'] / rows:.0f} a row), "
          f"down {s['bytes_down']} ({s['bytes_down'] / tokens:.0f} a token)")
    parts = [("agent's layers", "head_ms"), ("encoding", "encode_ms"),
             ("waiting at the worker", "worker_queue_ms"), ("worker's layers", "worker_ms"),
             ("broker and network", "wire_ms"), ("rest", "other_ms")]
    total = sum(s.get(key, 0) for _, key in parts)
    print(f"a token {total:.2f} ms: " +
          ", ".join(f"{word} {s.get(key, 0):.2f}" for word, key in parts) +
          f"; round trip {s.get('rtt_ms', 0):.2f} ms")
    if s.get("retries"):
        print(f"repeats {s['retries']} messages were sent again")


def readable(topic, payload):
    """JSON as it is; rows and probes by their size."""
    if topic.endswith("/probe"):
        return f"({len(payload)} bytes: how far is the broker?)"
    try:
        text = payload.decode("utf-8")
        json.loads(text)
    except ValueError:
        return f"({len(payload)} bytes of a frame: splitmq watch decodes them)"
    return text


def print_traffic(log):
    """Everything up to the first tokens of the first session, then its end."""
    lines, seen = [], {}
    with open(log, encoding="utf-8") as f:
        for line in f:
            topic, _, hexa = line.rstrip("\n").partition("\t")
            kind = re.sub(r"/[0-9a-f]{16}/", "/*/", topic)
            if not topic or kind.endswith("/telemetry"):
                continue
            seen[kind] = seen.get(kind, 0) + 1
            if seen[kind] <= 3:
                lines.append(f"{topic} {readable(topic, bytes.fromhex(hexa))}")
            elif seen[kind] == 4 and "/session/" in kind:
                lines.append(f"{topic} ...")
    for line in lines[:24]:
        print(line if len(line) <= COLUMNS else line[:COLUMNS - 3] + "...")
    print(f"({sum(seen.values())} messages, telemetry not counted)")


def main(argv):
    if argv[1:2] == ["same"] and len(argv) == 4:
        return 0 if same(argv[2], argv[3]) else 1
    if argv[1:2] == ["prompt"] and len(argv) == 4:
        print(json.dumps({"id": argv[2], "prompt": argv[3], "max_tokens": 64}))
    elif argv[1:2] == ["answer"] and len(argv) == 3:
        print(load_reply(argv[2])["text"])
    elif argv[1:2] == ["sides"] and len(argv) > 3:
        print_sides(argv[2], argv[3:])
    elif argv[1:2] == ["stats"] and len(argv) == 3:
        print_stats(load_reply(argv[2]))
    elif argv[1:2] == ["traffic"] and len(argv) == 3:
        print_traffic(argv[2])
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
