"""A small model goes on with a tokenizer that got 8,000 pieces of Greek, Korean and Hindi: how much English it forgets.

    python benchmarks/continue_extended.py CORPUS

CORPUS is a folder of folders of .txt documents: libreoffice-help-el, -ko and -hi are taught, libreoffice-help-en-us and
manpages are English. The functions of the stages extract, select, adopt Mistral's tokenizer.model v1, extend it,
validate and encode. A base learns English alone with v1. From its weights each run goes on for 200 steps on a mix. New
rows begin as the mean of those that spell them, as the product has it, or as random numbers, which this program puts in
their place. One run goes on without new pieces. Bits per byte are of the same held-out
texts in every row: all windows of a language. Writes benchmarks/results/continue_extended.md.
"""

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import mistral_common
import numpy as np
from measure import machine

from aura.core import files
from aura.encode import encoding
from aura.extract.extract import extract
from aura.model import weights
from aura.model.model import EMBEDDING_STD, LanguageModel
from aura.pretrain.options import Pretrain, PretrainSection
from aura.pretrain.pretrain import Pretraining, opened_base, pretrain
from aura.pretrain.recipe import decided as run_of
from aura.project import whole_params
from aura.select.options import Caps
from aura.select.select import select
from aura.sources.options import TxtSource
from aura.storage.cache import Cache
from aura.tokenizer import opening
from aura.tokens.token_shards import TokenShards
from aura.train_tokenizer import adoption, train
from aura.train_tokenizer.extension import Extension, Rules
from aura.train_tokenizer.extension_corpus import extended_by_corpus
from aura.training.evaluation import HeldOut
from aura.validate.validation import validate

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks/results/continue_extended.md"
V1 = Path(mistral_common.__file__).parent / "data/tokenizer.model.v1"
LANGUAGES = {
    "English": ("libreoffice-help-en-us", "manpages"),
    "Greek": ("libreoffice-help-el",),
    "Korean": ("libreoffice-help-ko",),
    "Hindi": ("libreoffice-help-hi",),
}
SOURCES = [source for sources in LANGUAGES.values() for source in sources]
PIECES, STEPS, BASE_STEPS = 8000, 200, 600
WAIVED = ["byte_fallback_share", "unused_share"]  # of v1: line ends are bytes, and most pieces are not for this text
SOURCE_BYTES, HELD_OUT = 3_000_000, 0.015  # of each source at most, and the share of documents to measure on
NEVER = 100_000  # steps: checkpoints and evaluations would only take time
SHAPE = {"layers": 2, "width": 96, "heads": 4, "kv_heads": 2, "hidden": 256}
RUN: dict[str, Any] = {"size": SHAPE, "batch_size": 8, "seq_len": 64, "eval_every": NEVER, "checkpoint_every": NEVER}
RUN |= {"eval_tokens": 1024, "optimizer": "adamw"}
BASE_RUN = RUN | {"steps": BASE_STEPS, "warmup_steps": 30, "learning_rate": 0.004}
TAUGHT = [language for language in LANGUAGES if language != "English"]
Bits = dict[str, float]  # held-out bits per byte, by language


@dataclass(frozen=True)
class Recipe:
    """One run from the base's weights.

    Attributes:
        rows: how new rows begin, mean or random; None: v1 without new pieces.
        learning_rate: at its peak.
        english: share of windows; the taught languages have equal shares of the others.
        embeddings_first: steps in which only embeddings move.
    """

    rows: str | None
    learning_rate: float
    english: float
    embeddings_first: int = 0

    @property
    def shares(self) -> dict[str, float]:
        """Shares of windows, by language."""
        return {"English": self.english} | dict.fromkeys(TAUGHT, (1 - self.english) / len(TAUGHT))


RECIPES = (
    Recipe("mean", 0.001, 0.5),
    Recipe("random", 0.001, 0.5),
    Recipe(None, 0.001, 0.5),
)


