"""The gcloud CLI, as far as TPU pods need it: queued resources, their nodes, and ssh and scp to their workers.

Flags are those of the reference at docs.cloud.google.com/sdk/gcloud/reference/compute/tpus (queued-resources and
tpu-vm), as gcloud 528.0.0 has them. Arguments go to gcloud as lists. The one shell is the worker's own, behind
`ssh --command`, and what it gets is quoted in one place, `Gcloud.ssh`. No credential passes through here: gcloud has
its own. Failures that another try can cure are tried again; the others say what a user can do (`failures.py`).
"""

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import tenacity

from aura.core import bounded, console
from aura.core.errors import UserError
from aura.tpu import failures, worker
from aura.tpu.access import Access
from aura.tpu.topology import Accelerator, accelerator

T = TypeVar("T")
PROGRAM = "gcloud"
NOT_INSTALLED = "expected the gcloud program, found none. Install the Google Cloud CLI, then run: gcloud auth login"
TRIES = 8  # of what may work a minute later: a connection to a VM that has just booted, a service that is overloaded
WORKER_FILE = "aura_worker.py"  # aura/tpu/worker.py in a worker's home folder
LONGEST = 3600.0  # seconds of one gcloud command
# What gcloud says of a machine that is no longer there: no other try helps, but another pod may.
GONE = re.compile(r"ERROR: \(gcloud.*(NOT_FOUND|PREEMPTED|TERMINATED|DELETING|STOPPED)", re.DOTALL)
# What a reply to a verb of worker.py must hold (see `bounded.mismatch`), and what only some replies do.
REPLIES: dict[str, dict[Any, Any]] = {
    "status": {"state": str, "key": str | None},
    "log": {"text": str, "offset": int},
    "stop": {"stopped": bool, "ended": [str]},
    "pack": {"sha256": str},
    "hashes": {str: str | None},
}
PERHAPS: dict[str, dict[str, Any]] = {
    "status": {"process": int | None, "coordinator": str | None, "deaths": int, "last": str},
    "start": {"refused": str},
    "install": {"obstacle": str | None},
}
LONGEST_ERROR = 4000  # characters of a worker's own words in a message


class Unreachable(UserError):
    """A worker or Google's service did not answer, or the pod is gone. Trying again may help."""


class _Again(Exception):
    """One try failed in a way that another may not."""


@dataclass(frozen=True)
class Request:
    """A queued resource: its state, such as WAITING_FOR_RESOURCES, ACTIVE or SUSPENDED, and what it asks for.

    Attributes:
        reason: why it failed, or who suspended it; None if nothing is said.
        type: the name of one slice's accelerator, as Google has it.
        made: the settings of `Access` that Google tells of it; one that is missing here is not told.
    """

    state: str
    type: str
    slices: int
    spot: bool
    reason: str | None = None
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def accelerator(self) -> Accelerator:
        """Return the accelerator that it is made of; `UserError` if aura knows no such TPU."""
        return accelerator(self.type, self.slices)

    def __str__(self) -> str:
        return f"{self.slices} x {self.type}" if self.slices > 1 else self.type


@dataclass(frozen=True)
class Node:
    """A slice that exists: its state (READY when usable), and its workers' addresses, in order; "" for none yet."""

    name: str
    state: str
    addresses: list[str]


