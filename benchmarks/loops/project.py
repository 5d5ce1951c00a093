"""The tiny project of the loops: built once, kept as it is before each stage, and copied for every try."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import psutil

from tests.conftest import Project, new_project

STAGES = {
    "extract@books": ("data/extracted/books",),
    "extract@pinned": ("data/extracted/pinned",),
    "select": ("data/corpus",),
    "train_tokenizer": ("models/spm",),
    "validate": ("reports/validate",),
    "encode": ("data/tokens",),
    "pretrain": ("models/lm", "reports/pretrain"),
    "export": ("models/hf",),
}
OUTPUTS = tuple(out for outs in STAGES.values() for out in outs)
VIEWS = ("timings.json", "index.html")  # what differs between two equal runs, and what no stage puts out
BUILT = "built"  # the name of the snapshot after the last stage
MODEL_STAGES = ("aura.stages.pretrain", "aura.stages.export")  # they import JAX, beside which no other stage forks
TOOLS = ("dvc.cli", "dvc.commands.repro", "dvc.commands.status", "dvc.repo", "aura.cli.app", "aura.project.dvc_state")
OTHER_STAGES = tuple(f"aura.stages.{name}" for name in ("extract", "select", "train_tokenizer", "validate", "encode"))
TIMEOUT = 120.0  # seconds; a command that takes longer hangs


@dataclass(frozen=True)
class Run:
    """What came of a command: exit status (None: it hung and was killed) and what it printed."""

    status: int | None
    said: str


class Warm:
    """A process that has imported modules and forks itself for each command (`warm.py`); one command at a time."""

    def __init__(self, slot: "Slot", modules: tuple[str, ...], environment: dict[str, str]) -> None:
        program = [sys.executable, str(Path(__file__).with_name("warm.py")), *modules]
        self._log = slot.root.with_name(f"{slot.root.name}.warm.log").open("a")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._log}
        self._server = subprocess.Popen(program, cwd="/", env=environment, start_new_session=True, **pipes)
        if self._line(TIMEOUT) != "ready":
            raise RuntimeError(f"warm.py did not start; see {self._log.name}")
        self.pid = 0

    def start(self, folder: Path, output: Path, module: str, *arguments: str) -> None:
        """Begin a command, whose output is added to a file."""
        order = {"module": module, "arguments": arguments, "folder": str(folder), "output": str(output)}
        self._server.stdin.write(json.dumps(order).encode() + b"\n")
        self._server.stdin.flush()
        self.pid = int(self._line(TIMEOUT))

    def ended(self, seconds: float) -> bool:
        """Whether the command ends within that time."""
        return bool(wait([self._server.stdout], max(seconds, 0)))  # select.select takes no descriptor above 1,023

    def status(self) -> int | None:
        """Wait for the command's exit status; None if it hangs, and then its whole group is killed."""
        if self.ended(TIMEOUT):
            return int(self._line(TIMEOUT))
        self.kill_group()
        self._line(TIMEOUT)
        return None

    def kill_group(self) -> None:
        """SIGKILL for the command and all that it started, as far as any of it lives."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process."""
        self._server.stdin.close()
        self._server.kill()
        self._server.wait()
        self._server.stdout.close()
        self._log.close()

    def _line(self, seconds: float) -> str:
        if not self.ended(seconds):
            raise RuntimeError("warm.py does not answer")
        return self._server.stdout.readline().decode().strip()


class Slot:
    """A folder of one job, in which copies of the tiny project are disturbed one after the other.

    Arguments:
        root: the folder; the project lies in `root / "project"`.
        snapshots: the folder of the prepared copies.
        environment: variables for all commands, beside those of the project.
    """

    def __init__(self, root: Path, snapshots: Path, **environment: str) -> None:
        self.root, self.snapshots, self.project = root, snapshots, Project(root / "project")
        self.project.environment |= {"PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"} | environment
        self.output = root.with_name(f"{root.name}.output")
        self._warm: dict[str, Warm] = {}
        self._sessions: list[int] = []
        root.mkdir(parents=True, exist_ok=True)

    @property
    def folder(self) -> Path:
        """The project's folder."""
        return self.project.folder

    def reset(self, snapshot: str) -> None:
        """Put a fresh copy of a snapshot in the place of what is there."""
        for path in (self.folder, self.root / "dvc-site-cache"):
            shutil.rmtree(path, ignore_errors=True)
        subprocess.run(["cp", "-a", str(self.snapshots / snapshot), str(self.folder)], check=True)

    def start(self, module: str, *arguments: str) -> Warm:
        """Begin a command."""
        kind = "model" if module in MODEL_STAGES else "tools"
        if kind not in self._warm:
            modules = MODEL_STAGES if kind == "model" else TOOLS + OTHER_STAGES
            self._warm[kind] = Warm(self, modules, self.project.environment)
        self.output.unlink(missing_ok=True)
        self._warm[kind].start(self.folder, self.output, module, *arguments)
        self._sessions.append(self._warm[kind].pid)
        return self._warm[kind]

    def finish(self, command: Warm) -> Run:
        """Wait for a command that was begun."""
        status = command.status()
        said = self.output.read_text(encoding="utf-8", errors="replace") if self.output.exists() else ""
        return Run(status, said)

    def run(self, module: str, *arguments: str) -> Run:
        """Run a command to its end."""
        return self.finish(self.start(module, *arguments))

    def repro(self, *arguments: str) -> Run:
        """`dvc repro`."""
        return self.run("dvc.cli", "repro", *arguments)

    def stage(self, name: str) -> Run:
        """The command of a stage, as dvc.yaml has it."""
        module, _, source = name.partition("@")
        return self.run(f"aura.stages.{module}", *filter(None, [source]))

    def kill_all(self) -> None:
        """Kill all that commands of this slot have left running."""
        for session in self._sessions:
            with suppress(ProcessLookupError):
                os.killpg(session, signal.SIGKILL)
        for session in self._sessions:
            _wait_for_group(session)
        self._sessions.clear()

    def close(self) -> None:
        """End every process of the slot."""
        self.kill_all()
        for warm in list(self._warm.values()):
            warm.close()
        self._warm.clear()


