"""The validation report: one HTML file with everything in it, to look at without a network.

It is a view and no output of the pipeline: it holds the change since a commit, which no dependency of a stage
tells, and passages of held-out text, which do not belong into git. `aura report` makes it again from what
`validate` wrote and the tokenizer.
"""

import csv
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core import bounded, checksums, files, paths
from aura.core.errors import UserError
from aura.tokenizer.model_file import Kind
from aura.tokenizer.symbols import SPACE
from aura.tokenizer.tokenizer import Tokenizer
from aura.validate.report import charts

PAGE = "report.html"
MADE_BY = "dvc repro validate"
MAX_PLAYGROUND = 1_400_000  # bytes of pieces in the page; a larger vocabulary goes without a playground
EXAMPLE = "Type here: naïve café, 中文 и кириллица, snake_case and 3.14159."
_LETTERS = {Kind.SPECIAL: "S", Kind.USER: "U", Kind.BYTE: "B", Kind.LEARNT: "L"}


@dataclass(frozen=True)
class Headline:
    """A number at the top of the page."""

    name: str
    key: str  # in metrics.json
    meaning: str
    higher_is_better: bool
    percent: bool = False
    decimals: int = 2


HEADLINES = (
    Headline("bytes per token", "bytes_per_token", "compression of held-out text", True),
    Headline("tokens per word", "fertility", "fertility, words between spaces", False),
    Headline("whole words", "single_token_retention_rate", "distinct words that are one token", True, percent=True),
    Headline("unused pieces", "unused_share", "learnt, and in no held-out text", False, percent=True),
    Headline("byte tokens", "byte_fallback_share", "of characters without a piece", False, percent=True),
    Headline("lossy documents", "round_trip_failures", "do not decode to themselves", False, decimals=0),
)


def write(model: Path, folder: Path, since: str = "HEAD") -> Path:
    """Write report.html into `folder`, beside what validation wrote there, and return its path.

    Arguments:
        model: the tokenizer's spiece.model.
        folder: reports/validate.
        since: the commit whose metrics the headline numbers are compared with; left out if it has none.
    """
    page = folder / PAGE
    files.write_bytes(page, render(model, folder, since).encode())
    return page


def render(model: Path, folder: Path, since: str) -> str:
    """The page as text; see `write`."""
    import jinja2  # here, because a third of a second is too much for every program that imports this module

    tokenizer = Tokenizer.load(model)
    details = checksums.read_sealed(folder / "details.json", MADE_BY)
    shape = {"files": {str: str}, "gates": [{"holds": bool}], "dead_pieces": {"number": int, "listed": list}}
    files.require_shape(folder / "details.json", details, MADE_BY, **shape)
    for name, digest in details["files"].items():
        checksums.compare(folder / name, digest, MADE_BY)
    numbers = {headline.key: float for headline in HEADLINES} | dict.fromkeys(("documents", "bytes"), int)
    metrics = files.read_object(folder / "metrics.json", MADE_BY, **numbers)
    here = Path(__file__).parent
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(here),
    )
    environment.filters["pieces"] = lambda text: _pieces(tokenizer, text)
    return environment.get_template("page.html").render(
        style=(here / "page.css").read_text(encoding="utf-8"),
        script=(here / "playground.js").read_text(encoding="utf-8"),
        tokenizer=tokenizer,
        model_type=_model_type(tokenizer),
        metrics=metrics,
        details=details,
        headlines=_headlines(metrics, committed(folder / "metrics.json", since)),
        since=since,
        tables={name: _rows(folder / "plots" / f"{name}s.csv") for name in ("source", "script")},
        charts=_charts(folder / "plots"),
        playground=_playground(tokenizer),
        example=EXAMPLE,
        missed=[gate for gate in details["gates"] if not gate["holds"]],
    )


