"""A second dump beside the first costs its own work: what is known of the first is neither hashed nor made again."""

from pathlib import Path

import pytest

from aura.core import checksums
from aura.encode import encoding
from aura.select import candidates, signatures, writing
from aura.select.options import Select
from aura.select.select import select
from aura.storage import placement
from aura.storage.cache import Cache
from aura.train_tokenizer import corpus_counts
from aura.train_tokenizer.train import splitting_of
from tests.mini_tokens import PARAMS, MiniTokens
from tests.select.test_select import RULES, write_extracted

TEXTS = {
    name: [f"{name} holds the document with the number {number}, and nothing else of note" for number in range(300)]
    for name in ("dump-1", "dump-2")
}
SHARDS = 7  # of each dump


def test_adding_a_dump_of_equal_size_reads_signs_counts_and_encodes_that_one_alone(
    made: MiniTokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    done: dict[str, list[str]] = {}

    def watch(module: object, name: str, place: object) -> None:
        """Note the source of the shard that each call of a function is about."""
        honest = getattr(module, name)

        def noted(*args: object, **options: object) -> object:
            done.setdefault(name, []).append(str(place(args[0])))
            return honest(*args, **options)

        monkeypatch.setattr(module, name, noted)

    watch(candidates, "_made", lambda shard: shard.source)
    watch(signatures, "_sign", lambda shard: shard.source)
    watch(writing, "_write_shard", lambda task: task.source)
    watch(corpus_counts, "_count", lambda named: named[1].path.name[:6])
    watch(encoding, "encode_shard", lambda task: task.file.path.name[:6])
    watch(placement, "sha256_file", lambda path: path.parent.name if path.parent.name in TEXTS else path.name[:6])
    watch(checksums.files, "sha256_file", lambda path: path.name)

    write_extracted(tmp_path / "extracted", TEXTS, SHARDS)
    rules, cache = Select.model_validate(RULES | {"near_duplicates": 0.9}), Cache(tmp_path / "cache")

    def run(sources: list[str]) -> dict[str, dict[str, int]]:
        done.clear()
        corpus = tmp_path / "corpus"
        select(sources, rules, tmp_path / "extracted", corpus, cache)
        corpus_counts.count_corpus(corpus / "train", splitting_of(PARAMS.train_tokenizer), cache)
        encoding.encode_with(made.tokenizer, corpus, tmp_path / "tokens", PARAMS.encode, cache)
        names = ("_made", "_sign", "_write_shard", "_count", "encode_shard")
        return {name: {dump: done.get(name, []).count(dump) for dump in TEXTS} for name in names}

    once = {"_made": SHARDS, "_sign": SHARDS, "_write_shard": SHARDS, "_count": SHARDS, "encode_shard": 2 * SHARDS}
    assert run(["dump-1"]) == {name: {"dump-1": number, "dump-2": 0} for name, number in once.items()}
    assert run(["dump-1", "dump-2"]) == {name: {"dump-1": 0, "dump-2": number} for name, number in once.items()}
    assert not [name for name in done["sha256_file"] if name == "dump-1"]
    assert run(["dump-1", "dump-2"]) == {name: {"dump-1": 0, "dump-2": 0} for name in once}
