"""Objects behind a URL, through fsspec: their sizes and versions, and their bytes as they are stored.

A URL may name a folder, one object, or a pattern (`gs://bucket/2024-*/*.txt`). An object's version is the first of
the store's own MD5, generation and etag. If a store gives none of them, or no size, the object is read, and its
SHA-256 is its version: a date says nothing of content, and a listing of a plain web server not even that.

An address that holds a secret is refused, because it is written into a pin, which git keeps.
"""

import base64
import hashlib
import posixpath
import re
import tempfile
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from aura.core import parallel
from aura.core.errors import UserError
from aura.core.shown_text import holds_secret, without_secrets
from aura.storage.store import prepare_gcsfs

CONNECTIONS = 8
BUCKETS = ("gs://", "gcs://")
CONTENT = "sha256"  # the kind of version that is a hash of the object's bytes
_VERSIONS = ("md5Hash", "generation", "etag", "ETag")  # the first that a store gives; an etag may be of metadata, too


def is_url(path: str) -> bool:
    """Return whether a source's place is a URL and no folder."""
    return "://" in path


def shown(url: str) -> str:
    """A URL as it may be printed: without user, password and query."""
    return without_secrets(url) if holds_secret(url) else url


def require_no_secret(url: str) -> None:
    """Raise `UserError` if a URL holds a password, or what looks like a key in its query."""
    if holds_secret(url):
        raise UserError(
            f"{shown(url)}: the address holds a user, password or key, and it would be written into a file that git "
            "keeps. Leave it out, and give it to fsspec instead: in ~/.config/fsspec/conf.json or in the variables "
            "that its library reads"
        )


