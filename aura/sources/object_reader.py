"""Objects behind a URL, read where they are: by the worker that extracts them, in portions, with no copy on a disk.

A pin says of each object what its bytes are (`version`) and, in Google's buckets, which writing of it that was
(`generation`). aura asks for this generation, so no request ever gets bytes of another one; where the bucket keeps old
generations, a pin stays readable. If the generation is gone, and the object has the pinned version again, that is read.
What is read from its first byte to its last is compared with the pinned MD5 or SHA-256. Otherwise, where a store has no
generations, its version is asked for once more at the end. A commit of the Hub never changes.

Each process opens its own client, with the credentials of its own machine. Memory: two portions for each open object.
"""

import base64
import hashlib
import io
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, BinaryIO, NamedTuple, cast

import xxhash

from aura.core.errors import UserError
from aura.core.shown_text import on_one_line
from aura.sources import addresses
from aura.sources.documents.compression import GZIP, Damaged, blocks
from aura.storage.store import explained, prepare_gcsfs

CONNECTIONS = 16  # small objects that a worker fetches at a time
PORTION = 8_000_000  # bytes of a request where an object is read on and on,
LEAST = 1_000_000  # and where a reader goes to and fro in it
HUB = "hf://datasets/"  # followed by OWNER/NAME@COMMIT/PATH
TRIES = 3  # of a request that gave too few bytes; the clients try each five or six times themselves
_REFUSED = (401, 403)
_IN_MEMORY = 8_000_000  # bytes of an unpacked object; more lie in a file without a name
_HASHES: dict[str, Callable[..., Any]] = {
    "md5Hash": partial(hashlib.md5, usedforsecurity=False),
    "sha256": hashlib.sha256,
}


class Stored(NamedTuple):
    """An object as its store described it when it was pinned."""

    size: int
    version: str  # a kind, a colon and a value, such as md5Hash:XrY7u+Ae7tCTyyK7j1rNww==
    generation: str = ""
    encoding: str = ""  # Content-Encoding

    @property
    def is_packed(self) -> bool:
        """Return whether the stored bytes are gzip around the content."""
        return self.encoding == "gzip"


def digest(place: str, stored: Stored) -> str:
    """The hash that stands for an object's content, without reading it.

    An MD5 or a SHA-256 means the same bytes anywhere; any other version means them in this place alone.
    """
    anywhere = stored.version.partition(":")[0] in _HASHES
    parts = (stored.version, str(stored.size), stored.encoding, "" if anywhere else place)
    return xxhash.xxh3_128_hexdigest("\0".join(parts).encode("utf-8", "surrogatepass"))


def read(place: str, stored: Stored) -> bytes:
    """The content of an object; raises `UserError` unless it can be had as it was pinned."""
    with stream(place, stored) as opened:
        return opened.read()


def stream(place: str, stored: Stored) -> BinaryIO:
    """The content of an object, as a stream that can seek; raises as `read`, here or while it is read."""
    found = _Object(place, stored)
    raw = cast("BinaryIO", io.BufferedReader(_Portions(found), LEAST))
    return _unpacked(raw, found) if found.stored.is_packed else raw


