#!/usr/bin/env python3
"""Trains the model on the corpus. Needs Debian's python3-torch, python3-numpy and python3-regex.

Writes OUT/tokenizer.json and OUT/model.pt (weights, optimizer, step); run again to resume.
Touch OUT/decay to begin the final decay of the learning rate at once.
"""
import argparse
import ctypes
import itertools
import json
import math
import os
import random
import time

import torch

import bpe
import corpus
import fast
from model import CONTEXT, Model
from muon import Muon

VOCAB = 1024
PROMPT_WEIGHT, STOP_WEIGHT = 0.25, 8.0    # loss of prompt tokens; of <|answer|>, so that a complete sentence is answered


def tokenizer(out, seed):
    """The tokenizer of a run, trained the first time."""
    path = os.path.join(out, "tokenizer.json")
    if not os.path.exists(path):
        texts = []
        for _, ex in zip(range(30000), corpus.stream(seed, {"train"})):
            texts += [ex["prompt"], ex["answer"]]
        with open(path, "w") as f:
            json.dump(bpe.train(texts, VOCAB), f)
    return bpe.Tokenizer(json.load(open(path)))


def encode(tok, ex):
    """Ids and loss weights of an example: <s> prompt <|answer|> answer </s> newline."""
    prompt, answer = tok.encode(ex["prompt"]), tok.encode(ex["answer"])
    ids = [bpe.BOS] + prompt + [bpe.ANSWER] + answer + [bpe.EOS] + tok.encode("\n")
    weight = [PROMPT_WEIGHT] * (1 + len(prompt)) + [STOP_WEIGHT] + [1.0] * (len(answer) + 1) + [PROMPT_WEIGHT]
    return ids, weight


def pack(examples, length, rows):
    """Micro-batches of full rows: whole examples in a row, the longest that still fits from a pool of waiting ones."""
    pool = [next(examples) for _ in range(400)]
    while True:
        yield [pack_row(examples, pool, length + 1) for _ in range(rows)]


def pack_row(examples, pool, length):
    """One row; examples at random until the end is near, then the best fit."""
    ids, weight = [], []
    while True:
        room = length - len(ids)
        if room > 210:
            best = random.randrange(len(pool))
        else:
            fitting = [i for i, e in enumerate(pool) if len(e[0]) <= room]
            if not fitting:
                return ids, weight
            best = max(fitting, key=lambda i: len(pool[i][0])) if room < 120 else random.choice(fitting)
        more_ids, more_weight = pool[best]
        pool[best] = next(examples)
        ids, weight = ids + more_ids, weight + more_weight