class Vocabulary:
    """A tokenizer, and the corpus in its tokens."""

    def __init__(self, spm: Path, tokens: Path) -> None:
        self.spm, self.tokens = spm, tokens
        self.tokenizer = opening.load(spm)
        self.shards = TokenShards(tokens, self.tokenizer.encoding_sha256)

    def train(self, folder: Path, shares: dict[str, float], changes: dict[str, Any]) -> LanguageModel:
        """Train in `folder` and return the model; `shares` are those of windows, by language."""
        options = self.options(folder, shares, changes)
        pretrain(self.tokens, self.spm / "spiece.model", folder / "lm", folder / "reports", options)
        return weights.load(folder / "lm")

    def options(self, folder: Path, shares: dict[str, float], changes: dict[str, Any]) -> Pretrain:
        """Options of a run whose weights of sources give these shares."""
        tokens = dict.fromkeys(SOURCES, 0)
        for entry in self.shards.entries:
            tokens[entry.source] += entry.tokens if entry.split == "train" else 0
        source_weights = {
            source: 1e6 * shares.get(language, 0) / sum(tokens[source] for source in sources)
            for language, sources in LANGUAGES.items()
            for source in sources
        }
        decided = changes | {"source_weights": source_weights, "checkpoint_folder": str(folder / "checkpoints")}
        return run_of(PretrainSection.model_validate(whole_params.load().pretrain.model_dump() | decided))

    def bits_per_byte(self, model: LanguageModel) -> Bits:
        """Of all held-out text of each language."""
        return {language: self._bits(model, sources) for language, sources in LANGUAGES.items()}

    def _bits(self, model: LanguageModel, sources: tuple[str, ...]) -> float:
        length = RUN["seq_len"]
        streams = [self.shards.stream("held_out", source) for source in sources]
        windows = np.concatenate(
            [stream.windows(np.arange(stream.number_of_windows(length)), length) for stream in streams]
        )
        held_out = HeldOut(windows, ["all"] * len(windows), self.tokenizer.byte_lengths, batch_size=32)
        return held_out.bits_per_byte(model)[0]

    def bytes_per_token(self) -> Bits:
        """Of all text of each language, special tokens included."""
        return {
            language: sum(entry.bytes for entry in self.shards.entries if entry.source in sources)
            / sum(entry.tokens for entry in self.shards.entries if entry.source in sources)
            for language, sources in LANGUAGES.items()
        }


def selected_corpus(texts: Path, cache: Cache) -> Path:
    """The corpus of all languages, in the folder that we are in."""
    params = whole_params.load()
    for name in SOURCES:
        extract(name, TxtSource(kind="txt", path=str(texts / name)), params.extract, Path("extracted", name), cache)
    caps = {name: Caps(max_bytes=SOURCE_BYTES) for name in SOURCES}
    settings = params.select.model_copy(update={"held_out": HELD_OUT, "caps": caps})
    select(SOURCES, settings, Path("extracted"), Path("corpus"), cache)
    return Path("corpus")


def base_vocabulary(corpus: Path, cache: Cache) -> Vocabulary:
    """v1 as it is, which gives bytes for much of the taught languages, and so is not asked to pass the gates."""
    adopted = adoption.adopt(adoption.Base(V1, V1.name, {}), Path("v1/spm"))
    encoding.encode_with(adopted, corpus, Path("v1/tokens"), whole_params.load().encode, cache)
    return Vocabulary(Path("v1/spm"), Path("v1/tokens"))


def extended_vocabulary(corpus: Path, cache: Cache) -> Vocabulary:
    """v1 with more pieces, which must pass the gates but for two that v1 misses: it spells line ends with bytes."""
    params, english = whole_params.load(), LANGUAGES["English"]
    options = params.train_tokenizer

    def learn(file: Path) -> Extension:
        rules, splitting = (
            Rules(longest=options.max_piece_chars, max_changed=options.max_changed),
            train.splitting_of(options),
        )
        return extended_by_corpus(
            file, corpus / "train", PIECES, cache, splitting=splitting, rules=rules, old_sources=english
        )

    record = {
        "corpus": files.read_json(corpus / "manifest.json", "")["hash"]["train"],
        "keep": [*english],
        "max_changed": options.max_changed,
    }
    spm, passed = Path("extended/spm"), Path("extended/reports/passed.json")
    adoption.adopt(adoption.Base(V1, V1.name, {}), spm, adoption.More(learn, record))
    limits = params.validation.model_copy(update={"waive": WAIVED})
    gates = validate(spm / "spiece.model", corpus / "held_out", limits, passed.parent, training=corpus / "train")
    print("\n".join(f"waived: {gate.told}" for gate in gates if gate.waived), flush=True)
    encoding.encode_corpus(corpus, spm, passed, Path("extended/tokens"), params.encode, cache)
    return Vocabulary(spm, Path("extended/tokens"))


def first_model(vocabulary: Vocabulary, options: Pretrain) -> LanguageModel:
    """The model that a run begins with."""
    base = opened_base(options, vocabulary.tokenizer, vocabulary.spm)
    task = Pretraining(vocabulary.shards, vocabulary.tokenizer, options, base)
    return weights.plain(task.config, task.first_state()["model"])


def with_random_rows(model: LanguageModel, vocabulary: Vocabulary, base_size: int, folder: Path) -> Path:
    """Write the model with new rows as a fresh model has them; a run that begins from it adds none of its own."""
    shape = (model.config.vocab_size - base_size, model.config.width)
    rows = EMBEDDING_STD * jax.random.normal(jax.random.key(0), shape)
    model.embedding[...] = model.embedding[...].at[base_size:].set(rows)
    origin = {"seq_len": RUN["seq_len"], "tokenizer": vocabulary.tokenizer.encoding_sha256}
    weights.save(folder, model, origin | {"tokens": vocabulary.shards.sha256})
    return folder


