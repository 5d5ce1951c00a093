"""Checkpoints: what lets a killed run end in the same bytes as an undisturbed one.

They lie in `pretrain.checkpoint_folder`, outside of DVC's outputs (DVC deletes those before a stage reruns), below
a key: the hash of the token manifest, of every option that decides a loss, and of the code and libraries that train.
So a changed corpus, tokenizer, hyperparameter or training code never finds a stale checkpoint. Not in the key:

- where the weights lie (`fsdp`, `tensor`): a run resumes on other devices, with losses equal to about 1e-4;
- `steps` of a wsd schedule: up to its decay a longer run is the same run. `usable` says which checkpoints those are.

Orbax writes them in the background (arrays by tensorstore, to a folder that is renamed when complete; on gs:// a
marker is written last), and the run's history of losses is in there too. One that is incomplete is never read.
"""

import errno
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aura import cache, console
from aura.data import batches, streams, token_shards
from aura.errors import UserError
from aura.params import Pretrain
from aura.self_teaching_llm import attention, cross_entropy, evaluation, mesh, model, optimizer, training
from aura.store import prepare_gcsfs

CODE = (batches, streams, token_shards, attention, cross_entropy, evaluation, mesh, model, optimizer, training)
LIBRARIES = ("flax", "jax", "jaxlib", "numpy", "optax")
PLACEMENT = {"where", "fsdp", "tensor"}
AFTERWARDS = {"checkpoint_folder", "checkpoint_every"}  # decide no loss
KEPT = 2  # newest checkpoints, beside the best one and the one at which a decay began
SAVE_TIMEOUT = 600  # seconds for which processes wait for each other at a save


def run_key(options: Pretrain, tokens: str) -> str:
    """The hash of everything that decides the run's losses; `tokens` is the hash of the token manifest."""
    kept = options.model_dump(exclude=PLACEMENT | AFTERWARDS)
    if options.schedule == "wsd":
        del kept["steps"]
    return cache.action_key(tokens, kept, cache.code_key(CODE, LIBRARIES))


def usable(step: int, written_for: int, options: Pretrain) -> bool:
    """Whether a run of `options` passes through the state that a run of `written_for` steps had after `step` steps."""
    if written_for == options.steps:
        return step <= options.steps
    before = options.model_copy(update={"steps": written_for})
    return step <= min(optimizer.steps_before_decay(before), optimizer.steps_before_decay(options))