@dataclass(frozen=True)
class Address:
    """A URL that was opened: its file system, and the place in it, without a slash at its end."""

    url: str
    system: Any
    root: str

    @property
    def connections(self) -> int:
        """The number of requests that its library can take at a time: one, if it keeps a single connection or file."""
        return CONNECTIONS if self.system.async_impl else 1

    def places(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Place and what the listing says of each object, by its name below the folder (or its own, of an object)."""
        found = self.system.find(self.root, detail=True)
        if not found and self._is_pattern():
            found, base = self._matches(), self._fixed()
        elif list(found) == [self.root] and not self.url.endswith("/"):
            return {self._own_name(): (self.root, found[self.root])}
        else:
            base = self._folder()
        if not found:
            self._require_listing(base)
        named = ((place, place.removeprefix(base).lstrip("/"), info) for place, info in sorted(found.items()))
        places = {self._name(name): (place, info) for place, name, info in named if self._is_object(name)}
        if self.is_one(places):
            raise UserError(
                f"{self.url} is a folder that holds an object of its own name. Write it with a / at its end."
            )
        return places

    def _require_listing(self, folder: str) -> None:
        """Raise what listing a folder raises: a search finds nothing where a server does not answer."""
        with suppress(FileNotFoundError):
            self.system.ls(folder, detail=False)

    def place(self, name: str, names: Collection[str]) -> str:
        """Return the place of the object `name`, which is one of `names` that `places` gave."""
        if self.is_one(names):
            return self.root
        base = self._fixed() if self._is_pattern() and self._matched(names) else self._folder()
        return base + (quote(name) if self._is_web() else name)

    def is_one(self, names: Collection[str]) -> bool:
        """Return whether the URL names an object, and no folder or pattern; `names` are those that `places` gave."""
        return list(names) == [self._own_name()] and not self.url.endswith("/")

    def described(self, place: str, info: dict[str, Any]) -> tuple[int, str]:
        """Bytes and version of an object; it is read where the store does not say them."""
        if version := self._version(info):
            return version
        if version := self._version(self.system.info(place)):
            return version
        with tempfile.NamedTemporaryFile() as copy:
            self.get(place, Path(copy.name))
            return hash_of(Path(copy.name), CONTENT)

    def all_described(self, places: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, tuple[int, str]]:
        """The same of many, by name."""
        with ThreadPoolExecutor(self.connections) as pool:
            states = parallel.ordered_map(pool, lambda found: self.described(*found), places.values())
            return dict(zip(places, states, strict=True))

    def state_now(self, place: str, file: Path, version: str) -> tuple[int, str]:
        """Bytes and version, of the kind that `version` is, of what was fetched from `place` into `file`."""
        kind = version.partition(":")[0]
        if kind in ("md5Hash", CONTENT):
            return hash_of(file, kind)
        return file.stat().st_size, f"{kind}:{self.system.info(place).get(kind)}"

    def get(self, place: str, target: Path) -> None:
        """Fetch an object's bytes."""
        self.system.get_file(place, str(target))

    def writing(self, info: dict[str, Any]) -> tuple[str, str]:
        """Generation and Content-Encoding of an object in a bucket of Google, as the listing says; empty elsewhere."""
        if not self.url.startswith(BUCKETS):
            return "", ""
        return str(info.get("generation") or ""), str(info.get("contentEncoding") or "")

    def _version(self, info: dict[str, Any]) -> tuple[int, str] | None:
        found = next((key for key in _VERSIONS if info.get(key)), None)
        if found is None or info.get("size") is None or str(info[found]).startswith("W/"):  # of the same meaning only
            return None
        return int(info["size"]), f"{found}:{info[found]}"

    def _is_object(self, name: str) -> bool:
        """Return whether a name is an object's: listings hold folders, and those of web servers sorting links."""
        return bool(name) and not name.endswith("/") and not (self._is_web() and ("?" in name or "#" in name))

    def _name(self, name: str) -> str:
        """Return the name of an object here."""
        return posixpath.normpath(unquote(name)) if self._is_web() else name

    def _own_name(self) -> str:
        path = urlsplit(self.root).path if self._is_web() else self.root
        name = path.rstrip("/").rpartition("/")[2]
        return unquote(name) if self._is_web() else name

    def _is_pattern(self) -> bool:
        return "*" in self.root if self._is_web() else re.search(r"[*?\[]", self.root) is not None

    def _folder(self) -> str:
        return f"{self.root}/" if self.root else ""

    def _fixed(self) -> str:
        """The folder before the first part of a pattern that is one, with a slash at its end."""
        parts = self.root.split("/")
        first = next(number for number, part in enumerate(parts) if re.search(r"[*?\[]", part))
        return "".join(f"{part}/" for part in parts[:first])

    def _matches(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for place, info in self.system.glob(self.root, detail=True).items():
            found |= self.system.find(place, detail=True) if info["type"] == "directory" else {place: info}
        return found

    def _matched(self, names: Collection[str]) -> bool:
        """Return whether names were found by the pattern, and not in a folder that is called like one."""
        from fsspec.utils import glob_translate

        matches = re.compile(glob_translate(self.root)).match
        base = self._fixed()
        above = ((base + str(part) for part in (path, *path.parents)) for path in map(PurePosixPath, names))
        return all(any(map(matches, places)) for places in above)

    def _is_web(self) -> bool:
        return self.url.startswith(("http://", "https://"))


def opened(url: str) -> Address:
    """The file system behind a URL, and the place in it; a secret in the URL is a `UserError`."""
    require_no_secret(url)
    prepare_gcsfs()
    from fsspec.core import url_to_fs

    try:
        system, root = url_to_fs(url)
    except (TypeError, AttributeError) as error:  # raised by a file system that its URL alone does not describe
        raise UserError(
            f"{url}: fsspec cannot open it by its address alone ({error}). Copy the files into a folder."
        ) from None
    system.invalidate_cache()
    return Address(url, system, str(root).rstrip("/"))


def hash_of(file: Path, kind: str) -> tuple[int, str]:
    """Size of a file, and the version that its bytes have: `md5Hash:` in Base64 as buckets say it, or `sha256:`."""
    with file.open("rb") as content:
        if kind == CONTENT:
            return file.stat().st_size, f"{kind}:{hashlib.file_digest(content, 'sha256').hexdigest()}"
        digest = hashlib.file_digest(content, partial(hashlib.md5, usedforsecurity=False)).digest()
    return file.stat().st_size, f"{kind}:{base64.b64encode(digest).decode()}"
