"""Writes models/testdata/<case>/: a Hugging Face folder with random weights and golden.json with what it computes.

    /opt/hf/bin/python scripts/golden/models.py             all cases
    /opt/hf/bin/python scripts/golden/models.py llama-gqa   the named ones

README.md beside this file explains golden.json's fields.
"""

import copy
import json
import random
import shutil
import sys

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, GenerationConfig

from cases import all_cases
from common import MODELS, pad, randomise, setup, token_logprobs, unpad, versions, write_json

LENGTHS = [24, 7, 15, 2]
PROMPT_LENGTHS = [3, 9, 6]
NEW_TOKENS = 24
AGREE = 2e-5  # how far left-padded, right-padded and unpadded float32 runs of one row may lie apart


def auto(case):
    return AutoModelForSequenceClassification if case.classifier else AutoModelForCausalLM


def rows(case, lengths, seed):
    """Random ids, bos first. Id 0, which also fills padding, occurs as a real token, except for classifiers, where
    transformers finds a row's end by comparing with it."""
    draw = random.Random(seed)
    low = 3 if case.classifier else 0
    choice = [i for i in range(low, case.config.vocab_size) if i not in (1, *case.eos)]
    return [[1] + [draw.choice(choice) for _ in range(n - 1)] for n in lengths]


def v4_config(case, config):
    """config.json's keys as transformers 4 wrote them; the numbers a model computes must not change."""
    new = ("rope_parameters", "dtype", "layer_types", "_sliding_window_pattern")
    old = {k: v for k, v in config.items() if k not in new}
    params = config["rope_parameters"]
    if "full_attention" in params:
        old["rope_local_base_freq"] = params["sliding_attention"]["rope_theta"]
        params = params["full_attention"]
    old["rope_theta"] = params["rope_theta"]
    scaling = {k: v for k, v in params.items() if k != "rope_theta"}
    old["rope_scaling"] = None if scaling == {"rope_type": "default"} else scaling
    old["torch_dtype"] = config["dtype"]
    old["transformers_version"] = "4.46.3"
    return {**old, **case.v4}


def write_folder(case, folder):
    """Random weights, rounded to the dtype they are stored in, and both spellings of config.json."""
    shutil.rmtree(folder, ignore_errors=True)
    model = auto(case).from_config(case.config, attn_implementation="eager")
    if case.config.model_type.startswith("gemma"):
        # Embeddings are multiplied by sqrt(hidden): small ones keep them in proportion to what the layers add.
        randomise(model, case.seed, std=0.35, embed_std=0.06, final_norm=8.0)
    else:
        randomise(model, case.seed)
    model = model.to(getattr(torch, case.store))
    eos = case.eos if len(case.eos) > 1 else case.eos[0]
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=eos)
    if case.config.pad_token_id is not None:
        model.generation_config.pad_token_id = case.config.pad_token_id
    model.save_pretrained(folder, max_shard_size=case.shard or "1GB")
    config = {**json.loads((folder / "config.json").read_text()), **case.patch}
    old = v4_config(case, config)
    if case.as_v4:
        config = old
    else:
        (folder / "config-v4.json").write_text(json.dumps(old, indent=2, sort_keys=True) + "\n")
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    if case.classifier:
        (folder / "generation_config.json").unlink(missing_ok=True)


def load(case, folder, config=None):
    """A fresh float32 model from the folder: dynamic rope keeps state, so nothing is measured on a used one."""
    model, info = auto(case).from_pretrained(
        folder, config=config, attn_implementation="eager", dtype=torch.float32, output_loading_info=True
    )
    if any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")):
        raise RuntimeError(f"{case.name}: {info}")
    return model.eval()


def forward(model, ids, mask, positions):
    """-> last hidden state [B, T, D] after the final norm, and logits [B, T, V] or scores [B]."""
    with torch.no_grad():
        kw = dict(attention_mask=mask, position_ids=positions, use_cache=False)
        hidden = model.model(ids, **kw).last_hidden_state
        logits = model(ids, **kw).logits
    return hidden, logits


