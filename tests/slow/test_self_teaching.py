"""The names that users know, as they type them: a model learns to answer, teaches itself, is saved and chats."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, stdlib_texts
from tests.export.test_export import exported
from tests.mini_tokens import MiniTokens

pytestmark = pytest.mark.slow
BUILD = (sys.executable, str(REPOSITORY / "aura/self_teaching_llm/build_aura_model.py"))
INSTRUCT = (sys.executable, "-m", "aura.self_teaching_llm.train_instruct")


@pytest.fixture(scope="module")
def folder(made: MiniTokens, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with options, a tokenizer, a model, its tokens and records."""
    place = tmp_path_factory.mktemp("users")
    params = (REPOSITORY / "params.yaml").read_text().replace("aura/ingestion/", f"{REPOSITORY}/aura/ingestion/")
    (place / "params.yaml").write_text(params)
    exported(made, place / "models")
    shutil.copytree(made.spm, place / "models/spm")
    shutil.copytree(made.tokens, place / "data/tokens")
    texts = place / "texts"
    texts.mkdir()
    for number, text in enumerate(stdlib_texts(60)):
        (texts / f"{number}.txt").write_text(text)
    records = [
        {"instruction": f"What is {a} plus {b}?", "output": f"It is {a + b}."} for a in range(9) for b in range(9)
    ]
    (place / "data.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return place


def run(folder: Path, *arguments: object, typed: str = "", status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*map(str, arguments)], cwd=folder, input=typed, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_train_instruct_makes_a_model_that_chats(folder: Path):
    learnt = run(
        folder, *INSTRUCT, "--jsonl", "data.jsonl", "--spm-model", "models/spm/spiece.model", "--steps", 4,
        "--lr", "1e-3", "--max-len", 512, "--batch-size", 4, "--limit", 60, "--d-model", 64, "--spiking",
    )  # fmt: skip
    assert "held-out loss on answers" in learnt.stdout
    assert "max_len changes nothing: a window has 64 tokens" in learnt.stderr
    assert "d_model changes nothing: the size of the model is that of models/lm" in learnt.stderr
    assert "spiking changes nothing: aura simulates no biology" in learnt.stderr
    told = run(
        folder, *BUILD, "chat", "--model", "models/chat_instruct", "--max_new_tokens", 8, typed="What is 1 plus 1?\n"
    )
    assert told.stdout.endswith("\n")


def test_the_class_learns_teaches_itself_and_comes_back(folder: Path):
    program = """
import json
from pathlib import Path

import pytest
from aura.core import checksums
from aura.core.errors import UserError
from aura.self_teaching_llm.self_teaching_adapter import SelfTeachingAdapter

adapter = SelfTeachingAdapter(spm_model_path="models/spm/spiece.model")
first = adapter.train_instruct_from_jsonl("data.jsonl", steps=4, lr=2e-3, batch_size=4, rank=4)
assert first.response_loss < first.response_loss_before
matrices = max(Path(".aura/self_teaching").glob("*/adapter"), key=lambda made: made.stat().st_mtime)
more = SelfTeachingAdapter(model_path=matrices).train_instruct_from_jsonl("data.jsonl", steps=2, batch_size=4)
assert abs(more.response_loss_before - first.response_loss) < 0.05
assert not [*Path(".aura/self_teaching").glob("*/base")]
second = adapter.teach_self(steps=2, batch_size=2, own_every=1)
assert abs(second.response_loss_before - first.response_loss) < 0.05
named = [json.loads((made / "adapter_config.json").read_text())["base_model_name_or_path"]
    for made in sorted(Path(".aura/self_teaching").glob("*/adapter"), key=lambda made: made.stat().st_mtime)]
assert named[-3] == "models/hf"
assert all(name.endswith("chat") or name.endswith("adapter") for name in named[-2:]), named  # not that of another base
with pytest.raises(UserError, match="models/lm is an output of the pipeline"):
    adapter.save("models/lm")
adapter.save("models/taught")
answer = adapter.generate("What is 2 plus 2?", max_new_tokens=8, seed=1)
again = SelfTeachingAdapter.load("models/taught")
assert again.generate("What is 2 plus 2?", max_new_tokens=8, seed=1) == answer
Path("models/taught/checkpoint.json").write_text("{}")  # of a pod; no part of the tokenizer
checksums.write(Path("models/taught"))
again.train_instruct_from_jsonl("data.jsonl", steps=2, batch_size=4, max_forgetting=100)
assert not Path(again._folder, "checkpoint.json").exists()
"""
    run(folder, sys.executable, "-c", program)
    assert (folder / "models/taught/config.json").exists()


def test_build_aura_model_makes_a_tokenizer_and_a_model(folder: Path):
    run(
        folder, *BUILD, "tokenizer", "--txt_dirs", "texts", "--output", "models/own", "--vocab_size", 450,
        "--skip_validation",
    )  # fmt: skip
    made = run(
        folder, *BUILD, "pretrain", "--spm_model", "models/own/spiece.model", "--txt_dirs", "texts", "--steps", 2,
        "--batch_size", 2, "--seq_len", 16, "--output", "models/lm_own",
    )  # fmt: skip
    assert "held-out bits per byte" in made.stdout
    assert (folder / "models/lm_own/lm/model.safetensors").exists()
