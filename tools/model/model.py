"""The network: Llama architecture, small. Weight names are those of GGUF."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

LAYERS, WIDTH, HEADS, KV_HEADS, HEAD, FF = 8, 256, 8, 4, 32, 512
EPS, BASE, CONTEXT = 1e-5, 10000.0, 512


class Norm(nn.Module):
    """RMSNorm."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * self.weight


def rotary(length):
    """cos and sin [length][HEAD/2] of adjacent pairs."""
    freq = BASE ** (-torch.arange(0, HEAD, 2).float() / HEAD)
    angle = torch.arange(length).float()[:, None] * freq[None]
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    """Rotates adjacent pairs of x [B][h][T][HEAD]."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn_norm, self.ffn_norm = Norm(WIDTH), Norm(WIDTH)
        linear = lambda i, o: nn.Linear(i, o, bias=False)
        self.attn_q, self.attn_output = linear(WIDTH, HEADS * HEAD), linear(HEADS * HEAD, WIDTH)
        self.attn_k, self.attn_v = linear(WIDTH, KV_HEADS * HEAD), linear(WIDTH, KV_HEADS * HEAD)
        self.ffn_gate, self.ffn_up, self.ffn_down = linear(WIDTH, FF), linear(WIDTH, FF), linear(FF, WIDTH)

    def attend(self, x, cos, sin, mask, past):
        B, T, _ = x.shape
        q = self.attn_q(x).view(B, T, HEADS, HEAD).transpose(1, 2)
        k = self.attn_k(x).view(B, T, KV_HEADS, HEAD).transpose(1, 2)
        v = self.attn_v(x).view(B, T, KV_HEADS, HEAD).transpose(1, 2)
        q, k = rotate(q / math.sqrt(HEAD), cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        if past is not None:
            k, v = past.extend(self, k, v)
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (k, v))
        score = (q @ k.transpose(-1, -2)).float() + mask
        out = score.softmax(-1).to(v.dtype) @ v
        return self.attn_output(out.transpose(1, 2).reshape(B, T, HEADS * HEAD))

    def forward(self, x, cos, sin, mask, past=None):
        x = x + self.attend(self.attn_norm(x), cos, sin, mask, past)
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Cache:
    """Keys and values of every layer so far."""

    def __init__(self):
        self.kv = {}

    def extend(self, layer, k, v):
        if layer in self.kv:
            k, v = (torch.cat((old, new), 2) for old, new in zip(self.kv[layer], (k, v)))
        self.kv[layer] = k, v
        return k, v

    def keep(self, rows):
        """Keeps some sequences of the batch."""
        self.kv = {layer: (k[rows], v[rows]) for layer, (k, v) in self.kv.items()}


class Model(nn.Module):
    """Token ids [B][T] to hidden rows; the head is the embedding."""

    def __init__(self, vocab):
        super().__init__()
        self.token_embd = nn.Embedding(vocab, WIDTH)
        self.blk = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.output_norm = Norm(WIDTH)
        cos, sin = rotary(4 * CONTEXT)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.apply(self.init)
        for layer in self.blk:
            for w in (layer.attn_output.weight, layer.ffn_down.weight):
                w.data.mul_(1 / math.sqrt(2 * LAYERS))

    @staticmethod
    def init(module):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.in_features))
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.05)

    def rows(self, ids, mask=None, past=None, start=0):
        """Hidden rows after the last norm."""
        T = ids.shape[1]
        cos, sin = self.cos[start:start + T], self.sin[start:start + T]
        if mask is None:
            mask = torch.full((T, start + T), -1e9).triu(start + 1)
        x = self.token_embd(ids)
        for layer in self.blk:
            x = layer(x, cos, sin, mask, past)
        return self.output_norm(x)

    def forward(self, ids, mask=None, past=None, start=0):
        return F.linear(self.rows(ids, mask, past, start), self.token_embd.weight)
