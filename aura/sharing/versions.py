"""Released tokenizers: found by name, fetched from anywhere, verified, kept for the next time.

A version is an annotated git tag by GTO's convention, `tokenizer@v1.2.0`, which DVC knows too (`dvc artifacts get`).
Its message is the model card. The commit it names says by hash which files it is made of, and which bucket has them;
so a version needs a git address and nothing else, and every byte is compared with its hash. A version does not change
once published, so what was fetched once from an address is used again without asking the network.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from aura.core import files, paths
from aura.core.bounded import bounded_yaml
from aura.core.errors import UserError
from aura.core.shown_text import without_secrets
from aura.sharing.delivery import CHECKED, Item, download
from aura.sharing.foreign_repository import ForeignRepository, Release
from aura.sharing.git import GitFailed, git
from aura.sharing.remote import AccessRefused, Store, open_repo
from aura.sharing.transfer import expand
from aura.tokenizer.tokenizer import Tokenizer

NAME = "tokenizer"  # of the artifact in dvc.yaml
# Semantic versions, as GTO has them in tags.
_NUMBER, _WORD = r"(?:0|[1-9]\d*)", r"(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"v({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_WORD}(?:\.{_WORD})*))?(?:\+[0-9A-Za-z.-]+)?", re.ASCII
)
FORMAT = 2  # of the record of what was fetched
VARIABLE = "AURA_VERSIONS"  # environment variable: the folder of what was fetched


@dataclass(frozen=True)
class Version:
    """A released version; `card` is empty for a tag that `aura publish` did not make.

    One that is `deprecated` (`gto deprecate`) can still be fetched.
    """

    name: str
    version: str
    card: dict[str, Any]
    deprecated: bool = False


def tag_of(text: str) -> str:
    """The tag of a version given as `v1.2.0`, `v1.2.0-rc.1` or `tokenizer@v1.2.0`; anything else is a `UserError`."""
    tag = text if "@" in text else f"{NAME}@{text}"
    name, _, version = tag.partition("@")
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or not _VERSION.fullmatch(version):
        raise UserError(f"expected a version such as v1.2.0, v1.2.0-rc.1 or {NAME}@v1.2.0, got {text}")
    return tag


def load_tokenizer(version: str, repo: str = ".") -> Tokenizer:
    """The released tokenizer `version` (`v1.2.0`), verified; from the network only the first time.

    Args:
        version: `v1.2.0`, or `NAME@v1.2.0` for an artifact with another name.
        repo: address or folder of the project's git repository.

    Raises:
        UserError: there is no such version, or its files cannot be fetched whole; it says what to do.
    """
    tag = tag_of(version)
    found = fetched(tag, repo)
    if "spiece.model" not in found:
        raise UserError(f"{tag} holds no spiece.model, so it is no tokenizer. It holds: {', '.join(found)[:500]}")
    return Tokenizer.load(found["spiece.model"])


def fetch(version: str, repo: str, output: Path | None) -> Path:
    """Put the files of a released version into the folder `output` (default: `models/NAME-VERSION`) and return it.

    Raises `UserError` if the folder holds anything else.
    """
    tag = tag_of(version)
    output = output or paths.MODELS / tag.replace("@", "-")
    content = {name: path.read_bytes() for name, path in fetched(tag, repo).items()}
    if output.exists():
        there = {path.relative_to(output).as_posix(): path for path in output.rglob("*") if path.is_file()}
        if {name: path.read_bytes() for name, path in there.items()} == content:
            return output
        if there:
            raise UserError(f"{output} holds other files. Name another folder: --output FOLDER")
    with files.replaced_folder(output) as partial:
        for name, data in content.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(data)
    return output


def fetched(tag: str, repo: str) -> dict[str, Path]:
    """The files of a released version by name, as verified copies in the cache, fetched where they are not there."""
    folder, is_here = cache_folder(), Path(repo).is_dir()
    source = str(Path(repo).resolve()) if is_here else repo
    record = folder / "versions" / hashlib.sha256(source.encode()).hexdigest()[:32] / f"{tag}.json"
    if record.exists() and not is_here:
        known = files.read_json(record, made_by="aura fetch")
        if known.get("format") == FORMAT:
            items = [Item(**entry) for entry in known["files"]]
            if all(_is_whole(folder / item.name, item) for item in items):
                return _with_sha256(_by_name(folder, items), known["sha256"], tag)
    with _cloned(tag, source, is_here=is_here) as clone:
        items = _download(clone, tag, source, folder)
        sha256 = card_of(tag, clone).get("sha256", {})
    found = _with_sha256(_by_name(folder, items), sha256, tag)
    files.write_json(record, {"format": FORMAT, "files": [vars(item) for item in items], "sha256": sha256})
    return found


def listed(repo: str, name: str = NAME) -> list[Version]:
    """The released versions of an artifact, newest first."""
    if Path(repo).is_dir():
        return _listed(Path(repo), name)
    with tempfile.TemporaryDirectory() as clone:
        git("clone", "--quiet", "--bare", "--", repo, clone)
        return _listed(Path(clone), name)


def card_of(tag: str, folder: Path | None = None) -> dict[str, Any]:
    """The model card in a tag's message; empty where `aura publish` did not write one."""
    message = git("for-each-ref", "--format=%(contents:body)", f"refs/tags/{tag}", folder=folder)
    card = bounded_yaml(message)
    return card if isinstance(card, dict) else {}


