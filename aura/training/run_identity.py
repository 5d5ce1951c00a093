"""Identity of a run: all that decides its losses, and so which checkpoints are its own.

A run's key is the hash of its data, of every option that decides a loss, and of the code and libraries that train. An
option that changes no loss, or its rounding alone, is not in the key: a run resumes after it was changed. Each stage
that trains lists its own options and modules, such as `aura/pretrain/identity.py`.
"""

import json
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from aura.core import keys

LIBRARIES = ("flax", "jax", "jaxlib", "numpy", "optax")
SHOWN = 60  # characters of a value in a message
HASHED = {
    "the tokens",
    "the conversations",
    "the model",
    "the base",
    "the spelling of new pieces",
}  # entries whose values are hashes, which tell a user nothing


@dataclass(frozen=True)
class RunIdentity:
    """Identity of one run, and the place of its checkpoints.

    Attributes:
        task: the stage that trains, such as pretrain.
        steps: of the run.
        decisive: all that decides its losses, by the names that a user knows.
        shared_steps: for a run of this kind with so many steps, how many of its first ones longer runs share.
        checkpoint_folder: of all runs, or gs://BUCKET/PREFIX.
        checkpoint_every: steps between two checkpoints.
        columns: names of the measurements of a step; the first one is always taken.
        best: the one of these whose smallest value marks the checkpoint that is always kept.
        beginnings: keys of runs whose first steps are this run's own, and how many these are.
        further: names of plots, by those of measurements that this run has beside the columns (`history.FURTHER`).
    """

    task: str
    steps: int
    decisive: Mapping[str, Any]
    shared_steps: Callable[[int], int]
    checkpoint_folder: str
    checkpoint_every: int
    columns: tuple[str, ...]
    best: str
    beginnings: Mapping[str, int] = field(default_factory=dict)
    further: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The hash of everything that decides the run's losses: 32 hexadecimal digits."""
        return key_of(self.decisive)

    @property
    def keys(self) -> list[str]:
        """The keys of the runs whose checkpoints may be of use: its own first."""
        return [self.key, *self.beginnings]

    def usable(self, step: int, written_for: int, key: str | None = None) -> bool:
        """Return whether this run passes through the state of another one after `step` steps.

        Arguments:
            step: of the other run.
            written_for: the steps of the other run.
            key: of the other run, one of `keys`; this run's own by default.
        """
        if key is not None and step > self.beginnings.get(key, step):
            return False
        if written_for == self.steps:
            return step <= self.steps
        return step <= min(self.shared_steps(written_for), self.shared_steps(self.steps))


def key_of(decisive: Mapping[str, Any]) -> str:
    """The key of a run of which this decides the losses."""
    return keys.action_key(decisive)


def code_and_libraries(modules: Iterable[ModuleType]) -> dict[str, str]:
    """The hash of each module's source, and the versions of Python and of the libraries that train."""
    code = {f"the code of {module.__name__}": _hash(Path(str(module.__file__))) for module in modules}
    versions = {f"the version of {name}": metadata.version(name) for name in LIBRARIES}
    return code | versions | {"the version of Python": platform.python_version()}


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Return the differences between two runs: options and versions with both values, the other run's first."""
    named = []
    for name in sorted(here.keys() | there.keys()):
        before, now = (_plain(of.get(name)) for of in (there, here))
        if before != now:
            hashed = name in HASHED or name.startswith("the code of")
            named.append(name if hashed else f"{name} ({_shown(before)} there, {_shown(now)} here)")
    return named


def _plain(value: Any) -> Any:  # noqa: ANN401 - anything JSON can hold
    """A value as a JSON file gives it back."""
    return json.loads(json.dumps(value))


def _shown(value: Any) -> str:  # noqa: ANN401 - anything JSON can hold
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _hash(path: Path) -> str:
    return keys.action_key(path.read_text(encoding="utf-8"))
