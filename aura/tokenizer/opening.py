"""Any tokenizer of a project by its path: one that aura trained, or an adopted one."""

from pathlib import Path
from typing import TYPE_CHECKING, Union

from aura.core import files
from aura.core.errors import UserError
from aura.tokenizer import adopted_record
from aura.tokenizer.adopted_record import INSIDE
from aura.tokenizer.tokenizer import MADE_BY, Tokenizer

if TYPE_CHECKING:  # NumPy takes 0.1 s to import, and a line is encoded by one of ours without it
    from aura.tokenizer.adopted import AdoptedTokenizer

AnyTokenizer = Union[Tokenizer, "AdoptedTokenizer"]
MODEL = "spiece.model"


def load(path: Path) -> AnyTokenizer:
    """The tokenizer at `path`, its files compared with their hashes and golden encodings.

    Arguments:
        path: a tokenizer's folder, such as models/spm; or spiece.model in one, whether or not the file is there: an
            adopted tokenizer may have another file.

    Raises:
        UserError: there is no tokenizer, or it is damaged.
    """
    folder = path if path.is_dir() else path.parent
    if (path.is_dir() or path.name in INSIDE) and adopted_record.is_adopted(folder):
        record = adopted_record.read_record(folder)
        if record["ours"]:
            return Tokenizer(folder / MODEL)
        from aura.tokenizer.adopted import AdoptedTokenizer

        return AdoptedTokenizer.load(folder)
    return Tokenizer(path / MODEL if path.is_dir() else path)


def is_there(path: Path) -> bool:
    """Return whether a tokenizer lies at a path as `load` takes it."""
    folder = path if path.is_dir() else path.parent
    return (folder / MODEL if path.is_dir() else path).is_file() or adopted_record.is_adopted(folder)


def files_of(path: Path) -> dict[str, Path]:
    """The files of a tokenizer, by their names in its folder, the one that encodes last.

    Those are what `load` needs, and of an extended one the file that it was made of, for runs that go on from models of
    it.
    """
    folder = path if path.is_dir() else path.parent
    if adopted_record.is_adopted(folder):
        beside = (name for name in adopted_record.EXTENSION if (folder / name).exists())
        names = (adopted_record.RECORD, *beside, adopted_record.read_record(folder)["file"])
        return {name: folder / name for name in names}
    return {MODEL: path / MODEL if path.is_dir() else path}


def sha256(path: Path) -> str:
    """The SHA-256 of a tokenizer's file, without loading it."""
    *_, file = files_of(path).values()
    return files.sha256_file(file)


def require(path: Path) -> None:
    """Refuse a path without a tokenizer."""
    if not is_there(path):
        raise UserError(f"expected the tokenizer {path}, found no such file. Run: {MADE_BY}")
