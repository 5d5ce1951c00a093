"""The provenance section: commit, hashes, versions, sources and their licences."""

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from aura.core import files, paths
from aura.core.libraries import VERSIONS_FILE
from aura.core.shown_text import without_secrets
from aura.project.lock_merge import Stages
from aura.report import earlier, heads
from aura.sharing.git import GitFailed, git
from aura.tokenizer import adopted_record, opening

UNKNOWN = "not recorded"
_PIN_LISTS = ("files", "objects")  # of a pin, which are not read
_LICENCE = "License :: OSI Approved :: "
NRC = "research only (NRC Emotion Lexicon)"


@dataclass(frozen=True)
class Commit:
    """The commit that is checked out, and how many tracked files differ from it."""

    sha: str
    date: str
    branch: str
    subject: str
    changed: int


@dataclass(frozen=True)
class Origin:
    """A source, or a package of the sample: where its text is from, at what version, and its licence."""

    name: str
    kind: str
    place: str
    version: str
    licence: str


Sources = Mapping[str, Mapping[str, Any]]


def section(sources: Sources, instructions: Sources, lexicon: str, lock: Stages) -> dict[str, Any]:
    """The values of the section's template: `sources` are of text, `instructions` of conversations."""
    named = {**sources, **{f"conversations, {name}": entry for name, entry in instructions.items()}}
    return {
        "commit": commit(),
        "origins": list(_origins(named, lexicon)),
        "hashes": list(_hashes()),
        "outputs": [
            (stage, str(out.get("path")), str(out.get("md5", "")).removesuffix(".dir"), _number(out.get("size")))
            for stage, out in earlier.outputs(lock)
            if not str(out.get("path")).startswith("reports/inputs/")
        ],
        "versions": _versions(),
        "python": platform.python_version(),
        "aura": _version("aura"),
    }


def commit() -> Commit | None:
    """The commit that is checked out; None without git, or before the first commit."""
    try:
        sha, date, subject = git("log", "-1", "--format=%H%x09%ci%x09%s").split("\t", 2)
        branch = git("rev-parse", "--abbrev-ref", "HEAD")
        changed = len(git("status", "--porcelain", "--untracked-files=no", "--", ".").splitlines())
    except (GitFailed, FileNotFoundError, ValueError):
        return None
    return Commit(sha, date, "" if branch == "HEAD" else branch, subject, changed)


def _origins(sources: Sources, lexicon: str) -> Iterator[Origin]:
    for name, entry in sources.items():
        path = str(entry.get("path", ""))
        pin = _pin(Path(path)) if path.endswith(".pin.json") else {}
        if isinstance(pin.get("packages"), dict):
            for package, version in pin["packages"].items():
                yield Origin(f"{name}: {package}", "package", "", str(version), licence_of(str(package)))
            continue
        place = pin.get("dataset") or pin.get("url") or pin.get("folder") or path
        version = pin.get("revision") or ("pinned" if pin else "")
        yield Origin(name, str(entry.get("kind", "")), without_secrets(str(place)), str(version), UNKNOWN)
    if lexicon.endswith("nrc.pin.json"):
        yield Origin("affect", "lexicon", lexicon, "", NRC)


def _pin(path: Path) -> dict[str, Any]:
    """The keys of a pin that stand before its list of files; empty for one that is missing."""
    return heads.of_manifest(path, "aura source scan NAME", *_PIN_LISTS) or {}


def licence_of(package: str) -> str:
    """The licence that an installed package states."""
    try:
        stated = metadata.metadata(package).json
    except metadata.PackageNotFoundError:
        return UNKNOWN
    classified = [
        str(entry).removeprefix(_LICENCE) for entry in stated.get("classifier", []) if str(entry).startswith(_LICENCE)
    ]
    expression, short = (str(stated.get(key, "")).partition("\n")[0][:80] for key in ("license_expression", "license"))
    return expression or ", ".join(classified) or short or UNKNOWN


def _hashes() -> Iterator[tuple[str, str]]:
    """Yield what identifies the text, the tokenizer and the tokens, as far as they are here."""
    selected = heads.of_manifest(paths.CORPUS / "manifest.json", "dvc repro select", "files", hash={str: str}) or {}
    for split, digest in selected.get("hash", {}).items():
        yield f"text, {split.replace('_', ' ')}", str(digest)
    if opening.is_there(paths.TOKENIZER):
        yield "tokenizer", opening.sha256(paths.TOKENIZER)
    if adopted_record.is_adopted(paths.TOKENIZER):
        yield "tokenizer adopted from", str(adopted_record.read_record(paths.TOKENIZER)["from"])
    config = paths.LANGUAGE_MODEL / "config.json"
    if config.exists():
        yield "tokens that the model saw", str(files.read_object(config, "dvc repro pretrain").get("tokens", ""))
    weights = paths.LANGUAGE_MODEL / "_SHA256SUMS"
    for line in weights.read_text(encoding="utf-8", errors="replace").splitlines() if weights.exists() else []:
        digest, _, name = line.partition("  ")
        if name.endswith(".safetensors"):
            yield "weights", digest


def _versions() -> dict[str, str]:
    """The locked versions of the libraries that decide bytes."""
    if not VERSIONS_FILE.exists():
        return {}
    found = files.read_object(VERSIONS_FILE, made_by="make lock, or in a project of your own: aura init --update")
    return {str(name): str(version) for name, version in found.items()}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
