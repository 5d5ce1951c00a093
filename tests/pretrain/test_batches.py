import itertools

import numpy as np
import pytest

from aura.core.errors import UserError
from aura.pretrain.step.batches import BLOCK, Batches, Source
from aura.tokens.streams import AffectStream, TokenStream
from aura.training.evaluation import evaluation_windows

STREAM = TokenStream([np.arange(700, dtype=np.uint16), np.arange(700, 1001, dtype=np.uint16)])  # 100 windows of 10


def batches(seed: int = 0, batch_size: int = 20) -> Batches:
    return Batches([Source("all", STREAM)], batch_size=batch_size, seq_len=10, seed=seed)


def tokens(made: Batches, step: int) -> np.ndarray:
    return made.batch(step)["tokens"]


def starts(rows: np.ndarray) -> list[int]:
    return rows[:, 0].tolist()


def test_a_batch_is_a_function_of_the_step_alone():
    one, other = batches(), batches()
    later = [tokens(one, step) for step in range(12)]
    for step in (11, 3, 7, 0):
        np.testing.assert_array_equal(tokens(other, step), later[step])


def test_an_epoch_covers_every_window_once_and_each_epoch_in_another_order():
    first = [start for step in range(5) for start in starts(tokens(batches(), step))]
    second = [start for step in range(5, 10) for start in starts(tokens(batches(), step))]
    assert sorted(first) == sorted(second) == list(range(0, 1000, 10))
    assert first != second


def test_a_batch_may_run_from_one_epoch_into_the_next():
    rows = [start for step in range(10) for start in starts(tokens(batches(batch_size=30), step))]
    for epoch in range(3):
        assert sorted(rows[100 * epoch : 100 * (epoch + 1)]) == list(range(0, 1000, 10))


def test_a_batch_larger_than_the_corpus_repeats_it():
    assert sorted(starts(tokens(batches(batch_size=300), 0))) == sorted(3 * list(range(0, 1000, 10)))


