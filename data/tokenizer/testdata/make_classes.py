"""Writes ../classes.txt: the code-point classes that Hugging Face tokenizers uses, asked of the library itself.

Run by hand with a Python that has `tokenizers`; every line is NAME FIRST-LAST... in hexadecimal. The library's regular
expressions, digit test, punctuation test and word test come from different Unicode versions, so each is asked for.
"""
import pathlib
from tokenizers import Regex, normalizers, pre_tokenizers as pt

CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Cc Cf Co Cn Zs Zl Zp".split()
ALL = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
TEXT = "".join(map(chr, ALL))


def members(splitter):
    """The code points left over when splitter removes a class from the text of all code points."""
    kept = set()
    for _, (start, end) in splitter.pre_tokenize_str(TEXT):
        kept.update(ALL[start:end])
    return [c for c in ALL if c not in kept]


def ranges(points):
    out = []
    for c in points:
        if out and out[-1][1] + 1 == c:
            out[-1][1] = c
        else:
            out.append([c, c])
    return " ".join(f"{a:X}" if a == b else f"{a:X}-{b:X}" for a, b in out)


def regex(pattern):
    return members(pt.Split(Regex(pattern), "removed"))


def by_behaviour(splitter):
    """Members of a class that a pre-tokenizer isolates: each stands alone between two letters."""
    out = []
    for c in ALL:
        if len(splitter.pre_tokenize_str("a" + chr(c) + "a")) > 1:
            out.append(c)
    return out


def rust_words():
    """Rust's own \\w, seen through the Whitespace pre-tokenizer: a word character joins its neighbours."""
    w = pt.Whitespace()
    return [c for c in ALL if len(w.pre_tokenize_str("a" + chr(c) + "a")) == 1]


def main():
    lines = [f"{name} {ranges(regex(chr(92) + 'p{' + name + '}'))}" for name in CATEGORIES]
    lines.append("space " + ranges(regex(r"\s")))
    lines.append("word " + ranges(regex(r"\w")))
    lines.append("rustword " + ranges(rust_words()))
    lines.append("rustspace " + ranges(members(pt.WhitespaceSplit())))
    lines.append("numeric " + ranges(by_behaviour(pt.Digits(individual_digits=True))))
    lines.append("punctuation " + ranges(by_behaviour(pt.Punctuation())))
    nfd, nfkd = normalizers.NFD().normalize_str, normalizers.NFKD().normalize_str
    # U+0345 has the highest combining class: every other combining mark sorts before it.
    lines.append("combining " + ranges([c for c in ALL if c == 0x345 or nfd("\u0345" + chr(c)) == chr(c) + "\u0345"]))
    lines.append("decomposes " + ranges([c for c in ALL if nfkd(chr(c)) != chr(c)]))
    lower = normalizers.Lowercase().normalize_str
    # Pairs FROM-TO, only those that Python's (and Go's) older tables lack.
    pairs = [(c, lower(chr(c))) for c in ALL if lower(chr(c)) != chr(c).lower()]
    lines.append("lowercase " + " ".join(f"{c:X}-{ord(to):X}" for c, to in pairs))
    pathlib.Path(__file__).parent.parent.joinpath("classes.txt").write_text("\n".join(lines) + "\n")


main()
