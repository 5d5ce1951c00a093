"""Program of a pod's worker: the stage `pretrain`, and then, once, an account of its last checkpoint.

`models/lm/checkpoint.json` says where the checkpoint is and what is in it: its address, its step, and the size and
SHA-256 of every file. It travels back with the results, so that DVC tracks by hashes what stays in the bucket.
"""

import hashlib
from pathlib import Path
from typing import Any

from etils import epath

from aura.core import checksums, console, files, libraries, params, paths
from aura.model import weights
from aura.pretrain import stage
from aura.pretrain.identity import run_identity
from aura.pretrain.options import Pretrain
from aura.tokenizer.tokenizer import Tokenizer
from aura.tokens.token_shards import TokenShards
from aura.training import distributed
from aura.training.checkpoints import Checkpoints

CHECKPOINT = "checkpoint.json"
READ_AT_ONCE = 1 << 24  # bytes


def main() -> None:
    """Train, then describe the checkpoint."""
    libraries.require_locked()
    options = params.section("pretrain", Pretrain)
    stage.pretrain_here(options)
    if distributed.is_first():
        shards = TokenShards(paths.TOKENS, Tokenizer.load(paths.TOKENIZER_MODEL).encoding_sha256)
        folder = Checkpoints(run_identity(options, shards.sha256)).folder
        files.write_json(paths.LANGUAGE_MODEL / CHECKPOINT, describe(folder))
        checksums.update(paths.LANGUAGE_MODEL, [CHECKPOINT], weights.MADE_BY)


def describe(folder: str) -> dict[str, Any]:
    """Return the place of a run's newest checkpoint, and size and SHA-256 of its files; step null if it saved none."""
    kept = epath.Path(folder)
    steps = [int(path.name) for path in kept.iterdir() if path.name.isdigit()] if kept.exists() else []
    if not steps:
        return {"uri": folder, "step": None, "files": {}}
    newest = kept / str(max(steps))
    return {"uri": str(newest), "step": max(steps), "files": dict(sorted(_accounts(newest, Path())))}


def _accounts(folder: epath.Path, inside: Path) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for path in folder.iterdir():
        name = inside / path.name
        if path.is_dir():
            found += _accounts(path, name)
        else:
            found.append((name.as_posix(), _account(path)))
    return found


def _account(path: epath.Path) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(READ_AT_ONCE):
            digest.update(piece)
            size += len(piece)
    return {"bytes": size, "sha256": digest.hexdigest()}


if __name__ == "__main__":
    console.run(main)
