"""A pod: its life from a queued request to its deletion, and its workers, spoken to side by side."""

import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aura.core import console
from aura.core.errors import UserError
from aura.tpu import failures, worker
from aura.tpu.gcloud import NOT_INSTALLED, PROGRAM, WORKER_FILE, Gcloud, Node, Request, Unreachable
from aura.tpu.settings import PORT, PodSettings
from aura.tpu.topology import Accelerator
from aura.tpu.worker import Reply

T = TypeVar("T")
AT_ONCE = 16  # connections to workers at a time, a process of gcloud each
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 20.0  # seconds between two looks at something that takes minutes
UNSEEN = 30  # pauses of gcloud's for which a new request may not be visible yet: a minute
HALF_MADE = 900  # such pauses for which machines may stay incomplete: half an hour
LOST = ("SUSPENDING", "SUSPENDED", "FAILED")  # states of a request that never becomes ACTIVE again
# docs.cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.nodes: states of a node that does not come back
GONE = ("PREEMPTED", "TERMINATED", "DELETING", "STOPPED", "HIDING", "HIDDEN")


@dataclass(frozen=True)
class Look:
    """A pod, its request and its slices, as seen at one moment.

    Attributes:
        state: `absent`, `waiting`, `ready`, `deleting`, or `lost`: to be deleted before it can be had again.
        told: the same in Google's words.
        request: None if there is none.
        made: whether Google says that all of it was made, though it may not be usable yet.
    """

    state: str
    told: str
    request: Request | None = None
    made: bool = False


@dataclass(frozen=True)
class Worker:
    """A TPU VM: its slice, its number there, and its address in the pod's network."""

    node: str
    index: int
    address: str


