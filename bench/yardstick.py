"""The kernels of this folder in PyTorch, under the same names and in Go's benchmark format.

    make bench > salsa.txt; python bench/yardstick.py > torch.txt; benchstat torch.txt salsa.txt

It is a yardstick only; nothing else here runs Python. Each loop ends when the device is done. PyTorch's
log-probabilities come without the entropy that salsa's kernel returns beside them.
"""

import argparse
import os
import time

import torch
import torch.nn.functional as F

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--device", default="cpu")
parser.add_argument("--dtype", default="float32")
parser.add_argument("--threads", type=int, default=0, help="0: PyTorch's choice")
parser.add_argument("--seconds", type=float, default=1.0, help="measured time of each benchmark")
parser.add_argument("--only", default="", help="just the benchmark of this name")
args = parser.parse_args()
if args.threads:
    torch.set_num_threads(args.threads)
dtype = getattr(torch, args.dtype)


def sync():
    if args.device != "cpu":
        torch.cuda.synchronize()


def bench(name, fn, **figures):
    """Times fn and prints ns/op and each figure: (amount per call, scale), as amount/s/scale."""
    if args.only not in ("", name):
        return
    fn()
    sync()
    n, spent = 1, 0.0
    while True:
        start = time.perf_counter()
        for _ in range(n):
            fn()
            sync()
        spent = time.perf_counter() - start
        if spent >= args.seconds:
            break
        n = max(n + 1, int(n * min(100.0, 1.2 * args.seconds / max(spent, 1e-9))))
    line = f"Benchmark{name}-{os.cpu_count()}\t{n}\t{spent / n * 1e9:.0f} ns/op"
    for unit, (amount, scale) in figures.items():
        line += f"\t{amount * n / spent / scale:.4g} {unit}"
    print(line, flush=True)


def normal(*shape, grad=False):
    return torch.randn(*shape, dtype=dtype, device=args.device).requires_grad_(grad)


def size(*tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


def train(fn, *leaves):
    """A function that runs fn forward and backward and drops the leaves' gradients."""

    def step():
        fn().sum().backward()
        for t in leaves:
            t.grad = None

    return step


@torch.no_grad()
def forward_kernels():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])
    bench("Dispatch/tensor", lambda: x + x)
    for m, k, n in (256, 256, 256), (1024, 1024, 1024), (512, 768, 3072), (1, 768, 3072):
        a, b, out = normal(m, k), normal(k, n), normal(m, n)
        work = {"GFLOP/s": (2 * m * k * n, 1e9)}
        bench(f"Matmul/{m}x{k}x{n}/tensor", lambda: a @ b, **work)
        bench(f"Matmul/{m}x{k}x{n}/limit", lambda: torch.mm(a, b, out=out), **work)
    for t, d in (1, 4096), (512, 768), (2048, 4096):
        x, w = normal(t, d), normal(d)
        bench(f"RMSNorm/{t}x{d}/forward", lambda: F.rms_norm(x, (d,), w, 1e-5), **{"GB/s": (2 * size(x) + size(w), 1e9)})
    for b, h, t, d in (8, 8, 1, 64), (1, 8, 512, 64), (1, 32, 2048, 128):
        x, angle = normal(b, h, t, d), torch.randn(1, 1, t, d // 2, device=args.device)
        cos, sin = angle.cos(), angle.sin()

        def rope():
            u, v = x.chunk(2, -1)
            return torch.cat((u * cos - v * sin, v * cos + u * sin), -1)

        bench(f"Rope/B{b}-H{h}-T{t}-D{d}", rope, **{"GB/s": (2 * size(x) + size(cos, sin), 1e9)})


def attention():
    for name, b, h, g, t, s, causal, grad in (
        ("causal", 1, 8, 8, 512, 512, True, False),
        ("causal", 1, 8, 8, 2048, 2048, True, False),
        ("gqa", 1, 8, 2, 512, 512, True, False),
        ("gqa", 1, 8, 2, 2048, 2048, True, False),
        ("train", 2, 8, 2, 512, 512, True, True),
        ("decode", 8, 8, 2, 1, 1024, False, False),
    ):
        q, k, v = (normal(b, n, m, 64, grad=grad) for n, m in ((h, t), (g, s), (g, s)))

        def step():
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=h != g)

        work = 4 * b * h * t * s * 64 / (2 if causal else 1) * (3.5 if grad else 1)
        with torch.set_grad_enabled(grad):
            bench(f"Attention/{name}/B{b}-H{h}-KV{g}-T{t}-S{s}", train(step, q, k, v) if grad else step, **{"GFLOP/s": (work, 1e9)})


def training_kernels():
    for t, i, o in (512, 768, 768), (512, 768, 3072):
        x, w = normal(t, i, grad=True), normal(o, i, grad=True)
        bench(f"Linear/{t}x{i}x{o}/train", train(lambda: F.linear(x, w), x, w), **{"GFLOP/s": (6 * t * i * o, 1e9)})
    x, w = normal(512, 768, grad=True), normal(768, grad=True)
    bench("RMSNorm/512x768/train", train(lambda: F.rms_norm(x, (768,), w, 1e-5), x, w), **{"GB/s": (5 * size(x) + 2 * size(w), 1e9)})
    for n, d, v in (512, 256, 4096), (512, 768, 32000):
        h, w = normal(n, d, grad=True), normal(v, d, grad=True)
        ids = torch.arange(n, device=args.device) * 7919 % v

        def logp():  # all logits at once, as PyTorch users write it
            return -F.cross_entropy(h @ w.T, ids, reduction="none")

        figures = {"tokens/s": (n, 1)}
        with torch.no_grad():
            bench(f"LinearLogProb/N{n}-D{d}-V{v}/forward", logp, **figures)
        bench(f"LinearLogProb/N{n}-D{d}-V{v}/train", train(logp, h, w), **figures)
    for n, d in (64, 64), (16, 1024):
        params = [normal(d, d, grad=True) for _ in range(n)]
        for p in params:
            p.grad = torch.randn_like(p)
        grads = [p.grad for p in params]
        opt = torch.optim.AdamW(params, lr=1e-5, fused=True)

        def step():  # bfloat16 has no float32 weights behind it here, and moments of its own type
            torch._foreach_mul_(grads, 0.999)
            opt.step()

        bench(f"AdamW/{n}x{d}x{d}/{args.dtype}/tensor", step, **{"GB/s": (7 * size(*params), 1e9)})
        if d == 1024:
            bench(f"GradNorm/{args.dtype}", lambda: torch.nn.utils.get_total_norm(grads), **{"GB/s": (size(*params), 1e9)})


forward_kernels()
attention()
training_kernels()
