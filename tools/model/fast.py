#!/usr/bin/env python3
"""Forward and backward pass by hand: matrix products in bf16 by torch, the rest fused in fused.c.

About three times as fast on a CPU as model.py through autograd, to which `fast.py` as a program compares it.
"""
import ctypes
import os
import subprocess
import tempfile

import torch

from model import CONTEXT, EPS, FF, HEAD, HEADS, KV_HEADS, WIDTH, Model, rotation

HERE = os.path.dirname(os.path.abspath(__file__))


def library():
    """Compiles fused.c for this machine."""
    path = os.path.join(tempfile.mkdtemp(prefix="gateway-"), "fused.so")
    subprocess.run(["cc", "-std=gnu11", "-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math", "-shared", "-fPIC",
                    "-o", path, os.path.join(HERE, "fused.c"), "-lmvec", "-lm"], check=True)
    return ctypes.CDLL(path)


def call(function, *args):
    """Calls C with tensors as pointers, int as int64, float as float."""
    kinds = {int: ctypes.c_int64, float: ctypes.c_float}
    function(*(ctypes.c_void_p(a.data_ptr()) if torch.is_tensor(a) else None if a is None else kinds[type(a)](a) for a in args))


class Fast:
    """Gradients of a Model, added into one flat f32 buffer in the order of matrices()."""

    def __init__(self, model, lib, buffer):
        self.model, self.lib = model, lib
        turn = rotation(CONTEXT)
        self.cos, self.sin = turn.real.contiguous(), turn.imag.contiguous()
        self.shapes = [(HEAD * (HEADS + 2 * KV_HEADS), WIDTH), (WIDTH, HEADS * HEAD), (2 * FF, WIDTH), (WIDTH, FF)]
        self.sums, at = [], 0
        for rows, columns in self.shapes * len(model.blk) + 2 * [tuple(model.token_embd.weight.shape)]:
            self.sums.append(buffer[at:at + rows * columns].view(rows, columns))
            at += rows * columns

    @staticmethod
    def size(model):
        """Length of the buffer: the matrices, and the embedding twice (as head, as table)."""
        return sum(p.numel() for p in model.parameters() if p.ndim == 2) + model.token_embd.weight.numel()

    @torch.no_grad()
    def prepare(self):
        """Per step: the matrices in bf16 with the norms multiplied in, and empty sums."""
        self.weights = []
        for b in self.model.blk:
            qkv = torch.cat([b.attn_q.weight, b.attn_k.weight, b.attn_v.weight]) * b.attn_norm.weight
            gate_up = torch.cat([b.ffn_gate.weight, b.ffn_up.weight]) * b.ffn_norm.weight
            self.weights.append([w.bfloat16() for w in (qkv, b.attn_output.weight, gate_up, b.ffn_down.weight)])
        self.head = (self.model.token_embd.weight * self.model.output_norm.weight).bfloat16()
        for s in self.sums:
            s.zero_()

    def add(self, index, grad, rows):
        """sums[index] += grad^T rows"""
        part = torch.mm(grad.t(), rows)
        call(self.lib.accumulate, self.sums[index], part, part.numel())

    def rms(self, x, delta):
        y, scale = torch.empty(x.shape, dtype=torch.bfloat16), torch.empty(len(x))
        call(self.lib.add_rms, x, delta, y, scale, len(x), WIDTH, EPS)
        return y, scale

    def layer(self, x, delta, weights, B, T):
        """Forward; returns what backward needs, the last entry being what is still to be added to x."""
        qkv_w, out_w, gate_up_w, down_w = weights
        y1, s1 = self.rms(x, delta)
        qkv = torch.mm(y1, qkv_w.t())
        o = torch.empty(len(x), HEADS * HEAD, dtype=torch.bfloat16)
        call(self.lib.attention, qkv, o, self.cos, self.sin, B, T)
        y2, s2 = self.rms(x, torch.mm(o, out_w.t()))
        gu = torch.mm(y2, gate_up_w.t())
        a = torch.empty(len(x), FF, dtype=torch.bfloat16)
        call(self.lib.swiglu, gu, a, len(x), FF)
        return y1, s1, qkv, o, y2, s2, gu, a, torch.mm(a, down_w.t())

    def layer_back(self, gx, low, kept, index, B, T):
        """Backward; gx and its bf16 copy low are updated in place."""
        qkv_w, out_w, gate_up_w, down_w = self.weights[index]
        y1, s1, qkv, o, y2, s2, gu, a, _ = kept
        n, at = len(gx), 4 * index
        self.add(at + 3, low, a)
        ggu = torch.empty_like(gu)
        call(self.lib.swiglu_back, torch.mm(low, down_w), gu, ggu, n, FF)
        self.add(at + 2, ggu, y2)
        call(self.lib.rms_back, gx, torch.mm(ggu, gate_up_w), y2, s2, low, n, WIDTH)
        self.add(at + 1, low, o)
        gqkv = torch.empty_like(qkv)
        call(self.lib.attention_back, torch.mm(low, out_w), qkv, gqkv, self.cos, self.sin, B, T)
        self.add(at, gqkv, y1)
        call(self.lib.rms_back, gx, torch.mm(gqkv, qkv_w), y1, s1, low, n, WIDTH)

    @torch.no_grad()
    def run(self, ids, weight, micro):
        """One micro-batch; returns its weighted loss and its loss on answers."""
        inputs, target = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
        weight = weight[:, 1:].contiguous()
        (B, T), n = inputs.shape, inputs.numel()
        x, delta, kept = torch.empty(n, WIDTH), None, []
        call(self.lib.embed, self.model.token_embd.weight, inputs, x, n, WIDTH)
        for weights in self.weights:
            kept.append(self.layer(x, delta, weights, B, T))
            delta = kept[-1][-1]
        y, scale = self.rms(x, delta)
        logits = torch.mm(y, self.head.t())
        total, sums = weight.sum().item(), torch.zeros(3, dtype=torch.float64)
        call(self.lib.entropy, logits, target, weight, 1 / (total * micro), sums, n, logits.shape[1])
        self.add(-2, logits, y)
        gx, low = torch.zeros(n, WIDTH), torch.empty(n, WIDTH, dtype=torch.bfloat16)
        call(self.lib.rms_back, gx, torch.mm(logits, self.head), y, scale, low, n, WIDTH)
        for index in reversed(range(len(kept))):
            self.layer_back(gx, low, kept[index], index, B, T)
        call(self.lib.embed_back, self.sums[-1], inputs, gx, n, WIDTH)
        return (sums[0] / (total * micro)).item(), (sums[1] / sums[2].clamp(min=1)).item()

    @torch.no_grad()
    def finish(self):
        """Turns the sums into the gradients of the parameters."""
        for i, b in enumerate(self.model.blk):
            qkv, out, gate_up, down = self.sums[4 * i:4 * i + 4]
            self.through(b.attn_norm, qkv, b.attn_q, b.attn_k, b.attn_v)
            self.through(b.ffn_norm, gate_up, b.ffn_gate, b.ffn_up)
            b.attn_output.weight.grad, b.ffn_down.weight.grad = out, down
        table = self.model.token_embd
        self.through(self.model.output_norm, self.sums[-2], table)
        table.weight.grad = table.weight.grad + self.sums[-1]

    @staticmethod
    def through(norm, grad, *matrices):
        """Splits the gradient of matrices times a norm into theirs and the norm's."""
        norm.weight.grad, at = torch.zeros_like(norm.weight), 0
        for m in matrices:
            part = grad[at:at + len(m.weight)]
            at += len(m.weight)
            norm.weight.grad += (part * m.weight).sum(0)
            m.weight.grad = part * norm.weight


def main():
    """Compares loss and gradients with autograd in f32."""
    torch.manual_seed(1)
    model = Model(1024)
    for name, p in model.named_parameters():
        if "norm" in name:
            p.data = torch.rand_like(p) + 0.5
    ids, weight = torch.randint(1024, (5, 38)), torch.rand(5, 38).round(decimals=1)
    nll = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    loss = (nll * weight[:, 1:].flatten()).sum() / weight[:, 1:].sum()
    loss.backward()
    exact = [p.grad.clone() for p in model.parameters()]
    fast = Fast(model, library(), torch.zeros(Fast.size(model)))
    fast.prepare()
    print("loss %.5f, fast %.5f" % (loss.item(), fast.run(ids, weight, 1)[0]))
    fast.finish()
    errors = {name: ((p.grad - e).norm() / e.norm()).item() for (name, p), e in zip(model.named_parameters(), exact)}
    name = max(errors, key=errors.get)
    print("largest relative error of a gradient: %.4f, of %s" % (errors[name], name))
    raise SystemExit(errors[name] > 0.05)


if __name__ == "__main__":
    main()
