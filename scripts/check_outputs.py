"""Loads one of every kind of folder that salsa writes in transformers and PEFT, offline, and compares what they compute.

    make build && python scripts/check_outputs.py [--salsa bin/salsa]      needs torch, transformers and peft

A model of random weights is trained for a few steps by each command, whole and by adapters. Then `salsa score` and
transformers (or PEFT, for adapters) read the same folders and the same rows; log-probabilities and rewards must agree
to 1e-4. No weight may be missing, left over or of another shape. It takes about a minute.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402
from peft import PeftModel  # noqa: E402
from safetensors import safe_open  # noqa: E402
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM  # noqa: E402
from transformers.utils import logging  # noqa: E402

VOCAB, EOS = 300, 2
AGREE = 1e-4


def write_rows(folder):
    """Rows of ids, so that no tokenizer is needed."""
    draw = random.Random(5)
    text = lambda n: [draw.randrange(3, VOCAB) for _ in range(n)]  # noqa: E731
    rows = [dict(prompt_ids=[1] + text(4), completion_ids=text(6) + [EOS]) for _ in range(16)]
    pairs = [dict(prompt_ids=[1] + text(4), chosen_ids=text(5) + [EOS], rejected_ids=text(3) + [EOS]) for _ in range(16)]
    for name, list_ in (("rows", rows), ("pairs", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in list_))
    return rows


def write_start(folder):
    """A model of more than a megabyte, so that --max-shard-mb 1 has something to cut."""
    torch.manual_seed(3)
    config = LlamaConfig(vocab_size=VOCAB, hidden_size=96, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=EOS, initializer_range=0.15)
    LlamaForCausalLM(config).save_pretrained(folder / "start")


class Outputs:
    def __init__(self, salsa, folder):
        self.salsa, self.folder = salsa, folder
        self.rows = write_rows(folder)
        write_start(folder)

    def run(self, line):
        args = [str(self.folder / a[1:]) if a.startswith("@") else a for a in line.split()]
        subprocess.run([self.salsa, *args, "--quiet"], check=True)

    def make(self):
        train = "--max-steps 3 --batch-size 4 --learning-rate 0.003"
        lora = train + " --lora-rank 4"
        self.run(f"sft --model @start --data @rows.jsonl {train} --out @sft")
        self.run(f"sft --model @start --data @rows.jsonl {train} --dtype bfloat16 --out @bf16")
        self.run(f"sft --model @start --data @rows.jsonl {lora} --out @sft-lora")
        self.run(f"dpo --model @sft --reference @sft --data @pairs.jsonl {lora} --lora-targets q_proj,v_proj --out @dpo-lora")
        self.run(f"reward --model @sft --data @pairs.jsonl {train} --out @reward")
        self.run(f"reward --model @sft --data @pairs.jsonl {lora} --out @reward-lora")
        self.run(f"soup --max-shard-mb 1 --out @soup {self.folder}/start {self.folder}/sft")
        self.run(f"soup --out @soup-lora {self.folder}/start {self.folder}/sft-lora/adapter")
        ppo = "ppo --model @sft --reference @sft --data @rows.jsonl --max-new-tokens 4"
        self.run(f"{ppo} --reward-model @reward {train} --out @ppo")
        self.run(f"{ppo} --reward-model @reward-lora {lora} --out @ppo-lora")

    def score(self, name):
        """-> what salsa computes of the rows: a list of log-probs of the completion's tokens, or one reward, per row."""
        out = self.folder / "scores.jsonl"
        self.run(f"score --model @{name} --data @rows.jsonl --out {out}")
        read = [json.loads(line) for line in out.read_text().splitlines()]
        return [r["token_logprobs"] if "token_logprobs" in r else [r["reward"]] for r in read]

    def compute(self, model, row):
        """-> the same of one row by transformers or PEFT."""
        ids = torch.tensor([row["prompt_ids"] + row["completion_ids"]])
        with torch.no_grad():
            logits = model(ids).logits[0]
        if logits.ndim == 1:
            return logits.tolist()
        logp = torch.log_softmax(logits[:-1].float(), -1).gather(-1, ids[0, 1:, None])[:, 0]
        return logp[len(row["prompt_ids"]) - 1 :].tolist()

    def load(self, name, scorer):
        auto = AutoModelForSequenceClassification if scorer else AutoModelForCausalLM
        folder = self.folder / name
        if not (folder / "adapter_config.json").exists():
            model, info = auto.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
            wrong = {k: info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[k]}
            if wrong:
                raise SystemExit(f"{name}: {wrong}")
            return model.eval()
        keys = json.loads((folder / "adapter_config.json").read_text())
        base = auto.from_pretrained(keys["base_model_name_or_path"], dtype=torch.float32, **(dict(num_labels=1) if scorer else {}))
        model = PeftModel.from_pretrained(base, folder)
        with safe_open(folder / "adapter_model.safetensors", "pt") as f:
            stored = len(f.keys())
        taken = sum(("lora_" in n) or ("modules_to_save" in n) for n, _ in model.named_parameters())
        if taken != stored:
            raise SystemExit(f"{name}: PEFT has {taken} weights and the file {stored}")
        return model.eval()

    def check(self, name, scorer=False):
        model = self.load(name, scorer)
        model.config.pad_token_id = None  # rows come one at a time; nothing is padding
        far = 0.0
        for row, want in zip(self.rows, self.score(name)):
            got = self.compute(model, row)
            if len(got) != len(want):
                raise SystemExit(f"{name}: {len(want)} numbers by salsa and {len(got)} by transformers")
            far = max(far, *(abs(a - b) for a, b in zip(got, want)))
        print(f"{name:24} {far:.1e}")
        if not far <= AGREE:
            raise SystemExit(f"{name}: salsa and transformers differ by {far}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--salsa", default="bin/salsa")
    salsa = str(pathlib.Path(parser.parse_args().salsa).resolve())
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        out = Outputs(salsa, pathlib.Path(folder))
        out.make()
        if len(list((out.folder / "soup").glob("model-*.safetensors"))) < 2:
            raise SystemExit("soup: --max-shard-mb 1 left one file")
        for name in ("sft", "bf16", "soup", "soup-lora", "sft-lora", "sft-lora/adapter", "dpo-lora", "dpo-lora/adapter", "ppo", "ppo-lora", "ppo-lora/adapter"):
            out.check(name)
        for name in ("reward", "reward-lora", "reward-lora/adapter", "ppo/value", "ppo-lora/value", "ppo-lora/value/adapter"):
            out.check(name, scorer=True)
        print("all folders load and agree")


if __name__ == "__main__":
    main()
