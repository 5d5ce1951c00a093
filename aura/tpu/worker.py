"""What the launcher runs on a TPU VM: one file, copied there first, which needs Python 3.10 and nothing else.

    python3 aura_worker.py VERB JSON      prints one line of JSON behind REPLY, or did not run

A verb reports its own failure in that line, because gcloud's exit status does not tell a failed ssh from a failed
command. `start` leaves a supervisor behind that outlives the connection: it runs the job, writes its log, and starts it
again when it dies, so that a job of several workers whose peer was lost meets again without the launcher.
"""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPLY = "aura-worker-reply "
HOME = Path.home() / "aura_tpu"  # the project's copy
RUN = HOME / "run"  # the job: job.json, state.json, log.txt, and `lock`, held while its supervisor lives
PYTHON = "python3.11"
GIVE_UP = 5  # deaths in a row, each of them early
EARLY = 600.0  # seconds of life after which a death counts as new trouble, not as the same again
PAUSE = 2.0  # seconds before a job that died is started again: its peers need to notice, too
READ_AT_ONCE = 1 << 16  # bytes of a log in one reply

Reply = dict[str, Any]


def unpack(archive: str, replace: list[str]) -> Reply:
    """Put the files of a tar, copied to the home folder before, into the project's copy, in place of some folders.

    Code is not exchanged under a run that may not have imported all of it yet.
    """
    if replace and status()["state"] == "running":
        raise RuntimeError("a run is going on here. End it first: aura tpu stop")
    HOME.mkdir(exist_ok=True)
    for folder in replace:
        shutil.rmtree(HOME / folder, ignore_errors=True)
    with tarfile.open(Path.home() / archive) as tar:
        tar.extractall(HOME, filter="data")
    (Path.home() / archive).unlink()
    return {}


def install(requirements: list[str]) -> Reply:
    """Make the environment that the lock files describe, unless it is the one that is there."""
    wanted = _sha256(*(HOME / name for name in requirements))
    marker = HOME / ".venv/installed"
    if marker.exists() and marker.read_text() == wanted:
        return {"installed": "already"}
    if not shutil.which(PYTHON):
        _call("sudo", "apt-get", "update", "--quiet")
        _call("sudo", "apt-get", "install", "--yes", "--quiet", PYTHON, f"{PYTHON}-venv")
    _call(PYTHON, "-m", "venv", "--clear", str(HOME / ".venv"))
    files = [part for name in requirements for part in ("-r", str(HOME / name))]
    _call(str(HOME / ".venv/bin/python"), "-m", "pip", "install", "--quiet", "--require-hashes", *files)
    marker.write_text(wanted)
    return {"installed": "now"}


def hashes(paths: list[str]) -> Reply:
    """SHA-256 of files of the project's copy; null for one that is not there."""
    return {path: _sha256(HOME / path) if (HOME / path).is_file() else None for path in paths}


def start(key: str, command: list[str], environment: dict[str, str]) -> Reply:
    """Start a job unless it runs, or has ended well, already; another one in its place is refused.

    Arguments:
        key: says which job it is.
        command: program and arguments, run in the project's copy; `python` is that of its environment.
        environment: variables beside those of the login.
    """
    now = status()
    if now["state"] == "running" and now["key"] != key:
        return {"refused": now["key"]}
    if now["state"] == "running" or (now["state"] == "done" and now["key"] == key):
        return {"started": False}
    RUN.mkdir(parents=True, exist_ok=True)
    _write(RUN / "job.json", {"key": key, "command": command, "environment": environment})
    _write(RUN / "state.json", {"state": "starting"})
    with (RUN / "log.txt").open("ab" if now["key"] == key else "wb") as log:
        command = [sys.executable, os.path.abspath(__file__), "supervise", "{}"]  # noqa: PTH100 - of Python 3.10
        supervisor = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    while status()["state"] == "starting" and supervisor.poll() is None:
        time.sleep(0.05)
    return {"started": True}


