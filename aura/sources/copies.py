"""Objects that are fetched before they are read: those of sources that cannot be read where they are.

Web servers, servers of files (ftp, sftp) and archives (`zip://::https://…`) tell no version of an object, or give no
part of one. Only reading an object whole tells whether it is the pinned one, and each change of an option would fetch
all of them again. So aura verifies these objects and writes them to data/raw/NAME; from there on it is a folder like
any other. A moved pin fetches what is new in it; a killed run goes on behind the last whole object. The price is the
corpus's size on this disk.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import xxhash

from aura.core import parallel
from aura.core.console import track
from aura.core.errors import UserError
from aura.core.files import place_folder
from aura.sources import url_pins
from aura.sources.addresses import Address, opened
from aura.sources.materialise import partial_folder, raw_folder
from aura.sources.url_pins import Objects
from aura.storage.store import explained

RECORD = "objects.record"  # in the folder: the pin that it was fetched for


def materialise(pin: Path) -> Path:
    """The folder with the objects that the pin names, fetched now unless they are there already."""
    wanted, folder = url_pins.read(pin), raw_folder(pin)
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
            for _ in fetched:
                pass
    url_pins.write(growing / RECORD, url, objects)
    place_folder(growing, folder)
    return folder


def _is_whole(folder: Path, url: str, objects: Objects) -> bool:
    if not (folder / RECORD).exists() or url_pins.read(folder / RECORD) != (url, objects):
        return False
    present = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    del present[RECORD]
    return present == {name: state.size for name, state in objects.items()}


def _keep_only_current(folder: Path, url: str, objects: Objects) -> None:
    """Remove what was fetched for another pin and is not the same in this one; then note what the rest belongs to."""
    before, known = url_pins.read(folder / RECORD) if (folder / RECORD).exists() else ("", {})
    for path in [path for path in folder.rglob("*") if path.is_file() and path != folder / RECORD]:
        name = path.relative_to(folder).as_posix()
        wanted = objects.get(name)
        if before != url or known.get(name) != wanted or wanted is None or path.stat().st_size != wanted.size:
            path.unlink()
    url_pins.write(folder / RECORD, url, objects)


def _fetch(name: str, *, address: Address, objects: Objects, folder: Path) -> None:
    """Fetch one object, compare it with the pin, and only then put it in its place."""
    size, version = objects[name][:2]
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
    part.rename(target)
