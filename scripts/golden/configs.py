"""Writes models/testdata/configs.golden.json: the weights that transformers declares for each config.json there.

    /opt/hf/bin/python scripts/golden/configs.py

The configs are those of published models. The models are built on PyTorch's meta device, so no weight exists, and a
weight that several places share counts and is listed once, under the name that save_pretrained keeps.
"""

import copy
import json
import re

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from common import MODELS, setup, versions, write_json


def declared(config):
    """-> architecture, parameters and the tensors with layer numbers folded: {name with {}: [shape, how many]}."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**copy.deepcopy(config)))
    tensors = {}
    for name, p in model.named_parameters():  # a shared weight comes once, first as the embedding
        folded = re.sub(r"\.layers\.\d+\.", ".layers.{}.", name)
        shape, count = tensors.setdefault(folded, [list(p.shape), 0])
        if shape != list(p.shape):
            raise RuntimeError(f"{folded}: layers differ, {shape} and {list(p.shape)}")
        tensors[folded][1] = count + 1
    if names := [n for n, b in model.named_buffers() if n in model.state_dict()]:
        raise RuntimeError(f"buffers {names} are stored too")
    total = sum(p.numel() for p in model.parameters())
    return dict(architecture=type(model).__name__, parameters=total, tensors=tensors)


def main():
    setup()
    folder = MODELS / "configs"
    out = {"versions": versions()}
    for file in sorted(folder.glob("*.json")):
        out[file.stem] = declared(json.loads(file.read_text()))
        print(f"{file.stem}: {out[file.stem]['parameters']} parameters")
    write_json(MODELS / "configs.golden.json", out)


if __name__ == "__main__":
    main()
