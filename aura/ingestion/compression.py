"""Compressed inputs: gzip, zstd and xz, told by the end of a file's name.

A file is used whole or not at all: the checksum that vouches for its text stands at its end, so what came out before
a fault may be wrong, and half a document is none. The price is that one missing byte loses the file, counted with
its reason. A small file that swells without end (a decompression bomb) is given up at a stated size.
"""

import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa

BLOCK_BYTES = 1 << 20
MAX_BYTES = 4_000_000_000  # out of one file
# Text shrinks 3 to 20 times, monotonous logs 100 times; zeros 1,000 times (gzip) or 10,000 times (zstd, xz).
MAX_RATIO, FREE_BYTES = 200, 64_000_000  # what comes out may be this many times the file, or this much in any case


class Damaged(Exception):
    """A compressed file that cannot be used; the message is the reason, as manifests count it."""


def _gzip(data: bytes) -> io.BufferedIOBase:
    return gzip.GzipFile(fileobj=io.BytesIO(data))


def _xz(data: bytes) -> io.BufferedIOBase:
    return lzma.LZMAFile(io.BytesIO(data))


def _zstd(data: bytes) -> Any:  # noqa: ANN401 - pyarrow has no types; the standard library has zstd from Python 3.14
    return pa.CompressedInputStream(pa.BufferReader(data), "zstd")


FORMATS: dict[str, tuple[str, Callable[[bytes], io.BufferedIOBase]]] = {
    ".gz": ("gzip", _gzip),
    ".xz": ("xz", _xz),
    ".zst": ("zstd", _zstd),
}


def plain_name(name: str) -> str:
    """A file's name without the suffix of its compression: `a.jsonl.gz` becomes `a.jsonl`."""
    suffix = _suffix(name)
    return name[: -len(suffix)] if suffix else name


def decompressed(name: str, data: bytes) -> bytes:
    """What the file called `name` holds; raises `Damaged` if it is cut short, damaged or a decompression bomb."""
    suffix = _suffix(name)
    if not suffix or not data:
        return data
    method, opened = FORMATS[suffix]
    limit = min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * len(data)))
    try:
        return _read_all(opened(data), limit)
    except EOFError:
        raise Damaged(f"truncated {method}") from None
    except (OSError, zlib.error, lzma.LZMAError) as error:  # OSError: gzip.BadGzipFile, and all that pyarrow raises
        raise Damaged(f"{'truncated' if 'Truncated' in str(error) else 'damaged'} {method}") from None


def _read_all(stream: io.BufferedIOBase, limit: int) -> bytes:
    content = io.BytesIO()  # gives its bytes away without a copy
    with stream:
        while block := stream.read(BLOCK_BYTES):
            content.write(block)
            if content.tell() > limit:
                most = "4 GB" if limit == MAX_BYTES else f"{MAX_RATIO} times its size and {FREE_BYTES // 10**6} MB"
                raise Damaged(f"decompresses to more than {most}")
    return content.getvalue()


def _suffix(name: str) -> str:
    return next((suffix for suffix in FORMATS if name.lower().endswith(suffix)), "")
