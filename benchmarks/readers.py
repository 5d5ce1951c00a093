"""Whether programs that read an exported tokenizer give aura's ids, and whether text can forge special tokens there.

    make .venv-readers/ready && python benchmarks/readers.py CORPUS

CORPUS is a folder of folders of .txt documents (en-us, zh-cn, ru of LibreOffice's help; manual pages). From it and from
Python's library come five corpora of 1.5 MB: English, lower-cased with mark-up, Chinese and Cyrillic with mark-up and
without Latin letters, code. Of each a unigram and a BPE tokenizer of 8,000 pieces is trained. Asked are `tokenizers`,
AutoTokenizer of transformers 5 (the lock's) and 4.46, with 24,000 random strings, 6,000 strings of the vocabulary's own
characters and the texts of the gate; for BPE also llama.cpp, with 228 texts without U+2581. Nothing is timed. Writes
benchmarks/results/readers.md.
"""

import argparse
import importlib.metadata
import json
import random
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import tokenizers
from exactness import random_strings
from measure import machine

from aura.project import whole_params
from aura.tokenizer.golden import TEXTS
from aura.tokenizer.model_file import Kind
from aura.tokenizer.symbols import SPACE
from aura.tokenizer.tokenizer import EXPORTED, Tokenizer
from aura.train_tokenizer import artifact
from aura.validate import exported

HERE = Path(__file__).parent
RESULT = HERE / "results/readers.md"
OTHERS = HERE.parent / ".venv-readers/bin/python"
BYTES, PIECES = 1_500_000, 8000
RANDOM, OWN, LLAMA_CPP = 24_000, 6000, 228  # texts
SYMBOLS = ["<EXPERT_0>", "##", "USER"]


def marked_up(texts: Sequence[str], tag: str) -> list[str]:
    """Each line between tags, as in a scraped page."""
    return ["\n".join(f"<{tag}>{line}</{tag}>" for line in text.split("\n") if line) for text in texts]


def without_latin(texts: Sequence[str]) -> list[str]:
    """Without ASCII letters and digits."""
    return [re.sub(r"[A-Za-z0-9_]+", "", text) for text in texts]


def corpora(folder: Path) -> dict[str, list[str]]:
    """The documents by the name of their corpus, each cut to BYTES."""

    def read(name: str) -> list[str]:
        return [path.read_text(encoding="utf-8") for path in sorted((folder / name).rglob("*.txt"))]

    library = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    made = {
        "English": read("libreoffice-help-en-us"),
        "lower-cased, mark-up": marked_up([text.lower() for text in read("manpages")], "p"),
        "Chinese, mark-up": marked_up(without_latin(read("libreoffice-help-zh-cn")), "b"),
        "Cyrillic, mark-up": marked_up(without_latin(read("libreoffice-help-ru")), "i"),
        "code": [path.read_text(encoding="utf-8", errors="replace") for path in library],
    }
    return {name: list(cut(texts)) for name, texts in made.items()}


def cut(texts: Sequence[str]) -> Iterator[str]:
    """The first BYTES of documents."""
    left = BYTES
    for text in texts:
        if left <= 0:
            return
        yield text
        left -= len(text.encode())


def trained(texts: Sequence[str], model_type: str, folder: Path) -> Tokenizer:
    """A tokenizer of the project's own options, with user symbols, of as many pieces as the corpus allows."""
    changes = {"model_type": model_type, "vocab_size": PIECES, "user_symbols": SYMBOLS}
    options = artifact.with_changes(whole_params.load().train_tokenizer, **changes)
    artifact.build_from_texts(texts, options).write(folder)
    return Tokenizer.load(folder / "spiece.model")


def own_strings(tokenizer: Tokenizer) -> list[str]:
    """Strings of the characters that have a piece, with names, whole or cut, of what is no text."""
    chosen = random.Random(7)  # noqa: S311 - reproducible, not secret
    kinds = list(enumerate(tokenizer.kinds))
    pieces = [tokenizer.piece(token).replace(SPACE, " ") for token, kind in kinds if kind is Kind.LEARNT]
    names = [tokenizer.piece(token) for token, kind in kinds if kind in (Kind.SPECIAL, Kind.BYTE)]
    sources = [[piece for piece in pieces if len(piece) == 1]] * 3 + [names, [*"".join(names)], SYMBOLS]
    return ["".join(chosen.choice(chosen.choice(sources)) for _ in range(chosen.randrange(1, 16))) for _ in range(OWN)]


