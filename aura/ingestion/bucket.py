"""Folders behind a URL (`gs://…`, or any other that fsspec knows): pinned object by object, and fetched once.

The pin, a small file in git, names every object with its size and version (its MD5 where the store says it). What it
names is laid down in data/raw/NAME, verified; from there on it is a folder like any other. A moved pin fetches what is
new in it; a killed run goes on behind the last whole object. The price is the corpus's size on this disk.
"""

import base64
import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from aura import parallel
from aura.console import track
from aura.errors import UserError
from aura.files import read_json, write_records
from aura.ingestion.materialise import partial_folder, raw_folder
from aura.store import explained, prepare_gcsfs

RECORD = "objects.record"  # in the folder: the pin that it was fetched for
CONNECTIONS = 8
_VERSIONS = ("md5Hash", "etag", "ETag", "generation", "mtime", "created")  # the first that a store gives
Objects = dict[str, tuple[int, str]]  # by name below the URL: bytes, version


def is_url(path: str) -> bool:
    """Whether a source's place is a URL and no folder."""
    return "://" in path


def url_of(pin: Path) -> str | None:
    """The URL that a pin stands for; `None` if it stands for a folder."""
    url: str | None = read_json(pin, made_by="aura source add NAME URL").get("url")
    return url


def look(url: str, chosen: Callable[[str], bool]) -> Objects:
    """The objects below `url` that are `chosen` by their names; raises `UserError` if it cannot be listed."""
    with explained(url):
        system, root = _opened(url)
        found = system.find(root, detail=True)
    objects = {}
    for place, info in sorted(found.items()):
        name = place.removeprefix(root).lstrip("/")
        if not name or name.endswith("/") or not chosen(name):
            continue
        if PurePosixPath(name).as_posix() != name or ".." in PurePosixPath(name).parts:
            raise UserError(f"{url}: the object {name!r} has a name that no file can have. Rename it in the bucket.")
        objects[name] = int(info["size"]), _version(info)
    return objects


def write_pin(pin: Path, url: str, objects: Objects) -> None:
    """Write the pin: one line an object, so that a diff shows what changed."""
    write_records(pin, {"url": url}, "objects", ([name, *state] for name, state in objects.items()))


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
    with explained(url), ThreadPoolExecutor(CONNECTIONS) as pool:
        system, root = _opened(url)
        fetch = partial(_fetch, system=system, root=root, objects=objects, folder=growing)
        for _ in track(parallel.ordered_map(pool, fetch, missing), f"fetch {url}", len(missing)):
            pass
    if folder.exists():
        shutil.rmtree(folder)
    growing.rename(folder)
    return folder


def _read(path: Path) -> tuple[str, Objects]:
    values = read_json(path, made_by="aura source add NAME URL")
    return values["url"], {name: (size, version) for name, size, version in values["objects"]}


def _is_whole(folder: Path, url: str, objects: Objects) -> bool:
    if not (folder / RECORD).exists() or _read(folder / RECORD) != (url, objects):
        return False
    present = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    del present[RECORD]
    return present == {name: size for name, (size, _) in objects.items()}


def _keep_only_current(folder: Path, url: str, objects: Objects) -> None:
    """Remove what was fetched for another pin and is not the same in this one; then note what the rest belongs to."""
    before, known = _read(folder / RECORD) if (folder / RECORD).exists() else ("", {})
    for path in [path for path in folder.rglob("*") if path.is_file() and path != folder / RECORD]:
        name = path.relative_to(folder).as_posix()
        size, _ = objects.get(name, (-1, ""))
        if before != url or known.get(name) != objects.get(name) or path.stat().st_size != size:
            path.unlink()
    write_pin(folder / RECORD, url, objects)


def _fetch(name: str, *, system: Any, root: str, objects: Objects, folder: Path) -> None:  # noqa: ANN401
    """Fetch one object, compare it with the pin, and only then put it in its place."""
    size, version = objects[name]
    target = folder / name
    part = target.with_name(f".{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    system.get_file(f"{root}/{name}", str(part))
    came = part.stat().st_size, version
    if version.startswith("md5Hash:"):
        with part.open("rb") as file:
            digest = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).digest()
        came = came[0], f"md5Hash:{base64.b64encode(digest).decode()}"
    elif (now := _version(system.info(f"{root}/{name}"))) != version:
        came = came[0], now
    if came != (size, version):
        part.unlink()
        raise UserError(
            f"{root}/{name} is not what was pinned: expected {size} bytes ({version}), came {came[0]} ({came[1]}). "
            "If it was changed on purpose, take the change in with: aura source scan NAME"
        )
    part.rename(target)


def _version(info: dict[str, Any]) -> str:
    found = next((key for key in _VERSIONS if info.get(key)), None)
    return f"{found}:{info[found]}" if found else ""


def _opened(url: str) -> tuple[Any, str]:
    """The file system behind a URL, and the place in it."""
    prepare_gcsfs()
    from fsspec.core import url_to_fs

    system, root = url_to_fs(url)
    system.invalidate_cache()
    return system, str(root).rstrip("/")
