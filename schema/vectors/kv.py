"""KV frames in plain Python (PROTOCOL.md, section 3): what a cache of a type makes of keys and
values, and what is read from it. Inputs are multiples of 1/16 and small, so that all sums are
exact."""
import struct

from tabq import f32

BLOCK = 32
TYPES = {"f16": 0, "f32": 1, "q8_0": 2, "q4_0": 3}


def f16(x):
    return struct.unpack("<e", struct.pack("<e", x))[0]


def turn(block, scale):
    """The Walsh-Hadamard matrix of 32, natural order, times scale."""
    return [f32(scale * sum(-x if bin(i & j).count("1") % 2 else x for j, x in enumerate(block)))
            for i in range(BLOCK)]


def codes_of(block, step, low, high):
    """Numbers in steps of f16, to the nearest integer."""
    inverse = f32(1 / step) if step else 0.0
    return [min(max(round(f32(x * inverse)), low), high) for x in block]


def put_q8_0(block):
    step = f16(f32(max(map(abs, block)) / 127))
    codes = codes_of(block, step, -127, 127)
    return struct.pack(f"<e{BLOCK}b", step, *codes), [f32(step * c) for c in codes]


def best_step(block, top):
    """Of five steps the one that leaves least of the block; a writer may choose otherwise."""
    best, step = -1.0, 0.0
    sign = -1 if top in block else 1
    for reach in (7.0, 7.4, 7.7, 8.0, 8.4):
        inverse = f32(f32(sign * f32(reach)) / top)
        codes = [min(max(round(f32(x * inverse)), -8), 7) for x in block]
        along = sum(x * c for x, c in zip(block, codes))
        fit = f32(along / sum(c * c for c in codes))
        if f32(fit * along) > best:
            best, step = f32(fit * along), fit
    return step


def put_q4_0(block):
    top = max(map(abs, block))
    step = f16(best_step(block, top) if top else 0.0)
    codes = codes_of(block, step, -8, 7)
    pairs = bytes(a + 8 | (b + 8) << 4 for a, b in zip(codes[:BLOCK // 2], codes[BLOCK // 2:]))
    return struct.pack("<e", step) + pairs, [f32(step * c) for c in codes]


def put_blocks(row, put, key):
    filled = row + [0.0] * (-len(row) % BLOCK)
    body, decoded = b"", []
    for i in range(0, len(filled), BLOCK):
        block = filled[i:i + BLOCK]
        data, means = put(turn(block, 1 / 4) if key else block)
        body += data
        decoded += turn(means, 1 / 8) if key else means
    return body, decoded[:len(row)]


def put_row(kind, row, key):
    """One key or value -> its bytes, and what these mean."""
    if kind == "f32":
        return struct.pack(f"<{len(row)}f", *row), row
    if kind == "f16":
        return struct.pack(f"<{len(row)}e", *row), [f16(x) for x in row]
    return put_blocks(row, put_q8_0 if kind == "q8_0" else put_q4_0, key)


def put_position(kind, numbers, heads, key_dim, value_dim):
    """A position of a layer: the key of each head, then the value of each."""
    body, decoded, at = b"", [], 0
    for dim, key in [(key_dim, True)] * heads + [(value_dim, False)] * heads:
        data, means = put_row(kind, numbers[at:at + dim], key)
        body, decoded, at = body + data, decoded + means, at + dim
    return body, decoded
