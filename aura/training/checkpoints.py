"""Checkpoints: what lets a killed run end in the same bytes as an undisturbed one.

They lie in `pretrain.checkpoint_folder`, outside of DVC's outputs (DVC deletes those before a stage reruns), in a
folder per run: KEY-STEPS, where KEY (`run_identity.py`) is the hash of all that decides the losses. So a changed
corpus, tokenizer, hyperparameter or training code never finds a stale checkpoint. Runs of one key and other lengths
share their first steps, and so do runs that pass over other batches later; `usable` says how many. Each writes to its
own folder: none removes what another one needs.

Orbax writes them in the background (arrays by tensorstore, to a folder that is renamed when complete; on gs:// a
marker is written last), and then each is sealed with hashes (`seals.py`). A run goes on from the newest one whose bytes
are those of its seal. Beside them lie run.json, which says what KEY is the hash of, and the history of every step
(`history.py`).
"""

import json
import re
import shlex
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aura.core import console
from aura.core.errors import UserError
from aura.storage import store
from aura.training import distributed, save_failures, seals, side_files
from aura.training.bucket_lock import BucketLock
from aura.training.history import Row
from aura.training.run_identity import RunIdentity, differences
from aura.training.run_lock import RunLock
from aura.training.steps import State

KEPT = 2  # newest checkpoints, beside the best one and the one at which a decay began
RECORD = "record/metadata"  # the file that Orbax writes a step's row to, in the folder of a checkpoint
SAVE_TIMEOUT = 600  # seconds for which processes wait for each other at a save
VERIFYING = 3600  # seconds for which the others wait until the first process has read a checkpoint's bytes
REFUSED = -1  # the step that the first process tells the others when it ends with an error
UNREADABLE = (OSError, ValueError, KeyError, TypeError)  # what Orbax raises for a damaged file


@dataclass(frozen=True)
class Restored:
    """The state after `step` steps, the folder of the run that saved it, and the row of that step, if readable."""

    step: int
    state: State
    folder: str
    row: Row | None


@dataclass(frozen=True)
class Best:
    """A policy for Orbax: keep the checkpoint of the smallest held-out measure; the later one of two that are equal.

    Orbax itself would forget what a checkpoint measured when the run is resumed.

    Arguments:
        measure: its name, such as bits_per_byte.
        found: its value of each checkpoint that was evaluated, by its step.
    """

    measure: str
    found: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: str, identity: RunIdentity) -> "Best":
        """Of the checkpoints that are in a run's folder, by their records."""
        best = cls(identity.best)
        for path in side_files.entries(side_files.place(folder)):
            record = side_files.read_object(path / RECORD) if path.name.isdigit() else None
            if row := Row.from_record(record, identity.columns):
                best.add(row)
        return best

    def add(self, row: Row) -> None:
        """Note what the checkpoint of a step measured, if it was evaluated."""
        if self.measure in row.values:
            self.found[row.step] = row.values[self.measure]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: object) -> list[bool]:
        """Return for each checkpoint whether to keep it, as Orbax asks."""
        del context
        measured = [(self.found[one.step], -one.step) for one in checkpoints if one.step in self.found]
        best = -min(measured)[1] if measured else None
        return [one.step == best for one in checkpoints]