def main() -> None:
    """Train the base and the runs from it, and write a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    texts, began = parser.parse_args().corpus.resolve(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aura-") as folder:
        for name in ("params.yaml", "aura", "data"):
            Path(folder, name).symlink_to(REPOSITORY / name)
        os.chdir(folder)
        measure(texts, began)
        os.chdir(REPOSITORY)


def measure(texts: Path, began: float) -> None:
    """Train everything; the result is written anew after each run."""
    cache, first_line = Cache(Path("cache")), f"{machine()}; `benchmarks/continue_extended.py`"
    corpus = selected_corpus(texts, cache)
    v1, extended = base_vocabulary(corpus, cache), extended_vocabulary(corpus, cache)
    before = v1.bits_per_byte(v1.train(Path("base"), {"English": 1}, BASE_RUN))
    print(f"{time.monotonic() - began:.0f} s: the base has {before}", flush=True)
    starts = {"mean": Path("base/lm"), "random": random_base(extended, v1.tokenizer.vocab_size), None: Path("base/lm")}
    firsts: dict[str | None, Bits] = {None: before}
    rows = []
    for number, recipe in enumerate(RECIPES):
        vocabulary, folder = extended if recipe.rows else v1, Path(f"run-{number}")
        changes = changes_of(recipe, starts[recipe.rows])
        if recipe.rows not in firsts:
            options = vocabulary.options(folder, recipe.shares, changes)
            firsts[recipe.rows] = vocabulary.bits_per_byte(first_model(vocabulary, options))
        after = vocabulary.bits_per_byte(vocabulary.train(folder, recipe.shares, changes))
        rows.append(row(recipe, before["English"], firsts[recipe.rows], after))
        print(f"{time.monotonic() - began:.0f} s: {rows[-1]}", flush=True)
        told = [*heading(first_line, v1, extended, before, time.monotonic() - began), *rows]
        RESULT.write_text("\n".join(told) + "\n", encoding="utf-8")


def changes_of(recipe: Recipe, start: Path) -> dict[str, Any]:
    """Options of a run, beside the weights of sources."""
    return RUN | {
        "seed": 1,  # other windows first than the base has seen
        "steps": STEPS,
        "warmup_steps": 20,
        "learning_rate": recipe.learning_rate,
        "train_embeddings_first": recipe.embeddings_first,
        "from": str(start),
    }


def heading(first_line: str, v1: Vocabulary, extended: Vocabulary, before: Bits, seconds: float) -> list[str]:
    """The lines above the rows."""
    lengths, longer = v1.bytes_per_token(), extended.bytes_per_token()
    told = ", ".join(f"{language} {lengths[language]:.2f} → {longer[language]:.2f}" for language in LANGUAGES)
    unlearnt = ", ".join(f"{language} {before[language]:.2f}" for language in TAUGHT)
    windows = f"{RUN['batch_size']} x {RUN['seq_len']}"
    return [
        "# A model that goes on with an extended tokenizer",
        "",
        f"{first_line}; {seconds:.0f} s in all",
        "",
        f"The base: {SHAPE}, tied embeddings, {BASE_STEPS} steps of {windows} tokens of English alone, encoded with "
        f"Mistral's tokenizer.model.v1, at a rate of {BASE_RUN['learning_rate']:g}. The tokenizer then gets {PIECES:,} "
        f"pieces. Bytes per token, before and after: {told}.",
        "",
        f"Each row is {STEPS} steps of {windows} tokens from the base's weights, with a warm-up of 20 steps and a "
        "decay over the last 80. Windows that are not English are Greek, Korean and Hindi in equal parts. Figures are "
        "bits per byte of all held-out text of a language. English: of the base, before the first step, after the "
        f"last. Others: before the first step, after the last; the base, with v1, has {unlearnt}.",
        "",
        f"| new rows | rate | English windows | embeddings alone, steps | English | loses at once | loses in the end | "
        f"{' | '.join(TAUGHT)} |",
        "|---" * (7 + len(TAUGHT)) + "|",
    ]


def random_base(extended: Vocabulary, base_size: int) -> Path:
    """The base with random new rows."""
    options = extended.options(Path("random"), {"English": 1}, RUN | {"from": "base/lm"})
    return with_random_rows(first_model(extended, options), extended, base_size, Path("random/lm"))


def row(recipe: Recipe, before: float, first: Bits, after: Bits) -> str:
    """A row of the table; `before` is the base's English."""
    cells = [
        recipe.rows or "no new pieces",
        f"{recipe.learning_rate:g}",
        f"{recipe.english:.0%}",
        f"{recipe.embeddings_first}",
        f"{before:.3f} → {first['English']:.3f} → {after['English']:.3f}",
        f"{first['English'] / before - 1:+.1%}",
        f"{after['English'] / before - 1:+.1%}",
        *(f"{first[language]:.2f} → {after[language]:.2f}" for language in TAUGHT),
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
