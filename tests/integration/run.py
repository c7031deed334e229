#!/usr/bin/env python3
"""Run one integration case: run.py --bin BUILD_DIR --root SOURCE_DIR [--sanitized] CASE."""

import argparse
import os
import sys

sys.dont_write_bytecode = True

from cases import CASES, GATEWAY_MODEL, PLAIN_ONLY  # noqa: E402
from random_model import SMALL, write_model  # noqa: E402
from world import World, find_mosquitto, skip  # noqa: E402


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--bin", required=True)
    p.add_argument("--root", required=True)
    p.add_argument("--sanitized", action="store_true")
    p.add_argument("case", choices=CASES)
    a = p.parse_args()
    model = os.path.abspath(os.path.join(a.root, "models", "gateway.gguf"))
    if os.environ.get("SPLITMQ_BROKER_TESTS") == "0":
        skip("broker tests are switched off")
    if not find_mosquitto():
        skip("mosquitto is not installed")
    if a.sanitized and a.case in PLAIN_ONLY:
        skip("measures memory: plain build only")
    world = World(os.path.abspath(a.bin), os.environ.get("TEST_MODEL", model),
                  a.sanitized)
    try:
        if a.sanitized and a.case not in GATEWAY_MODEL:
            small = world.path("small.gguf")
            write_model(world.model, small, SMALL)
            world.model = small
        CASES[a.case](world)
    except BaseException:
        world.show_logs()
        raise
    finally:
        world.close()
    print("ok")


main()
