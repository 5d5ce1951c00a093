"""A stand-in for the gcloud CLI: pods of real processes on loopback, and as strict as the real one's reference.

A folder (variable STANDIN_CLOUD) is the cloud: `requests/NAME.json` for each queued resource, and `workers/NODE/I`, the
home folder of a worker. `ssh` runs the command with a shell there, as sshd does; `scp` copies files. Unknown
flags, a missing zone and unknown accelerators are refused, as by the real program (528.0.0). A test makes trouble by
writing `trouble.json`, numbers being how often:

    {"quota": 1}                 refuses the next request
    {"refusal": "TEXT"}          refuses every request with this text
    {"lost_answer": 1}           queues the next request, and says that the service is not available
    {"fate": {"state": …}}       what becomes of requests in place of ACTIVE, as the REST reference words states
    {"cancelled": 4}             how many looks at a request see it until it is gone
    {"half_made": 1}             how many machines of each slice have no address yet
    {"ssh": 3}                   fails the next three connections
    {"unavailable": 3}           fails the next three calls of any kind, as an overloaded service does
    {"garbage": 3}               answers the next three descriptions with something else
    {"mumble": 3}                answers the next three verbs of a worker with something else

It is a program, and `answer` is the same without a process of its own, which would take longer than all else.
"""

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

CLOUD = Path(os.environ.get("STANDIN_CLOUD", "/nonexistent"))
HOSTS = {"v4-8": 1, "v4-16": 2, "v4-32": 4, "v5litepod-8": 1, "v5litepod-16": 4}
READY_AFTER = 2  # looks at a request until it is ACTIVE
ANSWER = threading.local()  # `told`, what was written to both streams, while `answer` runs in a thread


@cache
def parser() -> argparse.ArgumentParser:
    """The flags of docs.cloud.google.com/sdk/gcloud/reference/compute/tpus that a launcher could want."""
    top = argparse.ArgumentParser(prog="gcloud", allow_abbrev=False, exit_on_error=True)
    tracks = top.add_subparsers(required=True)
    commands(tracks.add_parser("compute"), alpha=False)
    commands(tracks.add_parser("alpha").add_subparsers(required=True).add_parser("compute"), alpha=True)
    return top


def commands(compute, *, alpha: bool) -> None:
    groups = compute.add_subparsers(required=True)
    tpus = groups.add_parser("tpus").add_subparsers(required=True)
    queued = tpus.add_parser("queued-resources").add_subparsers(required=True)
    vm = tpus.add_parser("tpu-vm").add_subparsers(required=True)
    create = _verb(queued, "create", create_request, "request")
    create.add_argument("--accelerator-type", required=True)
    create.add_argument("--runtime-version", required=True)
    nodes = create.add_mutually_exclusive_group(required=True)
    nodes.add_argument("--node-id")
    nodes.add_argument("--node-count", type=int)
    create.add_argument("--node-prefix")
    for flag in ("--async", "--spot", "--guaranteed", "--reserved", "--internal-ips"):
        create.add_argument(flag, action="store_true")
    for flag in ("--network", "--subnetwork", "--service-account", "--valid-until-duration", "--labels", "--tags"):
        create.add_argument(flag)
    if alpha:
        create.add_argument("--reservation")
    _verb(queued, "describe", describe_request, "request")
    delete = _verb(queued, "delete", delete_request, "request")
    delete.add_argument("--force", action="store_true")
    delete.add_argument("--async", action="store_true")
    _verb(vm, "describe", describe_node, "node")
    ssh = _verb(vm, "ssh", run_command, "node")
    ssh.add_argument("--command")
    copy = _verb(vm, "scp", copy_files, "paths", nargs="+")
    copy.add_argument("--recurse", action="store_true")
    copy.add_argument("--compress", action="store_true")
    for connection in (ssh, copy):
        connection.add_argument("--worker", default="0")
        way = connection.add_mutually_exclusive_group()
        way.add_argument("--internal-ip", action="store_true")
        if alpha:
            way.add_argument("--tunnel-through-iap", action="store_true")


def _verb(group, name, work, positional, **options):
    verb = group.add_parser(name, allow_abbrev=False)
    verb.add_argument(positional, **options)
    verb.add_argument("--zone")
    verb.add_argument("--project")
    verb.add_argument("--format", choices=["json"])
    verb.add_argument("--quiet", action="store_true")
    verb.set_defaults(work=work, verb=f"gcloud.{name}")
    return verb