def status() -> Reply:
    """The job's key, its state (none, running, done, failed, stopped, killed), its deaths, and its log's last line."""
    if not (RUN / "job.json").exists():
        return {"state": "none", "key": None}
    key, told = json.loads((RUN / "job.json").read_text())["key"], json.loads((RUN / "state.json").read_text())
    if told["state"] == "running" and not _supervised():
        told["state"] = "killed"  # its supervisor died without a word
    return {"key": key, "last": _tail(RUN / "log.txt"), **told}


def log(offset: int) -> Reply:
    """A piece of the job's log from a byte on, and where the next one begins."""
    if not (RUN / "log.txt").exists():
        return {"text": "", "offset": 0}
    with (RUN / "log.txt").open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(offset if 0 <= offset <= size else max(0, size + offset))
        text = file.read(READ_AT_ONCE)
        return {"text": text.decode(errors="replace"), "offset": file.tell()}


def stop() -> Reply:
    """End the job and its supervisor; its checkpoints stay, and `start` goes on from them."""
    before = status()
    if before["state"] == "running":
        os.killpg(before["pid"], signal.SIGTERM)
        deadline = time.monotonic() + 20
        while _supervised() and time.monotonic() < deadline:
            time.sleep(0.1)
        if _supervised():
            os.killpg(before["pid"], signal.SIGKILL)
        _write(RUN / "state.json", {"state": "stopped"})
    return {"stopped": before["state"] == "running"}


def pack(paths: list[str], archive: str) -> Reply:
    """Write files and folders of the project's copy to a tar in the home folder; its SHA-256."""
    with tarfile.open(Path.home() / archive, "w") as tar:
        for path in paths:
            if (HOME / path).exists():
                tar.add(HOME / path, path)
    return {"sha256": _sha256(Path.home() / archive)}


def supervise() -> None:
    """Run the job until it ends well, or has died GIVE_UP times in a row soon after its start."""
    lock = (RUN / "lock").open("w")  # released by the system whenever this process ends
    fcntl.flock(lock, fcntl.LOCK_EX)
    job, deaths, in_a_row = json.loads((RUN / "job.json").read_text()), 0, 0
    environment = {**os.environ, **job["environment"]}
    environment["PATH"] = f"{HOME / '.venv/bin'}{os.pathsep}{environment['PATH']}"
    while True:
        begun = time.monotonic()
        _write(RUN / "state.json", {"state": "running", "pid": os.getpid(), "deaths": deaths})
        exit_status = subprocess.call(job["command"], cwd=HOME, env=environment, close_fds=True)
        if exit_status == 0:
            _write(RUN / "state.json", {"state": "done", "deaths": deaths})
            return
        deaths += 1
        in_a_row = in_a_row + 1 if time.monotonic() - begun < EARLY else 1
        last = _tail(RUN / "log.txt")
        print(f"the job ended with {exit_status}, its death number {deaths}", flush=True)
        if in_a_row >= GIVE_UP:
            _write(RUN / "state.json", {"state": "failed", "deaths": deaths, "last": last})
            return
        time.sleep(PAUSE)


def _supervised() -> bool:
    """Whether a supervisor holds the lock."""
    with (RUN / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _call(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-2000:]}")


def _sha256(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def _tail(path: Path) -> str:
    """The last line of a text that is not empty."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _write(path: Path, value: Reply) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(value))
    partial.replace(path)


VERBS: dict[str, Callable[..., Reply]] = {
    verb.__name__: verb for verb in (unpack, install, hashes, start, status, log, stop, pack)
}


def main(verb: str, arguments: str) -> None:
    """Run a verb and print its reply; `supervise` is no verb of the launcher's, and has none."""
    if verb == "supervise":
        supervise()
        return
    try:
        reply = VERBS[verb](**json.loads(arguments))
    except (OSError, RuntimeError, tarfile.TarError) as error:
        reply = {"error": f"{type(error).__name__}: {error}"}
    print(REPLY + json.dumps(reply), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
