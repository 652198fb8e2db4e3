"""Trains testdata/spm/tiny.model on the texts of the golden rows and writes SentencePiece's ids of fresh strings.

    python make_spm.py train                              (once; writes tiny.model.gz and rows.jsonl.gz)
    python make_spm.py rows MODEL SEED COUNT > OUT.jsonl  (for TestSentencePieceFresh)
"""
import gzip
import io
import json
import pathlib
import random
import sys

import sentencepiece as spm

import make_fresh

HERE = pathlib.Path(__file__).parent


def rows(sp, seed, count):
    rng = random.Random(seed)
    pieces = [sp.id_to_piece(i) for i in range(sp.get_piece_size()) if not sp.is_control(i) and not sp.is_unknown(i)]
    while count:
        s = make_fresh.text(rng, pieces, [])
        if "\0" in s or any(sp.id_to_piece(i) in s for i in range(sp.get_piece_size()) if sp.is_control(i) or sp.is_unknown(i)):
            continue
        count -= 1
        ids = sp.encode(s)
        yield json.dumps({"text": s, "ids": ids, "decoded": sp.decode(ids)})


def train():
    texts = []
    for path in sorted(HERE.glob("golden/*.jsonl.gz")):
        for line in gzip.open(path, "rt"):
            text = json.loads(line).get("text")
            if text and len(text) < 4000:
                texts.append(text.replace("\n", " "))
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(sorted(set(texts))), model_writer=model, model_type="bpe", vocab_size=1400,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, character_coverage=0.98, control_symbols=["[INST]", "[/INST]"], minloglevel=2)
    out = HERE / "spm"
    out.mkdir(exist_ok=True)
    (out / "tiny.model.gz").write_bytes(gzip.compress(model.getvalue(), 9, mtime=0))
    sp = spm.SentencePieceProcessor(model_proto=model.getvalue())
    (out / "rows.jsonl.gz").write_bytes(gzip.compress("\n".join(rows(sp, 1, 1500)).encode(), 9, mtime=0))


if sys.argv[1] == "train":
    train()
else:
    processor = spm.SentencePieceProcessor(model_file=sys.argv[2])
    print("\n".join(rows(processor, sys.argv[3], int(sys.argv[4]))))
