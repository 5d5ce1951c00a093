"""zstd, frame by frame and block by block, so that memory and output are bounded and a cut is told from damage.

A block gives at most 128 kB, whatever its size. Frames may follow each other. Skippable frames are skipped.
"""

from collections.abc import Iterator
from typing import BinaryIO

import zstandard

MAGIC = b"\x28\xb5\x2f\xfd"
MAX_WINDOW = 1 << 31  # bytes, what `zstd --long=31` writes and needs; the most that zstd knows
_SKIPPED = range(0x184D2A50, 0x184D2A60)
_LEGACY = {0x1EB52FFD, *range(0xFD2FB522, 0xFD2FB528)}
_SHORTEST_HEADER = 6  # bytes that tell how long a frame's header is, and are in every frame
_RLE, _RESERVED = 1, 3  # types of blocks
_ONE_SEGMENT = 0x20  # a flag of a frame
_AT_ONCE = 1 << 20


class Damaged(Exception):
    """A compressed file that cannot be used; the message is the reason, as manifests count it."""


def behind_end(method: str) -> str:
    """The reason for a file that goes on behind its last stream with what is none."""
    return f"{method} with other bytes behind its end"


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a file's frames; raises `EOFError` if one is cut short, and `Damaged` or `ZstdError`."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
    first = True
    while magic := file.read(len(MAGIC)):
        number = int.from_bytes(magic, "little")
        if len(magic) < len(MAGIC):
            raise EOFError
        if magic == MAGIC:
            yield from _frame(file, decompressor)
        elif number in _SKIPPED:
            _skip(file, int.from_bytes(_exactly(file, 4), "little"))
        elif number in _LEGACY:
            raise Damaged("zstd of a version before 0.8")
        else:
            raise Damaged("damaged zstd" if first else behind_end("zstd"))
        first = False


def _frame(file: BinaryIO, decompressor: zstandard.ZstdDecompressor) -> Iterator[bytes]:
    header = MAGIC + _exactly(file, _SHORTEST_HEADER - len(MAGIC))
    header += _exactly(file, zstandard.frame_header_size(header) - len(header))
    if _window(header) > MAX_WINDOW:
        raise Damaged("zstd with a window above 2 GB")
    frame = zstandard.get_frame_parameters(header)
    if frame.dict_id:
        raise Damaged(f"zstd that needs dictionary {frame.dict_id}")
    content = decompressor.decompressobj()
    yield content.decompress(header)
    last = False
    while not last:
        start = _exactly(file, 3)
        number = int.from_bytes(start, "little")
        last, kind, size = bool(number & 1), number >> 1 & 3, number >> 3
        if kind == _RESERVED:
            raise Damaged("damaged zstd")
        yield content.decompress(start + _exactly(file, 1 if kind == _RLE else size))
    if frame.has_checksum:
        yield content.decompress(_exactly(file, 4))
    if not content.eof:
        raise Damaged("damaged zstd")


def _window(header: bytes) -> int:
    """The window that a frame's header asks for, in bytes; 0 if its content is its window."""
    flags, window = header[len(MAGIC)], header[len(MAGIC) + 1]
    smallest = 1 << (10 + (window >> 3))
    return 0 if flags & _ONE_SEGMENT else smallest + smallest // 8 * (window & 7)


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _skip(file: BinaryIO, size: int) -> None:
    while size:
        size -= len(_exactly(file, min(size, _AT_ONCE)))
