"""GGUF files of random weights around the vocabulary of another."""

import array
import collections
import random
import struct

Size = collections.namedtuple("Size", "dim ff heads scale")
BIG = Size(1024, 2816, 16, 0.0008)  # resident memory tells which layers were read
MEDIUM = Size(512, 1408, 8, 0.001)  # tokens of some milliseconds: there is time to interfere
SMALL = Size(64, 128, 2, 0.003)  # a token costs next to nothing, even under a sanitizer
LAYERS = 8
Q8_0, F32 = 8, 0
Q8_0_BYTES = 34
ALIGN = 32
END, NORMAL = 1, 1  # "</s>"; a type of token
ENDLESS_TOKENS = 2048
N_BLOCKS = 2048  # a small embedding, so that no two tokens are alike


def q8_blocks(rng, scale):
    """Some random Q8_0 blocks, to be repeated: speed matters here, not randomness."""
    step = struct.pack("<e", scale)
    return b"".join(step + rng.randbytes(32) for _ in range(N_BLOCKS))


def split_header(path):
    """(version, n_kv, raw key/value bytes) of an existing GGUF: its vocabulary is used again."""
    with open(path, "rb") as f:
        data = f.read()
    magic, version, _, n_kv = struct.unpack_from("<IIQQ", data)
    assert magic == 0x46554747
    pos = 24
    fixed = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    kvs = {}

    def skip_value(kind, at):
        if kind == 8:
            return at + 8 + struct.unpack_from("<Q", data, at)[0]
        if kind == 9:
            item, count = struct.unpack_from("<IQ", data, at)
            at += 12
            for _ in range(count):
                at = skip_value(item, at)
            return at
        return at + fixed[kind]
    for _ in range(n_kv):
        start = pos
        n = struct.unpack_from("<Q", data, pos)[0]
        key = data[pos + 8:pos + 8 + n].decode()
        pos += 8 + n
        kind = struct.unpack_from("<I", data, pos)[0]
        pos = skip_value(kind, pos + 4)
        kvs[key] = data[start:pos]
    return version, kvs


def u32(key, value):
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<II", 4, value)


def n_vocab(kvs):
    raw = kvs["tokenizer.ggml.tokens"]
    return struct.unpack_from("<Q", raw, 8 + len("tokenizer.ggml.tokens") + 4 + 4)[0]


def without_end(kvs):
    """No token ends an answer any more: "</s>" is a word like others."""
    key = "tokenizer.ggml.token_type"
    types = bytearray(kvs[key])
    struct.pack_into("<i", types, 8 + len(key) + 4 + 12 + 4 * END, NORMAL)
    kvs[key] = bytes(types)
    del kvs["tokenizer.ggml.eos_token_id"]


def tensors(size, vocab):
    dim, ff, kv = size.dim, size.ff, size.dim // 2
    yield "token_embd.weight", (dim, vocab), Q8_0
    yield "output_norm.weight", (dim,), F32
    for i in range(LAYERS):
        p = f"blk.{i}."
        yield p + "attn_norm.weight", (dim,), F32
        yield p + "ffn_norm.weight", (dim,), F32
        yield p + "attn_q.weight", (dim, dim), Q8_0
        yield p + "attn_k.weight", (dim, kv), Q8_0
        yield p + "attn_v.weight", (dim, kv), Q8_0
        yield p + "attn_output.weight", (dim, dim), Q8_0
        yield p + "ffn_gate.weight", (dim, ff), Q8_0
        yield p + "ffn_up.weight", (dim, ff), Q8_0
        yield p + "ffn_down.weight", (ff, dim), Q8_0


def size_of(shape, kind):
    n = 1
    for d in shape:
        n *= d
    return n // 32 * Q8_0_BYTES if kind == Q8_0 else n * 4


def write_model(vocabulary_from, path, size, endless=False):
    """Write a model (endless: of ENDLESS_TOKENS, that never stops before); returns the bytes of its
    layers."""
    dim, ff, heads, scale = size
    version, kvs = split_header(vocabulary_from)
    shape = {"llama.block_count": LAYERS, "llama.embedding_length": dim,
             "llama.feed_forward_length": ff, "llama.attention.head_count": heads,
             "llama.attention.head_count_kv": heads // 2,
             "llama.rope.dimension_count": dim // heads}
    if endless:
        shape["llama.context_length"] = ENDLESS_TOKENS
        without_end(kvs)
    for key in ("llama.attention.key_length", "llama.attention.value_length"):
        if key in kvs:
            shape[key] = dim // heads
    for key, value in shape.items():
        kvs[key] = u32(key, value)
    blocks = q8_blocks(random.Random(1), scale)
    ones = array.array("f", [1.0]) * dim
    listed = list(tensors(size, n_vocab(kvs)))
    with open(path, "wb") as f:
        f.write(struct.pack("<IIQQ", 0x46554747, version, len(listed), len(kvs)))
        f.write(b"".join(kvs.values()))
        offset = 0
        for name, dims, kind in listed:
            f.write(struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", len(dims)) +
                    struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", kind, offset))
            offset += -(-size_of(dims, kind) // ALIGN) * ALIGN
        layer_bytes = 0
        for i, (name, dims, kind) in enumerate(listed):
            f.write(b"\0" * (-f.tell() % ALIGN))
            n = size_of(dims, kind)
            first = i * 37 % N_BLOCKS * Q8_0_BYTES  # no two tensors alike
            f.write((blocks * (n // len(blocks) + 2))[first:first + n] if kind == Q8_0
                    else ones.tobytes()[:n])
            layer_bytes += n if name.startswith("blk.") else 0
    return layer_bytes
