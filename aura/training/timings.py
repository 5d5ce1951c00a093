"""Seconds of a run, kept apart from its results: reports/STAGE/timings.json, outside DVC and git.

Goodput is the share of all seconds, over every attempt at this run, that went into steps which were not lost to a kill.
"""

import json
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax

from aura.core import files
from aura.training import distributed, side_files
from aura.training.flops import peak_flops

NOTE_EVERY = 10.0  # seconds between two notes of how far an attempt has come


class Stopwatch:
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.began = self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Count the time since the lap before as spent on `name`."""
        now = time.perf_counter()
        self.seconds[name] += now - self._last
        self._last = now


@dataclass(frozen=True)
class Attempt:
    """One start of the run, as far as it came."""

    first: int  # step it began after
    last: int  # step it is known to have reached
    seconds: float  # from its start to then
    step_seconds: float  # of those, in steps


@dataclass(frozen=True)
class Earlier:
    """Totals of the attempts before the last one."""

    attempts: int = 0
    seconds: float = 0.0
    useful: float = 0.0  # seconds of steps that were kept
    lost: int = 0  # steps that were taken again

    def plus(self, attempt: Attempt, kept_until: int) -> "Earlier":
        """These and one more, of which the steps up to `kept_until` were kept."""
        taken, kept = attempt.last - attempt.first, max(0, min(kept_until, attempt.last) - attempt.first)
        return Earlier(
            self.attempts + 1,
            self.seconds + attempt.seconds,
            self.useful + (attempt.step_seconds * kept / taken if taken else 0.0),
            self.lost + taken - kept,
        )


class Attempts:
    """All starts of a run, in a small file beside its checkpoints: the last one, and the sum of those before it.

    Arguments:
        folder: of the run's checkpoints; None keeps no file, and knows of this attempt alone.
        first: the step this attempt begins after.
        began: when it was started, by `time.perf_counter`.
    """

    def __init__(self, folder: str | None, first: int, began: float) -> None:
        self._file = side_files.place(folder) / "attempts.json" if folder else None
        self._earlier, self._last = self._read(first), Attempt(first, first, 0.0, 0.0)
        self._began, self._noted = began, float("-inf")

    def reached(self, step: int, step_seconds: float) -> None:
        """Note how far this attempt has come; written at most every ten seconds."""
        now = time.perf_counter()
        self._last = Attempt(self._last.first, step, now - self._began, step_seconds)
        if self._file and now - self._noted > NOTE_EVERY:
            self._noted = now
            noted = json.dumps({"earlier": asdict(self._earlier), "last": asdict(self._last)})
            side_files.write(self._file, noted, durable=False)  # a step must not wait for the disk

    def summary(self) -> dict[str, Any]:
        """Goodput, the number of attempts, and the steps that were taken more than once."""
        all_of_them = self._earlier.plus(self._last, self._last.last)
        return {
            "goodput": all_of_them.useful / all_of_them.seconds if all_of_them.seconds else None,
            "attempts": all_of_them.attempts,
            "steps_taken_again": int(all_of_them.lost),
        }

    def _read(self, first: int) -> Earlier:
        """Read the totals of all attempts before this one from the file."""
        if self._file is None or not self._file.exists():
            return Earlier()
        found = side_files.read_object(self._file) or {}
        try:
            return Earlier(**found["earlier"]).plus(Attempt(**found["last"]), first)
        except (KeyError, TypeError):
            if distributed.is_first():
                side_files.say_damaged(self._file, "goodput counts from this attempt on")
            return Earlier()


def write_timings(path: Path, watch: Stopwatch, attempts: Attempts, tokens: int, flops_per_token: float) -> None:
    """Write timings.json; `tokens` are those of the lap `train`, without the first step and its compilation."""
    seconds, devices = dict(watch.seconds), jax.devices()
    speed = tokens / seconds["train"] if tokens and "train" in seconds else None
    peak = peak_flops(devices[0].device_kind)
    achieved = speed * flops_per_token if speed else None
    files.write_json(
        path,
        {
            "tokens_per_second": speed,
            "flops_per_second": achieved,
            "mfu": achieved / (peak * len(devices)) if achieved and peak else None,  # None: the peak is not known
            "devices": f"{len(devices)} x {devices[0].device_kind}",
            **attempts.summary(),
            "seconds": seconds,
        },
    )
