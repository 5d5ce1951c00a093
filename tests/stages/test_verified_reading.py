"""No damage between stages is silent: a few flips, cuts and losses for each pair of artifact and reader."""

from collections import Counter
from pathlib import Path

import pytest

from aura.core.files import sha256_file
from aura.corpus import corpus
from aura.corpus.set_hash import corpus_hash
from aura.storage import placement
from aura.storage.cache import Cache
from aura.train_tokenizer.corpus_counts import count_corpus
from aura.train_tokenizer.train import splitting_of
from aura.validate.held_out import count_held_out
from tests.flips import READERS, Reader, artifacts, check  # noqa: F401 - a fixture
from tests.mini_tokens import PARAMS, MiniTokens


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: f"{reader.name}-{reader.reads}")
def test_damage_to_what_a_stage_reads_is_told(reader: Reader, artifacts: Path, tmp_path: Path):  # noqa: F811
    assert check(reader, artifacts, tmp_path / "scratch", flips=2, seed=13) > 0


def test_a_run_compares_each_shard_once(made: MiniTokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    compared = Counter[Path]()

    def counted(path: Path) -> str:
        compared[path] += 1
        return sha256_file(path)

    monkeypatch.setattr(placement, "sha256_file", counted)
    train, held_out = made.corpus / "train", made.corpus / "held_out"
    shards = corpus.shards(train)
    for _ in range(2):  # the second time, counts are recalled
        count_corpus(train, splitting_of(PARAMS.train_tokenizer), Cache(tmp_path), shards=shards)
        corpus_hash(train, found=shards)
    count_held_out(made.spm / "spiece.model", made.tokenizer, held_out, 1e9)
    assert compared == dict.fromkeys((*train.glob("*.parquet"), *held_out.glob("*.parquet")), 1)
