"""A tokenizer for the processes that encode: two files beside the output, which each process reads once.

A task names the files and holds neither model nor table, which have up to 100 MB. The table of units is a snapshot. A
process that was forked has it already, and each goes on to learn in its own memory; no process changes the files.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path

from aura.tokenizer.tokenizer import Tokenizer

MODEL, UNITS = ".model", ".units"
_OWN: dict[Path, Tokenizer] = {}  # of the process that wrote the files, and of those it forks


@contextmanager
def handed_over(tokenizer: Tokenizer, folder: Path) -> Iterator[Callable[[], Tokenizer]]:
    """Yield a function that gives the tokenizer in any process that sees `folder`; the files are there meanwhile."""
    contents = {folder / MODEL: tokenizer.proc.serialized_model_proto()}
    if tokenizer.table is not None:
        contents[folder / UNITS] = tokenizer.table.content()
    for path, content in contents.items():
        path.write_bytes(content)
    _OWN[folder] = tokenizer
    try:
        yield partial(_loaded, folder)
    finally:
        del _OWN[folder]
        for path in contents:
            path.unlink()


def _loaded(folder: Path) -> Tokenizer:
    return _OWN[folder] if folder in _OWN else _read(folder)


@lru_cache(maxsize=1)
def _read(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_bytes((folder / MODEL).read_bytes())
    if tokenizer.table is not None:
        tokenizer.table.restore((folder / UNITS).read_bytes())
    return tokenizer
