"""Uploads and downloads objects, retrying in rounds until every hash is verified. Objects that still fail are reported.

DVC's own mover moves them, into and out of DVC's own cache. What is decided here is which to move: DVC (3.67.1) goes by
names, so it takes a damaged object, or one that its local index remembers, for a good one, and it puts what it
downloads into the cache before it looks at it. The price is a listing of the bucket before and after an upload (a
request per 1,000 objects), and the MD5 of what is uploaded, and of what is here already when others are downloaded
(about 0.6 GB a second and core; a project remembers what it verified: `aura/sharing/verified.py`).

Each object is whole or absent on either side, so whatever interrupts a transfer, the next one goes on from there.
"""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dvc.utils import dict_sha256

from aura.core import console
from aura.core.bounded import Unreadable, read_yaml
from aura.core.errors import UserError
from aura.core.outside_names import object_hash
from aura.sharing.remote import ABSENT, DvcRemote, TransferError
from aura.sharing.verified import Verified, md5
from aura.storage.placement import at_once

PAUSES = (0, 1, 3, 9)  # seconds before each round; within a round, gcsfs itself tries a request six times
PATIENCE = 45.0  # seconds; a bucket that has not answered for so long is not asked again
HASHED = os.cpu_count() or 1  # files at a time
BATCH = 32  # objects that are on their way at a time
LARGEST_RUN = 200_000  # bytes of a run's record, which take 4 s to parse; those of aura have 5,000
SHOWN = 20  # of the objects that did not move, in an error
CHECKED = (
    0o444  # the file mode by which DVC takes a cached object for right; a power cut may leave it empty all the same
)
ALTERED = "arrived with other bytes"
GONE = "is neither here nor in the bucket"
DAMAGED = "is damaged: its bytes do not have its hash"
DAMAGED_HERE = "is damaged on this machine, so it was not uploaded"
_RUN = re.compile(r"runs/[0-9a-f]{2}/[0-9a-f]{64}/[0-9a-f]{64}")
_NOT_HASHED = ["size", "nfiles"]  # of a run's record
_ABANDONED = 24 * 3600.0  # seconds; a download's folder of this age has no writer any more


@dataclass(frozen=True)
class RemoteObject:
    """An object by its name, which is the same in bucket and cache, and the MD5 of its bytes."""

    name: str
    md5: str
    label: str = ""  # what it is a part of, as the user knows it


@dataclass
class Moved:
    """Result of a transfer: the objects it moved, their bytes, and how many were there already."""

    names: set[str] = field(default_factory=set)
    bytes: int = 0
    present: int = 0

    def add(self, folder: Path, names: Iterable[str]) -> None:
        """Count objects that moved from or to `folder`."""
        new = [name for name in names if name not in self.names]
        self.names.update(new)
        self.bytes += sum((folder / name).stat().st_size for name in new)


def item(oid: str, label: str) -> RemoteObject:
    """The object that DVC knows by the hash `oid` (with `.dir` at the end for a folder's list of files).

    Raises `UserError` if `oid` is no hash.
    """
    object_hash(oid, label or "an object's name")
    return RemoteObject(f"files/md5/{oid[:2]}/{oid[2:]}", oid.removesuffix(".dir"), label)


def upload(store: DvcRemote, folder: Path, items: list[RemoteObject], *, force: bool = False) -> Moved:
    """Bring `items` from `folder` to the store, folders' lists after the files they name, until the store holds all.

    Raises `UserError` with what it does not hold in the end.
    """
    items = _distinct(items)
    work = _Upload(store, folder, items, again={item.name for item in items} if force else set())
    failed = _in_rounds(work.attempt, GONE, DAMAGED_HERE)
    if failed:
        raise _incomplete(failed, items, store)
    work.moved.present = len(items) - len(work.moved.names)
    return work.moved


