"""Program that the launcher runs on a TPU VM: one file, copied there first, which needs Python 3.10 and nothing else.

    python3 aura_worker.py VERB JSON      prints one line of JSON behind REPLY, or did not run

A verb reports its own failure in that line, because gcloud's exit status does not tell a failed ssh from a failed
command. `start` leaves a supervisor behind that outlives the connection: it runs the job, writes its log, and starts it
again when it dies, so that a job of several workers whose peer was lost meets again without the launcher. A job ends
with its supervisor, however that ends. Every process of a job has AURA_RUN in its environment, by which it is found.
"""

import ctypes
import fcntl
import hashlib
import json
import os
import re
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
RUN = HOME / "run"  # the job: job.json, state.json, log.txt, process.json, and `lock`, held while its supervisor lives
PYTHON = "python3.11"
GIVE_UP = 5  # deaths in a row, each of them early
EARLY = 600.0  # seconds of life after which a death counts as new trouble, not as the same again
PAUSE = 2.0  # seconds before a job that died is started again: its peers need to notice, too
TERMINATED = 128 + signal.SIGTERM  # exit status of a job that was told to end, and has saved: no death
NOTICE = 40.0  # seconds that a job has to end after SIGTERM: it saves a checkpoint
POLL = 0.1  # seconds between two looks at a process
READ_AT_ONCE = 1 << 16  # bytes of a log in one reply
SHOWN = 200  # characters of a command in a reply
PR_SET_PDEATHSIG = 1  # of prctl(2)
# What apt says at a first boot, while the image updates itself or its network comes up; it works some minutes later.
NOT_YET = re.compile(
    r"Could not get lock|Unable to (acquire|lock)|another process using it|dpkg was interrupted|Failed to fetch"
    r"|Temporary failure resolving|Could not (resolve|connect)|Hash Sum mismatch|Connection (timed out|reset)"
)

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
    """Make the environment that the lock files describe, unless it is the one that is there.

    The reply has an `obstacle` if the system's package manager cannot work yet; the launcher then asks again.
    """
    wanted = _sha256(*(HOME / name for name in requirements))
    marker = HOME / ".venv/installed"
    if marker.exists() and marker.read_text() == wanted:
        return {"installed": "already"}
    if not shutil.which(PYTHON) and (obstacle := _install_python()):
        return {"installed": "not yet", "obstacle": obstacle}
    _call(PYTHON, "-m", "venv", "--clear", str(HOME / ".venv"))
    files = [part for name in requirements for part in ("-r", str(HOME / name))]
    _call(str(HOME / ".venv/bin/python"), "-m", "pip", "install", "--quiet", "--require-hashes", *files)
    marker.write_text(wanted)
    return {"installed": "now"}


def hashes(paths: list[str]) -> Reply:
    """SHA-256 of files of the project's copy; null for one that is not there."""
    return {path: _sha256(HOME / path) if (HOME / path).is_file() else None for path in paths}


def _install_python() -> str | None:
    """Install Python with apt; what stands in its way for now, or None."""
    wait = ("-o", "DPkg::Lock::Timeout=30")
    for arguments in (("update",), ("install", "--yes", PYTHON, f"{PYTHON}-venv")):
        command = ("sudo", "apt-get", *arguments, "--quiet", *wait)
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        said = [line.strip() for line in done.stdout.splitlines() if NOT_YET.search(line)]
        if any("dpkg was interrupted" in line for line in said):
            _call("sudo", "dpkg", "--configure", "-a")
        if said:
            return said[0]
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-2000:]}")
    return None


def start(key: str, command: list[str], environment: dict[str, str], again: bool = False) -> Reply:
    """Start a job unless it runs, or has ended well, already; another one in its place is refused.

    Arguments:
        key: says which job it is.
        command: program and arguments, run in the project's copy; `python` is that of its environment.
        environment: variables beside those of the login.
        again: whether one that has ended well starts again, because its peers need it.
    """
    now = status()
    if now["state"] == "running" and now["key"] != key:
        return {"refused": now["key"]}
    if now["state"] == "running" or (now["state"] == "done" and now["key"] == key and not again):
        return {"started": False}
    _end(_processes(), notice=0)  # of a supervisor that was killed: two sets would write the same checkpoints
    RUN.mkdir(parents=True, exist_ok=True)
    _forget_process()
    _write(RUN / "job.json", {"key": key, "command": command, "environment": environment})
    _write(RUN / "state.json", {"state": "starting"})
    with (RUN / "log.txt").open("ab" if now["key"] == key else "wb") as log:
        command = [sys.executable, os.path.abspath(__file__), "supervise", "{}"]  # noqa: PTH100 - of Python 3.10
        supervisor = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "AURA_RUN": str(RUN)},
        )  # fmt: skip
    while status()["state"] == "starting" and supervisor.poll() is None:
        time.sleep(0.05)
    return {"started": True}


