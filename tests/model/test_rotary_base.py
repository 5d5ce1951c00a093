"""`rope_base: auto` lies above the bound of arXiv:2405.14591 wherever it is not Llama's own base."""

import numpy as np
import pytest

from aura.model.options import LONG_ROPE_BASE, PLAIN_CONTEXT, PLAIN_ROPE_BASE, rope_base_for

WIDTH = 128  # features of a head, as in the paper


def least_preference(base: float, seq_len: int) -> float:
    """The least sum of cosines over the distances in a context: below 0, unlike tokens are preferred to like ones."""
    frequencies = base ** (-np.arange(0, WIDTH, 2) / WIDTH)
    distances = np.unique(np.geomspace(1, seq_len, 20_000).astype(np.int64))
    return float(np.cos(distances[:, None] * frequencies).sum(axis=1).min())


def test_short_sequences_have_llamas_base():
    assert {rope_base_for(seq_len) for seq_len in (8, 128, PLAIN_CONTEXT)} == {PLAIN_ROPE_BASE}
    assert rope_base_for(8192) == LONG_ROPE_BASE


@pytest.mark.parametrize("seq_len", [PLAIN_CONTEXT + 1, 8192, 16_384, 28_284, 32_768, 65_536, 131_072, 262_144, 2**20])
def test_long_sequences_have_a_base_above_the_bound(seq_len: int):
    assert least_preference(rope_base_for(seq_len), seq_len) >= 0
    assert rope_base_for(seq_len) <= rope_base_for(2 * seq_len)
