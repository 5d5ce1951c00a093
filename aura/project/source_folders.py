"""A folder as a source sees it: files that it reads, files that it leaves, and files that DVC cannot hash."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from aura.core import paths
from aura.core.errors import UserError
from aura.sources import pins
from aura.sources.input_files import (
    HIDDEN,
    LEADS_OUT,
    SUFFIXES,
    InputFile,
    Links,
    chosen_by,
    files_at,
    names_hidden,
    suffix_glob,
)
from aura.sources.other_suffixes import found_instead, instead_of, suffix_of

_DATASET = re.compile(r"[\w.-]+/[\w.-]+")  # as the Hub names them


def kind_of(path: str, glob: str | None = None, links: Links = "inside") -> str:
    """The kind of source that a folder's files (those of `glob`, if any) say it is: that of most of them."""
    if pins.source_name(Path(path)) == "sample":
        return "sample"
    if not _is_there(Path(path)):
        raise UserError(_absent(path))
    names = [
        file.name for file in files_at(Path(path), bool, hidden=names_hidden(glob), links=links) if not file.problem
    ]
    return kind_of_names(meant(names, glob), path, "" if names else _instead(Path(path)))


def meant(names: list[str], glob: str | None) -> list[str]:
    """The names that tell the kind: those that `glob` chooses, or all if no kind has any of these."""
    chosen = list(filter(chosen_by("txt", glob), names)) if glob else names
    return chosen if any(chosen_by(kind, None)(name) for kind in SUFFIXES for name in chosen) else names


def kind_of_names(names: list[str], place: str, instead: str = "") -> str:
    """The same by the names alone of the files or objects at `place`; `instead` says what there is if it is known."""
    counts = {kind: sum(map(chosen_by(kind, None), names)) for kind in SUFFIXES}
    if any(counts.values()):
        return max(counts, key=lambda kind: counts[kind])
    wanted = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
    raise UserError(f"expected a folder with {wanted} files at {place}, found none: {instead or instead_of(names)}")


def _is_there(path: Path) -> bool:
    """Return whether there is a folder or a file; a FIFO would be read for ever."""
    return path.is_dir() or path.is_file()


def split_pattern(path: str, glob: str | None) -> tuple[str, str | None]:
    """A path in its shortest form, and the glob; of a path that is a pattern, its folder, and its rest as the glob."""
    short = os.path.normpath(path)
    if Path(short).exists() or not re.search(r"[*?\[{]", short):
        return short, glob
    if glob:
        raise UserError(f"expected one pattern, got two: the path {path} and --glob {glob}. Leave one of them out")
    parts = short.split("/")
    first = next(number for number, part in enumerate(parts) if re.search(r"[*?\[{]", part))
    folder = "/".join(parts[:first]) or ("/" if short.startswith("/") else ".")
    return folder, "/".join(parts[first:])


def with_folders(kind: str, folder: Path, glob: str) -> str:
    """A glob that takes in what lies below the folders that `glob` matches: the files of the kind, as behind a URL.

    If it matches no folder with such files, `glob` itself.
    """
    deep = matching_folders(glob) + suffix_glob(kind)
    itself, below = chosen_by(kind, glob), chosen_by(kind, deep)
    found = files_at(folder, lambda name: below(name) and not itself(name), hidden=names_hidden(glob))
    return deep if any(not file.problem for file in found) else glob


def matching_folders(glob: str) -> str:
    """The glob for the files that `glob` matches, and for all below the folders that it does."""
    return f"{glob}{{,/**/*}}"


def source_files(kind: str, folder: Path, glob: str | None, links: Links = "inside") -> list[InputFile]:
    """The files that a source of this kind reads; none that can be opened is a `UserError`."""
    require_kind(kind)
    files = []
    if _is_there(folder):
        files = files_at(folder, chosen_by(kind, glob), hidden=names_hidden(glob), links=links)
    if all(file.problem for file in files):
        deeper = f"**/{glob}"
        if glob and _is_there(folder) and files_at(folder, chosen_by(kind, deeper), hidden=names_hidden(glob)):
            raise UserError(f'No file in {folder} matches {glob}, some in its folders do: write --glob "{deeper}"')
        raise UserError(f"No {glob or ' or '.join(SUFFIXES[kind])} files found in {folder}: {_instead(folder)}")
    return files


