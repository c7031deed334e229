"""GGUF v3: the little of it that this model needs, written and read back."""
import struct

import numpy as np

ALIGN = 32
F32, Q8_0 = 0, 8
U32, I32, FLOAT, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
PLAIN = {U32: "<I", I32: "<i", FLOAT: "<f", BOOL: "<?"}


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, item):
    """One metadata value; an array is (element kind, list)."""
    if kind == STRING:
        return string(item)
    if kind == ARRAY:
        element, items = item
        return struct.pack("<IQ", element, len(items)) + b"".join(value(element, i) for i in items)
    return struct.pack(PLAIN[kind], item)


def quantize(x):
    """f32 to Q8_0 bytes: blocks of 32, an f16 scale and 32 signed bytes each."""
    blocks = x.astype(np.float32).reshape(-1, 32)
    scale = np.abs(blocks).max(1) / 127
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    scaled = blocks * inverse[:, None]
    rounded = np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int8)
    out = np.empty(len(blocks), dtype=[("d", "<f2"), ("q", "i1", 32)])
    out["d"], out["q"] = scale, rounded
    return out.tobytes()


def dequantize(data, shape):
    """Q8_0 bytes to f32."""
    blocks = np.frombuffer(data, dtype=[("d", "<f2"), ("q", "i1", 32)])
    return (blocks["q"].astype(np.float32) * blocks["d"].astype(np.float32)[:, None]).reshape(shape)


def pad(n):
    return -n % ALIGN


def write(path, metadata, tensors):
    """Writes metadata {key: (kind, value)} and tensors {name: array}; matrices become Q8_0."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    for key, (kind, item) in metadata.items():
        head += string(key) + struct.pack("<I", kind) + value(kind, item)
    bodies, offset = [], 0
    for name, x in tensors.items():
        kind = Q8_0 if x.ndim == 2 else F32
        body = quantize(x) if kind == Q8_0 else x.astype("<f4").tobytes()
        dims = x.shape[::-1]
        head += string(name) + struct.pack("<I%dQIQ" % len(dims), len(dims), *dims, kind, offset)
        bodies.append(body + bytes(pad(len(body))))
        offset += len(bodies[-1])
    with open(path, "wb") as f:
        f.write(head + bytes(pad(len(head))) + b"".join(bodies))


class Reader:
    """Takes values off a buffer in order."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        out = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return out[0] if len(out) == 1 else out

    def string(self):
        n = self.take("<Q")
        self.at += n
        return self.data[self.at - n:self.at].decode()

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, n = self.take("<IQ")
            return [self.value(element) for _ in range(n)]
        return self.take(PLAIN[kind])


def read(path):
    """Reads a file of write(): metadata {key: value} and tensors {name: f32 array}."""
    r = Reader(open(path, "rb").read())
    magic, version, count, keys = r.take("<4sIQQ")
    if magic != b"GGUF" or version != 3:
        raise SystemExit(path + ": not a GGUF v3 file")
    metadata = {}
    for _ in range(keys):
        key = r.string()
        metadata[key] = r.value(r.take("<I"))
    infos = []
    for _ in range(count):
        name = r.string()
        dims = [r.take("<Q") for _ in range(r.take("<I"))][::-1]
        infos.append((name, dims) + r.take("<IQ"))
    start, tensors = r.at + pad(r.at), {}
    for name, dims, kind, offset in infos:
        size = int(np.prod(dims)) * 4 if kind == F32 else int(np.prod(dims)) // 32 * 34
        data = r.data[start + offset:start + offset + size]
        tensors[name] = dequantize(data, dims) if kind == Q8_0 else np.frombuffer(data, "<f4").reshape(dims)
    return metadata, tensors
