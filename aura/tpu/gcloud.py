"""The gcloud CLI, as far as TPU pods need it: queued resources, their nodes, and ssh and scp to their workers.

Flags are those of the reference at docs.cloud.google.com/sdk/gcloud/reference/compute/tpus (queued-resources and
tpu-vm). Arguments go to gcloud as lists. The one shell is the worker's own, behind `ssh --command`, and what it gets
is quoted in one place, `Gcloud.ssh`. No credential passes through here: gcloud has its own.
"""

import json
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tenacity

from aura import console
from aura.errors import UserError
from aura.tpu import worker
from aura.tpu.topology import Accelerator, accelerator

PROGRAM = "gcloud"
TRIES = 5  # of a connection to a worker; a VM that has just booted refuses some
WORKER_FILE = "aura_worker.py"  # aura/tpu/worker.py in a worker's home folder
LONGEST = 3600.0  # seconds of one gcloud command


class Unreachable(UserError):
    """A worker did not answer: ssh failed, or the pod is gone. Trying again may help."""


@dataclass(frozen=True)
class Request:
    """A queued resource: its state, such as WAITING_FOR_RESOURCES, ACTIVE or SUSPENDED, and what it asks for."""

    state: str
    accelerator: Accelerator
    spot: bool


@dataclass(frozen=True)
class Node:
    """A slice that exists: its state (READY when usable), and its workers' addresses, in order."""

    name: str
    state: str
    addresses: list[str]


@dataclass(frozen=True)
class Gcloud:
    """gcloud for one zone.

    Attributes:
        zone: such as us-central2-b.
        project: None for the one that gcloud is configured with.
        pause: seconds before the second try of a connection; doubles with each.
    """

    zone: str
    project: str | None
    pause: float = 2.0

    def request(self, name: str, wanted: Accelerator, *, spot: bool) -> None:
        """Queue a request for a pod; returns at once."""
        nodes = [f"--node-count={wanted.slices}", f"--node-prefix={name}"]
        self._run(
            *("compute", "tpus", "queued-resources", "create", name),
            *(nodes if wanted.slices > 1 else [f"--node-id={name}"]),
            f"--accelerator-type={wanted.cloud_type}",
            f"--runtime-version={wanted.generation.runtime}",
            *(["--spot"] if spot else []),
            "--async",
        )

    def requested(self, name: str) -> Request | None:
        """The request of this name, or None; as docs.cloud.google.com/tpu/docs/reference/rest/v2 describes it."""
        told = self._describe("queued-resources", name)
        if told is None:
            return None
        spec = told["tpu"]["nodeSpec"][0]
        slices = spec.get("multisliceParams", {}).get("nodeCount", 1)
        made_of = accelerator(spec["node"]["acceleratorType"], int(slices))
        return Request(str(told.get("state", {}).get("state", "UNKNOWN")), made_of, "spot" in told)

    def delete(self, name: str) -> None:
        """Delete a request with its nodes; nothing of them costs from then on."""
        self._run("compute", "tpus", "queued-resources", "delete", name, "--force")

    def node(self, name: str) -> Node | None:
        """A slice, or None if there is none of this name."""
        told = self._describe("tpu-vm", name)
        if told is None:
            return None
        addresses = [endpoint["ipAddress"] for endpoint in told.get("networkEndpoints", [])]
        return Node(name, str(told.get("state", "UNKNOWN")), addresses)

    def ssh(self, node: str, index: int, verb: str, **arguments: Any) -> worker.Reply:  # noqa: ANN401 - JSON
        """Run a verb of aura/tpu/worker.py on a worker and return its reply, trying again when the connection fails.

        Raises:
            Unreachable: no reply after some tries.
            UserError: the verb failed on the worker.
        """
        command = shlex.join(["python3", WORKER_FILE, verb, json.dumps(arguments)])
        told = self._connect("ssh", node, f"--worker={index}", f"--command={command}")
        replies = [line for line in told.splitlines() if line.startswith(worker.REPLY)]
        if not replies:
            raise Unreachable(f"worker {index} of {node} gave no reply to {verb}")
        reply: worker.Reply = json.loads(replies[-1].removeprefix(worker.REPLY))
        if "error" in reply:
            raise UserError(f"worker {index} of {node} could not {verb}: {reply['error']}")
        return reply

    def send(self, node: str, index: int, file: Path, to: str) -> None:
        """Copy a file into the home folder of a worker."""
        self._connect("scp", str(file), f"{node}:{to}", f"--worker={index}")

    def fetch(self, node: str, index: int, file: str, to: Path) -> None:
        """Copy a file from the home folder of a worker."""
        self._connect("scp", f"{node}:{file}", str(to), f"--worker={index}")

    def _connect(self, verb: str, *arguments: str) -> str:
        """`gcloud compute tpus tpu-vm ssh` or `scp`, more than once if need be."""
        tries = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Unreachable),
            stop=tenacity.stop_after_attempt(TRIES),
            wait=tenacity.wait_exponential(multiplier=self.pause / 2, max=30),
            before_sleep=lambda state: console.err.print(f"{_reason(state)}; trying again", markup=False),
            reraise=True,
        )
        return tries(self._connect_once, verb, *arguments)

    def _connect_once(self, verb: str, *arguments: str) -> str:
        done = self._call("compute", "tpus", "tpu-vm", verb, *arguments)
        answered = any(line.startswith(worker.REPLY) for line in done.stdout.splitlines())
        if done.returncode and not answered:
            raise Unreachable(f"{verb} ended with {done.returncode}: {_last_line(done.stderr)}")
        return done.stdout

    def _describe(self, kind: str, name: str) -> dict[str, Any] | None:
        done = self._call("compute", "tpus", kind, "describe", name, "--format=json")
        if done.returncode and "NOT_FOUND" in done.stderr:
            return None
        self._check(done)
        described: dict[str, Any] = json.loads(done.stdout)
        return described

    def _run(self, *arguments: str) -> None:
        self._check(self._call(*arguments))

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        where = [f"--zone={self.zone}", *([f"--project={self.project}"] if self.project else []), "--quiet"]
        try:
            return subprocess.run(
                [PROGRAM, *arguments, *where], capture_output=True, text=True, timeout=LONGEST, check=False
            )
        except FileNotFoundError:
            raise UserError(
                "expected the gcloud program, found none. Install the Google Cloud CLI, then run: gcloud auth login"
            ) from None
        except subprocess.TimeoutExpired:
            raise Unreachable(f"gcloud {' '.join(arguments[:4])} took more than {LONGEST:.0f} s") from None

    def _check(self, done: subprocess.CompletedProcess[str]) -> None:
        """Word the failures that a user can mend."""
        if done.returncode == 0:
            return
        told = _last_line(done.stderr)
        advice = "Check the arguments, then run the same command again."
        if "Quota" in done.stderr or "RESOURCE_EXHAUSTED" in done.stderr:
            advice = (
                "Ask for more quota at console.cloud.google.com/iam-admin/quotas, take a smaller accelerator or "
                f"another zone than {self.zone}; `aura tpu delete` frees what a pod of yours still holds."
            )
        elif "PERMISSION_DENIED" in done.stderr or "auth login" in done.stderr:
            advice = "Run: gcloud auth login, and check that your account has the role roles/tpu.admin in the project."
        raise UserError(f"gcloud failed: {told}\n{advice}")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "no message")


def _reason(state: tenacity.RetryCallState) -> str:
    return str(state.outcome.exception()) if state.outcome else "no answer"
