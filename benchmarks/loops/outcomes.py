"""The outcome of one disturbance: how it is judged, and how all of them are counted."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from loops.project import BUILT, Run, Slot, digests, left_behind, wrong_objects

TRACE = "Traceback (most recent call last)"
FALLEN_BACK = re.compile(
    r"fall(s|en|ing)? back|fell back|damaged|checkpoint before|was never completed|goes on from|instead|keeps? no", re.I
)
VERDICTS = ("told", "fallen back", "unharmed", "unclear", "silent")
COLUMNS = ("tried", *VERDICTS, "tracebacks", "left behind", "bytes equal after the advice")


@dataclass
class Outcome:
    """What came of one try.

    Attributes:
        what: the disturbance, in words.
        verdict: "told" (an error, or a repair that says what it did), "fallen back" (said so, and ended in the right
            bytes), "unharmed" (the right bytes, nothing to say), "unclear" (ended with a message that does not explain
            it, or hung), "silent" (exit status 0 and other bytes, nothing said).
        tracebacks: commands that printed one.
        left: unfinished outputs that are there after the advice.
        wrong: files and objects that are not those of an undisturbed build after the advice.
    """

    loop: str
    seed: int
    what: str = ""
    verdict: str = "unclear"
    tracebacks: int = 0
    left: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def note(self, name: str, run: Run) -> None:
        """Keep what a command printed, for the report of a failure."""
        self.tracebacks += TRACE in run.said
        ended = "hung" if run.status is None else f"exit {run.status}"
        self.log.append(f"$ {name}  ({ended})\n{run.said.strip()}")

    @property
    def failures(self) -> list[str]:
        """What is not as it must be; empty for a good outcome."""
        found = [self.verdict] if self.verdict in ("silent", "unclear") else []
        found += ["traceback"] if self.tracebacks else []
        found += [f"left behind: {', '.join(self.left[:3])}"] if self.left else []
        found += [f"other bytes after the advice: {len(self.wrong)}, {', '.join(self.wrong[:3])}"] if self.wrong else []
        return found


class Judge:
    """Knows the undisturbed build, and runs the README's advice after a disturbance.

    Arguments:
        built: the snapshot of the undisturbed build: its outputs' hashes.
        repair: arguments of the `aura` command that repairs.
    """

    def __init__(self, undisturbed: dict[str, str], repair: tuple[str, ...]) -> None:
        self.undisturbed, self.repair = undisturbed, repair

    def advice(self, slot: Slot, outcome: Outcome, expected: dict[str, str] | None = None) -> tuple[Run, Run]:
        """Run the advice, compare all outputs and DVC's objects with `expected`; returns the two commands' results."""
        repair = slot.run("aura.cli.app", *self.repair)
        outcome.note(f"aura {' '.join(self.repair)}", repair)
        repro = slot.repro()
        outcome.note("dvc repro", repro)
        slot.kill_all()
        wrong = differing(digests(slot.folder), self.undisturbed if expected is None else expected)
        outcome.wrong = [*wrong, *wrong_objects(slot.folder)]
        if repair.status != 0 or repro.status != 0:
            outcome.wrong = outcome.wrong or ["the advice fails"]
        outcome.left = left_behind(slot.folder)
        return repair, repro

    def equal(self, slot: Slot, outputs: tuple[str, ...]) -> bool:
        """Whether these outputs are those of the undisturbed build."""
        expected = {name: hash_ for name, hash_ in self.undisturbed.items() if name.startswith(outputs)}
        return digests(slot.folder, outputs) == expected


def differing(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """Names of files that are missing, too many or different."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def told(run: Run, names: Iterable[str] = ()) -> bool:
    """Whether a command ended with an error in a line of its own, naming one of `names` if any are given."""
    if run.status in (0, None) or TRACE in run.said:
        return False
    lines = [line for line in run.said.splitlines() if re.match(r"\s*(error|ERROR)", line)]
    names = list(names)
    return bool(lines) and (not names or any(name in run.said for name in names))


def after_the_advice(outcome: Outcome, repair: Run, repro: Run) -> str:
    """The verdict on what was killed: by what the advice said and what it ended in."""
    if None in (repair.status, repro.status):
        return "unclear"
    if repair.status or repro.status:
        return "told" if told(repair) or told(repro) else "unclear"
    if outcome.wrong:
        return "silent"
    if repair.said.strip():
        return "told"
    return "fallen back" if FALLEN_BACK.search(repro.said) else "unharmed"


def counts(outcomes: list[Outcome]) -> list[str]:
    """The cells of a loop's line in the table."""
    verdicts = [sum(outcome.verdict == verdict for outcome in outcomes) for verdict in VERDICTS]
    tracebacks = sum(bool(outcome.tracebacks) for outcome in outcomes)
    left, equal = sum(bool(one.left) for one in outcomes), sum(not one.wrong for one in outcomes)
    return [f"{value:,}" for value in (len(outcomes), *verdicts, tracebacks, left, equal)]


__all__ = ["BUILT", "COLUMNS", "Judge", "Outcome", "after_the_advice", "counts", "differing", "told"]
