"""Whether aura's encoder and its Hugging Face export give SentencePiece's ids: on a whole corpus, and on hard text.

    python benchmarks/exactness.py CORPUS [--vocab-size 32000]

CORPUS is a folder of folders of .txt documents. For a unigram and a BPE tokenizer of 32,000 pieces, trained on every
eighth document, counts the texts whose ids differ: all documents, the code of the standard library, lines of a megabyte
(documents without their line breaks), 100,000 random strings; for AutoTokenizer 20,000 lines of all folders and of
code, and 10,000 random strings, decoded as well. Nothing is timed. Writes benchmarks/results/exactness.md.
"""

import argparse
import random
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from encode import trained
from measure import machine

from aura.tokenizer.symbols import SPACE
from aura.tokenizer.tokenizer import Tokenizer

RESULT = Path(__file__).parent / "results/exactness.md"
LINES, STRINGS, EXPORTED_STRINGS = 20_000, 100_000, 10_000
LONG = 1_000_000  # characters of a very long line
PLANES = (0x80, 0x800, 0x3000, 0xA000, 0x20000)  # random characters lie below one of these
FRAGMENTS = [
    "the",
    "ing",
    " ",
    "  ",
    "\n",
    "\t",
    "\r\n",
    "\0",
    SPACE,
    "<eos>",
    "<0x41>",
    "é",
    "中",
    "12",
    "();",
    "\u0301",
]


def random_strings(number: int) -> list[str]:
    """Short strings of characters of all planes and of fragments that tokenizers get wrong."""
    chosen = random.Random(4)  # noqa: S311 - reproducible, not secret
    codes = (chosen.randrange(chosen.choice(PLANES)) for _ in range(5000))
    alphabet = [*(chr(code) for code in codes if not 0xD800 <= code < 0xE000), *FRAGMENTS * 100]
    return ["".join(chosen.choices(alphabet, k=chosen.randrange(16))) for _ in range(number)]


def long_lines(texts: Sequence[str]) -> list[str]:
    """All of the texts, without line breaks, in lines of a million characters."""
    text = " ".join(texts).replace("\n", " ")
    return [text[start : start + LONG] for start in range(0, len(text), LONG)]


def mixed_lines(folders: Sequence[Sequence[str]], number: int) -> list[str]:
    """Lines of each folder in turn, the empty ones left out."""
    lines = [[line for text in texts for line in text.split("\n") if line] for texts in folders]
    for one in lines:
        random.Random(4).shuffle(one)  # noqa: S311
    return [line for line in chain.from_iterable(zip_longest(*lines)) if line][:number]


def reference(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[np.ndarray]:
    """SentencePiece's ids, with a literal U+2581 as its three byte pieces."""
    space = [tokenizer.proc.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE.encode()]
    for text in texts:
        first, *others = tokenizer.proc.Encode(text.split(SPACE))
        yield np.array([*first, *chain.from_iterable([*space, *other] for other in others)], np.int32)


def table_differences(tokenizer: Tokenizer, texts: Sequence[str]) -> int:
    """Texts to which the table of units gives other ids; encoded twice, so that it also knows all units."""
    assert tokenizer.table is not None
    found = [tokenizer.table.encode_texts(texts, threads=2) for _ in range(2)]
    triples = zip(reference(tokenizer, texts), *found, strict=True)
    return sum(not (np.array_equal(ids, cold) and np.array_equal(ids, warm)) for ids, cold, warm in triples)


def export_differences(tokenizer: Tokenizer, other: Any, texts: Sequence[str]) -> tuple[int, int]:  # noqa: ANN401
    """Texts to which AutoTokenizer gives other ids, and those that it decodes otherwise."""
    expected = [ids.tolist() for ids in reference(tokenizer, texts)]
    found = other(list(texts), split_special_tokens=True)["input_ids"]
    ids = sum(one != another for one, another in zip(expected, found, strict=True))
    decoded = other.batch_decode(expected)
    return ids, sum(one != another for one, another in zip(texts, decoded, strict=True))


def rows(folders: dict[str, list[str]], code: list[str], size: int) -> Iterator[str]:
    """The table's rows, each as soon as it is known."""
    from transformers import AutoTokenizer

    documents = list(chain.from_iterable(folders.values()))
    checks = {
        f"documents of {', '.join(folders)}": documents,
        "code: files of Python's standard library": code,
        "lines of a million characters": long_lines(documents[::7]),
        "random strings": random_strings(STRINGS),
    }
    exported = {
        "AutoTokenizer, lines of all folders and code": mixed_lines([*folders.values(), code], LINES),
        "AutoTokenizer, random strings": random_strings(EXPORTED_STRINGS),
    }
    for model_type in ("unigram", "bpe"):
        with tempfile.TemporaryDirectory() as temporary:
            tokenizer = trained(documents[::8], model_type, size, Path(temporary))
            other = AutoTokenizer.from_pretrained(temporary, local_files_only=True)
        for name, texts in checks.items():
            yield f"| {model_type} | {name} | {len(texts):,} | {table_differences(tokenizer, texts)} | |"
        for name, texts in exported.items():
            ids, decoded = export_differences(tokenizer, other, texts)
            yield f"| {model_type} | {name} | {len(texts):,} | {ids} | {decoded} |"


def main() -> None:
    """Check, print the table as it grows and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="folder of folders of .txt documents")
    parser.add_argument("--vocab-size", type=int, default=32_000, help="pieces of the tokenizers")
    given = parser.parse_args()
    folders = {
        folder.name: [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.txt"))]
        for folder in sorted(given.corpus.iterdir())
        if folder.is_dir()
    }
    library = Path(sysconfig.get_paths()["stdlib"])
    code = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(library.glob("*.py"))]
    table = ["| | text | texts | other ids | decoded otherwise |", "|---|---|---|---|---|"]
    print("\n".join(table), flush=True)
    for row in rows(folders, code, given.vocab_size):
        print(row, flush=True)
        table.append(row)
    head = f"# Texts whose ids differ from SentencePiece's\n\n{machine()}; `benchmarks/exactness.py`\n"
    RESULT.write_text("\n".join([head, *table]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
