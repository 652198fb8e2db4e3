"""Writes models/testdata/adapters/<case>/: a PEFT folder over one of models.py's models, and golden.json with what PEFT computes.

    /opt/hf/bin/python scripts/golden/adapters.py             all cases; needs peft beside transformers

PEFT begins with B = 0, which would test nothing: both matrices are overwritten with noise before they are saved.
"""

import json
import shutil
import sys

import peft
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from common import MODELS, setup, token_logprobs, versions, write_json

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {
    "llama-all": dict(base="llama-gqa", config=dict(r=4, lora_alpha=12, target_modules=ALL)),
    "llama-bf16": dict(base="llama-bf16", config=dict(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"])),
    "gemma2-rslora": dict(base="gemma2-softcap", config=dict(r=4, lora_alpha=3, use_rslora=True, target_modules=["o_proj", "down_proj"])),
    "llama-one-layer": dict(base="llama-gqa", config=dict(r=3, lora_alpha=6, target_modules=ALL, layers_to_transform=[1])),
    "llama-score": dict(base="llama-gqa", score=True, config=dict(r=4, lora_alpha=8, target_modules=ALL)),
}


def load_base(case):
    auto = AutoModelForSequenceClassification if case.get("score") else AutoModelForCausalLM
    extra = dict(num_labels=1) if case.get("score") else {}
    return auto.from_pretrained(MODELS / case["base"], attn_implementation="eager", dtype=torch.float32, **extra)


def write_folder(name, case, folder):
    shutil.rmtree(folder, ignore_errors=True)
    task = "SEQ_CLS" if case.get("score") else "CAUSAL_LM"
    model = get_peft_model(load_base(case), LoraConfig(task_type=task, **case["config"]))
    generator = torch.Generator().manual_seed(sum(name.encode()))
    with torch.no_grad():
        for _, p in sorted((n, p) for n, p in model.named_parameters() if p.requires_grad):
            p.copy_(0.2 * torch.randn(p.shape, generator=generator))
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # a model card of placeholders
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = f"../../{case['base']}"  # wherever the checkout lies
    config["target_modules"] = sorted(config["target_modules"])  # a set, in no order
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def golden(name, case, folder):
    rows = json.loads((MODELS / case["base"] / "golden.json").read_text())["rows"]
    model = PeftModel.from_pretrained(load_base(case), folder).eval()
    fields = dict(case=name, versions={**versions(), "peft": peft.__version__}, rows=rows)
    with torch.no_grad():
        if case.get("score"):
            # One row at a time and no padding: transformers would look for the row's end by its padding id.
            model.config.pad_token_id = None
            fields["scores"] = [model(torch.tensor([r])).logits[0, 0] for r in rows]
        else:
            fields["token_logprobs"] = [token_logprobs(model(torch.tensor([r])).logits[0], torch.tensor(r)) for r in rows]
    write_json(folder / "golden.json", fields)


if __name__ == "__main__":
    setup()
    for name in sys.argv[1:] or CASES:
        folder = MODELS / "adapters" / name
        write_folder(name, CASES[name], folder)
        golden(name, CASES[name], folder)
        print(name)
