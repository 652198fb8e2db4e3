"""Random wirings of the supported parts around the golden vocabularies.

    python make_variants.py OUT SEED COUNT BASE.tokenizer.json.gz...   writes files to be given to make_fresh.py
    python make_variants.py keep                                      writes variants.jsonl.gz for TestVariants
"""
import gzip
import json
import pathlib
import random
import sys

from tokenizers import Tokenizer

PATTERNS = [
    r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
    r"""(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s""".replace("|\\s++$", "").replace("{1,3}+", "{1,3}"),
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+""",
    r"""\d{1,3}(?=(?:\d{3})*\b)""", r"""\s?\w+|[^\w\s]+""", r"""\p{N}""", r"""[0-9]""", r"""\d+|\D+?\s""", r"""\b""", r"""\B\w""", r"""x*""", r""" ?\p{^L}+""",
    r"""[\p{L}\p{M}]+(?>'\p{L}+)?""", r"""[^\S\n]+\n?""", r"""(\r\n|\n|\r)+""", r"""[一-龥぀-ゟ゠-ヿ]+""", r"""\p{Lu}?\p{Ll}+|\p{P}{2,}?""".replace("{2,}?", "{2,}"),
    r"""(?:ab|a)*?b""", r"""[\x21-\x2f\u00e9]+""", r""".{1,4}""", r"""(?i)the|OF|[k-s]+""", r"""(?=a)\w{2}|\W""", r"""[-a.]+|[a\-z]""", r"""\p{Sm}|\p{Sc}|\p{Cf}""",
    r"""\d{1,3}+|\p{L}{2,4}?""", r"""\d{2}?x|\w{3}?""", r"""^\s*|\w+$""", r"""\s++$|\s*[\r\n]|\s+(?!\S)|\s""", r"""\A.|.\z|\n\Z|$""",
    r"""(?<=\d)\D|(?<![\s\d])\w""", r"""^|(?<= )""",
]
BEHAVIOURS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


def pattern(rng):
    if rng.random() < 0.7:
        return {"Regex": rng.choice(PATTERNS)}
    return {"String": rng.choice(["-", " ", "▁", "e", "th", ".", "\n", "''"])}


def normalizer(rng):
    kind = rng.choice(["NFC", "NFD", "NFKC", "NFKD", "Prepend", "Replace", "Replace", "Strip", "ByteLevel", "Lowercase"])
    if kind == "Prepend":
        return {"type": kind, "prepend": rng.choice(["▁", "x", " ", "▁▁", "né"])}
    if kind == "Replace":
        return {"type": kind, "pattern": pattern(rng), "content": rng.choice(["▁", " ", "", "xy", "é"])}
    if kind == "Strip":
        return {"type": kind, "strip_left": rng.random() < 0.6, "strip_right": rng.random() < 0.6}
    return {"type": kind}


def flag(rng):
    return rng.random() < 0.5


def pre_tokenizer(rng):
    kind = rng.choice(["Split", "Split", "Split", "ByteLevel", "Metaspace", "Digits", "Punctuation", "WhitespaceSplit", "Whitespace"])
    if kind == "Split":
        return {"type": kind, "pattern": pattern(rng), "behavior": rng.choice(BEHAVIOURS), "invert": rng.random() < 0.2}
    if kind == "ByteLevel":
        return {"type": kind, "add_prefix_space": flag(rng), "trim_offsets": flag(rng), "use_regex": flag(rng)}
    if kind == "Metaspace":
        return {"type": kind, "replacement": rng.choice("▁▁▁_"), "prepend_scheme": rng.choice(["always", "first", "never"]), "split": flag(rng)}
    if kind == "Digits":
        return {"type": kind, "individual_digits": flag(rng)}
    if kind == "Punctuation":
        return {"type": kind, "behavior": rng.choice(BEHAVIOURS)}
    return {"type": kind}


def decoder(rng):
    kind = rng.choice(["ByteLevel", "Metaspace", "Replace", "Strip", "Fuse", "ByteFallback"])
    if kind == "ByteLevel":
        return {"type": kind, "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    if kind == "Metaspace":
        return {"type": kind, "replacement": "▁", "prepend_scheme": rng.choice(["always", "first", "never"]), "split": True}
    if kind == "Replace":
        return {"type": kind, "pattern": pattern(rng), "content": rng.choice([" ", "", "z"])}
    if kind == "Strip":
        return {"type": kind, "content": rng.choice(" a"), "start": rng.randrange(3), "stop": 0}
    return {"type": kind}


def processor(rng, ids):
    kind = rng.choice(["ByteLevel", "RobertaProcessing", "BertProcessing", "TemplateProcessing"])
    pair = sorted(ids)[:2]
    if kind == "ByteLevel":
        return {"type": kind, "add_prefix_space": flag(rng), "trim_offsets": flag(rng), "use_regex": True}
    if kind == "TemplateProcessing":
        a, b = [{"SpecialToken": {"id": x, "type_id": 0}} for x in pair]
        s = {"Sequence": {"id": "A", "type_id": 0}}
        single = rng.choice([[a, s], [a, s, b], [s, b], [a, a, s, b, b], [s]])
        special = {x: {"id": x, "ids": [ids[x]], "tokens": [x]} for x in pair}
        return {"type": kind, "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": special}
    out = {"type": kind, "sep": [pair[0], ids[pair[0]]], "cls": [pair[1], ids[pair[1]]]}
    if kind == "RobertaProcessing":
        out |= {"trim_offsets": flag(rng), "add_prefix_space": flag(rng)}
    return out


def some(rng, make, name, kind="Sequence"):
    n = rng.choice([0, 1, 1, 2, 3])
    parts = [make() for _ in range(n)]
    if n == 0:
        return None
    return parts[0] if n == 1 else {"type": "Sequence", name: parts}


def variant(rng, base):
    d = json.loads(json.dumps(base))
    ids = d["model"]["vocab"]
    d["normalizer"] = some(rng, lambda: normalizer(rng), "normalizers") if flag(rng) else d["normalizer"]
    d["pre_tokenizer"] = some(rng, lambda: pre_tokenizer(rng), "pretokenizers") if flag(rng) else d["pre_tokenizer"]
    d["decoder"] = some(rng, lambda: decoder(rng), "decoders") if flag(rng) else d["decoder"]
    d["post_processor"] = some(rng, lambda: processor(rng, ids), "processors") if rng.random() < 0.3 else d["post_processor"]
    for key in ("fuse_unk", "byte_fallback", "ignore_merges"):
        if rng.random() < 0.2:
            d["model"][key] = not d["model"][key]
    for content in rng.sample(["qua", "<x>", "the", "  ", "\n", "é", "e\u0301", " a", "12", "▁of", "don't", "ﬁ"], rng.randrange(4)):
        d["added_tokens"].append({"id": 90000, "content": content, "single_word": flag(rng), "lstrip": flag(rng),
                                  "rstrip": flag(rng), "normalized": flag(rng), "special": flag(rng)})
    return d


def usable(d):
    """The tokenizer, or None when the library panics on the wiring."""
    try:
        tok = Tokenizer.from_str(json.dumps(d))
        tok.encode("probe a <x> text")
        return tok
    except BaseException as e:
        if isinstance(e, KeyboardInterrupt):
            raise
        return None


def patch(d, base):
    """What differs from the base, without the vocabulary."""
    out = {key: d[key] for key in ("normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens") if d[key] != base[key]}
    out["model"] = {key: d["model"][key] for key in ("fuse_unk", "byte_fallback", "ignore_merges")}
    return out


def keep():
    import make_fresh

    here = pathlib.Path(__file__).parent
    names = ["llama2", "gpt2", "qwen2", "unkfuse", "cross", "phi3", "splitmix", "falcon", "llama3", "neox", "gemma", "mistral"]
    bases = {n: json.loads(gzip.decompress((here / f"golden/{n}.tokenizer.json.gz").read_bytes())) for n in names}
    lines = []
    for i in range(150):
        rng = random.Random(f"keep {i}")
        name = names[i % len(names)]
        d = variant(rng, bases[name])
        while not (tok := usable(d)):
            d = variant(rng, bases[name])
        rows = list(make_fresh.rows(tok, rng, 16))
        lines.append(json.dumps({"base": name, "patch": patch(d, bases[name]), "rows": rows}))
    (here / "variants.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode(), 9, mtime=0))


def main():
    if sys.argv[1] == "keep":
        return keep()
    out, seed, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    bases = [json.loads(gzip.decompress(pathlib.Path(p).read_bytes())) for p in sys.argv[4:]]
    made = 0
    while made < count:
        d = variant(rng, rng.choice(bases))
        if usable(d):
            (out / f"v{made:03}.json").write_text(json.dumps(d))
            made += 1


main()
