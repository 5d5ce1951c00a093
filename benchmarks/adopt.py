"""Do adopted tokenizers give the ids of their own libraries, and what does encoding with them cost?

    python benchmarks/adopt.py CORPUS

CORPUS is a folder of folders of .txt documents, as ../shared/bench/build_corpus.py makes them: the help of LibreOffice
in several languages. Some documents of each, this interpreter's own library as code, and random strings are encoded by
the adopted tokenizer, as stages do it, and by the library that the file is for: SentencePiece, or mistral_common for
tekken. Bases: the five of mistral_common, and a model that is trained here with SentencePiece's default flags. Writes
benchmarks/results/adopt.md.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import mistral_common
import sentencepiece
from exactness import random_strings
from measure import machine

from aura.tokenizer.adopted import AdoptedTokenizer
from aura.train_tokenizer.adoption import Base, adopt

RESULT = Path(__file__).parent / "results/adopt.md"
DATA = Path(mistral_common.__file__).parent / "data"
MODELS = (
    "tokenizer.model.v1",
    "mistral_instruct_tokenizer_240216.model.v2",
    "mistral_instruct_tokenizer_240323.model.v3",
    "mistral_instruct_tokenizer_241114.model.v7",
    "tekken_240911.json",
)
OF_EACH, CODE, STRINGS, BATCH = 750, 300, 10_000, 256
Encode = Callable[[str], list[int]]


def own_library(file: Path) -> Encode:
    """Encoding by the library that the file is for, as its users call it."""
    if file.suffix == ".json":
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer

        tekken = Tekkenizer.from_file(file)
        return lambda text: tekken.encode(text, bos=False, eos=False)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(file))
    return lambda text: list(processor.Encode(text))


def row(name: str, file: Path, kinds: dict[str, Sequence[str]], folder: Path) -> str:
    """A line of the table: texts of each kind with other ids, and MB a second."""
    adopted = adopt(Base(file, file.name, {}), folder)
    assert isinstance(adopted, AdoptedTokenizer)
    encode, cells = own_library(file), []
    size = seconds = 0.0
    for texts in kinds.values():
        began = time.monotonic()
        ids = [one for at in range(0, len(texts), BATCH) for one in adopted.encode_batch(texts[at : at + BATCH])]
        seconds += time.monotonic() - began
        size += sum(len(text.encode()) for text in texts)
        cells.append(f"{sum(one.tolist() != encode(text) for one, text in zip(ids, texts, strict=True)):,}")
    return f"| {name} | {adopted.vocab_size:,} | {' | '.join(cells)} | {size / 1e6 / seconds:.1f} |"


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    corpus = parser.parse_args().corpus
    languages = sorted(path.name for path in corpus.iterdir() if path.is_dir())
    documents = [
        path.read_text(encoding="utf-8") for name in languages for path in sorted((corpus / name).glob("*"))[:OF_EACH]
    ]
    code = [path.read_text(encoding="utf-8") for path in sorted(Path(tempfile.__file__).parent.glob("*.py"))[:CODE]]
    kinds = {"documents": documents, "files of code": code, "random strings": random_strings(STRINGS)}
    heads = [f"{name} ({len(texts):,})" for name, texts in kinds.items()]
    lines = [
        "# Adopted tokenizers against their own libraries",
        "",
        f"{machine()}. Documents: {', '.join(languages)}. Texts with other ids, of as many as the head says; MB a "
        "second of one process, with all threads that the library takes.",
        "",
        f"| tokenizer | pieces | {' | '.join(heads)} | MB/s |",
        f"|---|---|{'---|' * len(heads)}---|",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "lines.txt").write_text("\n".join(documents[::7]), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(folder / "lines.txt"), model_prefix=str(folder / "old"), vocab_size=8000, minloglevel=2
        )
        files = {name: DATA / name for name in MODELS} | {"SentencePiece's default flags": folder / "old.model"}
        for name, file in files.items():
            lines.append(row(name, file, kinds, folder / "spm"))
            print(lines[-1], flush=True)
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
