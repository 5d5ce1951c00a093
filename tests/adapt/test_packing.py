import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.adapt import packing
from aura.adapt.packing import Packed, PackedBatches, pack
from aura.core.errors import UserError
from aura.tokens.conversation_shards import Conversations

Turn = tuple[int, int]  # tokens of a prompt, tokens of its answer
turns = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)), min_size=1, max_size=5)


def encoded(conversations: list[list[Turn]]) -> Conversations:
    """Each token's id is its own place; answers are learnt."""
    marks = [[mark for prompt, answer in turns for mark in [0] * prompt + [1] * answer] for turns in conversations]
    offsets = np.cumsum([0, *map(len, marks)])
    affect = np.arange(8 * len(marks), dtype=np.float32).reshape(-1, 8)
    return Conversations(
        np.arange(offsets[-1], dtype=np.int32), np.concatenate(marks).astype(np.bool_), offsets.astype(np.int64), affect
    )


def everything(packed: Packed) -> dict[str, np.ndarray]:
    return packed.windows(np.arange(len(packed)))


def segments_of(packed: Packed) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ids and marks of every segment of every window."""
    windows = everything(packed)
    found = []
    for tokens, segments, learnt in zip(windows["tokens"], windows["segments"], windows["learnt"], strict=True):
        for segment in range(1, segments.max() + 1):
            inside = segments == segment
            found.append((tokens[inside], learnt[inside]))
    return found


def expected_end(conversation: list[Turn], room: int) -> int:
    """Tokens up to the end of the last answer within `room`; written without the code's cleverness."""
    place, end = 0, 0
    for prompt, answer in conversation:
        place += prompt + answer
        if answer and place <= room:
            end = place
    return end


@given(conversations=st.lists(turns, min_size=1, max_size=30), seed=st.integers(0, 5), room=st.integers(9, 60))
def test_every_conversation_is_in_one_window_whole_or_up_to_an_answer_or_is_counted(
    conversations: list[list[Turn]], seed: int, room: int
):
    given_, ends = encoded(conversations), [expected_end(turns, room) for turns in conversations]
    answers = [sum(answer for _, answer in turns) for turns in conversations]
    if not any(ends):
        with pytest.raises(UserError, match=rf"ends within {room} tokens, got none of {len(conversations)}"):
            pack(given_, room - 1, seed)
        return
    packed = pack(given_, room - 1, seed)
    found = sorted((ids.tolist() for ids, _ in segments_of(packed)), key=lambda ids: ids[0])
    begins = given_.offsets[:-1].tolist()
    assert found == [[*range(begin, begin + end)] for begin, end in zip(begins, ends, strict=True) if end]
    counts = packed.counts
    assert counts.conversations == len(conversations)
    assert counts.without_answer == sum(not answer for answer in answers)
    assert counts.too_long == sum(not end and answer > 0 for end, answer in zip(ends, answers, strict=True))
    assert counts.whole + counts.cut + counts.too_long + counts.without_answer == len(conversations)
    assert counts.tokens == sum(ends)
    assert counts.learnt_tokens == sum(int(learnt.sum()) for _, learnt in segments_of(packed))
    assert counts.learnt_tokens + counts.learnt_tokens_left_out == sum(answers)


@given(conversations=st.lists(turns, min_size=1, max_size=30), seed=st.integers(0, 5))
def test_a_window_is_filled_from_its_beginning_and_its_segments_follow_each_other(
    conversations: list[list[Turn]], seed: int
):
    given_ = encoded([[(1, 1)], *conversations])
    windows = everything(pack(given_, 40, seed))
    assert windows["tokens"].shape == windows["segments"].shape == windows["learnt"].shape
    assert (windows["tokens"].dtype, windows["segments"].dtype, windows["learnt"].dtype) == (np.int32, np.int32, bool)
    for tokens, segments, learnt in zip(windows["tokens"], windows["segments"], windows["learnt"], strict=True):
        used = int((segments > 0).sum())
        assert (segments[:used] > 0).all()
        assert set(np.diff(segments[:used])) <= {0, 1}
        assert (segments[0], used > 0) == (1, True)
        assert not tokens[used:].any()
        assert not learnt[used:].any()
        np.testing.assert_array_equal(learnt[:used], given_.learnt[tokens[:used]])


@given(lengths=st.lists(st.integers(2, 41), min_size=1, max_size=60), seed=st.integers(0, 5))
def test_no_two_windows_would_fit_into_one_and_the_seed_alone_decides(lengths: list[int], seed: int):
    given_ = encoded([[(length - 1, 1)] for length in lengths])
    packed = pack(given_, 40, seed)
    used = np.sort((everything(packed)["segments"] > 0).sum(axis=1))
    assert len(used) < 2 or used[0] + used[1] > 41
    assert packed.counts.filled == pytest.approx(sum(lengths) / (41 * len(packed)))
    again = pack(given_, 40, seed)
    for name, array in everything(packed).items():
        np.testing.assert_array_equal(array, everything(again)[name])


def test_blocks_of_marks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    given_ = encoded([[(int(a), int(b)) for a, b in rng.integers(0, 9, (3, 2))] for _ in range(200)])
    whole = pack(given_, 30, 0)
    monkeypatch.setattr(packing, "BLOCK", 40)
    cut = pack(given_, 30, 0)
    assert cut.counts == whole.counts
    np.testing.assert_array_equal(cut.pieces, whole.pieces)


def test_a_first_token_is_no_target():
    given_ = encoded([[(0, 3)], [(1, 3)]])
    assert pack(given_, 20, 0).counts.learnt_tokens == 5


def batches(batch_size: int = 4, seed: int = 0) -> PackedBatches:
    return PackedBatches(pack(encoded([[(5, 4)]] * 30), 10, 0), batch_size, seed)  # one conversation in a window


def firsts(made: PackedBatches, step: int) -> list[int]:
    return made.batch(step)["tokens"][:, 0].tolist()


def test_each_epoch_covers_every_window_once_in_an_order_of_its_own():
    drawn = [first for step in range(30) for first in firsts(batches(6), step)]
    epochs = [drawn[30 * epoch : 30 * (epoch + 1)] for epoch in range(6)]
    assert all(sorted(epoch) == [9 * number for number in range(30)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_a_batch_is_a_function_of_the_step_and_the_seed():
    one, other = batches(), batches()
    later = [firsts(one, step) for step in range(12)]
    assert [firsts(other, step) for step in (11, 3, 0)] == [later[step] for step in (11, 3, 0)]
    assert firsts(batches(seed=1), 0) != later[0]


@pytest.mark.parametrize("hosts", [1, 2, 3])
def test_hosts_share_the_same_global_batch(hosts: int):
    whole, cuts = batches().batch(7), [4 * host // hosts for host in range(hosts + 1)]
    parts = [batches().batch(7, slice(*cut)) for cut in itertools.pairwise(cuts)]
    for name, array in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), array)


def test_a_step_names_its_conversations():
    made = batches(batch_size=3)
    told = made.describe(2)
    assert all(f"conversations {first // 9}" in told for first in firsts(made, 2))
    assert batches(batch_size=9).describe(0).endswith("; and 1 more windows")


def test_each_token_has_the_affect_of_its_conversation():
    given_ = encoded([[(2, 1)]] * 10)
    windows = pack(given_, 20, 0).windows(np.arange(2), affect=True)
    used = windows["segments"][:, :-1] > 0
    np.testing.assert_array_equal(windows["affect"][used], given_.affect[windows["tokens"][:, :-1][used] // 3])
    assert not windows["affect"][~used].any()
