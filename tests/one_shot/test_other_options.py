"""Options of the system that the guide's names are from: told in one line, or refused; none is passed over."""

import subprocess
import sys

import pytest

from aura.core.errors import UserError
from aura.one_shot.other_options import REPLACED, names_on_the_command_line, told
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("name", [*REPLACED, "lora-rank", "neuroplastic", "use_spiking", "crispr_edit_rate", "dna"])
def test_an_option_of_the_other_system_is_told_in_one_line(name: str, capsys: pytest.CaptureFixture[str]):
    told([name], "train_instruct")
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note: {name} changes nothing: ")


@pytest.mark.parametrize("name", ["stepz", "generate", "learning", "batch"])
def test_an_option_of_neither_system_is_refused_by_its_name(name: str):
    with pytest.raises(UserError, match=f"train_instruct: no option {name}"):
        told([name], "train_instruct")


def test_names_are_found_among_arguments():
    given = ["--d-model", "64", "--spiking", "--device=cpu", "--epochs", "3"]
    assert names_on_the_command_line(given) == ["d_model", "spiking", "device", "epochs"]
    with pytest.raises(UserError, match=r"expected an option such as --jsonl, got 'data\.jsonl'"):
        names_on_the_command_line(["data.jsonl"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--jsonl", "x.jsonl", "--stepz", "3"), "error: train_instruct: no option stepz"),
        (("--jsonl", "x.jsonl", "--model", "models/none"), "error: models/none is missing: no such model was made yet"),
    ],
)
def test_train_instruct_ends_with_one_line(given: tuple[str, ...], said: str):
    program = [sys.executable, "-m", "aura.self_teaching_llm.train_instruct", *given]
    done = subprocess.run(program, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == 1


def test_every_subcommand_of_build_aura_model_has_help():
    for name in ("tokenizer", "pretrain", "pretrain_hf", "chat"):
        program = [sys.executable, "aura/self_teaching_llm/build_aura_model.py", name, "--help"]
        done = subprocess.run(program, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        assert f"build_aura_model.py {name}" in done.stdout
