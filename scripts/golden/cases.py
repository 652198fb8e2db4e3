"""The model cases: one tiny random model per family feature. models.py turns each into a folder of models/testdata."""

from dataclasses import dataclass, field

from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)


@dataclass
class Case:
    name: str
    config: object
    note: str = ""
    classifier: bool = False  # ...ForSequenceClassification with one label instead of ...ForCausalLM
    store: str = "float32"  # dtype of model.safetensors; the golden numbers are a float32 forward of these weights
    shard: str | None = None  # max_shard_size
    seed: int = 1
    eos: list = field(default_factory=lambda: [2])  # generation_config.json's eos_token_id
    patch: dict = field(default_factory=dict)  # keys set in config.json after transformers wrote it
    v4: dict = field(default_factory=dict)  # keys set in config-v4.json only
    as_v4: bool = False  # config.json itself is in transformers-4 style
    without: dict = field(default_factory=dict)  # config keys whose change must move the results: proof that they act
    left_independent: bool = True  # False where transformers' result depends on the rest of the batch


SIZE = dict(
    vocab_size=67,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=64,
    bos_token_id=1,
    eos_token_id=2,
    tie_word_embeddings=False,
)


def rope(kind="default", theta=10000.0, **more):
    return {"rope_type": kind, "rope_theta": theta, **more}


def llama(**changes):
    return LlamaConfig(**{**SIZE, "num_key_value_heads": 2, "rope_parameters": rope(), **changes})


def mistral(**changes):
    return MistralConfig(**{**SIZE, "num_key_value_heads": 2, "rope_parameters": rope(), **changes})


def gemma(**changes):
    base = {**SIZE, "num_key_value_heads": 1, "head_dim": 16, "pad_token_id": 0, "tie_word_embeddings": True}
    return GemmaConfig(**{**base, "rope_parameters": rope(), **changes})


def first():
    """Llama, Mistral and Gemma as they are used most."""
    return [
        Case("llama-mha", llama(num_key_value_heads=4), "as many key-value heads as query heads"),
        Case("llama-gqa", llama(), "two query heads share a key-value head"),
        Case("llama-tied", llama(tie_word_embeddings=True), "no lm_head.weight in the file"),
        Case("llama-bias", llama(attention_bias=True, mlp_bias=True), "biases on q, k, v, o and gate, up, down"),
        Case(
            "llama-config-v4",
            llama(rope_parameters=rope(theta=50000.0)),
            "config.json in transformers-4 style: rope_theta, rope_scaling null, torch_dtype",
            as_v4=True,
        ),
        Case(
            "mistral-window",
            mistral(sliding_window=5),
            "a query sees itself and the 4 tokens before it",
            without={"sliding_window": 6},
        ),
        Case("mistral-nowindow", mistral(sliding_window=None, head_dim=12), "no window; head_dim is not hidden/heads"),
        Case(
            "gemma-mqa",
            gemma(hidden_act="gelu_pytorch_tanh"),
            "one key-value head, head_dim 16 of hidden 32, embeddings times sqrt(hidden), norms times 1+w; "
            "hidden_act gelu is Gemma's old spelling of gelu_pytorch_tanh",
            patch={"hidden_act": "gelu", "hidden_activation": "gelu_pytorch_tanh"},
            v4={"hidden_activation": None},
            eos=[2, 30],
            without={"hidden_act": "silu"},
        ),
    ]


def stored():
    """How weights lie in files, and one-label classifiers."""
    return [
        Case("llama-sharded", llama(), "three shards and an index", shard="30KB", seed=2),
        Case("llama-bf16", llama(), "stored as bfloat16, computed in float32", store="bfloat16", seed=3),
        Case("llama-fp16", llama(), "stored as float16, computed in float32", store="float16", seed=4),
        Case("llama-score", llama(num_labels=1, pad_token_id=0), "reward model", classifier=True, seed=5),
        Case(
            "mistral-score",
            mistral(num_labels=1, pad_token_id=0, sliding_window=5),
            "reward model",
            classifier=True,
            seed=6,
        ),
    ]