@dataclass(frozen=True)
class Restored:
    """What a checkpoint holds: the state after `step` steps, and what the run recorded by then."""

    step: int
    state: training.State
    record: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run.

    Arguments:
        options: of the run.
        tokens: hash of the token manifest.
    """

    def __init__(self, options: Pretrain, tokens: str) -> None:
        self._options, self._key = options, run_key(options, tokens)
        self.folder = f"{options.checkpoint_folder.rstrip('/')}/{self._key}"
        self._manager: Any = None
        self._saving: int | None = None
        if "://" in self.folder:
            prepare_gcsfs()  # else it warns, for one, of each rename that a server has it do as a copy and a deletion

    @property
    def worthwhile(self) -> bool:
        """Whether the run is long enough to save anything; a shorter one does not even load Orbax (2 s)."""
        return self._options.steps >= self._options.checkpoint_every

    def restore(self, target: training.State) -> Restored | None:
        """The newest complete checkpoint this run passes through, placed as `target` (`mesh.abstract`) says, or None.

        Newer ones, of a run of another length, are removed: they would stand in the way of this run's own.

        Raises:
            UserError: it cannot be read.
        """
        if not self.worthwhile:
            return None
        import orbax.checkpoint as ocp

        for step in self._steps():
            record = self._read(step, ocp.args.Composite(record=ocp.args.JsonRestore()))["record"]
            if usable(step, record["steps"], self._options):
                found = self._read(step, ocp.args.Composite(state=ocp.args.StandardRestore(target)))
                return Restored(step, found["state"], record)
            self._open().delete(step)
        return None

    def due(self, step: int) -> bool:
        """Whether to save after `step` steps: every so many, and where the schedule's decay begins."""
        if not self.worthwhile:
            return False
        every, decay = self._options.checkpoint_every, optimizer.steps_before_decay(self._options)
        return step % every == 0 or step == decay

    def save(self, step: int, state: training.State, record: dict[str, Any], metrics: dict[str, float] | None) -> None:
        """Begin to save; returns once the state is copied from the devices. `metrics` are those taken at this step."""
        import orbax.checkpoint as ocp

        self.check()
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record | {"steps": self._options.steps})
        )
        self._saving = step
        with self._writing():
            self._open().save(step, args=items, metrics=metrics, force=True)

    def check(self) -> None:
        """Raise a `UserError` if a save in the background has failed."""
        if self._manager is not None:
            with self._writing():
                self._manager.check_for_errors()

    def close(self) -> None:
        """Wait for the save under way."""
        if self._manager is not None:
            with self._writing():
                self._manager.wait_until_finished()
                self._manager.close()

    def _open(self) -> Any:  # noqa: ANN401 - an Orbax manager
        if self._manager is None:
            import orbax.checkpoint as ocp
            from etils import epath

            policies = ocp.checkpoint_managers
            decay = optimizer.steps_before_decay(self._options)
            kept = [
                policies.LatestN(KEPT),
                policies.BestN(
                    get_metric_fn=lambda metrics: metrics["bits_per_byte"],
                    reverse=True,
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
                policies.CustomSteps([decay]),
            ]
            folder = epath.Path(self.folder)
            options = ocp.CheckpointManagerOptions(
                create=True,
                preservation_policy=policies.AnyPreservationPolicy(kept),
                async_options=ocp.AsyncOptions(
                    timeout_secs=SAVE_TIMEOUT,
                    create_directories_asynchronously=False,  # else threads wait for minutes after a failure
                ),
            )
            self._manager = ocp.CheckpointManager(
                folder if "://" in self.folder else folder.absolute(),
                options=options,
                item_handlers={"state": ocp.StandardCheckpointHandler(), "record": ocp.JsonCheckpointHandler()},
            )
        return self._manager

    def _steps(self) -> Sequence[int]:
        """Steps of the complete checkpoints, the newest first."""
        from etils import epath

        if not epath.Path(self.folder).exists():
            return []
        manager, steps = self._open(), []
        for step in sorted(manager.all_steps(), reverse=True):
            if _completed(epath.Path(self.folder) / str(step)):
                steps.append(step)
            else:
                console.err.print(f"{self.folder}/{step} was never completed; it is removed", markup=False)
                manager.delete(step)
        return steps

    def _read(self, step: int, items: Any) -> Any:  # noqa: ANN401 - Orbax's arguments and results
        try:
            return self._open().restore(step, args=items)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.folder}/{step}: expected a whole checkpoint, but it cannot be read ({_brief(error)}). "
                "Remove that folder, and the run goes on from the checkpoint before it."
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Word a failed save, whenever Orbax reports it."""
        try:
            yield
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.folder}: the checkpoint of step {self._saving} could not be written ({_brief(error)}). "
                f"{_remedy(error)}, then run the same command again: it goes on from the last whole one."
            ) from error


def _completed(checkpoint: Any) -> bool:  # noqa: ANN401 - a path of etils
    """Whether a checkpoint bears the time at which Orbax completed it, which is written last."""
    try:
        return bool(json.loads((checkpoint / "_CHECKPOINT_METADATA").read_text())["commit_timestamp_nsecs"])
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return False


def _remedy(error: Exception) -> str:
    """What helps after a failed save: another run that writes here is no full disk, nor the other way round."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "Make room"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Check the owner and the permissions of the folder"
    if type(error).__name__ == "StepAlreadyExistsError" or number in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT):
        return (
            "Another run writes to this folder, or something removed a part of it: two runs of the same settings need "
            "two folders (pretrain.checkpoint_folder). Wait for the other run to end, or give this one its own folder"
        )
    return "Make room or fix the folder"


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
