"""SIGKILL at random moments: of `dvc repro`, of a stage, of one of its workers, of the whole group."""

import random
import time
from contextlib import suppress

import psutil

from loops.outcomes import Judge, Outcome, after_the_advice, told
from loops.project import STAGES, Slot, Warm, stage_process

TARGETS = ("dvc repro", "stage", "worker", "group")


def one_try(slot: Slot, judge: Judge, seed: int, seconds: dict[str, float]) -> Outcome:
    """Build from before a stage on, kill something at some moment of that stage, follow the advice."""
    rng = random.Random(f"kill {seed}")  # noqa: S311 - moments, not secrets
    target, stage = TARGETS[seed % len(TARGETS)], rng.choice(list(STAGES))
    delay = rng.random() * seconds[stage]
    outcome = Outcome("kills", seed, f"SIGKILL of the {target} {delay:.2f} s into {stage}")
    slot.reset(stage)
    command = slot.start("dvc.cli", "repro")
    if target in ("dvc repro", "group"):
        command.ended(delay)
        with suppress(psutil.NoSuchProcess):  # it had ended
            psutil.Process(command.pid).kill() if target == "dvc repro" else command.kill_group()
    else:
        outcome.what += _kill_within(command, stage, target, delay)
    disturbed = slot.finish(command)
    if disturbed.status != 0:
        outcome.note("dvc repro, killed", disturbed)
    hung = disturbed.status is None
    repair, repro = judge.advice(slot, outcome)
    outcome.verdict = after_the_advice(outcome, repair, repro)
    if hung:
        outcome.verdict = "unclear"
    elif disturbed.status and disturbed.status > 0 and outcome.verdict == "unharmed":
        outcome.verdict = "told" if told(disturbed) else "unclear"
    return outcome


def _kill_within(command: Warm, stage: str, target: str, delay: float) -> str:
    """Kill a stage's process, or a worker of it as soon as there is one; returns what to say of it."""
    process = stage_process(command, stage)
    if process is None:
        return ", which had ended"
    ends = time.monotonic() + delay
    with suppress(psutil.NoSuchProcess):
        while target == "worker" and process.is_running() and not process.children():
            time.sleep(0.002)
            if process.status() == psutil.STATUS_ZOMBIE or time.monotonic() > ends + 10:
                return ", which had no worker"
        # Workers live for a tenth of a second here: a part of it.
        time.sleep(delay * 0.02 if target == "worker" else max(0.0, ends - time.monotonic()))
        victims = process.children() if target == "worker" else [process]
        if not victims:
            return ", which had no worker any more"
        victims[0].kill()
        return ""
    return ", which had ended"