class _Object:
    """An object to read, and what is known of it by now."""

    def __init__(self, place: str, stored: Stored) -> None:
        self.place, self.size, self.stored = place, stored.size, stored
        self.client = _client(place)
        if self.client.has_generations and not stored.generation:  # of a pin that does not say it
            self.require_same()

    def fetch(self, start: int, end: int) -> bytes:
        """Bytes `start` to `end`, all of them."""
        data = b""
        for _ in range(TRIES):
            try:
                with explained(self.place, absence=self.client.look is not None):
                    data = self.client.fetch(self.place, start, end, self.stored.generation)
            except FileNotFoundError:  # or there is another generation now
                self.require_same()
                continue
            if len(data) == end - start and (len(data) < self.size or self.is_right(data)):
                return data
            self.require_same()
        raise self.damaged()

    def is_right(self, content: bytes) -> bool:
        """Return whether the whole of it has the pinned hash, if that is one of its bytes."""
        kind, _, expected = self.stored.version.partition(":")
        return kind not in _HASHES or _said(kind, _HASHES[kind](content)) == expected

    def damaged(self) -> UserError:
        """Word the error about bytes that are not those that the store says it has."""
        return UserError(
            f"{_shown(self.place)} did not arrive as it is stored: {self.size:,} bytes, {self.stored.version}. "
            "Check the network, then run the same command again."
        )

    def require_same(self) -> None:
        """Raise `UserError` unless the object has the pinned version now; note its generation and encoding.

        Of an object that never changes nothing is asked.
        """
        if self.client.look is None:
            return
        kind = self.stored.version.partition(":")[0]
        try:
            with explained(self.place, absence=True):
                info = self.client.look(self.place)
        except FileNotFoundError:
            raise UserError(
                f"{_shown(self.place)} is gone since it was pinned. Put it back; or, if it was removed on purpose, "
                "take that in with: aura source scan NAME"
            ) from None
        if (int(info["size"]), str(info.get(kind))) != (self.size, self.stored.version.partition(":")[2]):
            raise UserError(
                f"{_shown(self.place)} is not what was pinned: expected {self.size} bytes ({self.stored.version}), got "
                f"{info['size']} ({kind}:{info.get(kind)}). If it was changed on purpose, take the change in with: "
                "aura source scan NAME"
            )
        generation, encoding = (str(info.get(key) or "") for key in ("generation", "contentEncoding"))
        self.stored = self.stored._replace(generation=generation, encoding=encoding)


class _Portions(io.RawIOBase):
    """The stored bytes of an object: a portion at a time, and the next one fetched while that is used."""

    def __init__(self, found: _Object) -> None:
        self._object, self._place = found, 0
        self._start, self._held = 0, b""  # the portion, and where it begins
        self._next: tuple[int, Future[bytes]] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._kind, _, self._expected = found.stored.version.partition(":")
        self._hash, self._hashed = _HASHES[self._kind]() if self._kind in _HASHES else None, 0
        self._fetched = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._object.size}[whence]
        self._place = max(base + offset, 0)
        return self._place

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a writable buffer
        if self._place >= self._object.size:
            return 0
        if not self._start <= self._place < self._start + len(self._held):
            self._load(len(buffer))
        begin = self._place - self._start
        data = memoryview(self._held)[begin : begin + len(buffer)]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        if self._thread:
            self._thread.shutdown(cancel_futures=True)
        verified = self._hash is not None and self._hashed == self._object.size
        if self._fetched and not verified and not self._object.stored.generation:
            self._object.require_same()

    def _load(self, wanted: int) -> None:
        start, size = self._place, self._object.size
        goes_on = start > 0 and start == self._start + len(self._held)
        data = self._ahead(start)
        if data is None:
            length = PORTION if goes_on else min(max(wanted, LEAST), PORTION)
            self._held = b""
            data = self._object.fetch(start, min(start + length, size))
        self._start, self._held, self._fetched = start, data, True
        end = start + len(data)
        if goes_on and end < size:
            self._thread = self._thread or ThreadPoolExecutor(1)
            fetch = self._object.fetch
            self._next = end, self._thread.submit(fetch, end, min(end + PORTION, size))
        self._compare(start, data)

    def _ahead(self, start: int) -> bytes | None:
        """The portion that was fetched ahead, if it begins at `start`."""
        (begin, future), self._next = self._next or (-1, None), None
        return future.result() if future and begin == start else None

    def _compare(self, start: int, data: bytes) -> None:
        """Hash what follows what was hashed, and compare the whole with the pinned hash."""
        if self._hash is None or start != self._hashed:
            return
        self._hashed += len(data)
        if len(data) == self._object.size:  # compared where it was fetched
            return
        self._hash.update(data)
        if self._hashed == self._object.size and _said(self._kind, self._hash) != self._expected:
            self._object.require_same()
            raise self._object.damaged()


