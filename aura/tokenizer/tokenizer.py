"""The trained tokenizer as every later stage uses it: text to ids and back, exactly.

`decode(encode(text)) == text` for every text that UTF-8 can hold. SentencePiece alone gives that for all
but one character: it spells the space U+2581 inside pieces, so a literal U+2581 would come back as a space.
Here text is cut at it, and it becomes its three byte pieces. Special tokens come out of text only where the
caller allows it, as in tiktoken: a document cannot forge one.

Text is also cut at user symbols of several characters: where they overlap, the leftmost and there the longest is
taken. SentencePiece does so for BPE only; for unigram it weighs them against each other with rounding errors.

A short text goes through SentencePiece; much text through a table of units (`aura.tokenizer.unit_table`), which gives
the same ids several times faster.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, repeat
from operator import contains
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import sentencepiece

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.tokenizer import model_file, slots
from aura.tokenizer.arguments import checked_ids, checked_sequences, checked_text, checked_texts, refuse_surrogates
from aura.tokenizer.decoding import Decoder, IncrementalDecoder, piece_bytes
from aura.tokenizer.model_file import SCORE_STEPS, Kind
from aura.tokenizer.symbols import BOS, EOS, PAD, SPACE, UNK

if TYPE_CHECKING:  # NumPy takes 0.1 s to import, and a line is encoded without it
    from aura.tokenizer.id_arrays import Ids
    from aura.tokenizer.unit_table import UnitTable

AllowedSpecial = Literal["all"] | Collection[str]
T = TypeVar("T")
MADE_BY = "dvc repro train_tokenizer"
GOLDEN, GOLDEN_FORMAT = "golden.json", 1  # beside spiece.model, by aura.tokenizer.golden
EXPORTED, COPY = "tokenizer.json", "tokenizer.model"  # there, too, by aura.tokenizer.hf_export

FEW_BEGINS = 16  # of user symbols, for which to look takes less time than to search for the symbols themselves


class Tokenizer:
    """A tokenizer made by the train_tokenizer stage.

    Attributes:
        proc: the `sentencepiece.SentencePieceProcessor` below; its own `encode` loses a literal U+2581.
        sha256: hexadecimal hash of the model file.
    """

    proc: Any
    sha256: str
    _content: bytes

    def __init__(self, path: str | Path) -> None:
        """Load spiece.model, and check the golden encodings and the checksums beside it if there are any.

        A missing, damaged or foreign file is a `UserError`.
        """
        path = Path(path)
        checksums.verify(path.parent, MADE_BY, path.name, required=False)
        self._load(model_file.read(path), str(path))
        beside = path.with_name(GOLDEN)
        if path.name == "spiece.model" and beside.exists():
            self.verify_golden(beside)

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Load spiece.model; the same as `Tokenizer(path)`."""
        return cls(path)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Tokenizer":
        """The tokenizer of a model file's content."""
        tokenizer = cls.__new__(cls)
        tokenizer._load(content, "the model")
        return tokenizer

    def _load(self, content: bytes, name: str) -> None:
        pieces = model_file.checked_pieces(content, name)
        self.proc = sentencepiece.SentencePieceProcessor()
        try:
            self.proc.LoadFromSerializedProto(content)
        except RuntimeError as error:
            raise model_file.refusal(name, f"one that SentencePiece refuses ({error})") from None
        self._content = content
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.kinds = tuple(piece.kind for piece in pieces)
        self._texts = tuple(piece.text for piece in pieces)
        ids = {piece.text: place for place, piece in enumerate(pieces)}
        self.pad_id, self.bos_id, self.eos_id, self.unk_id = (ids[token] for token in (PAD, BOS, EOS, UNK))
        self._special_ids = {piece.text: ids[piece.text] for piece in pieces if piece.kind is Kind.SPECIAL}
        symbols = [piece.text for piece in pieces if piece.kind is Kind.USER and len(piece.text) > 1]
        self._fixed_ids = {SPACE: [ids[f"<0x{byte:02X}>"] for byte in SPACE.encode()]}
        self._fixed_ids |= {text: [ids[text]] for text in symbols}
        self._fixed = _any_of(self._fixed_ids)
        self._fixed_begin = (SPACE, *sorted({text[:2] for text in symbols}))  # one is in each text that holds any

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.vocab_size:,} pieces, SHA-256 {self.sha256[:12]}…>"

    def save(self, folder: str | Path) -> Path:
        """Write the tokenizer's files into a folder, which is made if it is missing; returns the path of spiece.model.

        Other files of the folder stay. `aura.load_tokenizer(folder)` reads it, and so do Hugging Face's libraries:
        spiece.model, spiece.vocab, golden.json, tokenizer.json and tokenizer_config.json; of BPE, also tokenizer.model.
        """
        from aura.tokenizer import saving  # which imports this module

        saving.write(saving.files_of(self._content), Path(folder))
        return Path(folder, "spiece.model")

    @cached_property
    def encoding_sha256(self) -> str:
        """`sha256` with all reserved slots unnamed: the tokenizer's identity in token shards and models.

        Naming a slot changes no id, so it does not change this hash.
        """
        return slots.encoding_hash(self._content)

    @cached_property
    def byte_lengths(self) -> "Ids":
        """(vocab_size,) int32: the bytes of UTF-8 text each id stands for, 0 for special tokens.

        Over the ids of a text they sum to its size.
        """
        import numpy as np

        return np.array([*map(len, map(piece_bytes, self._texts, self.kinds))], np.int32)

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens and reserved slots included."""
        return len(self._texts)

    def encode(self, text: str, *, allowed_special: AllowedSpecial = ()) -> list[int]:
        """The ids of `text`, without <bos> or <eos>.

        Arguments:
            text: anything but a str is a `TypeError`, lone surrogates in it are a `ValueError`.
            allowed_special: special tokens that `text` may hold as such, by name, or "all" of them. Any other, and by
                default every one, is text like any other. A name that is no special token is a `ValueError`.
        """
        allowed = self._allowed(allowed_special)
        refuse_surrogates([checked_text(text)])
        return self._encode_with_special(text, allowed) if allowed else self._encode_text(text)

    def encode_batch(
        self, texts: Iterable[str], threads: int = 1, *, allowed_special: AllowedSpecial = ()
    ) -> list["Ids"]:
        """The ids of each text, as int32 arrays, perhaps read-only; `threads` changes the speed and nothing else.

        `texts` is any iterable of them, also a generator; one text alone is a `TypeError`. `allowed_special` and errors
        are as in `encode`.
        """
        # Imported here: who only reads a model or encodes a line does not depend on how much text is encoded.
        import numpy as np

        from aura.tokenizer.unit_table import SMALL

        allowed = self._allowed(allowed_special)
        texts = checked_texts(texts)
        if threads < 1:
            raise ValueError(f"threads: expected 1 or more, got {threads}")
        refuse_surrogates(texts)
        if allowed:
            return [np.array(self._encode_with_special(text, allowed), np.int32) for text in texts]
        if sum(map(len, texts)) >= SMALL and self.table is not None:
            return self.table.encode_texts(texts, threads)
        return self._encoded(texts, threads)

    @cached_property
    def table(self) -> "UnitTable | None":
        """Encodes much text, exactly as SentencePiece does; None where units have other ids than the whole text."""
        import numpy as np

        from aura.tokenizer.unit_table import UnitTable
        from aura.tokenizer.units import SEPARATOR, Cutter

        scores = np.array(self.proc.GetScore(list(range(self.vocab_size))))
        if (scores * SCORE_STEPS % 1).any():
            return None
        in_text = (Kind.LEARNT, Kind.USER)
        pieces = [text for text, kind in zip(self._texts, self.kinds, strict=True) if kind in in_text]
        if any(SEPARATOR in piece for piece in pieces):
            return None  # of no tokenizer made by aura
        cutter = Cutter([piece.replace(SPACE, " ") for piece in pieces])
        return UnitTable(cutter, self._encoded, {SPACE: np.array(self._fixed_ids[SPACE], np.int32)})

    def decode(self, ids: Iterable[int], *, keep_special: bool = False) -> str:
        """The text of `ids`; bytes that are no UTF-8 become U+FFFD, each one.

        Arguments:
            ids: integers, in a list, an array of one dimension or any other iterable. Anything else is a `TypeError`,
                an id outside of the vocabulary a `ValueError`.
            keep_special: whether special tokens become their names, such as <eos>; otherwise they vanish.
        """
        return self._decoder.to_text(self._checked_ids(ids), keep_special=keep_special)

    def decode_batch(self, sequences: Iterable[Iterable[int]], *, keep_special: bool = False) -> list[str]:
        """The text of each sequence of ids, as `decode` gives it; an array of two dimensions is a sequence a row."""
        return [self.decode(ids, keep_special=keep_special) for ids in checked_sequences(sequences)]

    def decode_bytes(self, ids: Iterable[int], *, keep_special: bool = False) -> bytes:
        """The bytes that `ids` stand for: no UTF-8 where ids hold a part of a character, otherwise as `decode`."""
        return self._decoder.to_bytes(self._checked_ids(ids), keep_special=keep_special)

    def incremental_decoder(self, *, keep_special: bool = False) -> IncrementalDecoder:
        """A decoder for ids that come one after the other: `decoder.decode(token)` gives the text they complete."""
        return IncrementalDecoder(self._decoder, self._checked_ids, keep_special=keep_special)

    @cached_property
    def _decoder(self) -> Decoder:
        return Decoder(self._texts, self.kinds)

    def _checked_id(self, token: int) -> int:
        [checked] = self._checked_ids([token])
        return checked

    def _checked_ids(self, ids: object) -> list[int]:
        """`ids` as a list; wrong types and ids outside of the vocabulary are refused."""
        checked = checked_ids(ids)
        if checked and not 0 <= min(checked) <= max(checked) < self.vocab_size:
            outside = next(token for token in checked if not 0 <= token < self.vocab_size)
            raise ValueError(
                f"expected ids from 0 to {self.vocab_size - 1}, got {outside}. Load the tokenizer that made these ids"
            )
        return checked

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy or another process, which makes anew the tables that grow with use."""
        return {name: value for name, value in self.__dict__.items() if name not in ("table", "_decoder")}

    def verify_golden(self, path: Path) -> None:
        """Encode the texts of a golden.json; a difference, or a file of another model, is a `UserError`. Takes 2 ms."""
        verify_golden(self, path)

    def piece(self, token: int) -> str:
        """The piece of an id as SentencePiece spells it: U+2581 for a space, `<0x0A>` for a byte."""
        return self._texts[self._checked_id(token)]

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """`piece` of each id, in a tenth of the time of as many calls."""
        return [self._texts[token] for token in self._checked_ids(ids)]

    def is_special(self, token: int) -> bool:
        """Return whether an id is a special token or a reserved slot, which no text encodes to."""
        return self.kinds[self._checked_id(token)] is Kind.SPECIAL

    def _allowed(self, allowed_special: AllowedSpecial) -> Collection[str]:
        if isinstance(allowed_special, str) or not isinstance(allowed_special, Iterable):
            if allowed_special == "all":
                return self._special_ids
            unknown: Collection[object] = [allowed_special]
        else:
            names = frozenset(allowed_special)
            unknown = names.difference(self._special_ids)
            if not unknown:
                return names
        raise ValueError(
            f'allowed_special: expected "all", or a set of names out of {" ".join(self._special_ids)}; '
            f"got {', '.join(map(repr, unknown))}"
        )

    def _encode_with_special(self, text: str, allowed: Collection[str]) -> list[int]:
        """Encode a text in which the special tokens `allowed` stand for themselves."""
        parts = _any_of(allowed).split(text)
        special = {name: [self._special_ids[name]] for name in allowed}
        return [*chain.from_iterable(_in_order(parts, special, map(self._encode_text, parts[::2])))]

    def _encode_text(self, text: str) -> list[int]:
        """Encode by SentencePiece what lies between user symbols and literal U+2581 of one text."""
        ids: list[int]
        if not self._may_hold_fixed([text]):
            ids = self.proc.Encode(text)  # which takes half the time of a list of one text
            return ids
        parts = self._fixed.split(text)
        ids = [*chain.from_iterable(_in_order(parts, self._fixed_ids, iter(self.proc.Encode(parts[::2]))))]
        return ids

    def _encoded(self, texts: Sequence[str], threads: int = 1) -> list["Ids"]:
        """`_encode_text` of each text, as arrays."""
        if not self._may_hold_fixed(texts):
            ids: list[Ids] = self.proc.Encode(list(texts), return_type="numpy", num_threads=threads)
            return ids
        import numpy as np

        cut = [self._fixed.split(text) for text in texts]
        between = [part for parts in cut for part in parts[::2]]
        encoded = iter(self.proc.Encode(between, return_type="numpy", num_threads=threads))
        fixed = {text: np.array(ids, np.int32) for text, ids in self._fixed_ids.items()}
        in_order = ([*_in_order(parts, fixed, encoded)] for parts in cut)
        return [np.concatenate(found) if len(found) > 1 else found[0] for found in in_order]

    def _may_hold_fixed(self, texts: Sequence[str]) -> bool:
        """Return whether to search for `_fixed`; this test takes a tenth of the time of the search."""
        begins = self._fixed_begin
        return len(begins) > FEW_BEGINS or any(any(map(contains, texts, repeat(begin))) for begin in begins)