def rope_info(model):
    """Inverse frequencies as computed at load, one entry per kind of layer."""
    emb = model.model.rotary_emb
    params = model.config.rope_parameters
    if "full_attention" not in params:
        scaling = float(emb.attention_scaling)
        return [dict(layer_type="", parameters=params, attention_scaling=scaling, inv_freq=emb.inv_freq)]
    return [
        dict(
            layer_type=kind,
            parameters=params[kind],
            attention_scaling=float(getattr(emb, f"{kind}_attention_scaling")),
            inv_freq=getattr(emb, f"{kind}_inv_freq"),
        )
        for kind in sorted(params)
    ]


def tensors(folder):
    """Every stored tensor, by name: dtype as safetensors spells it, shape and the file that holds it."""
    out = []
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as f:
            for name in f.keys():
                s = f.get_slice(name)
                out.append(dict(name=name, dtype=s.get_dtype(), shape=s.get_shape(), file=file.name))
    return sorted(out, key=lambda t: t["name"])


def padded(case, folder, data, side):
    """One batch of all rows -> what the model says about each."""
    ids, mask, positions = pad(data, side)
    hidden, logits = forward(load(case, folder), ids, mask, positions)
    out = dict(ids=ids, mask=mask, positions=positions)
    if case.classifier:
        return {**out, "scores": logits[:, 0]}, unpad(hidden, mask)
    per_row = [token_logprobs(l, torch.tensor(r)) for l, r in zip(unpad(logits, mask), data)]
    return {**out, "token_logprobs": per_row}, unpad(hidden, mask)


def alone(case, folder, data, dtype=torch.float32):
    """Each row by itself, without padding: token log-probs per row, or scores [B]."""
    out = []
    for r in data:
        ids, mask, positions = pad([r], "right")
        _, logits = forward(load(case, folder).to(dtype), ids, mask, positions)
        out.append(logits[0, 0] if case.classifier else token_logprobs(logits[0], torch.tensor(r)))
    return torch.stack(out) if case.classifier else out


def apart(a, b):
    return max((x - y).abs().max().item() for x, y in zip(a, b))


def stop(case, ids):
    """Cuts after the first end-of-sequence token, which stays."""
    for i, token in enumerate(ids):
        if token in case.eos:
            return ids[: i + 1]
    return ids


def recompute(case, model, prompt):
    """Greedy decoding without a cache: the check on transformers' generate. Also the smallest gap between the best
    and the second-best logit, which says how much rounding the choice bears."""
    ids, gap = list(prompt), float("inf")
    while len(ids) < len(prompt) + NEW_TOKENS and (len(ids) == len(prompt) or ids[-1] not in case.eos):
        with torch.no_grad():
            logits = model(torch.tensor([ids]), use_cache=False).logits
        best = logits[0, -1].topk(2)
        gap = min(gap, (best.values[0] - best.values[1]).item())
        ids.append(best.indices[0].item())
    return ids[len(prompt) :], gap


def generate(case, folder, prompts):
    """transformers' own greedy generate on one left-padded batch -> completions, smallest gap of the first row."""
    ids, mask, _ = pad(prompts, "left")
    kw = dict(attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)
    with torch.no_grad():
        out = load(case, folder).generate(ids, return_dict_in_generate=True, output_logits=True, **kw)
    completions = [stop(case, row) for row in out.sequences[:, ids.shape[1] :].tolist()]
    best = torch.stack(out.logits[: len(completions[0])])[:, 0].topk(2).values
    return completions, (best[:, 0] - best[:, 1]).min().item()


def generate_one(case, folder, prompt):
    """Where frequencies follow the batch, decoding with a cache is a result of its own: one prompt, one fresh model."""
    completions, gap = generate(case, folder, [prompt])
    return completions[0], gap


