"""Released tokenizers: found by name, fetched from anywhere, verified, kept for the next time.

A version is an annotated git tag by GTO's convention, `tokenizer@v1.2.0`, which DVC knows too (`dvc artifacts get`).
Its message is the model card. The commit it names says by hash which files it is made of, and which bucket has them; so
a version needs a git address and nothing else, and every byte is compared with its hash. A version does not change once
published, so what was fetched once from an address is used again without asking the network. Files of one address are
never used for another: who can forge an MD5 could otherwise replace the files of others.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from aura.core import checksums, console, files, paths
from aura.core.errors import UserError
from aura.core.outside_names import object_hash, plain_names
from aura.core.shown_text import without_secrets
from aura.sharing import model_card
from aura.sharing.delivery import RemoteObject, download
from aura.sharing.foreign_repository import ForeignRepository, Release, fetched_tags, tags_of
from aura.sharing.foreign_store import ForeignStore
from aura.sharing.git import GitFailed, git
from aura.sharing.remote import AccessRefused, DvcRemote, open_repo
from aura.sharing.transfer import expand
from aura.tokenizer import adopted_record, opening
from aura.tokenizer.opening import AnyTokenizer
from aura.tokenizer.tokenizer import MADE_BY, Tokenizer

NAME = "tokenizer"  # of the artifact in dvc.yaml
# Semantic versions, as GTO has them in tags.
_NUMBER, _WORD = r"(?:0|[1-9]\d*)", r"(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"v({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_WORD}(?:\.{_WORD})*))?(?:\+[0-9A-Za-z.-]+)?", re.ASCII
)
FORMAT = 3  # of the record of what was fetched
LISTED = 200  # versions, the newest
LONGEST = 100  # characters of a version
LARGEST = 4_000_000_000  # bytes of all files of a version together, unless the caller allows more
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


def load_tokenizer(version: str, repo: str = ".") -> AnyTokenizer:
    """The released tokenizer `version` (`v1.2.0`), verified; from the network only the first time.

    Args:
        version: `v1.2.0`, or `NAME@v1.2.0` for an artifact with another name.
        repo: address or folder of the project's git repository.

    Raises:
        UserError: there is no such version, or its files cannot be fetched whole; it says what to do.
    """
    tag = tag_of(version)
    found = fetched(tag, repo)
    if adopted_record.RECORD in found:
        return opening.load(_as_folder(tag, repo, found))
    if "spiece.model" not in found:
        raise UserError(f"{tag} holds no spiece.model, so it is no tokenizer. It holds: {', '.join(found)[:500]}")
    try:
        return Tokenizer.from_bytes(found["spiece.model"].read_bytes())
    except UserError as error:
        why = str(error).removesuffix(f" {checksums.remedy(MADE_BY)}")
        raise UserError(f"{tag} of {without_secrets(repo)}: {why} Ask who published it") from None


def _as_folder(tag: str, repo: str, found: Mapping[str, Path]) -> Path:
    """Copies of fetched files under their names, in the cache."""
    place = cache_folder() / "folders" / hashlib.sha256(f"{_source(repo)}\0{tag}".encode()).hexdigest()[:32]
    if not (place.is_dir() and {path.name for path in place.iterdir()} == set(found)):
        with files.replaced_folder(place) as partial:
            for name, path in found.items():
                shutil.copyfile(path, partial / Path(name).name)
    return place


def fetch(version: str, repo: str, output: Path | None, most: int = LARGEST) -> Path:
    """Put the files of a released version into the folder `output` (default: `models/NAME-VERSION`) and return it.

    Raises `UserError` if the folder holds anything else, or the files have more than `most` bytes.
    """
    tag = tag_of(version)
    output = output or paths.MODELS / tag.replace("@", "-")
    found = fetched(tag, repo, most)
    size = sum(path.stat().st_size for path in found.values())
    if size > most:
        raise UserError(
            f"{tag} has {size:,} bytes; at most {most:,} are written. Allow more: aura fetch --max-gb NUMBER"
        )
    if output.exists():
        there = {path.relative_to(output).as_posix(): path for path in output.rglob("*") if path.is_file()}
        if there.keys() == found.keys() and _sha256_of(there) == _sha256_of(found):
            return output
        if there:
            raise UserError(f"{output} holds other files. Name another folder: --output FOLDER")
    with files.replaced_folder(output) as partial:
        for name, path in found.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, partial / name)
    return output


def fetched(tag: str, repo: str, most: int = LARGEST) -> dict[str, Path]:
    """The files of a released version by name, as verified copies in the cache, fetched where they are not there."""
    source = _source(repo)
    place = cache_folder() / "versions" / hashlib.sha256(source.encode()).hexdigest()[:32]
    record = place / f"{tag}.json"
    known = _recorded(record)
    if known and not Path(source).is_dir():
        found = {name: place / RemoteObject(**item).name for name, (item, _) in known.items()}
        if all(path.exists() for path in found.values()) and _sha256_of(found) == _digests(known):
            return found
    with _opened(tag, source) as (clone, title):
        expected = model_card.sha256(card_of(tag, clone, foreign=True), tag)
        items = _download(ForeignRepository(clone, title, tag), tag, source, place, most)
    found = {item.label: place / item.name for item in items}
    digests = _sha256_of(found)
    _compare(expected, digests, found, tag)
    if known and _digests(known) != digests:
        raise UserError(
            f"{tag} of {title} has other files than when it was fetched before, and a version never changes. Ask who "
            f"published it. To take the new files all the same, remove {record}, and fetch again"
        )
    if not expected:
        console.err.print(f"{tag} has no SHA-256 in its message: its files were compared with their MD5 alone")
    content = {item.label: [vars(item), digests[item.label]] for item in items}
    files.write_json(record, {"format": FORMAT, "files": content})
    return found


def listed(repo: str, name: str = NAME) -> list[Version]:
    """The newest `LISTED` of the released versions of an artifact, newest first; says on stderr if there are more."""
    source = _source(repo)
    is_own = _is_own(source)
    if is_own:
        lines = git("for-each-ref", "--format=%(refname:strip=2)", f"refs/tags/{name}@*", folder=Path(source))
        names = lines.splitlines()
    else:
        with _explained(source):
            names = tags_of(_address(source), f"{name}@*")
    given = {tag.removeprefix(f"{name}@") for tag in names if tag.startswith(f"{name}@")}
    found = _sorted(given)
    if len(found) > LISTED:
        console.err.print(f"{len(found) - LISTED:,} older versions are not listed")
    tags = [f"{name}@{version}" for version in found[:LISTED]]
    if is_own or not tags:
        cards = model_card.cards(tags, Path(source), foreign=False)
    else:
        with _explained(source), fetched_tags(_address(source), tags) as clone:
            cards = model_card.cards(tags, clone, foreign=True)
    # GTO's other tags, such as `v1.0.0!` for a deprecation, are no versions.
    gone = {version.partition("!")[0] for version in given if re.fullmatch(r"[^!]*!(#\d+)?", version)}
    all_gone = "deprecated" in given
    return [
        Version(name, tag.partition("@")[2], card, all_gone or tag.partition("@")[2] in gone)
        for tag, card in cards.items()
    ]


def card_of(tag: str, folder: Path | None = None, *, foreign: bool = False) -> dict[str, Any]:
    """The model card in a tag's message; empty where `aura publish` did not write one."""
    return model_card.cards([tag], folder, foreign=foreign)[tag]


