"""Writes models/testdata/bf16.golden.json: what transformers computes from models.py's models in bfloat16.

    /opt/hf/bin/python scripts/golden/bf16.py

Weights, activations and logits are bfloat16, log-softmax float32, each row alone, to four decimals.
"""

import json

import torch
from transformers import AutoModelForCausalLM

from common import MODELS, setup, token_logprobs, versions, write_json


def main():
    setup()
    out = {}
    for file in sorted(MODELS.glob("*/golden.json")):
        golden = json.loads(file.read_text())
        if "scores" in golden:
            continue
        rows = []
        for ids in golden["rows"]:
            # Dynamic rope keeps state, so every row gets a fresh model.
            model = AutoModelForCausalLM.from_pretrained(file.parent, attn_implementation="eager", dtype=torch.bfloat16)
            with torch.no_grad():
                logits = model.eval()(torch.tensor([ids]), use_cache=False).logits[0]
            rows.append([round(x, 4) for x in token_logprobs(logits, torch.tensor(ids)).tolist()])
        out[golden["case"]] = rows
    write_json(MODELS / "bf16.golden.json", dict(versions=versions(), **out))


if __name__ == "__main__":
    main()
