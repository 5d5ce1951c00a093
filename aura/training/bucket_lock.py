"""A lock on the folder of a run's checkpoints in a bucket (gs://): the object `lock`, which its holder keeps renewing.

Each write names the generation of the object that it replaces (ifGenerationMatch). The bucket refuses it if another one
is there by now. So one of two runs gets the lock, and a run that lost it learns that at its next renewal.

A lock may be taken when it was not renewed for LAPSES seconds, by the bucket's clock. It is taken at once if a process
of this machine left it that is no more, or an earlier process of the same supervised run on this host.

One thing is not prevented: a process that slept for longer than LAPSES in the middle of a save goes on with that save.
The seal of the other run then tells that its checkpoint was altered.
"""

import datetime
import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

from aura.core import console
from aura.core.errors import UserError
from aura.storage import store
from aura.training import run_lock

RENEWED = 30.0  # seconds between two renewals
LAPSES = 300.0  # seconds without a renewal after which another run may take the lock
SURE = 240.0  # such seconds for which the holder need not ask: a save may take a minute then
RELEASING = 5.0  # seconds that a release may take: a preemption gives 30 for all
HELD, RELEASED = "held", "released"


@dataclass(frozen=True)
class Seen:
    """The lock as the bucket has it.

    Attributes:
        generation: number of the object; "0" if there is none.
        age: seconds since it was written, by the bucket's clock.
        told: what its writer said of itself.
    """

    generation: str
    age: float
    told: dict[str, str]

    @property
    def holder(self) -> str:
        """Who wrote it, in words."""
        return f"process {self.told.get('process', '?')} of {self.told.get('host', 'another machine')}"

    def is_free(self) -> bool:
        """Return whether a run may take it now."""
        if self.generation == "0" or self.told.get("state") == RELEASED or self.age > LAPSES:
            return True
        return _is_dead(self.told) or _is_an_earlier_one_of_this_run(self.told)


class BucketLock:
    """The lock on a folder in a bucket; waits up to LAPSES seconds for a holder that may be dead.

    Raises:
        UserError: another run holds the lock and renews it, or the bucket cannot be asked.
    """

    def __init__(self, folder: str) -> None:
        self._folder, self._generation = folder, "0"
        self._about_me = about_this_process() | {"lock": uuid.uuid4().hex}
        self._renewed = 0.0
        self._lost: UserError | None = None
        self._one_at_a_time, self._ended = threading.RLock(), threading.Event()
        self._take()
        threading.Thread(target=self._keep_renewing, daemon=True).start()

    def confirm(self) -> None:
        """Raise `UserError` unless the lock is held for a minute yet; asks the bucket only if renewals failed."""
        if not self._lost and _now() - self._renewed > SURE:
            self._renew()
        if self._lost:
            raise self._lost

    def release(self) -> None:
        """Let another run have the folder; a bucket that does not answer is not waited for."""
        if self._ended.is_set():
            return
        self._ended.set()
        releasing = threading.Thread(target=self._give_back, daemon=True)
        releasing.start()
        releasing.join(RELEASING)

    def _take(self) -> None:
        seen = first = _look(self._folder)
        while not seen.is_free():
            if seen.generation != first.generation:  # its holder lives
                raise run_lock.in_use(self._folder, seen.holder)
            if seen is first:
                console.err.print(
                    f"{self._folder} is locked by {seen.holder}, {seen.age:.0f} s ago; waiting until that run renews "
                    f"its lock, or {LAPSES:.0f} s are over",
                    markup=False,
                )
            time.sleep(RENEWED / 10)
            seen = _look(self._folder)
        self._generation = seen.generation
        if not self._write(HELD):
            raise run_lock.in_use(self._folder, _look(self._folder).holder)

    def _keep_renewing(self) -> None:
        while not self._ended.wait(RENEWED) and not self._lost:
            with suppress(UserError):  # the next one may get through; until then `confirm` has the last word
                self._renew()

    def _renew(self) -> None:
        with self._one_at_a_time:
            if self._ended.is_set() or self._write(HELD):
                return
            seen = _look(self._folder)
            taken = "was removed" if seen.generation == "0" else f"was taken by {seen.holder}"
            self._lost = UserError(
                f"{self._folder}: the lock of this run {taken}, and so it ends; it writes and removes nothing more "
                f"there. A lock may be taken when it was not renewed for {LAPSES:.0f} s. Wait for the other run or end "
                "it, then run the same command again; or give this run its own folder (pretrain.checkpoint_folder)."
            )

    def _give_back(self) -> None:
        with self._one_at_a_time, suppress(UserError):  # it then lapses
            if not self._lost:
                self._write(RELEASED)

    def _write(self, state: str) -> bool:
        """Put the lock in the place of the generation that is known; whether that was still there."""
        asked = _now()
        try:
            self._generation = _put(self._folder, self._generation, self._about_me | {"state": state})
        except FileExistsError:
            seen = _look(
                self._folder
            )  # a request that got through, and was repeated because no answer came, is refused
            if seen.told.get("lock") != self._about_me["lock"] or seen.told.get("state") != state:
                return False
            self._generation = seen.generation
        self._renewed = asked
        return True


