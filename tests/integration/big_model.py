"""A GGUF of random weights, large enough that resident memory tells which layers were read."""

import array
import random
import struct

DIM, FF, HEADS, LAYERS = 1024, 2816, 16, 8
Q8_0, F32 = 8, 0
ALIGN = 32


def q8_block(rng):
    """A few hundred random Q8_0 blocks, repeated: speed matters here, not randomness."""
    return b"".join(struct.pack("<e32b", 0.0008, *(rng.randrange(-127, 128) for _ in range(32)))
                    for _ in range(256))


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


def tensors(vocab):
    kv = DIM // 2
    yield "token_embd.weight", (DIM, vocab), Q8_0
    yield "output_norm.weight", (DIM,), F32
    for i in range(LAYERS):
        p = f"blk.{i}."
        yield p + "attn_norm.weight", (DIM,), F32
        yield p + "ffn_norm.weight", (DIM,), F32
        yield p + "attn_q.weight", (DIM, DIM), Q8_0
        yield p + "attn_k.weight", (DIM, kv), Q8_0
        yield p + "attn_v.weight", (DIM, kv), Q8_0
        yield p + "attn_output.weight", (DIM, DIM), Q8_0
        yield p + "ffn_gate.weight", (DIM, FF), Q8_0
        yield p + "ffn_up.weight", (DIM, FF), Q8_0
        yield p + "ffn_down.weight", (FF, DIM), Q8_0


def size_of(shape, kind):
    n = 1
    for d in shape:
        n *= d
    return n // 32 * 34 if kind == Q8_0 else n * 4


def write_big_model(vocabulary_from, path):
    """Write the model; returns the bytes of its layers."""
    version, kvs = split_header(vocabulary_from)
    shape = {"llama.block_count": LAYERS, "llama.embedding_length": DIM,
             "llama.feed_forward_length": FF, "llama.attention.head_count": HEADS,
             "llama.attention.head_count_kv": HEADS // 2,
             "llama.rope.dimension_count": DIM // HEADS}
    for key in ("llama.attention.key_length", "llama.attention.value_length"):
        if key in kvs:
            shape[key] = DIM // HEADS
    for key, value in shape.items():
        kvs[key] = u32(key, value)
    block = q8_block(random.Random(1))
    ones = array.array("f", [1.0]) * DIM
    listed = list(tensors(n_vocab(kvs)))
    with open(path, "wb") as f:
        f.write(struct.pack("<IIQQ", 0x46554747, version, len(listed), len(kvs)))
        f.write(b"".join(kvs.values()))
        offset = 0
        for name, dims, kind in listed:
            f.write(struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", len(dims)) +
                    struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", kind, offset))
            offset += -(-size_of(dims, kind) // ALIGN) * ALIGN
        layer_bytes = 0
        for name, dims, kind in listed:
            f.write(b"\0" * (-f.tell() % ALIGN))
            n = size_of(dims, kind)
            f.write((block * (n // len(block) + 1))[:n] if kind == Q8_0 else ones.tobytes()[:n])
            layer_bytes += n if name.startswith("blk.") else 0
    return layer_bytes
