"""The language model's section: losses, bits per byte, how it was trained, and what it says."""

import re
from pathlib import Path
from typing import Any

from aura.core import files, paths
from aura.project.results import PRETRAINED
from aura.report import charts, heads
from aura.report.charts import Point
from aura.report.figures import Headline

MADE_BY = "dvc repro pretrain"
PLOTS = paths.PRETRAINING / "plots/metrics"
MOST = 400  # points of a line
MEASURES = ("accuracy", "accuracy_by_length", "bits_per_byte")  # of evaluation sets; the first one is drawn
SAID = "\n--- continued by the model\n"  # as `aura/pretrain/samples.py` writes it
SAMPLES_BYTES = 200_000  # of the samples that are read

_SHAPE = dict.fromkeys(("layers", "width", "heads", "kv_heads"), int)  # of a model, as the page tells it

CHARTS = 24  # of evaluation sets
_SET = re.compile(r"[a-z0-9][a-z0-9_-]*")  # a set's name, as params.yaml takes it

HEADLINES = (
    Headline("bits per byte", "bits_per_byte", "held-out text; less is better", False),
    Headline(
        "below context-free", "improvement", "against the best model without context", True, percent=True, decimals=1
    ),
    Headline("loss", "loss", "nats per held-out token", False),
    Headline("parameters", "parameters", "weights, embeddings included", None, decimals=0),
    Headline("tokens seen", "tokens", "over all steps", None, decimals=0),
)


def metrics() -> dict[str, Any]:
    """The measures of `pretrain`; empty before its first run."""
    if not PRETRAINED.exists():
        return {}
    found = files.read_object(PRETRAINED, MADE_BY, bits_per_byte=float)
    groups = {"bits_per_byte_by_source": {str: float}, "bits_per_byte_by_script": {str: float}}
    heads.require_shapes(PRETRAINED, found, MADE_BY, step=int, evaluations={str: {str: float | str}}, **groups)
    return found


def fall_of_answers() -> float | None:
    """By which share `adapt` lowered the held-out loss on answers; None before its first run."""
    file = paths.ADAPTATION / "metrics.json"
    if not file.exists():
        return None
    fall: float = files.read_object(file, "dvc repro adapt", response_loss_fall=float)["response_loss_fall"]
    return fall


def section(measured: dict[str, Any]) -> dict[str, Any]:
    """The values of the section's template, beside the metrics."""
    config = paths.LANGUAGE_MODEL / "config.json"
    return {
        "config": files.read_object(config, MADE_BY, model=_SHAPE, seq_len=int) if config.exists() else None,
        "charts": _charts(measured),
        "by_source": sorted(measured.get("bits_per_byte_by_source", {}).items(), key=lambda pair: pair[1]),
        "by_script": sorted(measured.get("bits_per_byte_by_script", {}).items(), key=lambda pair: pair[1]),
        "evaluations": _evaluations(measured.get("evaluations", {})),
        "samples": _samples(),
        "timings": _timings(),
    }


def _evaluations(sets: dict[str, Any]) -> list[dict[str, Any]]:
    """Of each evaluation set: its name, kind and number of items, measures with errors, and the chart of the first."""
    found: list[dict[str, Any]] = []
    for name, told in sets.items():
        numbers = {key: value for key, value in told.items() if isinstance(value, float | int)}
        values = {key: numbers[key] for key in MEASURES if key in numbers}
        rows = [(key.replace("_", " "), value, numbers.get(f"{key}_stderr")) for key, value in values.items()]
        drawn = values and len(found) < CHARTS and _SET.fullmatch(name)
        points = _points(f"evaluations/{name}/{next(iter(values))}") if drawn else []
        chart = (
            charts.line(points, "step", rows[0][0], log_x=False, log_y=False, marks=len(points) <= 24)
            if len(points) > 1
            else None
        )
        kind = str(told.get("kind", "")).replace("_", " ")
        found.append({"name": name, "kind": kind, "items": numbers.get("items", 0), "measures": rows, "chart": chart})
    return found


def smoothed(points: list[Point], width: int) -> list[Point]:
    """The mean of `width` values that end at each point: what a noisy loss does, without the noise."""
    sums, total = [], 0.0
    for place, (x, y) in enumerate(points):
        total += y - (points[place - width][1] if place >= width else 0)
        sums.append((x, total / min(place + 1, width)))
    return sums


def _charts(measured: dict[str, Any]) -> dict[str, Any]:
    drawn = {}
    losses = _points("loss")
    if len(losses) > 1:
        smooth = smoothed(losses, max(len(losses) // 30, 1))
        every = max(len(losses) // MOST, 1)
        drawn["loss"] = charts.line(
            smooth[::every],
            "step",
            "nats per token",
            log_x=False,
            log_y=False,
            behind=losses[::every],
        )
    held_out = _points("bits_per_byte")
    if len(held_out) > 1:
        free = measured.get("context_free_bits_per_byte")
        drawn["bits_per_byte"] = charts.line(
            held_out[:: max(len(held_out) // MOST, 1)],
            "step",
            "bits per byte",
            log_x=False,
            log_y=False,
            marks=len(held_out) <= 24,
            reference=("without context", free) if isinstance(free, float) else None,
        )
    return drawn


def _points(name: str) -> list[Point]:
    return charts.points(heads.of_table(PLOTS / f"{name}.tsv"), "step", Path(name).name)


def _samples() -> list[dict[str, str]]:
    """Prompts and their continuations: {doc, begun, continued}; a text without them as it is."""
    path = paths.PRETRAINING / "samples.txt"
    if not path.exists():
        return []
    with path.open("rb") as file:
        text = file.read(SAMPLES_BYTES).decode("utf-8", errors="replace")
    parts = re.split(r"(?:\A|\n)=== (.*)\n", text)
    found = []
    for doc, body in zip(parts[1::2], parts[2::2], strict=True):
        begun, _, continued = body.rstrip("\n").partition(SAID)
        found.append({"doc": doc, "begun": begun, "continued": continued})
    return found


def _timings() -> dict[str, Any]:
    """Seconds and throughput of the run on this machine; empty where it ran elsewhere."""
    path = paths.PRETRAINING / "timings.json"
    if not path.exists():
        return {}
    read = files.read_object(path, MADE_BY, tokens_per_second=float | None, devices=str, seconds={str: float})
    return read | {"total": sum(read["seconds"].values())}
