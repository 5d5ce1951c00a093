"""A tokenizer in another format, with every id equal, or a refusal with the reason.

Formats differ in what they can say. Where one cannot say what another does, the conversion is refused before anything
is made. What is made is read again by the library of its format. It must give the ids of the original on some 18,000
texts (`aura.tokenizer.proof_texts`) before it is written.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import sentencepiece

from aura.core import files
from aura.core.errors import UserError
from aura.tokenizer import byte_pairs, foreign, from_sentencepiece, hf_export, proof_texts
from aura.tokenizer.byte_pairs import BytePairs
from aura.tokenizer.foreign import Foreign
from aura.tokenizer.model_file import Kind
from aura.tokenizer.symbols import SPACE
from aura.tokenizer.tokenizer import EXPORTED, Tokenizer

SUFFIXES = {"sentencepiece": ".model", "tokenizer.json": ".json", "tekken": ".json", "tiktoken": ".tiktoken"}
_AT_ONCE = 4000  # texts, so that their ids take little memory


class Source(NamedTuple):
    """A tokenizer as its own library reads it, and its file."""

    path: Path
    content: bytes
    kind: str  # a key of SUFFIXES
    tokenizer: Foreign
    is_ours: bool


class Made(NamedTuple):
    """The files of a format by their suffixes, the main one first, and what the user must know of them."""

    files: dict[str, bytes]
    notes: Sequence[str] = ()
    left_out: str = ""  # texts with this are read otherwise, as a note says


def convert(path: Path, output: Path, to: str) -> list[str]:
    """Write the tokenizer at `path` to the file `output`; returns sentences on what was proven and written.

    Arguments:
        path: a file that `aura.tokenizer.foreign` reads, or a folder with one.
        output: a new file, with the suffix of its format; a .pattern is written beside a .tiktoken.
        to: sentencepiece, tokenizer.json, tekken or tiktoken.

    Raises:
        UserError: the conversion cannot be exact, or was not on some text; nothing is written.
    """
    if to not in SUFFIXES:
        raise UserError(f"--to: expected one of {', '.join(SUFFIXES)}, got {to!r:.40}")
    if output.suffix != SUFFIXES[to]:
        raise UserError(f"{output}: expected a file with the suffix {SUFFIXES[to]}, which the format {to} has")
    for suffix in (output.suffix, *([".pattern"] if to == "tiktoken" else [])):
        if output.with_suffix(suffix).exists():
            raise UserError(f"{output.with_suffix(suffix)} is there already. Name another file")
    source = _read(path)
    try:
        made, proven = _exact(source, to)
    except UserError as error:
        raise UserError(f"{path} cannot be written as {to} with equal ids: {error}. Nothing was written") from None
    for suffix, content in made.files.items():
        files.write_bytes(output.with_suffix(suffix), content)
    written = ", ".join(str(output.with_suffix(suffix)) for suffix in made.files)
    return [proven, *made.notes, f"written: {written}"]


def tokenizer_json(path: Path) -> bytes:
    """The content of a tokenizer.json with the ids of the tokenizer at `path`, proven; a `UserError` has the reason."""
    made, _ = _exact(_read(path), "tokenizer.json")
    return made.files[SUFFIXES["tokenizer.json"]]


def _exact(source: Source, to: str) -> tuple[Made, str]:
    """The files of another format, and what was proven; a `UserError` has the reason why there are none."""
    try:
        made = MAKERS[to](source)
    except foreign.OF_ANOTHER_SHAPE as error:
        raise UserError(str(error)) from None
    return made, _prove(source, made, to)


def _read(path: Path) -> Source:
    file = foreign.file_of(path, str(path))
    tokenizer = foreign.load(file, str(path))
    content = foreign.read_bytes(file, str(path))
    kind = {".json": foreign.usual_name(file).removesuffix(".json"), ".tiktoken": "tiktoken"}.get(file.suffix, "")
    kind = {"tokenizer": "tokenizer.json", "": "sentencepiece"}.get(kind, kind)
    return Source(file, content, kind, tokenizer, kind == "sentencepiece" and foreign.is_ours(content))


def _sentencepiece(source: Source) -> Made:
    if source.kind != "sentencepiece":
        raise UserError("SentencePiece cuts no text by a pattern and merges no bytes")
    if not source.is_ours:
        return Made({".model": source.content})
    note = f"SentencePiece alone reads a literal U+{ord(SPACE):04X} as a space; aura reads it as that character"
    return Made({".model": source.content}, [note], left_out=SPACE)


def _tokenizer_json(source: Source) -> Made:
    if source.kind == "tokenizer.json":
        return Made({".json": source.content})
    if source.kind != "sentencepiece":
        return Made({".json": byte_pairs.tokenizer_json(_byte_pairs(source))})
    if source.is_ours:
        return Made({".json": hf_export.export(source.content)[EXPORTED]})
    return Made({".json": from_sentencepiece.tokenizer_json(source.content)})


def _tekken(source: Source) -> Made:
    if source.kind == "tekken":
        return Made({".json": source.content})
    return Made({".json": byte_pairs.tekken(_byte_pairs(source))})


def _tiktoken(source: Source) -> Made:
    pairs = _byte_pairs(source)
    names = ", ".join(f"{name} {token}" for name, token in sorted(pairs.special.items(), key=lambda item: item[1])[:5])
    count = len(pairs.special)
    notes = [f"a .tiktoken file holds no special tokens; give tiktoken these {count}: {names}{', …' * (count > 5)}"]
    return Made({".tiktoken": byte_pairs.tiktoken(pairs), ".pattern": pairs.pattern.encode()}, notes if names else [])


MAKERS: dict[str, Callable[[Source], Made]] = {
    "sentencepiece": _sentencepiece,
    "tokenizer.json": _tokenizer_json,
    "tekken": _tekken,
    "tiktoken": _tiktoken,
}


def _byte_pairs(source: Source) -> BytePairs:
    """The table of ranks, which three formats share."""
    if source.kind == "sentencepiece":
        raise UserError("SentencePiece merges characters of the whole text, and not bytes of parts of it")
    if source.kind == "tiktoken":
        pattern = source.path.with_suffix(".pattern")
        return byte_pairs.read_tiktoken(source.content, foreign.pattern_of(pattern))
    parsed = foreign.read_object(source.content, str(source.path))
    return byte_pairs.read_tekken(parsed) if source.kind == "tekken" else byte_pairs.read_tokenizer_json(parsed)


def _prove(source: Source, made: Made, to: str) -> str:
    """Read what was made as its library does, and compare ids; the first difference is a `UserError`."""
    original = source.tokenizer
    with tempfile.TemporaryDirectory() as folder:
        for suffix, content in made.files.items():
            Path(folder, f"made{suffix}").write_bytes(content)
        other = _raw(made) if to == "sentencepiece" else foreign.load(Path(folder, f"made{SUFFIXES[to]}"), f"the {to}")
    texts = [
        text for text in proof_texts.proof_texts(*_parts(source)) if not made.left_out or made.left_out not in text
    ]
    decoded = 0
    for place in range(0, len(texts), _AT_ONCE):
        some = texts[place : place + _AT_ONCE]
        pairs = zip(some, original.encode_batch(some), other.encode_batch(some), strict=True)
        for text, expected, got in pairs:
            if expected.tolist() != got.tolist():
                raise UserError(
                    f"{text!r:.200} has the ids {_short(expected.tolist())}, and {_short(got.tolist())} there"
                )
            if original.unk_id is None or original.unk_id not in expected:
                decoded += original.decode(expected) == other.decode(expected)
    return f"ids of {len(texts):,} texts equal, read by the library of each format; {decoded:,} decode alike"


def _raw(made: Made) -> Foreign:
    """A model as SentencePiece alone reads it, also one of ours."""
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(made.files[".model"])
    return foreign.from_processor(processor, "the model", "")


def _parts(source: Source) -> tuple[Sequence[bytes], Sequence[str]]:
    """The pieces, and the names that no text becomes."""
    names = [*source.tokenizer.special]
    if source.kind == "sentencepiece":
        names += [f"<0x{byte:02X}>" for byte in (0x0A, 0x41, 0xE2)]
    if source.is_ours:
        ours = Tokenizer.from_bytes(source.content)
        kinds = (Kind.SPECIAL, Kind.USER)
        names += [ours.piece(token) for token, kind in enumerate(ours.kinds) if kind in kinds]
    return source.tokenizer.pieces, names


def _short(ids: list[int]) -> str:
    return f"{ids[:20]}{'…' * (len(ids) > 20)}"
