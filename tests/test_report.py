#!/usr/bin/env python3
"""tools/test_report.py: what tools/check says at its end."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

PROGRAM = pathlib.Path(__file__).parent.parent / "tools" / "test_report.py"


def report(*builds):
    done = subprocess.run([sys.executable, PROGRAM, *builds], capture_output=True, text=True,
                          check=False)
    return done.returncode, done.stdout.split("\n")[:-1]


class Report(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def log(self, *tests):
        path = pathlib.Path(self.folder.name) / "log.json"
        lines = [json.dumps({"name": f"unit / {name}", "result": result, "stdout": text})
                 for name, result, text in tests]
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return f"plain={path}"

    def test_tests_are_added_up(self):
        log = self.log(("a", "OK", ""), ("b", "EXPECTEDFAIL", ""))
        self.assertEqual(report(log, log.replace("plain", "asan")),
                         (0, ["4 passed, 0 failed, 0 skipped"]))

    def test_each_kind_of_failure_counts(self):
        for result in ("FAIL", "TIMEOUT", "ERROR", "UNEXPECTEDPASS"):
            log = self.log(("a", "OK", ""), ("b", result, "the end"))
            failed = f"FAILED plain: b ({result.lower()})"
            self.assertEqual(report(log), (1, [failed, "1 passed, 1 failed, 0 skipped"]))
            self.assertEqual(report("--brief", log)[1][:2], [failed, "    the end"])

    def test_a_skipped_test_has_a_reason(self):
        log = self.log(("a", "OK", ""), ("b", "SKIP", "SKIP: no such tool\n"))
        self.assertEqual(report(log), (0, ["SKIPPED plain: b: no such tool",
                                           "1 passed, 0 failed, 1 skipped"]))

    def test_a_cmocka_test_that_skips_itself_counts_once(self):
        text = ("[ RUN      ] x\nno files\n[  SKIPPED ] x\n[ RUN      ] y\n[  SKIPPED ] y\n"
                "[  SKIPPED ] 2 test(s), listed below:\n[  SKIPPED ] x\n[  SKIPPED ] y\n")
        self.assertEqual(report(self.log(("a", "OK", text))),
                         (0, ["SKIPPED plain: a, x: no files",
                              "SKIPPED plain: a, y: no reason given",
                              "1 passed, 0 failed, 2 skipped"]))

    def test_a_build_that_failed_is_one_failure(self):
        self.assertEqual(report("plain=", self.log(("a", "OK", "")))[0], 1)
        self.assertEqual(report("plain=")[1][-1], "0 passed, 1 failed, 0 skipped")

    def test_nothing_passed_is_a_failure(self):
        self.assertEqual(report("tsan=SKIP:not here"),
                         (1, ["SKIPPED tsan: not here", "0 passed, 0 failed, 1 skipped"]))


if __name__ == "__main__":
    unittest.main()
