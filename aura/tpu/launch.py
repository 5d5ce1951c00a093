"""Starting a run on a pod, staying with it until it ends, and bringing its results back.

Every step may be repeated: the pod, the project's copy, the job and its checkpoints each say what they are, so a launch
that is interrupted anywhere and made again finds what is there and goes on. A pod that is taken away is requested
again, and the run resumes from its last checkpoint, which is why that must not lie on the pod.

Process 0 of a run shows its progress and writes its results. On a TPU the slice says which worker runs it, so each
worker is asked for the number of its process; the launcher's own numbers only say where the processes meet.
"""

import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aura.core import console, files
from aura.core.errors import UserError
from aura.core.section import Section
from aura.pretrain import recipe
from aura.tpu import pod_inputs, setup
from aura.tpu.gcloud import Unreachable
from aura.tpu.missing import require_shared
from aura.tpu.pod import Pod, Worker
from aura.tpu.pod_stages import PRETRAIN
from aura.tpu.settings import PORT, Settings
from aura.tpu.worker import Reply

__all__ = ["PORT", "Job", "run"]
PATIENCE = 5  # times in a row that a pod may fail to answer although it is said to be ready
TAIL = 4000  # bytes of a log that is there already
RESULTS_ARCHIVE = "aura_results.tar"
HERE = {"where", "max_forgetting"}  # options that change nothing of what workers do


@dataclass(frozen=True)
class Job:
    """A run that can be told from every other.

    Attributes:
        key: the hash of all that decides what comes out.
        command: what each worker runs.
        results: folders that come back.
    """

    key: str
    command: list[str]
    results: Sequence[Path] = PRETRAIN.results

    @classmethod
    def of(cls, settings: Settings) -> "Job":
        """The stage of these settings on their code, params and data.

        Raises:
            UserError: something that the stage reads is missing, or checkpoints would be lost with the pod.
        """
        require_shared(settings.values.pretrain.checkpoint_folder)
        stage, digest = settings.stage, hashlib.sha256()
        for path in pod_inputs.identifying(settings):
            digest.update(files.sha256_file(path).encode())
        for name, content in setup.project_files(settings.values):
            if name != "params.yaml":  # most of it does not concern the run
                digest.update(f"{name} {hashlib.sha256(content).hexdigest()}".encode())
        for name in stage.sections:
            section: Section = getattr(settings.values, name)
            digest.update(f"{name} {section.model_dump_json(exclude=HERE)}".encode())
        return cls(digest.hexdigest()[:16], ["python", "-m", "aura.tpu.pod_run", stage.name], stage.results)


def run(settings: Settings, folder: Path) -> None:
    """The whole of it: the plan, the pod, the run to its end, and the results into `folder`."""
    job, pod = Job.of(settings), Pod.of(settings.place)

    def whole(number: int) -> None:
        begin(pod, job, settings, plan=settings.place.plan and number == 0)
        follow(pod, job)
        fetch(pod, job, folder)

    with leaving(pod, delete=settings.place.delete_on_exit):
        persist(pod, whole)


def run_detached(settings: Settings) -> Pod:
    """Have the run on the pod, and leave it there."""
    job, pod = Job.of(settings), Pod.of(settings.place)
    persist(pod, lambda number: begin(pod, job, settings, plan=settings.place.plan and number == 0))
    return pod


def persist(pod: Pod, work: Callable[[int], None]) -> None:
    """Do `work`, which is told how often it was tried before, again whenever the pod is taken away under it.

    Raises:
        Unreachable: a pod that is there did not answer PATIENCE times in a row.
    """
    silent = 0
    for number in pod.pauses():
        try:
            work(number)
        except Unreachable as error:
            silent = silent + 1 if answers_nothing(pod) else 0
            if silent == PATIENCE:
                raise
            console.err.print(f"{error}\ntrying again", markup=False)
        else:
            return


def answers_nothing(pod: Pod) -> bool:
    """Return whether a pod said to be ready, or the service that says so, does not answer: no new pod would help."""
    try:
        return pod.state() == "ready"
    except Unreachable:
        return True