@dataclass(frozen=True)
class Gcloud:
    """gcloud for one zone.

    Attributes:
        zone: such as us-central2-b.
        project: None for the one that gcloud is configured with.
        pause: seconds before the second try of anything; doubles with each.
        access: where pods are placed and how they are reached.
    """

    zone: str
    project: str | None
    pause: float = 2.0
    access: Access = field(default_factory=Access)

    def request(self, name: str, wanted: Accelerator, *, spot: bool) -> None:
        """Queue a request for a pod, unless one of this name is there; returns at once.

        One that appears between the tries is one's own, of a try whose answer was lost.
        """
        track, flags = self.access.creation()
        nodes = [f"--node-count={wanted.slices}", f"--node-prefix={name}"]
        arguments = [
            *(*track, "compute", "tpus", "queued-resources", "create", name),
            *(nodes if wanted.slices > 1 else [f"--node-id={name}"]),
            f"--accelerator-type={wanted.cloud_type}",
            f"--runtime-version={self.access.runtime_version or wanted.generation.runtime}",
            *(["--spot"] if spot else []),
            *flags,
            "--async",
        ]
        done = self._tried(arguments)
        if done.returncode and failures.kind(done.stderr).name == "taken" and self.requested(name) is not None:
            return
        self._check(done, name)

    def requested(self, name: str) -> Request | None:
        """The request of this name, or None; as docs.cloud.google.com/tpu/docs/reference/rest/v2 describes it."""
        return self._described("queued-resources", name, _request)

    def delete(self, name: str) -> None:
        """Delete a request with its nodes; nothing of them costs from then on. It is no mistake if there is none."""
        done = self._tried(["compute", "tpus", "queued-resources", "delete", name, "--force"])
        if not _not_found(done):
            self._check(done, name)

    def node(self, name: str) -> Node | None:
        """A slice, or None if there is none of this name."""
        return self._described("tpu-vm", name, lambda told: _node(name, told))

    def ssh(self, node: str, index: int, verb: str, **arguments: Any) -> worker.Reply:  # noqa: ANN401 - JSON
        """Run a verb of aura/tpu/worker.py on a worker and return its reply, trying again when the connection fails.

        Raises:
            Unreachable: no reply after some tries.
            UserError: the verb failed on the worker.
        """
        command = shlex.join(["python3", WORKER_FILE, verb, json.dumps(arguments)])

        def once() -> worker.Reply:
            told = self._connect_once("ssh", node, f"--worker={index}", f"--command={command}")
            return _reply(told, verb)

        reply = self._tries(once, f"worker {index} of {node}")
        if "error" in reply:
            raise UserError(f"worker {index} of {node} could not {verb}: {str(reply['error'])[:LONGEST_ERROR]}")
        return reply

    def send(self, node: str, index: int, file: Path, to: str) -> None:
        """Copy a file into the home folder of a worker."""
        arguments = ("scp", str(file), f"{node}:{to}", f"--worker={index}")
        self._tries(lambda: self._connect_once(*arguments), f"worker {index} of {node}")

    def fetch(self, node: str, index: int, file: str, to: Path) -> None:
        """Copy a file from the home folder of a worker."""
        arguments = ("scp", f"{node}:{file}", str(to), f"--worker={index}")
        self._tries(lambda: self._connect_once(*arguments), f"worker {index} of {node}")

    def _connect_once(self, verb: str, *arguments: str) -> str:
        """`gcloud compute tpus tpu-vm ssh` or `scp`; what it wrote. A worker's own reply counts, not the status."""
        track, flags = self.access.connection()
        done = self._call(*track, "compute", "tpus", "tpu-vm", verb, *arguments, *flags)
        answered = any(line.startswith(worker.REPLY) for line in done.stdout.splitlines())
        if done.returncode and not answered:
            if "ERROR: (gcloud" in done.stderr and failures.kind(done.stderr).name in failures.FINAL:
                self._check(done)
            if GONE.search(done.stderr):
                raise Unreachable(f"{verb}: {failures.whole(done.stderr)}")
            raise _Again(f"{verb} ended with {done.returncode}: {' '.join(done.stderr.split())[-300:] or 'no message'}")
        return done.stdout

    def _described(self, kind: str, name: str, read: Callable[[dict[str, Any]], T]) -> T | None:
        """Return gcloud's description of a resource, as `read` understands it; None if there is none of this name."""
        arguments = ["compute", "tpus", kind, "describe", name, "--format=json"]

        def once() -> T | None:
            done = self._once(arguments)
            if _not_found(done):
                return None
            self._check(done, name)
            try:
                return read(bounded.read_json(done.stdout))
            except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
                shown = " ".join(done.stdout.split())[:200] or "nothing"
                raise _Again(
                    f"gcloud {' '.join(arguments[2:4])} {name}: expected the JSON that the TPU API documents, got "
                    f"{shown} ({type(error).__name__}: {error}). If it stays so, run: gcloud components update"
                ) from None

        return self._tries(once, "gcloud")

    def _tried(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        """Run gcloud, again while it fails in a way that may pass."""
        return self._tries(lambda: self._once(arguments), "gcloud")

    def _once(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        done = self._call(*arguments)
        if done.returncode and failures.kind(done.stderr).name == "transient":
            raise _Again(failures.whole(done.stderr))
        return done

    def _tries(self, work: Callable[[], T], whose: str) -> T:
        """Do something, up to TRIES times while it raises `_Again`; `Unreachable` at last, which says of what."""
        tries = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Again),
            stop=tenacity.stop_after_attempt(TRIES),
            wait=tenacity.wait_exponential(multiplier=self.pause / 2, max=30),
            before_sleep=lambda state: console.err.print(f"{whose}: {_reason(state)}; trying again", markup=False),
            reraise=True,
        )
        try:
            return tries(work)
        except _Again as error:
            raise Unreachable(f"{whose} did not answer well, {TRIES} times: {error}") from None

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        where = [f"--zone={self.zone}", *([f"--project={self.project}"] if self.project else []), "--quiet"]
        words = " ".join(word for word in arguments[:5] if not word.startswith("-"))
        try:
            return subprocess.run(
                [PROGRAM, *arguments, *where],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", errors="replace",
                timeout=LONGEST, check=False,
            )  # fmt: skip
        except FileNotFoundError:
            raise UserError(NOT_INSTALLED) from None
        except subprocess.TimeoutExpired:
            raise Unreachable(f"gcloud {words} took more than {LONGEST:.0f} s") from None
        except OSError as error:
            raise UserError(f"gcloud cannot be run ({error}). Check it with: gcloud --version") from None

    def _check(self, done: subprocess.CompletedProcess[str], name: str = "NAME") -> None:
        """Raise a `UserError` for a command that failed: gcloud's words, and what a user can do."""
        if done.returncode:
            told = failures.whole(done.stderr)
            raise UserError(f"gcloud failed: {told}\n{failures.advice(done.stderr, self.zone, name)}")