@dataclass(frozen=True)
class Pod:
    """The slices that go by one name; the processes of a run meet at `port` of the first worker."""

    gcloud: Gcloud
    name: str
    accelerator: Accelerator
    spot: bool
    port: int = PORT

    @classmethod
    def of(cls, place: PodSettings, *, by_name: bool = False) -> "Pod":
        """The pod of this name, as it is, or as it is wanted if there is none.

        With `by_name`, it does not matter whether it is what is asked for.

        Raises:
            UserError: no zone is given, or there is one that is something else than what is asked for.
        """
        gcloud = connected(place)
        there = gcloud.requested(place.name)
        if there is None:
            return cls(gcloud, place.name, place.wanted, place.spot, place.port)
        if not by_name:
            refuse_other(place, there)
        if there.made.get("internal_ips"):
            gcloud = dataclasses.replace(gcloud, access=dataclasses.replace(gcloud.access, internal_ips=True))
        return cls(gcloud, place.name, there.accelerator, there.spot, place.port)

    def __str__(self) -> str:
        return f"{self.name} ({self.accelerator}, {self.gcloud.zone})"

    @property
    def cost(self) -> str:
        """Say what goes on being paid while it exists, in the unit that Google's price list uses."""
        chips, rate = self.accelerator.chips, "spot" if self.spot else "on-demand"
        return (
            f"{chips} chips at the {rate} price of {self.accelerator.generation.name} in {self.gcloud.zone}: "
            f"{chips} chip-hours every hour, until: aura tpu delete --name {self.name} --zone {self.gcloud.zone}"
        )

    def nodes(self) -> list[Node | None]:
        """Its slices, in order; None for one that does not exist."""
        slices = self.accelerator.slices
        names = [self.name] if slices == 1 else [f"{self.name}-{number}" for number in range(slices)]
        return [self.gcloud.node(name) for name in names]

    def state(self) -> str:
        """`absent`, `waiting`, `ready`, `deleting`, or `lost`: to be deleted before it can be had again."""
        return self.look().state

    def look(self) -> Look:
        """Look at what is there now."""
        request = self.gcloud.requested(self.name)
        if request is None:
            return Look("absent", "not there")
        if request.state in (*LOST, "DELETING"):
            told = request.state + (f" ({request.reason})" if request.reason else "")
            return Look("lost" if request.state in LOST else "deleting", told, request)
        nodes = self.nodes()
        states = [node.state if node else "missing" for node in nodes]
        told = f"{request.state}, its slices {', '.join(states)}" if any(nodes) else request.state
        if any(state in GONE for state in states):
            return Look("lost", told, request)
        hosts = self.accelerator.hosts_per_slice
        whole = all(
            node and node.state == "READY" and len(list(filter(None, node.addresses))) == hosts for node in nodes
        )
        if all(state == "READY" for state in states) and not whole:
            told = f"{told}, but not all of its workers have an address"
        return Look("ready" if whole else "waiting", told, request, made=request.state == "ACTIVE")

    def workers(self) -> list[Worker]:
        """Every worker, slice by slice: a process of the run has its number in this list.

        Raises:
            Unreachable: the pod is not there, or not all of it.
        """
        nodes = self.nodes()
        if not any(nodes):
            raise Unreachable(f"there is no pod {self.name} in {self.gcloud.zone}. Make one with: aura tpu create")
        found = [Worker(node.name, i, ip) for node in nodes if node for i, ip in enumerate(node.addresses)]
        if len(found) != self.accelerator.hosts:
            raise Unreachable(f"{self} should have {self.accelerator.hosts} workers, and has {len(found)}")
        return found

    def create(self) -> None:
        """Make sure that the pod is there: request it unless it is, and wait until all of it is ready.

        Raises:
            Unreachable: its machines were taken away while this waited; another request may bring others.
            UserError: the request failed, was cancelled, or what it brought stays incomplete.
        """
        now = self.look()
        if now.state == "lost":
            failed = now.request is not None and now.request.state == "FAILED"
            what = f"the last request of {self} is {now.told}" if failed else f"{self} was taken away"
            console.err.print(f"{what}; requesting it again", markup=False)
            self.gcloud.delete(self.name)
        if now.state in ("lost", "deleting"):
            self._wait_until_gone()
        if now.state in ("lost", "deleting", "absent"):
            self.gcloud.request(self.name, self.accelerator, spot=self.spot)
            console.err.print(f"requested {self}", markup=False)
        self._wait_until_ready(asked=now.state != "waiting")

    def _wait_until_gone(self) -> None:
        began = time.monotonic()
        for _ in self.pauses():
            now = self.look()
            if now.state == "absent":
                return
            if time.monotonic() - began > HALF_MADE * self.gcloud.pause:
                raise UserError(
                    f"{self} should be deleted, but is still {now.told}. See: gcloud compute tpus queued-resources "
                    f"describe {self.name} --zone={self.gcloud.zone}; or take another NAME."
                )

    def _wait_until_ready(self, *, asked: bool) -> None:
        """Wait for the request; `asked` says that it is new, and so may not be visible for a moment."""
        began, told, made_at = time.monotonic(), "", None
        for _ in self.pauses():
            now = self.look()
            if now.state == "ready":
                return
            if now.state == "absent" and asked and time.monotonic() - began < UNSEEN * self.gcloud.pause:
                continue
            if now.state in ("absent", "deleting"):
                raise UserError(
                    f"{self} could not be created: its request is {now.told}. It was cancelled by someone else, or by "
                    "`aura tpu delete` elsewhere. To queue it again: aura tpu create"
                )
            if now.state == "lost":
                raise self._lost(now)
            asked = False
            if now.told != told:
                told = now.told
                console.err.print(f"{self}: {told}", markup=False)
            made_at = (made_at or time.monotonic()) if now.made else None
            if made_at and time.monotonic() - made_at > HALF_MADE * self.gcloud.pause:
                raise UserError(
                    f"{self} stays incomplete: {told}. It may cost already. Delete it with `aura tpu delete`, then "
                    "create it again."
                )

    def _lost(self, now: Look) -> UserError:
        """Return the error about a request that has ended; one whose machines were taken can be made again."""
        if now.request is None or now.request.state != "FAILED":
            hint = " Spot machines may be taken away at any time; --on-demand ones are not." if self.spot else ""
            return Unreachable(
                f"{self} could not be created: its request is {now.told}. Take it back with `aura tpu delete`, then "
                f"create it again.{hint}"
            )
        advice = f"See: gcloud compute tpus queued-resources describe {self.name} --zone={self.gcloud.zone}"
        if now.request.reason:
            advice = failures.advice(now.request.reason, self.gcloud.zone, self.name)
        reason = now.request.reason or "Google gives no reason"
        return UserError(
            f"{self} could not be created: its request is FAILED: {reason}\n{advice}\n"
            "Take the request back with: aura tpu delete"
        )

    def delete(self) -> None:
        """Delete the pod; it is no mistake if there is none."""
        self.gcloud.delete(self.name)

    def ask(self, verb: str, **arguments: Any) -> list[Reply]:  # noqa: ANN401 - JSON
        """Run a verb of aura/tpu/worker.py on every worker; their replies, in order."""
        return self.each(lambda one: self.gcloud.ssh(one.node, one.index, verb, **arguments))

    def send(self, file: Path, to: str) -> None:
        """Copy a file into the home folder of every worker."""
        self.each(lambda one: self.gcloud.send(one.node, one.index, file, to))

    def each(self, work: Callable[[Worker], T]) -> list[T]:
        """`work` for every worker, several at a time; the first failure is raised when all have ended."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(work, self.workers()))

    def prepare(self) -> None:
        """Copy to every worker the program that everything else there goes through."""
        self.send(Path(worker.__file__), WORKER_FILE)

    def pauses(self) -> Iterator[int]:
        """`pauses`, as fast as its gcloud tries again."""
        return pauses(FIRST_PAUSE * self.gcloud.pause / Gcloud.pause)


def connected(place: PodSettings) -> Gcloud:
    """gcloud for the zone of a pod; a `UserError` with a line each if there is no such program, or no zone is given."""
    lacking = []
    if not shutil.which(PROGRAM):
        project = "" if place.project else ". Then name a project: PROJECT, --project, or gcloud config set project ID"
        lacking.append(NOT_INSTALLED + project)
    if place.zone is None:
        lacking.append("expected a zone, got none. Set ZONE=us-central2-b (or yours), or give --zone.")
    if place.zone is None or lacking:
        raise UserError("\n".join(lacking))
    return Gcloud(place.zone, place.project, access=place.access)


def delete(place: PodSettings) -> str:
    """Delete the pod of a name, whatever it is, and even if Google's description of it cannot be read; what it was."""
    gcloud, kind = connected(place), ""
    try:
        there = gcloud.requested(place.name)
        kind = f"{there.accelerator}, " if there else ""
    except UserError as error:
        console.err.print(f"{error}\ndeleting it all the same", markup=False)
    gcloud.delete(place.name)
    return f"{place.name} ({kind}{place.zone})"


