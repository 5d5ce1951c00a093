import gzip
import subprocess
import sys

import pytest

from aura.errors import UserError
from aura.self_teaching_llm.tokenizer_spm import SPMTokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("txt")
    for place in range(40):
        lines = [f"Tokenizers number {place + line} learn the words of people, {line} at a time." for line in range(20)]
        (folder / f"{place}.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_the_guides_calls_work(folder, tmp_path):
    tokenizer = SPMTokenizer.train_from_dir(input_dir=folder, model_prefix=tmp_path / "spm/spiece", vocab_size=325)
    assert tokenizer.proc.get_piece_size() == 325
    again = SPMTokenizer(str(tmp_path / "spm/spiece.model"))
    tokens = again.encode("Hello, world!")
    assert again.decode(tokens) == "Hello, world!"
    assert [ids.tolist() for ids in again.encode_batch(["Hello, world!"])] == [tokens]
    assert sorted(path.name for path in (tmp_path / "spm").iterdir()) == [
        "golden.json",
        "spiece.model",
        "spiece.vocab",
        "spiece_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_a_prefix_of_another_name_has_no_files_that_know_only_one(folder, tmp_path):
    SPMTokenizer.train_from_dir(input_dir=folder, model_prefix=tmp_path / "other", vocab_size=325)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.model", "other.vocab", "other_config.json"]


def test_a_folder_without_text_files_says_so(tmp_path):
    with pytest.raises(UserError, match=r"No \.txt or \.md files found"):
        SPMTokenizer.train_from_dir(tmp_path, tmp_path / "spiece", vocab_size=300)


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "odd.txt").write_bytes(b"\xff and more")
    with pytest.raises(UserError, match=r"odd\.txt: invalid UTF-8"):
        SPMTokenizer.train_from_dir(tmp_path, tmp_path / "spiece", vocab_size=300)


def test_compressed_files_are_read(folder, tmp_path):
    for number, path in enumerate(sorted(folder.iterdir())):
        (tmp_path / f"{number}.txt.gz").write_bytes(gzip.compress(path.read_bytes()))
    plain = SPMTokenizer.train_from_dir(folder, tmp_path / "plain/spiece", vocab_size=325)
    assert SPMTokenizer.train_from_dir(tmp_path, tmp_path / "gz/spiece", vocab_size=325).sha256 == plain.sha256
    (tmp_path / "odd.txt.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match=r"odd\.txt\.gz: damaged gzip"):
        SPMTokenizer.train_from_dir(tmp_path, tmp_path / "spiece", vocab_size=325)


def test_an_unknown_option_is_named(folder, tmp_path):
    with pytest.raises(UserError, match="vocabsize"):
        SPMTokenizer.train_from_dir(folder, tmp_path / "spiece", vocabsize=300)


def test_importing_it_imports_no_jax():
    code = "import sys, aura.self_teaching_llm.tokenizer_spm; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
