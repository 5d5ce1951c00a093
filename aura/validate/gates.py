"""The gates: limits of params.yaml against what was measured, and checks that have no limit because they must hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from aura.validate import exported, integrity
from aura.validate.integrity import Fault
from aura.validate.measures import Measures
from aura.validate.options import Validate

DIGITS = 6  # decimals in reports: more than anyone reads, fewer than machines differ in
GROUP_SHARE = 0.01  # of the held-out bytes: a smaller source or script is too little text to judge by


@dataclass(frozen=True)
class Gate:
    """One limit and what was measured against it."""

    measure: str
    limit: str
    value: str
    holds: bool
    look: str  # the report that tells more, or the example


@dataclass(frozen=True)
class Results:
    """Everything that gates look at."""

    overall: Measures
    sources: Mapping[str, Measures]
    scripts: Mapping[str, Measures]
    unreachable: list[str]  # learnt pieces that their own text does not encode to
    unreachable_share: float  # of all learnt pieces
    failing_example: str | None  # the smallest text found that does not decode to itself
    faults: list[Fault]


def check(results: Results, limits: Validate, folder: Path) -> list[Gate]:
    """Each gate, held or missed; `folder` is the tokenizer's."""
    return [*_measured(results, limits), *_by_group(results, limits), *_files(results, folder)]


def _measured(results: Results, limits: Validate) -> Iterator[Gate]:
    overall = results.overall
    sources, frequencies = "plots/sources.csv", "plots/piece_frequencies.csv"
    pieces = f"pieces such as {', '.join(map(repr, results.unreachable[:3]))}" if results.unreachable else "-"
    limited = [
        _gate("bytes_per_token", overall.bytes_per_token, limits.min_bytes_per_token, sources, at_least=True),
        _gate("fertility", overall.fertility, limits.max_fertility, sources),
        _gate("unknown_share", overall.unknown_share, limits.max_unknown_share, sources),
        _gate("byte_fallback_share", overall.byte_fallback_share, limits.max_byte_fallback_share, sources),
        _gate("unused_share", overall.unused_share, limits.max_unused_share, frequencies),
        _gate("unreachable_share", results.unreachable_share, limits.max_unreachable_share, pieces),
    ]
    yield from filter(None, limited)
    failures, shortest = overall.round_trip_failures, results.failing_example
    look = "-" if shortest is None else f"smallest failing text {shortest!r}"
    yield Gate("round_trip_failures", "0", str(failures), failures == 0, look)


def _by_group(results: Results, limits: Validate) -> Iterator[Gate]:
    """The worst source or script: a language that the vocabulary lacks drowns in the overall share."""
    groups = {f"source {name}": found for name, found in results.sources.items()}
    groups |= {f"script {name}": found for name, found in results.scripts.items()}
    judged = {name: found for name, found in groups.items() if found.bytes >= GROUP_SHARE * results.overall.bytes}
    if judged:
        worst = max(judged, key=lambda name: judged[name].byte_fallback_share)
        share = judged[worst].byte_fallback_share
        look = f"{worst}, in plots/{worst.split()[0]}s.csv: its characters have no pieces" if share else "-"
        gate = _gate("group_byte_fallback_share", share, limits.max_group_byte_fallback_share, look)
        if gate:
            yield gate


def _files(results: Results, folder: Path) -> Iterator[Gate]:
    for name, file in integrity.checks(folder).items():
        found = [fault.found for fault in results.faults if fault.check == name]
        look = f"{file}: {'; '.join(found[:3])}" if found else file
        if found and name in integrity.EXPORTS:
            look += f". {exported.remedy(folder)}"
        yield Gate(name, "0", str(len(found)), not found, look)


def _gate(measure: str, value: float, limit: float | None, look: str, *, at_least: bool = False) -> Gate | None:
    if limit is None:
        return None
    rounded = round(value, DIGITS)  # as reported: what is printed as equal to the limit holds
    holds = rounded >= limit if at_least else rounded <= limit
    expected = f"min_{measure} {limit}" if at_least else f"max_{measure} {limit}"  # the key and value of params.yaml
    return Gate(measure, expected, f"{rounded}", holds, look)
