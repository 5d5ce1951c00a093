"""Publishing a tokenizer or a model: all is checked first, the bytes go out and are verified, then it is tagged.

The tag is the last step and git makes it at once, so no version can be seen before its bytes are there. A version is
what the pipeline made and judged: a tokenizer, or a model of `released_models`. Or it is a tokenizer of the one-shot
program. That is in no dvc.lock, so it gets a commit of its own, on no branch, in which `models/spm.dvc` names its
files: every way to fetch a version works for it as well.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree

from aura.core import files, params, paths
from aura.core.errors import UserError
from aura.encode import corpus_checks
from aura.sharing import delivery, transfer, versions
from aura.sharing.current_outputs import require_current
from aura.sharing.git import git, has_remote
from aura.sharing.released_models import MODELS, model_of_pipeline
from aura.sharing.remote import DvcRemote, open_repo
from aura.tokenizer import adopted_record, opening
from aura.validate import validation
from aura.validate.options import Validate

FILES = ("spiece.model", "spiece.vocab", "spiece_config.json")
KEPT = (".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore")  # of a one-shot version's commit


@dataclass(frozen=True)
class Candidate:
    """A version to publish: the folder, the names of its files, and its model card without hashes and licence."""

    folder: Path
    names: tuple[str, ...]
    card: Mapping[str, Any]

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file."""
        return {name: files.sha256_file(self.folder / name) for name in self.names}


def publish(version: str, made_by_hand: Path | None, licence: str | None) -> tuple[str, bool]:
    """Publish the tokenizer (`v1.2.0`) or a model (`chat@v1.2.0`) of the pipeline, or a tokenizer `made_by_hand`.

    Returns the tag, and whether it is new. If the version is there already with the same bytes, the bucket is made
    whole again and nothing else.

    Raises:
        UserError: the working tree is dirty, the artifact is not judged or not what dvc.lock says, the version exists
            with other bytes, or something did not reach bucket or git remote.
    """
    tag = versions.tag_of(version)
    name = tag.partition("@")[0]
    if name not in (known := (versions.NAME, *MODELS)):
        raise UserError(f"expected a version of {', '.join(known)}, such as v1.2.0 or chat@v1.2.0; got {version}")
    if made_by_hand is not None and name != versions.NAME:
        raise UserError(f"--from publishes a {versions.NAME} alone, got {version}. Leave --from out")
    _require_root()
    _require_clean_tree()
    if name in MODELS:
        candidate = Candidate(*model_of_pipeline(name))
    else:
        candidate = _from_pipeline() if made_by_hand is None else _from_folder(made_by_hand)
    exists = _exists(tag, candidate)
    if made_by_hand is None:
        transfer.push([])
        commit = git("rev-parse", "HEAD")
    else:
        commit = _commit_of(tag, _push_folder(made_by_hand))
    if not exists:
        git(
            "tag",
            "--annotate",
            "--cleanup=verbatim",
            "--file",
            "-",
            tag,
            commit,
            text=_message(tag, candidate, licence),
        )
    if has_remote():
        git("push", "--quiet", "origin", f"refs/tags/{tag}")
    return tag, not exists


def _require_root() -> None:
    """Refuse a project below the root of its git repository: a tag names no folder, so no one could fetch from it."""
    if prefix := git("rev-parse", "--show-prefix").rstrip("/"):
        raise UserError(
            f"expected the project in the root of its git repository, got it in the folder {prefix}. A version is a "
            "tag of the repository, and is looked for in its root: give it a repository of its own to publish. "
            "aura push and pull, and dvc get, work from here"
        )


def _require_clean_tree() -> None:
    changed = [line[3:] for line in git("status", "--porcelain").splitlines()]
    if changed:
        raise UserError(
            f"expected a clean git tree, found changes in {', '.join(changed[:5])}{', …' if changed[5:] else ''}. "
            "Commit them: a version is what its commit says"
        )


def _from_pipeline() -> Candidate:
    """The tokenizer in models/spm; refused unless it is exactly what dvc.lock records and validation passed."""
    if not paths.PASSED.exists():
        raise UserError(f"{paths.PASSED} is missing: the tokenizer was not validated. Run: dvc repro")
    require_current(paths.TOKENIZER, "validate")
    names = _names(paths.TOKENIZER)
    waived = corpus_checks.require_passed(paths.PASSED, opening.sha256(paths.TOKENIZER))
    metrics = files.read_json(paths.PASSED.with_name("metrics.json"), made_by="dvc repro")
    card = _card(paths.TOKENIZER, metrics) | ({"waived_gates": waived} if waived else {})
    return Candidate(paths.TOKENIZER, names, card)


