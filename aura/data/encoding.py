"""Encoding: the corpus through a validated tokenizer into token shards.

Three things must fit before any work: the corpus is the one its manifest describes, the tokenizer learnt from
it, and this very tokenizer passed its gates. One corpus file at a time becomes one shard, which bounds memory;
SentencePiece's own threads encode its documents (16 MB take 0.5 s on 2 cores), so no processes are needed. Shards
are kept in the action cache: with one tokenizer, only the corpus files that changed are encoded again.
"""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aura import console, files, parallel
from aura.cache import Cache, action_key, code_key
from aura.data import token_shards
from aura.errors import UserError
from aura.ingestion import corpus
from aura.params import Encode
from aura.tokenizer import model_file, symbols
from aura.tokenizer import tokenizer as tokenizer_module
from aura.tokenizer.tokenizer import Tokenizer

LIBRARIES = ("numpy", "pyarrow", "sentencepiece")
MADE_BY = "dvc repro select"


def encode_corpus(
    corpus_folder: Path, tokenizer_folder: Path, passed: Path, output: Path, layout: Encode, cache: Cache
) -> list[token_shards.Entry]:
    """Write the token shards of `corpus_folder` to `output`, all or none, and return what each holds.

    Arguments:
        corpus_folder: what `select` wrote.
        tokenizer_folder: what `train_tokenizer` wrote.
        passed: the file `validate` writes when every gate holds.

    Raises:
        UserError: a corpus file is missing, extra or altered; the tokenizer learnt from another corpus, or
            did not pass its gates.
    """
    manifest = read_corpus_manifest(corpus_folder)
    model = tokenizer_folder / "spiece.model"
    if not model.is_file():
        raise UserError(f"expected the tokenizer {model}, found no such file. Run: dvc repro train_tokenizer")
    tokenizer = Tokenizer.load(model)
    require_passed(passed, tokenizer.sha256)
    require_same_corpus(tokenizer_folder / "spiece_config.json", manifest["hash"]["train"])
    return encode_with(tokenizer, corpus_folder, output, layout, cache)


def encode_with(
    tokenizer: Tokenizer, corpus_folder: Path, output: Path, layout: Encode, cache: Cache
) -> list[token_shards.Entry]:
    """`encode_corpus` with whatever tokenizer: it may have learnt from other text, and passed no gates."""
    manifest = read_corpus_manifest(corpus_folder)
    code = (corpus, model_file, symbols, token_shards, tokenizer_module, sys.modules[__name__])
    namespace = action_key("tokens", tokenizer.sha256, layout.model_dump(), code_key(code, LIBRARIES))
    with files.replaced_folder(output) as partial:
        tracked = console.track(manifest["files"], "encoding", total=len(manifest["files"]))
        entries = []
        for file in tracked:
            key = action_key(namespace, file["path"], _checked(corpus_folder, file))
            entry = _copied(cache, key, partial)
            if entry is None:
                entry = _encode_file(corpus_folder, file, tokenizer, layout, partial)
                ids, documents = token_shards.files_of(partial, entry.path)
                cache.put(key, asdict(entry), {"ids": ids, "documents": documents})
            entries.append(entry)
        token_shards.write_manifest(partial, tokenizer.sha256, tokenizer.vocab_size, layout.model_dump(), entries)
    return entries


def _checked(folder: Path, file: dict[str, Any]) -> str:
    """The SHA-256 of a corpus file, which must be as in the manifest."""
    came = files.sha256_file(folder / file["path"])
    if came != file["sha256"]:
        raise UserError(
            f"{folder / file['path']} was altered: expected sha256 {file['sha256'][:16]}…, came {came[:16]}…. "
            f"Make it again with: {MADE_BY} --force"
        )
    return came


def _copied(cache: Cache, key: str, output: Path) -> token_shards.Entry | None:
    """Copy a shard out of the cache; None if the cache does not have it undamaged."""
    found = cache.get(key)
    if not found:
        return None
    entry = token_shards.Entry(**found.record)
    ids, documents = token_shards.files_of(output, entry.path)
    ids.parent.mkdir(parents=True, exist_ok=True)
    return entry if found.copy("ids", ids) and found.copy("documents", documents) else None


def _encode_file(
    corpus_folder: Path, file: dict[str, Any], tokenizer: Tokenizer, layout: Encode, output: Path
) -> token_shards.Entry:
    """Encode one corpus file, described as in the corpus's manifest, into one shard."""
    table = pq.read_table(corpus_folder / file["path"], schema=corpus.SCHEMA)
    texts: list[str] = table["text"].to_pylist()
    before = [tokenizer.bos_id] if layout.add_bos else []
    after = [tokenizer.eos_id] if layout.add_eos else []
    encoded = tokenizer.encode_batch(texts, threads=parallel.cores())
    tokens = np.array([len(before) + len(ids) + len(after) for ids in encoded], np.int64)
    columns = {
        "offset": np.cumsum(tokens) - tokens,
        "tokens": tokens,
        "bytes": np.array([len(text.encode()) for text in texts], np.int64),
        **{name: table[name] for name in ("doc", "source", "affect")},
    }
    parts = [np.asarray(part, np.int32) for ids in encoded for part in (before, ids, after)]
    flat = np.concatenate([np.empty(0, np.int32), *parts]).astype(token_shards.id_dtype(tokenizer.vocab_size))
    return token_shards.write_shard(output, file["path"].removesuffix(".parquet"), flat, pa.table(columns))


def read_corpus_manifest(folder: Path) -> dict[str, Any]:
    """The corpus's manifest; the files it lists must be the files in the folder."""
    files.require_folder(folder, made_by=MADE_BY)
    manifest: dict[str, Any] = files.read_json(folder / "manifest.json", made_by=MADE_BY)
    if manifest.get("format") != corpus.FORMAT:
        raise UserError(
            f"{folder}: expected a corpus of format {corpus.FORMAT}, came {manifest.get('format')!r}. Run: {MADE_BY}"
        )
    listed = {file["path"] for file in manifest["files"]}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")}
    wrong = [f"{path} is missing" for path in sorted(listed - found)]
    wrong += [f"{path} is not listed" for path in sorted(found - listed)]
    if wrong:
        raise UserError(
            f"expected in {folder} exactly the files its manifest.json lists: {'; '.join(wrong[:5])}. "
            f"Make it again with: {MADE_BY} --force"
        )
    return manifest


def require_passed(passed: Path, tokenizer: str) -> None:
    """Refuse a tokenizer (by its SHA-256) that is not the one whose gates held."""
    came = files.read_json(passed, made_by="dvc repro validate")["tokenizer"]
    if came != tokenizer:
        raise UserError(
            f"{passed} is for the tokenizer {came[:16]}…, but the one at hand is {tokenizer[:16]}…. "
            "Run: dvc repro validate"
        )


def require_same_corpus(config: Path, corpus_hash: str) -> None:
    """Refuse a tokenizer that learnt from other training documents than those of `corpus_hash`."""
    learnt_from = files.read_json(config, made_by="dvc repro train_tokenizer")["corpus"]["hash"]
    if learnt_from != corpus_hash:
        raise UserError(
            f"{config} says that the tokenizer learnt from the corpus {learnt_from[:16]}…, but the one at hand is "
            f"{corpus_hash[:16]}…. Run: dvc repro train_tokenizer"
        )