@dataclass
class _Upload:
    """An upload under way: what must get there, and what it did so far."""

    store: DvcRemote
    folder: Path
    items: list[RemoteObject]
    again: set[str]  # names that are sent although the store holds them
    moved: Moved = field(default_factory=Moved)

    def attempt(self) -> dict[str, str]:
        """Send what the store does not hold; returns, by name, why objects did not get there."""
        todo = self._missing()
        failed = _unfit(self.folder, todo)
        fit = [item.name for item in todo if item.name not in failed]
        failed |= self._send([name for name in fit if not _names_others(name)])
        if not failed:  # what names others goes last, and only when these are there
            failed = self._send([name for name in fit if _names_others(name)])
        if todo and not failed:
            failed = {item.name: ALTERED for item in self._missing()}
        return failed

    def _missing(self) -> list[RemoteObject]:
        held = self.store.held(item.name for item in self.items)
        return [item for item in self.items if held.get(item.name) != item.md5 or item.name in self.again]

    def _send(self, names: list[str]) -> dict[str, str]:
        """Send objects in batches, until one of these gets nothing through; returns why objects failed, by name."""
        failed: dict[str, str] = {}
        for batch in _batches(names, "uploading"):
            failures = self.store.upload(self.folder, batch)
            sent = [name for name in batch if name not in failures]
            failed |= failures
            self.again.difference_update(sent)
            self.moved.add(self.folder, sent)
            if not sent:
                break
        return failed


def download(
    store: DvcRemote,
    folder: Path,
    items: list[RemoteObject],
    moved: Moved | None = None,
    verified: Verified | None = None,
) -> Moved:
    """Bring `items` from the store to `folder`, each only after its bytes were found to have its hash.

    Needs no network for what is in `folder`, undamaged: all of it is hashed, but for what `verified` remembers. Raises
    `UserError` with what did not arrive.
    """
    moved, items, verified = moved or Moved(), _distinct(items), verified or Verified()
    by_name = {item.name: item for item in items}
    with staging(folder) as place:

        def attempt() -> dict[str, str]:
            failed: dict[str, str] = {}
            here = at_once(lambda item: verified.holds(folder / item.name, item.md5), items, HASHED)
            todo = [item.name for item, is_here in zip(items, here, strict=True) if not is_here]
            if todo:
                store.reach()
            for batch in _batches(todo, "downloading"):
                arrivals = [place / str(number) for number in range(len(batch))]
                failures = store.download(batch, arrivals)
                for name, arrival in zip(batch, arrivals, strict=True):
                    if name not in failures and not accept(arrival, by_name[name], folder):
                        failures[name] = DAMAGED
                failed |= failures
                moved.add(folder, [name for name in batch if name not in failures])
                if len(failures) == len(batch) and set(failures.values()).isdisjoint((ABSENT, DAMAGED)):
                    break  # nothing gets through at all
            return failed

        failed = _in_rounds(attempt, ABSENT)
    if failed:
        raise _incomplete(failed, items, store)
    moved.present = len(items) - len(moved.names.intersection(by_name))
    return moved


def shared_runs(store: DvcRemote) -> list[RemoteObject]:
    """The records of runs that the store holds."""
    found: dict[str, str] = {}

    def attempt() -> dict[str, str]:
        found.update(store.held(below="runs"))
        return {}

    failed = _in_rounds(attempt, ABSENT)
    if failed:
        raise _incomplete(failed, [], store)
    return [RemoteObject(name, md5, "a run's record") for name, md5 in found.items() if _RUN.fullmatch(name)]


def run_outputs(path: Path, name: str) -> set[str] | None:
    """The hashes of a run's outputs; None if the record at `path` is not the one that its `name` says.

    A record's name, `runs/../KEY/VALUE`, ends with the hash of command, dependencies and names of outputs, and the hash
    of all of it. DVC looks for a record by its key and then writes the outputs that stand in it, unseen.
    """
    try:
        if path.stat().st_size > LARGEST_RUN:
            return None
        record = read_yaml(path.read_text(encoding="utf-8"))
        outputs = {object_hash(out["md5"], str(path)) for out in record["outs"]}
        value = dict_sha256(record, exclude=_NOT_HASHED)
        key = dict_sha256(record | {"outs": [out["path"] for out in record["outs"]]}, exclude=_NOT_HASHED)
    except (OSError, Unreadable, UnicodeDecodeError, TypeError, KeyError, UserError):
        return None
    return outputs if name.endswith(f"/{key}/{value}") else None