def status() -> Reply:
    """Report the state of the job.

    `key` and `state` (none, running, done, failed, stopped, killed) are always there. With a job, also its deaths, its
    log's last line, where its processes meet, and `process`: its number in the run. The job itself tells that number
    once it knows (on a TPU it comes from the slice, not from the launcher); null until then.
    """
    job, told = _read(RUN / "job.json"), _read(RUN / "state.json")
    if "key" not in job:
        return {"state": "none", "key": None}
    state = told.get("state", "killed")  # a file that a crash of the machine cut short says nothing
    if state == "running" and not _supervised():
        state = "killed"  # its supervisor died without a word
    meeting = job.get("environment", {}).get("AURA_COORDINATOR")
    place = {"process": _read(RUN / "process.json").get("process"), "coordinator": meeting}
    return {"deaths": 0, "last": _tail(RUN / "log.txt"), **told, **place, "key": job["key"], "state": state}


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
    """End the job and its supervisor, and what a killed supervisor left; `start` goes on from its checkpoints.

    The supervisor passes the signal on, so that the job gets it once. The reply names the processes that were `ended`
    although no supervisor spoke for them. Only processes that bear this job's AURA_RUN are ended.
    """
    before, found = status(), _processes()
    running = before["state"] == "running"
    supervisor = [before["pid"]] if running and before.get("pid") in found else []
    _end(supervisor, NOTICE + 5)
    orphans = {pid: command for pid in _processes() if (command := _command(pid))}
    _end(list(orphans), 0 if supervisor else NOTICE + 5)
    if running or found:
        _write(RUN / "state.json", {"state": "stopped"})
    return {
        "stopped": running or bool(found),
        "ended": [f"process {pid}: {command}" for pid, command in sorted(orphans.items())],
    }


def pack(paths: list[str], archive: str) -> Reply:
    """Write files and folders of the project's copy to a tar in the home folder; its SHA-256."""
    missing = [path for path in paths if not (HOME / path).exists()]
    if missing:
        raise RuntimeError(f"expected {', '.join(missing)} in {HOME}, found nothing")
    with tarfile.open(Path.home() / archive, "w") as tar:
        for path in paths:
            tar.add(HOME / path, path)
    return {"sha256": _sha256(Path.home() / archive)}


def supervise() -> None:
    """Run the job until it ends well, or has died GIVE_UP times in a row soon after its start.

    On SIGTERM the job gets it, too, and NOTICE seconds to end. No state is written then: whoever asked for it knows,
    and after a restart of the machine the launcher starts the job again. A job that ends with TERMINATED without that
    did so because a peer was told to: all of them have saved, and go on together.
    """
    lock = (RUN / "lock").open("w")  # released by the system whenever this process ends
    fcntl.flock(lock, fcntl.LOCK_EX)
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    job, deaths, in_a_row = _read(RUN / "job.json"), 0, 0
    if not isinstance(job.get("command"), list) or not isinstance(job.get("environment"), dict):
        _write(RUN / "state.json", {"state": "failed", "deaths": 0, "last": f"{RUN / 'job.json'} is damaged"})
        return
    environment = {**os.environ, **job["environment"], "AURA_PROCESS_FILE": str(RUN / "process.json")}
    environment["PATH"] = f"{HOME / '.venv/bin'}{os.pathsep}{environment['PATH']}"
    while not asked:
        begun = time.monotonic()
        _forget_process()
        _write(RUN / "state.json", {"state": "running", "pid": os.getpid(), "deaths": deaths})
        exit_status = _run(job["command"], environment, asked)
        if asked:
            return
        if exit_status == 0:
            _write(RUN / "state.json", {"state": "done", "deaths": deaths})
            return
        if exit_status == TERMINATED:
            print("the job was ended by SIGTERM, after it saved; it is started again", flush=True)
            time.sleep(PAUSE)
            continue
        deaths += 1
        in_a_row = in_a_row + 1 if time.monotonic() - begun < EARLY else 1
        last = _tail(RUN / "log.txt")
        print(f"the job ended with {exit_status}, its death number {deaths}", flush=True)
        if in_a_row >= GIVE_UP:
            _write(RUN / "state.json", {"state": "failed", "deaths": deaths, "last": last})
            return
        time.sleep(PAUSE)


def _run(command: list[str], environment: dict[str, str], asked: list[int]) -> int:
    """Run a job to its end, or end it once something is in `asked`; its exit status."""
    supervisor = os.getpid()

    def end_with_the_supervisor() -> None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(1)  # it died before

    child = subprocess.Popen(command, cwd=HOME, env=environment, preexec_fn=end_with_the_supervisor)
    while child.poll() is None and not asked:
        time.sleep(POLL)
    if asked:
        child.terminate()
        deadline = time.monotonic() + NOTICE
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL)
    # What it started and left behind would hold its devices, and write beside its successor.
    _end([pid for pid in _processes() if pid != supervisor], notice=0)
    return child.wait()


def _processes() -> list[int]:
    """Every process of a job here, supervisors too, but this one."""
    found, mark = [], f"AURA_RUN={RUN}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # it has ended, or is another account's
            continue
    return [pid for pid in found if pid != os.getpid()]


def _command(pid: int) -> str:
    """Return the command of a process, shortened; "" if it has ended."""
    try:
        words = (Path("/proc") / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    return " ".join(words).strip()[:SHOWN]


def _end(pids: list[int], notice: float) -> None:
    """End processes of a job: with SIGTERM and up to `notice` seconds, then with SIGKILL.

    Before each signal it looks again whether a number is still a process of a job: another may have got it meanwhile.
    """
    deadline = time.monotonic() + notice
    for number in (signal.SIGTERM, signal.SIGKILL) if notice else (signal.SIGKILL,):
        for pid in sorted(set(pids) & set(_processes())):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        while number == signal.SIGTERM and set(pids) & set(_processes()) and time.monotonic() < deadline:
            time.sleep(POLL)


def _forget_process() -> None:
    """Forget which process of the run was here: the next start may be another."""
    (RUN / "process.json").unlink(missing_ok=True)


def _supervised() -> bool:
    """Return whether a supervisor holds the lock."""
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
    """The last line of a text that is not empty; "" if there is none."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _read(path: Path) -> Reply:
    """Return what `_write` wrote; nothing if there is no such file, or a crash of the machine damaged it."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):  # absent, a folder, or damaged
        return {}
    return value if isinstance(value, dict) else {}


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
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, tarfile.TarError) as error:
        reply = {"error": f"{type(error).__name__}: {error}"}
    print(REPLY + json.dumps(reply), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
