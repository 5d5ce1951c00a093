"""Batches that are passed over: the number of the batch that a step takes, with `pretrain.skip`.

Batches keep their numbers, whatever is passed over, so a pair found in one run means the same in the next.
"""

from collections.abc import Sequence


def batch_of(step: int, skip: Sequence[tuple[int, int]]) -> int:
    """The number of the batch that `step` takes, both from 1.

    Arguments:
        step: of the run.
        skip: pairs of numbers of batches, both ends in, ascending and apart: no step takes these.
    """
    number = step
    for first, last in skip:
        if number < first:
            break
        number += last - first + 1
    return number
