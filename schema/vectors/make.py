#!/usr/bin/env python3
"""Write the golden frames of this folder: X.bin and its description X.json.

This is a second implementation of PROTOCOL.md, sections "Frames" and "Codecs", in plain Python;
the C code must produce and read the very same bytes (tests/test_wire.c). The files are committed:
run this only when a codec or a frame kind is added, and never to make a failing test pass.
"""
import json
import pathlib
import struct

KINDS = {"rows": 1, "logits": 2}
FLAGS = {"sample": 1, "want_logits": 2}
CODECS = {"f32": 0, "f16": 1, "q8": 2}


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def encode_f32(row):
    return struct.pack(f"<{len(row)}f", *row), row


def encode_f16(row):
    body = struct.pack(f"<{len(row)}e", *row)
    return body, list(struct.unpack(f"<{len(row)}e", body))


def encode_q8(row):
    scale = f32(max(abs(x) for x in row) / 127)
    if scale < 2.0**-126:
        scale = 0.0
    # a product of f32 values is exact in a double: one rounding here and in the division below
    ints = [round(f32(x / scale)) if scale else 0 for x in row]
    return struct.pack(f"<f{len(row)}b", scale, *ints), [f32(q * scale) for q in ints]


ENCODE = {"f32": encode_f32, "f16": encode_f16, "q8": encode_q8}


def frame(kind, flags, codec, session, epoch, seq, pos, split, rows):
    coded = [ENCODE[codec](row) for row in rows]
    body = b"".join(bytes_ for bytes_, _ in coded)
    head = struct.pack(
        "<2sBBBBHQIIIIIHHI", b"SQ", 1, KINDS[kind], sum(FLAGS[f] for f in flags), CODECS[codec], 0,
        session, epoch, seq, pos, len(rows), len(rows[0]), split, 0, len(body))
    crc = crc32c(head + body)
    about = {
        "kind": kind, "flags": flags, "codec": codec, "session": f"{session:016x}", "epoch": epoch,
        "seq": seq, "pos": pos, "rows": len(rows), "dim": len(rows[0]), "split": split,
        "body_len": len(body), "crc": f"{crc:08x}", "input": rows,
        "decoded": [decoded for _, decoded in coded]}
    return head + struct.pack("<I", crc) + body, about


# What rounds, ties, underflows and touches the limits of each codec.
ROWS_F32 = [[0.0, -0.0, 1.0, -1.5, 2.0**-149, -(2.0**-126)],
            [f32(0.1), f32(-1e-20), f32(3.4028234663852886e38), f32(-2.5e7), 65504.0, f32(1 / 3)]]
ROWS_F16 = [[0.0, -0.0, 1.0, 1 + 2.0**-11, 1 + 3 * 2.0**-11, 65504.0, f32(65519.99), -65504.0],
            [2.0**-24, 2.0**-25, -3 * 2.0**-25, 2.0**-14, f32(2.0**-14 * 0.9999), f32(-1 / 3),
             f32(1e-9), 2048.5]]
ROWS_Q8 = [[127.0, -127.0, 0.5, 1.5, -2.5, 63.49999, 126.5, 0.0],
           [0.0, -0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
           [0.013, -0.4, 0.3333, 7e-4, -0.125, 0.2, -0.0999, 1e-12],
           [2.0**-130, -(2.0**-140), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
LOGITS = [[f32(-12.75), f32(3.3), 0.0, f32(17.0625), f32(-1e-3)]]

VECTORS = {
    "rows_f32": frame("rows", ["sample"], "f32", 0x0123456789ABCDEF, 1, 2, 3, 4, ROWS_F32),
    "rows_f16": frame("rows", [], "f16", 0xFEDCBA9876543210, 7, 40, 500, 12, ROWS_F16),
    "rows_q8": frame("rows", ["sample", "want_logits"], "q8", 1, 0, 1, 0, 0,
                     [[f32(x) for x in row] for row in ROWS_Q8]),
    "logits": frame("logits", [], "f32", 0x00C0FFEE00C0FFEE, 2, 9, 31, 8, LOGITS),
}


def rows_per_line(about):
    """JSON with one row of numbers per line."""
    text = ",\n".join(
        f'  "{key}": ' + ("[\n    " + ",\n    ".join(map(json.dumps, value)) + "]"
                          if key in ("input", "decoded") else json.dumps(value))
        for key, value in about.items())
    return "{\n" + text + "\n}\n"


def main():
    here = pathlib.Path(__file__).parent
    for name, (data, about) in VECTORS.items():
        (here / f"{name}.bin").write_bytes(data)
        (here / f"{name}.json").write_text(rows_per_line(about))


if __name__ == "__main__":
    main()