def _wait_for_group(session: int) -> None:
    for _ in range(500):
        try:
            os.killpg(session, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)


def stage_process(command: Warm, stage: str) -> psutil.Process | None:
    """Wait for a stage's own Python under a `dvc repro`; None if that ends first."""
    module = f"aura.stages.{stage.partition('@')[0]}"
    while not command.ended(0):
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(command.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if module in child.cmdline() and "sh" not in child.name():
                        return child
        time.sleep(0.004)
    return None


def digests(folder: Path, outputs: tuple[str, ...] = OUTPUTS) -> dict[str, str]:
    """SHA-256 of every file that stages put out."""
    found = {}
    for out in outputs:
        for path in sorted((folder / out).rglob("*")):
            if path.is_file() and path.name not in VIEWS and not _is_partial(path):
                found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def left_behind(folder: Path) -> list[str]:
    """Unfinished outputs."""
    found = (path for top in ("data", "models", "reports") for path in (folder / top).rglob(".*.partial"))
    return sorted(str(path.relative_to(folder)) for path in found)


def wrong_objects(folder: Path) -> list[str]:
    """Objects of DVC's cache whose bytes are not those of their name."""
    wrong = []
    for path in (folder / ".dvc/cache/files/md5").glob("??/*"):
        name = (path.parent.name + path.name).removesuffix(".dir")
        is_object = re.fullmatch("[0-9a-f]{32}", name) is not None  # others are files of a killed DVC, which it ignores
        if is_object and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != name:
            wrong.append(str(path.relative_to(folder)))
    return wrong


def _is_partial(path: Path) -> bool:
    return any(part.startswith(".") and part.endswith(".partial") for part in path.parts)


def prepare(snapshots: Path) -> dict[str, float]:
    """Build the tiny project and keep it as it is before each stage; returns the seconds that each stage took."""
    making = snapshots.with_name("making")
    shutil.rmtree(making, ignore_errors=True)
    shutil.rmtree(snapshots, ignore_errors=True)
    project = tiny_project(making)
    seconds = {}
    snapshots.mkdir(parents=True)
    for stage in STAGES:
        subprocess.run(["cp", "-a", str(project.folder), str(snapshots / stage)], check=True)
        began = time.monotonic()
        project.run("dvc", "repro", "-q", "--single-item", stage)
        seconds[stage] = time.monotonic() - began
    # What was compiled is now in the cache, as it will be in every try.
    subprocess.run(["cp", "-a", str(project.folder), str(snapshots / BUILT)], check=True)
    shutil.rmtree(making)
    return seconds


def tiny_project(folder: Path) -> Project:
    """A project of two small sources, of which every stage takes about a second."""
    project = new_project(folder / "project")
    for number, path in enumerate(sorted((project.folder / "data/books").iterdir())):
        if number >= 120:
            path.unlink()
    for source in ("sample", "posts"):
        project.run(sys.executable, "-m", "aura", "source", "remove", source)
    shutil.rmtree(project.folder / "data/posts")
    project.edit_params(pretrain={"steps": 8, "eval_every": 4, "checkpoint_every": 2})
    for path in (project.folder / "aura").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        # Workers even for this little text: they, too, must bear being killed.
        if (changed := re.sub(r"(?m)^SMALL = [0-9_]+", "SMALL = 1", text)) != text:
            path.write_text(changed, encoding="utf-8")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "tiny project")
    project.run("git", "gc", "-q")
    return project