class Encodes(Protocol):
    """The part of a tokenizer that golden encodings are compared with."""

    @property
    def sha256(self) -> str:
        """Of the file."""

    def encode(self, text: str, *, allowed_special: AllowedSpecial = ()) -> list[int]:
        """The ids of a text."""


def verify_golden(tokenizer: Encodes, path: Path) -> None:
    """Encode the texts of a golden.json; a difference, or a file of another model, is a `UserError`."""
    checksums.verify(path.parent, MADE_BY, path.name, required=False)
    golden = files.read_json(path, MADE_BY)
    expected = {"format": GOLDEN_FORMAT, "tokenizer": tokenizer.sha256}
    got = {name: golden.get(name) for name in expected} if isinstance(golden, dict) else golden
    if got != expected:
        raise UserError(f"{path} is not of this model: expected {expected}, got {got}. {checksums.remedy(MADE_BY)}")
    for text, allowed, expected_ids in _cases(golden.get("cases"), path):
        ids = tokenizer.encode(text, allowed_special=allowed)
        if ids != expected_ids:
            raise UserError(
                f"{path}: expected {text!r} to have the ids {expected_ids}, got {ids}. Some library reads the "
                f"model otherwise than the one that made it: run make setup. {checksums.remedy(MADE_BY)}"
            )


