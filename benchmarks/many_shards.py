"""What it takes to open a corpus and tokens of 70,000 shards in each split; `scale.py --only manifests` runs it.

    python benchmarks/many_shards.py FOLDER {write,corpus,tokens}

The shards are links to a few files: opening them reads no shard.
"""

import argparse
import hashlib
import json
import os
import resource
import time
from pathlib import Path

from aura.core import checksums, files
from aura.encode import corpus_checks
from aura.tokens import token_shards
from aura.tokens.token_shards import ShardEntry, TokenShards

SHARDS = 70_000  # in each split
LINKS = 30_000  # of one file: the file system allows twice as many
SIZES = {".npy": 1200, ".parquet": 700}  # of a file, in bytes


def write(folder: Path) -> None:
    """Write both folders."""
    paths = [f"{split}/web-{number:06d}" for split in ("train", "held_out") for number in range(SHARDS)]
    for name, suffixes in (("corpus", (".parquet",)), ("tokens", (".npy", ".parquet"))):
        for split in ("train", "held_out"):
            (folder / name / split).mkdir(parents=True)
        for suffix in suffixes:
            for number, path in enumerate(paths):
                if number % LINKS == 0:
                    linked = folder / f"{name}-{number}{suffix}"
                    linked.write_bytes(bytes(SIZES[suffix]))
                os.link(linked, folder / name / f"{path}{suffix}")
    entries = [
        ShardEntry(path, "web", 500, 60_000 + number, 250_000, *_described(path, ".npy"), *_described(path, ".parquet"))
        for number, path in enumerate(paths)
    ]
    token_shards.write_manifest(folder / "tokens", "x", 32_000, {}, entries)
    for split in ("train", "held_out"):
        mine = {f"{path[len(split) + 1 :]}.parquet": _hash(path) for path in paths if path.startswith(split)}
        checksums.write(folder / "corpus" / split, mine)
    records = [
        {"path": f"{path}.parquet", "source": "web", "split": path.partition("/")[0], "documents": 500}
        | {"bytes": 250_000, "sha256": _hash(path)}
        for path in sorted(paths)
    ]
    sealed = checksums.sealed({"format": 1, "hash": {"train": "x", "held_out": "x"}, "files": records})
    del sealed["files"]
    files.write_records(folder / "corpus/manifest.json", sealed, "files", records)


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _described(path: str, suffix: str) -> tuple[int, str]:
    return SIZES[suffix], _hash(path + suffix)


def opened(folder: Path, what: str) -> dict[str, float]:
    """Open one of them; returns CPU seconds and the growth of this process's largest memory, in bytes."""
    before, began = _peak(), time.process_time()
    if what == "tokens":
        held: object = TokenShards(folder / "tokens", "x")
    else:
        held = corpus_checks.read_corpus(folder / "corpus")
    took = time.process_time() - began
    del held
    return {"cpu": took, "bytes": _peak() - before}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Write, or open, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=["write", "corpus", "tokens"])
    options = parser.parse_args()
    if options.what == "write":
        write(options.folder)
    else:
        print(json.dumps(opened(options.folder, options.what)))


if __name__ == "__main__":
    main()
