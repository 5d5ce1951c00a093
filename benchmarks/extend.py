"""What an extension by 8,000 pieces is worth, and what it leaves as it was, for tokenizers of each kind.

    python benchmarks/extend.py CORPUS

CORPUS is a folder of folders of .txt documents: libreoffice-help-el, -ko and -hi are taught, all others are English.
Pieces are learnt from nine of ten documents of the taught folders and measured on the others. Every second English
document is given as old text, where there is any, and the others are held out: one whose ids change is listed.
Bases: Mistral's tokenizer.model v1 and instruct v3, a unigram model with SentencePiece's default flags and a
byte-level tokenizer.json, both trained here on the old text, and tekken. With old text, AutoTokenizer and
SentencePiece are compared on all documents and on random strings. Writes benchmarks/results/extend.md.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mistral_common
import sentencepiece
import tokenizers
from exactness import random_strings
from measure import machine
from tokenizers import decoders, models, pre_tokenizers, trainers

from aura.core.errors import UserError
from aura.tokenizer import adopted_record, conversion
from aura.tokenizer.adopted import AdoptedTokenizer
from aura.tokenizer.letter_scripts import script_of
from aura.train_tokenizer.corpus_counts import count_texts
from aura.train_tokenizer.extension import Extension, Rules, extended
from aura.train_tokenizer.segments import Splitting
from aura.validate import extension as extension_report

RESULT = Path(__file__).parent / "results/extend.md"
DATA = Path(mistral_common.__file__).parent / "data"
TAUGHT = ("libreoffice-help-el", "libreoffice-help-ko", "libreoffice-help-hi")
SCRIPTS = ("GREEK", "HANGUL", "DEVANAGARI")
PIECES, STRINGS, AT_ONCE = 8000, 20_000, 500
SPLITTING = Splitting(split_digits=True, split_by_script=True, split_by_number=False, user_symbols=())
Documents = list[tuple[str, str]]  # name, text


def documents(folder: Path) -> Documents:
    """The documents of a folder, by their names."""
    return [(f"{path.parent.name}/{path.stem}", path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*"))]


def trained_unigram(lines: Sequence[str], folder: Path) -> Path:
    """A unigram model of 8,000 pieces with the flags that SentencePiece has by default."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(folder / "unigram"), vocab_size=8000, minloglevel=2
    )
    return folder / "unigram.model"


def trained_byte_level(lines: Sequence[str], folder: Path) -> Path:
    """A byte-level tokenizer.json of 8,000 pieces."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=8000, show_progress=False, initial_alphabet=alphabet, special_tokens=["<eos>"]
    )
    tokenizer.train_from_iterator(lines, trainer)
    (folder / "byte_level").mkdir()
    tokenizer.save(str(folder / "byte_level/tokenizer.json"))
    return folder / "byte_level/tokenizer.json"


def written(made: Extension, folder: Path) -> Path:
    """The file of the extended model, with the others beside it."""
    folder.mkdir()
    for name, content in made.files.items():
        (folder / name).write_bytes(content)
    return next(folder / name for name in adopted_record.INSIDE if name in made.files)


def tokenizer_json(model: Path, more: list[str]) -> bytes | None:
    """The same tokenizer for Hugging Face's libraries, or None, and a line in `more` with the reason."""
    try:
        return conversion.tokenizer_json(model)
    except UserError as error:
        more.append(f"- {model.parent.name}: no tokenizer.json: {error}")
        return None