def refuse_other(place: PodSettings, there: Request) -> None:
    """Stop if the pod of a name is something else than what options and variables ask for."""
    given, wanted = place.model_fields_set, place.wanted
    differences = []
    if place.accelerator is not None and (there.type, there.slices) != (wanted.cloud_type, wanted.slices):
        differences.append(f"it is {there.accelerator}; expected {wanted}, as ACCELERATOR and SLICES say")
    elif "slices" in given and there.slices != place.slices:
        differences.append(f"it has {there.slices} slices; expected {place.slices}, as SLICES says")
    if "spot" in given and there.spot != place.spot:
        kinds = {True: "spot", False: "on-demand"}
        differences.append(f"it is {kinds[there.spot]}; expected {kinds[place.spot]}, as SPOT says")
    differences += [
        f"its {name} is {there.made[name]}; expected {getattr(place, name)}"
        for name in given & there.made.keys()
        if not _same(getattr(place, name), there.made[name])
    ]
    if differences:
        raise UserError(
            f"{place.name} in {place.zone} is another pod than the options and variables ask for: "
            f"{'; '.join(sorted(differences))}. Delete it first (aura tpu delete), take another NAME, or leave them "
            "out."
        )


def _same(asked: object, told: object) -> bool:
    """Return whether a setting is what Google says; Google gives whole paths for names, and lists in any order."""
    if isinstance(asked, str) and isinstance(told, str):
        if asked.rpartition("/")[2] == told.rpartition("/")[2]:
            return True
        return set(asked.split(",")) <= set(told.split(","))
    return asked == told


def pauses(first: float = FIRST_PAUSE) -> Iterator[int]:
    """Count and wait between the counts: `first` seconds, then half as long again each time, up to a limit."""
    pause, number = first, 0
    while True:
        yield number
        time.sleep(pause)
        pause, number = min(1.5 * pause, LONGEST_PAUSE), number + 1