def as_yaml(value: dict[str, Any]) -> str:
    """Readable YAML, in the given order."""
    yaml, text = YAML(), StringIO()
    yaml.default_flow_style = False
    yaml.width = 120
    yaml.dump(value, text)
    return text.getvalue()


def cache_folder() -> Path:
    """Where fetched versions are kept: $AURA_VERSIONS, or `aura` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(VARIABLE) or Path(home, "aura")).resolve()


def _listed(folder: Path, name: str) -> list[Version]:
    """The versions among an artifact's tags; GTO's other tags, such as `v1.0.0!` for a deprecation, are none."""
    tags = git("for-each-ref", "--format=%(refname:strip=2)", f"refs/tags/{name}@*", folder=folder).splitlines()
    given = {tag.partition("@")[2] for tag in tags}
    found = sorted(filter(_VERSION.fullmatch, given), key=_precedence, reverse=True)
    gone = {version.partition("!")[0] for version in given if re.fullmatch(r"[^!]*!(#\d+)?", version)}
    all_gone = f"{name}@deprecated" in tags
    return [
        Version(name, version, card_of(f"{name}@{version}", folder), all_gone or version in gone) for version in found
    ]


def _precedence(version: str) -> tuple[Any, ...]:
    """The order of semantic versions: a pre-release before its release, numbers in it before words."""
    release, _, words = version.removeprefix("v").partition("+")[0].partition("-")
    numbers = [int(number) for number in release.split(".")]
    parts = [(0, int(word), "") if word.isdigit() else (1, 0, word) for word in words.split(".")] if words else []
    return *numbers, not words, parts


@contextmanager
def _cloned(tag: str, source: str, *, is_here: bool) -> Iterator[Path]:
    """A bare clone of the repository as of a tag, which lasts as long as it is used."""
    with tempfile.TemporaryDirectory() as clone:
        try:
            _clone(tag, source, clone, is_here=is_here)
        except GitFailed as error:
            if "not found in upstream" not in str(error):
                raise UserError(f"cannot read {without_secrets(source)}: {error}") from None
            there = ", ".join(entry.version for entry in listed(source, tag.partition("@")[0])) or "none"
            raise UserError(f"{without_secrets(source)} has no version {tag}. There are: {there}") from None
        yield Path(clone)


def _clone(tag: str, source: str, target: str, *, is_here: bool) -> None:
    address = f"file://{source}" if is_here else source
    clone = ("clone", "--quiet", "--bare", "--depth", "1", "--branch", tag, "--", address, target)
    try:
        git(*clone)
    except GitFailed:
        if not is_here or "origin" not in git("remote", folder=Path(source)).splitlines():
            raise
        git("fetch", "--quiet", "origin", "--tags", folder=Path(source))  # a colleague may have published it
        git(*clone)


def _download(clone: Path, tag: str, source: str, folder: Path) -> list[Item]:
    """Bring the objects of an artifact to `folder`, and return its files, labelled with their names."""
    repository = ForeignRepository(clone, without_secrets(source), tag)
    release = repository.release(tag.partition("@")[0])
    if Path(source) in (Path.cwd(), *Path.cwd().parents):  # our own project, with what .dvc/config.local adds
        with open_repo(Path(source)) as repo:
            items = _brought(Store(repo), folder, release)
    else:
        try:
            items = _brought(Store.at(release.url, anonymous=True), folder, release)
        except AccessRefused:
            items = _brought(Store.at(release.url, anonymous=False), folder, release)
    if not items:
        raise UserError(f"{tag} of {without_secrets(source)}: expected a folder at {release.path}, got a single file")
    return items


def _brought(store: Store, folder: Path, release: Release) -> list[Item]:
    items = expand(store, folder, [(release.hash, release.path)])
    for item in items:
        _is_whole(folder / item.name, item)  # damage in the cache is removed, and then fetched again
    download(store, folder, items)
    prefix = f"{release.path}/"
    return [Item(item.name, item.md5, item.label.removeprefix(prefix)) for item in items if item.label != release.path]


def _with_sha256(found: dict[str, Path], expected: object, tag: str) -> dict[str, Path]:
    """The files, if they have the SHA-256 of the model card: MD5, by which DVC knows objects, can be forged."""
    for name, digest in expected.items() if isinstance(expected, dict) else ():
        got = files.sha256_file(found[name]) if name in found else "no such file"
        if got != digest:
            raise UserError(
                f"{tag}: expected {name} with the SHA-256 {str(digest)[:64]} of its model card, got {got}. "
                "Somebody changed the version or its bytes: ask who published it"
            )
    return found


def _is_whole(path: Path, item: Item) -> bool:
    """Whether a cached file has its bytes; a damaged one is removed."""
    if not path.exists():
        return False
    if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == item.md5:
        path.chmod(CHECKED)
        return True
    path.unlink()
    return False


def _by_name(folder: Path, items: list[Item]) -> dict[str, Path]:
    return {item.label: folder / item.name for item in items}
