"""Writes fresh rows in the golden format for TestFresh: random strings and ids, answered by Hugging Face's library.

    python make_fresh.py OUT SEED COUNT TOKENIZER.json[.gz]...
    SALSA_TOKENIZER_FRESH=OUT go test -run TestFresh ./data/tokenizer
"""
import base64
import gzip
import json
import pathlib
import random
import sys

from tokenizers import Tokenizer

WORDS = ("the of and a to in is you that it he was for on are I'm don't We'LL it's O'Neil HELLO Hello wOrLd naïve café "
         "résumé Straße ſ'ſ x's 'S 'RE 1 12 123 1234 3.14 1,000,000 ２３ Ⅷ ½ ² १२३ ... ?! -- -> /* */ // \\n {} [] () <> # $ "
         "你好 世界 こんにちは カタカナ 한국어 각 Привет مرحبا שלום नमस्ते क्षि สวัสดี 👍🏽 👨‍👩‍👧 🇩🇪 ﬁ ﬆ Å Å e\u0301 o\u0308\u0323 "
         "\u0345\u0301 \u1100\u1161\u11a8 \U000105c0 \U0001e4f0 \u2ebf0 \u1c89 \ua7cb def return if x==y: qua quality New York").split(" ")
SPACES = [" ", " ", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\u200b", "▁", "▁▁", " \n ", "", "", "\x85", "\x1c"]
RANGES = [(0x20, 0x7F), (0, 0x100), (0x300, 0x370), (0x370, 0x600), (0x900, 0xE00), (0x1E00, 0x2100), (0x2100, 0x2C00),
          (0x3000, 0x3400), (0x4E00, 0x4F00), (0xA640, 0xABFF), (0xAC00, 0xAD00), (0xF900, 0xFFFE), (0x10000, 0x12000),
          (0x1D000, 0x1F800), (0x2EB00, 0x2F900), (0, 0x110000)]


def code_point(rng):
    low, high = rng.choice(RANGES)
    while True:
        c = rng.randrange(low, high)
        if not 0xD800 <= c <= 0xDFFF:
            return chr(c)


def text(rng, tokens, added):
    parts = []
    for _ in range(rng.choice([1, 2, 3, 5, 8, 13, 30])):
        kind = rng.random()
        if kind < 0.35:
            parts.append(rng.choice(WORDS))
        elif kind < 0.6:
            parts.append(rng.choice(SPACES))
        elif kind < 0.7 and added:
            token = rng.choice(added)
            parts.append(token if rng.random() < 0.8 else token[:rng.randrange(len(token) + 1)])
        elif kind < 0.8:
            parts.append(rng.choice(tokens).replace("Ġ", " ").replace("▁", " ").replace("Ċ", "\n"))
        elif kind < 0.85:
            parts.append(rng.choice(WORDS + SPACES) * rng.choice([2, 3, 7, 50]))
        else:
            parts.append("".join(code_point(rng) for _ in range(rng.choice([1, 1, 2, 4, 9]))))
    return "".join(parts)


def broken(rng, s):
    data = bytearray(s.encode())
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(data) + 1)
        if rng.random() < 0.5 and data:
            data[at % len(data)] = rng.randrange(256)
        else:
            data[at:at] = bytes(rng.randrange(128, 256) for _ in range(rng.randrange(1, 4)))
    return bytes(data)


def answer(tok, row, s):
    plain = tok.encode(s, add_special_tokens=False)
    row["ids"] = plain.ids
    row["ids_with_special"] = tok.encode(s).ids
    row["offsets"] = [x for pair in plain.offsets for x in pair]
    row["decoded"] = tok.decode(plain.ids, skip_special_tokens=False)
    row["decoded_skip"] = tok.decode(row["ids_with_special"], skip_special_tokens=True)
    return row


def row(tok, rng, i, tokens, added, pool):
    if i % 5 == 4:
        ids = [rng.choice(pool) for _ in range(rng.choice([1, 2, 5, 20, 60]))]
        return {"decode_ids": ids, "decoded": tok.decode(ids, skip_special_tokens=False),
                "decoded_skip": tok.decode(ids, skip_special_tokens=True)}
    s = text(rng, tokens, added)
    if i % 25:
        return answer(tok, {"text": s}, s)
    data = broken(rng, s)
    return answer(tok, {"bytes_b64": base64.b64encode(data).decode()}, data.decode(errors="replace"))


def rows(tok, rng, count):
    vocab = tok.get_vocab(with_added_tokens=True)
    tokens, pool = sorted(vocab), sorted(vocab.values())
    added = sorted(t.content for t in tok.get_added_tokens_decoder().values())
    for i in range(count):
        try:
            yield row(tok, rng, i, tokens, added, pool)
        except BaseException as e:
            if isinstance(e, (KeyboardInterrupt, GeneratorExit)):
                raise
            # The library itself panics on some texts with unusual wirings: no answer to compare with.


def main():
    out, seed, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    for path in map(pathlib.Path, sys.argv[4:]):
        name = path.parent.name + "-" + path.name.removesuffix(".gz")
        data = path.read_bytes()
        content = gzip.decompress(data) if path.suffix == ".gz" else data
        (out / name).write_bytes(content)
        tok = Tokenizer.from_str(content.decode())
        tok.no_truncation(), tok.no_padding()
        rng = random.Random(f"{seed} {name}")
        with open(out / (name + "l"), "w") as f:
            for made in rows(tok, rng, count):
                print(json.dumps(made), file=f)


if __name__ == "__main__":
    main()
