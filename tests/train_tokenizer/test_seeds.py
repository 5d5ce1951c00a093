from collections import Counter

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.train_tokenizer import counts
from aura.train_tokenizer.seeds import seeds

Rows = dict[str, int]


def table(rows: Rows) -> pa.Table:
    return pa.table([list(rows), list(rows.values())], schema=counts.SCHEMA)


def by_hand(rows: Rows, max_chars: int) -> dict[str, int]:
    """Every substring of at least two characters that does not always go on alike, with its count."""
    weights: Counter[str] = Counter()
    following: dict[str, Counter[str]] = {}
    for text, count in rows.items():
        for start in range(len(text)):
            for end in range(start + 2, min(len(text), start + max_chars) + 1):
                weights[text[start:end]] += count
                following.setdefault(text[start:end], Counter())[text[end : end + 1] or text] += 0
                if end < len(text):
                    following[text[start:end]][text[end]] += count
    return {
        text.replace(" ", "\u2581"): weight
        for text, weight in weights.items()
        if max(following[text].values(), default=0) < weight
    }


ROWS = st.dictionaries(st.text(alphabet="ab é", min_size=1, max_size=9), st.integers(1, 9), min_size=1, max_size=12)


@settings(max_examples=50, deadline=None, database=None)
@given(ROWS, st.integers(2, 5), st.integers(1, 12))
def test_branching_substrings_are_found_with_their_counts_best_first(rows: Rows, max_chars: int, size: int):
    every = seeds(table(rows), 10_000, max_chars)
    assert dict(every) == {text: count for text, count in by_hand(rows, max_chars).items() if count > 1}
    assert seeds(table(rows), size, max_chars) == every[:size]


def test_order_is_by_count_times_characters_and_not_that_of_the_rows():
    rows = {" the": 9, " them": 4, "other": 5, "é é": 2}
    found = seeds(table(rows), 100, 16)
    scores = [count * len(text) for text, count in found]
    assert scores == sorted(scores, reverse=True)
    assert ("\u2581the", 13) in found
    assert seeds(table(dict(reversed(rows.items()))), 100, 16) == found


def test_nothing_repeated_gives_no_seeds():
    assert seeds(table({"a": 5, "b": 1}), 10, 16) == []
    assert seeds(table({}), 10, 16) == []
