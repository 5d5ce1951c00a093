"""Which outputs of a project are damaged, whoever would read them: what `aura repair` has to make again.

DVC itself does not see such damage. It compares sizes and times, and takes a file of its cache that is read-only for
right, so `dvc repro`, with or without `--force`, keeps a damaged file or puts the damaged copy of its cache back. To
make an output again, its file and DVC's copy of it must both go; what was made of it needs
`dvc repro --force --downstream STAGE`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from aura import checksums, placement
from aura.errors import UserError

LOCK = Path("dvc.lock")


@dataclass(frozen=True)
class Damaged:
    """An output that is not as its stage left it.

    Attributes:
        path: a file; or a folder, where the list of its files is damaged or does not fit.
        stage: the stage that makes it.
        told: what was expected and what was found, for the user.
    """

    path: Path
    stage: str
    told: str


def damaged(lock: Path = LOCK) -> list[Damaged]:
    """Every damaged output of the stages in `lock`, which lies in the project's folder, in its order.

    Folders are compared with their _SHA256SUMS, and shards in a store with their list; files that are outputs by
    themselves with `lock`. Outputs that are absent, or have no record, are left to DVC. Every byte is read.

    Raises:
        UserError: `lock` is no file that DVC wrote.
    """
    return [one for stage, path, md5 in _outputs(lock) for one in _of_output(stage, path, md5)]


def _outputs(lock: Path) -> Iterator[tuple[str, Path, str]]:
    """Stage, place and MD5 of each output."""
    if not lock.exists():
        return
    try:
        stages = YAML(typ="safe").load(lock.read_bytes())["stages"]
        found = [(stage, out["path"], out["md5"]) for stage, entry in stages.items() for out in entry.get("outs", [])]
    except (YAMLError, KeyError, TypeError, AttributeError, UnicodeDecodeError):
        raise UserError(f"{lock} is no list of stages as DVC writes it. Run: git checkout {lock.name}") from None
    for stage, path, md5 in found:
        yield str(stage), lock.parent / str(path), str(md5)


def _of_output(stage: str, path: Path, md5: str) -> Iterator[Damaged]:
    if path.is_dir():
        if (path / checksums.NAME).exists():
            yield from (Damaged(place, stage, str(error)) for place, error in _of_folder(path, f"dvc repro {stage}"))
    elif path.is_file():
        with path.open("rb") as file:
            got = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if got != md5:
            yield Damaged(path, stage, f"{path}: expected md5 {md5}, as {LOCK} has it, got {got}")


def _of_folder(folder: Path, made_by: str) -> Iterator[tuple[Path, UserError]]:
    try:
        listed = checksums.read(folder, made_by)
    except UserError as error:
        yield folder, error
        return
    for name, digest in listed.items():
        try:
            checksums.compare(folder / name, digest, made_by)
            if Path(name).name == placement.LIST:
                _compare_stored((folder / name).parent, made_by, digest)
        except UserError as error:
            yield folder / name, error


def _compare_stored(folder: Path, made_by: str, digest: str) -> None:
    shards = placement.shards(folder, made_by, {placement.LIST: digest})
    placement.at_once(placement.Shard.verify, shards)
