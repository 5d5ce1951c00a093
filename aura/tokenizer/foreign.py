"""Other people's tokenizers, measured as ours are: SentencePiece models, Hugging Face's tokenizer.json, tiktoken files.

Each becomes a `Foreign`: texts to ids and back, and the bytes that each id stands for. Special tokens never come out
of text, as in ours.
Files are read as data: nothing in them is executed, and nothing is fetched.
"""

import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core.bounded import Unreadable, read_json
from aura.core.errors import UserError
from aura.tokenizer import byte_pairs, crafted
from aura.tokenizer.adopted_record import INSIDE
from aura.tokenizer.arguments import checked_ids, checked_texts
from aura.tokenizer.byte_pairs import BytePairs
from aura.tokenizer.crafted import MOST_IDS
from aura.tokenizer.decoding import piece_bytes
from aura.tokenizer.golden import TEXTS
from aura.tokenizer.id_arrays import Ids
from aura.tokenizer.model_file import Kind, checked_pieces
from aura.tokenizer.rust_libraries import guarded, silent
from aura.tokenizer.tokenizer import Tokenizer

LARGEST = 64_000_000  # bytes of a file; the largest tokenizer.json in use has 35 MB
OF_ANOTHER_SHAPE = (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError)  # what JSON can raise
FORMATS = "spiece.model, tokenizer.json, tekken.json, .tiktoken, or a folder with one of the first three"
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """Any tokenizer. `word_prefix` makes a word alone look as in running text: empty if one is added anyway."""

    name: str
    pieces: tuple[bytes, ...]  # what each id stands for; empty for special tokens
    kinds: tuple[Kind, ...]
    unk_id: int | None
    word_prefix: str
    encoder: Callable[[Sequence[str]], list[Ids]]
    decoder: Callable[[list[int]], str]
    special: Mapping[str, int] = field(default_factory=dict)  # ids of special tokens by their names
    stated_roles: Mapping[str, int] = field(default_factory=dict)  # pad, bos, eos, unk, where the file says so
    algorithm: str = "BPE"  # or Unigram, WordPiece, WordLevel

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return len(self.pieces)

    def encode_batch(self, texts: Iterable[str], threads: int = 1) -> list[Ids]:  # noqa: ARG002 - as ours
        """The ids of each text, without special tokens; of any iterable, as in `Tokenizer.encode_batch`."""
        listed = checked_texts(texts)
        return self.encoder(listed) if listed else []

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; anything but integers is a `TypeError`."""
        return self.decoder(checked_ids(ids))

    @property
    def invalid_utf8(self) -> int:
        """Pieces of several bytes that are no UTF-8 text: cut inside a character (Land & Arnett 2025, 2505.24689)."""
        return sum(len(piece) > 1 and not _is_utf8(piece) for piece in self.pieces)


def load(path: Path, name: str) -> Foreign:
    """Load a tokenizer from a file or folder; anything else is a `UserError` that calls it `name`."""
    path = file_of(path, name)
    try:
        return _loaded(path, name)
    except UserError as error:
        raise error if str(error).startswith((f"{name}:", f"{name} ")) else UserError(f"{name}: {error}") from None
    except OF_ANOTHER_SHAPE as error:
        raise UserError(
            f"{name}: a part of this file is missing or of another kind ({str(error)[:200]!r}). Expected {FORMATS}"
        ) from None


def file_of(path: Path, name: str) -> Path:
    """The file of a tokenizer at a path, which may be a folder with one; none, or too large a one, is a `UserError`."""
    try:
        return _file_of(path, name)
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror}). Expected {FORMATS}") from None


def _file_of(path: Path, name: str) -> Path:
    if path.is_dir():
        found = next((path / file for file in INSIDE if (path / file).exists()), None)
        if found is None:
            raise UserError(f"{name}: expected one of {', '.join(INSIDE)} in this folder, found none")
        path = found
    if not path.exists():
        raise UserError(f"{name} is missing. Expected {FORMATS}")
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise UserError(f"{name}: expected a file of at most {LARGEST:,} bytes. Expected {FORMATS}")
    return path


def usual_name(file: Path) -> str:
    """The name of a file of this kind in a tokenizer's folder: the one that its library looks for."""
    if file.suffix != ".json":
        return "spiece.model"
    return "tekken.json" if _is_tekken(read_object(read_bytes(file, str(file)), str(file))) else "tokenizer.json"


