"""The files of a tokenizer, all made from its model: what `Tokenizer.save` and the stage train_tokenizer write."""

from pathlib import Path

from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core import checksums, files
from aura.tokenizer import hf_export
from aura.tokenizer.golden import golden
from aura.tokenizer.tokenizer import COPY, GOLDEN, Tokenizer


def files_of(model: bytes) -> dict[str, bytes]:
    """The content of each file by its name: model, vocabulary, golden encodings, and what other programs look for."""
    named = {"spiece.model": model, "spiece.vocab": vocabulary(model).encode()}
    return named | {GOLDEN: golden(Tokenizer.from_bytes(model))} | hf_export.export(model)


def write(made: dict[str, bytes], folder: Path) -> None:
    """Put files of one tokenizer into a folder, each whole; one of another that would be taken for this one's goes.

    The record of a stage that made the folder before goes too: the user's own files may lie there.
    """
    (folder / checksums.NAME).unlink(missing_ok=True)
    for name, content in made.items():
        files.write_bytes(folder / name, content)
    if COPY not in made:
        (folder / COPY).unlink(missing_ok=True)


def vocabulary(model: bytes) -> str:
    """The text of spiece.vocab: `piece<TAB>score`, one line per piece in the order of ids.

    Backslashes, line breaks and tabs inside pieces are written as in Python (`\\n`), so a line stays a line.
    """
    pieces = model_pb2.ModelProto.FromString(model).pieces
    return "".join(f"{_escaped(piece.piece)}\t{piece.score:.10g}\n" for piece in pieces)


def _escaped(piece: str) -> str:
    for character, written in (("\\", "\\\\"), ("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
        piece = piece.replace(character, written)
    return piece
