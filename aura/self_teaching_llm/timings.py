"""Where a run's seconds went, kept apart from its results: reports/pretrain/timings.json, outside DVC and git.

Goodput is the share of all seconds, over every attempt at this run, that went into steps which were not lost to a kill.
"""

import json
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax

from aura import files
from aura.params import Pretrain
from aura.self_teaching_llm.flops import flops_per_token, peak_flops
from aura.self_teaching_llm.model import ModelConfig

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


@dataclass
class Attempt:
    """One start of the run, as far as it came."""

    first: int  # step it began after
    last: int  # step it is known to have reached
    seconds: float  # from its start to then
    step_seconds: float  # of those, in steps


class Attempts:
    """All starts of a run, in a small file beside its checkpoints.

    Arguments:
        folder: of the run's checkpoints; None keeps no file, and knows of this attempt alone.
        first: the step this attempt begins after.
        began: when it was started, by `time.perf_counter`.
    """

    def __init__(self, folder: str | None, first: int, began: float) -> None:
        from etils import epath

        self._file = epath.Path(folder) / "attempts.json" if folder else None
        earlier = json.loads(self._file.read_text()) if self._file and self._file.exists() else []
        self._attempts = [*(Attempt(**attempt) for attempt in earlier), Attempt(first, first, 0.0, 0.0)]
        self._began, self._noted = began, float("-inf")

    def reached(self, step: int, step_seconds: float) -> None:
        """Note how far this attempt has come; written at most every ten seconds."""
        now = time.perf_counter()
        self._attempts[-1] = Attempt(self._attempts[-1].first, step, now - self._began, step_seconds)
        if self._file and now - self._noted > NOTE_EVERY:
            self._noted = now
            self._file.parent.mkdir(parents=True, exist_ok=True)
            partial = self._file.with_name(".attempts.partial")
            partial.write_text(json.dumps([asdict(attempt) for attempt in self._attempts]))
            partial.replace(self._file)

    def summary(self) -> dict[str, Any]:
        """Goodput, the number of attempts, and the steps that were taken more than once."""
        begins = [attempt.first for attempt in self._attempts[1:]] + [self._attempts[-1].last]
        useful = lost = 0.0
        for attempt, kept_until in zip(self._attempts, begins, strict=True):
            taken, kept = attempt.last - attempt.first, max(0, min(kept_until, attempt.last) - attempt.first)
            useful += attempt.step_seconds * kept / taken if taken else 0.0
            lost += taken - kept
        seconds = sum(attempt.seconds for attempt in self._attempts)
        return {
            "goodput": useful / seconds if seconds else None,
            "attempts": len(self._attempts),
            "steps_taken_again": int(lost),
        }


def write_timings(
    path: Path, watch: Stopwatch, attempts: Attempts, options: Pretrain, config: ModelConfig, steps_timed: int
) -> None:
    """Write timings.json; `steps_timed` are those in the lap `train`, without the first and its compilation."""
    seconds, devices = dict(watch.seconds), jax.devices()
    tokens = steps_timed * options.batch_size * options.seq_len
    speed = tokens / seconds["train"] if tokens and "train" in seconds else None
    peak = peak_flops(devices[0].device_kind)
    achieved = speed * flops_per_token(config, options.seq_len) if speed else None
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
