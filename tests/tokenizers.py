"""Small real text and the tokenizers trained on it, made once per test run."""

import ast
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aura.core import checksums
from aura.corpus import corpus
from aura.project import whole_params
from aura.tokenizer.tokenizer import Tokenizer
from aura.train_tokenizer import artifact
from aura.train_tokenizer.options import TrainTokenizer
from tests.conftest import REPOSITORY

FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"  # three emoji, joined
# Scripts that the English docstrings lack.
SCRIPTS = f"Пожалуйста, 中文字符也要能用。日本語のテキスト。 naïve café – “quotes” e\u0301 🙂 {FAMILY}\n"
MODEL_TYPES = ("unigram", "bpe")


@pytest.fixture(scope="session")
def documents() -> list[str]:
    """About 0.6 MB: the docstrings of each module of the standard library's top folder, and some other scripts."""
    docs = [SCRIPTS * 20]
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        held = (ast.Module, ast.ClassDef, ast.FunctionDef)
        text = "\n\n".join(doc for node in nodes if isinstance(node, held) and (doc := ast.get_docstring(node)))
        if text:
            docs.append(text)
    return docs


@pytest.fixture(scope="session")
def options() -> Callable[..., TrainTokenizer]:
    """The project's own options with some of them changed; 1,000 pieces, to train in seconds."""
    base = whole_params.load(REPOSITORY / "params.yaml").train_tokenizer
    return lambda **changes: artifact.with_changes(base, **({"vocab_size": 1000} | changes))


@pytest.fixture(scope="session")
def write_corpus() -> Callable[[Path, list[str]], None]:
    """Writes documents as a corpus split into a folder: sources a and b in turn, two Parquet files."""

    def write(folder: Path, texts: list[str]) -> None:
        folder.mkdir(parents=True)
        for name in ("a", "b"):
            chosen = texts[0::2] if name == "a" else texts[1::2]
            columns = {
                "text": chosen,
                "doc": [f"{name}/{place}" for place in range(len(chosen))],
                "source": [name] * len(chosen),
                "affect": [[0.0] * len(corpus.EMOTIONS)] * len(chosen),
                "text_hash": [corpus.text_hash(text.encode()) for text in chosen],
            }
            pq.write_table(pa.table(columns, schema=corpus.SCHEMA), folder / f"{name}.parquet")
        checksums.write(folder)

    return write


@pytest.fixture(scope="session")
def build(
    documents: list[str], options: Callable[..., TrainTokenizer], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Tokenizer]:
    """Train on `documents` with changed options and load the result."""

    def build_tokenizer(**changes: object) -> Tokenizer:
        made = artifact.build_from_texts(documents, options(**changes))
        path = tmp_path_factory.mktemp("spm") / "spiece.model"
        path.write_bytes(made.model)
        return Tokenizer.load(path)

    return build_tokenizer


@pytest.fixture(scope="session")
def tokenizers(build: Callable[..., Tokenizer]) -> dict[str, Tokenizer]:
    """One tokenizer of each model type."""
    return {model_type: build(model_type=model_type) for model_type in MODEL_TYPES}


@pytest.fixture(scope="session", params=MODEL_TYPES)
def tokenizer(request: pytest.FixtureRequest, tokenizers: dict[str, Tokenizer]) -> Tokenizer:
    """Each test that asks for this runs with both model types."""
    return tokenizers[request.param]
