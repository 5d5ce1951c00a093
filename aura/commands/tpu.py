"""`aura tpu`: whether a run fits on a TPU pod, and running it there."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from aura import console, params
from aura.errors import UserError
from aura.tpu import launch as launching
from aura.tpu import settings as settling
from aura.tpu.pod import Pod
from aura.tpu.settings import Settings

app = typer.Typer(no_args_is_help=True, help="TPU pods: does a run fit there, and running it there.")

Name = Annotated[str | None, typer.Option(help="Of the pod; else the variable NAME, else aura.")]
Project = Annotated[str | None, typer.Option(help="Google Cloud project; else PROJECT, else gcloud's own.")]
Zone = Annotated[str | None, typer.Option(help="Such as us-central2-b; else ZONE.")]
AcceleratorName = Annotated[
    str | None,
    typer.Option(
        "--accelerator", help="v4-32, v5e-16, v5p-128, v6e-16, …; else ACCELERATOR, else what the pod is, else v4-32."
    ),
]
Slices = Annotated[int | None, typer.Option(help="How many of them; else SLICES, else 1.")]
Spot = Annotated[
    bool | None, typer.Option("--spot/--on-demand", help="Cheaper, may be taken away; else SPOT, else spot.")
]
Size = Annotated[str | None, typer.Option("--model-size", help="Else MODEL_SIZE, else pretrain.size.")]
SeqLen = Annotated[int | None, typer.Option(help="Tokens per sequence; else SEQ_LEN, else pretrain.seq_len.")]
BatchSize = Annotated[int | None, typer.Option(help="Sequences per step; else BATCH_SIZE, else pretrain.batch_size.")]
Steps = Annotated[int | None, typer.Option(help="Optimiser steps; else STEPS, else pretrain.steps.")]
Lr = Annotated[float | None, typer.Option("--lr", help="Peak learning rate; else LR, else pretrain.learning_rate.")]
Tokenizer = Annotated[str | None, typer.Option("--spm-model", help="Else SPM_MODEL, else models/spm/spiece.model.")]
Dataset = Annotated[str | None, typer.Option(help="Folder of token shards; else DATASET, else data/tokens.")]


@app.command("plan")
def plan_run(
    accelerator: AcceleratorName = None,
    slices: Slices = None,
    model_size: Size = None,
    seq_len: SeqLen = None,
    batch_size: BatchSize = None,
    steps: Steps = None,
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
) -> None:
    """Say whether the run fits on a pod, by compiling its training step for one; no TPU is needed."""
    from aura.tpu import plan, report  # JAX, which no other command needs

    where, changes = {"accelerator": accelerator, "slices": slices}, _run(model_size, seq_len, batch_size, steps)
    settings = Settings(settling.place(where, os.environ), _changed(changes), settling.tokenizer(spm_model, os.environ))
    run, pieces, pod = settings.values.pretrain, settings.vocab_size, settings.place.wanted
    found, problem = None, None
    try:
        found = plan.plan(run, pieces, pod, fast=fast)
        report.show(found)
    except plan.DoesNotFit as error:
        problem = error
    if find_batch:
        batch = plan.largest_batch(run, pieces, pod, found)
        told = f"largest batch_size found to fit: {batch:,}" if batch else "no batch_size was found to fit"
        console.err.print(told, markup=False)
    if problem:
        raise problem


@app.command("create")
def create_pod(
    name: Name = None,
    project: Project = None,
    zone: Zone = None,
    accelerator: AcceleratorName = None,
    slices: Slices = None,
    spot: Spot = None,
) -> None:
    """Queue a request for a pod and wait until it is ready; it costs from then on."""
    pod = _pod(name, project, zone, accelerator=accelerator, slices=slices, spot=spot)
    pod.create()
    console.out.print(f"{pod} is ready. It costs {pod.cost}", markup=False)


@app.command("setup")
def setup_pod(
    name: Name = None,
    project: Project = None,
    zone: Zone = None,
    accelerator: AcceleratorName = None,
    slices: Slices = None,
    spm_model: Tokenizer = None,
) -> None:
    """Create the pod unless it is there; install the locked packages, and copy the project and the tokenizer."""
    where = _where(name, project, zone) | {"accelerator": accelerator, "slices": slices}
    settings = Settings(settling.place(where, os.environ), _changed({}), settling.tokenizer(spm_model, os.environ))
    pod = Pod.of(settings.place)
    launching.bring_up(pod, settings)
    console.out.print(f"{pod} is set up. It costs {pod.cost}", markup=False)


@app.command("launch")
def launch_run(
    name: Name = None,
    project: Project = None,
    zone: Zone = None,
    accelerator: AcceleratorName = None,
    slices: Slices = None,
    spot: Spot = None,
    model_size: Size = None,
    seq_len: SeqLen = None,
    batch_size: BatchSize = None,
    steps: Steps = None,
    lr: Lr = None,
    spm_model: Tokenizer = None,
    dataset: Dataset = None,
    output: Annotated[Path | None, typer.Option(help="Where the results go; models/pods/NAME when left out.")] = None,
    plan: Annotated[
        bool | None, typer.Option("--plan/--no-plan", help="Prove first that it fits; else PLAN, else yes.")
    ] = None,
    delete_on_exit: Annotated[
        bool | None,
        typer.Option("--delete-on-exit/--keep", help="The pod, however this ends; else DELETE_ON_EXIT, else not."),
    ] = None,
    detach: Annotated[
        bool, typer.Option(help="Do not stay until the run ends; the same command again attaches.")
    ] = False,
) -> None:
    """Train on the pod; interrupted and repeated, this goes on with the same run."""
    where = _where(name, project, zone) | {
        "accelerator": accelerator,
        "slices": slices,
        "spot": spot,
        "plan": plan,
        "delete_on_exit": delete_on_exit,
    }
    settings = Settings(
        settling.place(where, os.environ),
        _changed(_run(model_size, seq_len, batch_size, steps) | {"pretrain.learning_rate": lr}),
        settling.tokenizer(spm_model, os.environ),
        settling.tokens(dataset, os.environ),
    )
    if detach:
        pod = Pod.of(settings.place)
        launching.begin(pod, launching.Job.of(settings), settings, plan=settings.place.plan)
        console.out.print(f"the run goes on on {pod}. It costs {pod.cost}", markup=False)
        return
    folder = output or Path("models/pods", settings.place.name)
    launching.run(settings, folder)
    console.out.print(f"the results are in {folder}", markup=False)


@app.command("status")
def show_status(name: Name = None, project: Project = None, zone: Zone = None) -> None:
    """Say what is there and what it does."""
    pod = _pod(name, project, zone)
    state = pod.state()
    console.out.print(f"{pod}: {state}", markup=False)
    if state == "absent":
        return
    console.out.print(f"it costs {pod.cost}", markup=False)
    if state != "ready":
        return
    pod.prepare()
    table = Table("worker", "address", "run", "state", "deaths", "last line of its log")
    for worker, reply in zip(pod.workers(), pod.ask("status"), strict=True):
        cells = (worker.index, worker.address, reply["key"] or "", reply["state"], reply.get("deaths", 0))
        table.add_row(*map(str, cells), Text(reply.get("last", "")))
    console.out.print(table)


@app.command("logs")
def show_logs(
    name: Name = None,
    project: Project = None,
    zone: Zone = None,
    worker: Annotated[int, typer.Option(min=0, help="Whose log, counted from 0 over all slices.")] = 0,
    size: Annotated[int, typer.Option("--bytes", min=1, help="So much of its end.")] = 20_000,
) -> None:
    """Print the end of a worker's log."""
    pod = _pod(name, project, zone)
    workers = pod.workers()
    if worker >= len(workers):
        raise UserError(f"--worker: expected 0 to {len(workers) - 1}, came {worker}")
    pod.prepare()
    chosen = workers[worker]
    console.out.print(pod.gcloud.ssh(chosen.node, chosen.index, "log", offset=-size)["text"], markup=False)


