"""Models are released as tokenizers are, and name the versions of what they were made on."""

import shutil
from pathlib import Path

import pytest

from aura.core.errors import UserError
from aura.sharing import publish, versions
from aura.sharing.released_models import MODELS
from tests.bucket import contents
from tests.conftest import Project


def test_a_model_names_its_base_and_is_fetched_whole(published: Project, tmp_path: Path):
    assert publish.publish("hugging_face_model@v0.9.0", None, None) == ("hugging_face_model@v0.9.0", True)
    (before,) = versions.listed(".", "hugging_face_model")
    assert before.card["base"]["language_model"]["version"] == "not published"
    for name, model in MODELS.items():
        if not model.folder.is_dir():  # of a pipeline without the stage
            with pytest.raises(UserError, match=rf"{model.folder} is missing: there is no {name} to publish"):
                publish.publish(f"{name}@v1.0.0", None, None)
            continue
        assert publish.publish(f"{name}@v1.0.0", None, "for tests") == (f"{name}@v1.0.0", True)
        card = versions.listed(".", name)[0].card
        assert card["base"]["tokenizer"]["version"] == "v1.0.0"
        assert name == "language_model" or card["base"]["language_model"]["version"] == "v1.0.0"
        assert card["licence"] == "for tests"
        assert str(tmp_path) not in str(card)
        folder = versions.fetch(f"{name}@v1.0.0", f"file://{tmp_path}/project.git", tmp_path / f"fetched/{name}")
        assert contents(folder) == contents(model.folder)
    assert publish.publish("language_model@v1.0.0", None, None) == ("language_model@v1.0.0", False)
    pretrained = versions.listed(".", "language_model")[0].card
    assert pretrained["inputs"].keys() == {"data/tokens", "models/spm"}
    assert "pretrain.seed" in pretrained["params"]
    assert pretrained["metrics"]["bits_per_byte"] > 0
    shown = published.run("aura", "versions", "language_model").stdout
    assert "v1.0.0" in shown
    assert "bits per byte" in shown


@pytest.mark.parametrize(
    ("version", "made_by_hand", "says"),
    [
        (
            "lexicon@v1.0.0",
            None,
            "expected a version of tokenizer, language_model, hugging_face_model, adapter, chat, such as",
        ),
        ("chat@v1.0.0", Path("models/spm"), "--from publishes a tokenizer alone, got chat@v1.0.0"),
        ("chat@1.0.0", None, "expected a version such as v1.2.0"),
    ],
)
def test_what_cannot_be_released_is_named(version: str, made_by_hand: Path | None, says: str):
    with pytest.raises(UserError, match=says):
        publish.publish(version, made_by_hand, None)


def test_a_model_that_is_not_that_of_the_pipeline_is_refused(published: Project):
    published.run("sh", "-c", "chmod u+w models/lm/config.json && echo >> models/lm/config.json")
    with pytest.raises(UserError, match=r"models/lm differs from dvc\.lock"):
        publish.publish("language_model@v1.0.0", None, None)
    published.run("dvc", "checkout", "-q", "--force", "models/lm")
    published.run("sh", "-c", "sed -i 's/learning_rate: .*/learning_rate: 0.0007/' params.yaml && git commit -qam x")
    with pytest.raises(UserError, match=r"pretrain.*: not up to date"):
        publish.publish("hugging_face_model@v1.0.0", None, None)


def test_an_adapter_of_which_there_is_but_a_card_is_refused(published: Project):
    adapter = published.folder / "models/adapter"
    shutil.rmtree(adapter, ignore_errors=True)
    adapter.mkdir()
    (adapter / "README.md").write_text("# No adapter\n")
    with pytest.raises(UserError, match=r"expected adapter_model\.safetensors in models/adapter, got none"):
        publish.publish("adapter@v1.0.0", None, None)


def test_an_unknown_kind_of_model_is_answered_with_those_there_are(published: Project):
    said = published.run("aura", "versions", "lexicon", check=False)
    assert "expected one of tokenizer, language_model, hugging_face_model, adapter, chat, got lexicon" in said.stderr
