"""Experiments of DVC as rows of a small table: what each changed in params.yaml, and the numbers that count.

`dvc exp show` has a column for each of a hundred params and metrics. Here are those alone that differ.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aura.core.errors import UserError
from aura.core.params import PARAMS_FILE
from aura.project.results import PRETRAINED, VALIDATED
from aura.sharing.remote import open_repo

NUMBERS = {  # title: the file with the metric, and its key
    "pieces": (str(VALIDATED), "vocab_size"),
    "bytes per token": (str(VALIDATED), "bytes_per_token"),
    "bits per byte": (str(PRETRAINED), "bits_per_byte"),
}
WORKSPACE = "workspace"


@dataclass(frozen=True)
class Row:
    """A revision: the workspace, a commit, or an experiment, which begins at the commit above it.

    Attributes:
        name: of the experiment, of the commit's branch or tag, or its hash.
        state: `queued`, `running`, `failed`; empty for one that is whole.
        changes: params that differ from the revision that this one is compared with, as `key=value`.
        numbers: of `NUMBERS`, by title; None where there is none.
    """

    name: str
    is_experiment: bool
    state: str
    changes: list[str]
    numbers: dict[str, float | None]


def rows(revision: str | None = None, commits: int = 1) -> Iterator[Row]:
    """Yield the workspace, then each commit with its experiments.

    Args:
        revision: the newest commit to look at; HEAD when None.
        commits: how many commits to look at, back from there.
    """
    from scmrepo.exceptions import SCMError

    try:
        with open_repo() as repo:
            states = repo.experiments.show(revs=revision, num=commits)
    except SCMError as error:
        raise UserError(f"expected a git revision with experiments, got {revision or 'HEAD'} ({error})") from None
    yield from rows_of(states)


def rows_of(states: Sequence[Any]) -> Iterator[Row]:
    """Yield the rows of DVC's states, of which each but the last is compared with the next."""
    for place, state in enumerate(states):
        older = states[place + 1] if place + 1 < len(states) else state
        yield _row(state, older, is_experiment=False)
        for group in state.experiments or []:
            status = getattr(group.executor, "state", "") or ""
            for experiment in group.revs:
                yield _row(experiment, state, is_experiment=True, status="" if status == "success" else status)


def _row(state: Any, base: Any, *, is_experiment: bool, status: str = "") -> Row:  # noqa: ANN401 - DVC's
    """The row of a state, whose params are compared with those of `base`."""
    name = state.name or state.rev
    was, values = (_flat(_data(one, "params").get(str(PARAMS_FILE))) for one in (base, state))
    numbers = {title: _data(state, "metrics").get(file, {}).get(key) for title, (file, key) in NUMBERS.items()}
    return Row(
        name if name in (WORKSPACE, state.name) else name[:7],
        is_experiment,
        "failed" if state.error else status,
        list(_changes(was, values)) if values else [],
        {title: value if isinstance(value, int | float) else None for title, value in numbers.items()},
    )


def _changes(was: dict[str, Any], values: dict[str, Any]) -> Iterator[str]:
    for key in values | was:
        if key not in values and not any(name.startswith(f"{key}.") for name in values):
            yield f"{key} removed"
        elif key in values and values[key] != was.get(key):
            yield f"{key}={values[key]}"


def _data(state: Any, kind: str) -> dict[str, dict[str, Any]]:  # noqa: ANN401 - DVC's
    """The params or metrics of a state, by file; none where DVC could not read it."""
    found = getattr(state.data, kind, None) or {}
    return {file: entry["data"] for file, entry in found.items() if isinstance(entry.get("data"), dict)}


def _flat(values: dict[str, Any] | None, above: str = "") -> dict[str, Any]:
    """Nested values by dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in (values or {}).items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) and value else {f"{above}{key}": value}
    return flat
