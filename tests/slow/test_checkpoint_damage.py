"""Damage to every file of a run's newest checkpoint and beside it: the undisturbed bytes, or one message."""

import random
import shutil
from pathlib import Path

import pytest

from aura.core import files
from aura.core.errors import UserError
from aura.pretrain import pretrain as program
from tests.flips import damages
from tests.mini_tokens import MiniTokens, tiny

pytestmark = pytest.mark.slow

PARTS, DAMAGES = 5, 10  # of 10 damages each: the same file is damaged in several ways


def run(mini: MiniTokens, folder: Path) -> dict[str, str]:
    """Train; hashes of the weights and of every logged number."""
    options = tiny(checkpoint_folder=str(folder / "checkpoints"), checkpoint_every=2, steps=6)
    program.pretrain(mini.tokens, mini.spm / "spiece.model", folder / "lm", folder / "reports", options)
    found = [path for name in ("lm", "reports") for path in (folder / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): files.sha256_file(path) for path in found if path.name != "timings.json"}


def outcome(mini: MiniTokens, folder: Path) -> dict[str, str] | str:
    """What `run` gives, or the message that it ends with."""
    try:
        return run(mini, folder)
    except UserError as error:
        return str(error)


def files_of_the_newest(folder: Path) -> list[Path]:
    """Its own, its seal, and what lies beside it; not the lock."""
    [of_run] = (folder / "checkpoints").iterdir()
    own = [path for path in (of_run / "6").rglob("*") if path.is_file()]
    return sorted([*own, of_run / "hashes/6.json", of_run / "run.json", *(of_run / "history").iterdir()])


@pytest.mark.parametrize("part", range(PARTS))
def test_fifty_damages_end_in_the_undisturbed_bytes_or_in_one_line(
    made: MiniTokens, tmp_path: Path, capsys, part: int
):  # fmt: skip
    whole, folder = tmp_path / "whole", tmp_path / "run"
    undisturbed, chosen, outcomes = run(made, whole), random.Random(part), {"same": 0, "told": 0}  # noqa: S311
    for number in range(part * DAMAGES, (part + 1) * DAMAGES):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole / "checkpoints", folder / "checkpoints")
        paths = files_of_the_newest(folder)
        path = paths[number % len(paths)]
        altered = list(damages(path.read_bytes(), chosen, 3))[chosen.randrange(6)]
        path.unlink() if altered is None else path.write_bytes(altered)
        capsys.readouterr()
        result = outcome(made, folder)
        if isinstance(result, str):
            assert "\n" not in result
            outcomes["told"] += 1
            continue
        said = capsys.readouterr().err
        lost = path.parent.name == "history" and "the plots lack" in said  # which is told, and no plot gets other rows
        same = {name for name in undisturbed if result.get(name) == undisturbed[name]}
        assert {name for name in undisturbed if not (lost and "plots" in name)} <= same, f"{path} {altered!r}: {said}"
        outcomes["same"] += 1
    assert sum(outcomes.values()) == DAMAGES
    assert outcomes["same"] > DAMAGES // 2
