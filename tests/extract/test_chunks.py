"""A file that is read in chunks gives what it gives read whole: the same documents, the same losses."""

import gzip
import json
import random
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.errors import UserError
from aura.core.parallel import SerialExecutor
from aura.corpus.corpus import SCHEMA
from aura.extract import accounts, chunks
from aura.extract.assembly import ExtractionRun
from aura.extract.chunk_shards import Made
from aura.extract.chunks import Chunk
from aura.extract.extract import Job
from aura.extract.rows import Extracted, Recipe, extract_files
from aura.project import whole_params
from aura.sources.documents.affect import Lexicon
from aura.sources.input_files import input_file
from aura.storage.cache import Cache
from aura.storage.placement import THIS_DISK
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
    """For documents of up to `limit` bytes; files of more than half of it get chunks of twice as much."""
    extract = whole_params.load(REPOSITORY / "params.yaml").extract
    made = extract.model_validate(extract.model_dump() | {"sources": {"mine": {"path": "data/mine"} | source}})
    return Recipe("mine", made.sources["mine"], made.model_copy(update={"max_document_bytes": limit}), LEXICON)


def made_of(path: Path, how: Recipe, cache: Cache) -> tuple[list[Made], Job]:
    """The chunks of one large file, with their shards beside it."""
    out = path.parent / "out"
    out.mkdir(exist_ok=True)
    job = Job(ExtractionRun(how, "test", cache, out, THIS_DISK), lambda *_: SerialExecutor())
    return job.large_files({0: input_file(path.name, str(path))})[0], job


def in_chunks(path: Path, how: Recipe, cache: Cache) -> Extracted:
    made, _ = made_of(path, how, cache)
    found = accounts.by_file(accounts.table([one.account for one in made]), np.zeros(len(made), int))
    shards = [pq.read_table(path.parent / "out" / name) for one in made for name in one.digests]
    return Extracted(pa.concat_tables([SCHEMA.empty_table(), *shards]), found)


def check(name: str, data: bytes, source: dict[str, object]) -> None:
    limit = 2 * len(data) - 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunks, "shard_bytes", lambda *_: 60)
            large = in_chunks(path, recipe(source, limit), Cache(Path(folder) / "cache"))
        whole_recipe = recipe(source, 100 * limit)
        assert not chunks.is_large(input_file(name, str(path)), whole_recipe)
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
    """Shards are written before the fault at the end is met; none of them is used."""
    path.write_bytes(packed)
    how = recipe({"kind": "txt", "documents": "line"}, 4_000)
    found = in_chunks(path, how, Cache(path.parent / "cache"))
    whole = extract_files([input_file(path.name, str(path))], how)
    assert not len(found.documents)
    assert (
        found.accounts.select([*BOTH, "first_bad"]).to_pylist()
        == whole.accounts.select([*BOTH, "first_bad"]).to_pylist()
    )
    assert found.accounts.select(["lost", "first_bad"]).to_pylist() == [
        {"lost": f'{{"{reason}": 1}}', "first_bad": reason}
    ]


def lines_of(kind: str, number: int, seed: int = 0) -> list[bytes]:
    rng = random.Random(seed)  # noqa: S311 - texts, not secrets
    texts = [f"a happy line {rng.random()} of a file {'x' * rng.randrange(60)}" for _ in range(number)]
    return [(json.dumps({"text": text}) if kind == "json" else text).encode() for text in texts]


@pytest.mark.parametrize("kind", ["txt", "json"])
def test_a_line_more_at_the_head_makes_two_chunks_again_and_the_others_get_other_names(tmp_path, kind):
    how = recipe({"kind": kind} | ({"documents": "line"} if kind == "txt" else {}), 2_000)
    path, lines, cache = tmp_path / "a.txt", lines_of(kind, 2_000), Cache(tmp_path / "cache")
    path.write_bytes(b"\n".join(lines))
    before, job = made_of(path, how, cache)
    assert len(before) == job.work.chunks_extracted > 15
    lines[1_000] = b"\xff" + lines[1_000]
    path.write_bytes(b"\n".join(lines))
    made_of(path, how, cache)
    path.write_bytes(b"\n".join([lines_of(kind, 1, seed=1)[0], *lines]))
    after, job = made_of(path, how, cache)
    assert job.work.chunks_extracted <= 2
    found, scratch = in_chunks(path, how, cache), tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "a.txt").write_bytes(path.read_bytes())
    assert [one.digests for one in made_of(scratch / "a.txt", how, Cache(scratch / "cache"))[0]] == [
        one.digests for one in after
    ]
    kept = [number for number in range(2_001) if number != 1_001]
    assert found.documents["doc"].to_pylist() == [f"a.txt#{number}" for number in kept]
    assert found.accounts["first_bad"][0].as_py() == whole_account(path, how)["first_bad"]


