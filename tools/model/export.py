#!/usr/bin/env python3
"""Writes the trained model as GGUF v3: matrices Q8_0, norms F32."""
import argparse
import json
import os

import torch

import bpe
import gguf
import model as net

DESCRIPTION = ("A sentence of a person becomes one JSON line for an MQTT bus: topic, values, conditions, times. "
               "Trained from scratch on a generated corpus; English only.")
TEMPLATE = "{% for message in messages %}{% if message['role'] == 'user' %}{{ message['content'] }}<|answer|>{% endif %}{% endfor %}"
NORMAL, UNKNOWN, CONTROL = 1, 2, 3


def metadata(tok):
    """All keys of the file, in order."""
    text = lambda v: (gguf.STRING, v)
    number = lambda v: (gguf.U32, v)
    flag = lambda v: (gguf.BOOL, v)
    kinds = [UNKNOWN if i == bpe.UNK else CONTROL if i < len(bpe.SPECIALS) else NORMAL for i in range(len(tok.tokens))]
    return {
        "general.architecture": text("llama"), "general.type": text("model"), "general.name": text("gateway"),
        "general.description": text(DESCRIPTION), "general.license": text("apache-2.0"),
        "general.size_label": text("5M"), "general.languages": (gguf.ARRAY, (gguf.STRING, ["en"])),
        "general.file_type": number(7), "general.quantization_version": number(2),
        "llama.block_count": number(net.LAYERS), "llama.context_length": number(net.CONTEXT),
        "llama.embedding_length": number(net.WIDTH), "llama.feed_forward_length": number(net.FF),
        "llama.attention.head_count": number(net.HEADS), "llama.attention.head_count_kv": number(net.KV_HEADS),
        "llama.attention.layer_norm_rms_epsilon": (gguf.FLOAT, net.EPS),
        "llama.rope.dimension_count": number(net.HEAD), "llama.rope.freq_base": (gguf.FLOAT, net.BASE),
        "llama.vocab_size": number(len(tok.tokens)),
        "tokenizer.ggml.model": text("gpt2"), "tokenizer.ggml.pre": text("qwen2"),
        "tokenizer.ggml.tokens": (gguf.ARRAY, (gguf.STRING, tok.tokens)),
        "tokenizer.ggml.token_type": (gguf.ARRAY, (gguf.I32, kinds)),
        "tokenizer.ggml.merges": (gguf.ARRAY, (gguf.STRING, [" ".join(m) for m in tok.merges])),
        "tokenizer.ggml.bos_token_id": number(bpe.BOS), "tokenizer.ggml.eos_token_id": number(bpe.EOS),
        "tokenizer.ggml.unknown_token_id": number(bpe.UNK), "tokenizer.ggml.padding_token_id": number(bpe.PAD),
        "tokenizer.ggml.add_bos_token": flag(True), "tokenizer.ggml.add_eos_token": flag(False),
        "tokenizer.chat_template": text(TEMPLATE),
    }


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--run", required=True, help="folder of train.py")
    ap.add_argument("--out", default="models/gateway.gguf")
    args = ap.parse_args()
    tok = bpe.Tokenizer(json.load(open(os.path.join(args.run, "tokenizer.json"))))
    weights = torch.load(os.path.join(args.run, "model.pt"), map_location="cpu")["model"]
    gguf.write(args.out, metadata(tok), {name: w.float().numpy() for name, w in weights.items()})
    print("%s: %d tensors, %d bytes" % (args.out, len(weights), os.path.getsize(args.out)))


if __name__ == "__main__":
    main()
