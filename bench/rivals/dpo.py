"""TRL's DPOTrainer; --reference ahead computes the reference's log-probabilities once, before training, as salsa does."""

import common

args = common.options(__doc__, reference="ahead")

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback  # noqa: E402
from trl import DPOConfig, DPOTrainer  # noqa: E402

tok = AutoTokenizer.from_pretrained(args.inputs + "/model")
dtype = getattr(torch, args.dtype)
policy, reference = (AutoModelForCausalLM.from_pretrained(args.inputs + "/model", dtype=dtype) for _ in range(2))
rows = common.rows(args.inputs + "/dpo.jsonl")[: args.steps * args.batch]

config = DPOConfig(
    output_dir=args.out, use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], save_strategy="no",
    per_device_train_batch_size=args.batch, max_steps=args.steps, precompute_ref_log_probs=args.reference == "ahead",
    precompute_ref_batch_size=args.batch, logging_strategy="no", seed=1, disable_tqdm=True, beta=0.1,
)
clock = common.StepClock.of(TrainerCallback)
DPOTrainer(
    model=policy, ref_model=reference, args=config, processing_class=tok, train_dataset=Dataset.from_list(rows), callbacks=[clock]
).train()
for step in clock.steps:
    step["work"] = args.batch
common.report(steps=clock.steps)
