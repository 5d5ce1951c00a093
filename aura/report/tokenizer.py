"""The tokenizer's section: headline numbers, gates, compression, vocabulary, passages and the playground."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core import checksums, files, paths
from aura.project.results import VALIDATED
from aura.report import charts
from aura.report.figures import Headline
from aura.tokenizer import opening
from aura.tokenizer.adopted import AdoptedTokenizer
from aura.tokenizer.model_file import Kind
from aura.tokenizer.opening import AnyTokenizer
from aura.tokenizer.symbols import SPACE

MADE_BY = "dvc repro validate"
MAX_PLAYGROUND = 1_400_000  # bytes of pieces in the page; a larger vocabulary goes without a playground
EXAMPLE = "Type here: the function returns an array, for snake_case and 3.14159; naïve café, привет."
DETAILS, PLOTS = paths.VALIDATION / "details.json", paths.VALIDATION / "plots"
GROUPS = {"source": "Held-out text by source", "script": "Held-out text by script"}
_LETTERS = {Kind.SPECIAL: "S", Kind.USER: "U", Kind.BYTE: "B", Kind.LEARNT: "L"}

HEADLINES = (
    Headline("bytes per token", "bytes_per_token", "compression of held-out text", True),
    Headline("tokens per word", "fertility", "fertility, words between spaces", False),
    Headline(
        "whole words",
        "single_token_retention_rate",
        "distinct words that are one token",
        True,
        percent=True,
        decimals=1,
    ),
    Headline("unused pieces", "unused_share", "learnt, and in no text looked at", False, percent=True, decimals=1),
    Headline("byte tokens", "byte_fallback_share", "of characters without a piece", False, percent=True),
    Headline("lossy documents", "round_trip_failures", "do not decode to themselves", False, decimals=0),
)


def metrics() -> dict[str, Any]:
    """The measures of `validate`; empty before its first run."""
    if not VALIDATED.exists():
        return {}
    numbers = {headline.key: float for headline in HEADLINES} | dict.fromkeys(("documents", "bytes"), int)
    return files.read_object(VALIDATED, MADE_BY, **numbers)


def details() -> dict[str, Any] | None:
    """Return gates, passages and pieces, with the files beside them verified; None before the first run of `validate`.

    Raises:
        UserError: one of these files was altered.
    """
    if not DETAILS.exists():
        return None
    found = checksums.read_sealed(DETAILS, MADE_BY)
    shape = {"files": {str: str}, "gates": [{"holds": bool}], "unused_pieces": {"number": int, "listed": list}}
    files.require_shape(DETAILS, found, MADE_BY, **shape)
    for name, digest in found["files"].items():
        checksums.compare(DETAILS.parent / name, digest, MADE_BY)
    return found


def load() -> AnyTokenizer | None:
    """The tokenizer; None where there is none yet."""
    return opening.load(paths.TOKENIZER_MODEL) if opening.is_there(paths.TOKENIZER_MODEL) else None


def section(tokenizer: AnyTokenizer | None) -> dict[str, Any]:
    """The values of the section's template, beside metrics and details."""
    drawn = PLOTS.exists()
    return {
        "tables": {name: rows(PLOTS / f"{name}s.csv") for name in GROUPS} if drawn else {},
        "groups": GROUPS,
        "charts": _charts() if drawn else {},
        "playground": playground(tokenizer) if tokenizer else None,
        "example": EXAMPLE,
        "model_type": model_type(tokenizer) if tokenizer else None,
    }


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of one of the plots' files; none where it is missing."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:  # csv itself knows where its rows end
        return list(csv.DictReader(file))


def _charts() -> dict[str, Any]:
    lengths = [(row["bytes"], float(row["pieces"])) for row in rows(PLOTS / "piece_lengths.csv")][1:]
    frequencies = [(float(row["rank"]), float(row["occurrences"])) for row in rows(PLOTS / "piece_frequencies.csv")]
    drawn = {
        "lengths": charts.histogram(lengths, "bytes of a learnt piece", "pieces"),
        "frequencies": charts.line(frequencies, "rank", "occurrences", log_x=True, log_y=True),
    }
    if paths.VOCABULARY_CURVE.exists():
        curve = sorted(charts.points(rows(paths.VOCABULARY_CURVE), "vocab_size", "bytes_per_token"))
        drawn["curve"] = charts.line(curve, "pieces", "bytes per token", log_x=True, log_y=False, marks=True)
    return drawn


def pieces(tokenizer: AnyTokenizer, text: str) -> Iterable[tuple[int, str, bool]]:
    """Yield the id, the text to show and whether it is a byte, of each token of `text`."""
    for token in tokenizer.encode(text):
        is_byte = tokenizer.kinds[token] is Kind.BYTE
        piece = tokenizer.piece(token)
        shown = piece[3:5] if is_byte else piece.replace(SPACE, " ").replace("\n", "↵\n").replace("\t", "⇥\t")
        yield token, shown, is_byte


def playground(tokenizer: AnyTokenizer) -> str | None:
    """Return the data of playground.js, as JSON that can stand inside a script element; `None` if it is too large."""
    if isinstance(tokenizer, AdoptedTokenizer):
        return None  # playground.js knows the algorithms of ours alone
    sizes = range(tokenizer.vocab_size)
    model = {
        "type": model_type(tokenizer),
        "pieces": [tokenizer.piece(token) for token in sizes],
        "scores": [tokenizer.proc.GetScore(token) for token in sizes],
        "kinds": "".join(_LETTERS[kind] for kind in tokenizer.kinds),
    }
    written = json.dumps(model, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return written if len(written.encode()) <= MAX_PLAYGROUND else None


def model_type(tokenizer: AnyTokenizer) -> str:
    """The algorithm of a tokenizer: "unigram" or "bpe"; of an adopted one, whatever its library does: "adopted"."""
    if isinstance(tokenizer, AdoptedTokenizer):
        return "adopted"
    spec = model_pb2.ModelProto.FromString(tokenizer.proc.serialized_model_proto()).trainer_spec
    return "unigram" if spec.model_type == model_pb2.TrainerSpec.UNIGRAM else "bpe"