def _cases(cases: Any, path: Path) -> Iterator[tuple[str, AllowedSpecial, Any]]:  # noqa: ANN401 - of JSON
    """Text, allowed special tokens and ids of each golden case; anything else is a `UserError`."""
    for case in cases if isinstance(cases, list) else [cases]:
        found = case if isinstance(case, dict) else {}
        text, allowed = found.get("text"), found.get("allowed_special", ())
        if not isinstance(text, str) or allowed not in ((), "all"):
            raise UserError(
                f"{path}: expected cases with a text and its ids, got {case!r:.80}. {checksums.remedy(MADE_BY)}"
            )
        yield text, allowed, found.get("ids")


def _any_of(strings: Iterable[str]) -> re.Pattern[str]:
    """Matches one of the strings, the longest that begins at a place; what `split` gives has it at every odd place."""
    return re.compile(f"({_alternatives(strings, 2)})")


def _alternatives(strings: Iterable[str], shared: int) -> str:
    """A pattern of strings, the longest first; of those that share so many characters at their begin, these once.

    Python tries one alternative after the other: a thousand of them at each place of a text would take a second a MB.
    """
    if not shared:
        return "|".join(map(re.escape, sorted(strings, key=len, reverse=True)))
    begins: dict[str, list[str]] = {}
    for string in strings:
        begins.setdefault(string[:1], []).append(string[1:])
    longest_first = sorted(begins.items(), reverse=True)  # only one that has ended begins with no character
    return "|".join(f"{re.escape(begin)}(?:{_alternatives(rest, shared - 1)})" for begin, rest in longest_first)


def _in_order(parts: Sequence[str], fixed: Mapping[str, T], encoded: Iterator[T]) -> Iterator[T]:
    """Yield the ids of the parts of a text: of every even one the next of `encoded`, of every odd one from `fixed`."""
    return (fixed[part] if place % 2 else next(encoded) for place, part in enumerate(parts))
