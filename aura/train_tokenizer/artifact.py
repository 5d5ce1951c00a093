"""A trained tokenizer as files: the model, its vocabulary to read, the record of how it was made, and what others read.

The record holds every option, the corpus's hash and the versions that decide bytes, and no time, path or
host: it is the same wherever the tokenizer is built again.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aura.core import checksums, console, files
from aura.core.errors import UserError
from aura.core.section import checked
from aura.corpus import corpus
from aura.corpus.set_hash import corpus_hash
from aura.storage.cache import Cache
from aura.tokenizer import saving, slots
from aura.tokenizer.arguments import checked_texts
from aura.tokenizer.symbols import SPACE
from aura.train_tokenizer import elbow, train, vocabulary_size
from aura.train_tokenizer.corpus_counts import count_corpus, count_texts
from aura.train_tokenizer.counts import Counts, texts_hash
from aura.train_tokenizer.options import TrainTokenizer
from aura.train_tokenizer.vocabulary_size import Choice

OF_ADOPTION = {"base", "roles", "extend", "keep", "max_changed"}  # options with no say in what training makes
LIBRARIES = ("sentencepiece", "protobuf")  # they write the model's bytes


@dataclass(frozen=True)
class Artifact:
    """A trained tokenizer, ready to be written."""

    model: bytes
    config: dict[str, Any]

    @property
    def vocabulary(self) -> str:
        """The text of spiece.vocab."""
        return saving.vocabulary(self.model)

    def write(self, folder: Path, name: str = "spiece") -> None:
        """Put the files into a folder, as `saving.write` does; under another name, they may lie beside other models."""
        if name == "spiece":
            saving.write(self.files(), folder)
            return
        (folder / checksums.NAME).unlink(missing_ok=True)
        for file, content in self.files(name).items():
            files.write_bytes(folder / file, content)

    def write_output(self, folder: Path) -> None:
        """Put the files and their checksums into an empty folder, as the stage leaves them for others."""
        for name, content in self.files().items():
            (folder / name).write_bytes(content)
        checksums.write(folder)

    def files(self, name: str = "spiece") -> dict[str, bytes]:
        """The content of each file by its name; under the usual name also those that other programs look for."""
        config = json.dumps(self.config, indent=2, ensure_ascii=False) + "\n"
        record = {f"{name}_config.json": config.encode()}
        if name == "spiece":
            return record | saving.files_of(self.model)
        # tokenizer.json has no other name, and so no place beside several models
        return record | {f"{name}.model": self.model, f"{name}.vocab": self.vocabulary.encode()}


def build(counts: Counts, corpus_hash: str, options: TrainTokenizer) -> Artifact:
    """Train a tokenizer from segment counts; prints what is being done, as SentencePiece itself is silent."""
    symbols = train.symbols_of(options)
    for notice in symbols.notices:
        console.err.print(f"note: {notice}", markup=False)
    for name in slots.learnable(options.extra_special_tokens, counts.table["text"], options.max_piece_chars):
        console.err.print(
            f"note: the text holds the special token {name!r}. If it is learnt as a piece, training ends with an "
            "error. To be sure, stop now and choose a name that no text has, such as one with <| and |> around it",
            markup=False,
        )
    if counts.cap:
        console.out.print(str(counts.cap), markup=False)
    choice, model = _trained(counts, options)
    model = slots.named(model, options.extra_special_tokens)
    account = counts.account
    without = counts.cap.record() if counts.cap else None
    config = {
        "options": options.model_dump(exclude=OF_ADOPTION | (set() if without else {"max_segments"})),
        "vocabulary": choice.record(),
        "sentencepiece": train.FIXED | {"required_chars": f"U+{ord(SPACE):04X}"},
        "special_tokens": {token: place for place, token in enumerate(symbols.special)},
        "user_symbols": list(symbols.user),
        "corpus": {
            "hash": corpus_hash,
            "documents": account.documents,
            "bytes": account.bytes,
            "words": account.words,
            "distinct_segments": len(counts.table) + (counts.cap.segments if counts.cap else 0),
            "cut_words": account.cut_words,
            "characters_left_out": account.left_out,
            **({"left_out_as_rare": without} if without else {}),
        },
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }
    return Artifact(model, config)


def _trained(counts: Counts, options: TrainTokenizer) -> tuple[Choice, bytes]:
    """Train with the size that `options` ask for; an automatic one gives way to what the corpus allows."""
    choice = vocabulary_size.choose(options, counts.account)
    if choice.undecided and (curve := elbow.measured(counts.table, options)):
        choice = choice.resized(*elbow.elbow(curve, counts.account.bytes))
    for reason in choice.reasons:
        console.out.print(f"vocabulary size: {reason}", markup=False)
    console.err.print(
        f"training {options.model_type} with {choice.size:,} pieces on {len(counts.table):,} distinct parts of words"
    )
    smallest = 0
    while True:
        try:
            return choice, train.train_model(counts.table, options, choice.size)
        except train.VocabularyTooLarge as error:
            if not choice.automatic:
                raise
            fitting = max(smallest, vocabulary_size.rounded_down(error.largest))
            reason = f"{error.largest:,} pieces are the most this corpus allows; taken: {fitting:,}"
        except train.VocabularyTooSmall as error:  # once, as no later size is below `smallest`
            if not choice.automatic:
                raise
            smallest, fitting = error.smallest, 2 * error.smallest
            reason = f"{smallest:,} are needed for symbols, bytes and characters alone; taken: {fitting:,}"
        console.out.print(f"vocabulary size: {reason}", markup=False)
        choice = choice.resized(fitting, reason)


def build_from_texts(texts: Iterable[str], options: TrainTokenizer) -> Artifact:
    """Train a tokenizer on documents in memory; `texts` is any iterable of them, one text alone a `TypeError`."""
    texts = checked_texts(texts)
    try:
        counts = count_texts(texts, train.splitting_of(options), options.max_segments)
    except UnicodeEncodeError as error:
        raise UserError(
            f"expected texts that UTF-8 can hold, got half a character ({error.object[error.start]!a}). Replace it: "
            'text.encode(errors="replace").decode()'
        ) from None
    return build(counts, texts_hash(texts), options)


def build_from_corpus(
    folder: Path, output: Path, options: TrainTokenizer, cache: Cache, cluster: str | None = None
) -> Artifact:
    """Train on the documents of one corpus split and put the tokenizer's files into `output`, all or none.

    `cluster` is the address of a cluster that counts; without it, this machine's cores do.
    """
    train.symbols_of(options)  # refuses a wrong symbol before any counting
    shards = corpus.shards(folder)  # and an absent corpus
    with files.replaced_folder(output) as partial:
        console.err.print(f"counting the words of {folder}", markup=False)
        counts = count_corpus(folder, train.splitting_of(options), cache, options.max_segments, cluster, shards)
        artifact = build(counts, corpus_hash(folder, partial, cluster, shards), options)
        artifact.write_output(partial)
    return artifact


def with_changes(options: TrainTokenizer, **changes: object) -> TrainTokenizer:
    """`options` with some values replaced and checked; a value that does not fit is a `UserError`."""
    return checked(TrainTokenizer, options.model_dump(by_alias=True) | changes, "options")
