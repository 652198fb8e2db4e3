"""Writes models/testdata/tinystories-656k.golden.json: what transformers computes with the real model in ../shared.

    /opt/hf/bin/python scripts/golden/tinystories.py [folder of the model]

Only numbers go into the repository; a test that reads them skips where ../shared is absent.
"""

import hashlib
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from common import MODELS, ROOT, pad, setup, token_logprobs, unpad, versions, write_json

TEXTS = [
    "Once upon a time, there was a little girl named Lily. She loved to play in the park with her dog.",
    "Tom had a big red ball.",
    "The cat said, \"I am hungry!\" Mom gave the cat some milk and smiled.",
    "One day, 3 birds flew over the old house & the tree.\n\nThey were looking for food.",
]
PROMPTS = ["Once upon a time", "Tom and Sue went to the", "The dog"]
NEW_TOKENS = 48
FOLDER = ROOT.parent / "shared" / "data" / "tinystories-656k"


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()


def run(model, data, side):
    ids, mask, positions = pad(data, side)
    with torch.no_grad():
        logits = model(ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    return [token_logprobs(l, torch.tensor(r)) for l, r in zip(unpad(logits, mask), data)]


def greedy(model, prompts):
    """One left-padded batch through transformers' generate; completions end with eos where it came."""
    ids, mask, _ = pad(prompts, "left")
    with torch.no_grad():
        out = model.generate(ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)
    completions = []
    for row in out[:, ids.shape[1] :].tolist():
        completions.append(row[: row.index(2) + 1] if 2 in row else row)
    return completions


def main(folder):
    setup()
    tokenizer, model = AutoTokenizer.from_pretrained(folder), load(folder)
    data = [tokenizer(t).input_ids for t in TEXTS]
    prompts = [tokenizer(p).input_ids for p in PROMPTS]
    logprobs = [run(model, [r], "right")[0] for r in data]
    for side in ("left", "right"):
        gap = max((a - b).abs().max().item() for a, b in zip(logprobs, run(model, data, side)))
        if gap > 2e-5:
            raise RuntimeError(f"{side} padding moves log-probs by {gap}")
    exact = load(folder).double()
    completions = greedy(model, prompts)
    weights = (folder / "model.safetensors").read_bytes()
    golden = dict(
        case="tinystories-656k",
        note="log-probs of each text's ids; greedy completions of a ragged batch",
        versions=versions(),
        model_sha256=hashlib.sha256(weights).hexdigest(),
        parameters=sum(p.numel() for p in model.parameters()),
        texts=TEXTS,
        rows=data,
        lengths=[len(r) for r in data],
        token_logprobs=logprobs,
        sums=[l.double().sum().item() for l in logprobs],
        greedy=dict(
            texts=PROMPTS,
            prompts=prompts,
            max_new_tokens=NEW_TOKENS,
            eos=[2],
            batched=True,
            completions=completions,
            completion_texts=[tokenizer.decode(c, skip_special_tokens=True) for c in completions],
            ended=[c[-1] == 2 for c in completions],
            smallest_logit_gap=smallest_gap(model, prompts, completions),
        ),
        float64_gap=max((a - run(exact, [r], "right")[0]).abs().max().item() for a, r in zip(logprobs, data)),
    )
    write_json(MODELS / "tinystories-656k.golden.json", golden)
    print([l.mean().item() for l in logprobs], golden["greedy"]["completion_texts"], golden["float64_gap"])


def smallest_gap(model, prompts, completions):
    """Best minus second-best logit, at the closest choice; also checks that each choice is the best."""
    gap = float("inf")
    for p, c in zip(prompts, completions):
        with torch.no_grad():
            logits = model(torch.tensor([p + c]), use_cache=False).logits[0, len(p) - 1 : -1]
        best = logits.topk(2, dim=-1)
        if best.indices[:, 0].tolist() != c:
            raise RuntimeError("generate with a cache differs from a full forward")
        gap = min(gap, (best.values[:, 0] - best.values[:, 1]).min().item())
    return gap


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
