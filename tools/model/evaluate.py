#!/usr/bin/env python3
"""Exact match and perplexity on the held-out test, for a training run or for the exported GGUF; prints JSON.

Greedy. A prompt is given alone, as a person types it: the model has to close it with <|answer|> by itself.
With --template the <|answer|> is given, as the chat template does.
"""
import argparse
import collections
import json
import math
import os

import torch
import torch.nn.functional as F

import bpe
import corpus
import gguf
from model import CONTEXT, Cache, Model

LONGEST = 200


def load(path):
    """A tokenizer and a model from a run folder or a GGUF file."""
    if os.path.isdir(path):
        tok = bpe.Tokenizer(json.load(open(os.path.join(path, "tokenizer.json"))))
        weights = torch.load(os.path.join(path, "model.pt"), map_location="cpu")["model"]
    else:
        meta, tensors = gguf.read(path)
        tok = bpe.Tokenizer([m.split(" ") for m in meta["tokenizer.ggml.merges"]])
        weights = {name: torch.from_numpy(x.copy()) for name, x in tensors.items()}
    model = Model(len(tok.tokens))
    model.load_state_dict(weights)
    return tok, model.eval()


@torch.no_grad()
def generate(model, prompts):
    """Greedy continuation of prompts of the same length, each up to </s>."""
    ids, past, start = torch.tensor(prompts), Cache(), 0
    out, alive = [[] for _ in prompts], list(range(len(prompts)))
    for _ in range(LONGEST):
        best = model(ids, past=past, start=start)[:, -1].argmax(-1)
        start += ids.shape[1]
        keep = [row for row, token in enumerate(best.tolist()) if token != bpe.EOS]
        for row in keep:
            out[alive[row]].append(best[row].item())
        if not keep:
            break
        alive = [alive[row] for row in keep]
        past.keep(keep)
        ids = best[keep][:, None]
    return out


def answers(tok, model, tests, template):
    """The answer of the model to every test, in order."""
    groups = collections.defaultdict(list)
    for i, test in enumerate(tests):
        ids = [bpe.BOS] + tok.encode(test["prompt"]) + ([bpe.ANSWER] if template else [])
        groups[len(ids)].append((i, ids))
    out = [None] * len(tests)
    for group in groups.values():
        for (i, _), ids in zip(group, generate(model, [ids for _, ids in group])):
            out[i] = tok.decode(ids)
    return out


@torch.no_grad()
def perplexity(tok, model, tests):
    """Over running text in windows of whole examples: of all tokens, and of answers alone."""
    total = {"all": [0.0, 0], "answers": [0.0, 0]}
    row, flags = [], []
    for test in tests + [None]:
        ids, mark = [], []
        if test:
            prompt, answer = tok.encode(test["prompt"]), tok.encode(test["answer"])
            ids = [bpe.BOS] + prompt + [bpe.ANSWER] + answer + [bpe.EOS] + tok.encode("\n")
            mark = [0] * (len(prompt) + 2) + [1] * (len(answer) + 1) + [0]
        if row and (test is None or len(row) + len(ids) > CONTEXT):
            nll = F.cross_entropy(model(torch.tensor([row[:-1]]))[0], torch.tensor(row[1:]), reduction="none")
            chosen = torch.tensor(flags[1:]).bool()
            for key, values in (("all", nll), ("answers", nll[chosen])):
                total[key][0] += values.sum().item()
                total[key][1] += len(values)
            row, flags = [], []
        row, flags = row + ids, flags + mark
    return {key: {"ppl": round(math.exp(nll / n), 4), "tokens": n} for key, (nll, n) in total.items()}


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("model", help="folder of train.py, or a GGUF file")
    ap.add_argument("--tests", help="a .jsonl file; without it the test set is generated")
    ap.add_argument("--seed", type=int, default=2)
    ap.add_argument("--count", type=int, default=1000, help="examples of each part")
    ap.add_argument("--template", action="store_true", help="give <|answer|> with the prompt")
    ap.add_argument("--errors", help="write the wrong answers to this file")
    ap.add_argument("--threads", type=int, default=1)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    tok, model = load(args.model)
    tests = [json.loads(line) for line in open(args.tests)] if args.tests else corpus.test_set(args.seed, args.count)
    print(json.dumps(report(tests, answers(tok, model, tests, args.template), perplexity(tok, model, tests), args)))


def report(tests, got, ppl, args):
    """Counts per part and per intent, and the wrong answers."""
    right, count, intents, wrong = collections.Counter(), collections.Counter(), collections.Counter(), []
    for test, answer in zip(tests, got):
        key = test.get("part", "all")
        count[key] += 1
        right[key] += answer == test["answer"]
        if answer != test["answer"]:
            intents[test.get("intent", "")] += 1
            wrong.append({"prompt": test["prompt"], "answer": test["answer"], "got": answer, "part": key,
                          "intent": test.get("intent")})
    if args.errors:
        with open(args.errors, "w") as f:
            f.writelines(json.dumps(w, ensure_ascii=False) + "\n" for w in wrong)
    parts = {k: {"right": right[k], "count": count[k], "exact": round(right[k] / count[k], 4)} for k in sorted(count)}
    total = sum(right.values())
    return {"model": os.path.basename(args.model.rstrip("/")), "template": args.template, "exact": round(total / len(tests), 4),
            "right": total, "count": len(tests), "parts": parts, "wrong_by_intent": dict(intents), "perplexity": ppl}


if __name__ == "__main__":
    main()