@pytest.mark.parametrize("hosts", [1, 2, 3, 4])
def test_hosts_share_the_same_global_batch(hosts: int):
    whole = tokens(batches(), 4)
    cuts = [20 * host // hosts for host in range(hosts + 1)]
    parts = [batches().batch(4, slice(*cut))["tokens"] for cut in itertools.pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_the_seed_decides_the_order():
    assert starts(tokens(batches(seed=1), 0)) != starts(tokens(batches(seed=2), 0))


def test_the_order_never_changes_between_versions():
    assert starts(tokens(batches(), 0))[:6] == [660, 0, 540, 430, 690, 380]


def test_rows_are_int32_windows_with_their_targets():
    rows = tokens(batches(), 0)
    assert (rows.dtype, rows.shape) == (np.int32, (20, 11))
    assert (np.diff(rows) == 1).all()


def test_too_few_training_tokens_say_what_to_do():
    with pytest.raises(
        UserError, match=r"expected at least 1,002 training tokens .* got 1,001\. Lower pretrain\.seq_len"
    ):
        Batches([Source("all", STREAM)], batch_size=1, seq_len=1001, seed=0)


def test_evaluation_windows_are_spread_evenly_and_never_more_than_there_are():
    windows, sources = evaluation_windows({"a": STREAM}, seq_len=10, tokens=50)
    assert starts(windows) == [0, 200, 400, 600, 800]
    assert sources == ["a"] * 5
    assert len(evaluation_windows({"a": STREAM}, seq_len=10, tokens=10**6)[0]) == 100


def test_a_held_out_set_smaller_than_one_window_says_so():
    with pytest.raises(UserError, match="held-out tokens for one sequence"):
        evaluation_windows({"a": TokenStream([np.zeros(10, np.uint16)])}, seq_len=10, tokens=1024)


def test_every_source_is_evaluated_in_proportion_and_at_least_once():
    short, tiny = TokenStream([np.arange(30, dtype=np.uint16)]), TokenStream([np.arange(5, dtype=np.uint16)])
    windows, sources = evaluation_windows({"long": STREAM, "short": short, "tiny": tiny}, seq_len=10, tokens=200)
    assert (sources.count("long"), sources.count("short"), sources.count("tiny")) == (19, 1, 0)
    assert len(windows) == 20


def two_sources(weight: float) -> Batches:
    small = TokenStream([np.arange(2000, 2501, dtype=np.uint16)])  # 50 windows of 10, against 100
    return Batches([Source("big", STREAM), Source("small", small, weight)], batch_size=64, seq_len=10, seed=3)


@pytest.mark.parametrize(("weight", "share"), [(1.0, 1 / 3), (4.0, 2 / 3), (0.0, 0.0)])
def test_sources_are_seen_by_weight_times_size_in_every_block(weight: float, share: float):
    made = two_sources(weight)
    for block in (0, 5):
        steps = range(block * BLOCK // 64, (block + 1) * BLOCK // 64)
        drawn = np.concatenate([tokens(made, step)[:, 0] for step in steps])
        assert abs((drawn >= 2000).sum() - share * BLOCK) <= 1


def test_each_epoch_of_a_mixed_source_covers_its_windows_once():
    drawn = np.concatenate([tokens(two_sources(4.0), step)[:, 0] for step in range(30)])
    small = drawn[drawn >= 2000]
    for epoch in range(10):
        assert sorted(small[50 * epoch : 50 * (epoch + 1)]) == list(range(2000, 2500, 10))


def test_a_step_names_where_its_batch_comes_from():
    made = batches(batch_size=3)
    told = made.describe(0)
    for start in starts(tokens(made, 0)):
        assert f"all tokens {start:,} to {start + 10:,}" in told


def test_each_token_is_told_its_documents_affect():
    documents = np.array([0, 4, 25])
    vectors = np.arange(24, dtype=np.float32).reshape(3, 8)
    source = Source("all", STREAM, affect=AffectStream(documents, vectors))
    batch = Batches([source], batch_size=100, seq_len=10, seed=0).batch(0)
    for rows, affect in zip(batch["tokens"], batch["affect"], strict=True):
        expected = vectors[(documents[None, :] <= rows[:-1, None]).sum(axis=1) - 1]  # a token is its own place here
        np.testing.assert_array_equal(affect, expected)


def many_sources(count: int, batch_size: int) -> Batches:
    streams = [TokenStream([np.full(101, number, np.uint16)]) for number in range(count)]  # 10 windows of 10 each
    sources = [Source(str(number), stream, 1 + number % 3) for number, stream in enumerate(streams)]
    return Batches(sources, batch_size=batch_size, seq_len=10, seed=3)


@pytest.mark.parametrize("count", [3, 65, 300])
def test_the_order_of_a_source_is_drawn_once_an_epoch_however_many_sources_there_are(monkeypatch, count: int):
    drawn: list[tuple[int, ...]] = []
    philox = np.random.Philox

    def counted(key: np.ndarray) -> np.random.Philox:
        drawn.append(tuple(key.tolist()))
        return philox(key=key)

    monkeypatch.setattr(np.random, "Philox", counted)
    made = many_sources(count, batch_size=64)
    for step in range(2 * count):
        made.batch(step)
    assert len(drawn) == len(set(drawn))


def test_no_source_is_left_out_where_there_are_more_than_places_in_a_block():
    count = BLOCK + 100
    made = many_sources(count, batch_size=2 * BLOCK)
    assert set(tokens(made, 0)[:, 0].tolist()) == set(range(count))


def test_steps_may_be_asked_for_in_any_order():
    made, one = many_sources(70, 64), many_sources(70, 64)
    later = [tokens(made, step) for step in range(40)]
    for step in (39, 0, 20, 21, 3):
        np.testing.assert_array_equal(tokens(one, step), later[step])


def test_steps_pass_over_batches_and_take_later_ones():
    plain, passing = batches(), Batches([Source("all", STREAM)], 20, 10, seed=0, skip=[(1, 1), (4, 6)])
    for step, number in enumerate([1, 2, 6, 7, 8]):
        np.testing.assert_array_equal(tokens(passing, step), tokens(plain, number))
        assert passing.describe(step).startswith(f"batch {number + 1}: all tokens ")


def test_a_batch_is_described_with_its_documents_unless_they_cannot_be_read():
    def documents(start: int, stop: int) -> list[str]:
        if start == 0:
            raise UserError("a file is gone")
        return [f"a: {place}" for place in range(start, stop, 2)]

    said = Batches([Source("all", STREAM, documents=documents)], 100, 10, seed=0).describe(0, most=100)
    assert "all tokens 40 to 50 (a: 40, a: 42, a: 44 and 2 more)" in said
    assert "all tokens 0 to 10;" in said
