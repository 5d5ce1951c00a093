"""One bit of an artifact turned, size and times as before: the stage that reads it says so, or is not misled."""

import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from loops.outcomes import FALLEN_BACK, Judge, Outcome, told
from loops.project import BUILT, STAGES, Slot


@dataclass(frozen=True)
class Pair:
    """An artifact, as patterns of its files, and a stage that reads it.

    `fresh` names what is removed before, because the stage would take its results from there and not read the artifact.
    """

    stage: str
    patterns: tuple[str, ...]
    fresh: str = ".aura/cache"


PAIRS = (
    Pair("select", ("data/extracted/*/*",)),
    Pair("train_tokenizer", ("data/corpus/train/*",)),
    Pair("validate", ("data/corpus/held_out/*",)),
    Pair("validate", ("models/spm/*",)),
    Pair("encode", ("data/corpus/*/*", "data/corpus/manifest.json")),
    Pair("encode", ("models/spm/*",)),
    Pair("encode", ("reports/validate/passed.json",)),
    Pair("pretrain", ("data/tokens/*/*", "data/tokens/manifest.json"), ".aura/checkpoints"),
    Pair("pretrain", ("models/spm/*",), ".aura/checkpoints"),
    Pair("pretrain", (".aura/checkpoints/**/*",), ""),
    Pair("export", ("models/lm/*",)),
    Pair("export", ("models/spm/*",)),
    Pair("extract@books", (".aura/cache/??/*",), ""),
    Pair("select", (".aura/cache/??/*",), ""),
    Pair("train_tokenizer", (".aura/cache/??/*",), ""),
    Pair("encode", (".aura/cache/??/*",), ""),
)
NAMES = tuple(f"{pair.patterns[0]} read by {pair.stage}" for pair in PAIRS)


def one_try(slot: Slot, judge: Judge, seed: int, _: dict[str, float]) -> Outcome:
    """Turn a bit in a built project, run the reading stage alone, follow the advice."""
    rng = random.Random(f"flip {seed}")  # noqa: S311 - bits, not secrets
    pair = PAIRS[seed % len(PAIRS)]
    slot.reset(BUILT)
    slot.run("dvc.cli", "status", "-q")  # DVC then knows every file by its size and times, as it does after a build
    path, linked = _chosen(slot.folder, pair, rng), False
    if pair.fresh and rng.random() < 0.7:
        shutil.rmtree(slot.folder / pair.fresh, ignore_errors=True)
    if rng.random() < 0.3:
        linked = _link_object(slot.folder, path)
    place, size = flip(path, rng)
    name = path.relative_to(slot.folder)
    kept = ", DVC's copy with it" if linked else ""
    outcome = Outcome("flips", seed, f"{NAMES[seed % len(PAIRS)]}: bit {place} of {size * 8} of {name}{kept}")
    run = slot.stage(pair.stage)
    outcome.note(f"python -m aura.stages.{pair.stage.replace('@', ' ')}", run)
    right = judge.equal(slot, STAGES[pair.stage])
    if run.status == 0:
        spoken = FALLEN_BACK.search(run.said) is not None
        outcome.verdict = ("fallen back" if spoken else "unharmed") if right else "silent"
    else:
        # The damaged file; of a checkpoint or a DVC output, its folder says as much.
        names = (path.name, str(path.parent.relative_to(slot.folder)))
        outcome.verdict = "told" if told(run, names) else "unclear"
    judge.advice(slot, outcome)
    return outcome


def _chosen(folder: Path, pair: Pair, rng: random.Random) -> Path:
    """A file of the artifact that is not empty."""
    found = {path for pattern in pair.patterns for path in folder.glob(pattern)}
    return rng.choice(sorted(path for path in found if path.is_file() and path.stat().st_size))


def _link_object(folder: Path, path: Path) -> bool:
    """Make DVC's object of a file the same file, as DVC does itself where its cache is of the type `hardlink`."""
    content = path.read_bytes()
    for found in (folder / ".dvc/cache/files/md5").glob("??/*"):
        if found.stat().st_size == len(content) and found.read_bytes() == content:
            found.unlink()
            path.chmod(0o444)  # as DVC protects what is in its cache, and then trusts it
            found.hardlink_to(path)
            return True
    return False


def flip(path: Path, rng: random.Random) -> tuple[int, int]:
    """Turn one bit of a file in its place, and restore its times; returns which bit, and the size in bytes."""
    before = path.stat()
    place = rng.randrange(before.st_size * 8)
    mode = before.st_mode
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(place // 8)
        turned = file.read(1)[0] ^ 1 << place % 8
        file.seek(place // 8)
        file.write(bytes([turned]))
    path.chmod(mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return place, before.st_size
