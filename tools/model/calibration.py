#!/usr/bin/env python3
"""Print the text that models/gateway.gguf.cal is learned from: training examples, none of the test.

    ./calibration.py > text && splitmq calibrate -m ../../models/gateway.gguf -f text
"""

import argparse
import itertools

import corpus


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--count", type=int, default=2400, help="examples")
    ap.add_argument("--seed", type=int, default=777)
    opt = ap.parse_args()
    examples = itertools.islice(corpus.stream(opt.seed, {"train"}), opt.count)
    print("<s>".join(f"{ex['prompt']}<|answer|>{ex['answer']}</s>\n" for ex in examples), end="")


if __name__ == "__main__":
    main()
