"""Ids of what is scored: a context that the model reads, and the last tokens of it, whose probability counts.

The border between context and continuation is that of lm-eval: white space at the end of the context belongs to the
continuation, and both are encoded together. The continuation is what stands after the longest common beginning with
the ids of the context alone. Wherever the ids of the context begin those of the whole, that is lm-eval's cut; otherwise
lm-eval cuts by the number of ids, and may pass over a token that holds a part of the answer.

A text begins with the token that began documents in training (`aura/tokenizer/reader.py`), as in `aura sample`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aura.core.errors import UserError
from aura.tokenizer.reader import Reader

Ids = npt.NDArray[np.int32]
_AT_ONCE = 4096  # texts that are encoded at once


@dataclass(frozen=True, eq=False)
class Request:
    """Ids of which the last `scored` are predicted, each from all before it.

    Attributes:
        ids: at most one more than the model reads at once.
        scored: 1 to len(ids) - 1.
        cut: whether the context was longer than the model reads, and lost its beginning.
    """

    ids: Ids
    scored: int
    cut: bool = False


def pair_requests(reader: Reader, pairs: Sequence[tuple[str, str]], places: Sequence[str]) -> Iterator[Request]:
    """Yield the request of each (context, continuation); the context may be empty.

    Arguments:
        reader: of the texts.
        pairs: texts.
        places: of each pair, how messages name it.

    Raises:
        UserError: a continuation has no token, or alone more of them than the model reads.
    """
    require_begin(reader)
    context, encode = reader.context, reader.tokenizer.encode_batch
    for start in range(0, len(pairs), _AT_ONCE):
        part = [_moved(*pair) for pair in pairs[start : start + _AT_ONCE]]
        befores = encode([before for before, _ in part])
        wholes = encode([before + after for before, after in part])
        for place, before, whole in zip(places[start:], befores, wholes, strict=False):
            scored = len(whole) - _common(before, whole)
            if not 1 <= scored <= context:
                raise UserError(
                    f"{place}: expected an answer of 1 to {context:,} tokens, which the model reads at once, "
                    f"got {scored:,}"
                )
            ids = reader.begun(whole)
            yield Request(ids[-(context + 1) :], scored, cut=len(ids) > context + 1)


def windows(reader: Reader, texts: Sequence[str], places: Sequence[str]) -> list[list[Request]]:
    """The windows of each text: every token is scored once, after as much context as fits into its window.

    As in lm-eval, windows follow each other, and the last one begins earlier, so that it is as long as the others.

    Raises:
        UserError: the tokenizer makes nothing of a text.
    """
    require_begin(reader)
    context, found = reader.context, []
    for start in range(0, len(texts), _AT_ONCE):
        encoded = reader.tokenizer.encode_batch(texts[start : start + _AT_ONCE])
        for place, ids in zip(places[start:], encoded, strict=False):
            if not len(ids):
                raise UserError(f"{place}: expected a text that the tokenizer has tokens for, got none")
            whole = reader.begun(ids)
            ends = [min(first + context, len(ids)) for first in range(0, len(ids), context)]
            scored = np.diff([0, *ends]).tolist()
            found.append([Request(whole[: end + 1][-(context + 1) :], n) for end, n in zip(ends, scored, strict=True)])
    return found


def require_begin(reader: Reader) -> None:
    """Refuse a tokenizer without an id to put before a text.

    Raises:
        UserError: it has neither <bos> nor <eos>.
    """
    if reader.begin is None:
        raise UserError(
            "expected a tokenizer with a token that begins or ends a document, so that a text's first token can be "
            "scored, got one without. Name it in train_tokenizer.roles"
        )


def _moved(before: str, after: str) -> tuple[str, str]:
    """White space at the end of the context, in the continuation: tokens hold the space before a word."""
    kept = before.rstrip()
    return kept, before[len(kept) :] + after


def _common(one: Ids, other: Ids) -> int:
    """The number of first ids that are equal."""
    length = min(len(one), len(other))
    different = np.flatnonzero(one[:length] != other[:length])
    return int(different[0]) if len(different) else length
