"""I/O errors and full disks: the n-th write, sync, rename or opening for writing of a stage under DVC fails."""

import errno
import random
import shutil
import struct
import subprocess
import threading
from pathlib import Path

from loops.outcomes import FALLEN_BACK, Judge, Outcome, told
from loops.project import STAGES, Run, Slot

SOURCE = Path(__file__).with_name("write_faults.c")
CONTROL = struct.Struct("=5Q4000s")  # `struct control` in write_faults.c
KINDS = (("EIO once", errno.EIO, 0), ("ENOSPC from then on", errno.ENOSPC, 1), ("EIO from then on", errno.EIO, 1))


def unable() -> str | None:
    """Why no write can be made to fail here; None if they can."""
    return None if shutil.which("gcc") else "gcc not found"


class FaultySlot(Slot):
    """A slot in which writes can be made to fail."""

    def __init__(self, root: Path, snapshots: Path) -> None:
        library, self._control = root.with_name(f"{root.name}.so"), root.with_name(f"{root.name}.control")
        root.parent.mkdir(parents=True, exist_ok=True)
        flags = ("-shared", "-fPIC", "-O1", "-Wall", "-Wno-nonnull-compare")
        subprocess.run(["gcc", *flags, "-o", str(library), str(SOURCE), "-ldl"], check=True)
        super().__init__(root, snapshots, LD_PRELOAD=str(library), AURA_FAULTS=str(self._control))
        self.set()

    def set(self, at: int = 0, number: int = 0, lasts: int = 0, *, armed: bool = False) -> None:
        """Say which call fails, counted from now on; 0: none. Without `armed` nothing is counted."""
        prefix = str(self.folder).encode() if armed else b""
        content = CONTROL.pack(armed, 0, at, lasts, number, prefix)
        with self._control.open("r+b" if self._control.exists() else "wb") as file:  # it is mapped: no new file
            file.write(content)

    @property
    def count(self) -> int:
        """Calls since `set`."""
        return int(CONTROL.unpack(self._control.read_bytes()[: CONTROL.size])[1])


class Shared:
    """How many calls there are to fail, by the stage and what runs it; counted when first asked for."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds, self._calls, self._lock = seconds, dict[tuple[str, bool], int](), threading.Lock()

    def calls(self, slot: FaultySlot, stage: str, *, dvc: bool) -> int:
        """The number of calls in an undisturbed run."""
        with self._lock:
            if (stage, dvc) not in self._calls:
                slot.reset(stage)
                slot.set(armed=True)
                run = run_stage(slot, stage, dvc=dvc)
                count = slot.count
                slot.set()
                if run.status or not count:
                    raise RuntimeError(f"{stage} cannot be counted: exit {run.status}, {count} calls\n{run.said}")
                self._calls[stage, dvc] = count
            return self._calls[stage, dvc]


def shared(seconds: dict[str, float]) -> Shared:
    """What all tries of the loop share."""
    return Shared(seconds)


def run_stage(slot: FaultySlot, stage: str, *, dvc: bool) -> Run:
    """Run a stage by DVC, or its command alone."""
    return slot.repro("--single-item", stage) if dvc else slot.stage(stage)


def one_try(slot: FaultySlot, judge: Judge, seed: int, shared: Shared) -> Outcome:
    """Run a stage with one of its writes failing, follow the advice."""
    rng = random.Random(f"write {seed}")  # noqa: S311 - moments, not secrets
    words, number, lasts = KINDS[seed % len(KINDS)]
    stage, dvc = rng.choice(list(STAGES)), rng.random() < 0.5
    calls = shared.calls(slot, stage, dvc=dvc)
    at = rng.randrange(calls) + 1
    by = "under dvc repro" if dvc else "alone"
    outcome = Outcome("write-faults", seed, f"{words} at call {at} of {calls} of {stage} {by}")
    slot.reset(stage)
    slot.set(at, number, lasts, armed=True)
    try:
        run = run_stage(slot, stage, dvc=dvc)
    finally:
        slot.set()
    outcome.note(f"{stage} {by}", run)
    if run.status == 0:
        spoken = FALLEN_BACK.search(run.said) is not None
        right = judge.equal(slot, STAGES[stage])
        outcome.verdict = ("fallen back" if spoken else "unharmed") if right else "silent"
    else:
        outcome.verdict = "told" if told(run) else "unclear"
    judge.advice(slot, outcome)
    return outcome
