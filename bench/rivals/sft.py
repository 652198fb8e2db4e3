"""TRL's SFTTrainer on rows of mixed length, packed (its best-fit packing) or padded; real tokens are what counts."""

import common

args = common.options(__doc__, layout="packed", max_length=512)

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

packed = args.layout == "packed"
tok = AutoTokenizer.from_pretrained(args.inputs + "/model")
model = AutoModelForCausalLM.from_pretrained(args.inputs + "/model", dtype=getattr(torch, args.dtype))
rows = common.rows(args.inputs + "/sft.jsonl")

config = SFTConfig(
    output_dir=args.out, use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], save_strategy="no",
    per_device_train_batch_size=args.batch, max_steps=args.steps, max_length=args.max_length, packing=packed,
    logging_strategy="no", seed=1, disable_tqdm=True,
)
clock = common.StepClock.of(TrainerCallback)
trainer = SFTTrainer(model=model, args=config, processing_class=tok, train_dataset=Dataset.from_list(rows), callbacks=[clock])

counts = []
prepare = trainer._prepare_inputs


def counted(inputs):
    mask = inputs.get("attention_mask")
    counts.append(int(mask.sum()) if mask is not None else int((inputs["input_ids"] != tok.pad_token_id).sum()))
    return prepare(inputs)


trainer._prepare_inputs = counted
trainer.train()
for step, n in zip(clock.steps, counts):
    step["work"] = n
common.report(steps=clock.steps)