def create_request(given) -> None:
    if given.accelerator_type not in HOSTS:
        fail(given, f"INVALID_ARGUMENT: Accelerator {given.accelerator_type} is not found.")
    if refusal := wanted("refusal"):
        fail(given, refusal)
    if trouble("quota"):
        fail(given, "RESOURCE_EXHAUSTED: Quota limit 'TPUV4sPreemptiblePodPerProjectPerZone' has been exceeded.")
    if request_file(given.request).exists():
        fail(given, f"ALREADY_EXISTS: Resource '{given.request}' already exists.")
    prefix = given.node_prefix or given.request
    names = [given.node_id] if given.node_id else [f"{prefix}-{i}" for i in range(given.node_count)]
    told = {"state": "WAITING_FOR_RESOURCES", "looks": 0, "type": given.accelerator_type, "nodes": names}
    write(given.request, told | {"spot": given.spot, "made": made(given)})
    if trouble("lost_answer"):
        fail(given, "UNAVAILABLE: The service is currently unavailable.")


def made(given) -> dict:
    """What the request says of its node, as the REST reference has it: what is not set is left out."""
    network = {"network": given.network, "subnetwork": given.subnetwork, "enableExternalIps": not given.internal_ips}
    node = {
        "acceleratorType": given.accelerator_type,
        "runtimeVersion": given.runtime_version,
        "networkConfig": {name: value for name, value in network.items() if value},
        "serviceAccount": {"email": given.service_account or "default@example.iam.gserviceaccount.com"},
        "labels": dict(pair.split("=") for pair in (given.labels or "").split(",") if pair),
        "tags": [tag for tag in (given.tags or "").split(",") if tag],
    }
    return {name: value for name, value in node.items() if value}


def describe_request(given) -> None:
    told = read(given, given.request)
    if trouble("garbage"):
        say('{"name": "cut off')
        return
    told["looks"] += 1
    if told["looks"] > (wanted("cancelled") or 10**9):
        request_file(given.request).unlink()
        fail(given, f"NOT_FOUND: Resource '{given.request}' was not found")
    fate = wanted("fate")
    if told["state"] == "WAITING_FOR_RESOURCES" and told["looks"] >= READY_AFTER and fate:
        told |= {"state": fate["state"], "fate": fate}
    if told["state"] == "WAITING_FOR_RESOURCES" and told["looks"] >= READY_AFTER:
        told["state"] = "ACTIVE"
        for node in told["nodes"]:
            for index in range(HOSTS[told["type"]]):
                home(node, index).mkdir(parents=True)
    write(given.request, told)
    spec = {"node": told["made"]}
    if len(told["nodes"]) > 1:
        spec["multisliceParams"] = {"nodeCount": len(told["nodes"])}
    state = told.get("fate", {"state": told["state"]})
    described = {"name": given.request, "state": state, "tpu": {"nodeSpec": [spec]}}
    say(json.dumps(described | ({"spot": {}} if told["spot"] else {})))


def delete_request(given) -> None:
    told = read(given, given.request)
    if told["state"] == "ACTIVE" and not given.force:
        fail(given, "FAILED_PRECONDITION: The queued resource has nodes; use --force.")
    for node in told["nodes"]:
        remove(node)
    request_file(given.request).unlink()


def describe_node(given) -> None:
    told = request_of(given, given.node)
    hosts = HOSTS[told["type"]]
    state = "READY" if told["state"] == "ACTIVE" else "PREEMPTED"
    endpoints = [{"ipAddress": address(given.node, i)} for i in range(hosts)]
    for endpoint in endpoints[hosts - (wanted("half_made") or 0) :]:
        del endpoint["ipAddress"]
    say(json.dumps({"state": state, "networkEndpoints": endpoints}))


def run_command(given) -> None:
    folder = connect(given, given.node)
    if trouble("mumble"):
        say("Welcome to Ubuntu\naura-worker-reply [null")
        return
    system = CLOUD / "system"  # the programs of a bare machine, if a test has such machines
    path = f"{CLOUD / 'bin'}{os.pathsep}{system if system.exists() else os.environ['PATH']}"
    environment = {**os.environ, "HOME": str(folder), "PATH": path}
    command = ["bash", "-c", given.command]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    say(done.stdout.removesuffix("\n"))
    say(done.stderr.removesuffix("\n"), sys.stderr)
    sys.exit(done.returncode)


