"""Validation: measures on held-out documents, the gates they must pass, and the files that say so.

`passed.json` holds the tokenizer's hash and nothing else. Later stages depend on it and on no other report,
so a missed gate stops them, and an edited limit that still passes reruns none of them.
"""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from aura import files
from aura.ingestion import corpus
from aura.params import Validate
from aura.tokenizer import measures
from aura.tokenizer.measures import Measured
from aura.tokenizer.model_file import Kind
from aura.tokenizer.tokenizer import Tokenizer

DIGITS = 6  # decimals in reports: more than anyone reads, fewer than machines differ in
RANK_POINTS = 200  # points of the frequency curve, evenly spaced on a logarithmic axis


@dataclass(frozen=True)
class Gate:
    """One limit and what was measured against it."""

    measure: str
    limit: str
    value: str
    holds: bool
    look: str  # the report that tells more, or the example


def validate(tokenizer: Tokenizer, held_out: Path, limits: Validate, folder: Path, threads: int = 1) -> list[Gate]:
    """Measure `tokenizer` on the documents in `held_out`, write the reports into `folder`, return the gates.

    metrics.json and plots/ are always written, passed.json only when every gate holds; a stale one is
    removed before anything else.
    """
    passed = folder / "passed.json"
    passed.unlink(missing_ok=True)
    measured = measures.measure(tokenizer, _documents(held_out), threads)
    files.write_json(folder / "metrics.json", metrics(tokenizer, measured))
    for name, content in plots(tokenizer, measured).items():
        files.write_bytes(folder / "plots" / name, content.encode())
    gates = check(tokenizer, measured, limits)
    if all(gate.holds for gate in gates):
        files.write_json(passed, {"tokenizer": tokenizer.sha256})
    return gates


def metrics(tokenizer: Tokenizer, measured: Measured) -> dict[str, int | float]:
    """The overall measures, flat, as `dvc metrics show` prints them."""
    overall = measured.overall
    values: dict[str, int | float] = {
        "bytes_per_token": overall.bytes_per_token,
        "characters_per_token": overall.characters_per_token,
        "fertility": overall.fertility,
        "continued_word_share": overall.continued_word_share,
        "unknown_share": overall.unknown_share,
        "byte_fallback_share": overall.byte_fallback_share,
        "unused_share": measures.unused_share(tokenizer, overall.id_counts),
        "renyi_efficiency": measures.renyi_efficiency(overall.id_counts),
        "round_trip_failures": overall.round_trip_failures,
        "documents": overall.documents,
        "bytes": overall.bytes,
        "tokens": overall.tokens,
        "vocab_size": tokenizer.vocab_size,
    }
    return {name: round(value, DIGITS) for name, value in values.items()}


def plots(tokenizer: Tokenizer, measured: Measured) -> dict[str, str]:
    """The content of each plot's data file, as CSV with a header."""
    return {
        "sources.csv": _by_source(measured),
        "piece_lengths.csv": _piece_lengths(tokenizer),
        "piece_frequencies.csv": _piece_frequencies(measured),
    }


def check(tokenizer: Tokenizer, measured: Measured, limits: Validate) -> list[Gate]:
    """Compare what was measured with the limits of params.yaml."""
    overall = measured.overall
    unused = measures.unused_share(tokenizer, overall.id_counts)
    shortest = measured.failing_example
    sources, frequencies = "plots/sources.csv", "plots/piece_frequencies.csv"
    limited = [
        _gate("bytes_per_token", overall.bytes_per_token, limits.min_bytes_per_token, sources, at_least=True),
        _gate("fertility", overall.fertility, limits.max_fertility, sources),
        _gate("unknown_share", overall.unknown_share, limits.max_unknown_share, sources),
        _gate("byte_fallback_share", overall.byte_fallback_share, limits.max_byte_fallback_share, sources),
        _gate("unused_share", unused, limits.max_unused_share, frequencies),
    ]
    gates = [gate for gate in limited if gate]
    if limits.round_trip:
        failures = overall.round_trip_failures
        look = "-" if shortest is None else f"smallest failing text {shortest!r}"
        gates.append(Gate("round_trip_failures", "0", str(failures), failures == 0, look))
    return gates


def _gate(measure: str, value: float, limit: float | None, look: str, *, at_least: bool = False) -> Gate | None:
    if limit is None:
        return None
    rounded = round(value, DIGITS)  # as reported: what is printed as equal to the limit holds
    holds = rounded >= limit if at_least else rounded <= limit
    expected = f"min_{measure} {limit}" if at_least else f"max_{measure} {limit}"  # the key and value of params.yaml
    return Gate(measure, expected, f"{rounded}", holds, look)


def _documents(folder: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Batches of (texts, sources), a few megabytes of text at a time."""
    for shard in corpus.shards(folder):
        for batch in pq.ParquetFile(shard).iter_batches(batch_size=256, columns=["text", "source"]):
            yield batch.column("text").to_pylist(), batch.column("source").to_pylist()


def _by_source(measured: Measured) -> str:
    names = (
        "bytes_per_token",
        "characters_per_token",
        "fertility",
        "continued_word_share",
        "unknown_share",
        "byte_fallback_share",
        "round_trip_failures",
        "documents",
        "bytes",
        "tokens",
    )
    rows = [
        [source, *(round(getattr(tally, name), DIGITS) for name in names)] for source, tally in measured.sources.items()
    ]
    return _csv(["source", *names], rows)


def _piece_lengths(tokenizer: Tokenizer) -> str:
    """How many learnt pieces stand for 1, 2, 3… bytes of text."""
    learnt = [kind is Kind.LEARNT for kind in tokenizer.kinds]
    return _csv(["bytes", "pieces"], enumerate(np.bincount(tokenizer.byte_lengths[learnt]).tolist()))


def _piece_frequencies(measured: Measured) -> str:
    """How often the piece of each rank occurred; in logarithms, Zipf's law is a straight line."""
    counts = np.sort(measured.overall.id_counts)[::-1]
    counts = counts[counts > 0]
    ranks = np.unique(np.geomspace(1, max(len(counts), 1), RANK_POINTS).round().astype(int))
    points = [(int(rank), int(counts[rank - 1])) for rank in ranks if rank <= len(counts)]
    rows = [[*point, *(round(math.log10(number), DIGITS) for number in point)] for point in points]
    return _csv(["rank", "occurrences", "log10_rank", "log10_occurrences"], rows)


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return written.getvalue()
