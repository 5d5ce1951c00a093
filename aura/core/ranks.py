"""A rank: one of several processes, on any machines, that do a part each of a stage's tasks.

`aura work` starts a stage's program with its rank in the environment. Ranks never talk: what a task makes lies in the
action cache, which they share. So each runs the stage as it is, does the tasks whose names fall to it
(`parallel.shared_map`), finds the results of the others there, and ends before the stage writes an output. Then one
process runs the stage, and finds everything. The price: what is no such task, each rank does for itself.
"""

import os
from dataclasses import dataclass
from typing import NoReturn

import xxhash

from aura.core.errors import UserError

VARIABLE, WAIT = "AURA_RANK", "AURA_RANK_WAIT"  # "3 of 8"; whether to wait for the others, if not empty
NOT_YET = 75  # exit status of a rank that needs results of others (EX_TEMPFAIL of sysexits.h)


@dataclass(frozen=True)
class Rank:
    """The number of this process among `world`, from zero."""

    number: int
    world: int

    def __post_init__(self) -> None:
        if self.world < 1:
            raise UserError(f"expected a world of 1 or more processes, got {self.world}")
        if not 0 <= self.number < self.world:
            raise UserError(
                f"expected a rank from 0 to {self.world - 1} in a world of {self.world}, got {self.number}. "
                "Ranks count from zero."
            )

    def __str__(self) -> str:
        return f"{self.number} of {self.world}"

    def owns(self, name: str) -> bool:
        """Return whether the task of this name falls to this rank."""
        return int(xxhash.xxh3_64_intdigest(name.encode(errors="surrogatepass")) % self.world) == self.number


class Done(SystemExit):
    """This rank has done its part of the stage; it is no error, and outputs stay as they are."""


def here() -> Rank | None:
    """The rank of this process, if it is one of several."""
    if text := os.environ.get(VARIABLE):
        number, _, world = text.partition(" of ")
        try:
            return Rank(int(number), int(world))
        except ValueError:
            raise UserError(f'{VARIABLE}: expected "3 of 8" or the like, got {text!r:.80}. Use: aura work') from None
    return None


def waits() -> bool:
    """Return whether this rank waits for the others."""
    return bool(os.environ.get(WAIT))


def end_of_part() -> None:
    """End a rank here: what follows is for one process alone."""
    if here():
        done()


def done(status: int = 0) -> NoReturn:
    """End this rank."""
    raise Done(status)
