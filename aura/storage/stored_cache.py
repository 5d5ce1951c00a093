"""The action cache in a store, for corpora that no disk holds. It keeps records; shards are objects beside it.

All who use the store share it. Objects are whole or absent, and know when they were written but not when they were
read; so the entries written first go first, and only when someone asks: one machine's limit says nothing of what the
others need. A look-up costs a request; one for a part, another. Many are looked up in a list of all entries, which is
asked for once.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from aura.storage.cache import Cache, Entry
from aura.storage.store import ObjectStore, at_once, read_range, upload


@dataclass(frozen=True)
class StoredCache(Cache):
    """Entries in a store; `folder` is a place in it."""

    store: ObjectStore

    @property
    def address(self) -> str:
        """The place of the entries, to be read."""
        return f"{self.store.url}/{self.folder}"

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of an entry."""
        return read_range(self._uri(key), start, end)

    def get_all(self, keys: Sequence[str]) -> list[Entry | None]:
        """`get` of many, in order, without a request for those that are not there."""
        known = self._known(keys)
        return at_once(lambda key: self.get(key) if known is None or key in known else None, keys)

    def there(self, keys: Sequence[str]) -> set[str]:
        """Those of `keys` that have an entry; where a list tells so, its bytes were not looked at."""
        known = self._known(keys)
        return super().there(keys) if known is None else known

    def _known(self, keys: Sequence[str]) -> set[str] | None:
        """Those of `keys` that the store lists; None where it was not asked for a list."""
        names = {self.path(key).as_posix(): key for key in keys}
        found = self.store.listed(self.folder.as_posix(), names)
        return None if found is None else {names[name] for name in found}

    def remove(self, *keys: str) -> None:
        """Remove entries, as far as they are there."""
        self.store.remove([self.path(key).as_posix() for key in keys])

    def prune_own(self, max_bytes: float) -> None:
        """Nothing: the entries are everyone's."""

    def _uri(self, key: str) -> str:
        return f"{self.store.url}/{self.path(key).as_posix()}"

    def _may_end_at(self, key: str, size: int) -> bool:  # noqa: ARG002 - each part is checked when read
        return True

    def _mark_used(self, key: str) -> None:
        pass

    @contextmanager
    def _new_file(self, key: str) -> Iterator[tuple[IO[bytes], Path]]:  # noqa: ARG002
        """A file without a name in TMPDIR, of which a killed process leaves nothing."""
        with tempfile.TemporaryFile() as file:
            yield file, Path(f"/dev/fd/{file.fileno()}")

    def _keep_file(self, file: Path, key: str, name: str) -> None:
        raise NotImplementedError(f"{file}: files in a store are objects, see aura/storage/placement.py")

    def _publish(self, file: Path, key: str) -> None:
        upload(file, self._uri(key))

    def _remove_abandoned(self, parts: list[str]) -> None:
        pass

    def _listed(self) -> tuple[list[tuple[float, int, str]], list[str]]:
        found = self.store.sizes_and_times(self.folder.as_posix())
        return [(written, size, Path(name).name) for name, (size, written) in found.items()], []
