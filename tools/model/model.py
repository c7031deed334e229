"""The network: Llama architecture, small. Weight names are those of GGUF."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

LAYERS, WIDTH, HEADS, KV_HEADS, HEAD, FF = 8, 256, 8, 4, 32, 512
EPS, BASE, CONTEXT = 1e-5, 10000.0, 512


def rotation(length):
    """The turn of every pair at every position, as complex numbers [length][HEAD/2]."""
    freq = BASE ** (-torch.arange(0, HEAD, 2).float() / HEAD)
    angle = torch.arange(length).float()[:, None] * freq[None]
    return torch.polar(torch.ones_like(angle), angle)


class Rms(torch.autograd.Function):
    """x / rms(x), in the type of the matrix products."""

    @staticmethod
    def forward(ctx, x, dtype):
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = torch.rsqrt(norm * norm / WIDTH + EPS)
        y = (x * scale).to(dtype)
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx, grad):
        y, scale = ctx.saved_tensors
        inner = (grad * y).sum(-1, keepdim=True, dtype=torch.float32) / WIDTH
        return torch.sub(grad, y * inner.to(y.dtype)).float().mul_(scale), None


class Norm(nn.Module):
    """The weight of an RMSNorm. It is multiplied into the matrices behind it, which are smaller than the rows."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


def product(x, norm, *matrices):
    """x times several matrices at once, with the weight of the norm before them."""
    w = torch.cat([m.weight for m in matrices]) if len(matrices) > 1 else matrices[0].weight
    return F.linear(x, (w * norm.weight if norm else w).to(x.dtype))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn_norm, self.ffn_norm = Norm(WIDTH), Norm(WIDTH)
        linear = lambda i, o: nn.Linear(i, o, bias=False)
        self.attn_q, self.attn_output = linear(WIDTH, HEADS * HEAD), linear(HEADS * HEAD, WIDTH)
        self.attn_k, self.attn_v = linear(WIDTH, KV_HEADS * HEAD), linear(WIDTH, KV_HEADS * HEAD)
        self.ffn_gate, self.ffn_up, self.ffn_down = linear(WIDTH, FF), linear(WIDTH, FF), linear(FF, WIDTH)

    def heads(self, x, turn):
        """Rotated q [B][KV_HEADS][group][T][HEAD] and k, and v [B][KV_HEADS][T][HEAD]."""
        B, T, _ = x.shape
        qkv = product(x, self.attn_norm, self.attn_q, self.attn_k, self.attn_v)
        qk, v = qkv.split([(HEADS + KV_HEADS) * HEAD, KV_HEADS * HEAD], -1)
        pairs = torch.view_as_complex(qk.float().view(B, T, HEADS + KV_HEADS, HEAD // 2, 2))
        qk = torch.view_as_real(pairs * turn[:, None]).flatten(3).to(v.dtype)
        q, k = qk.split([HEADS, KV_HEADS], 2)
        q = q.reshape(B, T, KV_HEADS, HEADS // KV_HEADS, HEAD).permute(0, 2, 3, 1, 4)
        return q, k.transpose(1, 2), v.reshape(B, T, KV_HEADS, HEAD).transpose(1, 2)

    def attend(self, x, turn, mask, past):
        B, T, _ = x.shape
        q, k, v = self.heads(x, turn)
        if past is not None:
            k, v = past.extend(self, k, v)
        score = (q / math.sqrt(HEAD)).reshape(B, KV_HEADS, -1, HEAD) @ k.transpose(-1, -2)
        score = score.view(B, KV_HEADS, -1, T, k.shape[2]) + mask.to(score.dtype)
        out = score.softmax(-1).view(B, KV_HEADS, -1, k.shape[2]) @ v
        out = out.view(B, KV_HEADS, -1, T, HEAD).permute(0, 3, 1, 2, 4).reshape(B, T, HEADS * HEAD)
        return product(out, None, self.attn_output)

    def forward(self, x, turn, mask, past, dtype):
        x = x + self.attend(Rms.apply(x, dtype), turn, mask, past).float()
        gate, up = product(Rms.apply(x, dtype), self.ffn_norm, self.ffn_gate, self.ffn_up).split(FF, -1)
        return x + product(F.silu(gate.float()).to(dtype) * up, None, self.ffn_down).float()


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
    """Token ids [B][T] to logits; the head is the embedding. dtype is the type of the matrix products."""

    def __init__(self, vocab, dtype=torch.float32):
        super().__init__()
        self.dtype = dtype
        self.token_embd = nn.Embedding(vocab, WIDTH)
        self.blk = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.output_norm = Norm(WIDTH)
        self.register_buffer("turn", rotation(2 * CONTEXT), persistent=False)
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

    def forward(self, ids, past=None, start=0):
        T = ids.shape[1]
        turn = self.turn[start:start + T]
        mask = torch.full((T, start + T), -1e9).triu(start + 1)
        x = self.token_embd(ids)
        for layer in self.blk:
            x = layer(x, turn, mask, past, self.dtype)
        return product(Rms.apply(x, self.dtype), self.output_norm, self.token_embd)