def ropes():
    """Position scalings."""
    llama3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
    # A theta of 100 spreads even 4 frequencies over yarn's ramp.
    yarn = dict(factor=4.0, original_max_position_embeddings=64)
    explicit = dict(factor=4.0, original_max_position_embeddings=64, attention_factor=1.3, beta_fast=8.0, beta_slow=0.5)
    return [
        Case(
            "llama-rope-linear",
            llama(rope_parameters=rope("linear", factor=2.5)),
            "config-v4.json spells the kind with the old key `type`",
            v4={"rope_scaling": {"type": "linear", "factor": 2.5}},
            without={"rope_parameters": rope("linear", factor=2.4)},
        ),
        Case(
            "llama-rope-dynamic",
            llama(rope_parameters=rope("dynamic", factor=2.0), max_position_embeddings=16),
            "frequencies follow the longest row of the batch once it exceeds 16, so rows depend on their batch",
            without={"rope_parameters": rope("dynamic", factor=2.2)},
            left_independent=False,
        ),
        Case(
            "llama-rope-llama3",
            llama(rope_parameters=rope("llama3", 10000.0, **llama3)),
            "three bands of wavelengths: kept, blended, divided by factor",
            eos=[2, 9],
            without={"rope_parameters": rope("llama3", 10000.0, **{**llama3, "high_freq_factor": 4.5})},
        ),
        Case(
            "llama-rope-yarn",
            llama(rope_parameters=rope("yarn", 100.0, **yarn), head_dim=16, max_position_embeddings=256),
            "attention factor 0.1 ln(factor) + 1",
            without={"rope_parameters": rope("yarn", 100.0, **{**yarn, "attention_factor": 1.0})},
        ),
        Case(
            "qwen2-rope-yarn",
            qwen2(rope_parameters=rope("yarn", 100.0, **explicit), max_position_embeddings=256),
            "explicit attention_factor and betas",
            without={"rope_parameters": rope("yarn", 100.0, **{**explicit, "beta_fast": 1.5})},
        ),
    ]


def qwen2(**changes):
    return Qwen2Config(**{**SIZE, "num_key_value_heads": 2, "rope_parameters": rope(theta=1e6), **changes})


def families():
    """Qwen 2 and 3, Gemma 2 and 3."""
    gemma2 = {**SIZE, "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0, "tie_word_embeddings": True}
    gemma2 = {**gemma2, "sliding_window": 5, "query_pre_attn_scalar": 10, "rope_parameters": rope()}
    thetas = {"sliding_attention": rope(), "full_attention": rope("linear", 1e6, factor=8.0)}
    gemma3 = {**gemma2, "hidden_size": 24, "num_hidden_layers": 3, "rope_parameters": thetas}
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    return [
        Case("qwen2-bias", qwen2(), "bias on q, k and v only"),
        Case(
            "qwen2-window",
            qwen2(use_sliding_window=True, sliding_window=5, max_window_layers=1),
            "layer 0 sees all, layer 1 a window of 5",
            without={"layer_types": ["sliding_attention", "full_attention"]},
        ),
        Case(
            "qwen3-qknorm",
            Qwen3Config(**SIZE, num_key_value_heads=2, head_dim=12, rope_parameters=rope(theta=1e6)),
            "an RMSNorm over each head's q and k before rope",
        ),
        Case(
            "gemma2-softcap",
            Gemma2Config(**gemma2, attn_logit_softcapping=3.0, final_logit_softcapping=6.0),
            "softcaps on scores and logits, windows on even layers, four norms a layer",
            eos=[2, 52],
            without={"query_pre_attn_scalar": 16},
        ),
        Case(
            "gemma3-local",
            Gemma3TextConfig(**gemma3, layer_types=kinds),
            "two local layers with their own theta, one global with linear scaling, q and k norms",
            v4={"sliding_window_pattern": 3},
            seed=2,
            eos=[2, 30, 34],
            without={"sliding_window": 4},
        ),
    ]


def all_cases():
    return first() + stored() + ropes() + families()
