"""Program of a pod's worker: a stage that trains, and then, once, an account of its last checkpoint.

    python -m aura.tpu.pod_run pretrain

`checkpoint.json`, beside the model, says where the checkpoint is and what is in it: its address, its step, and the size
and SHA-256 of every file. It travels back with the results, so that DVC tracks by hashes what stays in the bucket.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from etils import epath

from aura.adapt.identity import data_of
from aura.adapt.identity import run_identity as adapt_identity
from aura.adapt.options import Adapt
from aura.adapt.stage import adapt_here
from aura.core import checksums, console, files, libraries, params, paths
from aura.encode.options import Encode
from aura.pretrain import recipe
from aura.pretrain.options import PretrainSection
from aura.pretrain.stage import pretrain_here
from aura.tokenizer import opening
from aura.tokens.conversation_shards import ConversationShards
from aura.tpu.pod_stages import ADAPT, PRETRAIN, STAGES, PodStage
from aura.training import distributed
from aura.training.checkpoints import Checkpoints
from aura.training.run_identity import RunIdentity

CHECKPOINT = "checkpoint.json"
READ_AT_ONCE = 1 << 24  # bytes


def main(stage: PodStage) -> None:
    """Train, then describe the checkpoint."""
    libraries.require_locked()
    identity = RUNS[stage.name](params.section("pretrain", PretrainSection))
    if distributed.is_first():
        files.write_json(stage.model / CHECKPOINT, describe(Checkpoints(identity).folder))
        checksums.update(stage.model, [CHECKPOINT], f"dvc repro {stage.name}")


def adapt(machine: PretrainSection) -> RunIdentity:
    """Run the stage `adapt` without its gate; return the identity of the run.

    A worker that fails is started again, and a gate that is missed once is missed again. So the launch judges.
    """
    options = params.section("adapt", Adapt).model_copy(update={"max_forgetting": None})
    adapt_here(options, machine, add_bos=params.section("encode", Encode).add_bos)
    conversations = ConversationShards(paths.CONVERSATIONS, _encoding())
    return adapt_identity(options, machine, data_of(paths.LANGUAGE_MODEL, conversations))


def pretrain(section: PretrainSection) -> RunIdentity:
    """Run the stage `pretrain`; return the identity of the run."""
    return pretrain_here(recipe.decided(section))


RUNS: dict[str, Callable[[PretrainSection], RunIdentity]] = {PRETRAIN.name: pretrain, ADAPT.name: adapt}


def _encoding() -> str:
    return opening.load(paths.TOKENIZER_MODEL).encoding_sha256


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
    console.run(lambda: main(STAGES[sys.argv[1]]))