def _in_rounds(attempt: Callable[[], dict[str, str]], *final: str) -> dict[str, str]:
    """Call `attempt` until it reports no failure, or only such for the reasons `final`; returns its last report."""
    failed: dict[str, str] = {}
    began = time.monotonic()
    for pause in PAUSES:
        if failed:
            reason = failed.get("") or f"{len(failed):,} objects did not get through"
            console.err.print(f"{reason}; trying again", markup=False)
        time.sleep(pause)
        try:
            failed = attempt()
        except TransferError as error:
            failed = {"": str(error)}
            if time.monotonic() - began > PATIENCE:
                break
        if all(reason in final for reason in failed.values()):
            break
    return failed


def accept(arrival: Path, item: RemoteObject, folder: Path) -> bool:
    """Move a downloaded file into its place if its bytes are right; otherwise remove it."""
    target = folder / item.name
    right = md5(arrival) == item.md5
    if right and item.name.startswith("runs/"):
        right = run_outputs(arrival, item.name) is not None
    if not right:
        arrival.unlink()
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    if not item.name.startswith("runs/"):
        arrival.chmod(CHECKED)
    arrival.replace(target)
    return True


def _unfit(folder: Path, items: list[RemoteObject]) -> dict[str, str]:
    """Why those of `items` cannot be uploaded that are not in `folder`, or not with their bytes."""
    found = at_once(lambda item: _reason(folder / item.name, item.md5), items, HASHED)
    return {item.name: reason for item, reason in zip(items, found, strict=True) if reason}


def _reason(path: Path, digest: str) -> str | None:
    try:
        return None if md5(path) == digest else DAMAGED_HERE
    except FileNotFoundError:
        return GONE


def _names_others(name: str) -> bool:
    """Return whether an object is a folder's list of files, or a run's record of its outputs."""
    return name.endswith(".dir") or name.startswith("runs/")


def _distinct(items: Iterable[RemoteObject]) -> list[RemoteObject]:
    return list({item.name: item for item in items}.values())


def _batches(names: list[str], description: str) -> Iterator[list[str]]:
    """`names` in portions, with progress shown by name."""
    batch: list[str] = []
    for name in console.track(names, description, len(names)):
        batch.append(name)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A folder in `folder`, for what is not yet checked; those that killed transfers left are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(".arriving-*"):
        if time.time() - old.stat().st_mtime > _ABANDONED:
            shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".arriving-", dir=folder) as staging:
        yield Path(staging)


def _incomplete(failed: dict[str, str], items: list[RemoteObject], store: DvcRemote) -> UserError:
    """Return the error about objects that did not get through: which and why, and what to do about it."""
    shown = ((item.name, item.label if item.label.isprintable() else repr(item.label)) for item in items)
    labels = {name: f"{label} ({name}) " for name, label in shown}
    lines = [f"  {labels.get(name, '')}{reason}" for name, reason in sorted(failed.items())]
    if len(lines) > SHOWN:
        lines[SHOWN:] = [f"  and {len(lines) - SHOWN:,} more"]
    remedies = {
        ABSENT: "on a machine that has it, run: aura push",
        DAMAGED: "on a machine that has it, run: aura push --force",
        GONE: "make it again: dvc repro",
        DAMAGED_HERE: "remove it with: aura repair; then make it again: dvc repro, or: aura pull",
    }
    reasons = set(failed.values())
    advice = [remedy for reason, remedy in remedies.items() if reason in reasons]
    if not reasons.issubset(remedies):
        advice.insert(0, "run the same command again: what has arrived stays")
    return UserError(f"this machine and {store.url} do not hold the same yet:\n" + "\n".join([*lines, *advice]))
