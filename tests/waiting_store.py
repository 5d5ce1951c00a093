"""A store whose every request takes a while, as a bucket's does, and that counts them: a folder of this machine."""

import base64
import hashlib
import shutil
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import fsspec
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

PAGE = 1000  # names in an answer


class WaitingFileSystem(AbstractFileSystem):
    """`waiting:///folder`; all of it for this process alone.

    Attributes:
        delay: seconds that a request takes.
        requests: how many of each kind there were.
        busy: seconds in which a request or more was under way, and the seconds of all requests together.
    """

    protocol = "waiting"
    delay = 0.0
    requests: ClassVar[Counter[str]] = Counter()
    busy: ClassVar[list[float]] = [0.0, 0.0]
    under_way, changed = 0, 0.0
    _lock: ClassVar = threading.Lock()
    _md5s: ClassVar[dict[str, str]] = {}

    @classmethod
    def begin(cls, delay: float) -> None:
        """Count from zero."""
        cls.delay, cls.requests, cls.busy = delay, Counter(), [0.0, 0.0]

    @classmethod
    @contextmanager
    def _request(cls, kind: str, number: int = 1) -> Iterator[None]:
        cls._change(1)
        cls.requests[kind] += number
        time.sleep(cls.delay * number)
        cls._change(-1)
        yield

    @classmethod
    def at_once(cls) -> float:
        """The requests that were under way at a time, on average."""
        return cls.busy[1] / max(cls.busy[0], 1e-9)

    @classmethod
    def _change(cls, number: int) -> None:
        with cls._lock:
            passed, cls.changed = time.monotonic() - cls.changed, time.monotonic()
            cls.busy[0] += passed if cls.under_way else 0.0
            cls.busy[1] += passed * cls.under_way
            cls.under_way += number

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(path).removeprefix("waiting://").rstrip("/")

    def _described(self, path: str) -> dict[str, Any]:
        found, md5 = Path(path).stat(), self._md5(path)
        return {"name": path, "type": "file", "size": found.st_size, "mtime": found.st_mtime, "md5Hash": md5}

    def _md5(self, path: str) -> str:
        if path not in self._md5s:
            digest = hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).digest()
            self._md5s[path] = base64.b64encode(digest).decode()
        return self._md5s[path]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        with self._request("info"):
            return self._described(self._strip_protocol(path))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        with self._request("read"), Path(self._strip_protocol(path)).open("rb") as file:
            file.seek(start or 0)
            return file.read() if end is None else file.read(end - (start or 0))

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        with self._request("write"):
            target = Path(self._strip_protocol(rpath))
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{uuid.uuid4().hex}")
            shutil.copyfile(lpath, partial)
            self._md5s.pop(str(target), None)
            partial.replace(target)

    def rm_file(self, path: str) -> None:
        with self._request("delete"):
            Path(self._strip_protocol(path)).unlink()

    def find(self, path: str, detail: bool = False, **_: Any) -> Any:
        paths = [str(one) for one in Path(self._strip_protocol(path)).rglob("*") if one.is_file()]
        with self._request("list", len(paths) // PAGE + 1):
            return {one: self._described(one) for one in sorted(paths)} if detail else sorted(paths)

    def _open(self, path: str, mode: str = "rb", block_size: Any = None, **_: Any) -> "_Opened":
        return _Opened(self, path, mode, block_size or 1 << 20)


class _Opened(AbstractBufferedFile):
    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.cat_file(self.path, start, end)


fsspec.register_implementation("waiting", WaitingFileSystem, clobber=True)
