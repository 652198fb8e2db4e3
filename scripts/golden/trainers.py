"""Writes trainers/testdata/{llama,llama-score}/ and the step-by-step runs {sft,dpo,reward}/golden.json from them.

    /opt/hf/bin/python scripts/golden/trainers.py [sft] [dpo] [reward]

The loops are plain PyTorch: torch.optim.AdamW on every parameter (norms and embeddings are decayed too), the gradient
clipped to a global norm of 1, a constant learning rate, float32. Each run is repeated in float64 to say how far
rounding alone moves it.
"""

import random
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from cases import llama
from common import TRAINERS, pad, randomise, setup, token_logprobs, unpad, versions, write_json

OPTIMIZER = dict(
    name="adamw",
    learning_rate=1e-3,
    betas=[0.9, 0.999],
    eps=1e-8,
    weight_decay=0.01,
    decayed="all parameters",
    max_grad_norm=1.0,
    schedule="constant",
)
BETA = 0.1  # DPO


def write_start(name, auto, seed, **changes):
    """A start model gentle enough to train: norms near 1, weights of std 0.12."""
    folder = TRAINERS / name
    shutil.rmtree(folder, ignore_errors=True)
    model = auto.from_config(llama(**changes), attn_implementation="eager")
    randomise(model, seed, std=0.12, embed_std=0.12)
    model.save_pretrained(folder)


def load(name, auto, dtype):
    return auto.from_pretrained(TRAINERS / name, attn_implementation="eager", dtype=torch.float32).to(dtype)


def draw_row(draw, length):
    return [1] + [draw.randrange(3, 67) for _ in range(length - 2)] + [2]


def logprobs(model, rows):
    """Right-padded batch -> per row log p of tokens 1..T-1."""
    ids, mask, positions = pad(rows, "right")
    logits = model(ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    return [token_logprobs(l, torch.tensor(r)) for l, r in zip(unpad(logits, mask), rows)]


def completion_sum(model, rows, prompt_lens):
    """Summed log-probs of the completions, eos included, [B]."""
    return torch.stack([lp[n - 1 :].sum() for lp, n in zip(logprobs(model, rows), prompt_lens)])


def scores(model, rows):
    """Reward model scores at each row's last token, [B]."""
    ids, mask, positions = pad(rows, "right")
    hidden = model.model(ids, attention_mask=mask, position_ids=positions, use_cache=False).last_hidden_state
    return torch.stack([model.score(h[-1])[0] for h in unpad(hidden, mask)])


def adamw(model):
    o = OPTIMIZER
    return torch.optim.AdamW(
        model.parameters(), lr=o["learning_rate"], betas=tuple(o["betas"]), eps=o["eps"], weight_decay=o["weight_decay"]
    )


def train(model, steps, micro_loss):
    """steps: a list of lists of micro-batches. micro_loss(model, micro, step) returns its share of the step's loss
    (shares add up to the loss) and a dict to record. -> one record per step."""
    optimizer, records = adamw(model), []
    for step in steps:
        optimizer.zero_grad()
        total, parts = 0.0, []
        for micro in step:
            loss, part = micro_loss(model, micro, step)
            loss.backward()
            total += loss.item()
            parts.append(part)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER["max_grad_norm"])
        optimizer.step()
        records.append(dict(loss=total, grad_norm=norm.item(), micro=parts))
    return records


def twice(start, auto, steps, make_loss, final):
    """The run in float32, its final weights on disk, and its distance from the same run in float64."""
    models, runs = [], []
    for dtype in (torch.float32, torch.float64):
        model = load(start, auto, dtype)
        runs.append(train(model, steps, make_loss(dtype)))
        models.append(dict(model.named_parameters()))
    final.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().contiguous() for k, v in models[0].items()}, final, metadata={"format": "pt"})
    gaps = dict(
        loss=max(abs(a["loss"] - b["loss"]) for a, b in zip(*runs)),
        grad_norm=max(abs(a["grad_norm"] - b["grad_norm"]) for a, b in zip(*runs)),
        weights=max((models[0][k] - models[1][k]).abs().max().item() for k in models[0]),
    )
    return runs[0], gaps


def run_sft():
    """Ten steps of two micro-batches with unlike token counts; the loss is one mean over the step's target tokens."""
    draw = random.Random(7)
    data = [draw_row(draw, n) for n in (12, 5, 9, 7, 4, 11, 6, 8, 3, 10)]
    prompts = [draw.randrange(1, len(r)) for r in data]
    prompts[0], prompts[4] = 1, len(data[4]) - 1  # nearly all tokens are targets; just one is
    order = [[draw.sample(range(10), 3), draw.sample(range(10), 2)] for _ in range(10)]

    def make_loss(_):
        def loss(model, micro, step):
            tokens = sum(len(data[i]) - prompts[i] for part in step for i in part)
            nll = -completion_sum(model, [data[i] for i in micro], [prompts[i] for i in micro]).sum()
            return nll / tokens, dict(nll_sum=nll.item(), tokens=sum(len(data[i]) - prompts[i] for i in micro))

        return loss

    records, gaps = twice("llama", AutoModelForCausalLM, order, make_loss, TRAINERS / "sft" / "final.safetensors")
    for r in records:
        r["tokens"] = sum(m["tokens"] for m in r["micro"])
    return dict(
        case="sft",
        note="target i of a row is ids[i] for i >= prompt_len; loss = sum of -log p over both micro-batches / tokens",
        start="../llama",
        optimizer=OPTIMIZER,
        rows=[dict(ids=r, prompt_len=n) for r, n in zip(data, prompts)],
        order=order,
        steps=records,
        final="final.safetensors",
        float64_gap=gaps,
    )


