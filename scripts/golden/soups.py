"""Writes soup/testdata/mergekit.golden.json: what mergekit makes of a base and its tiny fine-tunes, method by method.

    hf/bin/python scripts/golden/soups.py        # needs mergekit 0.1.5 beside torch and transformers

Three random Llamas lie around a random base, each some noise away from it. mergekit merges the folders as its users
do, from a configuration. The file holds the values of some tensors of the base, the members and every merge.

DARE's masks come from torch's generator, which Go does not have: the merges by DARE keep every entry, and what
mergekit's own function does to one tensor's task vector is kept with the mask that it drew.
"""

import importlib.metadata
import pathlib
import tempfile

import torch
import transformers
from mergekit.config import MergeConfiguration
from mergekit.merge import MergeOptions, run_merge
from mergekit.sparsify import RescaleNorm, bernoulli
from safetensors.torch import load_file

from common import ROOT, setup, versions, write_json

OUT = ROOT / "soup" / "testdata" / "mergekit.golden.json"
WEIGHTS = [0.5, 0.2, 0.3]
KEPT = [
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.0.mlp.down_proj.weight",
    "model.layers.1.input_layernorm.weight",
    "lm_head.weight",
]


def folders(root):
    """Base and members as Hugging Face folders; returns their weights."""
    config = transformers.LlamaConfig(
        vocab_size=6, hidden_size=4, intermediate_size=6, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=16, tie_word_embeddings=False,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(15)
    model = transformers.LlamaForCausalLM(config)
    base = {n: torch.randn(p.shape, generator=generator) for n, p in sorted(model.named_parameters())}
    weights = [base] + [
        {n: w + 0.3 * torch.randn(w.shape, generator=generator) for n, w in base.items()} for _ in WEIGHTS
    ]
    for name, values in zip(["base", "m1", "m2", "m3"], weights):
        with torch.no_grad():
            for n, p in model.named_parameters():
                p.copy_(values[n])
        model.save_pretrained(root / name)
    return weights


def merge(root, method, members, parameters=None, base="base", each=None, extra=None):
    """Runs mergekit and returns the merged weights. each holds parameters per member."""
    models = [
        {"model": str(root / m), "parameters": {k: v[i] for k, v in (each or {}).items()}}
        for i, m in enumerate(members)
    ]
    if method == "slerp":  # the base is one of the two models
        models, base = [{"model": str(root / m)} for m in members], members[0]
    config = {"merge_method": method, "models": models, "parameters": parameters or {}, "dtype": "float32"}
    if base:
        config["base_model"] = str(root / base)
    with tempfile.TemporaryDirectory() as out:
        run_merge(
            MergeConfiguration.model_validate(config), out,
            MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, random_seed=0),
        )  # fmt: skip
        return load_file(pathlib.Path(out) / "model.safetensors")


def merges(root):
    three = ["m1", "m2", "m3"]
    weighted = {"weight": WEIGHTS}
    thin = {"weight": WEIGHTS, "density": [0.4] * 3}
    return {
        "linear": merge(root, "linear", three, each=weighted, base=None),
        "slerp": merge(root, "slerp", three[:2], {"t": 0.3}),
        "nuslerp": merge(root, "nuslerp", three[:2], each={"weight": [0.7, 0.3]}),
        "task_arithmetic": merge(root, "task_arithmetic", three, {"lambda": 0.7}, each=weighted),
        "task_arithmetic_sum": merge(root, "task_arithmetic", three, each={"weight": [1.0, 1.0, 1.0]}),
        "ties": merge(root, "ties", three, {"lambda": 0.9}, each=thin),
        "ties_all": merge(root, "ties", three, each={"weight": WEIGHTS, "density": [1.0] * 3}),
        "dare_linear_all": merge(root, "dare_linear", three, each={"weight": WEIGHTS, "density": [1.0] * 3}),
        "dare_ties_all": merge(root, "dare_ties", three, each={"weight": WEIGHTS, "density": [1.0] * 3}),
        "model_stock": merge(root, "model_stock", three),
        "model_stock_2": merge(root, "model_stock", three[:2]),
    }


def dropped(weights):
    """One tensor's task vectors thinned by mergekit's own function: with the L1 norm kept, and not rescaled."""
    name = KEPT[1]
    torch.manual_seed(3)
    tau = weights[1][name] - weights[0][name]
    seed = torch.get_rng_state()
    plain = bernoulli(tau, 0.5, None)
    torch.set_rng_state(seed)
    l1 = bernoulli(tau, 0.5, RescaleNorm.l1)
    return {"name": name, "mask": (plain != 0).int().flatten(), "none": plain.flatten(), "l1": l1.flatten()}


def main():
    setup()
    with tempfile.TemporaryDirectory() as tmp:
        root = pathlib.Path(tmp)
        weights = folders(root)
        results = merges(root)
        golden = {
            "versions": versions() | {"mergekit": importlib.metadata.version("mergekit")},
            "weights": WEIGHTS,
            "base": {n: weights[0][n].flatten() for n in KEPT},
            "members": [{n: w[n].flatten() for n in KEPT} for w in weights[1:]],
            "merged": {method: {n: r[n].flatten() for n in KEPT} for method, r in results.items()},
            "dropped": dropped(weights),
        }
    write_json(OUT, golden)
    print(OUT, OUT.stat().st_size)


if __name__ == "__main__":
    main()
