"""A store: files that never change, under their SHA-256, behind any URL that fsspec knows (`gs://BUCKET/PREFIX`).

For corpora that no disk holds. Whoever puts a file computes its hashes first: an object that is there already with the
right ones is not sent again, so a killed run goes on where it was. To verify an object, aura compares its MD5 with the
one that the store reports (Google's does), and otherwise reads it. A reader gets a copy in a file without a name,
compared with its SHA-256 before its first byte is used; it needs the room of one shard in TMPDIR, and a killed reader
leaves nothing. Object stores write whole objects or none; in a folder (`file://`) that is done here.

gcsfs tries each request six times; a transfer whose bytes are not right is tried TRIES times. Three facts about gcsfs,
as locked, are dealt with here once: it probes a bucket's layout over gRPC before each operation (200 objects took 200 s
instead of 5), it waits for a silent server for ever, and it remembers listings.
"""

import base64
import errno
import hashlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from aura.core import dvc_environment
from aura.core.errors import UserError
from aura.core.files import replaced_file
from aura.core.shown_text import without_secrets

Item = TypeVar("Item")
Found = TypeVar("Found")
BLOCK = 16_000_000  # bytes of a request
TRIES = 3
CONNECTIONS = 48  # requests at a time, where many small ones are made
PAGE, PARTS = 1000, 256  # names that a store lists in an answer; folders that names in hexadecimal digits are cut into
SILENCE = "AURA_STALL_SECONDS"  # environment variable: seconds without a byte until a request counts as lost
WAITING = 4096  # calls that wait for their turn at a time
OBJECTS = "sha256"  # the folder of the store that holds what `put` was given


def at_once(look_up: Callable[[Item], Found], items: Sequence[Item], width: int = CONNECTIONS) -> list[Found]:
    """Return the result of `look_up` for each item, in order, `width` at a time: a store takes 30 ms to answer.

    Some items wait at a time and not all, because each that waits takes 1.5 kB.
    """
    with ThreadPoolExecutor(width) as pool:
        portions = (items[start : start + WAITING] for start in range(0, len(items), WAITING))
        return [found for portion in portions for found in pool.map(look_up, portion)]


@dataclass(frozen=True, slots=True)
class Stored:
    """A file in a store, and what its bytes must be."""

    sha256: str
    md5: str
    size: int
    uri: str

    @property
    def store(self) -> str:
        """The address of the store that holds it."""
        return self.uri.removesuffix(f"/{name_of(self.sha256)}")