def asked(script: str, python: Path | str, folder: Path, texts: Sequence[str]) -> Any:  # noqa: ANN401 - JSON
    """What a script of benchmarks/peers answers."""
    with tempfile.TemporaryDirectory() as temporary:
        given, answers = Path(temporary, "texts.json"), Path(temporary, "answers.json")
        given.write_text(json.dumps(list(texts)))
        command = [python, HERE / "peers" / script, folder, given, answers]
        subprocess.run(command, check=True, capture_output=True)
        return json.loads(answers.read_text())


def judged(tokenizer: Tokenizer, texts: Sequence[str], found: Sequence[Sequence[int]]) -> str:
    """Texts whose ids differ, and those that made a special token."""
    rows = list(zip(texts, found, strict=True))
    other = sum(list(ids) != tokenizer.encode(text) for text, ids in rows)
    forged = sum(any(tokenizer.is_special(token) for token in ids) for _, ids in rows)
    return f"{other} / {forged} of {len(texts):,}"


def llama_texts(documents: Sequence[str], strings: Sequence[str]) -> list[str]:
    """The golden texts, lines of the corpus and strings of the vocabulary; none with U+2581."""
    lines = [line for text in documents for line in text.split("\n") if line]
    random.Random(7).shuffle(lines)  # noqa: S311
    texts = [*TEXTS, *lines[:100], *strings]
    return [text for text in texts if SPACE not in text][:LLAMA_CPP]


def row(name: str, model_type: str, documents: Sequence[str]) -> str:
    """One tokenizer, and what each reader makes of it."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tokenizer = trained(documents, model_type, folder)
        strings = own_strings(tokenizer)
        texts = [*random_strings(RANDOM), *strings, *exported.texts_for(tokenizer)]
        bare = tokenizers.Tokenizer.from_file(str(folder / EXPORTED))
        bare.encode_special_tokens = True
        cells = [judged(tokenizer, texts, [encoded.ids for encoded in bare.encode_batch(texts)])]
        for python in (sys.executable, OTHERS):
            answers = asked("auto_tokenizer.py", python, folder, texts)
            assert answers["decoded"] == texts, f"transformers {answers['version']} decodes otherwise"
            cells.append(judged(tokenizer, texts, answers["ids"]))
        if model_type == "bpe":
            texts = llama_texts(documents, strings)
            cells.append(judged(tokenizer, texts, asked("llama_cpp.py", OTHERS, folder, texts)))
        else:
            cells.append("no GGUF")
    return f"| {name} | {model_type} | {' | '.join(cells)} |"


def version(package: str) -> str:
    """The version of a package beside the lock."""
    asking = f"import importlib.metadata; print(importlib.metadata.version('{package}'))"
    return subprocess.run([OTHERS, "-c", asking], check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Ask every reader, print the table as it grows and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="folder of folders of .txt documents")
    given = parser.parse_args()
    readers = [
        f"tokenizers {tokenizers.__version__}",
        f"transformers {importlib.metadata.version('transformers')}",
        f"transformers {version('transformers')}",
        f"llama.cpp (xllamacpp {version('xllamacpp')})",
    ]
    table = [f"| corpus | model | {' | '.join(readers)} |", f"|{'---|' * (2 + len(readers))}"]
    print("\n".join(table), flush=True)
    made = corpora(given.corpus)
    for name, model_type in chain.from_iterable(((name, "unigram"), (name, "bpe")) for name in made):
        table.append(row(name, model_type, made[name]))
        print(table[-1], flush=True)
    title = "# Texts whose ids differ from aura's / that forge a special token, by reader of the exported tokenizer"
    head = f"{title}\n\n{machine()}; `benchmarks/readers.py`\n"
    RESULT.write_text("\n".join([head, *table]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
