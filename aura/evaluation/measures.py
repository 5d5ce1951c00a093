"""Measures with their standard errors: each is a ratio of two sums over units that do not depend on each other.

    mean               the denominators are ones
    bits per byte      bits over bytes of each document, or of each window where there is one document alone

The standard error is that of a ratio estimator (Cochran, Sampling Techniques, 1977, section 6.4); of a mean it is the
sample's standard deviation over the root of the number, as lm-eval has it. It says how far the figure would move with
other items of the same kind, not with another seed of training.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
STANDARD_ERROR = "_stderr"  # behind the name of a measure


@dataclass(frozen=True, eq=False)
class Measure:
    """Numerators and denominators of each unit: (units,) float64."""

    over: Array
    under: Array

    @classmethod
    def mean(cls, values: npt.NDArray[np.generic]) -> "Measure":
        """The mean of a value of each item."""
        return cls(values.astype(np.float64), np.ones(len(values)))

    @property
    def value(self) -> float:
        """The ratio of the sums."""
        return float(self.over.sum() / self.under.sum())

    @property
    def error(self) -> float | None:
        """Standard error of `value`; None of a single unit, which tells nothing about others."""
        units = len(self.over)
        if units < 2:
            return None
        residuals = self.over - self.value * self.under
        return float(np.sqrt(units / (units - 1) * np.square(residuals).sum()) / self.under.sum())

    def minus(self, other: "Measure") -> "Measure | None":
        """The difference unit by unit; None unless the units are the same."""
        if len(self.over) != len(other.over) or not np.allclose(self.under, other.under):
            return None
        return Measure(self.over - other.over, self.under)


def with_errors(measures: dict[str, Measure]) -> dict[str, float]:
    """Values by their names, each followed by its standard error if there is one."""
    found: dict[str, float] = {}
    for name, measure in measures.items():
        found[name] = measure.value
        if measure.error is not None:
            found[name + STANDARD_ERROR] = measure.error
    return found