@dataclass(frozen=True)
class ObjectStore:
    """A place that files are put into; `url` has no slash at its end and no credentials in it."""

    url: str

    def put(self, file: Path) -> Stored:
        """Send a file, unless it is there; returns once the store holds the right bytes, or raises `UserError`."""
        stored = _described(file, self.url)
        for _ in range(TRIES):
            if is_intact(stored):
                return stored
            upload(file, stored.uri)
        if is_intact(stored):
            return stored
        raise UserError(f"{stored.uri}: what was sent did not arrive as it was. Run the same command again.")

    def sizes_and_times(self, below: str) -> dict[str, tuple[int, float]]:
        """Bytes and time of writing (seconds since 1970) of every object under the name `below`."""
        with explained(self.url):
            system, root = located(self.url)
            found = system.find(f"{root}/{below}", detail=True)
        return {place.removeprefix(f"{root}/"): (int(info["size"]), _written(info)) for place, info in found.items()}

    def listed(self, folder: str, names: Collection[str]) -> dict[str, str] | None:
        """Those of `names` that are in `folder`/00 to ff, with the MD5 that the store reports, or no text.

        None where a question for each name takes fewer requests than a list of all that is there.
        """
        wanted = set(names)
        first = self._part(folder, 0) if len(wanted) > PARTS else {}
        if PARTS * (len(first) // PAGE + 1) >= len(wanted):
            return None
        found = {name: md5 for name, md5 in first.items() if name in wanted}
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for part in pool.map(lambda number: self._part(folder, number), range(1, PARTS)):
                found |= {name: md5 for name, md5 in part.items() if name in wanted}
        return found

    def _part(self, folder: str, number: int) -> dict[str, str]:
        with explained(self.url):
            system, root = located(self.url)
            found = system.find(f"{root}/{folder}/{number:02x}", detail=True)
        return {place.removeprefix(f"{root}/"): _md5(info) for place, info in found.items()}

    def intact(self, stored: Sequence[Stored]) -> list[bool]:
        """`is_intact` of many, in order."""
        there = self.listed(OBJECTS, {name_of(one.sha256) for one in stored if one.store == self.url})

        def check(one: Stored) -> bool:
            reported = there.get(name_of(one.sha256)) if there is not None and one.store == self.url else ""
            return is_intact(one) if reported == "" else reported == one.md5

        return at_once(check, stored)

    def remove(self, names: Iterable[str]) -> None:
        """Delete objects; one that is gone already is no error."""

        def delete(name: str) -> None:
            with explained(self.url):
                system, root = located(self.url)
                with suppress(FileNotFoundError):
                    system.rm_file(f"{root}/{name}")

        at_once(delete, list(names))


def name_of(sha256: str) -> str:
    """The name, below a store's address, of the file with this hash."""
    return f"{OBJECTS}/{sha256[:2]}/{sha256[2:]}"


def is_intact(stored: Stored) -> bool:
    """Return whether the store holds exactly these bytes: by the MD5 that it reports, or by reading them."""
    try:
        with explained(stored.uri, absence=True):
            system, place = located(stored.uri)
            info = system.info(place)
        if info["size"] != stored.size:
            return False
        if reported := _md5(info):
            return reported == stored.md5
        digest = hashlib.sha256()
        for block in _blocks(stored):
            digest.update(block)
    except FileNotFoundError:
        return False
    return digest.hexdigest() == stored.sha256


@contextmanager
def fetched(stored: Stored, made_by: str) -> Iterator[BinaryIO]:
    """A copy of a stored file, of the right bytes, that lasts as long as the `with`; it has no name on this disk.

    Raises `UserError` if the object is missing or altered; the message names it and `made_by`, which makes it again.
    """
    with tempfile.TemporaryFile() as copy:
        for _ in range(TRIES):
            digest = hashlib.sha256()
            copy.seek(0)
            copy.truncate()
            for block in _readable(stored, made_by):
                digest.update(block)
                copy.write(block)
            if digest.hexdigest() == stored.sha256:
                copy.seek(0)
                yield copy
                return
    raise UserError(altered(stored, made_by))


def altered(stored: Stored, made_by: str) -> str:
    """Word the error about an object that is not there as it was put."""
    return (
        f"{stored.uri} is not there with the bytes that were put there (SHA-256 {stored.sha256[:16]}…, "
        f"{stored.size:,} bytes). To put them there again, run: {made_by} --force"
    )


def read_range(uri: str, start: int, end: int) -> bytes:
    """Bytes `start` to `end` of an object, unverified; fewer if it is shorter. Raises FileNotFoundError."""
    with explained(uri, absence=True):
        system, place = located(uri)
        content: bytes = system.cat_file(place, start=start, end=end)
        return content


def read_whole_range(stored: Stored, start: int, end: int) -> bytes:
    """The same of an object that must be there as it was put; `UserError` if it is not."""
    try:
        content = read_range(stored.uri, start, end)
    except FileNotFoundError:
        content = b""
    if len(content) != end - start:
        raise UserError(f"{stored.uri} went missing, or was altered, while it was read. Run the same command again.")
    return content


def upload(file: Path, uri: str) -> None:
    """Write a whole object, or none, in the place of what was there."""
    with explained(uri):
        system, place = located(uri)
        if not _is_folder(system):
            system.put_file(str(file), place)
            return
    with file.open("rb") as content, replaced_file(Path(place)) as copy:
        shutil.copyfileobj(content, copy)


def located(url: str) -> tuple[Any, str]:
    """The file system behind a URL, and the place in it."""
    from fsspec.core import split_protocol

    protocol, _ = split_protocol(url)
    system = _system(protocol, os.environ.get("STORAGE_EMULATOR_HOST"))
    return system, str(system._strip_protocol(url)).rstrip("/")


@contextmanager
def explained(url: str, *, absence: bool = False) -> Iterator[None]:
    """Turn a store's failures into one message that says what to do; with `absence`, FileNotFoundError stays itself."""
    from aiohttp import ClientError
    from gcsfs.retry import HttpError as BucketError
    from google.auth.exceptions import GoogleAuthError

    others: tuple[type[Exception], ...] = ()
    if "hf://" in url:
        from httpx2 import HTTPError  # what huggingface_hub lets through when there is no answer

        others = (HTTPError,)
    try:
        yield
    except ImportError as error:
        raise UserError(f"{url}: {error}. Install that package into .venv, or copy the files into a folder.") from None
    except FileNotFoundError as error:
        if absence:
            raise
        raise UserError(
            f"{url}: not found ({without_secrets(str(error))}). Check the bucket and the names in it."
        ) from None
    except (PermissionError, GoogleAuthError) as error:
        raise _refused(url, error) from None
    except UserError:
        raise
    except (BucketError, ClientError, OSError, ValueError, EOFError, RuntimeError, *others, *_libraries_own()) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        if getattr(error, "code", None) in (401, 403) or str(error).startswith("Forbidden"):  # as gcsfs says it
            raise _refused(url, error) from None
        said = " ".join(without_secrets(str(error)).split())[:300] or type(error).__name__
        raise UserError(f"{url}: {said}. Check the address and the network, then run the same command again.") from None


def _refused(url: str, error: Exception) -> UserError:
    said = " ".join(without_secrets(str(error)).split())[:300]
    return UserError(
        f"{url}: access refused ({said}). Log in (gcloud auth application-default login) and check your rights."
    )


def _libraries_own() -> tuple[type[Exception], ...]:
    """The exceptions that loaded libraries define: each file system of fsspec has its own (ftplib, botocore, paramiko).

    Those of Python itself and of aura are left out, because they speak of mistakes in the program.
    """
    python = sys.stdlib_module_names - {"ftplib", "http", "lzma", "_lzma", "tarfile", "zipfile", "zlib"}
    found = [kind for kind in Exception.__subclasses__() if kind.__module__.partition(".")[0] not in {*python, "aura"}]
    return tuple(found)


def prepare_gcsfs() -> None:
    """Set what gcsfs reads from its surroundings; the first of it only before gcsfs is imported, by whomever."""
    dvc_environment.prepare()
    import aiohttp
    import fsspec.config

    for library in ("gcsfs", "google.auth", "asyncio"):  # what they log, with traces, they raise too
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)

    patience = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=float(os.environ.get(SILENCE, "60")))
    fsspec.config.conf.setdefault("gs", {}).setdefault("requests_timeout", patience)


