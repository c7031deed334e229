"""Byte-level BPE: pre-tokenizer, training, encoding, decoding. Ids: specials, bytes, merges."""
import collections

import regex

SPECIALS = ["<s>", "</s>", "<|answer|>", "<unk>", "<pad>"]
BOS, EOS, ANSWER, UNK, PAD = range(5)
QWEN2 = regex.compile(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                      r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_letters():
    """The printable letter that stands for each byte, as in GPT-2."""
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, extra = {b: chr(b) for b in plain}, 0
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + extra)
            extra += 1
    return table


LETTER = byte_letters()
BYTE = {c: b for b, c in LETTER.items()}


def pieces(text):
    """Pre-tokens as strings of byte letters."""
    return ["".join(LETTER[b] for b in p.encode()) for p in QWEN2.findall(text)]


def merge_word(word, pair):
    """Joins every occurrence of a pair in a tuple of symbols."""
    out, i = [], 0
    while i < len(word):
        if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
            out.append(word[i] + word[i + 1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def train(texts, vocab_size):
    """Learns the merges of a vocabulary of vocab_size tokens; ties go to the smaller pair."""
    counts = collections.Counter(p for t in texts for p in pieces(t))
    words = {tuple(p): n for p, n in counts.items()}
    merges = []
    while len(SPECIALS) + 256 + len(merges) < vocab_size:
        pairs = collections.Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        merged = collections.Counter()
        for word, n in words.items():
            merged[merge_word(word, best)] += n
        words = merged
    return merges


class Tokenizer:
    """Encodes plain text (no specials) and decodes ids (specials become nothing)."""

    def __init__(self, merges):
        self.merges = [tuple(m) for m in merges]
        self.rank = {m: i for i, m in enumerate(self.merges)}
        self.tokens = SPECIALS + [LETTER[b] for b in range(256)] + ["".join(m) for m in self.merges]
        self.id = {t: i for i, t in enumerate(self.tokens)}
        self.cache = {}

    def piece(self, piece):
        if piece not in self.cache:
            word = tuple(piece)
            while len(word) > 1:
                best = min(zip(word, word[1:]), key=lambda p: self.rank.get(p, 1 << 30))
                if best not in self.rank:
                    break
                word = merge_word(word, best)
            self.cache[piece] = [self.id[t] for t in word]
        return self.cache[piece]

    def encode(self, text):
        return [i for p in pieces(text) for i in self.piece(p)]

    def decode(self, ids):
        letters = "".join(self.tokens[i] for i in ids if i >= len(SPECIALS))
        return bytes(BYTE[c] for c in letters).decode(errors="replace")
