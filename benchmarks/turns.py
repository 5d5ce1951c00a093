"""One side of benchmarks/pretrain.py: a program that takes training steps when told to, so that two can take turns."""

import json
import sys
import time
from collections.abc import Callable


def serve(
    take_step: Callable[[], float],
    take_unread: Callable[[int], None],
    memory: Callable[[], int],
    facts: dict[str, object],
    settle: Callable[[], object] = lambda: None,
) -> None:
    """Take a step and print `facts`; then do what each line of standard input says, and print what it took.

    Arguments:
        take_step: takes a step and returns the loss, and so waits for the device.
        take_unread: takes so many steps, of which no loss is read before the last one's.
        memory: the most bytes held so far, on the device if it has memory of its own.
        facts: about the program.
        settle: waits for steps that are under way, so that a turn counts as many as it takes.

    A line is a number of steps, or `unread` and a number.
    """
    first = take_step()
    settle()
    print(json.dumps({**facts, "loss": first}), flush=True)
    for line in sys.stdin:
        wall, cpu, loss = time.perf_counter(), time.process_time(), first
        steps = int(line.split()[-1])
        if line.startswith("unread"):
            take_unread(steps)
        else:
            for _ in range(steps):
                loss = take_step()
            settle()
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "loss": loss}
        print(json.dumps({**took, "memory": memory()}), flush=True)