def greedy(case, folder):
    """Looks for prompts where some rows end early, some do not, and no choice is close."""
    model = load(case, folder)
    for seed in range(100, 300):
        prompts = rows(case, PROMPT_LENGTHS, seed)
        if case.left_independent:
            decoded = [recompute(case, model, p) for p in prompts]
        else:
            decoded = [generate_one(case, folder, p) for p in prompts]
        completions, gap = [c for c, _ in decoded], min(g for _, g in decoded)
        ended = [c[-1] in case.eos for c in completions]
        if any(ended) and not all(ended) and gap > 0.003:
            break
    else:
        raise RuntimeError(f"{case.name}: no prompts where some rows end and no choice is close")
    if case.left_independent and (cached := generate(case, folder, prompts)[0]) != completions:
        raise RuntimeError(f"{case.name}: generate with cache {cached} is not {completions}")
    return dict(
        prompts=prompts,
        max_new_tokens=NEW_TOKENS,
        eos=case.eos,
        batched=case.left_independent,
        completions=completions,
        ended=ended,
        smallest_logit_gap=gap,
    )


def check_v4(case, folder, data, want):
    """The transformers-4 spelling of the config must load to the same model."""
    file = folder / "config-v4.json"
    if not file.exists():
        return
    old = json.loads(file.read_text())
    config = AutoConfig.for_model(**copy.deepcopy(old))
    _, logits = forward(load(case, folder, config), *pad(data, "right"))
    if (logits - want).abs().max() > 0:
        raise RuntimeError(f"{case.name}: config-v4.json describes another model")


def check_feature(case, folder, data, want):
    """Another value of the feature's keys must give other results, or the case tests nothing."""
    if not case.without:
        return
    changed = {**json.loads((folder / "config.json").read_text()), **case.without}
    _, logits = forward(load(case, folder, AutoConfig.for_model(**copy.deepcopy(changed))), *pad(data, "right"))
    if (logits - want).abs().max() < 0.05:
        raise RuntimeError(f"{case.name}: {case.without} makes no difference")


def golden(case, folder):
    data = rows(case, LENGTHS, case.seed + 10)
    model = load(case, folder)
    key = "scores" if case.classifier else "token_logprobs"
    right, hidden = padded(case, folder, data, "right")
    left, _ = padded(case, folder, data, "left")
    single = alone(case, folder, data)
    worst = max(apart(right[key], left[key]), apart(right[key], single) if case.left_independent else 0.0)
    if worst > AGREE:
        raise RuntimeError(f"{case.name}: padding moves results by {worst}")
    logits = forward(load(case, folder), *pad(data, "right"))[1]
    check_v4(case, folder, data, logits)
    check_feature(case, folder, data, logits)
    out = dict(case=case.name, note=case.note, architecture=model.config.architectures[0], seed=case.seed)
    out |= dict(versions=versions(), parameters=sum(p.numel() for p in model.parameters()))
    out |= dict(tensors=tensors(folder), rope=rope_info(model), rows=data, lengths=LENGTHS)
    out |= {key: single, "right": right, "left": left}
    picks = [(0, 0), (0, 23), (1, 6), (2, 8)]
    out["hidden"] = [dict(row=r, position=t, values=hidden[r][t]) for r, t in picks]
    if not case.classifier:
        out["greedy"] = greedy(case, folder)
    out["float64_gap"] = apart(single, alone(case, folder, data, torch.float64))
    return out


def main(names):
    setup()
    known = {c.name: c for c in all_cases()}
    if unknown := set(names) - set(known):
        raise SystemExit(f"no case {sorted(unknown)}; there are {sorted(known)}")
    for name in names or known:
        folder = MODELS / name
        write_folder(known[name], folder)
        result = golden(known[name], folder)
        write_json(folder / "golden.json", result)
        low = min(x.min().item() for x in result.get("token_logprobs", [result.get("scores")]))
        print(f"{name}: {result['parameters']} parameters, down to {low:.1f}, float64 gap {result['float64_gap']:.1e}")


if __name__ == "__main__":
    main(sys.argv[1:])