def _from_folder(folder: Path) -> Candidate:
    """A tokenizer of the one-shot program, measured here on the project's held-out documents."""
    names = _names(folder)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UserError(f"expected {', '.join(names)} in {folder}; {', '.join(missing)} is not there")
    files.require_folder(paths.HELD_OUT, made_by="dvc repro select (or: aura pull data/corpus/held_out)")
    limits = params.section("validate", Validate)
    with tempfile.TemporaryDirectory() as reports:
        training = paths.TRAIN if paths.TRAIN.exists() else None
        gates = validation.validate(folder / opening.MODEL, paths.HELD_OUT, limits, Path(reports), training=training)
        metrics = files.read_json(Path(reports, "metrics.json"), made_by="aura publish")
    missed = [gate.told for gate in gates if not gate.holds]
    if missed:
        raise UserError("\n".join([f"the tokenizer in {folder} misses on held-out documents:", *missed]))
    return Candidate(folder, names, _card(folder, metrics))


def _names(folder: Path) -> tuple[str, ...]:
    """The files that make up a tokenizer, whose hashes the card has."""
    if not adopted_record.is_adopted(folder):
        return FILES
    return tuple(opening.files_of(folder))


def _exists(tag: str, candidate: Candidate) -> bool:
    """Return whether this version is published, here or at the git remote; with other bytes it is a `UserError`."""
    here = git("for-each-ref", "--format=%(objectname)", f"refs/tags/{tag}")
    there = git("ls-remote", "origin", f"refs/tags/{tag}").partition("\t")[0] if has_remote() else ""
    if there and not here:
        git("fetch", "--quiet", "origin", f"refs/tags/{tag}:refs/tags/{tag}")
    elif there and there != here:
        raise UserError(f"the git remote has another {tag}. Take it over: git fetch origin --tags --force")
    if not here and not there:
        return False
    published = versions.card_of(tag).get("sha256")
    if published != candidate.hashes():
        raise UserError(f"{tag} is published with other bytes, and a version never changes. Choose the next number")
    return True


def _push_folder(folder: Path) -> dict[str, Any]:
    """Put a one-shot tokenizer's files into DVC's cache and the bucket; returns its entry for a .dvc file."""
    tree, labels = Tree(), []
    with open_repo() as repo:
        cache = Path(repo.cache.local_cache_dir)
        for name in FILES:
            content = (folder / name).read_bytes()
            oid = hashlib.md5(content, usedforsecurity=False).hexdigest()
            tree.add((name,), None, HashInfo("md5", oid))
            labels.append(_cached(cache, oid, content, f"{folder}/{name}"))
        tree.digest()
        labels.append(_cached(cache, tree.oid, tree.as_bytes(), str(folder)))
        delivery.upload(DvcRemote(repo), cache, labels)
    size = sum((folder / name).stat().st_size for name in FILES)
    return {"md5": tree.oid, "size": size, "nfiles": len(FILES), "hash": "md5", "path": paths.TOKENIZER.name}


def _cached(cache: Path, oid: str, content: bytes, label: str) -> delivery.RemoteObject:
    item = delivery.item(oid, label)
    path = cache / item.name
    if not path.exists() or path.read_bytes() != content:
        files.write_bytes(path, content)
        path.chmod(delivery.CHECKED)
    return item


def _commit_of(tag: str, entry: dict[str, Any]) -> str:
    """A commit on no branch, in which models/spm is a one-shot tokenizer."""
    artifact = {
        "path": str(paths.TOKENIZER),
        "type": "tokenizer",
        "desc": "SentencePiece tokenizer of the one-shot program",
    }
    content = {
        "dvc.yaml": versions.as_yaml({"artifacts": {versions.NAME: artifact}}),
        f"{paths.TOKENIZER}.dvc": versions.as_yaml({"outs": [entry]}),
    }
    with tempfile.TemporaryDirectory() as scratch:
        index = Path(scratch, "index")
        git("read-tree", "--empty", index=index)
        kept = git("ls-tree", "HEAD", *KEPT)
        git("update-index", "--add", "--index-info", index=index, text=kept + "\n")
        for path, text in content.items():
            blob = git("hash-object", "-w", "--stdin", text=text)
            git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", index=index)
        tree = git("write-tree", index=index)
    code = git("rev-parse", "HEAD")
    return git("commit-tree", tree, "-m", f"{tag}, by the one-shot program\n\nJudged by the gates of commit {code}.")


def _card(folder: Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer's model card without hashes and licence."""
    if adopted_record.is_adopted(folder) and not (folder / FILES[2]).exists():
        record = adopted_record.read_record(folder)
        return {"adopted": {"from": record["from"], "roles": record["roles"]}, "metrics": dict(metrics)}
    config = files.read_object(folder / FILES[2], "dvc repro train_tokenizer", corpus=dict, options=dict, versions=dict)
    options = json.dumps(config["options"], sort_keys=True, ensure_ascii=False)
    return {
        "corpus": {key: config["corpus"].get(key) for key in ("hash", "documents", "bytes")},
        "params": {"sha256": hashlib.sha256(options.encode()).hexdigest()} | config["options"],
        "metrics": dict(metrics),
        "versions": config["versions"],
    }


def _message(tag: str, candidate: Candidate, licence: str | None) -> str:
    """The tag's message: a title and the model card. It has no paths, names of machines or addresses."""
    stated = licence or "not stated: what the licences of its texts allow"
    card = {"sha256": candidate.hashes(), **candidate.card, "licence": stated}
    name, _, version = tag.partition("@")
    return f"{name} {version}\n\n{versions.as_yaml(card)}"
