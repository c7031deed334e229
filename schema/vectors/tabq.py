"""A second implementation of PROTOCOL.md, section "Codecs", tabq: every reader's part of it, and
what a writer does once it has chosen its integers. Plain Python, written from the text.

A row is a dict: step, gain, shape, outliers [(at, value)], q [integers].
"""
import math
import pathlib
import re
import struct
import subprocess
import sys

PACKED, RANS, LZ4 = range(3)
NONE, ROWS, TOKENS = range(3)

BITS = 14  # of a probability
ONE = 1 << BITS
LOW = 1 << 16  # what a state is refilled up to
ESCAPE = 31
MOST = 32767  # largest |q|
LAST_T = 28
OUTLIER = ONE // 64  # probability of a row with outliers
SAME_SHAPE = ONE // 2


class Malformed(Exception):
    pass


def need(ok, what):
    if not ok:
        raise Malformed(what)


def f32(x):
    """To the nearest binary32. Sums, products and quotients of two of them round once."""
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return math.copysign(math.inf, x)


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def read_tables():
    """[shape][t][33] sums, as tools/make_tables.py prints them."""
    tool = pathlib.Path(__file__).parents[2] / "tools/make_tables.py"
    text = subprocess.run([sys.executable, tool], capture_output=True, text=True,
                          check=True).stdout
    numbers = [int(n) for n in re.findall(r"\d+", text.split("= {")[1].split("};")[0])]
    rows = [numbers[at:at + 33] for at in range(0, len(numbers), 33)]
    return [rows[29 * shape:29 * shape + 29] for shape in range(4)]


TABLES = read_tables()
DELTAS = TABLES[2][20]


