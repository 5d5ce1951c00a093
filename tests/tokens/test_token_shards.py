from pathlib import Path

import numpy as np
import pytest

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.tokens.token_shards import TokenShards, id_dtype
from tests.mini_tokens import MiniTokens


def open_shards(mini: MiniTokens) -> TokenShards:
    return TokenShards(mini.tokens, mini.tokenizer.sha256)


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(300, "uint16"), (65_536, "uint16"), (65_537, "uint32"), (1_000_000, "uint32")]
)
def test_ids_take_two_bytes_while_the_vocabulary_fits(vocab_size: int, dtype: str):
    assert id_dtype(vocab_size) == dtype
    assert np.iinfo(dtype).max >= vocab_size - 1


@pytest.mark.parametrize("file", ["train/a-001.npy", "held_out/a-000.parquet"])
def test_a_missing_file_is_named(mini: MiniTokens, file: str):
    (mini.tokens / file).unlink()
    with pytest.raises(UserError, match=rf"{file} is missing\..*dvc repro encode"):
        open_shards(mini)


def test_an_extra_file_is_named(mini: MiniTokens):
    (mini.tokens / "train/a-002.npy").write_bytes(b"x")
    with pytest.raises(UserError, match=r"train/a-002\.npy is not listed"):
        open_shards(mini)


def test_a_cut_file_is_named(mini: MiniTokens):
    file = mini.tokens / "train/b-000.npy"
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(UserError, match=r"train/b-000\.npy"):
        open_shards(mini)


def test_an_altered_file_of_the_same_size_is_found_by_its_hash(mini: MiniTokens):
    file = mini.tokens / "train/b-000.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    shards = open_shards(mini)
    with pytest.raises(UserError, match=r"train/b-000\.npy was altered: expected sha256 .* got .*"):
        shards.verify()
    with pytest.raises(UserError, match=r"train/b-000\.npy was altered"):
        shards.stream("train")


def test_an_untouched_set_verifies(made: MiniTokens):
    open_shards(made).verify()


def test_shards_of_another_tokenizer_are_refused(made: MiniTokens):
    with pytest.raises(
        UserError, match=f"made by the tokenizer {made.tokenizer.sha256[:16]}…, but the one at hand is ffff"
    ):
        TokenShards(made.tokens, "f" * 64)


def test_another_format_is_refused(mini: MiniTokens):
    manifest = files.read_json(mini.tokens / "manifest.json", made_by="")
    files.write_json(mini.tokens / "manifest.json", manifest | {"format": 2})
    checksums.write(mini.tokens)
    with pytest.raises(UserError, match=r"manifest\.json: expected format 1, got 2"):
        open_shards(mini)


def test_an_absent_folder_and_an_absent_manifest_name_the_command(mini: MiniTokens, tmp_path: Path):
    (mini.tokens / "manifest.json").unlink()
    for folder in (mini.tokens, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"is missing.* dvc repro encode"):
            TokenShards(folder, mini.tokenizer.sha256)


@pytest.mark.parametrize("source", [None, "a", "b"])
def test_the_documents_of_a_place_in_the_stream_are_found(made: MiniTokens, source: str | None):
    shards, begin, placed = open_shards(made), 0, []
    for _, row in shards.documents("train"):
        if source in (None, row["source"]):
            placed.append((begin, begin + row["tokens"], f"{row['source']}: {row['doc']}"))
            begin += row["tokens"]
    assert begin == len(shards.stream("train", source))
    for start in range(0, begin - 64, begin // 50):
        inside = [name for first, last, name in placed if first < start + 64 and start < last]
        assert shards.documents_at("train", source, start, start + 64) == inside
