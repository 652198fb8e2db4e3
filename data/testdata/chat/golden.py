"""Writes golden.json: what transformers renders for every conversation of conversations.json, with and without
generation prompt, or the words of the error it raises. The templates are those of this folder and the built-in
ones, or those of the folders given; golden.json is written to the first folder.

    python golden.py [FOLDER ...]     # needs transformers and tokenizers

The clock stands still at 2026-03-07 so that strftime_now has one answer.
"""
import datetime
import json
import os
import pathlib
import sys

import jinja2
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils


class StoppedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 3, 7, 9, 5, 3)


def render(tokenizer, messages, generation_prompt):
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation_prompt)
        return {"text": text}
    except (jinja2.TemplateError, TypeError) as error:
        return {"error": str(error)}


def main():
    here = pathlib.Path(__file__).parent
    folders = [pathlib.Path(arg) for arg in sys.argv[1:]] or [here, here.parent.parent / "templates"]
    chat_template_utils.datetime = StoppedClock
    conversations = json.loads((here / "conversations.json").read_text())
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    golden = []
    for path in [path for folder in folders for path in sorted(folder.glob("*.jinja"))]:
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"<s>": 0, "</s>": 1}, "<s>")), **tokens)
        tokenizer.chat_template = path.read_text()
        for name, messages in conversations.items():
            for generation_prompt in (False, True):
                case = {"template": os.path.relpath(path, folders[0]), "conversation": name, "generation_prompt": generation_prompt}
                golden.append(case | render(tokenizer, messages, generation_prompt))
    (folders[0] / "golden.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")
    print(len(golden), "cases")


main()
