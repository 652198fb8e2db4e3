"""Prints the completions that models/penalty_test.go keeps: greedy decoding with transformers' repetition penalty.

    /opt/hf/bin/python scripts/golden/repetition.py

Each prompt runs alone. The smallest gap between the best and the second-best penalised logit says how much rounding
the choices bear.
"""

import torch
from transformers import AutoModelForCausalLM

from common import MODELS, setup

PROMPTS = [[1, 5, 9, 5], [1, 8], [1, 30, 31, 32, 33, 34], [1, 60, 4]]
PENALTIES = [1.3, 0.8]
NEW_TOKENS = 24


def greedy(model, prompt, penalty):
    """-> completion, and the smallest gap between the best two logits."""
    ids = torch.tensor([prompt])
    kw = dict(attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)
    with torch.no_grad():
        out = model.generate(
            ids, repetition_penalty=penalty, return_dict_in_generate=True, output_scores=True, **kw
        )
    best = torch.cat(out.scores).topk(2).values
    return out.sequences[0, len(prompt) :].tolist(), (best[:, 0] - best[:, 1]).min().item()


def main():
    setup()
    model = AutoModelForCausalLM.from_pretrained(
        MODELS / "llama-gqa", attn_implementation="eager", dtype=torch.float32
    ).eval()
    for penalty in PENALTIES:
        for prompt in PROMPTS:
            completion, gap = greedy(model, prompt, penalty)
            if gap < 0.003:
                raise RuntimeError(f"{penalty}, {prompt}: a choice is close, by {gap}; take another prompt")
            print(penalty, prompt, completion, f"gap {gap:.3f}")


if __name__ == "__main__":
    main()
