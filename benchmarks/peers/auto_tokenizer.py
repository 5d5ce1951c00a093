"""AutoTokenizer's ids of texts as text, and what it decodes them to; for any version of transformers.

PYTHON benchmarks/peers/auto_tokenizer.py FOLDER TEXTS.json ANSWERS.json
"""

import json
import sys
from pathlib import Path

import transformers


def main() -> None:
    """Encode, decode, and write {version, ids, decoded}."""
    folder, texts, output = map(Path, sys.argv[1:])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids = tokenizer(json.loads(texts.read_text()), split_special_tokens=True)["input_ids"]
    answers = {"version": transformers.__version__, "ids": ids, "decoded": tokenizer.batch_decode(ids)}
    output.write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
