"""Wall time, CPU time and memory of a command with all its processes; for the other benchmarks."""

import datetime
import os
import platform
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    wall: float  # seconds
    cpu: float  # seconds, of all its processes, also those that it left behind
    rss: int  # bytes, of all its processes together, at the highest of samples taken every 50 ms
    out: str


def measure(command: list[str], folder: Path, *, memory: bool = True, **environment: str) -> Cost:
    """Run a command that must succeed; without `memory` nobody looks on, which takes time too."""
    before, began, peak = os.times(), time.monotonic(), 0
    seconds: dict[int, float] = {}  # by process, when last seen: what nobody waits for is in no parent's times
    with (folder / "measured.log").open("w+") as log:
        variables = os.environ | environment
        process = psutil.Popen(command, cwd=folder, env=variables, stdout=log, stderr=subprocess.STDOUT)
        while memory and process.poll() is None:
            peak = max(peak, _looked_at(process, seconds))
            time.sleep(0.05)
        process.wait()
        wall, after = time.monotonic() - began, os.times()
        log.seek(0)
        said = log.read()
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}:\n{said[-3000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(wall, max(cpu, sum(seconds.values())), peak, said)


def _looked_at(process: psutil.Process, seconds: dict[int, float]) -> int:
    """Bytes that a process and its descendants hold now; enters the processor time of each so far."""
    total = 0
    for one in [process, *_children(process)]:
        try:
            total += one.memory_info().rss
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        seconds[one.pid] = times.user + times.system
    return total


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def machine() -> str:
    """The line that every result begins with: date, processor and load."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    today = datetime.datetime.now(tz=datetime.UTC).date()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{today}, {platform.machine()}, {cores} cores, load {load}, Python {platform.python_version()}"