def step_size(n):
    """2^(n/8 - 100), its fraction rounded to binary32."""
    return math.ldexp(f32(2.0 ** (n % 8 / 8)), n // 8 - 100)


def outliers_max(dim):
    return dim // 32 + 1


# The packed form


def bits_of(q):
    return max(abs(v) for v in q).bit_length() + 1


def put_packed(rows):
    out = b""
    for r in rows:
        bits, held = bits_of(r["q"]), 0
        out += struct.pack("<HBH", r["step"], bits, len(r["outliers"]))
        for at, value in r["outliers"]:
            out += struct.pack("<If", at, value)
        for i, v in enumerate(r["q"]):
            held |= (v & (1 << bits) - 1) << i * bits
        out += held.to_bytes((len(r["q"]) * bits + 7) // 8, "little")
    return out


def check_outliers(outliers, dim):
    need(len(outliers) <= outliers_max(dim), "outliers")
    before = -1
    for at, value in outliers:
        need(before < at < dim and math.isfinite(value), "outlier")
        before = at


def get_packed(src, n, dim):
    rows, at = [], 0
    for _ in range(n):
        need(len(src) - at >= 5, "length")
        step, bits, n_outliers = struct.unpack_from("<HBH", src, at)
        need(step < 1824 and 1 <= bits <= 16 and n_outliers <= outliers_max(dim), "head")
        elements = (dim * bits + 7) // 8
        need(len(src) - at >= 5 + 8 * n_outliers + elements, "length")
        outliers = [struct.unpack_from("<If", src, at + 5 + 8 * i) for i in range(n_outliers)]
        check_outliers(outliers, dim)
        at += 5 + 8 * n_outliers
        held, q = int.from_bytes(src[at:at + elements], "little"), []
        for _ in range(dim):
            v = held & (1 << bits) - 1
            need(v != 1 << bits - 1, "element")
            q.append(v - (1 << bits) if v >> bits - 1 else v)
            held >>= bits
        need(not held, "padding")
        at += elements
        rows.append({"step": step, "gain": 0, "shape": 0, "outliers": outliers, "q": q})
    need(at == len(src), "length")
    return rows


# LZ4: the block format, decompression only


def lz4_length(src, at, length):
    if length == 15:
        while True:
            need(at < len(src), "LZ4 length")
            length += src[at]
            at += 1
            if src[at - 1] != 255:
                break
    return length, at


def lz4_expand(src):
    out, at = bytearray(), 0
    while True:
        need(at < len(src), "LZ4 token")
        token = src[at]
        literals, at = lz4_length(src, at + 1, token >> 4)
        need(literals <= len(src) - at, "LZ4 literals")
        out += src[at:at + literals]
        at += literals
        if at == len(src):
            return bytes(out)
        need(len(src) - at >= 2, "LZ4 offset")
        offset = src[at] | src[at + 1] << 8
        length, at = lz4_length(src, at + 2, token & 15)
        need(0 < offset <= len(out), "LZ4 offset")
        for _ in range(length + 4):
            out.append(out[-offset])


# rANS


def lanes_of(dim):
    return 4 if dim >= 1024 else 1


class Reader:
    """States and words of a stream."""

    def __init__(self, src, lanes):
        first = len(src) if len(src) < 3 else 3 if len(src) % 2 else 4
        need(src and len(src) >= first + 4 * (lanes - 1), "no states")
        need(src[first - 1], "a first state with a byte too many")
        self.x = [int.from_bytes(src[:first], "little")]
        self.x += struct.unpack_from(f"<{lanes - 1}I", src, first)
        need(all(x >= LOW for x in self.x[1:]), "states")
        rest = src[first + 4 * (lanes - 1):]
        self.words = list(struct.unpack(f"<{len(rest) // 2}H", rest))
        self.words.reverse()

    def slot(self, lane):
        return self.x[lane] % ONE

    def skip(self, lane, start, freq):
        x = freq * (self.x[lane] >> BITS) + self.slot(lane) - start
        if x < LOW and self.words:
            x = x << 16 | self.words.pop()
        self.x[lane] = x

    def symbol(self, lane, sums, pairs=False):
        """pairs: both signs are one symbol, the positive one."""
        slot = self.slot(lane)
        first = sum(s <= slot for s in sums[1:])
        last = first + 1
        if pairs and 0 < first < ESCAPE:
            first = (first - 1) // 2 * 2 + 1
            last = first + 2
        self.skip(lane, sums[first], sums[last] - sums[first])
        return last - 1

    def raw(self, bits, lane=0):
        v = self.slot(lane) >> BITS - bits
        self.skip(lane, v << BITS - bits, 1 << BITS - bits)
        return v

    def flag(self, probability):
        is_set = self.slot(0) >= ONE - probability
        self.skip(0, *(ONE - probability, probability) if is_set else (0, ONE - probability))
        return is_set

    def number(self):
        width = self.raw(5)
        need(width <= 28, "number")
        rest = self.raw(min(width, 14)) if width else 0
        if width > 14:
            rest |= self.raw(width - 14) << 14
        return (1 << width) - 1 + rest


class Writer:
    """What a Reader shall find, in its order; nothing is coded before the end."""

    def __init__(self):
        self.said = []  # (lane, start, freq)

    def symbol(self, lane, sums, symbol, pairs=False):
        first, last = symbol, symbol + 1
        if pairs:
            first = (symbol - 1) // 2 * 2 + 1
            last = first + 2
        self.said.append((lane, sums[first], sums[last] - sums[first]))

    def raw(self, v, bits, lane=0):
        self.said.append((lane, v << BITS - bits, 1 << BITS - bits))

    def flag(self, is_set, probability):
        self.said.append((0, ONE - probability, probability) if is_set
                         else (0, 0, ONE - probability))

    def number(self, v):
        width = (v + 1).bit_length() - 1
        rest = v + 1 - (1 << width)
        self.raw(width, 5)
        if width:
            self.raw(rest % ONE, min(width, 14))
        if width > 14:
            self.raw(rest >> 14, width - 14)

    def bytes(self, starts):
        x, words = list(starts), []
        for lane, start, freq in reversed(self.said):
            if x[lane] >= freq << 18:
                words.append(x[lane] & 0xFFFF)
                x[lane] >>= 16
            x[lane] = (x[lane] // freq << BITS) + x[lane] % freq + start
        first = 3 if x[0] < 1 << 24 else 4
        if len(x) == 1 and not words and x[0] < 1 << 16:
            first = 1 if x[0] < 1 << 8 else 2
        words.reverse()
        return (x[0].to_bytes(first, "little") + struct.pack(f"<{len(x) - 1}I", *x[1:]) +
                struct.pack(f"<{len(words)}H", *words))


def symbol_of(v):
    return ESCAPE if abs(v) > 15 else -2 * v - 1 if v < 0 else 2 * v


def value_of(symbol):
    return -(symbol // 2 + 1) if symbol % 2 else symbol // 2


def table_of(row, class_):
    """The sums of an element, and how many of its low bits are raw."""
    t, raw = row["gain"] - 100 + class_, 0
    if t > LAST_T:
        raw = (t - LAST_T + 3) // 4
        t -= 4 * raw
    if raw > 14:
        raw, t = 14, LAST_T
    return TABLES[row["shape"]][max(t, 0)], raw


def get_delta(r, before, bits):
    symbol = ESCAPE if before is None else r.symbol(0, DELTAS)
    return r.raw(bits) if symbol == ESCAPE else before + value_of(symbol)


def put_delta(w, before, v, bits):
    symbol = ESCAPE if before is None else symbol_of(v - before)
    if before is not None:
        w.symbol(0, DELTAS, symbol)
    if symbol == ESCAPE:
        w.raw(v, bits)


def get_head(r, dim, before):
    step, gain, shape = before or (None, None, None)
    has_outliers = r.flag(OUTLIER)
    row = {"step": get_delta(r, step, 11), "gain": get_delta(r, gain, 8)}
    need(0 <= row["step"] < 1824 and 0 <= row["gain"] < 256, "step or gain")
    same = before is not None and r.flag(SAME_SHAPE)
    row["shape"] = shape if same else r.raw(2)
    row["outliers"] = []
    if has_outliers:
        n, at = r.number() + 1, 0
        need(n <= outliers_max(dim), "outliers")
        for _ in range(n):
            at += r.number()
            bits = r.raw(10) << 22 | r.raw(10) << 12
            bits |= r.raw(12)
            row["outliers"].append((at, struct.unpack("<f", struct.pack("<I", bits))[0]))
            at += 1
        check_outliers(row["outliers"], dim)
    return row


def put_head(w, row, before):
    step, gain, shape = before or (None, None, None)
    w.flag(bool(row["outliers"]), OUTLIER)
    put_delta(w, step, row["step"], 11)
    put_delta(w, gain, row["gain"], 8)
    if before is not None:
        w.flag(row["shape"] == shape, SAME_SHAPE)
    if row["shape"] != shape:
        w.raw(row["shape"], 2)
    if row["outliers"]:
        w.number(len(row["outliers"]) - 1)
        free = 0
        for at, value in row["outliers"]:
            w.number(at - free)
            bits = struct.unpack("<I", struct.pack("<f", value))[0]
            w.raw(bits >> 22, 10)
            w.raw(bits >> 12 & 1023, 10)
            w.raw(bits & 4095, 12)
            free = at + 1


def get_stream(src, n, dim, classes, before):
    lanes = lanes_of(dim)
    r, rows = Reader(src, lanes), []
    waiting = [[] for _ in range(lanes)]  # elements whose sign is in the last state
    for _ in range(n):
        row = get_head(r, dim, before)
        row["q"] = q = []
        for i in range(dim):
            lane = i % lanes
            sums, raw = table_of(row, classes[i])
            folded = len(waiting[lane]) < 16 and not raw
            symbol = r.symbol(lane, sums, folded)
            if folded and 0 < symbol < ESCAPE:
                waiting[lane].append((q, i))
            v = value_of(symbol)
            if symbol == ESCAPE:
                negative, v = r.raw(1), r.number() + 16
                v = -v if negative else v
            if raw:
                v = (v << raw) + r.raw(raw, lane) - (1 << raw - 1)
            need(abs(v) <= MOST, "element")
            q.append(v)
        before = row["step"], row["gain"], row["shape"]
        rows.append(row)
    need(not r.words, "length")
    for x, elements in zip(r.x, waiting):
        begun = x >> len(elements)
        need(begun == (1 if lanes == 1 else LOW >> len(elements)), "last state")
        for j, (q, i) in enumerate(elements):
            q[i] = -q[i] if x >> j & 1 else q[i]
    return rows


def put_stream(rows, dim, classes, before):
    lanes = lanes_of(dim)
    w, signs = Writer(), [[] for _ in range(lanes)]
    for row in rows:
        put_head(w, row, before)
        for i, v in enumerate(row["q"]):
            lane = i % lanes
            sums, raw = table_of(row, classes[i])
            half = 1 << raw >> 1
            high = v + half >> raw
            symbol = symbol_of(high)
            folded = len(signs[lane]) < 16 and not raw and 0 < symbol < ESCAPE
            w.symbol(lane, sums, symbol, folded)
            if folded:
                signs[lane].append(v < 0)
            if symbol == ESCAPE:
                w.raw(high < 0, 1)
                w.number(abs(high) - 16)
            if raw:
                w.raw(v + half & (1 << raw) - 1, raw, lane)
        before = row["step"], row["gain"], row["shape"]
    payload = [sum(bit << j for j, bit in enumerate(s)) for s in signs]
    if lanes == 1:
        return w.bytes([1 << len(signs[0]) | payload[0]])
    return w.bytes([LOW | p for p in payload])


# Rows and what they are predicted from


def restore(row):
    y = [f32(v * step_size(row["step"])) for v in row["q"]]
    for at, value in row["outliers"]:
        y[at] = value
    return y


def whole(v):
    """To the nearest integer, ties to even; within +-1023; what is no number is the least."""
    return 1023 if v > 1023 else round(v) if v >= -1023 else -1023


def dot(a, b):
    """Of floats: 16 lanes, then a tree."""
    lane = [0.0] * 16
    for i, (x, y) in enumerate(zip(a, b)):
        lane[i % 16] = f32(lane[i % 16] + f32(x * y))
    width = 8
    while width:
        for i in range(width):
            lane[i] = f32(lane[i] + lane[i + width])
        width //= 2
    return lane[0]


class Calibration:
    """A file (docs/calibration.md), as far as a codec needs it; of one split."""

    def __init__(self, data, split):
        head = struct.unpack_from("<4sIQI32sIIIIIQQI", data)
        assert head[:3] == (b"SQCA", 1, len(data))
        self.dim, self.vocab, self.f, n_splits, n_losses = head[5:10]
        front = 96 + 32 * n_splits + 36 * n_losses
        assert head[3] == crc32c(data[20:front], crc32c(data[:16]))
        entries = [data[96 + 32 * i:128 + 32 * i] for i in range(n_splits)]
        self.id = self.make_id(data, entries)
        self.features = self.table(data[head[11]:], self.vocab, self.f)
        for entry in entries:
            number, self.k, at, size, crc = struct.unpack_from("<IIQQI", entry)
            if number == split:
                assert crc32c(data[at:at + size]) == crc
                self.read(data[at:at + size])

    @staticmethod
    def table(data, rows, columns):
        return [struct.unpack_from(f"{columns}b", data, columns * i) for i in range(rows)]

    @staticmethod
    def make_id(data, entries):
        a = crc32c(data[20:68])
        b = crc32c(data[88:92], a)
        for entry in entries:
            b = crc32c(entry[24:28], crc32c(entry[:8], b))
            a = (a * 0x9E3779B1 + b) % 2**32
        return f"{a:08x}{b:08x}"

    def read(self, part):
        d, k = self.dim, self.k

        def take(code, n):
            nonlocal part
            size = struct.calcsize(f"<{n}{code}")
            values, part = struct.unpack(f"<{n}{code}", part[:size]), part[size:]
            return values

        def matrix(code, rows, columns):
            values = take(code, rows * columns)
            return [values[columns * i:columns * (i + 1)] for i in range(rows)]

        self.forward, self.forward_scale = matrix("h", k, d), take("f", k)
        self.back, self.back_scale = matrix("b", d, k), take("f", d)
        self.in_scale, self.first = take("f", k), take("f", k)
        self.by = {}
        for mode in (ROWS, TOKENS):
            by = self.by[mode] = {"rows": matrix("b", k, k), "scale": take("f", k),
                                  "bias": take("f", k), "classes": take("b", k)}
        shape = (k, self.f) if self.f else (self.vocab, k)
        by["now"], by["before"] = matrix("b", *shape), matrix("b", *shape)
        by["token_scale"] = take("f", k)
        assert not part

    def token(self, table, token, i):
        if not self.f:
            return table[token][i]
        return sum(w * v for w, v in zip(table[i], self.features[token]))

    def predict(self, mode, u, token, before):
        if u is None:
            return list(self.first)
        by, p = self.by[mode], []
        z = [whole(f32(v * s)) for v, s in zip(u, self.in_scale)]
        for i in range(self.k):
            total = sum(w * v for w, v in zip(by["rows"][i], z))
            v = f32(f32(f32(total) * by["scale"][i]) + by["bias"][i])
            if mode == TOKENS:
                told = self.token(by["now"], token, i)
                if before is not None:
                    told += self.token(by["before"], before, i)
                v = f32(v + f32(f32(told) * by["token_scale"][i]))
            p.append(v)
        return p

    def components(self, x):
        return [f32(dot(w, x) * s) for w, s in zip(self.forward, self.forward_scale)]

    def elements(self, u):
        return [f32(dot(w, u) * s) for w, s in zip(self.back, self.back_scale)]


class State:
    """What both ends of a session have in common."""

    def __init__(self, cal=None):
        self.cal = cal
        self.u = self.token = self.before = None
        self.chain = crc32c(cal.id.encode()) if cal else 0
        self.marks = []

    def mark(self, pos):
        """Before a draft at pos."""
        self.marks.append((pos, (self.u, self.token, self.before, self.chain)))
        self.marks = self.marks[-4:]

    def go_back(self, pos):
        """Before any chunk at pos."""
        for at, then in self.marks:
            if at == pos:
                self.u, self.token, self.before, self.chain = then
        self.marks = [mark for mark in self.marks if mark[0] < pos]

    def hash(self):
        return (self.chain ^ self.chain >> 16) & 0xFFFF

    def decode(self, codec, body, n, dim, tokens, plain=None):
        """-> rows x, and what they said. plain: rows of a plain codec, decoded already."""
        said, x, predict = None, plain, NONE
        if codec & 0x40:
            predict = codec >> 2 & 3
            said, x = self.read(codec & 3, predict, body, n, dim, tokens)
        if self.cal:
            self.move(codec, body, x, predict, tokens)
        return x, said

    def parts(self, predict, dim):
        """Elements that are coded, their classes, what the row before said."""
        if predict == NONE:
            return dim, [0] * dim, None
        return self.cal.k, self.cal.by[predict]["classes"], self.before

    def read(self, form, predict, body, n, dim, tokens):
        k, classes, before = self.parts(predict, dim)
        if form == RANS:
            said = get_stream(body, n, k, classes, before)
        else:
            said = get_packed(lz4_expand(body) if form == LZ4 else body, n, k)
        if predict == NONE:
            return said, [restore(row) for row in said]
        x = []
        for i, row in enumerate(said):
            token = tokens[i] if predict == TOKENS else None
            p = self.cal.predict(predict, self.u, token, self.token)
            self.u = [f32(a + b) for a, b in zip(restore(row), p)]
            self.token = token
            x.append(self.cal.elements(self.u))
        self.before = said[-1]["step"], said[-1]["gain"], said[-1]["shape"]
        return said, x

    def move(self, codec, body, x, predict, tokens):
        if predict == NONE:
            self.u, self.token = self.cal.components(x[-1]), None
        self.chain = crc32c(body, self.chain ^ codec)
        for token in tokens if predict == TOKENS else []:
            self.chain = (self.chain * 0x9E3779B1 + token) % 2**32