@app.command("stop")
def stop_run(name: Name = None, project: Project = None, zone: Zone = None) -> None:
    """End the run on the pod; the pod stays, and costs. Its checkpoints stay, too."""
    pod = _pod(name, project, zone)
    pod.prepare()
    stopped = sum(reply["stopped"] for reply in pod.ask("stop"))
    console.out.print(f"stopped {stopped} workers of {pod}. It still costs {pod.cost}", markup=False)


@app.command("delete")
def delete_pod(name: Name = None, project: Project = None, zone: Zone = None) -> None:
    """Delete the pod and everything on it; nothing of it costs from then on."""
    pod = _pod(name, project, zone)
    pod.delete()
    console.out.print(f"{pod} is gone", markup=False)


def _where(name: str | None, project: str | None, zone: str | None) -> dict[str, object]:
    return {"name": name, "project": project, "zone": zone}


def _pod(name: str | None, project: str | None, zone: str | None, **others: object) -> Pod:
    return Pod.of(settling.place(_where(name, project, zone) | others, os.environ))


def _run(model_size: str | None, seq_len: int | None, batch_size: int | None, steps: int | None) -> dict[str, object]:
    return {
        "pretrain.size": model_size,
        "pretrain.seq_len": seq_len,
        "pretrain.batch_size": batch_size,
        "pretrain.steps": steps,
    }


def _changed(changes: dict[str, object]) -> params.Params:
    return settling.run_changes(params.load(), changes, os.environ)