def unequal(model: Path, texts: Sequence[str]) -> tuple[int, int]:
    """Texts for which AutoTokenizer gives other ids than SentencePiece, and that it decodes otherwise."""
    from transformers import AutoTokenizer

    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    theirs: Any = AutoTokenizer.from_pretrained(str(model.parent), local_files_only=True)
    ids = decoded = 0
    for start in range(0, len(texts), AT_ONCE):
        part = list(texts[start : start + AT_ONCE])
        encoded = theirs(part, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        for expected, got in zip(processor.Encode(part), encoded, strict=True):
            ids += expected != got
            if processor.unk_id() not in expected:  # for which each library has a text of its own
                decoded += processor.Decode(expected) != theirs.decode(expected)
    return ids, decoded


def is_english(text: str) -> bool:
    """Whether nine of ten letters are Latin: the documentation of Linux holds translations."""
    letters = [script for character in text if (script := script_of(character))]
    return letters.count("LATIN") > 0.9 * len(letters)


def main() -> None:
    """Extend each base with and without old text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    corpus = parser.parse_args().corpus
    taught = {name: documents(corpus / name) for name in TAUGHT}
    english = [
        (name, text)
        for folder in sorted(corpus.iterdir())
        if folder.name not in TAUGHT
        for name, text in documents(folder)
        if is_english(text)
    ]
    learnt = count_texts([text for found in taught.values() for n, (_, text) in enumerate(found) if n % 10], SPLITTING)
    test = [(name, text) for name, found in taught.items() for n, (_, text) in enumerate(found) if n % 10 == 0]
    old, held_out = english[::2], english[1::2]
    old_counts = count_texts([text for _, text in old], SPLITTING)
    everything = [text for _, text in english] + [text for found in taught.values() for _, text in found]
    names = ", ".join(sorted(folder.name for folder in corpus.iterdir()))
    lines = [
        "# Extended tokenizers",
        "",
        f"{machine()}; `benchmarks/extend.py`",
        "",
        f"{PIECES:,} pieces from {learnt.account.bytes:,} bytes of documents ({', '.join(TAUGHT)}: "
        f"{len(learnt.table):,} distinct segments), measured on {len(test):,} others. Held out are "
        f"{len(held_out):,} English documents. Packages: {names}.",
        "",
        "Bytes per token are those of words of a script, before and after; the last of each three is the quotient.",
        "",
        f"| base | old text | seconds | {' | '.join(script.title() for script in SCRIPTS)} | all taught documents | "
        "English, held out | changed documents | unused pieces |",
        "|---|---|---|" + "---|" * (len(SCRIPTS) + 4),
    ]
    more: list[str] = []
    with tempfile.TemporaryDirectory(prefix="aura-") as made_in:
        folder = Path(made_in)
        text_lines = [line for _, text in old for line in text.splitlines() if line.strip()]
        bases = {
            "tokenizer.model.v1": DATA / "tokenizer.model.v1",
            "instruct v3": DATA / "mistral_instruct_tokenizer_240323.model.v3",
            "unigram, default flags": trained_unigram(text_lines, folder),
            "byte-level tokenizer.json": trained_byte_level(text_lines, folder),
            "tekken": DATA / "tekken_240911.json",
        }
        for name, base_file in bases.items():
            for guard in (None, old_counts):
                rules = Rules(scripts=SCRIPTS) if name == "tekken" else Rules()
                began = time.monotonic()
                try:
                    made = extended(base_file, learnt, PIECES, rules, guard)
                except UserError as error:
                    more.append(f"- {name}: {str(error).replace(str(base_file), base_file.name)}")
                    continue
                seconds = time.monotonic() - began
                where = folder / f"{name.split()[0]}-{guard is not None}"
                model = written(made, where)
                base, extended_tokenizer = AdoptedTokenizer(base_file), AdoptedTokenizer(model)
                report = extension_report.measured(base, extended_tokenizer, test, held_out)
                lines.append(row(name, guard is not None, seconds, report, base, extended_tokenizer, held_out))
                more += notes(f"{name}, {'with' if guard else 'without'} old text", made, report)
                if guard and model.suffix == ".model" and (exported := tokenizer_json(model, more)):
                    (where / "tokenizer.json").write_bytes(exported)
                    for what, texts in (
                        ("documents", everything),
                        ("lines of documents", [line for text in everything[::20] for line in text.splitlines()]),
                        ("random strings", random_strings(STRINGS)),
                    ):
                        ids, decoded = unequal(model, texts)
                        more.append(
                            f"- {name}, with old text: AutoTokenizer gives other ids than "
                            f"SentencePiece for {ids:,} of {len(texts):,} {what}, and decodes {decoded:,} otherwise."
                        )
                print("\n".join([*lines, "", *more]), flush=True)
    RESULT.write_text("\n".join([*lines, "", *more]) + "\n", encoding="utf-8")


def row(
    name: str,
    has_old: bool,
    seconds: float,
    report: dict[str, Any],
    base: AdoptedTokenizer,
    more: AdoptedTokenizer,
    held_out: Documents,
) -> str:
    """A row of the table."""
    texts = [text for _, text in held_out]
    size = sum(len(text.encode()) for text in texts)
    english = [size / sum(map(len, one.encode_batch(texts))) for one in (base, more)]
    taught = report["by_source"].values()
    spent = [
        sum(one["bytes"] for one in taught) / sum(one["bytes"] / one[f"bytes_per_token_{when}"] for one in taught)
        for when in ("before", "after")
    ]
    by_script = [
        [report["by_script"][script][f"bytes_per_token_{when}"] for when in ("before", "after")] for script in SCRIPTS
    ]
    cells = [
        name,
        "yes" if has_old else "no",
        f"{seconds:.0f}",
        *(f"{before:.2f} → {after:.2f}, ×{after / before:.2f}" for before, after in [*by_script, spent]),
        f"{english[0]:.3f} → {english[1]:.3f}",
        f"{report['old']['changed']} of {report['old']['documents']:,}",
        f"{report['unused_pieces']:,}",
    ]
    return f"| {' | '.join(cells)} |"


def notes(name: str, made: Extension, report: dict[str, Any]) -> Iterator[str]:
    """Lines about an extension below the table."""
    if changed := report["old"]["changed_documents"]:
        yield f"- {name}: changed documents {', '.join(changed)}."
    yield from (f"- {name}: {note}" for note in made.notes)


if __name__ == "__main__":
    main()
