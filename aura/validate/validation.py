"""Validation: measures on held-out documents, the gates they must pass, and the files that say so.

`passed.json` holds the tokenizer's hash, and the gates that it misses and that are waived. Of a tokenizer that misses
another gate, it holds no hash and what it misses. Later stages depend on it and on no other report, so a missed gate
stops them, and an edited limit that still passes reruns none of them. The stage itself succeeds either way: DVC keeps
nothing of an experiment whose stage fails, and the measures of a missed gate are what a sweep is for.
"""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from aura.core import checksums, files, parallel
from aura.core.terms import EMOTIONS
from aura.tokenizer import adopted, adopted_record, opening
from aura.tokenizer.adopted import AdoptedTokenizer
from aura.tokenizer.model_file import Kind
from aura.tokenizer.opening import AnyTokenizer
from aura.tokenizer.symbols import SPACE
from aura.tokenizer.tokenizer import MADE_BY
from aura.validate import extension, gates, held_out, integrity, measures
from aura.validate.gates import DIGITS, Gate, Results
from aura.validate.held_out import Counted
from aura.validate.measures import Lengths, Measures, Tally
from aura.validate.options import Validate
from aura.validate.usage import usage

RANK_POINTS = 200  # points of the frequency curve, evenly spaced on a logarithmic axis
LISTED = 1000  # unused pieces listed in the report, at most
MAX_BYTES = 32e6  # of held-out text that is measured
MAX_TRAINING = 12e6  # bytes of Parquet, some 40 MB of training text, in which pieces are looked for
PASSED, METRICS, DETAILS = "passed.json", "metrics.json", "details.json"


@dataclass(frozen=True)
class Validation:
    """Everything that was found out about a tokenizer."""

    tokenizer: AnyTokenizer
    counted: Counted
    total: Tally
    results: Results


def validate(
    model: Path,
    documents: Path,
    limits: Validate,
    folder: Path,
    cluster: str | None = None,
    *,
    training: Path | None = None,
) -> list[Gate]:
    """Measure the tokenizer in the file `model` on `documents`, write the reports into `folder`, return the gates.

    Every file is written whether gates hold or not; a stale passed.json is removed before anything else.

    Arguments:
        model: the tokenizer's spiece.model.
        documents: the folder of the held-out documents.
        limits: of the gates.
        folder: gets metrics.json, details.json, passed.json and plots/.
        cluster: the address of a cluster; without it, this machine's cores do the work.
        training: the folder of the training documents, in which pieces in use are looked for, too. Without it, unused
            pieces are judged only where there is much held-out text.

    Raises:
        UserError: there is no tokenizer, or it is damaged.
    """
    (folder / PASSED).unlink(missing_ok=True)
    checksums.verify(model.parent, MADE_BY, required=False)
    tokenizer = opening.load(model)
    found = examine(model, tokenizer, documents, cluster, training)
    measured = _extension(tokenizer, documents, model.parent)
    judged = gates.check(found.results, limits, model.parent)
    if measured is not None and measured["keep"]:
        judged.append(gates.of_extension(measured, limits))
    missed = [gate.told for gate in judged if not gate.holds]
    changed = {"changed_share": measured["old"]["changed_share"]} if measured and measured["keep"] else {}
    files.write_json(folder / METRICS, metrics(found) | changed | {"missed_gates": len(missed)})
    drawn = {f"plots/{name}": content.encode() for name, content in plots(found).items()}
    for name, content in drawn.items():
        files.write_bytes(folder / name, content)
    told = details(found, judged) | ({} if measured is None else {"extension": measured})
    shown = {name: files.sha256_file(folder / name) for name in (METRICS, *drawn)}  # by the report
    files.write_json(folder / DETAILS, checksums.sealed(told | {"files": shown}))
    waived = [gate.measure for gate in judged if gate.waived]
    verdict = {"tokenizer": "", "missed": missed} if missed else {"tokenizer": tokenizer.sha256}
    files.write_json(folder / PASSED, verdict | ({"waived": waived} if waived else {}))
    return judged


def examine(
    model: Path, tokenizer: AnyTokenizer, documents: Path, cluster: str | None = None, training: Path | None = None
) -> Validation:
    """Count over the documents and take all measures; the arguments are those of `validate`."""
    counted = held_out.count_held_out(model, tokenizer, documents, MAX_BYTES, cluster)
    total = Tally.total(counted.tallies.values(), tokenizer.vocab_size)
    prefix = tokenizer.word_prefix if isinstance(tokenizer, AdoptedTokenizer) else " "
    lengths = Lengths(tokenizer, total, prefix, threads=parallel.cores())

    def by(place: int) -> dict[str, Measures]:
        names = sorted({group[place] for group in counted.tallies})
        parts = {name: [tally for group, tally in counted.tallies.items() if group[place] == name] for name in names}
        return {
            name: measures.measure(tokenizer, Tally.total(tallies, tokenizer.vocab_size), lengths)
            for name, tallies in parts.items()
        }

    failing = counted.failing
    if failing is not None:
        failing = measures.smallest_failing(failing, lambda part: tokenizer.decode(tokenizer.encode(part)) != part)
    learnt = learnt_texts(tokenizer)
    unreachable = [tokenizer.piece(token) for token in _unreachable(tokenizer, learnt)]
    results = Results(
        overall=measures.measure(tokenizer, total, lengths),
        sources=by(0),
        scripts=by(1),
        usage=usage(model, tokenizer, total.id_counts, counted.share, training, MAX_TRAINING, cluster),
        unreachable=unreachable,
        unreachable_share=len(unreachable) / max(len(learnt), 1),
        failing_example=failing,
        faults=integrity.faults(tokenizer, model.parent),
    )
    return Validation(tokenizer, counted, total, results)


