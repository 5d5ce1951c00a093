"""`aura experiments`: what an experiment changed, and the numbers that count, out of DVC's own classes."""

from typing import Any

from dvc.repo.experiments.serialize import ExpExecutor, ExpRange, ExpState, SerializableError, SerializableExp

from aura.cli.experiments import _best
from aura.project import experiments


def state(rev: str, name: str | None = None, bits: float | None = None, **params: Any) -> ExpState:
    numbers = {"reports/pretrain/metrics.json": {"data": {"bits_per_byte": bits}}} if bits else {}
    return ExpState(rev, name, SerializableExp(rev, params={"params.yaml": {"data": params}}, metrics=numbers))


def test_rows_hold_what_differs_and_the_numbers_that_count():
    base = state("a" * 40, "main", 1.8, pretrain={"steps": 600, "seed": 0}, cache=1)
    tried = state("b" * 40, "warm-hole", 1.7, pretrain={"steps": 900, "seed": 0}, cache=1)
    broken = ExpState("c" * 40, "bad-luck", error=SerializableError("no such file"))
    base.experiments = [
        ExpRange([tried], ExpExecutor("success")),
        ExpRange([broken], ExpExecutor("failed")),
        ExpRange([state("d" * 40, None, None, pretrain={"steps": 600, "seed": 1}, cache=1)], ExpExecutor("queued")),
    ]
    here = state("workspace", None, None, pretrain={"steps": 600, "seed": 0}, cache={"max": 2})
    rows = list(experiments.rows_of([here, base]))
    assert [(row.name, row.is_experiment, row.state, row.changes) for row in rows] == [
        ("workspace", False, "", ["cache.max=2"]),
        ("main", False, "", []),
        ("warm-hole", True, "", ["pretrain.steps=900"]),
        ("bad-luck", True, "failed", []),
        ("ddddddd", True, "queued", ["pretrain.seed=1"]),
    ]
    assert [row.numbers["bits per byte"] for row in rows] == [None, 1.8, 1.7, None, None]
    assert _best("bits per byte", [row.numbers["bits per byte"] for row in rows]) == 1.7


def test_the_best_is_marked_only_where_values_differ():
    assert _best("bytes per token", [3.0, None, 3.5]) == 3.5
    assert _best("bytes per token", [3.0, 3.0]) is None
    assert _best("pieces", [1.0, 2.0]) is None