@lru_cache
def _system(protocol: str | None, emulator: str | None) -> Any:  # noqa: ANN401, ARG001 - gcsfs reads it once
    """One for all threads: fsspec would open connections anew for each."""
    prepare_gcsfs()
    import fsspec

    return fsspec.filesystem(protocol or "file", use_listings_cache=False, skip_instance_cache=True)


def _is_folder(system: Any) -> bool:  # noqa: ANN401 - fsspec has no types
    return "file" in ([system.protocol] if isinstance(system.protocol, str) else system.protocol)


def _described(file: Path, url: str) -> Stored:
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with file.open("rb") as content:
        while block := content.read(BLOCK):
            sha256.update(block)
            md5.update(block)
            size += len(block)
    name = sha256.hexdigest()
    return Stored(name, md5.hexdigest(), size, f"{url}/{name_of(name)}")


def _readable(stored: Stored, made_by: str) -> Iterator[bytes]:
    try:
        with explained(stored.uri, absence=True):
            system, place = located(stored.uri)
            if system.size(place) != stored.size:
                raise FileNotFoundError
        yield from _blocks(stored)
    except FileNotFoundError:
        raise UserError(altered(stored, made_by)) from None


def _blocks(stored: Stored) -> Iterator[bytes]:
    for start in range(0, stored.size, BLOCK):
        yield read_range(stored.uri, start, min(start + BLOCK, stored.size))


def _md5(info: dict[str, Any]) -> str:
    """The MD5 that a store reports of an object, or no text."""
    return base64.b64decode(info.get("md5Hash", "")).hex()


def _written(info: dict[str, Any]) -> float:
    time = info["mtime"]
    return float(time) if isinstance(time, int | float) else float(time.timestamp())
