"""A pin: one small file that stands for a large folder, with path, size and hash of each of its files.

DVC hashes every file of a folder it depends on, eight times over: 7.7 s for one changed file among 30,000,
against 0.3 s for reading them all with XXH3. A source that names a pin instead of its folder gives DVC one
file to look at; extraction compares the folder with the pin and stops when the pin is stale.
"""

from pathlib import Path

from aura.errors import UserError
from aura.files import read_json, write_records
from aura.ingestion.input_files import InputFile

SUFFIX = ".pin.json"


def is_pin(path: Path) -> bool:
    """Whether a source's path names a pin rather than a folder."""
    return path.name.endswith(SUFFIX)


def source_name(pin: Path) -> str:
    """The source that a pin belongs to."""
    return pin.name.removesuffix(SUFFIX)


def folder_of(path: Path) -> Path:
    """The folder a source reads: the path itself, or what the pin at `path` names."""
    if not is_pin(path):
        return path
    return Path(read_json(path, made_by=f"aura source scan {source_name(path)}")["folder"])


def write(pin: Path, folder: Path, files: list[InputFile]) -> None:
    """Write the pin of `folder`: one line a file, so that a diff shows what changed."""
    records = ([file.name, size, digest] for file, (digest, size) in state(files).items())
    write_records(pin, {"folder": folder.as_posix()}, "files", records)


def checked(pin: Path, files: list[InputFile]) -> list[InputFile]:
    """The files, with what is known of them now; `UserError`, naming files, unless they are what the pin recorded."""
    name = source_name(pin)
    records = read_json(pin, f"aura source scan {name}")["files"]
    recorded = {path: (digest, size) for path, size, digest in records}
    present = state(files)
    names = {file.name for file in files}
    changes = [
        *(f"added {file.name}" for file in files if file.name not in recorded),
        *(f"removed {path}" for path in recorded if path not in names),
        *(f"changed {file.name}" for file in files if recorded.get(file.name, present[file]) != present[file]),
    ]
    if changes:
        shown = "; ".join(changes[:5]) + (f"; and {len(changes) - 5} more" if len(changes) > 5 else "")
        raise UserError(
            f"{pin} no longer describes its folder: {shown}. Take the change in with: aura source scan {name}"
        )
    return [file._replace(known=found) for file, found in present.items()]


def state(files: list[InputFile]) -> dict[InputFile, tuple[str, int]]:
    """XXH3 and size of each file, or why it cannot be read."""
    return {file: file.fingerprint() for file in files}
