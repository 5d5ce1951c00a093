"""`shards.json`: the shards of a folder that lie in a store; of very many shards, a list of lists.

Up to MOST_LINES shards, the list has a line for each (format 1). Of more shards, each line is about an inner list
(format 2): a list of the first kind, which is an object in the store under its own hash, as a shard is. So DVC moves
and hashes a file of less than 1 MB, whatever the corpus. An inner list holds neighbours by name, and ends where a hash
of a name says so. A shard more or less therefore changes one inner list; the others stay the objects that they were.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_type_hints

import xxhash

from aura.core import bounded
from aura.core.errors import UserError
from aura.core.files import read_object, require_shape, write_records
from aura.core.outside_names import relative_names
from aura.core.shown_text import without_secrets
from aura.storage.store import ObjectStore, Stored, at_once, fetched, name_of

LIST = "shards.json"
FORMAT, FORMAT_OF_LISTS = 1, 2
MOST_LINES = 4096
INNER_SHARDS = 1024  # of an inner list, on average; it doubles as long as there would be more than INNER_LISTS
INNER_LISTS = 2048
_FIELDS = get_type_hints(Stored)
_SHARD = {"name": str} | _FIELDS
_SHA256 = re.compile("[0-9a-f]{64}")
_INNER = {"shards": int, "bytes": int} | _FIELDS


def write(folder: Path, named: Mapping[str, Stored]) -> None:
    """Write the list of the shards of a folder, by their names; inner lists go to the store of the shards first."""
    names = sorted(named)
    if len(names) <= MOST_LINES:
        _write_shards(folder / LIST, named, names)
        return
    with tempfile.TemporaryDirectory(prefix="aura-") as scratch:
        lines = at_once(lambda some: _put(Path(scratch, some[0]), named, some), list(_cut(names)))
        write_records(folder / LIST, {"format": FORMAT_OF_LISTS}, "lists", lines)


def _write_shards(path: Path, named: Mapping[str, Stored], names: Iterable[str]) -> None:
    records = ({"name": name} | asdict(named[name]) for name in names)
    write_records(path, {"format": FORMAT}, "shards", records)


def _put(path: Path, named: Mapping[str, Stored], names: Sequence[str]) -> dict[str, Any]:
    """Send an inner list, which is written at `path` for that, and return the line about it."""
    _write_shards(path, named, names)
    stored = ObjectStore(named[names[0]].store).put(path)
    path.unlink()
    return {"shards": len(names), "bytes": sum(named[name].size for name in names)} | asdict(stored)


def _cut(names: Sequence[str]) -> Iterator[list[str]]:
    """Cut sorted names into inner lists: one ends with each name whose hash is a multiple of the average size."""
    average = INNER_SHARDS
    while len(names) > average * INNER_LISTS:
        average *= 2
    inner: list[str] = []
    for name in names:
        inner.append(name)
        if xxhash.xxh3_64_intdigest(name.encode()) % average == 0:
            yield inner
            inner = []
    if inner:
        yield inner


def read(path: Path, made_by: str) -> dict[str, Stored]:
    """The shards that a list names, by their names; inner lists are fetched, and compared with their hashes.

    Raises:
        UserError: the list, or an inner one, is missing, altered or no list. It names `made_by`, which makes it again.
    """
    inner, shards = _listed(path, made_by)
    for found in at_once(lambda line: _of_inner(line, made_by), inner):
        if twice := shards.keys() & found.keys():
            raise UserError(f"{path}: two of its lists name {min(twice)}. Run: {made_by} --force")
        shards |= found
    return shards


def names_of_objects(path: Path, made_by: str) -> set[str]:
    """The names, below a store's address, of all that a list needs: its inner lists and its shards."""
    inner, _ = _listed(path, made_by)
    return {name_of(one.sha256) for one in (*map(_stored, inner), *read(path, made_by).values())}


def _listed(path: Path, made_by: str) -> tuple[list[dict[str, Any]], dict[str, Stored]]:
    """The lines about inner lists and the shards that a file names, without those of the lists; it has one kind."""
    listed = read_object(path, made_by)
    if listed.get("format") == FORMAT_OF_LISTS:
        require_shape(path, listed, made_by, lists=[_INNER])
        _require_places(listed["lists"], str(path), made_by)
        return listed["lists"], {}
    if listed.get("format") != FORMAT:
        expected = f"expected format {FORMAT} or {FORMAT_OF_LISTS}"
        raise UserError(f"{path}: {expected}, got {listed.get('format')!r:.80}. Run: {made_by}")
    require_shape(path, listed, made_by, shards=[_SHARD])
    return [], _by_name(listed, str(path), made_by)


def _of_inner(line: dict[str, Any], made_by: str) -> dict[str, Stored]:
    """The shards of an inner list, whose bytes and numbers are those that the outer one knows."""
    inner = _stored(line)
    with fetched(inner, made_by) as file:
        content = file.read()
    try:
        listed = bounded.read_json(content)
        wrong = bounded.mismatch(listed, {"format": int, "shards": [_SHARD]})
    except bounded.Unreadable as error:
        wrong = str(error)
    if not wrong and listed["format"] != FORMAT:
        wrong = f"format: expected {FORMAT}, got {listed['format']}"
    if wrong:
        raise UserError(f"{inner.uri}: expected a list of shards. {wrong}. Run: {made_by} --force")
    shards = _by_name(listed, inner.uri, made_by)
    expected, got = (line["shards"], line["bytes"]), (len(shards), sum(one.size for one in shards.values()))
    if got != expected:
        words = [f"{number:,} shards of {size:,} bytes" for number, size in (expected, got)]
        raise UserError(f"{inner.uri}: expected {words[0]}, got {words[1]}. Run: {made_by} --force")
    return shards


def _by_name(listed: dict[str, Any], origin: str, made_by: str) -> dict[str, Stored]:
    """The shards of a list; their names are those of files of one folder, because stages name their outputs so."""
    names = relative_names((record["name"] for record in listed["shards"]), origin)
    if wrong := next((name for name in names if "/" in name), None):
        raise UserError(f"{origin}: expected names of files, without a folder, got {wrong!r:.80}. Run: {made_by}")
    _require_places(listed["shards"], origin, made_by)
    return {record["name"]: _stored(record) for record in listed["shards"]}


def _require_places(records: Iterable[Mapping[str, Any]], origin: str, made_by: str) -> None:
    """Raise `UserError` unless each record's address is that of an object under its hash, as a store has them."""
    for record in records:
        if not _SHA256.fullmatch(record["sha256"]) or not record["uri"].endswith(f"/{name_of(record['sha256'])}"):
            wrong = f"{without_secrets(record['uri'])!r:.200} for {record['sha256']!r:.80}"
            raise UserError(f"{origin}: expected addresses of objects under their SHA-256, got {wrong}. Run: {made_by}")


def _stored(record: Mapping[str, Any]) -> Stored:
    return Stored(**{name: record[name] for name in _FIELDS})
