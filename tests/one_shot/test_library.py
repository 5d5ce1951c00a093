"""`import aura` and its public names: light, documented, and a tokenizer in one call."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import aura
from aura.core.errors import UserError
from aura.one_shot import library
from tests.conftest import REPOSITORY, stdlib_texts

IMPORTED = "import sys, aura; print(sorted({'numpy', 'pydantic', 'rich', 'dvc', 'asyncio'} & sys.modules.keys()))"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_import_loads_no_library():
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_public_names_say_what_they_are():
    import aura.train_tokenizer.train  # the folder of the stage does not hide the function

    assert set(aura.__all__) <= set(dir(aura))
    for name in set(aura.__all__) - {"__version__"}:
        assert inspect.getdoc(getattr(aura, name))
    assert inspect.isfunction(aura.train_tokenizer)
    assert aura.__version__
    with pytest.raises(AttributeError, match="no_such_name"):
        aura.no_such_name  # noqa: B018


def test_a_tokenizer_of_files_folders_and_texts(folder: Path, capsys: pytest.CaptureFixture[str]):
    texts = stdlib_texts(60)
    (folder / "a.txt").write_text("\n\n\n".join(texts[:20]), encoding="utf-8")
    (folder / "more/deep").mkdir(parents=True)
    for number, text in enumerate(texts[20:40]):
        (folder / f"more/deep/{number}.txt").write_text(text, encoding="utf-8")
    lines = [json.dumps({"note": {"text": text}}) for text in texts[40:]]
    (folder / "more/b.jsonl").write_text("\n".join(lines), encoding="utf-8")
    made = aura.train_tokenizer(["a.txt", Path("more")], 500, text_keys=["note.text"], quiet=True)
    assert made.vocab_size == 500
    assert made.decode(made.encode("Grüße, \t\n x")) == "Grüße, \t\n x"
    assert "500 pieces" in repr(made)
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "more"]
    assert capsys.readouterr() == ("", "")

    of_texts = aura.train_tokenizer(texts=iter(texts), vocab_size=500, output="mine", model_type="bpe")
    out, err = capsys.readouterr()
    assert (out, "training bpe" in err) == ("", True)
    assert aura.load_tokenizer("mine").sha256 == of_texts.sha256
    assert of_texts.save("again") == Path("again/spiece.model")
    written = {path.name: path.read_bytes() for path in Path("mine").iterdir()}
    del written["spiece_config.json"]
    assert {path.name: path.read_bytes() for path in Path("again").iterdir()} == written
    assert aura.load_tokenizer(Path("again/spiece.model")).sha256 == of_texts.sha256


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "either files or texts"),
        ({"files": "a.txt", "texts": ["a"]}, "either files or texts"),
        ({"files": "none.txt"}, "there is none at 'none.txt'"),
        ({"files": ["A text that is no path."]}, "texts in memory"),
        ({"files": []}, "got none"),
        ({"files": "empty"}, "expected a folder with .txt"),
        ({"files": "empty.txt"}, r"1 file, no document kept \(1 empty\)\. Look at the files, .*min_chars\.$"),
        ({"files": "a.txt", "documents": "page"}, "documents: expected 'file', 'blank_line' or 'line'; got 'page'"),
        ({"files": "a.txt", "encoding": "klingon"}, "encoding"),
        ({"texts": ["a"], "model_typ": "bpe"}, "did you mean model_type"),
        ({"texts": ["a"], "vocab_size": 7}, "264 to 1000000"),
        ({"texts": []}, "expected text to learn from"),
    ],
)
def test_a_mistake_is_worded(folder: Path, arguments: dict[str, object], told: str):
    (folder / "empty").mkdir()
    (folder / "empty.txt").touch()
    (folder / "a.txt").write_text("some text", encoding="utf-8")
    with pytest.raises(UserError, match=told):
        library.train_tokenizer(**arguments, quiet=True)


def test_a_tokenizer_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(UserError, match=r"got the folder .*load_tokenizer takes both"):
        aura.Tokenizer(tmp_path)
    with pytest.raises(UserError, match="there is none at nowhere"):
        aura.load_tokenizer("nowhere")
    with pytest.raises(UserError, match=r"expected a version such as v1\.2\.0"):
        aura.load_tokenizer("v1.2")


@pytest.mark.slow
def test_pages_of_the_public_names_are_made(folder: Path):
    subprocess.run([sys.executable, REPOSITORY / "docs/make_api.py", "pages"], check=True)
    page = (folder / "pages/aura.html").read_text(encoding="utf-8")
    assert all(f'id="{name}"' in page for name in aura.__all__)
    assert "the message names the largest possible" in " ".join(page.split())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"files": b"a.txt"}, "expected names .* got bytes"),
        ({"files": [None]}, "expected names .* got NoneType"),
        ({"files": 3}, "expected names .* got int"),
        ({"files": "a.txt", "text_keys": "text"}, "expected a list of keys, got 'text'"),
        ({"files": "a.txt", "text_keys": None}, "expected a list of keys, got None"),
    ],
)
def test_an_argument_of_another_type_is_worded(arguments: dict[str, object], told: str):
    with pytest.raises(TypeError, match=told):
        aura.train_tokenizer(quiet=True, **arguments)


def test_half_a_character_is_told():
    with pytest.raises(aura.UserError, match="half a character"):
        aura.train_tokenizer(texts=["abc", "\ud800"], quiet=True)


def test_the_folder_with_the_name_of_a_function_can_be_imported_in_every_way():
    script = """
import aura.train_tokenizer.train as one
from aura.train_tokenizer import train as two
import aura.train_tokenizer.train
assert one is two is aura.train_tokenizer.train
assert callable(aura.train_tokenizer)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
