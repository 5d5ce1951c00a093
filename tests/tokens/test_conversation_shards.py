"""Conversation shards: read as written, the same bytes each time, and refused once they are not what was written."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.tokenizer.chat_encoding import EncodedConversation
from aura.tokens.conversation_shards import ConversationShards, ConversationSplitWriter, write_manifest
from tests.tokenizer.test_chat_encoding import Said

SHA256 = "a" * 64
SIZES = {"train": 40, "held_out": 3}


def conversation(number: int) -> EncodedConversation:
    numbers = np.random.default_rng(number)
    length = 2 + number % 7
    return EncodedConversation(numbers.integers(0, 500, length, np.int32), numbers.random(length) < 0.5)


def write(folder: Path, sizes: dict[str, int] = SIZES) -> Path:
    entries = []
    for split, size in sizes.items():
        with ConversationSplitWriter(folder, split, group_tokens=16, shard_tokens=64) as writer:
            for number in range(size):
                messages = [Said("user", f"Question {number}"), Said("assistant", "")]
                affect = [number / 64] * 8 if number % 2 else None
                writer.add(f"a.jsonl:{number}", "a", messages, conversation(number), affect)
            entries += writer.finish()
    write_manifest(folder, SHA256, entries, {"sources": {"a": {"read": sum(sizes.values())}}})
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("made"))


def test_conversations_are_read_as_they_were_written(made: Path):
    shards = ConversationShards(made, SHA256)
    assert len(shards.entries) > 3  # several in train
    for split, size in SIZES.items():
        got = shards.split(split)
        assert len(got) == size
        for number in range(size):
            expected, inside = conversation(number), slice(*got.offsets[number : number + 2])
            assert got.ids[inside].tolist() == expected.ids.tolist()
            assert got.learnt[inside].tolist() == expected.learnt.tolist()
            assert got.affect[number].tolist() == [number / 64 if number % 2 else 0.0] * 8
        assert (got.ids.dtype, got.learnt.dtype, got.offsets.dtype) == (np.int32, np.bool_, np.int64)
        assert [row["name"] for row in shards.rows(split, ["name"])] == [f"a.jsonl:{number}" for number in range(size)]
        counts = shards.manifest["counts"][split]
        assert counts == {"conversations": size, "tokens": len(got.ids), "learnt": int(got.learnt.sum())}
    assert next(shards.rows("held_out"))["messages"][0] == {"role": "user", "content": "Question 0"}
    assert shards.manifest["sources"] == {"a": {"read": 43}}
    shards.verify()


def test_the_same_conversations_give_the_same_bytes(made: Path, tmp_path: Path):
    write(tmp_path / "again")
    for path in made.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(made)).read_bytes()


@pytest.mark.parametrize("sizes", [{"train": 5, "held_out": 0}, {"train": 0, "held_out": 0}])
def test_a_split_may_have_no_conversations(tmp_path: Path, sizes: dict[str, int]):
    shards = ConversationShards(write(tmp_path, sizes), SHA256)
    for split, size in sizes.items():
        got = shards.split(split)
        assert (len(got), got.affect.shape) == (size, (size, 8))
        assert len(got.ids) == len(got.learnt) == got.offsets[-1]
    assert not [*shards.rows("held_out")]


def test_another_tokenizers_set_is_refused(made: Path):
    with pytest.raises(UserError, match=r"made by the tokenizer aaaaaaaaaaaaaaaa…, but .* ffff.* dvc repro conv"):
        ConversationShards(made, "f" * 64)


def test_an_absent_set_names_the_command(tmp_path: Path):
    with pytest.raises(UserError, match=r"is missing.* dvc repro conversations"):
        ConversationShards(tmp_path / "nowhere", SHA256)


def test_missing_and_extra_files_are_named(tmp_path: Path):
    write(tmp_path)
    shard = tmp_path / "train/0001.parquet"
    shard.rename(tmp_path / "train/0099.parquet")
    with pytest.raises(UserError, match=r"0001\.parquet is missing; train/0099\.parquet is not listed"):
        ConversationShards(tmp_path, SHA256)
    checksums.write(tmp_path)
    with pytest.raises(UserError, match=r"not the set its manifest describes: train/0001.parquet, train/0099.parquet"):
        ConversationShards(tmp_path, SHA256)


def test_an_altered_shard_of_the_same_size_is_found_when_it_is_read(tmp_path: Path):
    write(tmp_path)
    file = tmp_path / "train/0001.parquet"
    content = bytearray(file.read_bytes())
    content[8] ^= 1
    file.write_bytes(content)
    shards = ConversationShards(tmp_path, SHA256)
    for read in (shards.verify, lambda: shards.split("train"), lambda: [*shards.rows("train")]):
        with pytest.raises(UserError, match=r"train/0001\.parquet was altered"):
            read()
    assert len(shards.split("held_out")) == SIZES["held_out"]


def test_a_cut_shard_and_another_record_are_found_at_once(tmp_path: Path):
    write(tmp_path)
    file = tmp_path / "train/0001.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:-2])
    with pytest.raises(UserError, match=r"train/0001\.parquet: expected .* bytes, got"):
        ConversationShards(tmp_path, SHA256)
    file.write_bytes(whole[:-1] + b"x")
    checksums.write(tmp_path)
    with pytest.raises(UserError, match=r"train/0001\.parquet was altered"):
        ConversationShards(tmp_path, SHA256)


def test_an_altered_manifest_and_another_format_are_refused(tmp_path: Path):
    write(tmp_path)
    manifest = files.read_json(tmp_path / "manifest.json", made_by="")
    files.write_json(tmp_path / "manifest.json", manifest | {"format": 2})
    with pytest.raises(UserError, match=r"manifest\.json was altered"):
        ConversationShards(tmp_path, SHA256)
    checksums.write(tmp_path)
    with pytest.raises(UserError, match=r"manifest\.json: expected format 1, got 2"):
        ConversationShards(tmp_path, SHA256)


def test_rows_and_groups_stay_small(made: Path):
    for path in (made / "train").iterdir():
        found = pq.ParquetFile(path).metadata
        assert all(found.row_group(group).num_rows <= 16 for group in range(found.num_row_groups))


def test_memory_does_not_grow_with_the_set(tmp_path: Path):
    program = """
import resource, sys
from pathlib import Path
import numpy as np
from aura.tokenizer.chat_encoding import EncodedConversation
from aura.tokens.conversation_shards import ConversationShards, ConversationSplitWriter, write_manifest

folder, peaks = Path(sys.argv[1]), []
for count in (1_000, 8_000):  # 1 M and 8 M tokens
    with ConversationSplitWriter(folder, "train", group_tokens=1 << 17) as writer:
        for number in range(count):
            ids = np.full(1_000, number, np.int32)
            writer.add("", "", [], EncodedConversation(ids, ids % 2 == 0))
        write_manifest(folder, "a" * 64, writer.finish())
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print((peaks[1] - peaks[0]) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 20  # MB; the ids alone have 32