def begin(pod: Pod, job: Job, settings: Settings, *, plan: bool) -> None:
    """Have the run on the pod: attach to it where it is, otherwise bring up what it needs, and launch it.

    Raises:
        UserError: the run does not go with the pod's devices, or, with `plan`, would not fit; nothing is created then.
    """
    if attach(pod, job):
        return
    if plan:
        require_fit(pod, settings)
    else:
        require_even(pod, settings)
    bring_up(pod, settings)
    launch(pod, job, settings)


def attach(pod: Pod, job: Job) -> bool:
    """Return whether the run is on the pod already; a worker that came back without it gets it again.

    Raises:
        UserError: another run is there.
    """
    if pod.state() != "ready":
        return False
    pod.prepare()
    replies = pod.ask("status")
    refuse_another(pod, job, [reply["key"] if reply["state"] == "running" else None for reply in replies])
    if not any(reply["key"] == job.key and reply["state"] in ("running", "done") for reply in replies):
        return False
    console.err.print(f"attached to the run on {pod}", markup=False)
    start(pod, job)
    return True


def launch(pod: Pod, job: Job, settings: Settings) -> None:
    """Start the job on a pod that is set up, or find it running there.

    Raises:
        UserError: a worker has another tokenizer, or the pod is busy with another run.
    """
    setup.verify(pod, settings.tokenizer_files)
    setup.send_what_is_read(pod, settings)
    start(pod, job)


def start(pod: Pod, job: Job, *, again: bool = False) -> None:
    """Start the job on every worker where it neither runs nor has ended well; with `again`, on the latter, too.

    One that is started beside others that run meets them where they do.
    """
    workers = pod.workers()
    running = [reply for reply in pod.ask("status") if reply["state"] == "running" and reply["key"] == job.key]
    meeting = next((reply["coordinator"] for reply in running if reply.get("coordinator")), None)

    def start_one(worker: Worker) -> Reply:
        number = workers.index(worker)
        environment = {
            "AURA_COORDINATOR": meeting or f"{workers[0].address}:{pod.port}",
            "AURA_PROCESSES": str(len(workers)),
            "AURA_PROCESS": str(number),
        }
        return pod.gcloud.ssh(
            worker.node, worker.index, "start",
            key=job.key, command=job.command, environment=environment, again=again,
        )  # fmt: skip

    refuse_another(pod, job, [reply.get("refused") for reply in pod.each(start_one)])


def first(replies: list[Reply]) -> int | None:
    """The number of the worker on which process 0 of the run is, by their replies to `status`; None if not known yet.

    A job of which no process tells its number, though all have ended, is none of JAX: its numbers are the launcher's.
    """
    told = [reply.get("process") for reply in replies]
    if 0 in told:
        return told.index(0)
    return (
        0
        if all(reply["state"] == "done" and number is None for reply, number in zip(replies, told, strict=True))
        else None
    )


def require_fit(pod: Pod, settings: Settings) -> None:
    """Compile the run for its pod before anything is created; `UserError` if it does not fit."""
    from aura.tpu import plan, report  # JAX, which no other part of a launch needs

    console.err.print(f"compiling the training step for {pod.accelerator}", markup=False)
    options, adapt = recipe.decided(settings.values.pretrain), settings.adaptation
    options = plan.adapting(options, adapt) if adapt else options
    report.show(plan.plan(options, settings.vocab_size, pod.accelerator, fast=False, adapt=adapt))


def require_even(pod: Pod, settings: Settings) -> None:
    """Make the check of a run before anything is created: `UserError` if the pod's devices cannot share it evenly."""
    from aura.training.batch_layout import require_devices  # JAX, as above

    shape, options = pod.accelerator, recipe.decided(settings.values.pretrain)
    devices, batch_size = (shape.chips_per_slice, shape.slices), (settings.adaptation or options).batch_size
    require_devices(options, batch_size, settings.vocab_size, devices, settings.stage.name)


def refuse_another(pod: Pod, job: Job, running: list[str | None]) -> None:
    """Stop if a worker runs something else; `running` has the key of each worker's run, or None."""
    for number, key in enumerate(running):
        if key not in (None, job.key):
            raise UserError(
                f"worker {number} of {pod} is busy with another run ({key}; this one is {job.key}: another stage, "
                f"code, params or data). End it with `aura tpu stop --name {pod.name}`, or give this run a pod of its "
                "own: NAME, --name."
            )


