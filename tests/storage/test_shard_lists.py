"""Lists of the shards of a folder: one level for few shards, two for many, and the same shards out of either."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core import checksums
from aura.core.errors import UserError
from aura.storage import shard_lists, store
from aura.storage.placement import LIST, Kept, shards, write_lists
from aura.storage.store import Stored


def is_name_of_file(name: str) -> bool:
    return "/" not in name and name not in (".", "..")


def stored(number: int, url: str) -> Stored:
    digest = f"{number:064x}"
    return Stored(digest, f"{number:032x}", number, f"{url}/{store.name_of(digest)}")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return (tmp_path / "objects").as_uri()


@pytest.fixture
def small_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_lists, "MOST_LINES", 20)
    monkeypatch.setattr(shard_lists, "INNER_SHARDS", 8)


def written(folder: Path, named: dict[str, Stored]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_lists([Kept(None, {folder / name: one}) for name, one in named.items()])
    checksums.write(folder)
    return folder / LIST


def inner_lists(path: Path) -> list[dict]:
    return json.loads(path.read_text())["lists"]


def test_few_shards_have_a_line_each_and_no_object(tmp_path, url):
    path = written(tmp_path / "list", {"b.parquet": stored(2, url), "a.parquet": stored(1, url)})
    numbers = {"a.parquet": 1, "b.parquet": 2}
    lines = [
        f'{{"name": "{name}", "sha256": "{number:064x}", "md5": "{number:032x}", "size": {number}, '
        f'"uri": "{stored(number, url).uri}"}}'
        for name, number in numbers.items()
    ]
    assert path.read_text() == '{\n  "format": 1,\n  "shards": [\n' + ",\n".join(lines) + "\n]}\n"
    assert not (tmp_path / "objects").exists()


@settings(max_examples=15, deadline=None)
@given(names=st.sets(st.text("abcdé/ .", min_size=1, max_size=6).filter(is_name_of_file), max_size=200))
def test_any_shards_are_read_as_they_were_written(tmp_path_factory, names):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_lists, "MOST_LINES", 20)
        patch.setattr(shard_lists, "INNER_SHARDS", 8)
        folder = tmp_path_factory.mktemp("list")
        url = (folder / "objects").as_uri()
        named = {name: stored(number, url) for number, name in enumerate(sorted(names))}
        shard_lists.write(folder, named)
        assert shard_lists.read(folder / LIST, "make it") == named
        everything = {store.name_of(one.sha256) for one in named.values()}
        if len(names) > 20:
            everything |= {store.name_of(inner["sha256"]) for inner in inner_lists(folder / LIST)}
        assert shard_lists.names_of_objects(folder / LIST, "make it") == everything


@pytest.mark.usefixtures("small_lists")
def test_a_new_shard_or_source_changes_the_inner_lists_that_it_is_in_alone(tmp_path, url):
    one = {f"a-{number:04d}.parquet": stored(number, url) for number in range(400)}
    before = inner_lists(written(tmp_path / "one", one))
    more = inner_lists(written(tmp_path / "more", one | {"a-0200x.parquet": stored(1000, url)}))
    assert len(before) > 20
    digests = {inner["sha256"] for inner in before}
    assert len({inner["sha256"] for inner in more} - digests) <= 2
    second = {f"b-{number:04d}.parquet": stored(2000 + number, url) for number in range(400)}
    both = {inner["sha256"] for inner in inner_lists(written(tmp_path / "both", one | second))}
    assert len(digests - both) <= 1
    assert sum(inner["shards"] for inner in more) == 401


@pytest.mark.usefixtures("small_lists")
@pytest.mark.parametrize("damage", [None, b"", b"{}", lambda content: content[:-9], lambda content: b"X" + content[1:]])
def test_a_damaged_or_missing_inner_list_is_named_with_the_command(tmp_path, url, damage):
    path = written(tmp_path / "list", {f"{number:03d}": stored(number, url) for number in range(100)})
    uri = inner_lists(path)[3]["uri"]
    inner = Path(uri.removeprefix("file://"))
    if damage is None:
        inner.unlink()
    else:
        inner.write_bytes(damage(inner.read_bytes()) if callable(damage) else damage)
    with pytest.raises(UserError, match=f"{uri} is not there with .* run: dvc repro select --force"):
        shards(path.parent, "dvc repro select")
    with pytest.raises(UserError, match=f"{uri} is not there with "):
        shard_lists.names_of_objects(path, "dvc repro")


@pytest.mark.usefixtures("small_lists")
def test_a_list_of_lists_is_compared_with_its_record_and_its_shape(tmp_path, url):
    path = written(tmp_path / "list", {f"{number:03d}": stored(number, url) for number in range(100)})
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"bytes": ', b'"bytes": 1'))
    with pytest.raises(UserError, match=r"shards\.json was altered"):
        shards(path.parent, "dvc repro select")
    for content, told in ((b'{"format": 2, "lists": [{}]}', r"lists.0.shards is missing"), (b"[", "not valid JSON")):
        path.write_bytes(content)
        checksums.write(path.parent)
        with pytest.raises(UserError, match=rf"shards\.json.*{told}"):
            shards(path.parent, "dvc repro select")


@pytest.mark.slow
def test_seventy_thousand_shards_are_a_small_file_and_few_objects(tmp_path, url):
    named = {f"a-{number:06d}.parquet": stored(number, url) for number in range(70_000)}
    path = written(tmp_path / "list", named)
    assert path.stat().st_size < 1_000_000
    assert len(inner_lists(path)) < 200
    found = shards(path.parent, "make it")
    assert [shard.stored for shard in found] == list(named.values())


@pytest.mark.parametrize("name", ["../a.parquet", "/a.parquet", "b/a.parquet", ".", "a\0"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, url, name):
    record = {"name": name} | asdict(stored(1, url))
    path = tmp_path / LIST
    path.write_text(json.dumps({"format": 1, "shards": [record]}))
    with pytest.raises(UserError, match=r"path below a folder|without a folder"):
        shard_lists.read(path, "dvc repro x")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"shards": 9}, "expected 9 shards of"),
        ({"bytes": 9}, "of 9 bytes"),
        ({"uri": "data:,abc"}, "expected addresses of objects"),
        ({"sha256": "../x"}, "expected addresses of objects"),
    ],
)
@pytest.mark.usefixtures("small_lists")
def test_an_inner_list_has_the_shards_that_the_outer_one_knows_under_its_own_hash(tmp_path, url, change, expected):
    path = written(tmp_path / "list", {f"{number:03}.parquet": stored(number, url) for number in range(60)})
    lines = inner_lists(path)
    lines[1] |= change
    path.write_text(json.dumps({"format": 2, "lists": lines}))
    with pytest.raises(UserError, match=expected):
        shard_lists.read(path, "dvc repro x")


@pytest.mark.usefixtures("small_lists")
def test_an_inner_list_that_is_named_twice_is_refused(tmp_path, url):
    path = written(tmp_path / "list", {f"{number:03}.parquet": stored(number, url) for number in range(60)})
    path.write_text(json.dumps({"format": 2, "lists": inner_lists(path) * 2}))
    with pytest.raises(UserError, match=r"two of its lists name 000\.parquet"):
        shard_lists.read(path, "dvc repro x")
