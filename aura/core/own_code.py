"""The code of each stage in the installed package, as a hash.

In a clone, dvc.yaml lists folders of aura among the dependencies of a stage. A project that `aura init` made has no
such folders. There, versions.json holds these hashes under `aura`, and each stage lists its own among its params
(`aura.encode`). 1 MB of modules takes some 10 ms.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import xxhash

from aura.core.shipped import PACKAGE, PIPELINE


def of_stages() -> dict[str, str]:
    """The hash of each stage's code: of all files that the shipped pipeline lists for it, by stage."""
    known: dict[Path, str] = {}
    return {stage: _hash_of(modules, known) for stage, modules in listed(PIPELINE.read_text(encoding="utf-8")).items()}


def listed(pipeline: str) -> dict[str, list[str]]:
    """The files and folders of aura that the text of a dvc.yaml lists among the dependencies of each stage."""
    found: dict[str, list[str]] = {}
    stage = ""
    for line in pipeline.splitlines():
        if heading := re.fullmatch(r"  (\w+):", line):
            stage = heading[1]
        elif dependency := re.fullmatch(r" +- (aura/\S+)", line):
            found.setdefault(stage, []).append(dependency[1])
    return found


def _hash_of(modules: list[str], known: dict[Path, str]) -> str:
    digest = xxhash.xxh3_128()
    for module in sorted(modules):
        for path in _files(PACKAGE.parent / module):
            if path not in known:
                known[path] = xxhash.xxh3_128_hexdigest(path.read_bytes())
            digest.update(f"{path.relative_to(PACKAGE).as_posix()}\0{known[path]}\n".encode())
    return digest.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    """A file itself, or all files below a folder but bytecode."""
    if not path.is_dir():
        yield path
        return
    for entry in sorted(path.iterdir()):
        if entry.name != "__pycache__":
            yield from _files(entry)
