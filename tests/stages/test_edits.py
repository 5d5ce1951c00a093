"""Extract, select and encode with a cache: after whatever edits, the bytes of a build from scratch."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aura.encode.encoding import encode_with
from aura.extract.extract import extract
from aura.project import whole_params
from aura.select.select import select
from aura.sources.options import TxtSource
from aura.storage.cache import Cache
from tests.conftest import REPOSITORY
from tests.mini_tokens import MiniTokens

SOURCES = ("notes", "pages")
EDITS = ("add", "change", "rename", "delete", "move", "copy")
EDIT = st.tuples(st.sampled_from(EDITS), st.integers(0, 1000))
ROUNDS = st.lists(st.lists(EDIT, min_size=1, max_size=5), min_size=2, max_size=4)
PARAMS = whole_params.load(REPOSITORY / "params.yaml")
EXTRACT = PARAMS.extract.model_copy(update={"lexicon": str(REPOSITORY / PARAMS.extract.lexicon), "shards": 3})
SELECT = PARAMS.select.model_copy(update={"held_out": 0.3})


def write(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"Document {number} says that it is happy, and returns the number {number}.", encoding="utf-8")


def edit(data: Path, how: str, number: int, version: int) -> None:
    """Make one edit at a file that `number` picks."""
    files = sorted(path for path in data.rglob("*") if path.is_file())
    path = files[number % len(files)]
    (other,) = set(SOURCES) - {path.parent.name}
    match how:
        case "add":
            write(path.with_stem(f"new-{version}"), 1000 + version)
        case "change":
            write(path, 2000 + version)
        case "rename":
            path.rename(path.with_stem(f"renamed-{version}"))
        case "delete":
            path.unlink()
        case "move":
            path.rename(data / other / path.name)  # perhaps in the place of another
        case "copy":  # a duplicate, of which one stays
            (data / other / f"copy-{version}.txt").write_bytes(path.read_bytes())


def build(data: Path, out: Path, cache: Cache, made: MiniTokens) -> dict[str, bytes]:
    """What the three stages make of both sources: every output file's bytes."""
    for name in SOURCES:
        source = TxtSource(kind="txt", path=str(data / name))
        extract(name, source, EXTRACT, out / "extracted" / name, cache)
    select(list(SOURCES), SELECT, out / "extracted", out / "corpus", cache)
    encode_with(made.tokenizer, out / "corpus", out / "tokens", PARAMS.encode, cache)
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rounds=ROUNDS)
def test_after_any_edits_the_three_stages_equal_a_build_from_scratch(tmp_path_factory, made: MiniTokens, rounds):
    folder = tmp_path_factory.mktemp("edits")
    for number in range(40):
        write(folder / "data" / SOURCES[number % 2] / f"{number}.txt", number)
    version, cache = 0, Cache(folder / "cache")
    build(folder / "data", folder / "out", cache, made)
    for edits in rounds:
        for how, number in edits:
            version += 1
            edit(folder / "data", how, number, version)
        scratch = build(folder / "data", folder / f"scratch-{version}", Cache(folder / f"cache-{version}"), made)
        assert build(folder / "data", folder / "out", cache, made) == scratch
