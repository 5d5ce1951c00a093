"""Token shards in a store: trained on in ranges, with the same batches as from this disk."""

from pathlib import Path

import numpy as np
import pytest

from aura.core.errors import UserError
from aura.encode.encoding import encode_corpus
from aura.pretrain.step.batches import Batches, Source
from aura.storage.cache import Cache
from aura.storage.placement import of
from aura.tokens.token_shards import TokenShards
from aura.training.evaluation import evaluation_windows
from tests.mini_tokens import PARAMS, MiniTokens


@pytest.fixture
def stored(made: MiniTokens, tmp_path: Path) -> TokenShards:
    place, cache = of((tmp_path / "objects").as_uri()), Cache(tmp_path / "cache")
    encode_corpus(made.corpus, made.spm, made.passed, tmp_path / "tokens", PARAMS.encode, cache, place)
    return TokenShards(tmp_path / "tokens", made.tokenizer.sha256)


@pytest.fixture
def plain(made: MiniTokens) -> TokenShards:
    return TokenShards(made.tokens, made.tokenizer.sha256)


def batches(shards: TokenShards) -> Batches:
    sources = [
        Source(name, shards.stream("train", name), 1.5, shards.affect("train", name))
        for name in shards.sources("train")
    ]
    return Batches(sources, batch_size=8, seq_len=32, seed=3)


def test_the_set_is_the_same_set(stored, plain):
    assert stored.sha256 == plain.sha256, "so checkpoints of the one are those of the other"
    assert stored.entries == plain.entries
    assert not list(stored.folder.rglob("*.npy"))
    stored.verify()
    documents = [[(ids.tolist(), row) for ids, row in shards.documents("train")] for shards in (stored, plain)]
    assert documents[0] == documents[1]


def test_batches_are_the_same_in_any_order_of_steps_and_for_any_rows(stored, plain):
    ours, theirs = batches(stored), batches(plain)
    for step, rows in [
        *((step, slice(None)) for step in range(12)),
        (3, slice(2, 5)),
        (4, slice(2, 5)),
        (40, slice(0, 1)),
    ]:
        expected = theirs.batch(step, rows)
        found = ours.batch(step, rows)
        assert np.array_equal(found["tokens"], expected["tokens"])
        assert np.array_equal(found["affect"], expected["affect"])
    windows = [
        evaluation_windows({name: shards.stream("held_out", name) for name in shards.sources("held_out")}, 32, 1024)[0]
        for shards in (stored, plain)
    ]
    assert np.array_equal(*windows)


def test_altered_and_missing_ids_are_found_at_the_start_and_on_the_way(stored, made):
    entry = next(path for path in stored._shards if path.suffix == ".npy" and path.parent.name == "train")
    uri = stored._shards[entry].stored.uri
    place = Path(uri.removeprefix("file://"))
    content, stream = place.read_bytes(), stored.stream("train")
    assert np.array_equal(stream.read(0, 500), stored.stream("train").read(0, 500))
    stored = TokenShards(stored.folder, made.tokenizer.sha256)  # which has compared nothing yet
    place.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=f"{uri} is not there with .* run: dvc repro encode --force"):
        stored.verify()
    with pytest.raises(UserError, match=f"{uri} is not there with "):
        stored.stream("train")
    for damage in (lambda: place.write_bytes(content[:100]), place.unlink):
        damage()
        with pytest.raises(UserError, match=f"{uri} went missing, or was altered"):
            stream.read(0, 500)
