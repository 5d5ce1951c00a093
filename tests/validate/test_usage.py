import numpy as np
import pytest

from aura.corpus import corpus
from aura.storage.placement import ShardFile
from aura.tokenizer.model_file import Kind
from aura.validate import usage
from aura.validate.held_out import count_held_out
from aura.validate.measures import Tally
from aura.validate.options import Validate
from aura.validate.validation import validate
from tests.validate.test_validation import EASY

STRICT = Validate(**(EASY | {"max_unused_share": 0.01}))


@pytest.fixture
def tokenizer(tokenizers):
    return tokenizers["unigram"]


@pytest.fixture
def model(tmp_path, tokenizer):
    path = tmp_path / "spm/spiece.model"
    path.parent.mkdir()
    path.write_bytes(tokenizer.proc.serialized_model_proto())
    return path


def looked_at(folder, model, tokenizer, most=float("inf")):
    counted = count_held_out(model, tokenizer, folder / "held_out", float("inf"))
    total = Tally.total(counted.tallies.values(), tokenizer.vocab_size)
    return usage.usage(model, tokenizer, total.id_counts, 1.0, folder / "train", most)


def test_the_share_of_held_out_text_does_not_decide_which_pieces_are_unused(
    tmp_path, model, tokenizer, documents, write_corpus
):
    found = {}
    for share in (0.02, 0.05, 0.2, 0.4):
        folder, number = tmp_path / str(share), max(2, round(share * len(documents)))
        write_corpus(folder / "held_out", documents[:number])
        write_corpus(folder / "train", documents[number:])
        found[share] = looked_at(folder, model, tokenizer)
    assert all(one.whole and one.is_enough for one in found.values())
    assert len({tuple(one.unused) for one in found.values()}) == 1
    assert found[0.02].unused_share < 0.02
    ids = np.concatenate([tokenizer.encode(text) for text in documents])
    counts = np.bincount(ids, minlength=tokenizer.vocab_size)
    learnt = [token for token, kind in enumerate(tokenizer.kinds) if kind is Kind.LEARNT]
    assert found[0.4].unused == [token for token in learnt if counts[token] == 0]
    assert found[0.4].rare_share == pytest.approx(np.mean(counts[learnt] < usage.RARE))


def test_pieces_unused_in_little_text_are_a_warning(tmp_path, model, documents, write_corpus):
    write_corpus(tmp_path / "held_out", documents[1:3])
    gates = validate(model, tmp_path / "held_out", STRICT, tmp_path / "out")
    [gate] = [gate for gate in gates if gate.measure == "unused_share"]
    assert (gate.holds, gate.judged) == (True, False)
    assert "too few to judge" in gate.look
    gates = validate(model, tmp_path / "held_out", STRICT, tmp_path / "out", training=tmp_path / "held_out")
    [gate] = [gate for gate in gates if gate.measure == "unused_share"]
    assert (gate.holds, gate.judged) == (False, True)


def test_of_much_training_text_a_sample_is_read(tmp_path, model, tokenizer, documents, write_corpus):
    write_corpus(tmp_path / "held_out", documents[:2])
    write_corpus(tmp_path / "train", documents[2:])
    size = sum(shard.size for shard in corpus.shards(tmp_path / "train"))
    whole, part = (looked_at(tmp_path, model, tokenizer, most) for most in (size, 0.3 * size))
    assert (whole.whole, part.whole) == (True, False)
    assert 0 < part.counts.sum() < 0.6 * whole.counts.sum()
    assert set(whole.unused) < set(part.unused)


def test_a_sample_is_of_many_shards_and_of_few_bytes():
    def shards(number, size):
        return [ShardFile(corpus.Path(f"{place}.parquet"), size, "", "") for place in range(number)]

    assert usage.sample(shards(3, 10), 30) == [(shard, 1.0) for shard in shards(3, 10)]
    large = usage.sample(shards(1000, 10**9), 16e6)
    assert len(large) == usage.PARTS
    assert sum(shard.size * share for shard, share in large) == pytest.approx(16e6)
    small = usage.sample(shards(1000, 10), 500)
    assert len(small) == 50
    assert large != sorted(large, key=lambda part: part[0].path), "not the first ones, which may be of one source"
