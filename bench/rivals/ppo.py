"""TRL's PPOTrainer: policy, reference, reward and value model of one trunk size, a batch's whole iteration per step."""

import time

import common

args = common.options(__doc__)

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer  # noqa: E402
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer  # noqa: E402

dtype = getattr(torch, args.dtype)
tok = AutoTokenizer.from_pretrained(args.inputs + "/model")
policy, reference = (AutoModelForCausalLM.from_pretrained(args.inputs + "/model", dtype=dtype) for _ in range(2))
reward, value = (AutoModelForSequenceClassification.from_pretrained(args.inputs + "/reward", num_labels=1, dtype=dtype) for _ in range(2))
prompts = [{"input_ids": tok(r["prompt"]).input_ids} for r in common.rows(args.inputs + "/prompts.jsonl")]
prompts = prompts[: args.steps * args.batch]

# bfloat16 here is TRL's cheapest form: weights of that type and no float32 masters, no autocast.
config = PPOConfig(
    output_dir=args.out, use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], save_strategy="no",
    per_device_train_batch_size=args.batch, gradient_accumulation_steps=1, num_mini_batches=1, num_ppo_epochs=4,
    total_episodes=args.steps * args.batch, local_rollout_forward_batch_size=args.batch, response_length=64,
    num_sample_generations=0, temperature=0.7, logging_steps=1, seed=1, disable_tqdm=True,
)
trainer = PPOTrainer(
    args=config, processing_class=tok, model=policy, ref_model=reference, reward_model=reward, value_model=value,
    train_dataset=Dataset.from_list(prompts), eval_dataset=Dataset.from_list(prompts[:1]),
)

marks = []  # (phase that begins, time)
generate, forward, log = ppo_trainer.batch_generation, ppo_trainer.forward, trainer.log


def timed_generate(*a, **k):
    marks.append(("generate", time.perf_counter()))
    out = generate(*a, **k)
    marks.append(("score", time.perf_counter()))
    return out


def timed_forward(*a, **k):
    if torch.is_grad_enabled() and marks[-1][0] != "update":
        marks.append(("update", time.perf_counter()))
    return forward(*a, **k)


def timed_log(*a, **k):
    marks.append(("end", time.perf_counter()))
    return log(*a, **k)


ppo_trainer.batch_generation, ppo_trainer.forward, trainer.log = timed_generate, timed_forward, timed_log
trainer.train()

steps = []
for (phase, began), (_, ended) in zip(marks, marks[1:]):
    if phase == "generate":
        steps.append({"total": 0.0})
    if phase != "end":
        steps[-1][phase] = ended - began
        steps[-1]["total"] += ended - began
common.report(steps=steps)
