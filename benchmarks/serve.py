"""Who reads a model's ids alike, and whether llama.cpp continues as aura does.

    make .venv-readers/ready && python benchmarks/serve.py PROJECT

PROJECT is a project that was built with `train_tokenizer.model_type: bpe` and `export.gguf: true`. Asked are
SentencePiece itself, `tokenizers`, AutoTokenizer of transformers 5 (the lock's) and 4.46, and llama.cpp through
models/hf/model.gguf, with the golden texts, 2,000 strings of the vocabulary's parts and the held-out documents.
llama.cpp also continues 40 held-out beginnings by 64 tokens, the likeliest each time. Nothing is timed. Writes
benchmarks/results/serve.md.
"""

import argparse
import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import tokenizers
from measure import machine
from readers import HERE, OTHERS, asked, version

from aura.hugging_face import loading
from aura.hugging_face.folder import GGUF
from aura.tokenizer.symbols import SPACE
from aura.tokenizer.tokenizer import EXPORTED, Tokenizer
from aura.training.answers import Answerer, Drawing
from aura.validate import exported

RESULT = HERE / "results/serve.md"
PROMPTS, BEGINNING, TOKENS = 40, 50, 64


def held_out(project: Path) -> list[str]:
    """The held-out documents."""
    shards = sorted((project / "data/corpus/held_out").glob("*.parquet"))
    return [text for shard in shards for text in pq.read_table(shard, columns=["text"])["text"].to_pylist()]


def served(file: Path, texts: Sequence[str], prompts: Sequence[Sequence[int]], *, exact: bool) -> dict[str, Any]:
    """What llama.cpp answers."""
    with tempfile.TemporaryDirectory() as temporary:
        given, answers = Path(temporary, "asked.json"), Path(temporary, "answers.json")
        request = {"exact": exact, "tokens": TOKENS, "texts": list(texts), "prompts": list(prompts)}
        given.write_text(json.dumps(request))
        command = [OTHERS, HERE / "peers/llama_server.py", file, given, answers]
        subprocess.run(command, check=True, capture_output=True)
        found: dict[str, Any] = json.loads(answers.read_text())
        return found


def readers(folder: Path, tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[tuple[str, list[list[int]]]]:
    """The name of each reader, and its ids."""
    yield f"sentencepiece {importlib.metadata.version('sentencepiece')}", tokenizer.proc.Encode(list(texts))
    bare = tokenizers.Tokenizer.from_file(str(folder / EXPORTED))
    bare.encode_special_tokens = True
    encoded = bare.encode_batch(list(texts), add_special_tokens=False)
    yield f"tokenizers {tokenizers.__version__}", [one.ids for one in encoded]
    for python in (sys.executable, OTHERS):
        answers = asked("auto_tokenizer.py", python, folder, texts)
        begun = [[tokenizer.bos_id]] * len(texts)
        ids = [one[1:] if one[:1] == bos else one for one, bos in zip(answers["ids"], begun, strict=True)]
        yield f"transformers {answers['version']}", ids
    yield f"llama.cpp (xllamacpp {version('xllamacpp')})", served(folder / GGUF, texts, [], exact=False)["ids"]


def until(end: int, ids: list[int]) -> list[int]:
    """The ids before the end of a text."""
    return ids[: ids.index(end)] if end in ids else ids


def main() -> None:
    """Ask every reader, continue, and write both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path, help="folder of a built project")
    project = parser.parse_args().project
    folder = project / "models/hf"
    loaded = loading.load(folder, folder / "spiece.model")
    tokenizer, documents = loaded.tokenizer, held_out(project)
    texts = [*exported.texts_for(tokenizer), *documents]
    expected = [tokenizer.encode(text) for text in texts]
    asked_for = f"{len(texts):,} ({sum(map(len, expected)):,} tokens)"
    table = [
        f"| reader of models/hf | texts with other ids, of {asked_for} | of them without U+2581 |",
        "|---|---|---|",
    ]
    for name, found in readers(folder, tokenizer, texts):
        other = [text for text, got, ids in zip(texts, found, expected, strict=True) if list(got) != ids]
        table.append(f"| {name} | {len(other)} | {sum(SPACE not in text for text in other)} |")
    prompts = [[tokenizer.bos_id, *tokenizer.encode(text)[:BEGINNING]] for text in documents[:PROMPTS]]
    table += ["", f"| attention in llama.cpp | equal continuations of {TOKENS} tokens |", "|---|---|"]
    for name, exact in (("float32", True), ("float16, its default", False)):
        equal = 0
        theirs = served(folder / GGUF, ["a"], prompts, exact=exact)["continuations"]
        for prompt, their in zip(prompts, theirs, strict=True):
            answerer = Answerer(loaded.model, loaded.context, Drawing(temperature=0))
            ours = [*answerer.answer(np.array(prompt, np.int32), TOKENS)]
            equal += until(tokenizer.eos_id, ours) == until(tokenizer.eos_id, their)
        table.append(f"| {name} | {equal} of {len(prompts)} |")
    print("\n".join(table))
    head = f"# Who reads a model's ids alike\n\n{machine()}; `benchmarks/serve.py`\n"
    RESULT.write_text("\n".join([head, *table]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
