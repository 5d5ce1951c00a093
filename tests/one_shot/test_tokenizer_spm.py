import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aura.core.errors import UserError
from aura.one_shot.spm_tokenizer import _read_texts
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


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    return SPMTokenizer.train_from_dir(folder, tmp_path_factory.mktemp("spm") / "spiece", vocab_size=325)


def test_bos_and_eos_are_added_only_where_asked_for(trained):
    bos, eos, ids = trained.bos_id, trained.eos_id, trained.encode("Hello")
    assert bos not in ids
    assert eos not in ids
    assert trained.encode("Hello", True, True) == [bos, *ids, eos]
    assert trained.encode("Hello", add_bos=True) == [bos, *ids]
    assert trained.encode("Hello", add_eos=True) == [*ids, eos]
    assert trained.encode("", add_bos=True, add_eos=True) == [bos, eos]
    assert trained.encode("<eos>", add_eos=True, allowed_special="all") == [eos, eos]
    batch = trained.encode_batch(iter(["Hello", ""]), add_bos=True, add_eos=True)
    assert [row.tolist() for row in batch] == [[bos, *ids, eos], [bos, eos]]
    assert {row.dtype for row in batch} == {np.dtype(np.int32)}


def test_a_batch_has_the_lengths_that_are_asked_for(trained):
    texts = ["", "Hello", "Tokenizers learn the words of people, and more"]
    full = [trained.encode(text) for text in texts]
    [empty, short, long] = full
    size, pad = len(short) + 2, trained.pad_id
    assert len(long) > size
    assert [row.tolist() for row in trained.encode_batch(texts)] == full
    assert [row.tolist() for row in trained.encode_batch(texts, max_len=size)] == [empty, short, long[:size]]
    assert [row.tolist() for row in trained.encode_batch(texts, pad_to=size)] == [
        [pad] * size,
        [*short, pad, pad],
        long,
    ]
    both = np.stack(trained.encode_batch(texts, max_len=size, pad_to=size + 1, add_bos=True, add_eos=True))
    assert both.dtype == np.int32
    assert both.tolist() == [
        [trained.bos_id, trained.eos_id] + [pad] * (size - 1),
        [trained.bos_id, *short, trained.eos_id, pad],
        [trained.bos_id, *long[: size - 2], trained.eos_id, pad],
    ]


def test_lengths_that_cannot_be_are_refused(trained):
    assert [row.tolist() for row in trained.encode_batch(["Hello"], max_len=0)] == [[]]
    with pytest.raises(ValueError, match=r"max_len: expected 2 or more, for <bos> and <eos>; got 1"):
        trained.encode_batch(["Hello"], max_len=1, add_bos=True, add_eos=True)
    with pytest.raises(ValueError, match="pad_to: expected 0 or more; got -1"):
        trained.encode_batch(["Hello"], pad_to=-1)


@pytest.mark.parametrize("flag", [2, "no", None, 0.5])
def test_flags_that_are_no_truth_values_are_refused(trained, flag):
    for call in (lambda: trained.encode("Hi", flag), lambda: trained.encode_batch(["Hi"], add_eos=flag)):
        with pytest.raises(TypeError, match="expected True or False, got"):
            call()
    assert trained.encode("Hi", np.True_, 1) == [trained.bos_id, *trained.encode("Hi"), trained.eos_id]


@pytest.mark.parametrize("length", [2.5, "3", True])
def test_lengths_that_are_no_numbers_of_ids_are_refused(trained, length):
    for name in ("max_len", "pad_to"):
        with pytest.raises(TypeError, match=f"{name}: expected a whole number of ids"):
            trained.encode_batch(["Hi"], **{name: length})


def test_what_training_returns_is_a_tokenizer_and_a_path(folder, tmp_path):
    made = SPMTokenizer.train_from_dir(folder, tmp_path / "spm/spiece", vocab_size=325)
    path = tmp_path / "spm/spiece.model"
    assert isinstance(made, os.PathLike)
    assert os.fspath(made) == str(made) == f"{made}" == str(path)
    assert Path(made) == path
    with open(made, "rb") as file:  # noqa: PTH123 - as users open paths
        assert file.read() == path.read_bytes()
    assert SPMTokenizer(made).encode("Hello") == made.encode("Hello") == SPMTokenizer(path).encode("Hello")


def test_a_tokenizer_without_a_file_is_no_path(trained):
    made = SPMTokenizer.from_bytes(Path(trained).read_bytes())
    assert made.encode("Hello") == trained.encode("Hello")
    assert "SPMTokenizer" in str(made)
    with pytest.raises(TypeError, match="made from bytes"):
        os.fspath(made)


def test_files_that_are_left_out_for_no_fault_stop_nothing(tmp_path):
    for name in (".git/x.txt", "._a.txt", ".ipynb_checkpoints/a.txt", "empty.txt", "a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("" if name == "empty.txt" else "Some words.")
    assert _read_texts(tmp_path, None) == ["Some words."]


def test_advice_on_a_file_is_by_what_is_wrong_with_it(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match=r"a\.txt: invalid UTF-8\. To fix it: name the encoding"):
        _read_texts(tmp_path, None)
    assert _read_texts(tmp_path, "cp1252") == ["café"]
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.txt").unlink()
    (tmp_path / "b.txt").write_text("x")
    (tmp_path / "linked").symlink_to(tmp_path / "folder")
    with pytest.raises(UserError, match=r"linked folder, not followed\. To fix it: add the folder"):
        _read_texts(tmp_path, None)
