"""`aura work`: a part of some stages' tasks, on one of several machines."""

import os
import subprocess
import sys
from typing import Annotated

import typer

from aura.core import console, ranks
from aura.core.errors import UserError
from aura.project import whole_params

SHARED = ("select", "train_tokenizer", "encode")  # stages that have tasks to share, beside those of extraction


def work(
    rank: Annotated[int, typer.Option(help="Number of this process, from 0.")],
    world: Annotated[int, typer.Option(help="Number of processes that share the work.")],
    stages: Annotated[
        list[str] | None,
        typer.Argument(
            help="Stages as dvc.yaml names them: extract@NAME, select, train_tokenizer, encode. "
            "The extraction of every source when left out."
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the results of other ranks where a stage needs them.")
    ] = False,
) -> None:
    """Do one rank's part of the tasks of stages, and keep the results in the action cache; write no outputs.

    All ranks must share the action cache: the project's folder, the folder that AURA_CACHE names, or the store. When
    all have ended, `dvc repro STAGE` on one machine finds everything there. Ends with 75 where a stage needs results
    that other ranks have not made yet.
    """
    own = ranks.Rank(rank, world)
    every = [f"extract@{name}" for name in whole_params.load().extract.sources]
    chosen = stages or every
    unknown = [stage for stage in chosen if stage not in (*every, *SHARED)]
    if unknown:
        raise UserError(f"expected stages among {', '.join((*every, *SHARED))}; got {', '.join(unknown)}")
    for stage in chosen:
        status = _run(stage, own, wait=wait)
        if status:
            raise typer.Exit(status)
    console.err.print(
        f"rank {own}: done. When all ranks have ended, run on one machine: dvc repro {' '.join(chosen)}",
        markup=False,
        soft_wrap=True,
    )


def _run(stage: str, own: ranks.Rank, *, wait: bool) -> int:
    """Run one stage's program as a rank; returns its exit status."""
    module, _, source = stage.partition("@")
    command = [sys.executable, "-m", f"aura.stages.{module}", *([source] if source else [])]
    console.err.print(f"rank {own}: {stage}", markup=False)
    environment = os.environ | {ranks.VARIABLE: str(own), ranks.WAIT: "1" if wait else ""}
    return subprocess.run(command, env=environment, check=False).returncode
