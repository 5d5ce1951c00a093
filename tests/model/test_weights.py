from pathlib import Path

import jax
import numpy as np
import pytest

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.model import weights
from aura.model.model import LanguageModel, ModelConfig, initial_model

CONFIG = ModelConfig(vocab_size=40, layers=2, width=16, heads=2, kv_heads=1, hidden=16, tied_embeddings=True)
TOKENS = np.arange(12).reshape(2, 6)


@pytest.mark.parametrize("tied", [True, False])
def test_a_reloaded_model_gives_the_same_logits(tmp_path: Path, tied: bool):
    model = initial_model(ModelConfig(**(vars(CONFIG) | {"tied_embeddings": tied})), 0)
    weights.save(tmp_path / "lm", model, {})
    logits = jax.jit(LanguageModel.__call__)
    np.testing.assert_array_equal(logits(weights.load(tmp_path / "lm"), TOKENS), logits(model, TOKENS))


def test_the_same_weights_give_the_same_bytes(tmp_path: Path):
    for name in ("one", "other"):
        weights.save(tmp_path / name, initial_model(CONFIG, 0), {"tokenizer": "f" * 64})
    for file in ("model.safetensors", "config.json"):
        assert files.sha256_file(tmp_path / "one" / file) == files.sha256_file(tmp_path / "other" / file)


def test_the_config_says_what_the_model_is_and_was_made_from(tmp_path: Path):
    model = initial_model(CONFIG, 0)
    weights.save(tmp_path / "lm", model, {"tokenizer": "f" * 64})
    assert files.read_json(tmp_path / "lm/config.json", made_by="") == {
        "format": 2,
        "model": CONFIG.record(),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(model)),
        "tokenizer": "f" * 64,
    }


def test_weights_that_do_not_fit_their_config_are_named(tmp_path: Path):
    weights.save(tmp_path / "lm", initial_model(CONFIG, 0), {})
    config = files.read_json(tmp_path / "lm/config.json", made_by="")
    config["model"]["hidden"] = 20
    files.write_json(tmp_path / "lm/config.json", config)
    checksums.write(tmp_path / "lm")
    with pytest.raises(UserError, match=r"blocks\.down: expected \(2, 20, 16\), got \(2, 16, 16\)"):
        weights.load(tmp_path / "lm")


def test_an_absent_model_names_the_command(tmp_path: Path):
    with pytest.raises(UserError, match="dvc repro pretrain"):
        weights.load(tmp_path / "lm")
