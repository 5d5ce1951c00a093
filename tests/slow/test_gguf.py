"""model.gguf in llama.cpp, and the folder beside it in transformers 4: both have an environment beside the lock."""

import json
import subprocess
from pathlib import Path
from typing import Any

import jax
import mistral_common
import numpy as np
import pytest

from aura.export.llama import export
from aura.hugging_face.folder import GGUF
from aura.model import weights
from aura.model.model import LanguageModel, ModelConfig, initial_model
from aura.tokenizer.golden import TEXTS
from aura.tokenizer.opening import AnyTokenizer
from aura.tokenizer.symbols import SPACE
from aura.tokenizer.tokenizer import Tokenizer
from aura.train_tokenizer import artifact
from aura.train_tokenizer.adoption import Base, adopt
from aura.training.answers import Answerer, Drawing
from aura.validate import exported
from tests.conftest import REPOSITORY, stdlib_texts
from tests.mini_tokens import PARAMS

PYTHON = REPOSITORY / ".venv-readers/bin/python"
SYMBOLS = ["##", "USER", "<EXPERT_0>"]
TOKENS, CONTEXT = 64, 256
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="needs xllamacpp: make .venv-readers/ready"),
]


@pytest.fixture(scope="module")
def spm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf") / "spm"
    options = artifact.with_changes(PARAMS.train_tokenizer, model_type="bpe", vocab_size=1000, user_symbols=SYMBOLS)
    artifact.build_from_texts(stdlib_texts(160), options).write(folder)
    return folder


def model_of(tokenizer: AnyTokenizer, **changes: object) -> LanguageModel:
    """A model that was not trained; its weights are of every size, so that no part of it hides."""
    shape = {"layers": 3, "width": 64, "heads": 4, "kv_heads": 2, "hidden": 96, "tied_embeddings": True}
    noise = iter(jax.random.split(jax.random.key(1), 99))
    model = initial_model(ModelConfig(**({"vocab_size": tokenizer.vocab_size} | shape | changes)), 0)
    return jax.tree.map(lambda leaf: leaf * (1 + 0.5 * jax.random.normal(next(noise), leaf.shape)), model)


def continued(model: LanguageModel, tokenizer: AnyTokenizer, prompt: list[int]) -> list[int]:
    """The likeliest tokens one after the other, up to the end of a text."""
    ids = list(Answerer(model, CONTEXT, Drawing(temperature=0)).answer(np.array(prompt, np.int32), TOKENS))
    return ids[: ids.index(tokenizer.eos_id)] if tokenizer.eos_id in ids else ids


def answers(file: Path, **asked: object) -> Any:
    given, found = file.parent.parent / "asked.json", file.parent.parent / "answers.json"
    given.write_text(json.dumps({"exact": True, "tokens": TOKENS, "texts": [""], "prompts": []} | asked))
    command = [PYTHON, REPOSITORY / "benchmarks/peers/llama_server.py", file, given, found]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(found.read_text())


@pytest.mark.parametrize("changes", [{}, {"tied_embeddings": False, "kv_heads": 4}, {"kv_heads": 1}])
def test_llama_cpp_gives_the_same_ids_and_the_same_continuations(spm: Path, tmp_path: Path, changes: dict):
    tokenizer = Tokenizer.load(spm / "spiece.model")
    model = model_of(tokenizer, **changes)
    weights.save(tmp_path / "lm", model, {"seq_len": CONTEXT, "tokenizer": tokenizer.sha256})
    export(tmp_path / "lm", spm, tmp_path / "hf", add_bos=True, gguf=True)
    texts = ["Hello", *(text for text in exported.texts_for(tokenizer) if SPACE not in text)]
    prompts = [[tokenizer.bos_id, *tokenizer.encode(text)[:100]] for text in (*TEXTS[13:20], "def main(")]
    found = answers(tmp_path / "hf" / GGUF, texts=texts, prompts=prompts)
    wrong = [text for text, ids in zip(texts, found["ids"], strict=True) if ids != tokenizer.encode(text)]
    assert wrong == []
    assert found["begun"] == [tokenizer.bos_id, *tokenizer.encode("Hello")]
    assert found["chat"] == tokenizer.encode("<bos><USER>Hello<ASSISTANT>", allowed_special="all")
    for prompt, theirs in zip(prompts, found["continuations"], strict=True):
        ours = continued(model, tokenizer, prompt)
        assert theirs == ours
        assert len(set(ours)) > 1


def test_a_literal_space_of_sentencepiece_becomes_a_space_as_the_card_says(spm: Path, tmp_path: Path):
    tokenizer = Tokenizer.load(spm / "spiece.model")
    weights.save(tmp_path / "lm", model_of(tokenizer), {"seq_len": CONTEXT, "tokenizer": tokenizer.sha256})
    export(tmp_path / "lm", spm, tmp_path / "hf", add_bos=True, gguf=True)
    [ids] = answers(tmp_path / "hf" / GGUF, texts=[f"a{SPACE}b"])["ids"]
    assert ids == tokenizer.encode("a b")


@pytest.mark.parametrize("name", ["tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3"])
def test_adopted_tokenizers_keep_their_ids_and_their_space_before_a_text(tmp_path: Path, name: str):
    file = Path(mistral_common.__file__).parent / "data" / name
    tokenizer = adopt(Base(file, name, {}), tmp_path / "spm")
    model = model_of(tokenizer)
    weights.save(tmp_path / "lm", model, {"seq_len": CONTEXT, "tokenizer": tokenizer.encoding_sha256})
    export(tmp_path / "lm", tmp_path / "spm", tmp_path / "hf", add_bos=True, gguf=True)
    texts = ["Hello", *(text for text in (*TEXTS, *stdlib_texts(60)) if SPACE not in text)]
    ids = [found.tolist() for found in tokenizer.encode_batch(texts)]
    prompts = [[tokenizer.bos_id, *found[:100]] for found in ids[14:18]]
    found = answers(tmp_path / "hf" / GGUF, texts=texts, prompts=prompts)
    assert found["ids"] == ids
    assert found["begun"] == [tokenizer.bos_id, *ids[0]]
    assert found["continuations"] == [continued(model, tokenizer, prompt) for prompt in prompts]