def whole_account(path: Path, how: Recipe) -> dict[str, object]:
    return extract_files([input_file(path.name, str(path))], how).accounts.to_pylist()[0]


@pytest.mark.parametrize(
    "lost", [b"{oops", b'{"id": 1}', b"[1,", b'{\n "text": "of several lines",\n "id": 2\n}', b" "]
)
def test_faults_at_any_place_of_a_large_file_have_their_names_and_places(tmp_path, lost):
    how, rng = recipe({"kind": "json"}, 2_000), random.Random(3)  # noqa: S311 - places, not secrets
    path, lines = tmp_path / "a.jsonl", lines_of("json", 1_000)
    for _ in range(3):
        lines.insert(rng.randrange(1, len(lines)), lost)
    path.write_bytes(b"\n".join(lines) + b"\n")
    found = in_chunks(path, how, Cache(tmp_path / "cache"))
    whole = extract_files([input_file(path.name, str(path))], how)
    assert found.documents.to_pylist() == whole.documents.to_pylist()
    columns = [*(name for name in BOTH if name != "digest"), "first_bad"]
    assert found.accounts.select(columns).to_pylist() == whole.accounts.select(columns).to_pylist()


def test_a_record_at_the_end_of_a_file_that_grows_is_read_on(tmp_path, monkeypatch):
    how, path, cache = recipe({"kind": "json"}, 2_000), tmp_path / "a.jsonl", Cache(tmp_path / "cache")
    lines = b"".join(line + b"\n" for line in lines_of("json", 60))
    before = lines + b'{\n "text": "a happy record of several lines",\n'
    cuts = [len(lines) // 2, len(before)]
    cuts[0] = lines.index(b"\n", cuts[0]) + 1
    monkeypatch.setattr(
        chunks, "_next_cut", lambda _, start, end, __: next(c for c in [*cuts, end] if start < c <= end)
    )
    path.write_bytes(before)
    in_chunks(path, how, cache)  # the record is lost, as far as anyone knows
    path.write_bytes(before + b' "id": 1}\n' + lines)
    found = in_chunks(path, how, cache)
    assert found.documents.to_pylist() == extract_files([input_file(path.name, str(path))], how).documents.to_pylist()
    assert "a happy record of several lines" in found.documents["text"].to_pylist()


def test_row_groups_are_chunks_with_the_names_and_losses_of_the_whole_file(tmp_path):
    how, path = recipe({"kind": "parquet"}, 2_000), tmp_path / "a.parquet"
    texts = [None if number % 97 == 5 else f"a happy row {number}" + "x" * (number % 50) for number in range(2_000)]
    texts[700] = "one that is too long " * 200
    pq.write_table(pa.table({"text": texts}), path, row_group_size=30)
    found = in_chunks(path, how, Cache(tmp_path / "cache"))
    whole = extract_files([input_file(path.name, str(path))], how)
    assert found.documents.to_pylist() == whole.documents.to_pylist()
    columns = [*(name for name in BOTH if name != "digest"), "first_bad"]
    assert found.accounts.select(columns).to_pylist() == whole.accounts.select(columns).to_pylist()


def test_a_file_that_is_gone_when_it_is_read_is_named(tmp_path, monkeypatch):
    how, path = recipe({"kind": "txt", "documents": "line"}, 2_000), tmp_path / "a.txt"
    path.write_text("a happy line\n" * 1_000)
    monkeypatch.setattr(Chunk, "require_unchanged", lambda chunk: chunk.file.path.unlink(missing_ok=True))
    with pytest.raises(UserError, match=r"a\.txt: unreadable: No such file"):
        in_chunks(path, how, Cache(tmp_path / "cache"))