def _is_tekken(content: Any) -> bool:  # noqa: ANN401 - of JSON
    return isinstance(content, dict) and "vocab" in content and "pattern" in content.get("config", {})


def _loaded(path: Path, name: str) -> Foreign:
    """Load a file by its suffix and content; content of another shape raises whatever Python does."""
    content = read_bytes(path, name)
    if path.suffix == ".tiktoken":
        return _tiktoken_file(path, content, name)
    if path.suffix != ".json":
        return from_model(content, name)
    parsed = read_object(content, name)
    if _is_tekken(parsed):
        return from_byte_pairs(byte_pairs.read_tekken(parsed), name)
    if "model" in parsed:
        return _tokenizer_json(content, name, parsed)
    raise UserError(f"{name}: expected the JSON of tokenizers (tokenizer.json) or tekken, got another. {FORMATS}")


def read_object(content: bytes, name: str) -> dict[str, Any]:
    """The object of a JSON file; anything else is a `UserError`."""
    try:
        parsed = read_json(content)
    except Unreadable as error:
        raise UserError(f"{name} is not valid JSON ({error}). Expected {FORMATS}") from None
    if not isinstance(parsed, dict):
        raise UserError(f"{name}: expected a JSON object, got another value. Expected {FORMATS}")
    return parsed


