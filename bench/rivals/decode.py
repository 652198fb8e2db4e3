"""transformers' generate: --new tokens for each of --steps batches, greedy or sampled. With --new 1 --steps 1: start to first token."""

import time

import common

args = common.options(__doc__, new=64, temperature=0.0, prompts="prompts.jsonl")

import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

tok = AutoTokenizer.from_pretrained(args.inputs + "/model")
model = AutoModelForCausalLM.from_pretrained(args.inputs + "/model", dtype=getattr(torch, args.dtype)).eval()
rows = common.rows(f"{args.inputs}/{args.prompts}")[: args.steps * args.batch]
sampling = {"do_sample": True, "temperature": args.temperature, "top_k": 0} if args.temperature else {"do_sample": False}
torch.manual_seed(1)
steps = []
for i in range(0, len(rows), args.batch):
    began = time.perf_counter()
    batch = tok([r["prompt"] for r in rows[i : i + args.batch]], return_tensors="pt", padding=True)
    with torch.inference_mode():
        out = model.generate(**batch, max_new_tokens=args.new, eos_token_id=None, pad_token_id=tok.pad_token_id, **sampling)
    tok.batch_decode(out)
    steps.append({"total": time.perf_counter() - began, "work": args.new * len(batch.input_ids)})
common.report(steps=steps)
