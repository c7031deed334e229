"""splitmq simulate as a person runs it.

usage: test_simulate.py SPLITMQ SOURCE_ROOT"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

SPLITMQ, ROOT = sys.argv[1:3]


def run(*args, status=0):
    done = subprocess.run([SPLITMQ, "simulate", *args], capture_output=True, text=True,
                          timeout=100)
    if done.returncode != status:
        raise AssertionError(f"{args}: status {done.returncode}, not {status}: {done.stderr}")
    return done


def report(*args):
    return json.loads(run("--json", *args).stdout)


class Simulate(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()

    def tearDown(self):
        self.dir.cleanup()

    def file(self, name, text):
        path = os.path.join(self.dir.name, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def test_the_same_seed_gives_the_same_run(self):
        args = ["--agents", "40", "--workers", "3", "--duration", "240"]
        first, again = report(*args), report(*args)
        other = report(*args, "--seed", "2")
        for r in (first, again, other):
            self.assertGreater(r.pop("coordinator")["cpu_s"], 0)
        self.assertEqual(first, again)
        self.assertNotEqual(first["tokens"], other["tokens"])

    def test_everybody_is_decided_for_and_sessions_get_their_tokens(self):
        r = report(os.path.join(ROOT, "config", "scenario.yaml"), "--agents", "50", "--duration",
                   "300")
        self.assertEqual(r["agents"], 50)
        self.assertGreaterEqual(r["decisions"]["taken"] + r["decisions"]["refused"], 50)
        self.assertGreaterEqual(r["decisions"]["taken"], 45)
        self.assertGreaterEqual(r["messages"], 50 * (300 - 20) / 10)
        self.assertGreater(r["sessions_done"], 10)
        self.assertGreater(r["tokens"], r["sessions_done"])
        self.assertGreater(r["token_ms"], 0)
        self.assertGreater(r["decisions"]["changes"], 0)
        text = run("--agents", "50", "--duration", "60").stdout
        self.assertIn("50 agents, 4 workers, 60 s:", text)

    def test_what_is_wrong_is_named(self):
        bad = self.file("s.yaml", "agents: 10\nlink:\n  rtt_ms: normal(1, 2)\n")
        self.assertIn(f"{bad}:3: link.rtt_ms: must be a number, uniform(",
                      run(bad, status=1).stderr)
        bad = self.file("c.yaml", "policy:\n  codec: gzip\n")
        self.assertIn(f"{bad}: policy.codec: ", run("-c", bad, status=1).stderr)
        self.assertIn("/nowhere: No such file", run("/nowhere", status=1).stderr)
        self.assertIn("--agents must be", run("--agents", "0", status=2).stderr)
        self.assertIn("--live needs -c FILE", run("--live", status=2).stderr)
        self.assertIn("--fast: no such option", run("--fast", status=2).stderr)
        self.assertIn('what is "b"?', run("a", "b", status=2).stderr)
        self.assertIn("usage: splitmq simulate", run("--help").stdout)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
