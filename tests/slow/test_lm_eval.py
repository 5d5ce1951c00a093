"""lm-eval on a tiny model, with tasks of this disk: its figures are those of `aura evaluate` on the same items.

The extra is not in the lock: `.venv/bin/pip install -e '.[lm-eval]'`, and without it these tests are skipped.
"""

import json
import os
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aura.cli import app
from aura.core.errors import UserError
from tests.conftest import REPOSITORY, stdlib_texts
from tests.mini_tokens import MiniTokens
from tests.pretrain.test_base import run

pytestmark = pytest.mark.slow
THERE = util.find_spec("lm_eval") is not None
METRICS = {
    "multiple_choice": "{metric: acc, aggregation: mean}, {metric: acc_bytes, aggregation: mean}",
    "loglikelihood_rolling": "{metric: bits_per_byte, aggregation: bits_per_byte}",
    "generate_until": "{metric: exact_match, aggregation: mean}",
}


def write_task(folder: Path, name: str, data: Path, kind: str, **keys: str) -> None:
    lines = [f"task: {name}", "dataset_path: json", f"dataset_kwargs: {{data_files: {{test: {data}}}}}"]
    lines += ["test_split: test", f"output_type: {kind}", f"metric_list: [{METRICS[kind]}]"]
    lines += [f"{key}: {value}" for key, value in keys.items()]
    (folder / f"{name}.yaml").write_text("\n".join(lines) + "\n")


@pytest.mark.skipif(not THERE, reason="needs lm-eval: pip install -e '.[lm-eval]'")
def test_local_tasks_have_the_figures_of_evaluation_sets(made: MiniTokens, tmp_path: Path):
    run(made, tmp_path, None, seq_len=64)
    words, texts = ["class", "module", "function of it"], stdlib_texts(24)
    choices = [{"question": text[:60].strip(), "choices": words, "answer": n % 3} for n, text in enumerate(texts)]
    for name, records in {"choices": choices, "texts": [{"text": text} for text in texts]}.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, records)))
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    write_task(
        *(tasks, "my_choices", tmp_path / "choices.jsonl", "multiple_choice"),
        doc_to_text='"{{question}}"',
        doc_to_choice='"{{choices}}"',
        doc_to_target='"{{answer}}"',
    )
    of_text = {"doc_to_text": '""', "doc_to_target": '"{{text}}"'}
    write_task(tasks, "my_texts", tmp_path / "texts.jsonl", "loglikelihood_rolling", **of_text)
    write_task(
        *(tasks, "my_answers", tmp_path / "choices.jsonl", "generate_until"),
        doc_to_text='"{{question}}"',
        doc_to_target='"{{choices[answer]}}"',
        generation_kwargs='{until: ["\\n", " "], max_gen_toks: 4}',
    )
    arguments = [tmp_path / "lm", "--tokenizer", made.spm / "spiece.model", "--output", tmp_path / "out.json"]
    arguments += ["--set", f"choices={tmp_path / 'choices.jsonl'}", "--set", f"texts={tmp_path / 'texts.jsonl'}"]
    arguments += ["--lm-eval", "my_choices,my_texts,my_answers", "--include-path", tasks]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "aura", "evaluate", *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    ours, theirs = found["sets"], found["lm_eval"]
    assert theirs["my_choices"]["acc,none"] == ours["choices"]["accuracy"]
    assert theirs["my_choices"]["acc_stderr,none"] == pytest.approx(ours["choices"]["accuracy_stderr"])
    assert theirs["my_choices"]["acc_bytes,none"] == ours["choices"]["accuracy_by_length"]
    assert theirs["my_texts"]["bits_per_byte,none"] == pytest.approx(ours["texts"]["bits_per_byte"], rel=1e-5)
    assert 0 <= theirs["my_answers"]["exact_match,none"] <= 1


@pytest.mark.skipif(THERE, reason="lm-eval is installed")
def test_without_the_extra_a_message_says_how_to_install_it():
    done = CliRunner().invoke(app.app, ["evaluate", "--lm-eval", "arc_easy"])
    assert isinstance(done.exception, UserError)
    assert "pip install 'aura[lm-eval]'" in str(done.exception)
