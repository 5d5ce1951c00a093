"""A model of any folder measured on evaluation sets, and two of them item by item.

The difference of two models on the same items has a smaller error than either figure, because easy items are easy for
both (arXiv:2411.00640, section 4.2). So it is computed from the items, not from the two figures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aura.core import console
from aura.evaluation.measures import with_errors
from aura.evaluation.scoring import Scorer
from aura.evaluation.sets import EvaluationSet, Measures, open_set
from aura.hugging_face import loading

TOKENS = 8192  # of a batch
CONTEXT = 4096  # tokens at most, unless asked for: attention takes memory in proportion to their square


@dataclass(frozen=True)
class Evaluated:
    """A model's measures.

    Attributes:
        model: its folder.
        context: tokens that it read at once.
        sets: each set, and its measures on all items.
    """

    model: Path
    context: int
    sets: list[tuple[EvaluationSet, Measures]]

    def record(self) -> dict[str, Any]:
        """The measures as JSON holds them."""
        sets = {one.name: one.told(measures) for one, measures in self.sets}
        return {"model": str(self.model), "context": self.context, "sets": sets}


def context_of(loaded: loading.Loaded, asked: int | None) -> int:
    """Tokens that a model reads at once: those asked for, or its own up to `CONTEXT`; never more than its own."""
    return min(loaded.context, asked or CONTEXT)


def evaluate(folder: Path, tokenizer_file: Path, sets: Mapping[str, Path], context: int | None) -> Evaluated:
    """Measure the model in `folder` on every item of the sets, on one device.

    Arguments:
        folder: as `loading.load` takes it.
        tokenizer_file: for a folder without one.
        sets: paths by name.
        context: tokens to read at once; None for those of the model, 4,096 at most.

    Raises:
        UserError: there is no such model, or an item cannot be scored.
    """
    loaded = loading.load(folder, tokenizer_file)
    read = context_of(loaded, context)
    reader = replace(loaded.reader, context=read)
    opened = [open_set(name, path, reader, 1, f"--set {name}") for name, path in sets.items()]
    scorer, found = Scorer(read, max(1, TOKENS // read)), []
    for one in console.track(opened, f"{folder}", total=len(opened)):
        measured = one.measure(loaded.model, scorer, lambda: False, whole=True)
        assert measured is not None  # noqa: S101 - nothing interrupts it
        assert measured.whole is not None  # noqa: S101 - asked for
        found.append((one, measured.whole))
    return Evaluated(folder, read, found)


def differences(one: Evaluated, other: Evaluated) -> dict[str, dict[str, float]]:
    """Each measure of `one` minus that of `other`, with its paired standard error, by the names of sets.

    A text of a single document is cut into other windows by another tokenizer: that difference has no error, and is
    left out.
    """
    found = {}
    for (evaluated, measures), (_, others) in zip(one.sets, other.sets, strict=True):
        pairs = {name: measure.minus(others[name]) for name, measure in measures.items()}
        found[evaluated.name] = with_errors({name: pair for name, pair in pairs.items() if pair is not None})
    return found
