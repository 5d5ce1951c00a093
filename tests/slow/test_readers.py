"""Exported tokenizers in transformers 4.46 and llama.cpp, which have an environment beside the lock."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aura.tokenizer.golden import TEXTS
from aura.tokenizer.symbols import SPACE
from aura.tokenizer.tokenizer import Tokenizer
from aura.train_tokenizer import artifact
from aura.validate import exported
from tests.conftest import REPOSITORY

PYTHON = REPOSITORY / ".venv-readers/bin/python"
SYMBOLS = ["##", "USER", "<EXPERT_0>"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="needs transformers 4.46 and xllamacpp: make .venv-readers/ready"),
]


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def folder(
    request: pytest.FixtureRequest,
    options: Callable[..., Any],
    documents: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A tokenizer of lower-cased text with mark-up."""
    texts = [f"<p>{text.lower()}</p>" for text in documents]
    chosen = options(model_type=request.param, user_symbols=SYMBOLS)
    folder = tmp_path_factory.mktemp("readers") / "spm"
    artifact.build_from_texts(texts, chosen).write(folder)
    return folder


def asked(script: str, folder: Path, texts: list[str]) -> Any:
    given, answers = folder.parent / "texts.json", folder.parent / "answers.json"
    given.write_text(json.dumps(texts))
    command = [PYTHON, REPOSITORY / "benchmarks/peers" / script, folder, given, answers]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(answers.read_text())


def test_transformers_4_gives_the_same_ids(folder: Path):
    tokenizer = Tokenizer.load(folder / "spiece.model")
    texts = exported.texts_for(tokenizer)
    answers = asked("auto_tokenizer.py", folder, texts)
    assert answers["version"].startswith("4.46")
    assert answers["ids"] == [tokenizer.encode(text) for text in texts]
    assert answers["decoded"] == texts


def test_llama_cpp_gives_the_same_ids_for_bpe_and_is_kept_from_unigram(folder: Path):
    tokenizer = Tokenizer.load(folder / "spiece.model")
    texts = [text for text in (*TEXTS, *exported.texts_for(tokenizer)[::11]) if SPACE not in text]
    if (folder / "tokenizer.model").exists():
        found = asked("llama_cpp.py", folder, texts)
        wrong = [text for text, ids in zip(texts, found, strict=True) if ids != tokenizer.encode(text)]
        assert wrong == []
    else:
        with pytest.raises(AssertionError, match=r"Cannot find tokenizer\.model"):
            asked("llama_cpp.py", folder, texts)
