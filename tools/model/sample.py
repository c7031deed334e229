#!/usr/bin/env python3
"""Writes the sample of the test that the project ships: gateway-test.jsonl, and the same as running text."""
import argparse
import json
import os

import corpus


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--out", default="models", help="folder")
    ap.add_argument("--seed", type=int, default=3)
    ap.add_argument("--count", type=int, default=168, help="examples of each part")
    args = ap.parse_args()
    tests = corpus.test_set(args.seed, args.count)
    with open(os.path.join(args.out, "gateway-test.jsonl"), "w") as f:
        for t in tests:
            line = {"prompt": t["prompt"], "answer": t["answer"], "part": t["part"]}
            f.write(json.dumps(line, ensure_ascii=False) + "\n")
    with open(os.path.join(args.out, "gateway-test.txt"), "w") as f:
        f.write("<s>".join("%s<|answer|>%s</s>\n" % (t["prompt"], t["answer"]) for t in tests))


if __name__ == "__main__":
    main()
