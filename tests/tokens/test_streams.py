import numpy as np

from aura.tokens.streams import TokenStream

PARTS = [np.arange(0, 5, dtype=np.uint16), np.empty(0, np.uint16), np.arange(5, 7, dtype=np.uint16), np.arange(7, 20)]
STREAM = TokenStream([part.astype(np.uint16) for part in PARTS])


def test_a_read_crosses_parts_as_if_they_were_one():
    for start in range(len(STREAM)):
        for count in range(len(STREAM) - start + 1):
            assert STREAM.read(start, count).tolist() == list(range(start, start + count))


def test_every_token_but_the_first_is_a_target_of_exactly_one_window():
    count = STREAM.number_of_windows(3)
    windows = STREAM.windows(np.arange(count), 3)
    assert windows[:, 1:].flatten().tolist() == list(range(1, 1 + 3 * count))
    assert len(STREAM) - 1 - 3 * count < 3  # what is left out is less than a window


def test_a_stream_shorter_than_a_window_has_none():
    assert TokenStream([np.zeros(8, np.uint16)]).number_of_windows(8) == 0
    assert TokenStream([]).number_of_windows(8) == 0
