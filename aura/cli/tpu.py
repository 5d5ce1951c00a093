"""`aura tpu`: whether a run fits on a TPU pod, and running it there."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from aura.cli import places
from aura.cli.groups import Commands
from aura.cli.tpu_options import FINDS, KIND, LAUNCHES, LEARNS, MAKES, RUN, takes
from aura.core import console, paths
from aura.core.errors import UserError
from aura.pretrain import recipe
from aura.project import whole_params
from aura.tpu import launch as launching
from aura.tpu import missing
from aura.tpu import pod as pods
from aura.tpu import settings as settling
from aura.tpu.pod import Pod
from aura.tpu.pod_stages import ADAPT, PRETRAIN, PodStage
from aura.tpu.settings import Settings

app = typer.Typer(cls=Commands, no_args_is_help=True, help="Plan a run on a TPU pod, and run it there.")

Given = dict[str, Any]  # by the names in tpu_options; None where an option was left out
Tokenizer = Annotated[
    str | None,
    typer.Option(
        "--spm-model",
        parser=places.path_or_name,
        metavar="PATH",
        help="Default: SPM_MODEL, then models/spm/spiece.model.",
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        parser=places.path_or_name, metavar="PATH", help="Folder of token shards; default: DATASET, then data/tokens."
    ),
]


@app.command("plan")
@takes(where=KIND, run=RUN)
def plan_run(
    where: Given,
    run: Given,
    spm_model: Tokenizer = None,
    fast: Annotated[
        bool, typer.Option(help="Compile without optimisation: seconds, but up to twice the memory for activations.")
    ] = False,
    find_batch: Annotated[
        bool,
        typer.Option(
            "--find-batch/--no-find-batch", help="Search the largest batch that fits (up to 4 fast compilations)."
        ),
    ] = True,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Plan the stage adapt, by its section of params.yaml.")
    ] = False,
) -> None:
    """Say whether the run fits on a pod, by compiling its training step for one; no TPU is needed."""
    from aura.tpu import plan, report  # JAX, which no other command needs

    place = settling.place(where, os.environ)
    stage = ADAPT if adapt else PRETRAIN
    changed = _changed(run, place.wanted.chips, stage)
    settings = Settings(place, changed, settling.tokenizer(spm_model, os.environ), stage=stage)
    run_options, pieces, pod = recipe.decided(settings.values.pretrain), settings.vocab_size, settings.place.wanted
    adaptation = settings.adaptation
    if adaptation:
        run_options = plan.adapting(run_options, adaptation)
    found, problem = None, None
    try:
        found = plan.plan(run_options, pieces, pod, fast=fast, adapt=adaptation)
        report.show(found)
    except plan.DoesNotFit as error:
        problem = error
    if find_batch:
        batch = plan.largest_batch(run_options, pieces, pod, found, adaptation)
        told = f"largest batch_size found to fit: {batch:,}" if batch else "no batch_size was found to fit"
        console.err.print(told, markup=False)
    if problem:
        raise problem


@app.command("create")
@takes(where=FINDS | MAKES)
def create_pod(where: Given) -> None:
    """Queue a request for a pod and wait until it is ready; it costs from then on."""
    pod = Pod.of(settling.place(where, os.environ))
    pod.create()
    console.out.print(f"{pod} is ready. It costs {pod.cost}", markup=False)


@app.command("setup")
@takes(where=FINDS | MAKES)
def setup_pod(where: Given, spm_model: Tokenizer = None) -> None:
    """Create the pod unless it is there; install the locked packages, and copy the project and the tokenizer."""
    place = settling.place(where, os.environ)
    settings = Settings(place, _changed({}, place.devices), settling.tokenizer(spm_model, os.environ))
    settling.require_file(settings.tokenizer, made_by="dvc repro train_tokenizer")
    pod = Pod.of(settings.place)
    launching.bring_up(pod, settings)
    console.out.print(f"{pod} is set up. It costs {pod.cost}", markup=False)


@app.command("launch")
@takes(where=FINDS | MAKES | LAUNCHES, run=RUN | LEARNS)
def launch_run(
    where: Given,
    run: Given,
    spm_model: Tokenizer = None,
    dataset: Dataset = None,
    output: Annotated[
        Path | None,
        typer.Option(
            parser=places.path, metavar="PATH", help="Folder for the results; models/pods/NAME when left out."
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option(help="Do not stay until the run ends; the same command again attaches.")
    ] = False,
    adapt: Annotated[bool, typer.Option("--adapt", help="Run the stage adapt, by its section of params.yaml.")] = False,
) -> None:
    """Train on the pod; interrupted and repeated, this goes on with the same run."""
    place = settling.place(where, os.environ)
    if detach and (place.delete_on_exit or output):
        other = "--delete-on-exit (DELETE_ON_EXIT)" if place.delete_on_exit else "--output"
        raise UserError(
            f"--detach leaves before the run ends, so that {other} could do nothing. Leave out one of them."
        )
    stage = ADAPT if adapt else PRETRAIN
    values = _changed(run, place.devices, stage)
    if adapt:
        settling.refuse_another_model(whole_params.load(), values)
        settling.refuse_other_inputs({"SPM_MODEL": spm_model, "DATASET": dataset}, os.environ)
    missing.refuse(place, values, spm_model, dataset, stage)
    settings = Settings(
        place,
        values,
        settling.tokenizer(spm_model, os.environ),
        settling.tokens(dataset, os.environ),
        stage,
    )
    if detach:
        pod = launching.run_detached(settings)
        console.out.print(f"the run continues on {pod}. It costs {pod.cost}", markup=False)
        return
    folder = output or paths.PODS / settings.place.name
    launching.run(settings, folder)
    console.out.print(f"the results are in {folder}", markup=False)
    if adapt:
        from aura.adapt.adapt import read_metrics, require_kept  # JAX, which no other command needs

        require_kept(read_metrics(folder / paths.ADAPTATION), values.adapt)


@app.command("status")
@takes(where=FINDS)
def show_status(where: Given) -> None:
    """Say what is there and what it does."""
    pod = _there(where)
    now = pod.look()
    console.out.print(f"{pod}: {now.state}" + (f" ({now.told})" if now.request else ""), markup=False)
    if now.state == "absent":
        return
    console.out.print(f"it costs {pod.cost}", markup=False)
    if now.state != "ready":
        return
    pod.prepare()
    table = Table("worker", "address", "run", "process", "state", "deaths", "last line of its log")
    for number, (worker, reply) in enumerate(zip(pod.workers(), pod.ask("status"), strict=True)):
        process = reply.get("process")
        cells = (
            number, worker.address, reply["key"] or "", "" if process is None else process, reply["state"],
            reply.get("deaths", 0),
        )  # fmt: skip
        table.add_row(*map(str, cells), Text(reply.get("last", "")))
    console.out.print(table)


@app.command("logs")
@takes(where=FINDS)
def show_logs(
    where: Given,
    worker: Annotated[
        int | None,
        typer.Option(min=0, help="Worker whose log is printed, from 0 over all slices; default: of process 0."),
    ] = None,
    size: Annotated[int, typer.Option("--bytes", min=1, help="Bytes from the end of the log.")] = 20_000,
) -> None:
    """Print the end of a worker's log."""
    pod = _there(where)
    workers = pod.workers()
    if worker is not None and worker >= len(workers):
        raise UserError(f"--worker: expected 0 to {len(workers) - 1}, got {worker}")
    pod.prepare()
    chosen = workers[(launching.first(pod.ask("status")) or 0) if worker is None else worker]
    console.out.print(pod.gcloud.ssh(chosen.node, chosen.index, "log", offset=-size)["text"], markup=False)


