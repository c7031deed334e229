#!/usr/bin/env python3
"""The golden frames of this folder: X.bin and its description X.json.

    make.py          write what can be written
    make.py --check  exit 1 when a file is not what would be written

This, tabq.py and kv.py are a second implementation of PROTOCOL.md, sections "Frames" and "Codecs",
in plain Python; the C code must produce and read the very same bytes (tests/test_wire.c,
tests/test_vectors.c, tests/test_kv_vectors.c). Plain and KV frames are made here. Those of tabq
leave a writer choices, so their bytes come from the C code: here they are decoded, described, and
encoded again from the integers that they say, to the same bytes. The files are committed: write
them only when a codec or a frame kind is added, and never to make a failing test pass. (When the
encoder learns to choose better, its golden bytes change; those that it made before must still be
read first.) tabq frames take three steps: make.py (their input), SPLITMQ_UPDATE_VECTORS=1
SPLITMQ_ROOT=. test_vectors (their bytes), make.py (the rest).
"""
import json
import pathlib
import random
import struct
import sys

import kv
import tabq
from tabq import crc32c, f32

HERE = pathlib.Path(__file__).parent
KINDS = {"rows": 1, "logits": 2, "kv": 3}
FLAGS = {"sample": 1, "want_logits": 2, "ids": 4, "fill": 8, "draft": 32}
CODECS = {"f32": 0, "f16": 1, "q8": 2, "q4": 3}


def encode_f32(row):
    return struct.pack(f"<{len(row)}f", *row), row


def encode_f16(row):
    body = struct.pack(f"<{len(row)}e", *row)
    return body, list(struct.unpack(f"<{len(row)}e", body))


def quantize(row, most):
    scale = f32(max(abs(x) for x in row) / most)
    if scale < 2.0**-126:
        scale = 0.0
    # a product of f32 values is exact in a double: one rounding here and in the division below
    ints = [round(f32(x / scale)) if scale else 0 for x in row]
    return scale, ints, [f32(q * scale) for q in ints]


def encode_q8(row):
    scale, ints, decoded = quantize(row, 127)
    return struct.pack(f"<f{len(row)}b", scale, *ints), decoded


def encode_q4(row):
    scale, ints, decoded = quantize(row, 7)
    codes = [q + 8 for q in ints] + [0] * (len(ints) % 2)
    pairs = bytes(low | high << 4 for low, high in zip(codes[::2], codes[1::2]))
    return struct.pack("<f", scale) + pairs, decoded


ENCODE = {"f32": encode_f32, "f16": encode_f16, "q8": encode_q8, "q4": encode_q4}


def put_frame(about, codec, state, body):
    """Header and body; about: the fields as a description has them."""
    head = struct.pack(
        "<2sBBBBHQIIIIIHHI", b"SQ", 1, KINDS[about["kind"]],
        sum(FLAGS[f] for f in about["flags"]), codec, state, int(about["session"], 16),
        about["epoch"], about["seq"], about["pos"], about["rows"], about["dim"], about["split"],
        0, len(body))
    crc = crc32c(head + body)
    return head + struct.pack("<I", crc) + body, crc


def fields(kind, flags, codec, session, epoch, seq, pos, split, rows):
    return {"kind": kind, "flags": flags, "codec": codec, "session": f"{session:016x}",
            "epoch": epoch, "seq": seq, "pos": pos, "rows": len(rows), "dim": len(rows[0]),
            "split": split}