def read_bytes(path: Path, name: str) -> bytes:
    """The content of a regular file of at most `LARGEST` bytes, or a `UserError`; waits for no pipe or device."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UserError(f"{name}: expected a file, got a pipe, a device or another thing. Expected {FORMATS}")
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror}). Expected {FORMATS}") from None
    if len(content) > LARGEST:
        raise UserError(f"{name}: expected a file of at most {LARGEST:,} bytes. Expected {FORMATS}")
    return content


def from_model(content: bytes, name: str) -> Foreign:
    """A SentencePiece model, whoever trained it: one of ours as `from_ours`; bytes that are none are a `UserError`."""
    crafted.require_few_pieces(content)
    if is_ours(content):
        return from_ours(Tokenizer.from_bytes(content), name)
    processor = sentencepiece.SentencePieceProcessor()
    try:
        model = model_pb2.ModelProto.FromString(content)
        spec = model.normalizer_spec
        crafted.require_bounded_charsmap(spec.precompiled_charsmap)
        crafted.require_bounded_charsmap(model.denormalizer_spec.precompiled_charsmap)
        crafted.require_finite(entry.score for entry in model.pieces)
        processor.LoadFromSerializedProto(content)
    except (RuntimeError, ValueError, DecodeError) as error:
        raise UserError(f"{name} is no SentencePiece model ({error}). Expected {FORMATS}") from None
    return from_processor(processor, name, "" if spec.add_dummy_prefix else " ")


def from_processor(processor: Any, name: str, word_prefix: str) -> Foreign:  # noqa: ANN401 - SentencePieceProcessor
    """A model as SentencePiece alone reads it."""
    entries = [(token, processor.IdToPiece(token)) for token in range(processor.GetPieceSize())]
    kinds = tuple(_sentencepiece_kind(processor, token) for token, _ in entries)
    pieces = tuple(piece_bytes(piece, kind) for (_, piece), kind in zip(entries, kinds, strict=True))
    unk_id = processor.unk_id()
    return Foreign(
        name=name,
        pieces=pieces,
        kinds=kinds,
        unk_id=None if unk_id < 0 else unk_id,
        word_prefix=word_prefix,
        encoder=partial(_encode_by_sentencepiece, processor),
        decoder=partial(_decode_by_sentencepiece, processor, unk_id),
        special={piece: token for token, piece in entries if kinds[token] is Kind.SPECIAL},
        stated_roles={
            role: token for role in ("pad", "bos", "eos", "unk") if (token := getattr(processor, f"{role}_id")()) >= 0
        },
    )


# Functions of a module and no lambdas, so that a tokenizer can be sent to another process.


def _encode_by_sentencepiece(processor: Any, texts: Sequence[str]) -> list[Ids]:  # noqa: ANN401 - as in from_model
    ids: list[Ids] = processor.Encode(list(texts), return_type="numpy")
    return ids


def _decode_by_sentencepiece(processor: Any, unk_id: int, ids: list[int]) -> str:  # noqa: ANN401
    return str(processor.Decode([token for token in ids if token != unk_id]))


def from_ours(tokenizer: Tokenizer, name: str) -> Foreign:
    """One of our own, which cuts at U+2581 and user symbols; its bare model does not, and gives other ids."""
    kinds = tuple(tokenizer.kinds)
    pieces = tuple(piece_bytes(tokenizer.piece(token), kind) for token, kind in enumerate(kinds))
    return Foreign(
        name=name,
        pieces=pieces,
        kinds=kinds,
        unk_id=tokenizer.unk_id,
        word_prefix=" ",
        encoder=tokenizer.encode_batch,
        decoder=tokenizer.decode,
    )


def is_ours(content: bytes) -> bool:
    """Return whether a SentencePiece model keeps the contract of those that aura trains."""
    try:
        checked_pieces(content, "")
    except UserError:
        return False
    return True


def _sentencepiece_kind(processor: Any, token: int) -> Kind:  # noqa: ANN401 - a SentencePieceProcessor
    if processor.IsControl(token) or processor.IsUnknown(token) or processor.IsUnused(token):
        return Kind.SPECIAL
    return Kind.BYTE if processor.IsByte(token) else Kind.LEARNT


def _tiktoken_file(path: Path, content: bytes, name: str) -> Foreign:
    """A .tiktoken file holds ranks and no pattern, which is read from the file beside it with the suffix .pattern."""
    beside = path.with_suffix(".pattern")
    if not beside.exists():
        raise UserError(
            f"{name}: a .tiktoken file does not say how text is split before merging. Write its pattern, a regular "
            f"expression that its model's documentation gives, into {beside}"
        )
    return from_byte_pairs(byte_pairs.read_tiktoken(content, pattern_of(beside)), name)


def pattern_of(path: Path) -> str:
    """The regular expression of a .pattern file."""
    return read_bytes(path, str(path)).decode().strip("\n")


def from_byte_pairs(pairs: BytePairs, name: str) -> Foreign:
    """Byte-level BPE of tekken.json or a .tiktoken file, by tiktoken."""
    tiktoken = tiktoken_library(name)
    ranks = {piece: rank for rank, piece in enumerate(pairs.pieces)}
    with silent(), guarded(name):
        encoding = tiktoken.Encoding(name, pat_str=pairs.pattern, mergeable_ranks=ranks, special_tokens={})
        encoding.encode_ordinary_batch(list(TEXTS))  # a pattern that cannot be used fails here
    kinds = (
        *[Kind.SPECIAL] * pairs.first,
        *(Kind.BYTE if len(piece) == 1 and piece[0] > 127 else Kind.LEARNT for piece in pairs.pieces),
    )
    return Foreign(
        name=name,
        pieces=(*[b""] * pairs.first, *pairs.pieces),
        kinds=kinds,
        unk_id=None,
        word_prefix=" ",
        encoder=partial(_encode_by_tiktoken, encoding, pairs.first),
        decoder=partial(_decode_by_tiktoken, encoding, pairs.first),
        special=pairs.special,
    )


def _encode_by_tiktoken(encoding: Any, special: int, texts: Sequence[str]) -> list[Ids]:  # noqa: ANN401
    with guarded(encoding.name):
        return [np.array(ids, np.int32) + special for ids in encoding.encode_ordinary_batch(list(texts))]


def _decode_by_tiktoken(encoding: Any, special: int, ids: list[int]) -> str:  # noqa: ANN401
    with guarded(encoding.name):
        return str(encoding.decode([token - special for token in ids if token >= special]))


def tiktoken_library(name: str) -> Any:  # noqa: ANN401 - a module
    """The library of that name, which few runs need; a missing one is a `UserError` that calls the file `name`."""
    try:
        import tiktoken
    except ImportError:
        raise UserError(f"{name} needs the package tiktoken: pip install tiktoken") from None
    return tiktoken


def _tokenizer_json(content: bytes, name: str, parsed: dict[str, Any]) -> Foreign:
    import tokenizers

    crafted.require_bounded(parsed)
    model = parsed["model"]
    with silent():
        try:
            with guarded(name):
                loaded = tokenizers.Tokenizer.from_buffer(content)
        except UserError as error:
            raise UserError(f"{error}. Expected {FORMATS}") from None
        _require_visible(loaded, name)
        loaded.no_padding()
        loaded.no_truncation()  # ids of a text are those of the whole text
        encode = partial(_encode_by_tokenizers, loaded, name)
        decode = partial(_decode_by_tokenizers, loaded, name)
        decode(np.concatenate(encode(TEXTS)).tolist())  # what cannot be read fails here, and not hours later
    entries = loaded.get_added_tokens_decoder()
    added = {token for token, entry in entries.items() if entry.special}
    size = max(loaded.get_vocab().values(), default=-1) + 1
    if not 0 < size <= MOST_IDS:
        raise UserError(f"{name}: expected ids below {MOST_IDS:,}, got {size - 1 if size else 'none'}")
    texts = [loaded.id_to_token(token) or "" for token in range(size)]
    byte_level = '"ByteLevel"' in json.dumps([parsed.get("pre_tokenizer"), parsed.get("decoder")])
    kinds = tuple(
        Kind.SPECIAL if token in added else Kind.BYTE if _BYTE.fullmatch(text) else Kind.LEARNT
        for token, text in enumerate(texts)
    )
    pieces = tuple(
        text.encode()  # an added token is spelt as it is
        if token in entries and kind is Kind.LEARNT
        else byte_pairs.to_bytes(text)
        if byte_level and kind is Kind.LEARNT
        else piece_bytes(text, kind)
        for token, (text, kind) in enumerate(zip(texts, kinds, strict=True))
    )
    unk_id = loaded.token_to_id(model["unk_token"]) if model.get("unk_token") else model.get("unk_id")
    if not isinstance(unk_id, int) or not 0 <= unk_id < size:
        unk_id = None
    starts_with_space = bool(len(encode([" a"])[0]) > len(encode(["a"])[0]))
    return Foreign(
        name=name,
        pieces=pieces,
        kinds=kinds,
        unk_id=unk_id,
        word_prefix="" if starts_with_space else " ",
        encoder=encode,
        decoder=decode,
        special={texts[token]: token for token in sorted(added)},
        stated_roles={} if unk_id is None or kinds[unk_id] is not Kind.SPECIAL else {"unk": unk_id},
        algorithm=type(loaded.model).__name__,
    )


def _require_visible(loaded: Any, name: str) -> None:  # noqa: ANN401
    """Refuse an added token of which normalisation leaves nothing: tokenizers finds it everywhere, and never ends."""
    normalizer = loaded.normalizer
    for entry in loaded.get_added_tokens_decoder().values() if normalizer else ():
        with guarded(name):
            is_left = not entry.normalized or normalizer.normalize_str(entry.content)
        if not is_left:
            raise UserError(f"{name}: its normalizer leaves nothing of the added token {entry.content!r:.80}")


def _encode_by_tokenizers(loaded: Any, name: str, texts: Sequence[str]) -> list[Ids]:  # noqa: ANN401
    loaded.encode_special_tokens = True  # as text, which nobody can forge; a copy in another process forgets it
    with guarded(name):
        return [np.array(found.ids, np.int32) for found in loaded.encode_batch(list(texts), add_special_tokens=False)]


def _decode_by_tokenizers(loaded: Any, name: str, ids: list[int]) -> str:  # noqa: ANN401
    with guarded(name):
        return str(loaded.decode(ids, skip_special_tokens=True))


def _is_utf8(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True
