"""Sources behind a URL (`gs://…`, or any other that fsspec knows): pinned object by object, and fetched once.

The pin, a small file in git, names every object with its size and version (`addresses.py`). aura verifies these objects
and writes them to data/raw/NAME; from there on it is a folder like any other. A moved pin fetches what is new in it; a
killed run goes on behind the last whole object. The price is the corpus's size on this disk.

An object that its bucket hands out decompressed (Content-Encoding: gzip) is verified as it is stored, and laid down as
its content.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import xxhash

from aura.core import parallel
from aura.core.bounded import mismatch
from aura.core.console import track
from aura.core.errors import UserError
from aura.core.files import place_folder, read_object, write_records
from aura.core.outside_names import relative_names
from aura.extract.documents.compression import GZIP, Damaged, blocks
from aura.extract.sources.addresses import Address, opened
from aura.extract.sources.input_files import InputFile, files_below
from aura.extract.sources.materialise import partial_folder, raw_folder
from aura.storage.store import explained

RECORD = "objects.record"  # in the folder: the pin that it was fetched for
Objects = dict[str, tuple[int, str]]  # by name below the URL: bytes, version


def url_of(pin: Path) -> str | None:
    """The URL that a pin stands for; `None` if it stands for a folder."""
    url: str | None = read_object(pin, made_by="aura source add NAME URL").get("url")
    if not isinstance(url, str | None):
        raise UserError(f"{pin}: url: expected a text, got {url!r:.80}. Make it again with: aura source add NAME URL")
    return url


def names(url: str) -> list[str]:
    """The names of all objects behind `url`: below that folder, or of that one object, or those of a pattern."""
    with explained(url):
        return list(opened(url).places())


def look(url: str, chosen: Callable[[str], bool]) -> Objects:
    """The objects behind `url` that are `chosen` by their names, or the one that it names itself.

    Objects without a version are read now, whole. Raises `UserError` if they cannot be listed.
    """
    with explained(url):
        address = opened(url)
        found = address.places()
        if not address.is_one(found):
            found = {name: state for name, state in found.items() if chosen(name)}
        relative_names(found, url)
        return address.all_described(found)


def write_pin(pin: Path, url: str, objects: Objects) -> None:
    """Write the pin: one line an object, so that a diff shows what changed."""
    write_records(pin, {"url": url}, "objects", ([name, *state] for name, state in objects.items()))


def files(pin: Path, chosen: Callable[[str], bool], *, hidden: bool = False) -> list[InputFile]:
    """The files that a pin names and that are `chosen` by their names, fetched now unless they are there already.

    Hidden ones are given as such and not read, unless `hidden`, or the URL names just one.
    """
    folder = materialise(pin)
    url, objects = _read(pin)
    one = Address(url, None, url.rstrip("/")).is_one(objects)
    return files_below(folder, lambda name: name != RECORD and (one or chosen(name)), hidden=hidden or one)


def materialise(pin: Path) -> Path:
    """The folder with the objects that the pin names, fetched now unless they are there already."""
    wanted, folder = _read(pin), raw_folder(pin)
    if folder.exists() and _is_whole(folder, *wanted):
        return folder
    growing = partial_folder(folder)
    if not growing.exists():
        folder.rename(growing) if folder.exists() else growing.mkdir(parents=True)
    _keep_only_current(growing, *wanted)
    url, objects = wanted
    missing = [name for name in objects if not (growing / name).exists()]
    with explained(url):
        address = opened(url)
        fetch = partial(_fetch, address=address, objects=objects, folder=growing)
        with ThreadPoolExecutor(address.connections) as pool:
            fetched = track(parallel.ordered_map(pool, fetch, missing), f"fetch {url}", len(missing))
            unpacked = dict(zip(missing, fetched, strict=True))
    sizes = _unpacked_sizes(growing) | {name: size for name, size in unpacked.items() if size is not None}
    _write_record(growing, url, objects, sizes)
    place_folder(growing, folder)
    return folder


def _read(path: Path) -> tuple[str, Objects]:
    values = read_object(path, "aura source add NAME URL", url=str, objects=[(str, int, str)])
    objects = {name: (size, version) for name, size, version in values["objects"]}
    relative_names(objects, str(path))
    return values["url"], objects


def _unpacked_sizes(folder: Path) -> dict[str, int]:
    """The size here of what was laid down decompressed, by name, as the folder's record says."""
    record = folder / RECORD
    found: Any = read_object(record, made_by="dvc repro").get("unpacked", {}) if record.exists() else {}
    return {} if mismatch(found, {str: int}) else found


