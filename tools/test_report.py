#!/usr/bin/env python3
"""Add up Meson's test logs for tools/check.

    tools/test_report.py [--brief] NAME=LOG...

LOG is meson-logs/testlog.json of a build; empty: the build failed (counts as one failure);
SKIP:REASON: the whole build was skipped. A Meson test counts once; a cmocka test that skipped
itself inside a test that passed counts as one skipped more; the line that it printed before, or
`SKIP: reason` of any test, is the reason. The last line is `N passed, N failed, N skipped`; the
exit status is 1 when something failed or nothing passed.

  --brief   for one build that was just tested: the output of what failed, and the sum
"""

import collections
import json
import pathlib
import re
import sys

GOOD = {"OK", "EXPECTEDFAIL"}
CMOCKA_SKIP = re.compile(r"^(.*)\n\[  SKIPPED \] (\w+)$", re.M)
REASON = re.compile(r"^.*\bSKIP: *(.+?)\s*$", re.M)


class Sum:
    def __init__(self, with_output):
        self.with_output = with_output
        self.passed = 0
        self.failed = 0
        self.reasons = []  # one per skipped test

    def add_test(self, build, test):
        name = f"{build}: {test['name'].split(' / ')[-1]}"
        output = test.get("stdout", "") + test.get("stderr", "")
        reasons = REASON.findall(output)
        if test["result"] == "SKIP":
            self.reasons.append(f"{name}: {reasons[0] if reasons else 'no reason given'}")
        elif test["result"] in GOOD:
            self.passed += 1
            self.add_cmocka(name, output)
        else:
            self.failed += 1
            print(f"FAILED {name} ({test['result'].lower()})")
            for line in output.rstrip().split("\n")[-40:] if self.with_output else []:
                print(f"    {line}")

    def add_cmocka(self, name, output):
        seen = set()  # cmocka lists them again at the end
        for said, test in CMOCKA_SKIP.findall(output):
            if test not in seen:
                reason = "no reason given" if said.startswith("[ ") else said.strip()
                self.reasons.append(f"{name}, {test}: {reason.removeprefix('SKIP: ')}")
                seen.add(test)

    def add_build(self, build, log):
        if log.startswith("SKIP:"):
            self.reasons.append(f"{build}: {log.removeprefix('SKIP:')}")
            return
        if not log or not pathlib.Path(log).is_file():
            self.failed += 1
            print(f"FAILED {build} (no tests could be run)")
            return
        with open(log, encoding="utf-8") as f:
            for line in f:
                self.add_test(build, json.loads(line))

    def text(self):
        return f"{self.passed} passed, {self.failed} failed, {len(self.reasons)} skipped"


def main(argv):
    brief = argv[1:2] == ["--brief"]
    builds = argv[2 if brief else 1:]
    if not builds or any("=" not in b for b in builds):
        print(__doc__, file=sys.stderr)
        return 2
    total = Sum(with_output=brief)
    for build in builds:
        name, _, log = build.partition("=")
        total.add_build(name, log)
    if brief:
        print(f"         {builds[0].partition('=')[0]}: {total.text()}")
        return 0
    for reason, count in collections.Counter(total.reasons).items():
        print(f"SKIPPED {reason}" + (f" ({count} times)" if count > 1 else ""))
    print(total.text())
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
