"""The checks before any work: the corpus is the one its manifest describes, and the tokenizer belongs to it."""

from pathlib import Path
from typing import Any

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.core.terms import SPLITS
from aura.corpus import corpus
from aura.storage import placement
from aura.storage.placement import ShardFile
from aura.tokenizer import adopted_record


def read_corpus(folder: Path) -> tuple[dict[str, Any], dict[str, ShardFile]]:
    """The corpus's manifest, verified, and the files of both splits, by their paths in it; it must list just these."""
    files.require_folder(folder, made_by=corpus.MADE_BY)
    manifest = checksums.read_sealed(folder / "manifest.json", made_by=corpus.MADE_BY)
    if manifest.get("format") != corpus.FORMAT:
        raise UserError(
            f"{folder}: expected a corpus of format {corpus.FORMAT}, got {manifest.get('format')!r}. "
            f"Run: {corpus.MADE_BY}"
        )
    shape = {"hash": {"train": str}, "files": [{"path": str, "sha256": str}]}
    files.require_shape(folder / "manifest.json", manifest, corpus.MADE_BY, **shape)
    listed = {file["path"] for file in manifest["files"]}
    shards = _shards(folder)
    wrong = [f"{path} is missing" for path in sorted(listed - shards.keys())]
    wrong += [f"{path} is not listed" for path in sorted(shards.keys() - listed)]
    if wrong:
        raise UserError(
            f"expected in {folder} exactly the files its manifest.json lists: {'; '.join(wrong[:5])}. "
            f"{checksums.remedy(corpus.MADE_BY)}"
        )
    return manifest, shards


def _shards(folder: Path) -> dict[str, ShardFile]:
    found = [(split, shard) for split in SPLITS for shard in placement.shards(folder / split, corpus.MADE_BY)]
    return {f"{split}/{shard.path.name}": shard for split, shard in found if shard.path.name.endswith(".parquet")}


def require_passed(passed: Path, tokenizer: str) -> list[str]:
    """Refuse a tokenizer (by its SHA-256) that is not the one whose gates held; returns the gates that were waived."""
    verdict = files.read_object(passed, made_by="dvc repro validate", tokenizer=str)
    got, missed = verdict["tokenizer"], verdict.get("missed")
    if missed:
        files.require_shape(passed, verdict, made_by="dvc repro validate", missed=[str])
        raise UserError(
            "\n  ".join(["the tokenizer misses gates on held-out documents:", *missed])
            + f"\nOtherwise move the limit in the validate section of params.yaml; then: dvc repro. See {passed.parent}"
        )
    if got != tokenizer:
        raise UserError(
            f"{passed} is for the tokenizer {got[:16]}…, but the one at hand is {tokenizer[:16]}…. "
            "Run: dvc repro validate"
        )
    if "waived" in verdict:
        files.require_shape(passed, verdict, made_by="dvc repro validate", waived=[str])
    return list(verdict.get("waived", []))


def tokenizer_is_frozen(pipeline: Path) -> bool:
    """Return whether the user froze the tokenizer (`dvc freeze train_tokenizer`): it stays as the corpus changes."""
    if "frozen" not in files.read_text(pipeline):  # 30 ms less than to parse it
        return False
    shape = {"stages": {"train_tokenizer": dict}}
    return bool(files.read_pipeline(pipeline, **shape)["stages"]["train_tokenizer"].get("frozen", False))


def require_extended_by(folder: Path, corpus_hash: str, *, frozen: bool) -> None:
    """Refuse an extended tokenizer whose new pieces are from other text, unless it is frozen."""
    extended = adopted_record.read_extended(folder)
    learnt_from = extended["corpus"] if extended else corpus_hash
    if learnt_from != corpus_hash and not frozen:
        raise UserError(
            f"{folder} says that its new pieces are from the corpus {learnt_from!s:.16}…, but the one at hand is "
            f"{corpus_hash[:16]}…. Run: dvc repro train_tokenizer; or, to keep this tokenizer while the corpus "
            "changes: dvc freeze train_tokenizer"
        )


def require_same_corpus(config: Path, corpus_hash: str) -> None:
    """Refuse a tokenizer that learnt from other training documents than those of `corpus_hash`."""
    made_by = "dvc repro train_tokenizer"
    checksums.verify(config.parent, made_by, config.name, required=False)
    learnt_from = files.read_object(config, made_by, corpus=dict)["corpus"].get("hash")
    if learnt_from != corpus_hash:
        raise UserError(
            f"{config} says that the tokenizer learnt from the corpus {learnt_from!s:.16}…, but the one at hand is "
            f"{corpus_hash[:16]}…. Run: dvc repro train_tokenizer; or, to keep this tokenizer while the corpus "
            "changes: dvc freeze train_tokenizer"
        )
