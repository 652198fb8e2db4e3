"""TRL's XPOTrainer: two fresh answers per prompt, one of them the reference's, ranked by a reward model; one step on the pair."""

import common

args = common.options(__doc__)

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback  # noqa: E402
from trl.experimental.xpo import XPOConfig, XPOTrainer  # noqa: E402

dtype = getattr(torch, args.dtype)
tok = AutoTokenizer.from_pretrained(args.inputs + "/model")
policy, reference = (AutoModelForCausalLM.from_pretrained(args.inputs + "/model", dtype=dtype) for _ in range(2))
reward = AutoModelForSequenceClassification.from_pretrained(args.inputs + "/reward", num_labels=1, dtype=dtype)
rows = common.rows(args.inputs + "/prompts.jsonl")[: args.steps * args.batch]

config = XPOConfig(
    output_dir=args.out, use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], save_strategy="no",
    per_device_train_batch_size=args.batch, max_new_tokens=64, temperature=0.9, max_steps=args.steps,
    logging_strategy="no", seed=1, disable_tqdm=True, num_train_epochs=1,
)
clock = common.StepClock.of(TrainerCallback)
XPOTrainer(
    model=policy, ref_model=reference, reward_funcs=reward, args=config, processing_class=tok,
    reward_processing_classes=tok, train_dataset=Dataset.from_list(rows), callbacks=[clock],
).train()
common.report(steps=clock.steps)