def follow(pod: Pod, job: Job) -> None:
    """Show the end of the run's log, and what is added to it, until the run has ended well.

    Raises:
        Unreachable: the pod was taken away, or does not answer.
        UserError: the run failed, or somebody stopped it.
    """
    shown, offset = None, -TAIL
    for _ in pod.pauses():
        replies = pod.ask("status")
        number = first(replies)
        if number != shown:
            shown, offset = number, -TAIL
        offset = show_log(pod, offset, number or 0)
        states = [reply["state"] for reply in replies]
        ended = [reply["state"] == "done" and reply["key"] == job.key for reply in replies]
        if all(ended) or (number is not None and ended[number]):
            return
        if "failed" in states:
            number = states.index("failed")
            raise UserError(
                f"the run failed on worker {number} of {pod}, {replies[number].get('deaths')} times in a row: "
                f"{replies[number].get('last')}\nSee: aura tpu logs --worker {number}. Fix the cause, then launch "
                "again."
            )
        if "stopped" in states:
            raise UserError(f"the run on {pod} was stopped. Launch again to go on from its last checkpoint.")
        if any(reply["state"] not in ("running", "done") or reply["key"] != job.key for reply in replies):
            start(pod, job)  # a worker came back without it
        if any(ended) and any(reply["state"] == "running" and reply.get("process") is None for reply in replies):
            start(pod, job, again=True)  # it died after others had ended, and waits for them


def bring_up(pod: Pod, settings: Settings) -> None:
    """Have the pod, with all that a run needs on it; one that is taken away meanwhile is requested again.

    Raises:
        Unreachable: it was taken away PATIENCE times, or does not answer.
    """
    for number in pod.pauses():
        pod.create()
        try:
            setup.setup(pod, settings)
        except Unreachable as error:
            if number + 1 == PATIENCE or answers_nothing(pod):
                raise
            console.err.print(f"{error}; {pod} was not yet set up", markup=False)
        else:
            return


def show_log(pod: Pod, offset: int, number: int) -> int:
    """Print what a worker's log has beyond `offset` bytes; how far it goes now."""
    chosen = pod.workers()[number]
    while True:
        reply = pod.gcloud.ssh(chosen.node, chosen.index, "log", offset=offset)
        for line in reply["text"].splitlines():
            console.err.print(line, markup=False)
        if not reply["text"]:
            return int(reply["offset"])
        offset = reply["offset"]


def fetch(pod: Pod, job: Job, folder: Path) -> None:
    """Bring the results of a run that has ended well into `folder`, in place of what is there; then end its workers."""
    number = first(pod.ask("status"))
    if number is None:
        raise UserError(
            f"the run on {pod} has ended, but no worker says that it was process 0, which has the results. See: "
            "aura tpu status"
        )
    chosen = pod.workers()[number]
    packed = pod.gcloud.ssh(
        chosen.node, chosen.index, "pack", paths=[str(name) for name in job.results], archive=RESULTS_ARCHIVE
    )
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch, RESULTS_ARCHIVE)
        pod.gcloud.fetch(chosen.node, chosen.index, RESULTS_ARCHIVE, archive)
        if files.sha256_file(archive) != packed["sha256"]:
            raise UserError(f"the results of {pod} were damaged on their way. Run the same command again.")
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        for name in job.results:
            with files.replaced_folder(folder / name) as fresh:
                shutil.copytree(Path(scratch, name), fresh, dirs_exist_ok=True)
    pod.ask("stop")


@contextmanager
def leaving(pod: Pod, *, delete: bool) -> Iterator[None]:
    """Whatever ends the body: delete the pod, or say what is still there, and what that costs."""
    try:
        yield
    except KeyboardInterrupt:
        if not delete:
            console.err.print("the run goes on without you; the same command again attaches to it", markup=False)
        raise
    finally:
        try:
            _leave(pod, delete=delete)
        except UserError as error:  # what ended the body must still be told
            console.err.print(f"{error}\nCheck that nothing of {pod} is left: aura tpu status", markup=False)


def _leave(pod: Pod, *, delete: bool) -> None:
    if delete:
        pod.delete()
        console.err.print(f"deleted {pod}", markup=False)
    elif pod.state() != "absent":
        console.err.print(f"{pod} is still there. It costs {pod.cost}", markup=False)
