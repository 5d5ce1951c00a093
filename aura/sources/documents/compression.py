"""Compressed inputs: gzip, bzip2, xz, lzma and zstd, told by how a file begins, or by the end of its name.

A file is used whole or not at all: the checksum that vouches for its text stands at its end, so what came out before
a fault may be wrong, and half a document is none. The price is that one missing byte loses the file, counted with
its reason. A small file that swells without end (a decompression bomb) is given up at a stated size.

aura reads all that the programs of these formats read: streams behind each other, padding between them, and what
zstd has of its own (`zstd_frames`). A sound file that cannot be read is lost with its true reason.
"""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import zstandard
from isal import igzip, isal_zlib

from aura.sources.documents import zstd_frames
from aura.sources.documents.zstd_frames import Damaged as Damaged

BLOCK_BYTES = 1 << 20
# Text shrinks 3 to 20 times, monotonous logs 100 times; zeros 1,000 times (gzip) or 10,000 times (zstd, xz).
MAX_RATIO, FREE_BYTES = 200, 64_000_000  # what comes out may be this many times the file, or this much in any case
_LONGEST_MAGIC = 6
_GZIP_ERROR: type[Exception] = isal_zlib.error  # type: ignore[assignment] # its types call it an instance


def _gzip(file: BinaryIO) -> io.BufferedIOBase:
    return igzip.IGzipFile(fileobj=file)  # type: ignore[no-untyped-call] # in 40 % of the time of Python's own


def _bzip2(file: BinaryIO) -> io.BufferedIOBase:
    return as_stream(_streams(file, "bzip2", bz2.BZ2Decompressor))


def _xz(file: BinaryIO) -> io.BufferedIOBase:
    return as_stream(_streams(file, "xz", lzma.LZMADecompressor))


def _lzma(file: BinaryIO) -> io.BufferedIOBase:
    return as_stream(_streams(file, "lzma", lzma.LZMADecompressor))


def _zstd(file: BinaryIO) -> io.BufferedIOBase:
    return as_stream(zstd_frames.blocks(file))


# By suffix: the method, what reads it, and how its files begin (lzma has no mark; zstd's are in `zstd_frames`).
FORMATS: dict[str, tuple[str, Callable[[BinaryIO], io.BufferedIOBase]]] = {
    ".gz": ("gzip", _gzip),
    ".bz2": ("bzip2", _bzip2),
    ".xz": ("xz", _xz),
    ".lzma": ("lzma", _lzma),
    ".zst": ("zstd", _zstd),
    ".zstd": ("zstd", _zstd),
}
GZIP = b"\x1f\x8b"  # how it begins
_MAGIC = {GZIP: ".gz", b"BZh": ".bz2", b"\xfd7zXZ\0": ".xz", zstd_frames.MAGIC: ".zst"}
_MAGIC_OF = {FORMATS[suffix][0]: magic for magic, suffix in _MAGIC.items()}

_SUFFIXES = tuple(FORMATS)


def plain_name(name: str) -> str:
    """A file's name without the suffix of its compression: `a.jsonl.gz` becomes `a.jsonl`."""
    suffix = _suffix(name)
    return name[: -len(suffix)] if suffix else name


def is_compressed(name: str) -> bool:
    """Return whether a file's name says that it is compressed."""
    return bool(_suffix(name))


def decompressed(name: str, data: bytes) -> bytes:
    """Decompress the file called `name`; raises `Damaged` if it is cut short, damaged or a decompression bomb."""
    if not is_compressed(name) or not data:
        return data
    content = io.BytesIO()  # gives its bytes away without a copy
    for block in _blocks(name, io.BytesIO(data), len(data)):
        content.write(block)
    return content.getvalue()


def blocks(name: str, file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a file of any size, block by block; raises as `decompressed`, perhaps at the last one."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if is_compressed(name) and size:
        yield from _blocks(name, file, size)
        return
    while block := file.read(BLOCK_BYTES):
        yield block


def _blocks(name: str, file: BinaryIO, size: int) -> Iterator[bytes]:
    method, opener = _format(name, file)
    limit, came = max(FREE_BYTES, MAX_RATIO * size), 0
    try:
        with opener(file) as stream:
            while block := stream.read(BLOCK_BYTES):
                came += len(block)
                if came > limit:
                    raise Damaged(f"decompresses to more than {MAX_RATIO} times its size and {FREE_BYTES // 10**6} MB")
                yield block
    except (EOFError, gzip.BadGzipFile, _GZIP_ERROR):
        raise Damaged(_reason_of_gzip(file) if method == "gzip" else f"truncated {method}") from None
    except zstandard.ZstdError as error:
        out_of_memory = "memory" in str(error)
        raise Damaged("zstd with a window larger than the memory" if out_of_memory else "damaged zstd") from None
    except (OSError, lzma.LZMAError):  # OSError: of bzip2
        raise Damaged(f"damaged {method}") from None


def _reason_of_gzip(file: BinaryIO) -> str:
    """Why a gzip file cannot be used, by Python's own reader: that of ISA-L takes a few odd bytes for a cut."""
    file.seek(0)
    begins_well = file.read(len(GZIP)) == GZIP
    file.seek(0)
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            while stream.read(BLOCK_BYTES):
                pass
    except EOFError:
        return "truncated gzip"
    except gzip.BadGzipFile as error:
        if begins_well and "Not a gzipped file" in str(error):
            return zstd_frames.behind_end("gzip")
    except zlib.error:
        pass
    return "damaged gzip"


def _streams(file: BinaryIO, method: str, new: Callable[[], Any]) -> Iterator[bytes]:
    """Yield the content of a file's streams, one behind the other, with zeros between them or behind the last."""
    magic = _MAGIC_OF.get(method, b"")
    rest, first = file.read(BLOCK_BYTES), True
    while rest:
        if not first and not rest.startswith(magic[: len(rest)]):
            raise Damaged(zstd_frames.behind_end(method))
        stream, first = new(), False
        while not stream.eof:
            if stream.needs_input and not rest and not (rest := file.read(BLOCK_BYTES)):
                raise EOFError
            yield stream.decompress(rest, BLOCK_BYTES)
            rest = b""
        rest = stream.unused_data.lstrip(b"\0")
        while not rest and (block := file.read(BLOCK_BYTES)):
            rest = block.lstrip(b"\0")


class _Pieces(io.RawIOBase):
    """Pieces of bytes, some of them empty, as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._held = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a writable buffer
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._held = memoryview(piece)
        size = min(len(buffer), len(self._held))
        buffer[:size], self._held = self._held[:size], self._held[size:]
        return size


def as_stream(pieces: Iterator[bytes]) -> io.BufferedIOBase:
    """Pieces of bytes as a file; what raises while they are made, raises where they are read."""
    return io.BufferedReader(_Pieces(pieces), BLOCK_BYTES)


def _format(name: str, file: BinaryIO) -> tuple[str, Callable[[BinaryIO], io.BufferedIOBase]]:
    """The format of an open file: as it begins, otherwise as it is named."""
    start = file.read(_LONGEST_MAGIC)
    file.seek(0)
    return FORMATS[next((suffix for magic, suffix in _MAGIC.items() if start.startswith(magic)), _suffix(name))]


def _suffix(name: str) -> str:
    name = name.lower()
    return next((suffix for suffix in FORMATS if name.endswith(suffix)), "") if name.endswith(_SUFFIXES) else ""
