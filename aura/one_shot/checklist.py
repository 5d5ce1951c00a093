"""The guide's two checklists, before and after training a tokenizer, as checks that a program can print.

A check looks and changes nothing. Only `in_remote` needs a network, and is asked for by name.
"""

import os
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from aura.core import bounded, console, files, libraries
from aura.core.errors import UserError
from aura.project import frozen, lock_merge, recorded_inputs, tracking
from aura.sources.options import Source
from aura.tokenizer import adopted_record, opening
from aura.tokenizer.tokenizer import GOLDEN
from aura.train_tokenizer import train
from aura.train_tokenizer.options import TrainTokenizer

MIN_FILES, MIN_BYTES = 100, 10_000_000  # the guide's minimum of training data
NAMES = ("spiece.model", "spiece.vocab", "spiece_config.json", GOLDEN, "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Check:
    """One line of a checklist: what was looked at, whether all is well, and what was found, or what to do.

    A check that does not hold is a failure, unless it is `only_advice`.
    """

    what: str
    holds: bool
    told: str
    only_advice: bool = False

    @property
    def mark(self) -> str:
        """x, or ! for advice, or a space."""
        return "x" if self.holds else "!" if self.only_advice else " "


def before(extracted: Iterable[Path], output: Path, options: TrainTokenizer) -> list[Check]:
    """Make the guide's checks before training on the `extracted` folders of some sources into the folder `output`."""
    symbols = train.symbols_of(options)
    size = f"{options.vocab_size} pieces, {options.model_type}"
    special = f"{len(symbols.special)} special tokens, {len(options.user_symbols)} user symbols"
    return [
        *_enough(list(extracted)),
        _writable(output),
        _checked(
            "libraries", libraries.require_locked, f"as locked, sentencepiece {metadata.version('sentencepiece')}"
        ),
        Check("vocabulary size", True, size),
        Check("special tokens", True, " ".join([special, *symbols.notices])),
    ]


def after(folder: Path, passed: bool | None) -> list[Check]:
    """Make the guide's checks after training into `folder`; `passed`: whether the gates held, None if not measured."""
    names = [*opening.files_of(folder), GOLDEN] if adopted_record.is_adopted(folder) else NAMES
    checks = [_present(folder / name) for name in names]
    if checks[0].holds:
        checks.append(_checked("model", lambda: _load(folder), "loads, and encodes the golden texts as it should"))
    gates = {
        True: "every gate of params.yaml held",
        False: "a gate of params.yaml was missed: look at the measures",
        None: "not measured: dvc repro validate",
    }
    return [*checks, Check("validation", passed is True, gates[passed])]


def passed_gates(folder: Path, passed: Path) -> bool | None:
    """Return whether the tokenizer in `folder` passed, by the pipeline's `passed` file; None if it does not say."""
    if not (opening.is_there(folder) and passed.exists()):
        return None
    verdict = files.read_object(passed, made_by="dvc repro validate", tokenizer=str)
    if verdict.get("missed"):
        return False
    return True if verdict["tokenizer"] == opening.sha256(folder) else None


def versioned(folder: Path) -> list[Check]:
    """Check that DVC has a record of the files in `folder` as they are (the guide has Git LFS), and git of that."""
    record = Path("dvc.lock")
    stages = lock_merge.stages_of(files.read_text(record)) if record.exists() else {}
    if str(folder) not in {out["path"] for stage in stages.values() for out in stage.get("outs", [])}:
        record = folder.with_name(f"{folder.name}.dvc")
    if not record.exists():
        return [Check("version", False, f"DVC does not know {folder}: dvc repro, or dvc add {folder}")]
    changes = _told_by_dvc("data", "status", "--json", str(folder)).get("uncommitted", {})
    known = not any(Path(path) == folder for paths in changes.values() for path in _paths(paths))
    committed = not _output("git", "status", "--porcelain", str(record))
    return [
        Check("version", known, f"as in {record}" if known else f"not as in {record}: dvc repro, or dvc commit"),
        Check("commit", committed, f"{record} is in git" if committed else f"git add {record}; git commit"),
    ]


def recorded() -> list[Check]:
    """Check that dvc.lock records for each stage the inputs that it read; nothing without a dvc.lock."""
    if not Path("dvc.lock").exists():
        return []
    wrong = recorded_inputs.misrecorded(Path(_output("dvc", "cache", "dir")))
    if not wrong:
        return [Check("inputs", True, "dvc.lock records what the stages read")]
    return [Check(f"inputs of {name}", False, recorded_inputs.told(found)) for name, found in wrong.items()]


def shared(sources: Mapping[str, Source]) -> list[Check]:
    """Check that git or DVC tracks each source, and say which stages are frozen; advice only."""
    found = [
        Check(f"source {name}", False, tracking.note(path), only_advice=True)
        for name, path in tracking.untracked(sources).items()
    ]
    names = frozen.stages()
    return found + ([Check("pipeline", False, frozen.note(names), only_advice=True)] if names else [])


def in_remote(folder: Path) -> Check:
    """Check that the DVC remote holds `folder`; asks it over the network."""
    if not _output("dvc", "remote", "list"):
        return Check("remote", False, "none is configured: dvc remote add --default NAME URL")
    missing = _told_by_dvc("status", "--cloud", "--json", str(folder))
    return Check("remote", not missing, "holds the files" if not missing else f"lacks the files: dvc push {folder}")


def show(title: str, checks: Iterable[Check]) -> None:
    """Print a checklist."""
    console.out.print(f"{title}:", markup=False)
    for check in checks:
        console.out.print(f"  [{check.mark}] {check.what}: {check.told}", markup=False)


def _enough(extracted: list[Path]) -> list[Check]:
    """Check that there is as much text as the guide wants."""
    manifests = [folder / "manifest.json" for folder in extracted]
    absent = [str(manifest.parent) for manifest in manifests if not manifest.exists()]
    if absent:
        return [Check("text", False, f"not extracted yet: {', '.join(absent)}. Run: dvc repro")]
    shape = {"files": int, "documents": int, "bytes_kept": int}
    totals = [files.read_object(manifest, "dvc repro", totals=shape)["totals"] for manifest in manifests]
    count, size = (sum(total[name] for total in totals) for name in ("files", "bytes_kept"))
    # Documents count as well as files: one .jsonl file may hold a whole corpus.
    documents = sum(total["documents"] for total in totals)
    much, many = size >= MIN_BYTES, max(count, documents) >= MIN_FILES
    wanted = f"; {MIN_FILES} files and {console.size(MIN_BYTES)} are the least for a tokenizer that counts"
    found = f"{count:,} files, {documents:,} documents, {console.size(size)}"
    return [Check("text", much and many, found + ("" if much and many else wanted), only_advice=True)]


def _writable(folder: Path) -> Check:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    fine = existing.is_dir() and os.access(existing, os.W_OK)
    return Check("output", fine, f"{folder} can be written" if fine else f"{existing} is no folder that you may write")


def _present(path: Path) -> Check:
    exists = path.is_file() and path.stat().st_size > 0
    told = console.size(path.stat().st_size) if exists else "absent: dvc repro train_tokenizer"
    return Check(str(path), exists, told)


def _load(folder: Path) -> None:
    opening.load(folder)


def _checked(what: str, look: Callable[[], object], fine: str) -> Check:
    try:
        look()
    except UserError as error:
        return Check(what, False, str(error))
    return Check(what, True, fine)


def _paths(listed: list[str] | dict[str, str]) -> Iterable[str]:
    """Return the entries of `dvc data status` for one kind of change; renamed files are a dictionary or pairs."""
    return [path for path in listed if isinstance(path, str)]


def _told_by_dvc(*arguments: str) -> dict[str, Any]:
    """The JSON object that a command of DVC prints; empty where it prints nothing."""
    told = _output("dvc", *arguments)
    try:
        found = bounded.read_json(told or "{}")
    except bounded.Unreadable as error:
        raise UserError(f"`dvc {' '.join(arguments)}`: expected JSON, got {told!r:.80} ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"`dvc {' '.join(arguments)}`: expected a JSON object, got {told!r:.80}")
    return found


def _output(*command: str) -> str:
    """Return the output of a command; its failure is a `UserError` with its own words."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not installed, or not on PATH. Install it, then run this again") from None
    if done.returncode:
        said = done.stderr.strip().partition("\n")[0]  # then DVC asks to be written to
        raise UserError(f"`{' '.join(command)}` failed: {said.rstrip('.')}. See: git status")
    return done.stdout.strip()
