#!/usr/bin/env python3
"""What tests of a suite need to have been built: python3 tools/test_targets.py BUILD SUITE

Prints ninja's targets, one a line."""

import json
import os
import subprocess
import sys


def main():
    build, suite = sys.argv[1:]
    out = subprocess.run(["meson", "introspect", build, "--tests", "--targets"], check=True,
                         capture_output=True, text=True).stdout
    found = json.loads(out)
    files = {t["id"]: t["filename"] for t in found["targets"]}
    needed = {file for test in found["tests"] if suite in [s.split(":")[-1] for s in test["suite"]]
              for target in test["depends"] for file in files[target]}
    for file in sorted(needed):
        print(os.path.relpath(file, build))


if __name__ == "__main__":
    main()
