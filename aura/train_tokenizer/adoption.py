"""Adoption: a tokenizer that is there already takes the place of training.

The output holds the file as it is, golden encodings by its own library, and adopted.json. One that aura made keeps its
record and all its files. No corpus is read.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aura.core import checksums, console, files
from aura.core.errors import UserError
from aura.tokenizer import adopted, adopted_export, foreign, opening, saving
from aura.tokenizer.adopted import FORMAT, RECORD, AdoptedTokenizer
from aura.tokenizer.golden import golden
from aura.tokenizer.opening import MODEL, AnyTokenizer
from aura.tokenizer.tokenizer import GOLDEN
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
    def file(self) -> Path:
        """The file; none, or one that cannot be adopted, is a `UserError`."""
        file = foreign.file_of(self.path, f"train_tokenizer.from: {self.told}")
        if file.suffix == ".tiktoken":
            raise UserError(
                f"train_tokenizer.from: {self.told}: a .tiktoken file does not say how text is split. Write it as "
                "tokenizer.json, and adopt that: aura tokenizer convert"
            )
        return file


def adopt(base: Base, output: Path) -> AnyTokenizer:
    """Make the folder `output` anew: the file as it is, and what aura found out about it.

    Raises:
        UserError: there is no such tokenizer, it is damaged, or a role has no such token.
    """
    file = base.file
    content = file.read_bytes()
    made = _of_ours(file, content, base) if foreign.is_ours(content) else _of_others(file, content, base)
    with files.replaced_folder(output) as unfinished:
        for name, written in made.items():
            files.write_bytes(unfinished / name, written)
        checksums.write(unfinished)
    return opening.load(output)


def _of_ours(file: Path, content: bytes, base: Base) -> dict[str, bytes]:
    if base.roles:
        raise UserError(
            f"train_tokenizer.roles: expected none for {base.told}, which aura made and whose roles are known; got "
            f"{', '.join(base.roles)}. Write: roles: {{}}"
        )
    beside = file.with_name(CONFIG)
    record = {CONFIG: beside.read_bytes()} if file.name == MODEL and beside.exists() else {}
    return saving.files_of(content) | record | {RECORD: _record(MODEL, content, base, {})}


def _of_others(file: Path, content: bytes, base: Base) -> dict[str, bytes]:
    tokenizer = AdoptedTokenizer(file, adopted.roles_by_name(file, base.roles))
    name = foreign.usual_name(file)
    exported, lacking = adopted_export.export(tokenizer)
    if lacking:
        console.err.print(f"note: there is no tokenizer.json for Hugging Face's libraries: {lacking}", markup=False)
    return exported | {
        name: content,
        GOLDEN: golden(tokenizer, with_special=()),
        RECORD: _record(name, content, base, tokenizer.roles, lacking),
    }


def _record(name: str, content: bytes, base: Base, roles: Mapping[str, int], lacking: str | None = None) -> bytes:
    return files.as_json(
        {
            "format": FORMAT,
            "from": base.told,
            "file": name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "ours": name == MODEL and foreign.is_ours(content),
            "roles": dict(roles),
            **({"no_tokenizer_json": lacking} if lacking else {}),
        }
    )