def _unpacked(stored: BinaryIO, found: _Object) -> BinaryIO:
    """The content of an object that is stored with Content-Encoding: gzip, in a file without a name if it is long.

    A file that was compressed before it was uploaded (`posts.jsonl.gz`) often has the header, too, by mistake: then the
    stored bytes are its content. Raises `UserError` if they are damaged, or a decompression bomb.
    """
    starts_so = stored.read(len(GZIP)) == GZIP
    stored.seek(0)
    if not starts_so:
        return stored
    plain = cast("BinaryIO", tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115 - the caller closes it
    try:
        plain.writelines(blocks(".gz", stored))
    except Damaged as error:
        plain.close()
        raise UserError(
            f"{_shown(found.place)} is stored with Content-Encoding: gzip, and cannot be decompressed: {error}. Store "
            "it again, then run: aura source scan NAME; or leave it out of the source with a glob"
        ) from None
    plain.seek(0)
    is_packed_still = plain.read(len(GZIP)) == GZIP
    keeps = found.place.lower().endswith(".gz") and not is_packed_still
    kept, other = (stored, plain) if keeps else (plain, stored)
    other.close()
    kept.seek(0)
    return kept


def _said(kind: str, found: Any) -> str:  # noqa: ANN401 - of hashlib
    """A hash as stores say it."""
    return base64.b64encode(found.digest()).decode() if kind == "md5Hash" else str(found.hexdigest())


class _Client(NamedTuple):
    """The ways to ask a store."""

    fetch: Callable[[str, int, int, str], bytes]  # of a place: bytes from, to, of a generation
    look: Callable[[str], dict[str, Any]] | None  # what it says of a place; None if nothing ever changes there
    has_generations: bool = False


def _client(place: str) -> _Client:
    if place.startswith(HUB):
        return _Client(_hub_bytes, None)
    if place.startswith(addresses.BUCKETS):
        return _Client(_bucket_bytes, _look, has_generations=True)
    return _Client(_any_bytes, _look)


def _bucket_bytes(place: str, start: int, end: int, generation: str) -> bytes:
    """As they are stored, also where the bucket would hand them out decompressed."""
    system = _bucket_system(os.environ.get("STORAGE_EMULATOR_HOST"), os.getpid())
    data: bytes = system.cat_file(place, start=start, end=end, generation=generation or None)
    return data


def _any_bytes(place: str, start: int, end: int, _: str) -> bytes:
    system, inside = _system(place.partition("://")[0], os.getpid())
    data: bytes = system.cat_file(inside(place), start=start, end=end)
    return data


def _look(place: str) -> dict[str, Any]:
    system, inside = _system(place.partition("://")[0], os.getpid())
    system.invalidate_cache()
    info: dict[str, Any] = system.info(inside(place))
    return info


def _hub_bytes(place: str, start: int, end: int, _: str) -> bytes:
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._http import hf_raise_for_status, http_backoff

    repository, _, rest = place.removeprefix(HUB).partition("@")
    commit, _, path = rest.partition("/")
    url = hf_hub_url(repository, path, repo_type="dataset", revision=commit)
    headers = build_hf_headers() | {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
    answer = http_backoff("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
    try:
        hf_raise_for_status(answer)
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in _REFUSED:
            raise UserError(
                f"{_shown(place)}: the Hub refuses access ({status}). Each machine that reads needs a token with the "
                "right to read the dataset: hf auth login, or HF_TOKEN=...; see its page if it is gated"
            ) from None
        raise
    data: bytes = answer.content
    return data


@lru_cache(4)
def _bucket_system(emulator: str | None, process: int) -> Any:  # noqa: ANN401, ARG001 - gcsfs reads the first once
    """One client for all threads of a process, which gets bytes as they are stored."""
    prepare_gcsfs()
    import fsspec

    asked = {"auto_decompress": False, "headers": {"Accept-Encoding": "gzip"}}
    return fsspec.filesystem("gs", session_kwargs=asked, use_listings_cache=False, skip_instance_cache=True)


@lru_cache(16)
def _system(protocol: str, process: int) -> tuple[Any, Callable[[str], str]]:  # noqa: ARG001 - no client outlives a fork
    address = addresses.opened(f"{protocol}://")
    return address.system, address.system._strip_protocol


def _shown(place: str) -> str:
    return on_one_line(addresses.shown(place))