@app.command("stop")
@takes(where=FINDS)
def stop_run(where: Given) -> None:
    """End the run on the pod; the pod stays, and costs. Its checkpoints stay, too."""
    pod = _there(where)
    pod.prepare()
    replies = pod.ask("stop")
    for number, reply in enumerate(replies):
        for process in reply["ended"]:
            console.out.print(f"worker {number}: ended an orphan of the run, {process}", markup=False)
    stopped = sum(reply["stopped"] for reply in replies)
    console.out.print(f"stopped {stopped} workers of {pod}. It still costs {pod.cost}", markup=False)


@app.command("delete")
@takes(where=FINDS)
def delete_pod(where: Given) -> None:
    """Delete the pod and everything on it; nothing of it costs from then on."""
    console.out.print(f"{pods.delete(settling.place(where, os.environ, by_name=True))} is gone", markup=False)


def _there(where: Given) -> Pod:
    """The pod of a name, whatever it is."""
    return Pod.of(settling.place(where, os.environ, by_name=True), by_name=True)


def _changed(run: Given, devices: int | None, stage: PodStage = PRETRAIN) -> whole_params.Params:
    """params.yaml with what options and variables change of the run on a pod of so many devices."""
    return settling.run_changes(whole_params.load(), run, os.environ, devices, stage)
