"""Makes the inputs that salsa and its rivals read: tokenizer, random models of fixed seed, rows. No network.

Words are single tokens of the vocabulary, so that every tool cuts a text into the same ids.
"""

import argparse
import itertools
import json
import random
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

VOCAB = 32000


def make_tokenizer():
    """A byte-level BPE with 32,000 tokens: the bytes, and words of three to four letters with their merges."""
    special = ["<pad>", "<s>", "</s>"]
    vocab = list(special) + sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = []
    consonants, vowels = "bcdfghjklmnprstvwz", "aeiouy"
    pairs = ["".join(p) for p in itertools.product(consonants, vowels)]
    words = ["".join(p) for p in itertools.product(pairs, pairs)] + ["".join(p) for p in itertools.product(pairs, pairs, consonants)]
    merges += [(p[0], p[1]) for p in pairs]
    merges += [("Ġ", p) for p in pairs]
    vocab += pairs + ["Ġ" + p for p in pairs]
    for word in words:
        if len(vocab) == VOCAB:
            break
        head, tail = word[:-2], word[-2:]
        if len(word) == 5:
            head, tail = word[:4], word[4:]
        merges.append(("Ġ" + head, tail))
        vocab.append("Ġ" + word)
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(vocab)}, merges=merges))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, special=True) for t in special])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tok, bos_token="<s>", eos_token="</s>", pad_token="<pad>", padding_side="left", model_max_length=16384
    )
    assert len(fast) == VOCAB, len(fast)
    known = set(vocab)
    return fast, ["Ġ" + w for w in words if "Ġ" + w in known]


def config(**changed):
    base = dict(
        vocab_size=VOCAB, hidden_size=512, intermediate_size=1408, num_hidden_layers=8, num_attention_heads=8,
        num_key_value_heads=8, head_dim=64, max_position_embeddings=16384, rms_norm_eps=1e-5, rope_theta=10000.0,
        tie_word_embeddings=False, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )
    return LlamaConfig(**{**base, **changed})


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("out", type=Path)
    out = p.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    tok, words = make_tokenizer()
    rng = random.Random(7)

    def text(n):
        return "".join(" " + words[rng.randrange(len(words))][1:] for _ in range(n))

    def write(name, rows):
        with open(out / name, "w") as f:
            f.writelines(json.dumps(r) + "\n" for r in rows)

    def save(name, kind, seed, **changed):
        torch.manual_seed(seed)
        kind(config(**changed)).save_pretrained(out / name)
        tok.save_pretrained(out / name)

    save("model", LlamaForCausalLM, 1)
    save("reward", LlamaForSequenceClassification, 2, num_labels=1)
    wide = dict(hidden_size=1024, intermediate_size=2816, num_hidden_layers=16, num_attention_heads=16, num_key_value_heads=16)
    save("soup-a", LlamaForCausalLM, 3, **wide)
    save("soup-b", LlamaForCausalLM, 4, **wide)
    write("prompts.jsonl", [{"prompt": text(rng.randint(8, 64))} for _ in range(512)])
    write("one.jsonl", [{"prompt": text(16)}])
    # Mostly short, a few long: the mixture for which packing is made.
    lengths = [min(480, int(rng.lognormvariate(4.3, 0.8)) + 8) for _ in range(2048)]
    write("sft.jsonl", [{"prompt": text(max(4, n // 3)), "completion": text(n - max(4, n // 3))} for n in lengths])
    write("dpo.jsonl", [{"prompt": text(rng.randint(8, 64)), "chosen": text(rng.randint(16, 96)), "rejected": text(rng.randint(16, 96))} for _ in range(512)])
    sample = text(50)
    assert len(tok(sample).input_ids) == 50, "a word is not one token"


if __name__ == "__main__":
    main()
