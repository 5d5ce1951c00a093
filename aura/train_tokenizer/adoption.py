"""Adoption: a tokenizer that is there already takes the place of training, as it is or with more pieces.

The output holds the file, golden encodings by its own library, what other programs read, and adopted.json. One that
aura made keeps its record. An extended one has the file that it was made of beside it, to measure against.
"""

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aura.core import checksums, console, files
from aura.core.errors import UserError
from aura.tokenizer import adopted, adopted_export, foreign, opening, saving
from aura.tokenizer.adopted import AdoptedTokenizer
from aura.tokenizer.adopted_record import BASE, FORMAT, RECORD
from aura.tokenizer.golden import golden
from aura.tokenizer.opening import MODEL, AnyTokenizer
from aura.tokenizer.tokenizer import GOLDEN
from aura.train_tokenizer import extension
from aura.train_tokenizer.extension import Extension
from aura.train_tokenizer.options import Role

CONFIG = "spiece_config.json"  # the record of how a tokenizer of ours was made


@dataclass(frozen=True)
class Base:
    """A tokenizer that is there already.

    Attributes:
        path: a file or folder.
        told: what train_tokenizer.from says of it.
        roles: names or ids of the tokens of some roles.
    """

    path: Path
    told: str
    roles: Mapping[Role, str | int | None]

    @property
    def published(self) -> str:
        """The same for a record that others read: of an absolute path, which tells of a machine, the name alone."""
        return Path(self.told).name if Path(self.told).is_absolute() else self.told

    @property
    def file(self) -> Path:
        """The file; none, or one that cannot be adopted, is a `UserError`."""
        file = foreign.file_of(self.path, f"train_tokenizer.from: {self.told}")
        if file.suffix == ".tiktoken":
            raise UserError(
                f"train_tokenizer.from: {self.told}: a .tiktoken file does not say how text is split. Write it as "
                "tokenizer.json, and adopt that: aura tokenizer convert"
            )
        return file


@dataclass(frozen=True)
class More:
    """Pieces to learn behind those of a tokenizer.

    Attributes:
        learn: makes the extension of the tokenizer in a file.
        record: the text and the bound that decide it, for adopted.json.
    """

    learn: Callable[[Path], Extension]
    record: Mapping[str, Any]


def adopt(base: Base, output: Path, more: More | None = None) -> AnyTokenizer:
    """Make the folder `output` anew: the file as it is, or with more pieces, and what aura found out about it.

    Raises:
        UserError: there is no such tokenizer, it is damaged, a role has no such token, or it cannot be extended.
    """
    file = base.file
    made = _as_it_is(file, base) if more is None else _extended(file, base, more)
    with files.replaced_folder(output) as unfinished:
        for name, written in made.items():
            files.write_bytes(unfinished / name, written)
        checksums.write(unfinished)
    return opening.load(output)


def _as_it_is(file: Path, base: Base) -> dict[str, bytes]:
    content = file.read_bytes()
    if not foreign.is_ours(content):
        return _of_others(file, content, base, {})
    beside = file.with_name(CONFIG)
    record = {CONFIG: beside.read_bytes()} if file.name == MODEL and beside.exists() else {}
    return _of_ours(content, base, {}) | record


def _extended(file: Path, base: Base, more: More) -> dict[str, bytes]:
    made = more.learn(file)
    for note in made.notes:
        console.err.print(f"note: {note}", markup=False)
    content = made.files[extension.opened(file).file]
    base_content = file.read_bytes()
    told = {"extended": dict(more.record) | {"pieces": len(made.pieces), "scripts": [*made.scripts]}}
    beside = {
        extension.RECORD: made.files[extension.RECORD],
        BASE + (".json" if file.suffix == ".json" else ".model"): base_content,
    }
    if foreign.is_ours(content):
        return _of_ours(content, base, told) | beside
    return _of_others(file, content, base, told) | beside


def _of_ours(content: bytes, base: Base, told: Mapping[str, Any]) -> dict[str, bytes]:
    if base.roles:
        raise UserError(
            f"train_tokenizer.roles: expected none for {base.told}, which aura made and whose roles are known; got "
            f"{', '.join(base.roles)}. Write: roles: {{}}"
        )
    return saving.files_of(content) | {RECORD: _record(MODEL, content, base, {}, told)}


def _of_others(file: Path, content: bytes, base: Base, told: Mapping[str, Any]) -> dict[str, bytes]:
    name = foreign.usual_name(file)
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch, name)
        written.write_bytes(content)
        tokenizer = AdoptedTokenizer(written, adopted.roles_by_name(file, base.roles), title=str(file))
        exported, lacking = adopted_export.export(tokenizer)
        if lacking:
            console.err.print(f"note: there is no tokenizer.json for Hugging Face's libraries: {lacking}", markup=False)
        told = {**told, **({"no_tokenizer_json": lacking} if lacking else {})}
        return exported | {
            name: content,
            GOLDEN: golden(tokenizer, with_special=()),
            RECORD: _record(name, content, base, tokenizer.roles, told),
        }


def _record(name: str, content: bytes, base: Base, roles: Mapping[str, int], told: Mapping[str, Any]) -> bytes:
    return files.as_json(
        {
            "format": FORMAT,
            "from": base.published,
            "file": name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "ours": name == MODEL and foreign.is_ours(content),
            "roles": dict(roles),
            **told,
        }
    )
