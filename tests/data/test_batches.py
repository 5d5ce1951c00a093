import numpy as np
import pytest

from aura.data.batches import Batches, evaluation_windows
from aura.data.streams import TokenStream
from aura.errors import UserError

STREAM = TokenStream([np.arange(700, dtype=np.uint16), np.arange(700, 1001, dtype=np.uint16)])  # 100 windows of 10


def batches(seed: int = 0, batch_size: int = 20) -> Batches:
    return Batches(STREAM, batch_size=batch_size, seq_len=10, seed=seed)


def starts(rows: np.ndarray) -> list[int]:
    return rows[:, 0].tolist()


def test_a_batch_is_a_function_of_the_step_alone():
    one, other = batches(), batches()
    later = [one.batch(step) for step in range(12)]
    for step in (11, 3, 7, 0):
        np.testing.assert_array_equal(other.batch(step), later[step])


def test_an_epoch_covers_every_window_once_and_each_epoch_in_another_order():
    first = [start for step in range(5) for start in starts(batches().batch(step))]
    second = [start for step in range(5, 10) for start in starts(batches().batch(step))]
    assert sorted(first) == sorted(second) == list(range(0, 1000, 10))
    assert first != second


def test_a_batch_may_run_from_one_epoch_into_the_next():
    rows = [start for step in range(10) for start in starts(batches(batch_size=30).batch(step))]
    for epoch in range(3):
        assert sorted(rows[100 * epoch : 100 * (epoch + 1)]) == list(range(0, 1000, 10))


def test_a_batch_larger_than_the_corpus_repeats_it():
    assert sorted(starts(batches(batch_size=300).batch(0))) == sorted(3 * list(range(0, 1000, 10)))


@pytest.mark.parametrize("hosts", [1, 2, 3, 4])
def test_hosts_share_the_same_global_batch(hosts: int):
    whole = batches().batch(4)
    shared = np.empty_like(whole)
    for host in range(hosts):
        shared[host::hosts] = batches().batch(4, host=host, hosts=hosts)
    np.testing.assert_array_equal(shared, whole)


def test_the_seed_decides_the_order():
    assert starts(batches(seed=1).batch(0)) != starts(batches(seed=2).batch(0))


def test_the_order_never_changes_between_versions():
    assert starts(batches().batch(0))[:6] == [660, 0, 540, 430, 690, 380]


def test_rows_are_int32_windows_with_their_targets():
    rows = batches().batch(0)
    assert (rows.dtype, rows.shape) == (np.int32, (20, 11))
    assert (np.diff(rows) == 1).all()


def test_too_few_training_tokens_say_what_to_do():
    with pytest.raises(
        UserError, match=r"expected at least 1,002 training tokens .* came 1,001\. Lower pretrain\.seq_len"
    ):
        Batches(STREAM, batch_size=1, seq_len=1001, seed=0)


def test_evaluation_windows_are_spread_evenly_and_never_more_than_there_are():
    assert starts(evaluation_windows(STREAM, seq_len=10, tokens=50)) == [0, 200, 400, 600, 800]
    assert len(evaluation_windows(STREAM, seq_len=10, tokens=10**6)) == 100


def test_a_held_out_set_smaller_than_one_window_says_so():
    with pytest.raises(UserError, match="held-out tokens for one sequence"):
        evaluation_windows(TokenStream([np.zeros(10, np.uint16)]), seq_len=10, tokens=1024)
