"""Shards in a store: the same bytes and the same manifests as on this disk, at each step that writes or reads them."""

import json
from pathlib import Path

import pytest

from aura.core import checksums
from aura.core.errors import UserError
from aura.core.files import sha256_file
from aura.core.terms import SPLITS
from aura.corpus import corpus
from aura.corpus.set_hash import corpus_hash
from aura.extract.extract import extract
from aura.project import whole_params
from aura.select.options import Select
from aura.select.select import select
from aura.sources.options import TxtSource
from aura.storage.cache import Cache
from aura.storage.placement import LIST, THIS_DISK, ShardPlace, of, shards
from aura.train_tokenizer.corpus_counts import count_corpus
from aura.train_tokenizer.train import splitting_of
from aura.validate.held_out import _text_bytes
from tests.conftest import REPOSITORY

PARAMS = whole_params.load(REPOSITORY / "params.yaml")
SELECT = Select.model_validate(PARAMS.select.model_dump() | {"held_out": 0.3, "near_duplicates": 0.9})


class Build:
    """extract and select of one small source, into `place`."""

    def __init__(self, folder: Path, place: ShardPlace) -> None:
        self.folder, self.place, self.cache = folder, place, Cache(folder / "cache")

    def run(self, texts: Path) -> int:
        """Returns how many extracted shards had to be written."""
        settings = PARAMS.extract.model_copy(update={"lexicon": str(REPOSITORY / PARAMS.extract.lexicon), "shards": 3})
        source = TxtSource(kind="txt", path=str(texts))
        extracted = self.folder / "extracted"
        _, work = extract("mine", source, settings, extracted / "mine", self.cache, place=self.place)
        select(["mine"], SELECT, extracted, self.folder / "corpus", self.cache, self.place)
        return work.shards_written

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every shard."""
        folders = [self.folder / "extracted/mine", self.folder / "corpus/train", self.folder / "corpus/held_out"]
        found = [shard for folder in folders for shard in shards(folder, "make it")]
        return {shard.path.relative_to(self.folder).as_posix(): shard.sha256() for shard in found}

    def files(self) -> dict[str, str]:
        """SHA-256 of every other file of the outputs."""
        paths = [path for name in ("extracted", "corpus") for path in (self.folder / name).rglob("*.json")]
        return {path.relative_to(self.folder).as_posix(): sha256_file(path) for path in paths}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "txt"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number}.txt").write_text(f"a happy document with the number {number}\n" * (number + 1))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> ShardPlace:
    return of((tmp_path / "objects").as_uri())


def test_hashes_and_manifests_do_not_depend_on_the_place(texts, store, tmp_path):
    plain, stored = Build(tmp_path / "plain", THIS_DISK), Build(tmp_path / "stored", store)
    plain.run(texts)
    stored.run(texts)
    assert stored.hashes() == plain.hashes()
    assert len(stored.hashes()) > 6
    lists = {f"{folder}/{LIST}" for folder in ("extracted/mine", "corpus/train", "corpus/held_out")}
    assert {name: digest for name, digest in stored.files().items() if name not in lists} == plain.files()
    here = [path.name for path in (tmp_path / "stored").rglob("*.parquet")]
    assert here == ["duplicates.parquet"], "of shards, the list is all that lies here"


def test_every_reader_reads_the_same_of_either(texts, store, tmp_path):
    for place, name in ((THIS_DISK, "plain"), (store, "stored")):
        Build(tmp_path / name, place).run(texts)
    plain, stored = tmp_path / "plain/corpus", tmp_path / "stored/corpus"
    splitting = splitting_of(PARAMS.train_tokenizer)
    for split in SPLITS:
        assert corpus_hash(stored / split) == corpus_hash(plain / split)
        assert list(corpus.read_texts(stored / split)) == list(corpus.read_texts(plain / split))
        counted = [count_corpus(folder / split, splitting, Cache(tmp_path / "counts")) for folder in (stored, plain)]
        assert counted[0].table.equals(counted[1].table)
        sizes = [[_text_bytes(shard) for shard in corpus.shards(folder / split)] for folder in (stored, plain)]
        assert sizes[0] == sizes[1]


def test_only_what_changed_is_written_and_what_the_store_lost_is_made_again(texts, store, tmp_path):
    build = Build(tmp_path / "build", store)
    assert build.run(texts) == 3
    before = build.hashes()
    assert build.run(texts) == 0
    (texts / "7.txt").write_text("a changed document, about nothing in particular\n")
    assert build.run(texts) == 1
    (texts / "7.txt").write_text("a happy document with the number 7\n" * 8)
    assert build.run(texts) == 0, "what it was before is still known"
    assert build.hashes() == before
    lost = shards(tmp_path / "build/extracted/mine", "make it")[0].stored.uri.removeprefix("file://")
    Path(lost).unlink()
    assert build.run(texts) == 1
    assert build.hashes() == before


def test_a_store_and_this_disk_may_share_an_action_cache(texts, store, tmp_path):
    build = Build(tmp_path / "build", store)
    build.run(texts)
    hashes = build.hashes()
    for place in (THIS_DISK, store, of((tmp_path / "other").as_uri())):
        build.place = place
        build.run(texts)
        assert build.hashes() == hashes
        uris = [shard.stored and shard.stored.uri for shard in shards(tmp_path / "build/corpus/train", "make it")]
        assert all(uri.startswith(place.store.url) if place.store else uri is None for uri in uris)


def test_an_altered_object_is_named_with_what_to_run(texts, store, tmp_path):
    build = Build(tmp_path / "build", store)
    build.run(texts)
    uri = corpus.shards(tmp_path / "build/corpus/train")[0].stored.uri
    Path(uri.removeprefix("file://")).write_bytes(b"other")
    with pytest.raises(UserError, match=f"{uri} is not there with .* run: dvc repro select --force"):
        list(corpus.read_texts(tmp_path / "build/corpus/train"))


def test_a_list_of_another_format_is_refused(texts, store, tmp_path):
    build = Build(tmp_path / "build", store)
    build.run(texts)
    path = tmp_path / "build/corpus/train" / LIST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 3}))
    checksums.write(path.parent)
    with pytest.raises(UserError, match=r"shards.json: expected format 1 or 2, got 3. Run: dvc repro select"):
        corpus.shards(path.parent)


@pytest.mark.parametrize("url", ["gs://user:secret@bucket/x", "gs://bucket/x?token=secret", "folder", "gs://b/", 7])
def test_a_url_with_a_secret_or_none_at_all_is_refused_without_showing_it(url):
    text = (REPOSITORY / "params.yaml").read_text().replace("store: null", f"store: {url}")
    with pytest.raises(UserError, match="store: expected null or an address such as gs://BUCKET/PREFIX") as error:
        whole_params.parse(text, Path("params.yaml"))
    assert "secret" not in str(error.value)