def about_this_process() -> dict[str, str]:
    """Describe this process as the holder of a lock, in names and values that an object's metadata can have."""
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "process": str(os.getpid()),
        "began": _began(os.getpid()) or "",
        "run": os.environ.get("AURA_RUN", ""),  # the folder of a supervised job (aura/tpu/worker.py)
    }


def _is_dead(told: dict[str, str]) -> bool:
    """Return whether a holder was a process of this machine, and has ended."""
    process, began = told.get("process", ""), told.get("began")
    if not (told.get("machine") and told["machine"] == _machine() and began and process.isdecimal()):
        return False
    return _began(int(process)) != began


def _is_an_earlier_one_of_this_run(told: dict[str, str]) -> bool:
    """Return whether a holder ran under this process's supervisor, which ends one process before it starts the next."""
    me = about_this_process()
    return bool(me["run"]) and (told.get("host"), told.get("run")) == (me["host"], me["run"])


def _machine() -> str:
    """Names the running kernel and the numbering of processes; "" where it does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _began(process: int) -> str | None:
    """When a process began, in ticks since the start of the machine; None if there is none that runs."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _now() -> float:
    """Seconds on a clock that also goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _look(folder: str) -> Seen:
    """The lock of a folder, by one request."""
    with store.explained(folder, absence=True):
        system, place = store.located(f"{folder}/{run_lock.NAME}")
        bucket, _, name = place.partition("/")
        try:
            headers, content = system.call("GET", "b/{}/o/{}", bucket, name)
        except FileNotFoundError:
            return Seen("0", 0.0, {})
        found = json.loads(content)
        age = parsedate_to_datetime(headers["Date"]) - datetime.datetime.fromisoformat(found["updated"])
        return Seen(str(found["generation"]), age.total_seconds(), found.get("metadata") or {})


def _put(folder: str, generation: str, told: dict[str, str]) -> str:
    """Write the lock of a folder in the place of a generation; the new one. FileExistsError: another is there."""
    refused = None
    with store.explained(folder, absence=True):
        system, place = store.located(f"{folder}/{run_lock.NAME}")
        bucket, _, name = place.partition("/")
        words = f"{told['state']} by process {told['process']} of {told['host']}\n"
        head = json.dumps({"name": name, "metadata": told})
        parts = (f"Content-Type: application/json\r\n\r\n{head}", f"Content-Type: text/plain\r\n\r\n{words}")
        body = "".join(f"--part\r\n{part}\r\n" for part in parts) + "--part--\r\n"
        try:
            written = system.call(
                "POST", f"{system._location}/upload/storage/v1/b/{bucket}/o", uploadType="multipart",
                ifGenerationMatch=generation, headers={"Content-Type": "multipart/related; boundary=part"},
                data=body.encode(), json_out=True,
            )  # fmt: skip
            return str(written["generation"])
        except (FileExistsError, FileNotFoundError) as error:  # 412; 404 of an object that is gone
            refused = error
    if isinstance(refused, FileNotFoundError) and generation == "0":
        raise UserError(f"{folder}: not found. Check the bucket and the names in it.")
    raise FileExistsError(folder)
