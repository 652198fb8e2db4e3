"""Writes golden_masks.json: the ids and the assistant mask that transformers gives for conversations under the
built-in templates, which masks/ repeats with {% generation %} marks, and the tokenizers of data/tokenizer's tests.

    python golden_masks.py            # needs transformers and tokenizers
"""
import gzip
import json
import pathlib

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

# template: tokenizer, bos, eos, the token that ends a turn
FAMILIES = {
    "chatml": ("qwen2", None, "<|endoftext|>", "<|im_end|>"),
    "gemma": ("gemma", "<bos>", "<eos>", "<end_of_turn>"),
    "llama2": ("llama2", "<s>", "</s>", "</s>"),
    "llama3": ("llama3", "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"),
    "mistral": ("mistral", "<s>", "</s>", "</s>"),
}

CONVERSATIONS = [
    [("user", "What is light?"), ("assistant", "Rays are very small bodies.")],
    [("user", "One"), ("assistant", "Two,\n\nthree"), ("user", "  and four\n"), ("assistant", " Five! ")],
    [("user", "光是什么?"), ("assistant", "兵者,國之大事 😀"), ("user", "```c\nint x;\n```"), ("assistant", "x = 1;"), ("user", "?"), ("assistant", "é")],
]


def main():
    here = pathlib.Path(__file__).parent
    golden = []
    for template, (name, bos, eos, stop) in FAMILIES.items():
        path = here.parent.parent / "tokenizer" / "testdata" / "golden" / f"{name}.tokenizer.json.gz"
        core = Tokenizer.from_str(gzip.decompress(path.read_bytes()).decode())
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token=bos, eos_token=eos)
        tokenizer.chat_template = (here / "masks" / f"{template}.jinja").read_text()
        for turns in CONVERSATIONS:
            messages = [{"role": role, "content": content} for role, content in turns]
            out = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
            golden.append({
                "template": template, "tokenizer": name, "bos": bos or "", "eos": eos, "stop": stop, "messages": messages,
                "ids": out["input_ids"], "mask": out["assistant_masks"],
            })
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in golden)
    (here / "golden_masks.json").write_text(f"[\n{lines}\n]\n")
    print(len(golden), "cases")


main()
