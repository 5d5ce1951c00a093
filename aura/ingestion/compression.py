"""Compressed inputs: gzip, zstd and xz, told by the end of a file's name.

A file is used whole or not at all: the checksum that vouches for its text stands at its end, so what came out before
a fault may be wrong, and half a document is none. The price is that one missing byte loses the file, counted with
its reason. A small file that swells without end (a decompression bomb) is given up at a stated size.
"""

import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

BLOCK_BYTES = 1 << 20
# Text shrinks 3 to 20 times, monotonous logs 100 times; zeros 1,000 times (gzip) or 10,000 times (zstd, xz).
MAX_RATIO, FREE_BYTES = 200, 64_000_000  # what comes out may be this many times the file, or this much in any case


class Damaged(Exception):
    """A compressed file that cannot be used; the message is the reason, as manifests count it."""


def _gzip(file: BinaryIO) -> io.BufferedIOBase:
    return gzip.GzipFile(fileobj=file)


def _xz(file: BinaryIO) -> io.BufferedIOBase:
    return lzma.LZMAFile(file)


def _zstd(file: BinaryIO) -> Any:  # noqa: ANN401 - pyarrow has no types; the standard library has zstd from Python 3.14
    return pa.CompressedInputStream(file, "zstd")


FORMATS: dict[str, tuple[str, Callable[[BinaryIO], io.BufferedIOBase]]] = {
    ".gz": ("gzip", _gzip),
    ".xz": ("xz", _xz),
    ".zst": ("zstd", _zstd),
}

_SUFFIXES = tuple(FORMATS)


def plain_name(name: str) -> str:
    """A file's name without the suffix of its compression: `a.jsonl.gz` becomes `a.jsonl`."""
    suffix = _suffix(name)
    return name[: -len(suffix)] if suffix else name


def is_compressed(name: str) -> bool:
    """Whether a file's name says that it is compressed."""
    return bool(_suffix(name))


def decompressed(name: str, data: bytes) -> bytes:
    """What the file called `name` holds; raises `Damaged` if it is cut short, damaged or a decompression bomb."""
    if not is_compressed(name) or not data:
        return data
    content = io.BytesIO()  # gives its bytes away without a copy
    for block in _blocks(name, io.BytesIO(data), len(data)):
        content.write(block)
    return content.getvalue()


def checked_size(name: str, path: Path) -> int:
    """Bytes that a file of any size holds, decompressed once to the end for its checksum; raises as `decompressed`."""
    size = path.stat().st_size
    if not is_compressed(name) or not size:
        return size
    with path.open("rb") as file:
        return sum(len(block) for block in _blocks(name, file, size))


@contextmanager
def opened(name: str, path: Path) -> Iterator[Any]:
    """A file's content as a stream, of a file that `checked_size` found whole."""
    with path.open("rb") as file:
        if not is_compressed(name):
            yield file
            return
        with FORMATS[_suffix(name)][1](file) as stream:
            yield stream


def _blocks(name: str, file: BinaryIO, size: int) -> Iterator[bytes]:
    method, opener = FORMATS[_suffix(name)]
    limit, came = max(FREE_BYTES, MAX_RATIO * size), 0
    try:
        with opener(file) as stream:
            while block := stream.read(BLOCK_BYTES):
                came += len(block)
                if came > limit:
                    raise Damaged(f"decompresses to more than {MAX_RATIO} times its size and {FREE_BYTES // 10**6} MB")
                yield block
    except EOFError:
        raise Damaged(f"truncated {method}") from None
    except (OSError, zlib.error, lzma.LZMAError) as error:  # OSError: gzip.BadGzipFile, and all that pyarrow raises
        raise Damaged(f"{'truncated' if 'Truncated' in str(error) else 'damaged'} {method}") from None


def _suffix(name: str) -> str:
    name = name.lower()
    return next((suffix for suffix in FORMATS if name.endswith(suffix)), "") if name.endswith(_SUFFIXES) else ""