def _request(told: dict[str, Any]) -> Request:
    spec = told["tpu"]["nodeSpec"][0]
    node, state = spec["node"], told.get("state", {})
    slices = int(spec.get("multisliceParams", {}).get("nodeCount", 1))
    name = str(state.get("state", "UNKNOWN"))
    reason = failures.of_status(state.get("failedData", {}).get("error"))
    if reason is None and name.startswith("SUSPEND"):
        by = {"USER": "somebody suspended it", "SERVICE": "Google took its machines back"}
        reason = by.get(str(state.get("stateInitiator")))
    return Request(name, _type(node), slices, "spot" in told, reason, _made(told, node))


def _type(node: dict[str, Any]) -> str:
    """The accelerator's name; a request made by shape (`--type`, `--topology`) has only that."""
    if "acceleratorType" in node:
        return str(node["acceleratorType"]).rpartition("/")[2]
    config = node["acceleratorConfig"]
    return f"{config['type']} {config['topology']}"


def _made(told: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """The settings of `Access` that a description of a request tells; Google leaves out what is not set."""
    if "runtimeVersion" not in node:
        return {}  # no whole description
    network = node.get("networkConfig", {})
    reservation = str(told.get("reservationName") or "").rpartition("/")[2]
    return {
        "runtime_version": node["runtimeVersion"],
        "internal_ips": not network.get("enableExternalIps", False),
        "network": network.get("network") or "default",
        "subnetwork": network.get("subnetwork"),
        "service_account": node.get("serviceAccount", {}).get("email"),
        "labels": ",".join(f"{key}={value}" for key, value in node.get("labels", {}).items()) or None,
        "tags": ",".join(node.get("tags", [])) or None,
        "reserved": bool(reservation) or "reserved" in told.get("guaranteed", {}),
        "reservation": reservation if reservation != "-" else None,
    }


def _node(name: str, told: dict[str, Any]) -> Node:
    addresses = [str(endpoint.get("ipAddress", "")) for endpoint in told.get("networkEndpoints", [])]
    return Node(name, str(told.get("state", "UNKNOWN")), addresses)


def _reply(told: str, verb: str) -> worker.Reply:
    """The reply to a verb in what a connection wrote, if it has what such a reply must hold."""
    replies = [line for line in told.splitlines() if line.startswith(worker.REPLY)]
    if not replies:
        raise _Again(f"no reply to {verb}")
    text = replies[-1].removeprefix(worker.REPLY)
    try:
        reply = bounded.read_json(text)
    except bounded.Unreadable:
        reply = None
    failed = isinstance(reply, dict) and "error" in reply
    given = reply if isinstance(reply, dict) else {}
    perhaps = {name: shape for name, shape in PERHAPS.get(verb, {}).items() if name in given}
    if bounded.mismatch(reply, {} if failed else REPLIES.get(verb, {}) | perhaps):
        raise _Again(f"expected a reply to {verb}, got {' '.join(text.split())[:200]}")
    return given


def _not_found(done: subprocess.CompletedProcess[str]) -> bool:
    return bool(done.returncode) and "NOT_FOUND" in done.stderr


def _reason(state: tenacity.RetryCallState) -> str:
    return str(state.outcome.exception()) if state.outcome else "no answer"
