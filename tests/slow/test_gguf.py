"""model.gguf in llama.cpp, and the folder beside it in transformers 4: both have an environment beside the lock."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jax
import mistral_common
import numpy as np
import pytest
from safetensors.numpy import save_file

from aura.core import files
from aura.export import gguf_file
from aura.export.llama import export
from aura.hugging_face.folder import GGUF
from aura.hugging_face.llama import MATRICES, SCALES
from aura.model import weights
from aura.model.model import LanguageModel, ModelConfig, initial_model
from aura.tokenizer.adopted import AdoptedTokenizer
from aura.tokenizer.golden import TEXTS
from aura.tokenizer.symbols import SPACE
from aura.tokenizer.tokenizer import Tokenizer
from aura.train_tokenizer import artifact
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


def model_of(tokenizer: Tokenizer, **changes: object) -> LanguageModel:
    """A model that was not trained; its weights are of every size, so that no part of it hides."""
    shape = {"layers": 3, "width": 64, "heads": 4, "kv_heads": 2, "hidden": 96, "tied_embeddings": True}
    noise = iter(jax.random.split(jax.random.key(1), 99))
    model = initial_model(ModelConfig(**({"vocab_size": tokenizer.vocab_size} | shape | changes)), 0)
    return jax.tree.map(lambda leaf: leaf * (1 + 0.5 * jax.random.normal(next(noise), leaf.shape)), model)


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
        answerer = Answerer(model, CONTEXT, Drawing(temperature=0))
        ours = list(answerer.answer(np.array(prompt, np.int32), TOKENS))
        ours = ours[: ours.index(tokenizer.eos_id)] if tokenizer.eos_id in ours else ours
        assert theirs[: len(ours)] == ours
        assert set(theirs[len(ours) :]) <= {tokenizer.eos_id}
        assert len(set(ours)) > 1


def test_a_literal_space_of_sentencepiece_becomes_a_space_as_the_card_says(spm: Path, tmp_path: Path):
    tokenizer = Tokenizer.load(spm / "spiece.model")
    weights.save(tmp_path / "lm", model_of(tokenizer), {"seq_len": CONTEXT, "tokenizer": tokenizer.sha256})
    export(tmp_path / "lm", spm, tmp_path / "hf", add_bos=True, gguf=True)
    [ids] = answers(tmp_path / "hf" / GGUF, texts=[f"a{SPACE}b"])["ids"]
    assert ids == tokenizer.encode("a b")


@pytest.mark.parametrize("name", ["tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3"])
def test_tokenizers_of_others_keep_their_ids_and_their_space_before_a_text(tmp_path: Path, name: str):
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(Path(mistral_common.__file__).parent / "data" / name, folder / "tokenizer.model")
    tokenizer = AdoptedTokenizer(folder / "tokenizer.model")
    write_zeros(folder, tokenizer)
    gguf_file.convert(folder, folder / GGUF)
    texts = [text for text in (*TEXTS, *stdlib_texts(60)) if SPACE not in text]
    assert answers(folder / GGUF, texts=texts)["ids"] == [ids.tolist() for ids in tokenizer.encode_batch(texts)]


def write_zeros(folder: Path, tokenizer: AdoptedTokenizer) -> None:
    """A Llama of one layer of zeros, which llama.cpp needs to read a vocabulary, with a chat template."""
    width, layer = 16, "model.layers.0"
    shapes = {"model.embed_tokens": (tokenizer.vocab_size, width), "model.norm": (width,)}
    shapes |= {f"{layer}.{name}": (width, width) for name in MATRICES.values()}
    shapes |= {f"{layer}.{name}": (width,) for name in SCALES.values()}
    save_file(
        {f"{name}.weight": np.zeros(shape, np.float32) for name, shape in shapes.items()}, folder / "model.safetensors"
    )
    config = {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": tokenizer.vocab_size,
        "hidden_size": width,
        "intermediate_size": width,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.roles.bos,
        "eos_token_id": tokenizer.roles.eos,
    }
    files.write_json(folder / "config.json", config)
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    files.write_json(folder / "tokenizer_config.json", {"add_bos_token": True, "chat_template": template})
