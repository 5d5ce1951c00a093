"""The gates: limits of params.yaml against what was measured, and checks that have no limit because they must hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aura.tokenizer import adopted_record
from aura.validate import exported, integrity
from aura.validate.integrity import Fault
from aura.validate.measures import Measures
from aura.validate.options import Validate
from aura.validate.usage import ENOUGH, Usage

DIGITS = 6  # decimals in reports: more than anyone reads, fewer than machines differ in
AGAIN = "Make the tokenizer again: these files are not as training left them"
ADOPTED = "The adopted tokenizer is so. To take it as it is, add {} to validate.waive in params.yaml"
GROUP_SHARE = 0.01  # of the held-out bytes: a smaller source or script is too little text to judge by


@dataclass(frozen=True)
class Gate:
    """One limit and what was measured against it."""

    measure: str
    limit: str
    value: str
    holds: bool
    look: str  # the report that tells more, or the example
    remedy: str  # what to do about a miss
    judged: bool = True  # whether there is text enough to judge by; without, a miss is a warning and the gate holds
    waived: bool = False  # missed, which params.yaml allows by name; the gate holds

    @property
    def told(self) -> str:
        """The gate in a sentence."""
        return f"{self.measure}: expected {self.limit}, got {self.value}. {self.remedy}"


@dataclass(frozen=True)
class Results:
    """Everything that gates look at."""

    overall: Measures
    sources: Mapping[str, Measures]
    scripts: Mapping[str, Measures]
    usage: Usage
    unreachable: list[str]  # learnt pieces that their own text does not encode to
    unreachable_share: float  # of all learnt pieces
    failing_example: str | None  # the smallest text found that does not decode to itself
    faults: list[Fault]


def check(results: Results, limits: Validate, folder: Path) -> list[Gate]:
    """Each gate, held or missed; `folder` is the tokenizer's."""
    found = [*_measured(results, limits), *_by_group(results, limits), *_files(results, folder)]
    if adopted_record.is_adopted(folder):
        found = [replace(gate, remedy=ADOPTED.format(gate.measure)) for gate in found]
    return [
        replace(gate, holds=True, waived=True) if not gate.holds and gate.measure in limits.waive else gate
        for gate in found
    ]


def of_extension(measured: Mapping[str, Any], limits: Validate) -> Gate:
    """The gate of an extended tokenizer: the share of documents of old text whose ids changed.

    Of fewer documents than one of which may change, a miss is a warning.
    """
    old, limit = measured["old"], measured["max_changed"]
    enough = limit * old["documents"] >= 1
    holds = old["changed"] <= limit * old["documents"]
    judged = old["documents"] > 0 and (holds or enough)
    listed = f"changed: {', '.join(old['changed_documents'][:3])}" if old["changed"] else "-"
    gate = Gate(
        "changed_share",
        f"max_changed {limit}",
        f"{old['changed_share']}",
        holds or not judged,
        listed
        if judged
        else f"{old['documents']:,} held-out documents of {', '.join(measured['keep'])}: too few to judge",
        "Name more text in train_tokenizer.keep, lower train_tokenizer.extend, or raise train_tokenizer.max_changed",
        judged=judged,
    )
    waived = not gate.holds and gate.measure in limits.waive
    return replace(gate, holds=True, waived=True) if waived else gate


def _measured(results: Results, limits: Validate) -> Iterator[Gate]:
    overall, sources = results.overall, "plots/sources.csv"
    pieces = f"pieces such as {', '.join(map(repr, results.unreachable[:3]))}" if results.unreachable else "-"
    limited = [
        _gate(
            *("bytes_per_token", overall.bytes_per_token, limits.min_bytes_per_token),
            look=sources,
            remedy="Raise vocab_size, or add text of the source that compresses worst",
            at_least=True,
        ),
        _gate(
            *("fertility", overall.fertility, limits.max_fertility),
            look=sources,
            remedy="Raise vocab_size; for text without spaces between words, set max_fertility: null",
        ),
        _gate(*("unknown_share", overall.unknown_share, limits.max_unknown_share), look=sources, remedy=AGAIN),
        _gate(
            *("byte_fallback_share", overall.byte_fallback_share, limits.max_byte_fallback_share),
            look=sources,
            remedy="Raise character_coverage: 0.9999 for several languages, 1.0 for every character",
        ),
        _unused(results.usage, limits.max_unused_share),
        _gate(
            *("unreachable_share", results.unreachable_share, limits.max_unreachable_share), look=pieces, remedy=AGAIN
        ),
    ]
    yield from filter(None, limited)
    failures, shortest = overall.round_trip_failures, results.failing_example
    look = "-" if shortest is None else f"smallest failing text {shortest!r}"
    yield Gate("round_trip_failures", "0", str(failures), failures == 0, look, AGAIN)


def _unused(usage: Usage, limit: float | None) -> Gate | None:
    """The gate of pieces that no text uses; of too little text, a miss is a warning."""
    gate = _gate(
        *("unused_share", usage.unused_share, limit),
        look="unused pieces in the page of: aura report",
        remedy="Train the tokenizer on this corpus (is it frozen?), or lower vocab_size",
    )
    if gate is None or gate.holds or usage.is_enough:
        return gate
    found = f"{usage.tokens_per_piece:.1f} tokens of text for each learnt piece, fewer than {ENOUGH}: too few to judge"
    return replace(gate, holds=True, judged=False, look=found)


def _by_group(results: Results, limits: Validate) -> Iterator[Gate]:
    """The worst source or script: a language that the vocabulary lacks drowns in the overall share."""
    groups = {f"source {name}": found for name, found in results.sources.items()}
    groups |= {f"script {name}": found for name, found in results.scripts.items()}
    judged = {name: found for name, found in groups.items() if found.bytes >= GROUP_SHARE * results.overall.bytes}
    if judged:
        worst = max(judged, key=lambda name: judged[name].byte_fallback_share)
        share = judged[worst].byte_fallback_share
        gate = _gate(
            *("group_byte_fallback_share", share, limits.max_group_byte_fallback_share),
            look=f"{worst}, in plots/{worst.split()[0]}s.csv: its characters have no pieces" if share else "-",
            remedy=f"Add training text of {worst}, or raise character_coverage",
        )
        if gate:
            yield gate


def _files(results: Results, folder: Path) -> Iterator[Gate]:
    for name, file in integrity.checks(folder).items():
        found = [fault.found for fault in results.faults if fault.check == name]
        look = f"{file}: {'; '.join(found[:3])}" if found else file
        remedy = exported.remedy(folder) if name in integrity.EXPORTS else AGAIN
        yield Gate(name, "0", str(len(found)), not found, look, remedy)


def _gate(
    measure: str, value: float, limit: float | None, *, look: str, remedy: str, at_least: bool = False
) -> Gate | None:
    if limit is None:
        return None
    rounded = round(value, DIGITS)  # as reported: what is printed as equal to the limit holds
    holds = rounded >= limit if at_least else rounded <= limit
    expected = f"min_{measure} {limit}" if at_least else f"max_{measure} {limit}"  # the key and value of params.yaml
    return Gate(measure, expected, f"{rounded}", holds, look, remedy)
