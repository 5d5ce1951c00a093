"""Held-out bits per byte: a loss that can be compared between tokenizers.

A loss per token falls when tokens get shorter; per byte of text it does not. The yardstick beside it is the
best context-free model: one that gives every piece its share among the very tokens it is tested on, which no
model without context can beat. A model below it has learnt to use context.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import numpy as np
import numpy.typing as npt
from jax.sharding import NamedSharding, PartitionSpec

from aura.core.errors import UserError
from aura.model.mesh import BATCH
from aura.model.model import LanguageModel
from aura.tokens.streams import TokenStream, Windows
from aura.training.cross_entropy import features_and_targets, token_cross_entropy


class HeldOut:
    """Fixed held-out windows, and what text their targets stand for.

    Special tokens (<bos>, <eos>, …) are inputs but not counted as targets: they stand for no text.

    Arguments:
        windows: (n, seq_len + 1) ids.
        sources: of each window, the source it comes from.
        byte_lengths: (vocab_size,) bytes of text per piece, 0 for special tokens.
        batch_size: windows evaluated at once; on a mesh, the devices that share a batch must divide it.
        document_start: the id that begins a document, for a model that sees its own document alone.

    Attributes:
        tokens: number of targets that are counted.
        bytes: of the text they stand for.
        context_free_bits_per_byte: of the best context-free model on these targets.
    """

    def __init__(
        self,
        windows: Windows,
        sources: Sequence[str],
        byte_lengths: npt.NDArray[np.int32],
        batch_size: int,
        document_start: int | None = None,
    ) -> None:
        targets = windows[:, 1:]
        self._document_start = document_start
        self._counted = byte_lengths[targets] > 0
        self._bytes_of_window = byte_lengths[targets].sum(axis=1, dtype=np.int64)
        self._sources = np.array(sources)
        self.tokens = int(self._counted.sum())
        self.bytes = int(self._bytes_of_window.sum())
        if self.bytes == 0:
            raise UserError(
                "expected text in the held-out tokens, got special tokens only. Raise select.held_out, or add text."
            )
        self.context_free_bits_per_byte = entropy_bits(targets[self._counted]) * self.tokens / self.bytes
        padding = np.zeros((-len(windows) % batch_size, windows.shape[1]), np.int32)  # so that one shape is compiled
        self._batches = np.concatenate([windows, padding]).reshape(-1, batch_size, windows.shape[1])

    def bits_per_byte(self, model: LanguageModel) -> tuple[float, dict[str, float]]:
        """Sum of -log2 p(target) over the counted targets, divided by their bytes: of all, and of each source.

        A source whose windows hold special tokens only has no entry. On a mesh every process must call this.
        """
        measured = self.measure(model, lambda: False)
        assert measured is not None  # noqa: S101 - nothing interrupts it
        return measured

    def measure(self, model: LanguageModel, interrupted: Callable[[], bool]) -> tuple[float, dict[str, float]] | None:
        """`bits_per_byte`; or None as soon as `interrupted`, which is asked before each batch, says so."""
        bits_of_window = self.measure_windows(model, interrupted)
        if bits_of_window is None:
            return None
        return float(bits_of_window.sum() / self.bytes), self.by_group(bits_of_window, self._sources.tolist())

    def measure_windows(self, model: LanguageModel, interrupted: Callable[[], bool]) -> npt.NDArray[np.float64] | None:
        """The bits of each window's counted targets, (n,); None as soon as `interrupted` says so."""
        parts = []
        for batch in self._batches:
            if interrupted():
                return None
            parts.append(_fetch_nats(model, batch, self._document_start))
        nats = np.concatenate(parts)[: len(self._counted)]
        bits_of_window: npt.NDArray[np.float64] = np.where(self._counted, nats, 0).sum(axis=1) / np.log(2)
        return bits_of_window

    def by_group(self, bits_of_window: npt.NDArray[np.float64], groups: Sequence[str]) -> dict[str, float]:
        """Bits per byte of each group of windows; `groups` names that of each window. One without text has no entry."""
        found, group_of = {}, np.array(groups)
        for group in dict.fromkeys(groups):
            windows = group_of == group
            if bytes_ := self._bytes_of_window[windows].sum():
                found[group] = float(bits_of_window[windows].sum() / bytes_)
        return found


def evaluation_windows(streams: Mapping[str, TokenStream], seq_len: int, tokens: int) -> tuple[Windows, list[str]]:
    """Windows spread evenly over every stream, always the same, and the name of each one's stream.

    About `tokens` targets in all, shared out by length, and at least a window of each stream that has one: shape
    (n, seq_len + 1).
    """
    require_window(sum(map(len, streams.values())), seq_len, "held-out")
    available = {name: stream.number_of_windows(seq_len) for name, stream in streams.items()}
    parts, names = [], []
    for name, stream in streams.items():
        if not (have := available[name]):
            continue
        count = min(max(1, tokens // seq_len * have // sum(available.values())), have)
        parts.append(stream.windows(np.arange(count, dtype=np.int64) * have // count, seq_len))
        names += [name] * count
    if not parts:
        require_window(max(map(len, streams.values())), seq_len, "held-out")
    return np.concatenate(parts), names


def require_window(tokens: int, seq_len: int, split: str) -> None:
    """Fewer tokens than one window are a `UserError`."""
    if tokens < seq_len + 1:
        raise UserError(
            f"expected at least {seq_len + 1:,} {split} tokens for one sequence, got {tokens:,}. "
            "Lower pretrain.seq_len, or add text."
        )


def entropy_bits(ids: npt.NDArray[np.int32]) -> float:
    """Entropy of the distribution of `ids`, in bits per id."""
    counts = np.bincount(ids)
    shares = counts[counts > 0] / len(ids)
    return float(-(shares * np.log2(shares)).sum())


def _fetch_nats(model: LanguageModel, tokens_BxS1: Windows, document_start: int | None) -> npt.NDArray[np.float64]:
    """Nats of each target, on every process."""
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return np.asarray(token_nats(model, tokens_BxS1, document_start), np.float64)
    places = NamedSharding(mesh, PartitionSpec(BATCH))
    placed_BxS1 = jax.make_array_from_callback(tokens_BxS1.shape, places, lambda index: tokens_BxS1[index])
    whole = partial(jax.sharding.reshard, out_shardings=NamedSharding(mesh, PartitionSpec()))
    return np.asarray(whole(token_nats(model, placed_BxS1, document_start)), np.float64)


@partial(jax.jit, static_argnums=2)
def token_nats(model: LanguageModel, tokens_BxS1: jax.Array, document_start: int | None = None) -> jax.Array:
    """Nats of each target, BxS, as they lie on the mesh."""
    x_TxD, targets_T = features_and_targets(model, tokens_BxS1, None, document_start)
    return token_cross_entropy(x_TxD, model.output_table, targets_T).reshape(len(tokens_BxS1), -1)