def _extension(tokenizer: AnyTokenizer, documents: Path, folder: Path) -> dict[str, Any] | None:
    """Measures of an extended tokenizer against what it was made of; None for one that was not extended."""
    extended = adopted_record.read_extended(folder) if adopted_record.is_adopted(folder) else None
    base = adopted.base_of(folder)
    if extended is None or base is None:
        return None
    keep = {*extended["keep"]}
    new = ((source, text) for source, _, text in held_out.documents(documents) if source not in keep)
    old = ((doc, text) for source, doc, text in held_out.documents(documents) if source in keep)
    return extension.measured(base, tokenizer, new, old) | {
        "keep": sorted(keep),
        "max_changed": extended["max_changed"],
    }


def learnt_texts(tokenizer: AnyTokenizer) -> dict[int, str]:
    """The text of each learnt piece, by its id."""
    if isinstance(tokenizer, AdoptedTokenizer):
        return tokenizer.learnt_texts()
    learnt = [token for token, kind in enumerate(tokenizer.kinds) if kind is Kind.LEARNT]
    return {token: tokenizer.piece(token).replace(SPACE, " ") for token in learnt}


def _unreachable(tokenizer: AnyTokenizer, learnt: dict[int, str]) -> list[int]:
    """Learnt pieces that no text is known to give; a tokenizer that adds a space to a text is asked inside one, too."""
    left = measures.unreachable(tokenizer, learnt)
    if isinstance(tokenizer, AdoptedTokenizer) and not tokenizer.word_prefix:
        left = measures.unreachable(tokenizer, {token: learnt[token].removeprefix(" ") for token in left})
        inside = tokenizer.encode_batch([f"\n{learnt[token]}" for token in left])
        left = [token for token, ids in zip(left, inside, strict=True) if ids[-1:].tolist() != [token]]
    return left


def metrics(found: Validation) -> dict[str, int | float]:
    """The overall measures, flat, as `dvc metrics show` prints them."""
    values = _rounded(found.results.overall)
    return values | {
        "unused_share": round(found.results.usage.unused_share, DIGITS),
        "rare_share": round(found.results.usage.rare_share, DIGITS),
        "unreachable_share": round(found.results.unreachable_share, DIGITS),
        "vocab_size": found.tokenizer.vocab_size,
        "measured_share": round(found.counted.share, DIGITS),
    }


def plots(found: Validation) -> dict[str, str]:
    """The content of each plot's data file, as CSV with a header."""
    return {
        "sources.csv": _groups("source", found.results.sources),
        "scripts.csv": _groups("script", found.results.scripts),
        "piece_lengths.csv": _piece_lengths(found.tokenizer),
        "piece_frequencies.csv": _piece_frequencies(found.total),
        "affect.csv": _affect(found.counted),
    }


def details(found: Validation, judged: list[Gate]) -> dict[str, Any]:
    """Return the report's part beside metrics and plots: gates, and texts and pieces to look at.

    It holds passages of held-out documents, at most EXCERPT characters each, and so belongs into DVC and not into git.
    """
    tokenizer, unused = found.tokenizer, found.results.usage.unused
    return {
        "tokenizer": tokenizer.sha256,
        "gates": [asdict(gate) for gate in judged],
        "worst": [asdict(passage) for passage in found.counted.worst],
        "samples": [asdict(passage) for _, passage in sorted(found.counted.samples.items())],
        "unused_pieces": {"number": len(unused), "listed": [tokenizer.piece(token) for token in unused[:LISTED]]},
        "unreachable_pieces": found.results.unreachable[:LISTED],
    }


def _groups(column: str, groups: dict[str, Measures] | Any) -> str:  # noqa: ANN401 - any mapping
    rows = [[name, *_rounded(values).values()] for name, values in groups.items()]
    return _csv([column, *(field.name for field in fields(Measures))], rows)


def _rounded(values: Measures) -> dict[str, int | float]:
    return {field.name: round(value, DIGITS) for field, value in zip(fields(values), astuple(values), strict=True)}


def _piece_lengths(tokenizer: AnyTokenizer) -> str:
    """Count the learnt pieces that stand for 1, 2, 3… bytes of text."""
    learnt = [kind is Kind.LEARNT for kind in tokenizer.kinds]
    return _csv(["bytes", "pieces"], enumerate(np.bincount(tokenizer.byte_lengths[learnt]).tolist()))


def _piece_frequencies(total: Tally) -> str:
    """Count the occurrences of the piece of each rank; in logarithms, Zipf's law is a straight line."""
    counts = np.sort(total.id_counts)[::-1]
    counts = counts[counts > 0]
    ranks = np.unique(np.geomspace(1, max(len(counts), 1), RANK_POINTS).round().astype(int))
    points = [(int(rank), int(counts[rank - 1])) for rank in ranks if rank <= len(counts)]
    rows = [[*point, *(round(math.log10(number), DIGITS) for number in point)] for point in points]
    return _csv(["rank", "occurrences", "log10_rank", "log10_occurrences"], rows)


def _affect(counted: Counted) -> str:
    """Share of documents by their strongest emotion, or none; and each emotion's share of all weight."""
    strongest, weights = counted.affect.strongest, counted.affect.weights
    shares = strongest / max(int(strongest.sum()), 1)
    weighted = [*(weights / max(float(weights.sum()), 1.0)), 0.0]
    rows = [
        [name, round(float(share), DIGITS), round(float(weight), DIGITS)]
        for name, share, weight in zip([*EMOTIONS, "none"], shares, weighted, strict=True)
    ]
    return _csv(["emotion", "documents", "weight"], rows)


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return written.getvalue()
