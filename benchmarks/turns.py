"""One side of benchmarks/pretrain.py: a program that takes training steps when told to, so that two can take turns."""

import json
import sys
import time
from collections.abc import Callable


def serve(take_step: Callable[[], float], facts: dict[str, object]) -> None:
    """Take a step and print `facts`; then, for each number on standard input, take so many and print what they took.

    `take_step` returns the loss, and so waits for the device.
    """
    first = take_step()
    print(json.dumps({**facts, "loss": first}), flush=True)
    for line in sys.stdin:
        wall, cpu, loss = time.perf_counter(), time.process_time(), first
        for _ in range(int(line)):
            loss = take_step()
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "loss": loss}
        print(json.dumps(took), flush=True)
