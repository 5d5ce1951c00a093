"""The trained tokenizer as every later stage uses it: text to ids and back, exactly.

`decode(encode(text)) == text` for every text that UTF-8 can hold. SentencePiece alone gives that for all
but one character: it spells the space U+2581 inside pieces, so a literal U+2581 would come back as a space.
Here text is cut at it, and it becomes its three byte pieces. Special tokens never come out of text.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sentencepiece

from aura.tokenizer import model_file
from aura.tokenizer.symbols import BOS, EOS, PAD, SPACE, UNK

Ids = npt.NDArray[np.int32]


class Tokenizer:
    """A tokenizer made by the train_tokenizer stage.

    Attributes:
        proc: the `sentencepiece.SentencePieceProcessor` below; its own `encode` loses a literal U+2581.
        sha256: hexadecimal hash of the model file, the tokenizer's identity in all that is made with it.
        byte_lengths: (vocab_size,) int32, the bytes of UTF-8 text each id stands for; 0 for special tokens. Over
            the ids of a text they sum to its size.
    """

    proc: Any
    sha256: str
    byte_lengths: Ids

    def __init__(self, path: str | Path) -> None:
        """Load spiece.model; a missing, damaged or foreign file is a `UserError`."""
        content = model_file.read(Path(path))
        pieces = model_file.checked_pieces(content, str(path))
        self.proc = sentencepiece.SentencePieceProcessor()
        self.proc.LoadFromSerializedProto(content)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.byte_lengths = np.array([piece.byte_length for piece in pieces], np.int32)
        self.kinds = tuple(piece.kind for piece in pieces)
        self._texts = tuple(piece.text for piece in pieces)
        ids = {piece.text: place for place, piece in enumerate(pieces)}
        self.pad_id, self.bos_id, self.eos_id, self.unk_id = (ids[token] for token in (PAD, BOS, EOS, UNK))
        self._space_ids = np.array([ids[f"<0x{byte:02X}>"] for byte in SPACE.encode()], np.int32)

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Load spiece.model; a missing, damaged or foreign file is a `UserError`."""
        return cls(path)

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens and reserved slots included."""
        return len(self._texts)

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without <bos> or <eos>; lone surrogates are a `ValueError`."""
        ids: list[int] = self.encode_batch([text])[0].tolist()
        return ids

    def encode_batch(self, texts: Sequence[str], threads: int = 1) -> list[Ids]:
        """The ids of each text, as read-only int32 arrays; `threads` changes the speed and nothing else."""
        _refuse_surrogates(texts)
        ids: list[Ids] = self.proc.Encode(list(texts), return_type="numpy", num_threads=threads)
        for place, text in enumerate(texts):
            if SPACE in text:
                ids[place] = self._encode_around_spaces(text)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`: special tokens vanish, bytes that are no UTF-8 become U+FFFD.

        An id outside of the vocabulary is a `ValueError`.
        """
        plain = np.asarray(list(ids), np.int64)
        outside = plain[(plain < 0) | (plain >= self.vocab_size)]
        if outside.size:
            raise ValueError(f"expected ids from 0 to {self.vocab_size - 1}, came {outside[0]}")
        text: str = self.proc.Decode(plain[plain != self.unk_id].tolist())
        return text

    def piece(self, token: int) -> str:
        """The piece of an id as SentencePiece spells it: U+2581 for a space, `<0x0A>` for a byte."""
        return self._texts[token]

    def is_special(self, token: int) -> bool:
        """Whether an id is a special token or a reserved slot, which no text encodes to."""
        return self.kinds[token] is model_file.Kind.SPECIAL

    def _encode_around_spaces(self, text: str) -> Ids:
        """Encode a text that holds U+2581 itself."""
        parts: list[Ids] = self.proc.Encode(text.split(SPACE), return_type="numpy", num_threads=1)
        joined = [parts[0]]
        for part in parts[1:]:
            joined += [self._space_ids, part]
        return np.concatenate(joined)


def _refuse_surrogates(texts: Sequence[str]) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"expected text that UTF-8 can hold, came the lone surrogate {text[error.start]!r} at character "
                f'{error.start}. Read files with errors="replace", or drop such a document.'
            ) from None
