import json
from pathlib import Path

import pytest

from aura.core.errors import UserError
from aura.tokenizer.golden import golden
from aura.tokenizer.tokenizer import Tokenizer


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A tokenizer with its golden encodings."""
    (tmp_path / "spiece.model").write_bytes(tokenizer.proc.serialized_model_proto())
    (tmp_path / "golden.json").write_bytes(golden(tokenizer))
    return tmp_path


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        Tokenizer.load(folder / "spiece.model")
    return str(caught.value)


def test_a_model_with_its_golden_encodings_loads(folder: Path, tokenizer: Tokenizer):
    assert Tokenizer.load(folder / "spiece.model").sha256 == tokenizer.sha256


def test_golden_encodings_cover_what_consumers_get_wrong(folder: Path, tokenizer: Tokenizer):
    content = (folder / "golden.json").read_bytes()
    assert content.isascii()
    cases = json.loads(content)["cases"]
    used = {token for case in cases for token in case["ids"]}
    kinds = {tokenizer.kinds[token] for token in used}
    assert {kind.value for kind in kinds} == {"special", "user", "byte", "learnt"}
    assert [tokenizer.decode(case["ids"]) for case in cases if "allowed_special" not in case] == [
        case["text"] for case in cases if "allowed_special" not in case
    ]
    scripts = "".join(case["text"] for case in cases)
    assert set("\u2581\t\néяλשहไ中の한🙂") <= set(scripts)


def test_a_golden_file_of_another_model_is_refused(folder: Path, tokenizers: dict[str, Tokenizer]):
    for tokenizer in tokenizers.values():
        (folder / "spiece.model").write_bytes(tokenizer.proc.serialized_model_proto())
        stale = json.loads((folder / "golden.json").read_text())["tokenizer"] != tokenizer.sha256
        if stale:
            assert "golden.json is not of this model" in refusal(folder)
            assert "dvc repro train_tokenizer" in refusal(folder)
            assert "aura repair" in refusal(folder)


def test_another_reading_of_the_model_is_refused_with_the_text(folder: Path):
    content = json.loads((folder / "golden.json").read_text())
    content["cases"][13]["ids"][2] += 1
    (folder / "golden.json").write_text(json.dumps(content))
    assert "expected 'The quick brown fox" in refusal(folder)


@pytest.mark.parametrize("cases", [None, 7, "a", [7], [{}], [{"text": 7}], [{"text": "a", "allowed_special": [7]}]])
def test_cases_of_another_kind_are_refused(folder: Path, cases: object):
    content = json.loads((folder / "golden.json").read_text())
    (folder / "golden.json").write_text(json.dumps(content | {"cases": cases}))
    assert "golden.json: expected" in refusal(folder)


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": 9}', '"text"', "null"])
def test_another_file_is_refused(folder: Path, content: str):
    (folder / "golden.json").write_text(content)
    assert "golden.json is not of this model" in refusal(folder)


def test_a_damaged_file_is_refused(folder: Path):
    (folder / "golden.json").write_text("{")
    assert "is not valid JSON" in refusal(folder)
