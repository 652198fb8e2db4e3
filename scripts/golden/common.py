"""What the golden-file scripts share: versions, random weights, token log-probs and a compact JSON writer.

The files these scripts write hold numbers that the Go tests are held to. They are made by Hugging Face transformers
on PyTorch in float32 on the CPU, with `attn_implementation="eager"`, and need to be made again only when a case
changes: the Go tests read the committed files and need no Python.
"""

import json
import math
import pathlib
import platform

import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "models" / "testdata"
TRAINERS = ROOT / "trainers" / "testdata"


def setup():
    """One thread and deterministic kernels, so that a second run on this machine writes the same bytes."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.set_default_dtype(torch.float32)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def versions():
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def randomise(model, seed, std=0.3, embed_std=0.5, final_norm=1.0):
    """Overwrites every parameter, in name order, with normal noise.

    Hugging Face's own init (std 0.02) gives almost flat distributions that hide mistakes. Norm weights get noise
    around the neutral value: 1, or 0 for the Gemma families, which compute x * (1 + w).
    """
    generator = torch.Generator().manual_seed(seed)
    one = 0.0 if model.config.model_type.startswith("gemma") else 1.0
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if name == "model.norm.weight":
                p.copy_(one + final_norm - 1 + 0.2 * noise)
            elif name.endswith("norm.weight"):
                p.copy_(one + 0.2 * noise)
            elif name.endswith("bias"):
                p.copy_(0.3 * noise)
            elif "embed" in name or "lm_head" in name or "score" in name:
                p.copy_(embed_std * noise)
            else:
                p.copy_(std * noise)


def pad(rows, side, fill=0):
    """Ragged rows -> ids, mask, positions, each [B, T]. Positions count real tokens from 0; they are 0 on padding."""
    width = max(len(r) for r in rows)
    ids, mask, positions = [], [], []
    for r in rows:
        gap = width - len(r)
        before, after = (gap, 0) if side == "left" else (0, gap)
        ids.append([fill] * before + list(r) + [fill] * after)
        mask.append([0] * before + [1] * len(r) + [0] * after)
        positions.append([0] * before + list(range(len(r))) + [0] * after)
    return torch.tensor(ids), torch.tensor(mask), torch.tensor(positions)


def unpad(x, mask):
    """[B, T, ...] -> a list of B tensors that hold the real positions of each row."""
    return [row[m.bool()] for row, m in zip(x, mask)]


def token_logprobs(logits, ids):
    """logits [T, V], ids [T] -> log p(ids[t] | ids[:t]) for t = 1..T-1, [T-1]."""
    logp = torch.log_softmax(logits[:-1].float() if logits.dtype != torch.float64 else logits[:-1], dim=-1)
    return logp.gather(-1, ids[1:, None])[:, 0]


def plain(x):
    """Tensors and nested containers -> what json.dumps takes, floats with 9 significant digits (enough for float32)."""
    if isinstance(x, torch.Tensor):
        return plain(x.detach().tolist())
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    if isinstance(x, bool) or not isinstance(x, float):
        return x
    if not math.isfinite(x):
        raise ValueError(f"{x} has no place in a golden file")
    return float(f"{x:.9g}")


def write_json(path, golden):
    """One top-level key a line: small, and a diff shows what moved."""
    lines = [f"{json.dumps(k)}: {json.dumps(plain(v), separators=(',', ':'))}" for k, v in golden.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
