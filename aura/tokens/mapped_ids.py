"""The ids of .npy files on this disk: a file is mapped into memory when it is read, and few are at a time.

A map holds one of the process's open files, of which there are 1,024 as a rule, and a set may have 100,000 shards.
So a quarter of that limit, and at most 256 maps, stay open, those that were used last. Opening one again takes 50 µs.
"""

import os
import resource
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aura.core.errors import UserError

MOST_MAPS = 256
Ids = npt.NDArray[np.unsignedinteger[Any]]
Stamp = tuple[int, int, int]  # inode, size and time of modification (ns) of a file


@dataclass(frozen=True)
class MappedIds:
    """The ids of one file; what is read is a copy, so that no reader keeps a map open."""

    path: Path
    length: int
    dtype: np.dtype[Any]
    begin: int  # of the ids in the file, in bytes
    stamp: Stamp

    @classmethod
    def of(cls, path: Path) -> "MappedIds | None":
        """Read the header of a .npy file; None if it is no array of one dimension. Nothing stays open."""
        with path.open("rb") as file:
            try:
                np.lib.format.read_magic(file)  # np.save writes another version than 1.0 for structured arrays alone
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            except ValueError:
                return None
            return cls(path, shape[0], dtype, file.tell(), _stamp(file.fileno())) if len(shape) == 1 else None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, wanted: slice) -> Ids:
        return np.array(_maps()(self)[wanted])


@cache
def _maps() -> Any:  # noqa: ANN401 - the type of `lru_cache` hides what it takes
    """`_opened`, which remembers the maps that were used last; threads may share it, and so may forked processes."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return lru_cache(MOST_MAPS if files == resource.RLIM_INFINITY else max(1, min(MOST_MAPS, files // 4)))(_opened)


def _opened(ids: MappedIds) -> Ids:
    try:
        with ids.path.open("rb") as file:
            if _stamp(file.fileno()) == ids.stamp:
                return np.memmap(file, ids.dtype, "r", ids.begin, (ids.length,))
    except FileNotFoundError:
        pass
    raise UserError(f"{ids.path} went missing, or was altered, while it was read. Run the same command again.")


def _stamp(descriptor: int) -> Stamp:
    found = os.fstat(descriptor)
    return found.st_ino, found.st_size, found.st_mtime_ns
