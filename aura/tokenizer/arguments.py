"""Checks of what callers pass to a tokenizer, each a `TypeError` that says what to pass in its place.

A wrong type would otherwise be lost without a word: a text in the place of several is a list of its characters, the
keys of a dictionary are its texts, 300.7 is cut to 300, and an iterator that was counted has nothing left to encode.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import filterfalse
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    import numpy.typing as npt


def checked_text(text: object) -> str:
    """`text`, which must be a str."""
    if isinstance(text, str):
        return text
    advice = "Decode it first: data.decode()." if isinstance(text, bytes | bytearray) else _ADVICE_FOR_TEXT
    raise TypeError(f"expected a text (str), got {_kind(text)}. {advice}")


def checked_texts(texts: object) -> list[str]:
    """The texts of any iterable in order, also of one that can be read only once, such as a generator."""
    if isinstance(texts, str | bytes | bytearray):
        raise TypeError(f"expected several texts, got one {_kind(texts)}. Pass a list of texts: [text].")
    if getattr(texts, "ndim", 1) != 1 or not _is_ordered(texts):
        raise TypeError(f"expected several texts, got {_kind(texts)}. Pass a list of texts, or one column of them.")
    found = _listed(texts)
    if not all(issubclass(kind, str) for kind in set(map(type, found))):  # a comparison for each text takes longer
        place, text = next((place, text) for place, text in enumerate(found) if not isinstance(text, str))
        raise TypeError(f"expected texts (str), got {_kind(text)} at place {place}. Leave it out, or convert it.")
    return found


def refuse_surrogates(texts: Sequence[str]) -> None:
    """Refuse text that UTF-8 cannot hold, with a `ValueError`."""
    for text in filterfalse(str.isascii, texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"expected text that UTF-8 can hold, got the lone surrogate {text[error.start]!r} at character "
                f'{error.start}. Read files with errors="replace", or drop such a document.'
            ) from None


def checked_sequences(sequences: object) -> list[Any]:
    """The items of any iterable in order, each of which must be a sequence of ids."""
    if isinstance(sequences, str | bytes | bytearray) or not _is_ordered(sequences):
        raise TypeError(f"expected several sequences of ids, got {_kind(sequences)}. Pass a list of them: [ids].")
    return _listed(sequences)


def checked_ids(ids: object) -> list[int]:
    """The ids of any iterable of integers in order; arrays must have one dimension and an integer type."""
    if hasattr(ids, "__array__"):
        array = _as_array(ids)
        if array.ndim == 1 and (array.dtype.kind in "iu" or not array.size):
            found: list[int] = array.tolist()
            return found
        raise TypeError(
            f"expected ids as an array of integers with one dimension, got {array.ndim} dimensions of {array.dtype}. "
            "For several texts there is decode_batch."
        )
    if isinstance(ids, str | bytes | bytearray) or not _is_ordered(ids):
        raise TypeError(f"expected ids as a list of integers, got {_kind(ids)}. {_ADVICE_FOR_IDS}")
    return [_checked_id(token) for token in ids]


def _checked_id(token: object) -> int:
    """One id: an integer of Python, or of NumPy and its like without dimensions; no truth value."""
    if isinstance(token, int) and not isinstance(token, bool):
        return token
    if hasattr(token, "__array__"):
        array = _as_array(token)
        if array.ndim == 0 and array.dtype.kind in "iu":
            return int(array)
    raise TypeError(f"expected ids as integers, got {token!r} ({_kind(token)}). {_ADVICE_FOR_IDS}")


def _as_array(value: object) -> "npt.NDArray[Any]":
    import numpy as np  # which takes 0.1 s, and is there already if `value` is from it

    return np.asarray(value)


def _is_ordered(value: object) -> TypeGuard[Iterable[Any]]:
    """Return whether a value has an order that means something: sets have none, and mappings have two sides."""
    return isinstance(value, Iterable) and not isinstance(value, Mapping | set | frozenset)


def _listed(values: Iterable[Any]) -> list[Any]:
    """The values as objects of Python, which Arrow's arrays do not give when they are iterated."""
    to_python = getattr(values, "to_pylist", None)
    return list(values) if to_python is None else list(to_python())


def _kind(value: object) -> str:
    return type(value).__name__


_ADVICE_FOR_TEXT = "For several texts there is encode_batch."
_ADVICE_FOR_IDS = "Pass whole numbers, such as encode gives; for one id: [token]."
