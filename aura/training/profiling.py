"""A trace of a few steps, for TensorBoard or XProf."""

from collections.abc import Iterator
from pathlib import Path

import jax

PROFILED = range(5, 10)  # steps of an attempt that a trace covers: after compilation, and few, for they fill 100 MB


def profiled(outcomes: Iterator[dict[str, float]], folder: Path) -> Iterator[dict[str, float]]:
    """Yield `outcomes`, and write a trace of the steps PROFILED of this attempt to `folder`."""
    tracing = False
    try:
        for place, outcome in enumerate(outcomes):
            if place == PROFILED.start:
                jax.profiler.start_trace(str(folder))
                tracing = True
            if place == PROFILED.stop:
                jax.profiler.stop_trace()
                tracing = False
            yield outcome
    finally:
        if tracing:  # the run was shorter
            jax.profiler.stop_trace()
