"""Ids to bytes and to text, all at once or as they come.

A character without a piece is several ids, one for each of its bytes, so the text of one id alone may be a part of a
character. `IncrementalDecoder` holds such bytes back until the character is whole. Bytes that are no UTF-8 become one
U+FFFD each, as in SentencePiece, and no character reaches across a special token.
"""

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from aura.tokenizer.model_file import Kind
from aura.tokenizer.symbols import SPACE

_EACH_BYTE = "aura.each_byte"  # what to do with bytes that are no UTF-8
codecs.register_error(_EACH_BYTE, lambda error: ("\ufffd" * (error.end - error.start), error.end))  # type: ignore[attr-defined]


def piece_bytes(piece: str, kind: Kind) -> bytes:
    """The bytes of text that a piece stands for; none for a special token."""
    if kind is Kind.SPECIAL:
        return b""
    return bytes([int(piece[3:5], 16)]) if kind is Kind.BYTE else piece.replace(SPACE, " ").encode()


class Decoder:
    """The text of ids of one vocabulary.

    Arguments:
        pieces: each id's piece, as SentencePiece spells it.
        kinds: what each id stands for.
    """

    def __init__(self, pieces: Sequence[str], kinds: Sequence[Kind]) -> None:
        self._bytes = [piece_bytes(piece, kind) for piece, kind in zip(pieces, kinds, strict=True)]
        self._names = {
            place: piece.encode() for place, (piece, kind) in enumerate(zip(pieces, kinds, strict=True))
            if kind is Kind.SPECIAL
        }  # fmt: skip

    @classmethod
    def of_bytes(cls, pieces: Sequence[bytes], kinds: Sequence[Kind], names: Mapping[int, bytes]) -> "Decoder":
        """A decoder for pieces that are bytes, and special tokens some of which have names."""
        decoder = cls((), ())
        decoder._bytes = [*pieces]
        decoder._names = {token: names.get(token, b"") for token, kind in enumerate(kinds) if kind is Kind.SPECIAL}
        return decoder

    def to_bytes(self, ids: Sequence[int], *, keep_special: bool) -> bytes:
        """The bytes of `ids`; special tokens are their names if they are kept, otherwise nothing."""
        if keep_special:
            return b"".join([self._names.get(token) or self._bytes[token] for token in ids])
        return b"".join([self._bytes[token] for token in ids])

    def to_text(self, ids: Sequence[int], *, keep_special: bool) -> str:
        """The text of `ids`."""
        if self._names.keys().isdisjoint(ids):
            return self.to_bytes(ids, keep_special=False).decode(errors=_EACH_BYTE)
        parts = [self.to_bytes(run, keep_special=keep_special).decode(errors=_EACH_BYTE) for run in self.runs(ids)]
        return "".join(parts)

    def runs(self, ids: Iterable[int]) -> Iterator[list[int]]:
        """Cut ids before and after each special token."""
        run: list[int] = []
        for token in ids:
            if token in self._names:
                yield from ([run] if run else [])
                yield [token]
                run = []
            else:
                run.append(token)
        yield from ([run] if run else [])

    def is_special(self, token: int) -> bool:
        """Return whether an id stands for a special token."""
        return token in self._names


class IncrementalDecoder:
    """The text of ids that come one after the other, as a model draws them; made by `Tokenizer.incremental_decoder`.

    All that the calls return, joined, is what `Tokenizer.decode` gives for all the ids. A character comes out once its
    last byte is there.
    """

    def __init__(self, decoder: Decoder, check: Callable[[object], list[int]], *, keep_special: bool) -> None:
        self._decoder = decoder
        self._check = check
        self._keep_special = keep_special
        self._utf8 = codecs.getincrementaldecoder("utf-8")(_EACH_BYTE)

    def decode(self, ids: int | Iterable[int], *, final: bool = False) -> str:
        """The text that the next id, or ids, complete.

        Arguments:
            ids: one id or several; an id outside of the vocabulary is a `ValueError`.
            final: whether these are the last: bytes of an unfinished character then become U+FFFD, and the decoder is
                ready for another text. Otherwise they wait.
        """
        several = ids if isinstance(ids, Iterable) and getattr(ids, "ndim", None) != 0 else [ids]
        text = ""
        for run in self._decoder.runs(self._check(several)):
            is_special = self._decoder.is_special(run[0])
            if is_special:
                text += self._utf8.decode(b"", final=True)
            text += self._utf8.decode(self._decoder.to_bytes(run, keep_special=self._keep_special), final=is_special)
        return text + (self._utf8.decode(b"", final=True) if final else "")
