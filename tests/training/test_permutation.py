import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.pretrain.step.batches import Batches, Source
from aura.tokens.streams import TokenStream
from aura.training import permutation
from aura.training.permutation import ROUNDS, Permutation


def keys(seed: int) -> np.ndarray:
    return np.random.Philox(key=seed).random_raw(ROUNDS)


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**32))
def test_every_number_stands_at_one_place(size: int, seed: int):
    order = Permutation(size, keys(seed))
    assert sorted(order[place] for place in range(size)) == list(range(size))


@given(size=st.integers(1, 2**62), seed=st.integers(0, 2**32), data=st.data())
def test_numbers_of_any_size_stay_below_it_and_apart(size: int, seed: int, data: st.DataObject):
    order, places = Permutation(size, keys(seed)), st.sets(st.integers(0, size - 1), min_size=1, max_size=20)
    chosen = data.draw(places)
    found = [order[place] for place in chosen]
    assert len(set(found)) == len(chosen)
    assert all(0 <= number < size for number in found)


def test_the_order_is_the_same_for_ever():
    """A run that goes on in a later version must see the same windows."""
    order = Permutation(10**9 + 7, keys(3))
    assert [order[place] for place in (0, 1, 2, 10**9 + 6)] == [
        184219366,
        60313182,
        2379242,
        578255307,
    ]


@pytest.mark.parametrize("size", [17, 1024])
def test_each_place_gets_each_number_about_as_often(size: int):
    """Chi-square over cells of 16 x 16, of orders of many keys: five standard deviations at most."""
    orders = 60_000 // size
    counts, cell = np.zeros((16, 16)), [number * 16 // size for number in range(size)]
    for seed in range(orders):
        order = Permutation(size, keys(seed))
        for place in range(size):
            counts[cell[place], cell[order[place]]] += 1
    sizes = np.bincount(cell)
    expected = orders * np.outer(sizes, sizes) / size
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - 225) < 5 * np.sqrt(2 * 225)


def test_neighbours_do_not_stay_neighbours():
    order = Permutation(10**10, keys(0))
    steps = np.diff([order[place] for place in range(5000)]) / 10**10
    assert abs(np.abs(steps).mean() - 1 / 3) < 0.02
    assert np.abs(np.corrcoef(steps[:-1], steps[1:])[0, 1] + 0.5) < 0.05  # as of independent numbers


def test_above_the_limit_an_epoch_visits_every_window_once_and_no_table_is_drawn(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(permutation, "MOST_SORTED", 99)
    stream = TokenStream([np.arange(1001, dtype=np.uint16)])  # 100 windows of 10
    made = Batches([Source("all", stream)], batch_size=20, seq_len=10, seed=0)
    starts = [start for step in range(10) for start in made.batch(step)["tokens"][:, 0].tolist()]
    assert sorted(starts[:100]) == sorted(starts[100:]) == list(range(0, 1000, 10))
    assert starts[:100] != starts[100:]
    assert isinstance(made._order(0, 0), Permutation)


class Endless(TokenStream):
    """A stream of so many windows that no table of them fits: a window is its own number."""

    def __init__(self, windows: int) -> None:
        super().__init__([])
        self.count = windows

    def __len__(self) -> int:
        return 10 * self.count + 1

    def windows(self, numbers: np.ndarray, seq_len: int) -> np.ndarray:
        assert ((numbers >= 0) & (numbers < self.count)).all()
        return np.repeat((numbers % 2**31).astype(np.int32)[:, None], seq_len + 1, axis=1)


def test_a_batch_of_twelve_thousand_million_windows_takes_no_time_and_no_memory():
    made = Batches([Source("all", Endless(12_000_000_000))], batch_size=512, seq_len=10, seed=0)
    began = time.perf_counter()
    drawn = np.concatenate([made.batch(step)["tokens"][:, 0] for step in (0, 1, 20_000_000)])
    assert time.perf_counter() - began < 5
    assert len(set(drawn.tolist())) > 1500
