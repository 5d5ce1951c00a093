"""Power cuts: the file system that a project is on is shut down without flushing, then mounted again."""

import fcntl
import os
import random
import shutil
import struct
import subprocess
import time
from pathlib import Path

from loops.outcomes import Judge, Outcome, after_the_advice
from loops.project import STAGES, Slot, Warm, stage_process

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
WITHOUT_FLUSHING = struct.pack("I", 2)  # EXT4_GOING_FLAGS_NOLOGFLUSH
SIZE_MB = 400
MOMENTS = ("building", "pretraining", "after a green build", "pretraining")  # of a seed: half while pretraining
AFTERWARDS = 15.0  # seconds after a green build within which the power is cut


def unable() -> str | None:
    """Why there can be no power cuts here; None if there can."""
    if os.geteuid() != 0:
        return "mounting a loop device needs root"
    missing = [name for name in ("mkfs.ext4", "mount", "umount", "losetup") if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} not found"
    found = subprocess.run(["losetup", "--find"], capture_output=True, text=True, check=False)
    return None if found.returncode == 0 else f"there is no free loop device ({found.stderr.strip()})"


class PowerSlot(Slot):
    """A slot on a file system of its own."""

    def __init__(self, root: Path, snapshots: Path, **environment: str) -> None:
        super().__init__(root, snapshots, **environment)
        self._image = root.with_name(f"{root.name}.img")

    def reset(self, snapshot: str) -> None:
        """A new file system with a fresh copy of a snapshot on it, flushed."""
        self.unmount()
        self._image.unlink(missing_ok=True)
        with self._image.open("wb") as file:
            file.truncate(SIZE_MB << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self._image)], check=True)
        self.mount()
        super().reset(snapshot)
        subprocess.run(["sync", "-f", str(self.root)], check=True)

    def mount(self) -> None:
        """Mount the file system; its journal is replayed."""
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.root)], check=True)

    def unmount(self) -> None:
        """Unmount the file system, if it is mounted."""
        for patience in range(100):
            if not os.path.ismount(self.root):
                return
            lazily = ["-l"] if patience == 99 else []
            subprocess.run(["umount", *lazily, str(self.root)], capture_output=True, check=False)
            if os.path.ismount(self.root):
                time.sleep(0.1)

    def cut(self, command: Warm) -> None:
        """Cut the power: nothing more is written, every process is dead, then the machine starts again."""
        place = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(place, SHUTDOWN, WITHOUT_FLUSHING)
        finally:
            os.close(place)
        command.kill_group()
        self.finish(command)
        self.kill_all()
        self.unmount()
        self.mount()

    def close(self) -> None:
        """End every process, and take the file system away."""
        super().close()
        self.unmount()
        self._image.unlink(missing_ok=True)


def one_try(slot: PowerSlot, judge: Judge, seed: int, seconds: dict[str, float]) -> Outcome:
    """Build from before a stage on, cut the power at some moment, follow the advice."""
    rng = random.Random(f"cut {seed}")  # noqa: S311 - moments, not secrets
    moment = MOMENTS[seed % len(MOMENTS)]
    stages = list(STAGES)
    stage = "pretrain" if moment == "pretraining" else rng.choice(stages)
    outcome = Outcome("cuts", seed)
    slot.reset(stage)
    command = slot.start("dvc.cli", "repro")
    delay = rng.random() * AFTERWARDS
    if moment == "building":
        left = sum(seconds[later] for later in stages[stages.index(stage) :])
        delay = rng.random() * left
        command.ended(delay)
    elif moment == "pretraining":
        stage_process(command, stage)
        delay = rng.random() * seconds[stage]
        command.ended(delay)
    else:
        command.ended(120)
        time.sleep(delay)
    outcome.what = f"cut {delay:.1f} s into {moment} ({stage} and later)"
    slot.cut(command)
    repair, repro = judge.advice(slot, outcome)
    outcome.verdict = after_the_advice(outcome, repair, repro)
    return outcome
