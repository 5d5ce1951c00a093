"""A pod: its life from a queued request to its deletion, and its workers, spoken to side by side."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aura import console
from aura.errors import UserError
from aura.tpu import worker
from aura.tpu.gcloud import WORKER_FILE, Gcloud, Node, Unreachable
from aura.tpu.settings import Place
from aura.tpu.topology import Accelerator
from aura.tpu.worker import Reply

T = TypeVar("T")
AT_ONCE = 16  # connections to workers at a time, a process of gcloud each
LONGEST_PAUSE = 20.0  # seconds between two looks at something that takes minutes
LOST = ("SUSPENDING", "SUSPENDED", "FAILED")  # states of a request that never becomes ACTIVE again
# docs.cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.nodes: states of a node that does not come back
GONE = ("PREEMPTED", "TERMINATED", "DELETING", "STOPPED", "HIDING", "HIDDEN")


@dataclass(frozen=True)
class Worker:
    """A TPU VM: its slice, its number there, and its address in the pod's network."""

    node: str
    index: int
    address: str


@dataclass(frozen=True)
class Pod:
    """The slices that go by one name."""

    gcloud: Gcloud
    name: str
    accelerator: Accelerator
    spot: bool

    @classmethod
    def of(cls, place: Place) -> "Pod":
        """The pod of this name, as it is, or as it is wanted if there is none.

        Raises:
            UserError: no zone is given, or there is one that is something else than what is asked for.
        """
        if place.zone is None:
            raise UserError("expected a zone, came none. Set ZONE=us-central2-b (or yours), or give --zone.")
        gcloud, wanted = Gcloud(place.zone, place.project), place.wanted
        there = gcloud.requested(place.name)
        if there is None:
            return cls(gcloud, place.name, wanted, place.spot)
        if place.accelerator is not None and there.accelerator != wanted:
            raise UserError(
                f"{place.name} in {place.zone} is {there.accelerator}; expected {wanted}, as ACCELERATOR and SLICES or "
                "their options say. Delete it first (aura tpu delete), or take another NAME."
            )
        return cls(gcloud, place.name, there.accelerator, there.spot)

    def __str__(self) -> str:
        return f"{self.name} ({self.accelerator}, {self.gcloud.zone})"

    @property
    def cost(self) -> str:
        """What goes on being paid while it exists, in the unit that Google's price list uses."""
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
        """`absent`, `waiting`, `ready`, or `lost`: to be deleted before it can be had again."""
        requested = self.gcloud.requested(self.name)
        if requested is None:
            return "absent"
        nodes = [node.state if node else "absent" for node in self.nodes()]
        if requested.state in LOST or any(state in GONE for state in nodes):
            return "lost"
        return "ready" if all(state == "READY" for state in nodes) else "waiting"

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
        """Make sure that the pod is there: request it unless it is, and wait until all of it is ready."""
        state = self.state()
        if state == "lost":
            console.err.print(f"{self} was taken away; requesting it again", markup=False)
            self.gcloud.delete(self.name)
        if state in ("lost", "absent"):
            self.gcloud.request(self.name, self.accelerator, spot=self.spot)
            console.err.print(f"requested {self}", markup=False)
        for _ in pauses():
            now = self.state()
            if now == "ready":
                return
            if now == "lost":
                raise UserError(
                    f"{self} could not be had: its request was ended. Take it back with `aura tpu delete`, then try "
                    "another zone, a smaller accelerator, or --on-demand."
                )

    def delete(self) -> None:
        """Delete the pod; it is no mistake if there is none."""
        if self.state() != "absent":
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


def pauses() -> Any:  # noqa: ANN401 - an iterator that never ends
    """Count and wait between the counts: a second at first, then half as long again each time, up to a limit."""
    pause, number = 1.0, 0
    while True:
        yield number
        time.sleep(pause)
        pause, number = min(1.5 * pause, LONGEST_PAUSE), number + 1