class Checkpoints:
    """The checkpoints of one run.

    Arguments:
        identity: of the run.

    Attributes:
        folder: where this run saves.
    """

    def __init__(self, identity: RunIdentity) -> None:
        self._identity, self._keys = identity, identity.keys  # its own key first
        self._root = identity.checkpoint_folder.rstrip("/")
        self.folder = f"{self._root}/{self._keys[0]}-{identity.steps}"
        self._manager: Any = None
        self._best = Best(identity.best)
        self._saving: int | None = None
        self._sealing: threading.Thread | None = None
        self._sealed_step: int | None = None
        self._failure: UserError | None = None
        self._lock: RunLock | BucketLock | None = None
        self._described = self._resumed = False
        if "://" in self.folder:
            store.prepare_gcsfs()  # otherwise it warns of each rename that a server does as a copy and a deletion

    @property
    def worthwhile(self) -> bool:
        """Return whether the run saves. A short run that was never interrupted does not even load Orbax (2 s)."""
        return self._identity.steps >= self._identity.checkpoint_every or self._resumed

    def restore(self, target: State) -> Restored | None:
        """The newest whole checkpoint this run passes through, placed as `target` (`mesh.abstract`) says, or None.

        Raises:
            UserError: all are damaged, or one cannot be read. In a run of several processes each raises it.
        """
        chosen, refusal = (0, 0, 0), None
        if distributed.is_first():
            try:
                self.lock()
                with side_files.explained(self._root):
                    chosen = self._choose()
            except UserError as error:
                chosen, refusal = (REFUSED, 0, 0), error
        distributed.meet("chosen", VERIFYING)
        step, steps, which = (int(number) for number in distributed.of_the_first(np.array(chosen, np.int32)))
        if refusal:
            raise refusal
        if step == REFUSED:
            raise UserError("process 0 of this run could not go on from its checkpoints. See its message.")
        if not step:
            return None
        restored = self._restored(step, f"{self._root}/{self._keys[which]}-{steps}", target)
        if distributed.is_first():
            with side_files.explained(self.folder):
                for earlier in sorted(seals.Found.of(self.folder).earlier):
                    seals.seal(self.folder, earlier)
        return restored

    def lock(self) -> None:
        """Hold the run's folder until `unlock` or the end of this process; the first process does that for all.

        Raises:
            UserError: another run holds it, or took it meanwhile, or it cannot be made.
        """
        if not distributed.is_first():
            return
        if self._lock:
            self._lock.confirm()
        elif self.worthwhile or side_files.place(self.folder).exists():
            with side_files.explained(self.folder):
                self._lock = BucketLock(self.folder) if "://" in self.folder else RunLock(Path(self.folder))

    def unlock(self) -> None:
        """Let another run have the folder."""
        if self._lock:
            self._lock.release()
            self._lock = None

    def _choose(self) -> tuple[int, int, int]:
        """The newest whole checkpoint: its step, and of the run that saved it the steps and the place in `_keys`.

        To begin anew, the step is 0.

        Raises:
            UserError: checkpoints were saved, and all of them are damaged.
        """
        runs = self._runs()
        named = {name: re.fullmatch(rf"({'|'.join(self._keys)})-([0-9]+)", name) for name in runs}
        lengths = {name: (self._keys.index(found[1]), int(found[2])) for name, found in named.items() if found}
        found = {name: seals.Found.of(f"{self._root}/{name}") for name in lengths}
        own = self.folder.rpartition("/")[2]
        candidates = [
            (step, name == own, steps, which, name)
            for name, (which, steps) in lengths.items()
            for step in found[name].sealed | found[name].earlier
            if self._identity.usable(step, steps, self._keys[which])
        ]
        damaged: list[tuple[int, str]] = []
        for step, _, steps, which, name in sorted(candidates, reverse=True):
            folder = f"{self._root}/{name}"
            if step in found[name].earlier:
                told = "an earlier version, which recorded no hashes, saved it"
                console.err.print(f"the checkpoint {folder}/{step} is taken unverified: {told}", markup=False)
            elif fault := seals.fault(folder, step):
                console.err.print(f"the checkpoint {folder}/{step} is skipped: {fault}", markup=False)
                damaged.append((step, folder))
                continue
            self._clear({step for step, place in damaged if place == self.folder})
            return step, steps, which
        if damaged:
            self._refuse(sorted({folder for _, folder in damaged}))
        self._clear(set())
        others = [name for name in runs if f"{self._root}/{name}" != self.folder or _saved_something(self.folder)]
        if others and self.worthwhile:
            self._say_why_anew(others, {name: lengths[name][1] for name in others if name in lengths})
        return 0, 0, 0

    def _clear(self, damaged: set[int]) -> None:
        """Set aside what this run would save in the place of: damaged checkpoints of its own, and incomplete ones."""
        for step in sorted(damaged | seals.Found.of(self.folder).incomplete):
            why = "is damaged" if step in damaged else "was never completed"
            aside = seals.set_aside(self.folder, step)
            console.err.print(
                f"{self.folder}/{step} {why}; it is kept as {aside} until one of that step or a later one is saved",
                markup=False,
            )

    def _refuse(self, folders: list[str]) -> None:
        raise UserError(
            f"{', '.join(folders)}: every checkpoint of this run is damaged, and the run does not begin anew "
            f"by itself. Bring the files back from a copy, or begin at step 0 with: {_moving_away(folders)}"
        )

    def due(self, step: int) -> bool:
        """Return whether to save after `step` steps: at intervals, where the decay begins, and at the end."""
        if not self.worthwhile:
            return False
        steps = self._identity.steps
        return step % self._identity.checkpoint_every == 0 or step in (self._identity.shared_steps(steps), steps)

    def save(self, row: Row, state: State) -> None:
        """Begin to save the state after the step of `row`; returns once it is copied from the devices."""
        import orbax.checkpoint as ocp

        self.lock()
        self._sealed()
        self.check()
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(row.to_record()))
        self._saving = row.step
        with save_failures.told(self.folder, self._saving):
            if distributed.is_first() and not self._described:
                described = {"task": self._identity.task, "steps": self._identity.steps, "sealed": True}
                text = json.dumps(described | {"decides": self._identity.decisive}, indent=2)
                side_files.write(side_files.place(self.folder) / "run.json", text)
                self._described = True
            manager = self._open()
            self._best.add(row)
            manager.save(row.step, args=items, force=True)
            self._sealing = threading.Thread(target=self._seal, args=(row.step,), daemon=True)
            self._sealing.start()

    def _seal(self, step: int) -> None:
        """Seal a checkpoint once it is complete; a failure is told by the next `check`."""
        try:
            with save_failures.told(self.folder, step):
                self._manager.wait_until_finished()
                if lock := self._lock:
                    lock.confirm()
                if distributed.is_first():
                    seals.seal(self.folder, step)
            self._sealed_step = step
        except UserError as error:
            self._failure = error

    def _sealed(self) -> None:
        """Wait for the seal under way."""
        if self._sealing:
            self._sealing.join()
            self._sealing = None
            if self._sealed_step != self._saving and not self._failure:
                self._failure = UserError(
                    f"{self.folder}: the checkpoint of step {self._saving} could not be sealed, for the reason above. "
                    "Run the same command again: it goes on from the last whole one."
                )

    def check(self) -> None:
        """Raise a `UserError` if a save in the background has failed, or another run took the folder."""
        if self._lock:
            self._lock.confirm()
        if self._manager is not None:
            if self._failure:
                raise self._failure
            with save_failures.told(self.folder, self._saving):
                self._manager.check_for_errors()

    def close(self) -> None:
        """Wait for the save under way and its seal, then let another run have the folder."""
        try:
            if self._manager is not None:
                self._sealed()
                self.check()
                with save_failures.told(self.folder, self._saving):
                    self._manager.wait_until_finished()
                    self._manager.close()
        finally:
            self.unlock()

    def _open(self) -> Any:  # noqa: ANN401 - an Orbax manager
        if self._manager is None:
            import orbax.checkpoint as ocp

            save_failures.told_once()
            policies = ocp.checkpoint_managers
            decay = self._identity.shared_steps(self._identity.steps)
            self._best = Best.of(self.folder, self._identity)
            kept = [policies.LatestN(KEPT), self._best, policies.CustomSteps([decay])]
            options = ocp.CheckpointManagerOptions(
                create=True,
                preservation_policy=policies.AnyPreservationPolicy(kept),
                async_options=ocp.AsyncOptions(
                    timeout_secs=SAVE_TIMEOUT,
                    create_directories_asynchronously=False,  # else threads wait for minutes after a failure
                ),
            )
            self._manager = ocp.CheckpointManager(_absolute(self.folder), options=options, item_handlers=_handlers())
        return self._manager

    def _runs(self) -> list[str]:
        """Names of the runs in the checkpoint folder."""
        return sorted(path.name for path in side_files.entries(side_files.place(self._root)) if path.is_dir())

    def _restored(self, step: int, folder: str, target: State) -> Restored:
        import orbax.checkpoint as ocp

        self._resumed, path = True, _absolute(folder) / str(step)
        with side_files.explained(folder), ocp.Checkpointer(ocp.CompositeCheckpointHandler(**_handlers())) as reader:
            try:
                items = ocp.args.Composite(state=ocp.args.StandardRestore(target))
                state = reader.restore(path, args=items)["state"]
            except UNREADABLE as error:
                raise UserError(
                    f"{folder}/{step}: expected a whole checkpoint, but it cannot be read "
                    f"({save_failures.brief(error)}). Nothing was removed. Run the same command again. If that does "
                    "not help, this lets the run go on from the checkpoint before it: "
                    f"{_moving_away([f'{folder}/{step}'])}"
                ) from error
            try:
                items = ocp.args.Composite(record=ocp.args.JsonRestore())
                row = Row.from_record(reader.restore(path, args=items)["record"], self._identity.columns)
            except UNREADABLE:
                row = None
        if row is None and distributed.is_first():
            side_files.say_damaged(path / "record", "the history stands in for it")
        return Restored(step, state, folder, row)

    def _say_why_anew(self, runs: list[str], lengths: dict[str, int]) -> None:
        """Tell why none of the runs in the checkpoint folder can be gone on with."""
        told = f"the run begins at step 0: no checkpoint in {self._root} is of it"
        if lengths:
            steps = ", ".join(f"{steps:,}" for steps in sorted(lengths.values()))
            reason = f"there is the same run with {steps} steps, but none of its checkpoints fits this one"
        else:
            read = {name: side_files.read_object(side_files.place(self._root) / name / "run.json") for name in runs}
            task = self._identity.task
            read = {name: found for name, found in read.items() if not found or found.get("task", task) == task}
            if not read:
                return
            known = [
                (differences(self._identity.decisive, found["decides"]), name)
                for name, found in read.items()
                if found and isinstance(found.get("decides"), dict)
            ]
            if known:
                differing, nearest = min(known, key=lambda pair: (len(pair[0]), pair))
                reason = f"the nearest run there, {nearest}, differs in {', '.join(differing)}"
            else:
                reason = f"the {len(read)} runs there cannot be compared, because their run.json is missing or damaged"
        console.err.print(f"{told}; {reason}", markup=False)


def _moving_away(folders: list[str]) -> str:
    """Commands that give folders another name."""
    move = "gcloud storage mv" if "://" in folders[0] else "mv"
    return "; ".join(f"{move} {shlex.quote(folder)} {shlex.quote(f'{folder}.damaged')}" for folder in folders)


def _saved_something(folder: str) -> bool:
    """Return whether a run of this folder began to save."""
    return bool((side_files.place(folder) / "run.json").exists())


def _absolute(folder: str) -> Any:  # noqa: ANN401 - a path of etils
    """A folder as Orbax wants it."""
    return side_files.place(folder) if "://" in folder else side_files.place(folder).absolute()


def _handlers() -> dict[str, Any]:
    """Return the handlers that write and read the parts of a checkpoint."""
    import orbax.checkpoint as ocp

    return {"state": ocp.StandardCheckpointHandler(), "record": ocp.JsonCheckpointHandler()}
