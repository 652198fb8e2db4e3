"""What all rivals share: the options, the two ways of running, and the line of JSON that the harness reads.

*stock* is the tool as its users start it. *tuned* adds what a careful user of a CPU would: matmul precision "medium" here,
and from the harness malloc settings that keep freed memory (MALLOC_MMAP_MAX_=0 and two more), without which every large
temporary is mapped and zeroed anew.
"""

import argparse
import json
import logging
import os
import sys
import time

started = time.perf_counter()
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch  # noqa: E402


def options(description, **extra):
    """Parses the command line; extra maps the names of further options to their defaults."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--inputs", required=True, help="folder that prepare.py filled")
    p.add_argument("--out", required=True, help="scratch folder")
    p.add_argument("--way", choices=["stock", "tuned"], default="stock")
    p.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--steps", type=int, default=6)
    p.add_argument("--batch", type=int, default=16)
    for name, default in extra.items():
        p.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    if args.way == "tuned":
        torch.set_float32_matmul_precision("medium")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    return args


def rows(path):
    with open(path) as f:
        return [json.loads(line) for line in f]


def report(**numbers):
    """Ends the job with its measurements, all in seconds and counts."""
    sys.stdout.flush()
    print(json.dumps(numbers), flush=True)


class StepClock:
    """A trainer's callback that keeps when each optimizer step began and ended."""

    @staticmethod
    def of(base):
        class Clock(base):
            def __init__(self):
                self.steps = []

            def on_step_begin(self, *_, **__):
                self.began = time.perf_counter()

            def on_step_end(self, *_, **__):
                self.steps.append({"total": time.perf_counter() - self.began})

        return Clock()
