"""Writes golden.json: what Hugging Face's tokenizers makes of texts with the demo's tokenizer.json.

Usage: python golden.py FOLDER > golden.json, where FOLDER holds the tokenizer.json that WriteBaseConfig made.
"""
import hashlib, json, sys
from transformers import AutoTokenizer

folder = sys.argv[1]
tok = AutoTokenizer.from_pretrained(folder)
texts = ["", " hot sweet salsa:", " hot sweet salsa: tomato lime chili", " salty salsa: salt salsa salty", "hot salsa:",
         "  tomato  lime ", " tomatillo tomat tomatoes", "<s> hot salsa:</s>", " mild salsa:\n tomato", "Tomato 7!", " :::", " s m l c"]
cases = []
for text in texts:
    ids = tok(text).input_ids
    cases.append({"text": text, "ids": ids, "decoded": tok.decode(ids, skip_special_tokens=True)})
sha = hashlib.sha256(open(f"{folder}/tokenizer.json", "rb").read()).hexdigest()
json.dump({"sha256": sha, "cases": cases}, sys.stdout, indent=1, ensure_ascii=False)
print()
