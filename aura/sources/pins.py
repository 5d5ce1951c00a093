"""A pin: one small file that stands for a large folder, with path, size and hash of each of its files.

DVC hashes every file of a folder it depends on, eight times over: 7.7 s for one changed file among 30,000,
against 0.3 s for reading them all with XXH3. A source that names a pin instead of its folder gives DVC one
file to look at; extraction compares the folder with the pin and stops when the pin is stale. Neither opens a file whose
stamp is the one that it was last hashed with.
"""

from pathlib import Path

import pyarrow as pa

from aura.core.arrow import from_bytes, to_bytes
from aura.core.errors import UserError
from aura.core.files import read_object, write_records
from aura.core.keys import action_key
from aura.core.shown_text import on_one_line
from aura.sources.input_files import InputFile
from aura.storage.cache import Cache

SUFFIX = ".pin.json"
CONVERSATIONS = ".conversations"  # stands before it in pins of conversations: a corpus may have a source of the name


def is_pin(path: Path) -> bool:
    """Return whether a source's path names a pin rather than a folder."""
    return path.name.endswith(SUFFIX)


def pins_packages(path: Path) -> bool:
    """Return whether the file at a path is the pin of a built-in source, which is made of installed packages."""
    return is_pin(path) and path.is_file() and "packages" in read_object(path, "make lock")


def source_name(pin: Path) -> str:
    """The source that a pin belongs to."""
    return pin.name.removesuffix(SUFFIX)


def rescan(pin: Path) -> str:
    """The command that takes in what changed behind a pin, of the corpus or of conversations."""
    name = source_name(pin)
    group = "conversations" if name.endswith(CONVERSATIONS) else "source"
    return f"aura {group} scan {name.removesuffix(CONVERSATIONS)}"


def folder_of(path: Path) -> Path:
    """The folder a source reads: the path itself, or what the pin at `path` names."""
    if not is_pin(path):
        return path
    folder = Path(read_object(path, rescan(path), folder=str)["folder"])
    main = main_workspace(Path.cwd())
    return main / folder if main and not folder.exists() else folder


def main_workspace(here: Path) -> Path | None:
    """The project whose experiment runs aside in `here` (`dvc exp run --temp` or `--queue`); None if none does.

    Such an experiment gets what git and DVC track, and no other file. A pinned folder is read where it is: the pin,
    which is tracked, says what must be in it.
    """
    for folder in here.parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps"):
            return folder.parents[2]
    return None


_HASHED = pa.schema(
    [("name", pa.large_string()), ("stamp", pa.int64()), ("digest", pa.large_string()), ("size", pa.int64())]
)


def with_digests(files: list[InputFile], cache: Cache) -> list[InputFile]:
    """The files with what `fingerprint` gives; those that have the stamp they were last hashed with are not opened."""
    if not files:
        return files
    key = action_key("digests", str(Path(files[0].folder).absolute()))
    there = _hashed_before(cache, key)
    found = [file._replace(known=there.get((file.name, file.stamp)) or file.fingerprint()) for file in files]
    # What could not be read may be readable to another user, or tomorrow, without any change of the file.
    kept = [file for file in found if file.known and file.stamp and " " not in file.known[0]]
    if any((file.name, file.stamp) not in there for file in kept):
        rows = [(file.name, file.stamp, *(file.known or ())) for file in kept]
        columns = dict(zip(_HASHED.names, map(list, zip(*rows, strict=True)), strict=True))
        cache.put(key, {}, {"table": to_bytes(pa.table(columns, _HASHED))})
    return found


def _hashed_before(cache: Cache, key: str) -> dict[tuple[str, int], tuple[str, int]]:
    """Digest and size by name and stamp."""
    entry = cache.get(key)
    data = entry.read("table") if entry else None
    if data is None:
        return {}
    names, stamps, digests, sizes = (column.to_pylist() for column in from_bytes(data).columns)
    return dict(zip(zip(names, stamps, strict=True), zip(digests, sizes, strict=True), strict=True))


def write(pin: Path, folder: Path, files: list[InputFile]) -> None:
    """Write the pin of `folder`: one line a file, so that a diff shows what changed."""
    records = ([file.name, size, digest] for file in files for digest, size in [file.fingerprint()])
    write_records(pin, {"folder": folder.as_posix()}, "files", records)


def require_current(pin: Path, files: list[InputFile]) -> None:
    """Raise `UserError`, naming files, unless they are what the pin recorded."""
    records = read_object(pin, rescan(pin), files=[(str, int, str)])["files"]
    recorded = {path: (digest, size) for path, size, digest in records}
    names = {file.name for file in files}
    changes = [
        *(f"added {file.name}" for file in files if file.name not in recorded),
        *(f"removed {path}" for path in recorded if path not in names),
        *(f"changed {file.name}" for file in files if recorded.get(file.name) not in (None, file.fingerprint())),
    ]
    if changes:
        shown = "; ".join(map(on_one_line, changes[:5])) + (
            f"; and {len(changes) - 5} more" if len(changes) > 5 else ""
        )
        raise UserError(f"{pin} no longer describes its folder: {shown}. Take the change in with: {rescan(pin)}")