def frame(kind, flags, codec, session, epoch, seq, pos, split, rows):
    coded = [ENCODE[codec](row) for row in rows]
    body = b"".join(bytes_ for bytes_, _ in coded)
    about = fields(kind, flags, codec, session, epoch, seq, pos, split, rows)
    data, crc = put_frame(about, CODECS[codec], 0, body)
    return data, {**about, "body_len": len(body), "crc": f"{crc:08x}", "input": rows,
                  "decoded": [decoded for _, decoded in coded]}


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
ROWS_Q4 = [[7.0, -7.0, 0.5, 1.5, -2.5, 3.4999, 6.5],
           [0.0, -0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
           [0.013, -0.4, 0.3333, 7e-4, -0.125, 0.2, -0.0999],
           [2.0**-124, -(2.0**-126), 0.0, 0.0, 0.0, 0.0, 0.0]]
LOGITS = [[f32(-12.75), f32(3.3), 0.0, f32(17.0625), f32(-1e-3)]]


def narrow(rows):
    return [[f32(x) for x in row] for row in rows]


PLAIN = {
    "rows_f32": frame("rows", ["sample"], "f32", 0x0123456789ABCDEF, 1, 2, 3, 4, ROWS_F32),
    "rows_f16": frame("rows", [], "f16", 0xFEDCBA9876543210, 7, 40, 500, 12, ROWS_F16),
    "rows_q8": frame("rows", ["sample", "want_logits"], "q8", 1, 0, 1, 0, 0, narrow(ROWS_Q8)),
    "rows_q4": frame("rows", [], "q4", 2, 3, 7, 21, 5, narrow(ROWS_Q4)),
    "rows_fill": frame("rows", ["sample", "fill"], "f16", 5, 2, 3 << 16 | 7, 96, 3, ROWS_F16),
    "logits": frame("logits", [], "f32", 0x00C0FFEE00C0FFEE, 2, 9, 31, 8, LOGITS),
}

CHANCE = random.Random(20260)


def whole(most):
    """From -most to most."""
    return int((2 * most + 1) * CHANCE.random()) - most


def bell():
    """A multiple of 1/16, its deviation about 1."""
    return round(16 * (sum(CHANCE.random() for _ in range(12)) - 6)) / 16


def bells(rows, dim, at=None, value=None):
    made = [[bell() for _ in range(dim)] for _ in range(rows)]
    if at is not None:
        made[0][at] = f32(value)
    return made


def peaky(dim):
    """Next to nothing but for one element: many steps from the others."""
    return [7.0 if i == 5 else bell() / 64 for i in range(dim)]


# Made for these tests: 12 elements, 9 components, 16 tokens, splits 2 and 3.
CAL_DIM, CAL_K, CAL_VOCAB = 12, 9, 16
PALEY = [1, -1, 1, -1, -1, -1, 1, 1, 1, -1, 1]  # squares modulo 11


def hadamard(i, j):
    if not i or not j:
        return 1
    return -1 if i == j else PALEY[(j - i) % 11]


def make_predictor(tokens, n_features):
    k = CAL_K
    rows = [[110 + whole(9) if i == j else whole(12) for j in range(k)] for i in range(k)]
    part = b"".join(struct.pack(f"{k}b", *row) for row in rows)
    part += struct.pack(f"<{k}f", *(f32(1 / (8000 + 900 * i)) for i in range(k)))  # scale
    part += struct.pack(f"<{k}f", *(f32(whole(99) / 2000) for _ in range(k)))  # bias
    part += struct.pack(f"{k}b", *(4 - i + whole(1) for i in range(k)))  # classes
    if tokens:
        n = 2 * k * (n_features or CAL_VOCAB)  # now, before
        part += bytes(whole(127) & 255 for _ in range(n))
        part += struct.pack(f"<{k}f", *(f32((12 - i) / 40000) for i in range(k)))
    return part


def make_split(n_features):
    d, k = CAL_DIM, CAL_K
    part = b"".join(struct.pack("<h", hadamard(i, j) * (32500 + whole(250)))
                    for i in range(k) for j in range(d))
    part += struct.pack(f"<{k}f", *(f32(1 / 112000 + i * 1e-8) for i in range(k)))
    part += b"".join(struct.pack("b", hadamard(i, j) * (122 + whole(5)))
                     for i in range(d) for j in range(k))
    part += struct.pack(f"<{d}f", *(f32(1 / 421 + i * 1e-5) for i in range(d)))
    part += struct.pack(f"<{k}f", *(f32(60.0 + 7.3 * i) for i in range(k)))  # in_scale
    part += struct.pack(f"<{k}f", *(f32(whole(99) / 70) for _ in range(k)))  # first
    return part + make_predictor(False, n_features) + make_predictor(True, n_features)


def make_calibration(n_features):
    """A calibration file (docs/calibration.md) with one line of losses."""
    features = bytes(whole(127) & 255 for _ in range(CAL_VOCAB * n_features))
    parts = [make_split(n_features) for _ in range(2)]
    loss = struct.pack("<IHHHHfffffI", 2, 0xFFFF, 0, 1, 0, f32(0.02), 2.5, 1.0625, 0.125, 0.75, 96)
    at = features_at = 96 + 32 * len(parts) + len(loss)
    at += len(features)
    directory = b""
    for split, part in zip((2, 3), parts):
        directory += struct.pack("<IIQQIxxxx", split, CAL_K, at, len(part), crc32c(part))
        at += len(part)
    begin = struct.pack("<4sIQ", b"SQCA", 1, at)
    rest = b"0123456789abcdef" * 2
    rest += struct.pack("<IIIIIQQIxxxx", CAL_DIM, CAL_VOCAB, n_features, len(parts), 1,
                        0xFEEDFACECAFEBEEF, features_at, crc32c(features) if features else 0)
    rest += directory + loss
    begin += struct.pack("<I", crc32c(rest, crc32c(begin)))
    return begin + rest + features + b"".join(parts)


CALIBRATIONS = {"tiny.cal": make_calibration(0), "tiny_features.cal": make_calibration(3)}


def tabq_frame(flags, codec, seq, pos, rows, **more):
    """more: tokens, where the rows have some; calibration; after, the frame before this one."""
    return {**fields("rows", flags, codec, 0x7AB07AB07AB07AB0, 1, seq, pos, 2, rows), **more,
            "input": rows}


def drift(rows, n):
    """n rows that follow the last one of rows."""
    last = list(rows[-1]) if rows else [bell() for _ in range(CAL_DIM)]
    made = []
    for _ in range(n):
        last = [round(13 * x + 6 * bell()) / 16 for x in last]
        made.append(last)
    return made


FIRST = drift([], 3)
SECOND = drift(FIRST, 1)
THIRD = drift(SECOND, 2)
FOURTH = drift(THIRD, 2)
FIFTH = drift(FOURTH, 1)
SIXTH = drift(FIFTH, 2)
HUGE = [[f32(x * 3e38) for x in (1, -1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0)]]
SILENCE = [[0.0] * CAL_DIM]
TINY = {"calibration": "tiny.cal"}
OTHER = {"calibration": "tiny_features.cal"}

# In this order: a frame comes after the one that it is predicted from.
TABQ = {
    # an outlier; rows of different widths; padding
    "tabq_packed": tabq_frame([], "tabq:delta=0.01,tau=abs:100,entropy=none", 1, 0,
                              bells(1, 13, 4, -300.7) + [[x / 8 for x in range(-6, 7)]]),
    # an outlier, a row of zeros, signs in the state
    "tabq_rans": tabq_frame(["sample"], "tabq:delta=0.02", 2, 9,
                            bells(2, 40, 17, 123.4567) + [[0.0] * 40] + bells(1, 40)),
    # raw bits, and escapes with and without them
    "tabq_raw": tabq_frame([], "tabq:delta=0.0012,tau=off,max=12", 3, 64,
                           [peaky(40)] + bells(1, 40) + bells(1, 40, 3, 7.5)),
    "tabq_escape": tabq_frame([], "tabq:delta=0.008,tau=off", 9, 99, bells(1, 40, 3, -11.5)),
    # four lanes
    "tabq_lanes": tabq_frame([], "tabq:delta=0.02", 4, 70, bells(2, 1024, 700, 96.25)),
    # what repeats
    "tabq_lz4": tabq_frame([], "tabq:delta=0.003,entropy=lz4", 5, 75, bells(1, 16) * 6),
    # a session: from rows, from tokens that the worker has and from ones in the frame; chunks that
    # are not predicted in between; one with so little to say that it has no words; and what follows
    # on a row whose components are infinite or no numbers
    "tabq_seq_1": tabq_frame([], "tabq:delta=0.02,predict=rows", 1, 0, FIRST, **TINY),
    "tabq_seq_2": tabq_frame(["sample"], "tabq:delta=0.02,predict=tokens", 2, 3, SECOND,
                             tokens=[5], after="tabq_seq_1", **TINY),
    "tabq_seq_3": tabq_frame(["ids"], "tabq:delta=0.01,predict=tokens", 3, 4, THIRD,
                             tokens=[15, 0], after="tabq_seq_2", **TINY),
    "tabq_seq_4": tabq_frame([], "f16", 4, 6, FOURTH, after="tabq_seq_3", **TINY),
    "tabq_seq_5": tabq_frame(["sample"], "tabq:delta=0.5,predict=tokens", 5, 8, FIFTH,
                             tokens=[9], after="tabq_seq_4", **TINY),
    "tabq_seq_6": tabq_frame([], "tabq:delta=0.02,entropy=none,predict=none", 6, 9, SIXTH,
                             after="tabq_seq_5", **TINY),
    "tabq_seq_7": tabq_frame(["sample", "ids"], "tabq:delta=0.02,entropy=none,predict=tokens", 7,
                             11, drift(SIXTH, 2), tokens=[3, 3], after="tabq_seq_6", **TINY),
    "tabq_seq_8": tabq_frame([], "tabq:delta=0.02,predict=rows", 8, 13,
                             SILENCE + drift(SIXTH, 3),
                             after="tabq_seq_7", **TINY),
    "tabq_seq_9": tabq_frame(["sample"], "tabq:delta=0.02,predict=tokens", 9, 16, SILENCE,
                             tokens=[2], after="tabq_seq_8", **TINY),
    "tabq_seq_10": tabq_frame(["sample"], "tabq:delta=0.02,predict=tokens", 10, 17,
                              SILENCE, tokens=[8], after="tabq_seq_9", **TINY),
    "tabq_seq_11": tabq_frame([], "f32", 11, 18, HUGE, after="tabq_seq_10", **TINY),
    "tabq_seq_12": tabq_frame([], "tabq:delta=0.02,predict=rows", 12, 19, drift(SIXTH, 2),
                              after="tabq_seq_11", **TINY),
    # the same with features of tokens
    "tabq_features": tabq_frame(["ids"], "tabq:delta=0.02,predict=tokens", 1, 0, drift([], 4),
                                tokens=[1, 14, 14, 7], **OTHER),
}

# Two layers, two positions, two heads; neither keys nor values are whole blocks.
KV_HEADS, KV_KEY, KV_VALUE = 2, 40, 24


def kv_frame(kind, flags, seq, pos, split, upto):
    dim = KV_HEADS * (KV_KEY + KV_VALUE)
    rows = bells((upto - split) * 2, dim)
    rows[0][3] = 24.0  # what one element has alone, all of its block share
    rows[1][:KV_KEY] = [0.0] * KV_KEY
    made = [kv.put_position(kind, row, KV_HEADS, KV_KEY, KV_VALUE) for row in rows]
    about = fields("kv", flags, kind, 0x5EED5EED5EED5EED, 3, seq, pos, split, rows)
    about.update(rows=2, upto=upto, heads=KV_HEADS, key_elements=KV_KEY, value_elements=KV_VALUE)
    body = b"".join(data for data, _ in made)
    data, crc = put_frame(about, kv.TYPES[kind], upto, body)
    return data, {**about, "body_len": len(body), "crc": f"{crc:08x}", "input": rows,
                  "decoded": [means for _, means in made]}


KV = {
    "kv_f16": kv_frame("f16", [], 1, 0, 2, 4),
    "kv_f32": kv_frame("f32", ["sample"], 2, 70, 0, 2),
    "kv_q8_0": kv_frame("q8_0", [], 3, 0, 1, 3),
    "kv_q4_0": kv_frame("q4_0", ["sample"], 4, 0, 5, 7),
}

# The session goes on with drafts: two that are wrong, the row at the position of the first, two
# that are right, and what follows on them. After them, so that chance stays what it was.
DRAFT = ["sample", "ids", "draft"]
GUESSED = drift(SIXTH, 6)
GUESS = {"codec": "tabq:delta=0.02,predict=tokens", **TINY}
TABQ |= {
    "tabq_seq_13": tabq_frame(DRAFT, seq=13, pos=21, rows=GUESSED[:1], tokens=[4],
                              after="tabq_seq_12", **GUESS),
    "tabq_seq_14": tabq_frame(DRAFT, seq=14, pos=22, rows=GUESSED[1:2], tokens=[11],
                              after="tabq_seq_13", **GUESS),
    "tabq_seq_15": tabq_frame(["sample"], seq=15, pos=21, rows=GUESSED[2:3], tokens=[6],
                              after="tabq_seq_14", **GUESS),
    "tabq_seq_16": tabq_frame(DRAFT, seq=16, pos=22, rows=GUESSED[3:4], tokens=[1],
                              after="tabq_seq_15", **GUESS),
    "tabq_seq_17": tabq_frame(DRAFT, seq=17, pos=23, rows=GUESSED[4:5], tokens=[0],
                              after="tabq_seq_16", **GUESS),
    "tabq_seq_18": tabq_frame(["sample"], seq=18, pos=24, rows=GUESSED[5:], tokens=[13],
                              after="tabq_seq_17", **GUESS),
}


def describe(about, data, states):
    """What the frame says, from its bytes alone; and whether our writer says it so."""
    codec, state = data[5], struct.unpack_from("<H", data, 6)[0]
    body, n, dim = data[48:], about["rows"], about["dim"]
    cal = about.get("calibration")
    past = states.get(about.get("after"))
    if not past:
        past = tabq.State(tabq.Calibration(CALIBRATIONS[cal], about["split"]) if cal else None)
    tokens = about.get("tokens")
    past.go_back(about["pos"])
    if "draft" in about["flags"]:
        past.mark(about["pos"])
    if "ids" in about["flags"]:
        assert list(struct.unpack_from(f"<{n}I", body)) == tokens
        body = body[4 * n:]
    assert state == (past.hash() if codec & 0x4C > 0x40 else 0)
    k, classes, before = past.parts(codec >> 2 & 3 if codec & 0x40 else 0, dim)
    size, code = (2, "e") if codec else (4, "f")
    plain = None if codec & 0x40 else [
        list(struct.unpack_from(f"<{dim}{code}", body, size * dim * i)) for i in range(n)]
    decoded, said = past.decode(codec, body, n, dim, tokens, plain)
    if said and codec & 3 == tabq.RANS:
        assert body == tabq.put_stream(said, k, classes, before)
    elif said:
        packed = tabq.put_packed(said)
        assert packed == (body if codec & 3 == tabq.PACKED else tabq.lz4_expand(body))
    again, crc = put_frame(about, codec, state, data[48:])
    assert again == data
    rest = dict(about)
    rest.pop("input")
    if cal:
        rest["calibration_id"] = past.cal.id
    return past, {**rest, "codec_byte": codec, "state": state, "body_len": len(data) - 48,
                  "crc": f"{crc:08x}", **({"said": said} if said else {}),
                  "input": about["input"], "decoded": decoded}


def rows_per_line(about):
    """JSON with one row of numbers per line."""
    text = ",\n".join(
        f'  "{key}": ' + ("[\n    " + ",\n    ".join(map(json.dumps, value)) + "]"
                          if key in ("input", "decoded", "said") else json.dumps(value))
        for key, value in about.items())
    return ("{\n" + text + "\n}\n").encode()


def make():
    """Name -> bytes of every file."""
    files = dict(CALIBRATIONS)
    states = {}
    for name, (data, about) in (PLAIN | KV).items():
        files[f"{name}.bin"], files[f"{name}.json"] = data, rows_per_line(about)
    for name, about in TABQ.items():
        path = HERE / f"{name}.bin"
        if path.exists():
            files[path.name] = path.read_bytes()
            states[name], about = describe(about, files[path.name], states)
        files[f"{name}.json"] = rows_per_line(about)
    return files


def main(argv):
    files = make()
    if argv == ["--check"]:
        wrong = [name for name, data in files.items()
                 if not (HERE / name).exists() or (HERE / name).read_bytes() != data]
        wrong += [f"{name}.bin" for name in TABQ if f"{name}.bin" not in files]
        for name in wrong:
            print(f"schema/vectors/{name}: not what make.py says", file=sys.stderr)
        print(f"{len(files)} files, {len(wrong)} wrong")
        return 1 if wrong else 0
    for name, data in files.items():
        (HERE / name).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