def committed(path: Path, revision: str) -> dict[str, Any] | None:
    """Return the content of the JSON file at `path` at a commit; `None` if it, the commit, or git is not there."""
    try:
        shown = subprocess.run(
            ["git", "show", f"{revision}:./{path.name}"], cwd=path.parent, capture_output=True, check=False
        )
    except FileNotFoundError:
        return None
    try:
        found = bounded.read_json(shown.stdout) if shown.returncode == 0 else None
    except bounded.Unreadable:
        return None
    return found if isinstance(found, dict) else None


def _headlines(metrics: dict[str, Any], before: dict[str, Any] | None) -> list[dict[str, str]]:
    rows = []
    for headline in HEADLINES:
        value, old = metrics[headline.key], None if before is None else before.get(headline.key)
        change = None if old is None else value - old
        better = change is not None and (change > 0) == headline.higher_is_better
        shown = "" if change is None else _formatted(headline, change, "+")
        unchanged = change is not None and float(shown.strip("%+-").replace("\u202f", "") or 0) == 0
        rows.append(
            {
                "name": headline.name,
                "meaning": headline.meaning,
                "value": _formatted(headline, value, ""),
                "change": "unchanged" if unchanged else shown,
                "tone": "" if unchanged or change is None else "better" if better else "worse",
            }
        )
    return rows


def _formatted(headline: Headline, value: float, sign: str) -> str:
    if headline.percent:
        return f"{100 * value:{sign}.{headline.decimals}f}%"
    return f"{value:{sign}.{headline.decimals}f}"


def _charts(plots: Path) -> dict[str, Any]:
    lengths = [(row["bytes"], float(row["pieces"])) for row in _rows(plots / "piece_lengths.csv")][1:]
    frequencies = [(float(row["rank"]), float(row["occurrences"])) for row in _rows(plots / "piece_frequencies.csv")]
    affect = [(row["emotion"], 100 * float(row["documents"])) for row in _rows(plots / "affect.csv")]
    drawn = {
        "lengths": charts.histogram(lengths, "bytes of a learnt piece", "pieces"),
        "frequencies": charts.line(frequencies, "rank", "occurrences", log_x=True, log_y=True),
        "affect": affect,
    }
    if paths.VOCABULARY_CURVE.exists():
        curve = sorted(
            (float(row["vocab_size"]), float(row["bytes_per_token"])) for row in _rows(paths.VOCABULARY_CURVE)
        )
        drawn["curve"] = charts.line(curve, "pieces", "bytes per token", log_x=True, log_y=False, marks=True)
    return drawn


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:  # csv itself knows where its rows end
            return list(csv.DictReader(file))
    except FileNotFoundError:
        raise UserError(f"{path} is missing. It is written by: {MADE_BY}") from None


def _pieces(tokenizer: Tokenizer, text: str) -> Iterable[tuple[int, str, bool]]:
    """The id, the text to show and whether it is a byte, of each token of `text`."""
    for token in tokenizer.encode(text):
        is_byte = tokenizer.kinds[token] is Kind.BYTE
        piece = tokenizer.piece(token)
        shown = piece[3:5] if is_byte else piece.replace(SPACE, " ").replace("\n", "↵\n").replace("\t", "⇥\t")
        yield token, shown, is_byte


def _playground(tokenizer: Tokenizer) -> str | None:
    """Return the data of playground.js, as JSON that can stand inside a script element; `None` if it is too large."""
    sizes = range(tokenizer.vocab_size)
    model = {
        "type": _model_type(tokenizer),
        "pieces": [tokenizer.piece(token) for token in sizes],
        "scores": [tokenizer.proc.GetScore(token) for token in sizes],
        "kinds": "".join(_LETTERS[kind] for kind in tokenizer.kinds),
    }
    written = json.dumps(model, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return written if len(written.encode()) <= MAX_PLAYGROUND else None


def _model_type(tokenizer: Tokenizer) -> str:
    spec = model_pb2.ModelProto.FromString(tokenizer.proc.serialized_model_proto()).trainer_spec
    return "unigram" if spec.model_type == model_pb2.TrainerSpec.UNIGRAM else "bpe"
