"""Held-out bits per byte: a loss that can be compared between tokenizers.

A loss per token falls when tokens get shorter; per byte of text it does not. The yardstick beside it is the
best context-free model: one that gives every piece its share among the very tokens it is tested on, which no
model without context can beat. A model below it has learnt to use context.
"""

import jax
import numpy as np
import numpy.typing as npt

from aura.data.streams import Windows
from aura.errors import UserError
from aura.self_teaching_llm.cross_entropy import token_cross_entropy
from aura.self_teaching_llm.model import LanguageModel


class HeldOut:
    """Fixed held-out windows, and what text their targets stand for.

    Special tokens (<bos>, <eos>, …) are inputs but not counted as targets: they stand for no text.

    Arguments:
        windows: (n, seq_len + 1) ids.
        byte_lengths: (vocab_size,) bytes of text per piece, 0 for special tokens.
        batch_size: windows evaluated at once.

    Attributes:
        tokens: number of targets that are counted.
        bytes: of the text they stand for.
        context_free_bits_per_byte: of the best context-free model on these targets.
    """

    def __init__(self, windows: Windows, byte_lengths: npt.NDArray[np.int32], batch_size: int) -> None:
        targets = windows[:, 1:]
        self._counted = byte_lengths[targets] > 0
        self.tokens = int(self._counted.sum())
        self.bytes = int(byte_lengths[targets].sum(dtype=np.int64))
        if self.bytes == 0:
            raise UserError(
                "expected text in the held-out tokens, came special tokens only. Raise select.held_out, or add text."
            )
        self.context_free_bits_per_byte = entropy_bits(targets[self._counted]) * self.tokens / self.bytes
        padding = np.zeros((-len(windows) % batch_size, windows.shape[1]), np.int32)  # so that one shape is compiled
        self._batches = np.concatenate([windows, padding]).reshape(-1, batch_size, windows.shape[1])

    def bits_per_byte(self, model: LanguageModel) -> float:
        """Sum of -log2 p(target) over the counted targets, divided by their bytes."""
        nats = np.concatenate([np.asarray(_token_nats(model, batch), np.float64) for batch in self._batches])
        return float(nats[: len(self._counted)][self._counted].sum() / np.log(2) / self.bytes)


def entropy_bits(ids: npt.NDArray[np.int32]) -> float:
    """Entropy of the distribution of `ids`, in bits per id."""
    counts = np.bincount(ids)
    shares = counts[counts > 0] / len(ids)
    return float(-(shares * np.log2(shares)).sum())


@jax.jit
def _token_nats(model: LanguageModel, tokens_BxS1: jax.Array) -> jax.Array:
    x_BxSxD = model.features(tokens_BxS1[:, :-1])
    B, S, D = x_BxSxD.shape
    nats_T = token_cross_entropy(x_BxSxD.reshape(B * S, D), model.output_table, tokens_BxS1[:, 1:].reshape(B * S))
    return nats_T.reshape(B, S)
