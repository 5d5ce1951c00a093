"""The results of a project in some lines: what is there, where to look, and what to try next."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aura.core import bounded, paths
from aura.core.shown_text import on_one_line

VALIDATED, PRETRAINED = paths.VALIDATION / "metrics.json", paths.PRETRAINING / "metrics.json"
ADAPTED = paths.ADAPTATION / "metrics.json"
_UNKNOWN = "not measured yet"
_NEXT = (
    ('aura encode "Hello, world!"', "the tokenizer at work"),
    ('aura sample "The function returns"', "the model at work"),
    ("aura chat", "the adapted model at work"),
    ("aura report --open", "the whole pipeline on one page"),
    ("aura source add mine data/txt --only; dvc repro", "your own text instead of the sample"),
    ("aura experiments", "what each value of a param was worth"),
)


def made() -> Iterator[tuple[str, str]]:
    """Yield each output that is there, with what its metrics say of it."""
    tokenizer, model = _read(VALIDATED), _read(PRETRAINED)
    if paths.TOKENIZER.is_dir():
        yield (
            str(paths.TOKENIZER),
            _told(("{vocab_size:,} pieces", "{bytes_per_token:.2f} bytes per token of held-out text"), tokenizer),
        )
    if paths.LANGUAGE_MODEL.is_dir():
        yield (
            str(paths.LANGUAGE_MODEL),
            _told(
                (
                    "{parameters:,} parameters",
                    "{bits_per_byte:.2f} bits per byte of held-out text",
                    "{context_free_bits_per_byte:.2f} without context",
                ),
                model,
            ),
        )
        yield from _evaluated(model.get("evaluations"))
    if paths.HUGGING_FACE_MODEL.is_dir():
        yield str(paths.HUGGING_FACE_MODEL), "model and tokenizer, as Hugging Face transformers loads them"
    if paths.CHAT_MODEL.is_dir():
        yield (
            str(paths.CHAT_MODEL),
            _told(
                (
                    "{response_loss:.2f} nats per token of held-out answers",
                    "{response_loss_before:.2f} before",
                    "{forgetting:.1%} more bits per byte of held-out text",
                ),
                _read(ADAPTED),
            ),
        )


def _evaluated(sets: object) -> Iterator[tuple[str, str]]:
    """Yield each evaluation set, with its first measure."""
    for name, told in sets.items() if isinstance(sets, dict) else ():
        if isinstance(told, dict):
            facts = ("{accuracy:.1%} ± {accuracy_stderr:.1%} right", "{bits_per_byte:.3f} bits per byte")
            known = [fact for fact in (_told((fact,), told) for fact in facts) if fact != _UNKNOWN]
            yield f"  {on_one_line(str(name))}", known[0] if known else _UNKNOWN


def pages() -> list[str]:
    """The files to look at that are there."""
    found = (
        paths.REPORT,
        paths.PRETRAINING / "samples.txt",
        paths.ADAPTATION / "samples.txt",
        paths.TOKENIZER / "spiece.vocab",
    )
    return [str(path) for path in found if path.is_file()]


def to_try() -> list[tuple[str, str]]:
    """Commands to run next, and what each shows: those that have what they need."""
    there = {
        "aura encode": paths.TOKENIZER_MODEL.is_file() or (paths.TOKENIZER / "adopted.json").is_file(),
        "aura sample": paths.LANGUAGE_MODEL.is_dir(),
        "aura chat": paths.CHAT_MODEL.is_dir(),
    }
    return [row for row in _NEXT if there.get(" ".join(row[0].split()[:2]), True)]


def _told(facts: tuple[str, ...], metrics: dict[str, Any]) -> str:
    """The facts whose numbers are known."""
    known = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    found = []
    for fact in facts:
        try:
            found.append(fact.format(**known))
        except (KeyError, ValueError):
            continue
    return ", ".join(found) or _UNKNOWN


def _read(path: Path) -> dict[str, Any]:
    try:
        values = bounded.read_json(path.read_bytes())
    except (OSError, bounded.Unreadable):
        return {}
    return values if isinstance(values, dict) else {}