def _instead(path: Path) -> str:
    return found_instead(path) if path.is_dir() else _absent(str(path))


def _absent(path: str) -> str:
    """Say that nothing is at a path, and how a dataset is meant that is spelt like one."""
    place = Path(path)
    if place.exists():
        return f"{path} is neither a file nor a folder, but a FIFO, a socket or a device."
    if place.is_symlink():
        return f"{path} is a link that leads nowhere. Look with: ls -la {path}"
    dataset = "If it is a dataset of the Hugging Face Hub, add --kind dataset. " if _DATASET.fullmatch(path) else ""
    return f"there is no such file or folder: {path}. {dataset}See what there is: ls -la {place.parent}"


def require_kind(kind: str) -> None:
    """Refuse what is no kind of source made of files."""
    if kind not in SUFFIXES:
        raise UserError(f"expected --kind to be one of {', '.join([*SUFFIXES, 'dataset', 'sample'])}; got {kind}")


def left_aside(path: str, files: list[InputFile]) -> str:
    """Say which files of the folder the source does not read."""
    read = {file.place for file in files if file.problem not in (HIDDEN, LEADS_OUT)}
    return not_read(
        file.problem or suffix_of(file.name) for file in files_at(Path(path), bool) if file.place not in read
    )


def not_read(kinds: Iterable[str]) -> str:
    """Say what a source leaves, from what to call each file: the commonest five kinds."""
    counts = Counter(kinds).most_common(5)
    return f" (not read: {', '.join(f'{count:,} {kind}' for kind, count in counts)})" if counts else ""


def refuse_outputs(path: str) -> None:
    """Refuse a folder that is, holds or lies in one that the pipeline writes: DVC would find a circle."""
    chosen = Path(path).resolve()
    for made in (paths.EXTRACTED, paths.CORPUS, paths.TOKENS, paths.CONVERSATIONS, paths.MODELS):
        output = made.resolve()
        if chosen == output or output in chosen.parents or chosen in output.parents:
            raise UserError(
                f"expected a folder of your own text, such as data/txt; {path} holds or is the output {made}"
            )


def refuse_unhashable(folder: Path) -> None:
    """Refuse a folder at which DVC would fail or hang, naming what it cannot hash."""
    found = [
        f"{file.name} ({problem})" for file in files_at(folder, bool, hidden=True) if (problem := _unhashable(file))
    ]
    if found:
        shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
        raise UserError(
            f"DVC cannot hash the folder {folder}: {shown}. Remove them; or use --pin, and DVC will look at a list of "
            "hashes instead (extraction counts what it cannot read)."
        )


def _unhashable(file: InputFile) -> str:
    """Why DVC fails at a file, if it does; it follows links to folders."""
    try:
        os.fsencode(file.place).decode()
        file.path.stat()
    except UnicodeDecodeError:
        return "a name that is no valid UTF-8"
    except OSError as error:
        return f"a link that leads nowhere: {error.strerror}"
    if file.problem.startswith("not a file"):
        return file.problem
    return "" if os.access(file.place, os.R_OK) else "no permission to read it"


def count(files: list[InputFile]) -> int:
    """Count the files that a source reads, or would read if they could be read."""
    return sum(file.problem not in (HIDDEN, LEADS_OUT) for file in files)


def unread(files: list[InputFile]) -> str:
    """Say which files of a pinned folder cannot be read."""
    listed = [file for file in files if file.problem not in (HIDDEN, LEADS_OUT)]
    found = [f"{file.name} ({digest})" for file in listed if " " in (digest := file.fingerprint()[0])]
    shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
    return f" (not readable, counted as lost: {shown})" if found else ""
