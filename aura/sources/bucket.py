"""Sources behind a URL (`gs://…`, or any other that fsspec knows): listed, pinned object by object, and read.

The pin, a small file in git, names every object with its size and version (`addresses.py`). One listing makes it, and a
run lists nothing. Where the store tells versions and gives parts of objects, workers read them where they are
(`object_reader.py`), and an object with the version of the run before is not asked for. Others are fetched first
(`copies.py`).
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from aura.core.outside_names import relative_names
from aura.sources import copies, object_reader, url_pins
from aura.sources.addresses import CONTENT, Address, opened
from aura.sources.input_files import HIDDEN, InputFile, files_below, is_hidden, stamp_of
from aura.sources.url_pins import Objects
from aura.storage.store import explained

_COMMIT = re.compile(rf"{object_reader.HUB}[^/@]+/[^/@]+@[0-9a-f]{{40}}(/|$)")


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
        described = address.all_described(found)
        return {
            name: object_reader.Stored(*state, *address.writing(found[name][1])) for name, state in described.items()
        }


def is_read_in_place(url: str, found: Objects) -> bool:
    """Return whether a pin's objects are read where they are: a bucket's, or those of a commit of the Hub."""
    if _COMMIT.match(url):
        return True
    if "::" in url or url.startswith(("http://", "https://")):
        return False
    return not any(state.version.startswith(f"{CONTENT}:") for state in found.values())


def files(pin: Path, chosen: Callable[[str], bool], *, hidden: bool = False) -> list[InputFile]:
    """The files that a pin names and that are `chosen` by their names; those that must be fetched are fetched now.

    Hidden ones are given as such and not read, unless `hidden`, or the URL names just one.
    """
    url, found = url_pins.read(pin)
    protocol, _, root = url.rpartition("://")
    address = Address(url, None, root.rstrip("/"))
    one = address.is_one(found)
    if not is_read_in_place(url, found):
        folder = copies.materialise(pin)
        return files_below(folder, lambda name: name != copies.RECORD and (one or chosen(name)), hidden=hidden or one)
    if not found:
        return []
    name = next(iter(found))
    folder_url = f"{protocol}://{address.place(name, found).removesuffix(name).rstrip('/')}"
    return sorted(_in_place(folder_url, found, lambda name: one or chosen(name), hidden=hidden or one))


def _in_place(folder: str, found: Objects, chosen: Callable[[str], bool], *, hidden: bool) -> Iterator[InputFile]:
    """Yield the objects as files of a folder: hidden ones as such, a hidden folder as one."""
    passed = set()
    for name, state in found.items():
        if not hidden and is_hidden(name):
            parts = name.split("/")
            depth = next(depth for depth in range(1, len(parts) + 1) if is_hidden(parts[depth - 1]))
            top = "/".join(parts[:depth])
            if top not in passed and (depth < len(parts) or chosen(name)):
                yield InputFile(top, folder, top, 0, stamp_of(HIDDEN), HIDDEN)
            passed.add(top)
        elif chosen(name):
            stamp = stamp_of(object_reader.digest(f"{folder}/{name}", state))
            yield InputFile(name, folder, name, state.size, stamp, stored=state)