def run_dpo():
    """Three steps of two micro-batches of two pairs; the reference is the model that the SFT run ended with."""
    draw = random.Random(8)
    pairs = []
    for prompt, chosen, rejected in ((3, 5, 4), (2, 3, 7), (6, 4, 4), (1, 8, 2), (4, 1, 5), (5, 6, 3)):
        head = draw_row(draw, prompt + 1)[:-1]
        tails = [[draw.randrange(3, 67) for _ in range(n - 1)] + [2] for n in (chosen, rejected)]
        pairs.append(dict(chosen=head + tails[0], rejected=head + tails[1], prompt_len=prompt))
    order = [[[0, 1], [2, 3]], [[4, 5], [0, 2]], [[1, 3], [4, 2]]]

    def sums(model, micro):
        lens = [pairs[i]["prompt_len"] for i in micro]
        return [completion_sum(model, [pairs[i][side] for i in micro], lens) for side in ("chosen", "rejected")]

    def make_loss(dtype):
        reference = load("llama", AutoModelForCausalLM, torch.float32)
        reference.load_state_dict(load_file(TRAINERS / "sft" / "final.safetensors"))
        reference = reference.to(dtype)

        def loss(model, micro, step):
            with torch.no_grad():
                ref_w, ref_l = sums(reference, micro)
            pi_w, pi_l = sums(model, micro)
            h = (pi_w - ref_w) - (pi_l - ref_l)
            share = -logsigmoid(BETA * h).sum() / sum(len(part) for part in step)
            kept = dict(policy_chosen=pi_w, policy_rejected=pi_l, reference_chosen=ref_w, reference_rejected=ref_l)
            return share, {k: v.detach().tolist() for k, v in kept.items()} | dict(margins=(BETA * h).tolist())

        return loss

    records, gaps = twice("llama", AutoModelForCausalLM, order, make_loss, TRAINERS / "dpo" / "final.safetensors")
    return dict(
        case="dpo",
        note="sigmoid loss, summed completion log-probs with eos, mean over the step's pairs",
        start="../llama",
        reference="../sft/final.safetensors",
        beta=BETA,
        optimizer=OPTIMIZER,
        pairs=pairs,
        order=order,
        steps=records,
        final="final.safetensors",
        float64_gap=gaps,
    )


def run_reward(center=0.0, margins=None, name="reward"):
    """Five Bradley-Terry steps of two micro-batches of two pairs."""
    draw = random.Random(9)
    pairs = []
    for i, (prompt, chosen, rejected) in enumerate(((3, 5, 4), (2, 3, 7), (6, 4, 4), (1, 8, 2), (4, 1, 5), (5, 6, 3))):
        head = draw_row(draw, prompt + 1)[:-1]
        tails = [[draw.randrange(3, 67) for _ in range(n - 1)] + [2] for n in (chosen, rejected)]
        margin = margins[i] if margins else 0.0
        pairs.append(dict(chosen=head + tails[0], rejected=head + tails[1], prompt_len=prompt, margin=margin))
    order = [[draw.sample(range(6), 2), draw.sample(range(6), 2)] for _ in range(5)]

    def make_loss(_):
        def loss(model, micro, step):
            w = scores(model, [pairs[i]["chosen"] for i in micro])
            l = scores(model, [pairs[i]["rejected"] for i in micro])
            m = torch.tensor([pairs[i]["margin"] for i in micro], dtype=w.dtype)
            each = -logsigmoid(w - l - m) + center * (w + l) ** 2
            share = each.sum() / sum(len(part) for part in step)
            return share, dict(chosen=w.tolist(), rejected=l.tolist())

        return loss

    final = TRAINERS / name / "final.safetensors"
    records, gaps = twice("llama-score", AutoModelForSequenceClassification, order, make_loss, final)
    return dict(
        case=name,
        note="mean over the step's pairs of -log sigmoid(chosen - rejected - margin) + center (chosen + rejected)^2",
        start="../llama-score",
        center=center,
        optimizer=OPTIMIZER,
        pairs=pairs,
        order=order,
        steps=records,
        final="final.safetensors",
        float64_gap=gaps,
    )


def main(names):
    setup()
    runs = dict(
        sft=run_sft,
        dpo=run_dpo,
        reward=run_reward,
        margin=lambda: run_reward(0.01, [1.0, 2 / 3, 1 / 3, 0.0, 1.0, 0.0], "reward-margin"),
    )
    if not names:
        write_start("llama", AutoModelForCausalLM, seed=11)
        write_start("llama-score", AutoModelForSequenceClassification, seed=12, num_labels=1, pad_token_id=0)
    for name in names or runs:
        golden = runs[name]()
        write_json(TRAINERS / golden["case"] / "golden.json", golden | dict(versions=versions()))
        print(name, [f"{r['loss']:.4f}/{r['grad_norm']:.2f}" for r in golden["steps"]], golden["float64_gap"])


if __name__ == "__main__":
    main(sys.argv[1:])
