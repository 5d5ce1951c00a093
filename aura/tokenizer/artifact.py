"""A trained tokenizer as files: the model, its vocabulary to read, the record of how it was made, and what others read.

The record holds every option, the corpus's hash and the versions that decide bytes, and no time, path or
host: it is the same wherever the tokenizer is built again.
"""

import hashlib
import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aura import console, files
from aura.cache import Cache
from aura.ingestion import corpus
from aura.params import TrainTokenizer, checked
from aura.tokenizer import hf_export, train
from aura.tokenizer.corpus_counts import count_corpus
from aura.tokenizer.counts import WordCounts
from aura.tokenizer.golden import golden
from aura.tokenizer.symbols import SPACE
from aura.tokenizer.tokenizer import GOLDEN, Tokenizer

LIBRARIES = ("sentencepiece", "protobuf")  # they write the model's bytes


@dataclass(frozen=True)
class Artifact:
    """A trained tokenizer, ready to be written."""

    model: bytes
    vocabulary: str
    config: dict[str, Any]

    def files(self, name: str = "spiece") -> dict[str, bytes]:
        """The content of each file by its name; under the usual name also those that other programs look for."""
        config = json.dumps(self.config, indent=2, ensure_ascii=False) + "\n"
        named = {
            f"{name}.model": self.model,
            f"{name}.vocab": self.vocabulary.encode(),
            f"{name}_config.json": config.encode(),
        }
        if name != "spiece":  # tokenizer.json has no other name, and so no place beside several models
            return named
        return named | {GOLDEN: golden(Tokenizer.from_bytes(self.model))} | hf_export.export(self.model)


def build(counts: WordCounts, corpus_hash: str, options: TrainTokenizer) -> Artifact:
    """Train a tokenizer from `counts`; prints what is being done, as SentencePiece itself is silent."""
    symbols = train.symbols_of(options)
    for notice in symbols.notices:
        console.err.print(f"note: {notice}", markup=False)
    console.err.print(
        f"training {options.model_type} with {options.vocab_size:,} pieces on {len(counts.words):,} distinct words"
    )
    model = train.train_model(counts, options)
    config = {
        "options": options.model_dump(),
        "sentencepiece": train.FIXED | {"required_chars": f"U+{ord(SPACE):04X}"},
        "special_tokens": {token: place for place, token in enumerate(symbols.special)},
        "user_symbols": list(symbols.user),
        "corpus": {
            "hash": corpus_hash,
            "documents": counts.documents,
            "bytes": counts.bytes,
            "words": counts.words.total(),
            "distinct_words": len(counts.words),
            "cut_words": counts.cut_words,
            "characters_left_out": counts.left_out,
        },
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }
    return Artifact(model, train.vocabulary(model), config)


def build_from_corpus(folder: Path, output: Path, options: TrainTokenizer, cache: Cache) -> Artifact:
    """Train on the documents of one corpus split and put the tokenizer's files into `output`, all or none."""
    train.symbols_of(options)  # refuses a wrong symbol before any counting
    corpus.shards(folder)  # and an absent corpus
    with files.replaced_folder(output) as partial:
        console.err.print(f"counting the words of {folder}", markup=False)
        counts = count_corpus(folder, cache)
        artifact = build(counts, corpus.corpus_hash(folder), options)
        for name, content in artifact.files().items():
            (partial / name).write_bytes(content)
    return artifact


def with_changes(options: TrainTokenizer, **changes: object) -> TrainTokenizer:
    """`options` with some values replaced and checked; a value that does not fit is a `UserError`."""
    return checked(TrainTokenizer, options.model_dump() | changes, "options")
