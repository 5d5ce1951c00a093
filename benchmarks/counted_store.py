"""A folder that answers as a bucket does, and writes down each request: for `scale.py`, which counts them.

Processes find it through `sitecustomize.py`. The log names the kind of a request and its bytes.
"""

import base64
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem

LOG = "COUNTED_REQUESTS"  # environment variable: the file of the log
SITECUSTOMIZE = "import fsspec\nfsspec.register_implementation('counted', 'counted_store.Counted')\n"


def _log(kind: str, size: int = 0) -> None:
    log = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{kind} {size}\n".encode())
    os.close(log)


class Counted(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The requests that `aura/storage` makes."""

    protocol = "counted"
    cachable = False

    def info(self, path: str, **_: object) -> dict[str, Any]:
        """Size and MD5 of an object."""
        _log("read")
        return self._described(Path(self._strip_protocol(path)))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: object) -> bytes:
        """A range of an object."""
        content = Path(self._strip_protocol(path)).read_bytes()[start:end]
        _log("read", len(content))
        return content

    def put_file(self, lpath: str, rpath: str, **_: object) -> None:
        """Write an object."""
        target = Path(self._strip_protocol(rpath))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(lpath, target)
        _log("write", target.stat().st_size)

    def find(self, path: str, **_: object) -> dict[str, dict[str, Any]]:
        """List all objects below a name."""
        _log("write")  # a listing costs as much as a write
        files = (file for file in Path(self._strip_protocol(path)).rglob("*") if file.is_file())
        return {str(file): self._described(file) for file in files}

    def rm_file(self, path: str) -> None:
        """Remove an object; buckets ask nothing for that."""
        Path(self._strip_protocol(path)).unlink()

    @staticmethod
    def _described(file: Path) -> dict[str, Any]:
        stat = file.stat()
        digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).digest()
        return {
            "name": str(file),
            "type": "file",
            "size": stat.st_size,
            "mtime": stat.st_mtime,
            "md5Hash": base64.b64encode(digest).decode(),
        }
