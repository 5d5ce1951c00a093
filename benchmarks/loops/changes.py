"""Inputs changed while a stage runs: nothing that was made from the old ones may pass for made from the new ones."""

import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loops.outcomes import Judge, Outcome, differing, told
from loops.project import STAGES, Slot, Warm, digests, stage_process

FIRST = next(iter(STAGES))


@dataclass(frozen=True)
class Change:
    """An edit of an input of a stage, of which other outputs come."""

    what: str
    stage: str
    apply: Callable[[Path], None]


def _replace(path: str, pattern: str, replacement: str) -> Callable[[Path], None]:
    """An edit that replaces the first match of a pattern in a file, in place."""

    def apply(folder: Path) -> None:
        text = (folder / path).read_text(encoding="utf-8")
        changed, count = re.subn(pattern, replacement, text, count=1)
        if count != 1 or changed == text:
            raise RuntimeError(f"{path}: expected {pattern!r} once, to replace it")
        (folder / path).write_text(changed, encoding="utf-8")

    return apply


def _file_added(folder: Path) -> None:
    text = "A file that was added while the stage was at work, with words of its own: pomegranate, quince, medlar.\n"
    (folder / "data/books/added.txt").write_text(text * 3, encoding="utf-8")


def _file_removed(folder: Path) -> None:
    (folder / "data/books/005.txt").unlink()


def _file_edited(folder: Path) -> None:
    with (folder / "data/books/003.txt").open("a", encoding="utf-8") as file:
        file.write("\nA line that was added while the stage was at work: happy, happy marmalade.\n")


def _word_added(folder: Path) -> None:
    with (folder / "aura/ingestion/lexicon.tsv").open("a", encoding="utf-8") as file:
        file.write("the\tjoy\n")


BOOKS = "extract@books"
CHANGES = (
    Change("extract.min_chars", BOOKS, _replace("params.yaml", r"(?m)^  min_chars: \d+", "  min_chars: 400")),
    Change("a file of the corpus edited", BOOKS, _file_edited),
    Change("a file added to the corpus", BOOKS, _file_added),
    Change("a file of the corpus removed", BOOKS, _file_removed),
    Change("a word added to the lexicon", BOOKS, _word_added),
    Change("code of cleaning", BOOKS, _replace("aura/sources/documents/document.py", r"\A", "# changed\n")),
    Change("select.held_out", "select", _replace("params.yaml", r"(?m)^  held_out: [\d.]+", "  held_out: 0.3")),
    Change("vocab_size", "train_tokenizer", _replace("params.yaml", r"(?m)^  vocab_size: \d+", "  vocab_size: 720")),
    Change(
        "code of golden.json",
        "train_tokenizer",
        _replace("aura/tokenizer/golden.py", '"The quick brown', '"A quick red'),
    ),
    Change("encode.add_eos", "encode", _replace("params.yaml", r"(?m)^  add_eos: true", "  add_eos: false")),
    Change("pretrain.seed", "pretrain", _replace("params.yaml", r"(?m)^  seed: 0", "  seed: 1")),
    Change("encode.add_bos", "export", _replace("params.yaml", r"(?m)^  add_bos: true", "  add_bos: false")),
)


class References:
    """Outputs of builds from scratch with each change made before; built when first asked for."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, str]] = {}
        self._locks = {change.what: threading.Lock() for change in CHANGES}

    def of(self, slot: Slot, change: Change) -> dict[str, str]:
        """The hashes of all outputs."""
        with self._locks[change.what]:
            if change.what not in self._found:
                slot.reset(FIRST)
                change.apply(slot.folder)
                built = slot.repro()
                if built.status != 0:
                    raise RuntimeError(f"no build with the change of {change.what}:\n{built.said}")
                self._found[change.what] = digests(slot.folder)
            return self._found[change.what]


def shared(_: dict[str, float]) -> References:
    """What all tries of the loop share."""
    return References()


def one_try(slot: Slot, judge: Judge, seed: int, references: References) -> Outcome:
    """Change an input while its stage runs, follow the advice; the right bytes are those of a build from scratch."""
    rng = random.Random(f"change {seed}")  # noqa: S311 - moments, not secrets
    change = CHANGES[seed % len(CHANGES)]
    expected = references.of(slot, change)
    slot.reset(change.stage)
    command = slot.start("dvc.cli", "repro")
    moment = _wait(slot, command, change.stage, rng)
    change.apply(slot.folder)
    disturbed = slot.finish(command)
    outcome = Outcome("changes", seed, f"{change.what} changed {moment} of {change.stage}")
    outcome.note("dvc repro, while the change was made", disturbed)
    stale = differing(digests(slot.folder), expected)
    repair, repro = judge.advice(slot, outcome, expected)
    if disturbed.status != 0:
        outcome.verdict = "told" if told(disturbed) else "unclear"
    elif not stale:
        outcome.verdict = "unharmed"  # it was read after the change
    elif outcome.wrong:
        outcome.verdict = "silent"
    else:
        outcome.verdict = "told" if repair.said.strip() or "Running stage" in repro.said else "unharmed"
    return outcome


def _wait(slot: Slot, command: Warm, stage: str, rng: random.Random) -> str:
    """Wait for a moment at which the stage is at work; returns it in words."""
    process = stage_process(command, stage)
    if rng.random() < 0.6:
        outs = [slot.folder / out for out in STAGES[stage]]
        partial = [out.with_name(f".{out.name}.partial") for out in outs]
        while process and not any(path.exists() for path in (*partial, *outs)) and not command.ended(0):
            time.sleep(0.001)
        return "when the first output appeared"
    delay = 0.2 + 0.8 * rng.random()
    command.ended(delay)
    return f"{delay:.2f} s into the process"
