"""A tokenizer for the processes that encode: files beside the output, which each process reads once.

A task names the files and holds neither model nor table, which have up to 100 MB. The table of units is a snapshot. A
process that was forked has it already, and each goes on to learn in its own memory; no process changes the files.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path

from aura.core import files
from aura.tokenizer import opening
from aura.tokenizer.adopted import AdoptedTokenizer
from aura.tokenizer.opening import AnyTokenizer

FOLDER, UNITS = ".tokenizer", "units"
_OWN: dict[Path, AnyTokenizer] = {}  # of the process that wrote the files, and of those it forks


@contextmanager
def handed_over(tokenizer: AnyTokenizer, folder: Path) -> Iterator[Callable[[], AnyTokenizer]]:
    """Yield a function that gives the tokenizer in any process that sees `folder`; the files are there meanwhile."""
    place = folder / FOLDER
    place.mkdir()
    for name, content in _contents(tokenizer).items():
        (place / name).write_bytes(content)
    _OWN[place] = tokenizer
    try:
        yield partial(_loaded, place)
    finally:
        del _OWN[place]
        files.remove(place)


def _contents(tokenizer: AnyTokenizer) -> dict[str, bytes]:
    if isinstance(tokenizer, AdoptedTokenizer):
        return {path.name: path.read_bytes() for path in opening.files_of(tokenizer.file).values()}
    units = {} if tokenizer.table is None else {UNITS: tokenizer.table.content()}
    return {opening.MODEL: tokenizer.proc.serialized_model_proto()} | units


def _loaded(place: Path) -> AnyTokenizer:
    return _OWN[place] if place in _OWN else _read(place)


@lru_cache(maxsize=1)
def _read(place: Path) -> AnyTokenizer:
    tokenizer = opening.load(place)
    if tokenizer.table is not None:
        tokenizer.table.restore((place / UNITS).read_bytes())
    return tokenizer
