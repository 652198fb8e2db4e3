"""Golden files for the tests, and the reference implementation's reading of what Go wrote.

    python golden.py make        writes mixed.safetensors and sharded/ beside this file
    python golden.py check DIR   reads a folder that WriteDir made of the tensors in tensors()
"""
import json, pathlib, sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent


def tensors():
    """One tensor per dtype that both sides know; element i of tensor k is (7 * i + k) % 11 (bool: % 2)."""
    kinds = {
        "a.bool": torch.bool, "b.u8": torch.uint8, "c.i8": torch.int8, "d.i16": torch.int16,
        "e.f16": torch.float16, "f.bf16": torch.bfloat16, "g.i32": torch.int32, "h.f32": torch.float32,
        "i.f64": torch.float64, "j.i64": torch.int64, "k.bf16": torch.bfloat16, 'l."quoted" <&> é': torch.float32,
    }
    shapes = [(2, 3), (5,), (), (0, 4), (1, 1, 3)]
    out = {}
    for k, (name, dtype) in enumerate(kinds.items()):
        shape = shapes[k % len(shapes)]
        n = int(torch.tensor(shape).prod()) if shape else 1
        values = (7 * torch.arange(n) + k) % 11
        out[name] = (values % 2 if dtype == torch.bool else values).to(dtype).reshape(shape)
    return out


def make():
    save_file(tensors(), HERE / "mixed.safetensors", metadata={"format": "pt"})
    folder = HERE / "sharded"
    folder.mkdir(exist_ok=True)
    parts = {"model-00001-of-00002.safetensors": ["emb"], "model-00002-of-00002.safetensors": ["norm", "out"]}
    weights = {"emb": torch.arange(6.0).reshape(3, 2), "norm": torch.ones(2), "out": torch.arange(4).to(torch.bfloat16)}
    index = {"metadata": {"total_parameters": 12, "total_size": 40}, "weight_map": {}}
    for shard, names in parts.items():
        save_file({n: weights[n] for n in names}, folder / shard, metadata={"format": "pt"})
        index["weight_map"].update({n: shard for n in names})
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def check(folder):
    folder = pathlib.Path(folder)
    index = folder / "model.safetensors.index.json"
    if index.exists():
        weight_map = json.loads(index.read_text())["weight_map"]
        files = sorted(set(weight_map.values()))
    else:
        weight_map, files = None, ["model.safetensors"]
    got = {}
    for name in files:
        with safe_open(folder / name, "pt") as f:
            assert f.metadata() == {"format": "pt"}, f.metadata()
            assert weight_map is None or all(weight_map[k] == name for k in f.keys())
        got.update(load_file(folder / name))
    want = tensors()
    assert got.keys() == want.keys(), got.keys() ^ want.keys()
    for name, value in want.items():
        assert got[name].dtype == value.dtype and torch.equal(got[name], value), name
    print(f"{len(got)} tensors in {len(files)} files are equal")


if __name__ == "__main__":
    make() if sys.argv[1] == "make" else check(sys.argv[2])
