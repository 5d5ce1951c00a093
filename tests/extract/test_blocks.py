"""A file that is read in blocks gives what it gives read whole: the same documents, the same losses."""

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.extract import accounts, blocks
from aura.extract.documents.affect import Lexicon
from aura.extract.rows import Extracted, Recipe, extract_files
from aura.extract.sources.input_files import input_file
from aura.project import whole_params
from aura.storage.cache import Cache
from tests.conftest import REPOSITORY

LEXICON = Lexicon(["happy"], np.eye(1, 8))
TEXTS = [b"a happy line", b"\n", b"\n\n", b" \n\t\n", b"\r\n", b"\r", b" ", b"\x0c", b"\x1b[0m", b"\0", b"\1" * 9]
TEXTS += [
    b"\xff",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    *(char.encode() for char in "é語\x85\u2028\u00a0"),
    b"+AGI-",
    b"~{<:~}",
]
TOKENS = [
    "{",
    "}",
    "[",
    "]",
    '"',
    ",",
    ":",
    "\n",
    " ",
    "1",
    "true",
    '{"text": "one\\n"}',
    '{"id": 2}',
    '"three"',
    "\x1e",
]
TOKENS += ['[{"role": "user", "content": "x"}]\n', '{\n "text": "four"\n}\n', '{"messages": ["é", "ü"]}\n', "\\"]
PADDING = (
    b"\na happy end " + b"of the file " * 20
)  # whatever its encoding makes of it, a document stays below the limit
BOTH = ["documents", "bytes_read", "bytes_decompressed", "bytes_kept", "cut", "lost", "digest"]


def recipe(source: dict[str, object], limit: int) -> Recipe:
    """For documents of up to `limit` bytes; files of more than half of it are read in blocks of a quarter of it."""
    extract = whole_params.load(REPOSITORY / "params.yaml").extract
    made = extract.model_validate(extract.model_dump() | {"sources": {"mine": {"path": "data/mine"} | source}})
    return Recipe("mine", made.sources["mine"], made.model_copy(update={"max_document_bytes": limit}), LEXICON)


def in_blocks(path: Path, how: Recipe, cache: Cache) -> Extracted:
    file = input_file(path.name, str(path))
    assert blocks.is_large(file, how)
    large, _ = blocks.make(cache, "test", file, how, lambda extract, tasks: map(extract, tasks))
    parts = [part for block in large.blocks if (part := blocks.load(cache, block))]
    assert len(parts) == len(large.blocks)
    found = accounts.by_file(
        pa.concat_tables([large.account, *(part.accounts for part in parts)]), np.zeros(len(parts) + 1, int)
    )
    return Extracted(pa.concat_tables([part.documents for part in parts]), found)


def check(name: str, data: bytes, source: dict[str, object]) -> None:
    limit = 2 * len(data) - 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        large = in_blocks(path, recipe(source, limit), Cache(Path(folder) / "cache"))
        whole_recipe = recipe(source, 100 * limit)
        assert not blocks.is_large(input_file(name, str(path)), whole_recipe)
        whole = extract_files([input_file(name, str(path))], whole_recipe)
    assert large.documents.to_pylist() == whole.documents.to_pylist()
    assert large.accounts.select(BOTH).to_pylist() == whole.accounts.select(BOTH).to_pylist()
    assert bool(large.accounts["first_bad"][0].as_py()) == bool(whole.accounts["first_bad"][0].as_py())


@given(
    st.lists(st.sampled_from(TEXTS), max_size=14).map(b"".join),
    st.sampled_from(["file", "line", "blank_line"]),
    st.sampled_from([None, "cp1252"]),
    st.sampled_from(["a.txt", "a.txt.gz"]),
)
@settings(max_examples=40, deadline=None)
def test_text(data, documents, encoding, name):
    check(name, data + PADDING, {"kind": "txt", "documents": documents, "encoding": encoding})


@given(
    st.lists(st.sampled_from(TOKENS), max_size=14).map("".join),
    st.booleans(),
    st.sampled_from(["a.json", "a.jsonl.gz"]),
)
@settings(max_examples=40, deadline=None)
def test_json(text, nested, name):
    check(name, text.encode() + b'\n{"text": "%s"}' % PADDING.strip(), {"kind": "json", "nested": nested})


@pytest.mark.parametrize(("cut", "reason"), [(slice(-9), "truncated gzip"), (slice(-8), "truncated gzip")])
def test_a_file_whose_end_is_missing_is_lost_as_a_whole(tmp_path, cut, reason):
    packed = gzip.compress(b"".join(b"a happy line %d\n" % number for number in range(9_000)), mtime=0)[cut]
    check_lost(tmp_path / "a.txt.gz", packed, reason)


def test_a_file_whose_checksum_is_wrong_is_lost_as_a_whole(tmp_path):
    packed = bytearray(gzip.compress(b"a happy line\n" * 9_000, mtime=0))
    packed[-8] ^= 1
    check_lost(tmp_path / "a.txt.gz", bytes(packed), "damaged gzip")


def check_lost(path: Path, packed: bytes, reason: str) -> None:
    """Blocks are made before the fault at the end is met; none of them is used."""
    path.write_bytes(packed)
    how = recipe({"kind": "txt", "documents": "line"}, 4_000)
    found = in_blocks(path, how, Cache(path.parent / "cache"))
    whole = extract_files([input_file(path.name, str(path))], how)
    assert not len(found.documents)
    assert (
        found.accounts.select([*BOTH, "first_bad"]).to_pylist()
        == whole.accounts.select([*BOTH, "first_bad"]).to_pylist()
    )
    assert found.accounts.select(["lost", "first_bad"]).to_pylist() == [
        {"lost": f'{{"{reason}": 1}}', "first_bad": reason}
    ]