def as_yaml(value: dict[str, Any]) -> str:
    """Readable YAML, in the given order."""
    yaml, text = YAML(), StringIO()
    yaml.default_flow_style = False
    yaml.width = 120
    yaml.dump(value, text)
    return text.getvalue()


def cache_folder() -> Path:
    """Return the folder of fetched versions: $AURA_VERSIONS, or `aura` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(VARIABLE) or Path(home, "aura")).resolve()


def _sorted(given: set[str]) -> list[str]:
    """The versions among what follows the @ of tags, newest first."""
    found = (version for version in given if len(version) <= LONGEST and _VERSION.fullmatch(version))
    return sorted(found, key=_precedence, reverse=True)


def _precedence(version: str) -> tuple[Any, ...]:
    """The order of semantic versions: a pre-release before its release, numbers in it before words."""
    release, _, words = version.removeprefix("v").partition("+")[0].partition("-")
    numbers = [int(number) for number in release.split(".")]
    parts = [(0, int(word), "") if word.isdigit() else (1, 0, word) for word in words.split(".")] if words else []
    return *numbers, not words, parts


def repository(given: str | None) -> str:
    """The repository that was given, or that of this folder; a `UserError` where there is none."""
    if given is None:
        try:
            git("rev-parse", "--git-dir")
        except GitFailed as error:
            raise UserError(f"this folder is in no git repository ({error}). Name one: --repo ADDRESS") from None
    return given or "."


def _source(repo: str) -> str:
    """The address of a repository, or the absolute path of its folder."""
    if not repo.isprintable():
        raise UserError(f"expected the address or folder of a git repository, got {repo[:200]!r}")
    return str(Path(repo).resolve()) if Path(repo).is_dir() else repo


def _is_own(source: str) -> bool:
    """Return whether it is the project of the working directory, whose settings are obeyed."""
    return Path(source) in (Path.cwd(), *Path.cwd().parents)


def _address(source: str) -> str:
    """Return the address for git. A folder, too, is asked as a server is, so that its .git/config is not obeyed."""
    return f"file://{source}" if Path(source).is_dir() else source


@contextmanager
def _explained(source: str) -> Iterator[None]:
    try:
        yield
    except GitFailed as error:
        raise UserError(f"cannot read {without_secrets(source)}: {error}") from None


@contextmanager
def _opened(tag: str, source: str) -> Iterator[tuple[Path, str]]:
    """A repository with the tag alone, which lasts as long as it is used, and what the source is called in messages."""
    title, address = without_secrets(source), _address(source)
    name = tag.partition("@")[0]
    with _explained(source):
        there = tags_of(address, f"{name}@*")
        if tag not in there and _is_own(source) and "origin" in git("remote", folder=Path(source)).splitlines():
            git("fetch", "--quiet", "origin", "--tags", folder=Path(source))  # a colleague may have published it
            there = tags_of(address, f"{name}@*")
        if tag not in there:
            versions = _sorted({other.partition("@")[2] for other in there})
            shown = ", ".join(versions[:20]) + (", …" if len(versions) > 20 else "")
            raise UserError(f"{title} has no version {tag}. There are: {shown or 'none'}")
        with fetched_tags(address, [tag]) as clone:
            yield clone, title


def _download(repository: ForeignRepository, tag: str, source: str, place: Path, most: int) -> list[RemoteObject]:
    """Bring the objects of an artifact to `place`, and return its files, labelled with their names."""
    release = repository.release(tag.partition("@")[0])
    if not release.hash.endswith(".dir"):
        raise UserError(f"{tag} of {without_secrets(source)}: expected a folder at {release.path}, got a single file")
    if _is_own(source) and Path(source, ".dvc").is_dir():  # with what .dvc/config.local adds
        with open_repo(Path(source)) as repo:
            return _brought(DvcRemote(repo), place, release)
    try:
        return _brought(ForeignStore(release.url, anonymous=True, most=most), place, release)
    except AccessRefused:
        return _brought(ForeignStore(release.url, anonymous=False, most=most), place, release)


def _brought(store: DvcRemote, place: Path, release: Release) -> list[RemoteObject]:
    _, *found = expand(store, place, [(release.hash, release.path)])
    if not found:
        raise UserError(f"expected files in {release.path}, got a list of none")
    names = [item.label.removeprefix(f"{release.path}/") for item in found]
    plain_names(names, f"the list of files of {release.path}")
    download(store, place, found)
    return [RemoteObject(item.name, item.md5, name) for item, name in zip(found, names, strict=True)]


def _compare(expected: dict[str, str], got: dict[str, str], found: dict[str, Path], tag: str) -> None:
    """Raise unless the files have the SHA-256 of the model card: MD5, by which DVC knows objects, can be forged."""
    for name, digest in expected.items():
        if got.get(name) != digest:
            if name in found:
                found[name].unlink(missing_ok=True)  # its MD5 is right, so it would be used for ever
            shown = name if name in found else repr(name[:200])
            raise UserError(
                f"{tag}: expected {shown} with the SHA-256 {digest} of its model card, got "
                f"{got.get(name, 'no such file')}. Somebody changed the version or its bytes: ask who published it"
            )


def _sha256_of(found: dict[str, Path]) -> dict[str, str]:
    digests = {path: files.sha256_file(path) for path in set(found.values())}  # one object may have many names
    return {name: digests[path] for name, path in found.items()}


def _recorded(record: Path) -> dict[str, tuple[dict[str, str], str]]:
    """Return what was fetched before: each file's object and SHA-256, by its name; empty if there is no such record."""
    try:
        known = files.read_object(record, made_by="aura fetch")
        if known["format"] != FORMAT:
            return {}
        plain_names(known["files"], str(record))
        for item, _ in known["files"].values():
            object_hash(RemoteObject(**item).name.removeprefix("files/md5/").replace("/", ""), str(record))
        return {name: (item, digest) for name, (item, digest) in known["files"].items()}
    except (UserError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def _digests(known: dict[str, tuple[dict[str, str], str]]) -> dict[str, str]:
    return {name: digest for name, (_, digest) in known.items()}