def bucket(examples, tokens):
    """Micro-batches of single examples of nearly the same length, in widths that are multiples of 8."""
    while True:
        pool = sorted((next(examples) for _ in range(4000)), key=lambda e: len(e[0]))
        slices = []
        while pool:
            count = max(1, tokens // round_up(len(pool[-1][0])))
            slices.append(pool[-count:])
            del pool[-count:]
        random.shuffle(slices)
        yield from slices[1:]


def round_up(length):
    """A width that repeats: the matrix library prepares its code once for each shape."""
    return (length + 6) // 8 * 8


def batches(tok, seed, tokens):
    """Micro-batches as (ids, weights): three of four with single examples, the others with rows of several."""
    examples = (encode(tok, ex) for ex in corpus.stream(seed, {"train"}))
    one, short, full = bucket(examples, tokens), pack(examples, 160, tokens // 160), pack(examples, CONTEXT, tokens // CONTEXT)
    for i in itertools.count():
        rows = next(full if i % 16 == 15 else short if i % 16 in (3, 7, 11) else one)
        width = round_up(max(len(ids) for ids, _ in rows)) + 1
        yield (torch.tensor([ids + [bpe.PAD] * (width - len(ids)) for ids, _ in rows]),
               torch.tensor([w + [0.0] * (width - len(w)) for _, w in rows]))


def worker(tok, seed, tokens, queue):
    """Makes batches beside the training."""
    torch.set_num_threads(1)
    random.seed(seed)
    for ids, weight in batches(tok, seed, tokens):
        queue.put((ids.numpy(), weight.numpy()))


def quick_malloc():
    """Lets glibc keep freed memory: page faults would cost half the time."""
    libc = ctypes.CDLL(None)
    libc.mallopt(-3, 1 << 30)
    libc.mallopt(-1, (1 << 31) - 1)


def rate(step, args, decay_from):
    """Warm-up, stable, linear decay to a fiftieth."""
    if step < args.warmup:
        return (step + 1) / args.warmup
    if decay_from is None or step < decay_from:
        return 1.0
    left = 1 - (step - decay_from) / max(1, args.decay)
    return max(left, 0.02)


def save(path, state):
    torch.save(state, path + ".new")
    os.replace(path + ".new", path)


class Optimizer:
    """Muon for the matrices of the layers, AdamW for norms and the embedding."""

    def __init__(self, model, args):
        deep = [p for n, p in model.named_parameters() if p.ndim == 2 and "embd" not in n]
        flat = [p for n, p in model.named_parameters() if p.ndim < 2 or "embd" in n]
        self.parts = [(Muon(deep, args.lr), args.lr), (torch.optim.AdamW(flat, args.lr / 2, (0.9, 0.98), 1e-8, 0.0), args.lr / 2)]

    def step(self, scale):
        for part, lr in self.parts:
            part.param_groups[0]["lr"] = lr * scale
            part.step()

    def state_dict(self):
        return [part.state_dict() for part, _ in self.parts]

    def load_state_dict(self, states):
        for (part, _), state in zip(self.parts, states):
            part.load_state_dict(state)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--out", required=True, help="folder of the run")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--steps", type=int, default=3700, help="steps in all, decay included")
    ap.add_argument("--decay", type=int, default=1500)
    ap.add_argument("--warmup", type=int, default=100)
    ap.add_argument("--tokens", type=int, default=1560, help="tokens of a micro-batch")
    ap.add_argument("--micro", type=int, default=4, help="micro-batches of a step")
    ap.add_argument("--lr", type=float, default=4e-3)
    ap.add_argument("--processes", type=int, default=2)
    args = ap.parse_args()
    os.makedirs(args.out, exist_ok=True)
    quick_malloc()
    torch.manual_seed(args.seed)
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    tok = tokenizer(args.out, args.seed)
    model = Model(VOCAB)
    opt = Optimizer(model, args)
    run(args, tok, model, opt, os.path.join(args.out, "model.pt"))


class Crew:
    """Processes that share the weights and take micro-batches of a step as they are free, one thread each."""

    def __init__(self, model, queue, args):
        fork = torch.multiprocessing.get_context("fork")
        self.model, self.queue, self.micro = model.share_memory(), queue, args.micro
        self.lib = fast.library()
        self.gradients = torch.zeros(args.processes, fast.Fast.size(model)).share_memory_()
        self.sums = torch.zeros(args.processes, 3).share_memory_()    # loss, loss on answers, tokens
        self.taken, self.gate = fork.Value("i", 0), fork.Barrier(args.processes)
        for rank in range(1, args.processes):
            fork.Process(target=self.help, args=(rank,), daemon=True).start()
        self.fast = fast.Fast(model, self.lib, self.gradients[0])

    def take(self):
        with self.taken.get_lock():
            self.taken.value += 1
            return self.taken.value <= self.micro

    def work(self, passes, rank):
        """Adds up the gradients of the micro-batches that this process gets."""
        self.sums[rank] = 0
        passes.prepare()
        while self.take():
            ids, weight = (torch.from_numpy(a) for a in self.queue.get())
            loss, answer = passes.run(ids, weight, self.micro)
            self.sums[rank] += torch.tensor([loss, answer / self.micro, ids.numel()])

    def help(self, rank):
        passes = fast.Fast(self.model, self.lib, self.gradients[rank])
        while True:
            self.gate.wait()
            self.work(passes, rank)
            self.gate.wait()

    def step(self):
        """The gradients of one step, in the parameters; returns loss, loss on answers, tokens."""
        self.taken.value = 0
        self.gate.wait()
        self.work(self.fast, 0)
        self.gate.wait()
        for more in self.gradients[1:]:
            self.gradients[0] += more
        self.fast.finish()
        return self.sums.sum(0).tolist()


def run(args, tok, model, opt, path):
    """The loop, from the last checkpoint on."""
    step, decay_from = 0, None
    if os.path.exists(path):
        state = torch.load(path)
        model.load_state_dict(state["model"])
        opt.load_state_dict(state["opt"])
        step, decay_from = state["step"], state["decay_from"]
    queue = torch.multiprocessing.get_context("fork").Queue(16)
    process = torch.multiprocessing.get_context("fork").Process(
        target=worker, args=(tok, args.seed + 1000 * (step > 0) + step, args.tokens, queue), daemon=True)
    process.start()
    crew = Crew(model, queue, args)
    last, saved, tokens = time.time(), time.time(), 0
    while decay_from is None or step < decay_from + args.decay:
        if decay_from is None and (step >= args.steps - args.decay or os.path.exists(os.path.join(args.out, "decay"))):
            decay_from = step
        loss, answer, seen = crew.step()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step(rate(step, args, decay_from))
        step += 1
        tokens += seen
        if step % 50 == 0:
            seconds, last = (time.time() - last) / 50, time.time()
            end = (decay_from or args.steps - args.decay) + args.decay
            print("step %d loss %.4f answer %.4f lr %.2e tokens/s %.0f eta %.1f min" % (
                step, loss, answer, args.lr * rate(step - 1, args, decay_from), tokens / 50 / seconds, (end - step) * seconds / 60), flush=True)
            tokens = 0
        if time.time() - saved > 120:
            save(path, {"model": model.state_dict(), "opt": opt.state_dict(), "step": step, "decay_from": decay_from})
            saved = time.time()
    save(path, {"model": model.state_dict(), "opt": opt.state_dict(), "step": step, "decay_from": decay_from})
    process.terminate()


if __name__ == "__main__":
    main()