def copy_files(given) -> None:
    *sources, target = given.paths
    remote = next(path.partition(":")[0] for path in given.paths if ":" in path)
    folder = connect(given, remote)

    def place(path: str) -> Path:
        node, colon, rest = path.partition(":")
        return folder / rest.removeprefix("~/") if colon else Path(node)

    for source in map(place, sources):
        if source.is_dir() and not given.recurse:
            fail(given, f"scp: {source}: not a regular file")
        shutil.copy(source, place(target))


def connect(given, node: str) -> Path:
    told = request_of(given, node)
    way = given.internal_ip or getattr(given, "tunnel_through_iap", False)
    inside = not told["made"].get("networkConfig", {}).get("enableExternalIps")
    if trouble("ssh") or told["state"] != "ACTIVE" or (inside and not way):
        say("ssh: connect to host 10.0.0.2 port 22: Connection timed out", sys.stderr)
        sys.exit(255)
    return home(node, int(given.worker))


def preempt(name: str) -> None:
    """Take a pod away, as Google does with a spot one: its machines go, the request stays, SUSPENDED."""
    told = json.loads(request_file(name).read_text())
    write(name, told | {"state": "SUSPENDED"})
    for node in told["nodes"]:
        remove(node)


def remove(node: str) -> None:
    """Machines vanish with everything that runs or lies on them."""
    for folder in sorted((CLOUD / "workers" / node).glob("*")):
        for pid in processes_of(folder):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    shutil.rmtree(CLOUD / "workers" / node, ignore_errors=True)


def processes_of(folder: Path) -> list[int]:
    """Every process of a worker: those whose HOME is its folder, told by their environment."""
    found, mark = [], f"HOME={folder}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
    return [pid for pid in found if pid != os.getpid()]


def wanted(kind: str):
    """What a test wants to go wrong all the time, or None."""
    path = CLOUD / "trouble.json"
    return json.loads(path.read_text()).get(kind) if path.exists() else None


def trouble(kind: str) -> bool:
    """Whether a test wants this to go wrong now; counts down."""
    path = CLOUD / "trouble.json"
    with (CLOUD / "trouble.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        left = json.loads(path.read_text()) if path.exists() else {}
        now = left.get(kind, 0) > 0
        if now:
            path.write_text(json.dumps(left | {kind: left[kind] - 1}))
    return now


def request_file(name: str) -> Path:
    return CLOUD / "requests" / f"{name}.json"


def read(given, name: str) -> dict:
    if not request_file(name).exists():
        fail(given, f"NOT_FOUND: Resource '{name}' was not found")
    return json.loads(request_file(name).read_text())


def write(name: str, told: dict) -> None:
    path = request_file(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(told))
    partial.replace(path)


def request_of(given, node: str) -> dict:
    for path in (CLOUD / "requests").glob("*.json"):
        told = json.loads(path.read_text())
        if node in told["nodes"] and told["state"] != "WAITING_FOR_RESOURCES":
            return told
    return fail(given, f"NOT_FOUND: Resource '{node}' was not found")


def home(node: str, index: int) -> Path:
    return CLOUD / "workers" / node / str(index)


def address(node: str, index: int) -> str:
    """On loopback, and another for each cloud and worker, so that pods of tests side by side do not meet."""
    number = int.from_bytes(os.fsencode(f"{CLOUD}/{node}")[-64:], "big") % (250 * 250)
    return f"127.{number // 250 + 2}.{number % 250 + 2}.{index + 2}"


def fail(given, message: str):
    say(f"ERROR: ({given.verb}) {message}", sys.stderr)
    sys.exit(1)


def say(text: str, stream=None) -> None:
    """Write to standard output or to `stream`, or to the answer under way in this thread."""
    told = getattr(ANSWER, "told", None)
    if told is None:
        print(text, file=stream or sys.stdout)
    else:
        told[stream is sys.stderr] += f"{text}\n"


def answer(arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    """What the program would answer to right arguments; several threads may ask at once."""
    ANSWER.told, status = ["", ""], 0
    try:
        main(arguments)
    except SystemExit as ended:
        status = ended.code
    told, ANSWER.told = ANSWER.told, None
    return subprocess.CompletedProcess(["gcloud", *arguments], status or 0, *told)


def main(arguments: list[str]) -> None:
    given = parser().parse_args(arguments)
    with (CLOUD / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(arguments) + "\n")
    if not given.zone:
        fail(given, "argument --zone: Must be specified.")
    if trouble("unavailable"):
        fail(given, "UNAVAILABLE: The service is currently unavailable.")
    given.work(given)


if __name__ == "__main__":
    main(sys.argv[1:])
