"""Damage to every artifact between stages, and every reader of it: each damage is told, or changes nothing."""

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.core.terms import SPLITS
from aura.corpus.set_hash import corpus_hash
from aura.encode.encoding import encode_corpus
from aura.export.llama import export
from aura.select.options import Select
from aura.select.select import select
from aura.storage import shard_lists
from aura.storage.cache import Cache
from aura.storage.placement import Kept, of, write_lists
from aura.tokens.token_shards import TokenShards
from aura.train_tokenizer.corpus_counts import count_corpus
from aura.train_tokenizer.train import splitting_of
from aura.validate import validation
from tests.mini_tokens import PARAMS, MiniTokens, write_corpus

RULES = Select.model_validate({"deduplicate": "exact", "held_out": 0.2, "near_duplicates": None, "caps": {}})


@dataclass(frozen=True)
class Reader:
    """One that reads artifacts: where they lie, and what it makes of them as bytes that can be compared."""

    name: str
    reads: str  # below the folder
    run: Callable[[Path, Path], object]  # the folder, and one to write into


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_select(folder: Path, scratch: Path) -> object:
    select(["a"], RULES, folder / "extracted", scratch / "corpus", Cache(scratch / "cache"))
    return contents(scratch / "corpus")


def run_train(folder: Path, scratch: Path) -> object:
    counted = count_corpus(folder / "corpus/train", splitting_of(PARAMS.train_tokenizer), Cache(scratch / "cache"))
    return counted.table.to_pydict(), counted.account, corpus_hash(folder / "corpus/train")


def run_stored(folder: Path, scratch: Path) -> object:
    train = folder / "stored/train"
    counted = count_corpus(train, splitting_of(PARAMS.train_tokenizer), Cache(scratch / "cache"))
    return counted.table.to_pydict(), counted.account, corpus_hash(train)


def run_validate(folder: Path, scratch: Path) -> object:
    model = folder / "spm/spiece.model"
    validation.validate(model, folder / "corpus/held_out", PARAMS.validation, scratch / "reports")
    return contents(scratch / "reports")


def run_encode(folder: Path, scratch: Path) -> object:
    paths = folder / "corpus", folder / "spm", folder / "passed.json", scratch / "tokens"
    encode_corpus(*paths, PARAMS.encode, Cache(scratch / "cache"))
    return contents(scratch / "tokens")


def run_tokens(folder: Path, scratch: Path) -> object:  # noqa: ARG001 - as every reader
    mini = MiniTokens(folder)
    shards = TokenShards(mini.tokens, mini.tokenizer.encoding_sha256)
    streams = {split: shards.stream(split) for split in SPLITS}
    read = {split: stream.read(0, len(stream)).tobytes() for split, stream in streams.items()}
    affect = [shards.affect("train").window(number, 32).tobytes() for number in range(3)]
    return read, affect, shards.sha256, [str(row) for _, row in shards.documents("train")]


def run_export(folder: Path, scratch: Path) -> object:
    export(folder / "lm", folder / "spm", scratch / "hf", add_bos=True)
    return contents(scratch / "hf")


READERS = [
    Reader("select", "extracted", run_select),
    Reader("train_tokenizer", "corpus/train", run_train),
    Reader("train_tokenizer", "stored", run_stored),
    Reader("validate", "corpus/held_out", run_validate),
    Reader("validate", "spm", run_validate),
    Reader("encode", "corpus", run_encode),
    Reader("encode", "spm", run_encode),
    Reader("encode", "passed.json", run_encode),
    Reader("pretrain", "tokens", run_tokens),
    Reader("export", "lm", run_export),
    Reader("export", "spm", run_export),
]


def write_artifacts(made: MiniTokens, folder: Path) -> None:
    """The mini corpus, tokenizer and tokens, an extracted source and a language model, as the stages leave them."""
    from aura.model import weights
    from aura.model.model import LanguageModel, ModelConfig
    from tests.mini_tokens import tiny

    mini = made.copy(folder)
    write_corpus(folder / "whole")
    (folder / "extracted/a").mkdir(parents=True)
    for number, path in enumerate(sorted((folder / "whole/train").glob("*.parquet"))[:2]):
        shutil.copyfile(path, folder / f"extracted/a/{number:04d}.parquet")
    files.write_json(folder / "extracted/a/manifest.json", {"format": 1, "totals": {}, "files": []})
    checksums.write(folder / "extracted/a")
    write_stored(folder / "whole/train", folder / "stored")
    shutil.rmtree(folder / "whole")
    config = ModelConfig.of(tiny(), mini.tokenizer.vocab_size)
    origin = {"seq_len": 32, "tokenizer": mini.tokenizer.encoding_sha256, "tokens": "0" * 64}
    weights.save(folder / "lm", LanguageModel(config, seed=0), origin)


def write_stored(train: Path, folder: Path) -> None:
    """The same training split in a store below `folder`, with a list of two levels."""
    place = of((folder / "objects").as_uri())
    assert place.store
    kept = {folder / "train" / path.name: place.store.put(path) for path in sorted(train.glob("*.parquet"))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_lists, "MOST_LINES", 1)
        (folder / "train").mkdir()
        write_lists([Kept(None, kept)])
    checksums.write(folder / "train")


def damages(content: bytes, chosen: random.Random, flips: int) -> Iterator[bytes | None]:
    """The content with one bit flipped, so many times; then cut, empty, and None for a missing file."""
    for _ in range(flips):
        altered = bytearray(content)
        altered[chosen.randrange(len(content))] ^= 1 << chosen.randrange(8)
        yield bytes(altered)
    yield content[: chosen.randrange(len(content))]
    yield b""
    yield None


def check(reader: Reader, folder: Path, scratch: Path, flips: int, seed: int) -> int:
    """Damage the files that `reader` reads, one at a time; returns how many damages were told.

    Each must end in a `UserError` that names the file or its folder, or in the undisturbed result.
    """

    def result() -> object:
        shutil.rmtree(scratch, ignore_errors=True)
        return reader.run(folder, scratch)

    expected, chosen, told = result(), random.Random(seed), 0  # noqa: S311 - no secret
    place = folder / reader.reads
    paths = [path for path in sorted(place.rglob("*")) if path.is_file()] if place.is_dir() else [place]
    for number, path in enumerate(paths):
        content = path.read_bytes()
        share = flips // len(paths) + (number < flips % len(paths))
        for altered in damages(content, chosen, share):
            path.unlink() if altered is None else path.write_bytes(altered)
            try:
                assert result() == expected, f"{reader.name}: damage to {path} changed the result"
            except UserError as error:
                told += 1
                named = path.name in str(error) or path.parent.name in str(error)
                if not named:
                    pytest.fail(f"{reader.name}: damage to {path} is told as: {error}")
            finally:
                path.write_bytes(content)
    assert result() == expected
    return told


@pytest.fixture(scope="module")
def artifacts(made: MiniTokens, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts") / "all"
    write_artifacts(made, folder)
    return folder