def _write_record(folder: Path, url: str, objects: Objects, unpacked: dict[str, int]) -> None:
    head = {"url": url} | ({"unpacked": dict(sorted(unpacked.items()))} if unpacked else {})
    write_records(folder / RECORD, head, "objects", ([name, *state] for name, state in objects.items()))


def _is_whole(folder: Path, url: str, objects: Objects) -> bool:
    if not (folder / RECORD).exists() or _read(folder / RECORD) != (url, objects):
        return False
    present = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    del present[RECORD]
    return present == {name: size for name, (size, _) in objects.items()} | _unpacked_sizes(folder)


def _keep_only_current(folder: Path, url: str, objects: Objects) -> None:
    """Remove what was fetched for another pin and is not the same in this one; then note what the rest belongs to."""
    before, known = _read(folder / RECORD) if (folder / RECORD).exists() else ("", {})
    unpacked, kept = _unpacked_sizes(folder), {}
    for path in [path for path in folder.rglob("*") if path.is_file() and path != folder / RECORD]:
        name = path.relative_to(folder).as_posix()
        size = unpacked.get(name, objects.get(name, (-1, ""))[0])
        if before != url or known.get(name) != objects.get(name) or path.stat().st_size != size:
            path.unlink()
        elif name in unpacked:
            kept[name] = unpacked[name]
    _write_record(folder, url, objects, kept)


def _fetch(name: str, *, address: Address, objects: Objects, folder: Path) -> int | None:
    """Fetch one object, compare it with the pin, and only then put it in its place; returns its size if unpacked."""
    size, version = objects[name]
    target, place = folder / name, address.place(name, objects)
    part = target.with_name(f".{xxhash.xxh3_64_hexdigest(name.encode())}.part")  # a name may be as long as names can be
    target.parent.mkdir(parents=True, exist_ok=True)
    address.get(place, part)
    found = address.state_now(place, part, version)
    if found != (size, version):
        part.unlink()
        raise UserError(
            f"{place} is not what was pinned: expected {size} bytes ({version}), got {found[0]} ({found[1]}). "
            "If it was changed on purpose, take the change in with: aura source scan NAME"
        )
    unpacked = _unpack(part, name, place) if address.is_encoded(place, part) else None
    part.rename(target)
    return unpacked


def _unpack(part: Path, name: str, place: str) -> int | None:
    """Put an object's content in the place of its stored bytes, if the name does not say that these are its content.

    A file that was compressed before it was uploaded (`posts.jsonl.gz`) often has the header, too, by mistake. Raises
    `UserError` if the stored bytes are damaged, or a decompression bomb.
    """
    plain = part.with_name(f"{part.name}.plain")
    try:
        with plain.open("wb") as content:
            content.writelines(blocks(".gz", part))
    except Damaged as error:
        plain.unlink()
        part.unlink()
        raise UserError(
            f"{place} is stored with Content-Encoding: gzip, and cannot be decompressed: {error}. Store it again, then "
            "run: aura source scan NAME; or leave it out of the source with a glob"
        ) from None
    with plain.open("rb") as content:
        is_packed_still = content.read(len(GZIP)) == GZIP
    if name.lower().endswith(".gz") and not is_packed_still:
        plain.unlink()
        return None
    plain.replace(part)
    return part.stat().st_size
