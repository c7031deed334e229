#!/usr/bin/env python3
"""Proves the split: no shape, combination or text of the test occurs in training, and answers are a function of the text."""
import argparse
import collections
import json

import corpus


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--train-seed", type=int, default=1)
    ap.add_argument("--test-seed", type=int, default=2)
    ap.add_argument("--train", type=int, default=100000, help="training examples to look at")
    ap.add_argument("--test", type=int, default=1000, help="test examples of each part")
    args = ap.parse_args()

    answers, shapes, combinations, words, clashes = {}, set(), set(), collections.Counter(), 0
    for _, ex in zip(range(args.train), corpus.stream(args.train_seed, {"train"})):
        clashes += answers.setdefault(ex["prompt"].lower(), ex["answer"]) != ex["answer"]
        shapes.update(t[:2] for t in ex["templates"])
        combinations.update(ex["combinations"])
        words.update(letters(ex["prompt"]))
    bad, new_words, tested = collections.Counter(), collections.Counter(), {}
    for ex in corpus.test_set(args.test_seed, args.test):
        new_shape = any(t[:2] not in shapes for t in ex["templates"] if t[2])
        new_combination = any(c not in combinations for c in ex["combinations"] if corpus.combination_held_out(c))
        bad["shape in training"] += ex["part"] in ("phrasing", "both") and not new_shape
        bad["combination in training"] += ex["part"] in ("combination", "both") and not new_combination
        bad["held-out shape in training"] += any(t[:2] in shapes for t in ex["templates"] if t[2])
        bad["held-out combination in training"] += any(c in combinations for c in ex["combinations"]
                                                        if corpus.combination_held_out(c))
        bad["prompt in training"] += ex["prompt"].lower() in answers
        clashes += tested.setdefault(ex["prompt"].lower(), ex["answer"]) != ex["answer"]
        new_words.update(w for w in letters(ex["prompt"]) if w not in words)
    print(json.dumps({"train": args.train, "test": 3 * args.test, "violations": dict(bad), "two_answers": clashes,
                      "training_shapes": len(shapes), "training_combinations": len(combinations),
                      "test_words_unseen": len(new_words), "unseen": [w for w, _ in new_words.most_common(20)]}))
    raise SystemExit(1 if any(bad.values()) or clashes else 0)


def letters(text):
    return "".join(c if c.isalpha() else " " for c in text.lower()).split()


if __name__ == "__main__":
    main()
