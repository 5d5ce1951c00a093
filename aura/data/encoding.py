"""Encoding: the corpus through a validated tokenizer into token shards.

Three things must fit before any work: the corpus is the one its manifest describes, the tokenizer learnt from
it (unless it is frozen), and this very tokenizer passed its gates. One corpus file becomes one shard. Threads encode
blocks of documents, of one file or of several, through the tokenizer's table of units; memory holds two blocks a core,
and the ids of a shard. The action cache keeps shards, so that with one tokenizer only corpus files that changed are
encoded again, and the table, so that those mostly look up and gather.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from aura import console, files, parallel
from aura.cache import Cache, action_key, code_key
from aura.data import token_shards
from aura.errors import UserError
from aura.ingestion import corpus
from aura.params import Encode
from aura.tokenizer import model_file, symbols, unit_table, units
from aura.tokenizer import tokenizer as tokenizer_module
from aura.tokenizer.tokenizer import Ids, Tokenizer

LIBRARIES = ("numpy", "pyarrow", "sentencepiece")
MADE_BY = "dvc repro select"


def encode_corpus(
    corpus_folder: Path,
    tokenizer_folder: Path,
    passed: Path,
    output: Path,
    layout: Encode,
    cache: Cache,
    *,
    frozen: bool = False,
) -> list[token_shards.Entry]:
    """Write the token shards of `corpus_folder` to `output`, all or none, and return what each holds.

    Arguments:
        corpus_folder: what `select` wrote.
        tokenizer_folder: what `train_tokenizer` wrote.
        passed: the file `validate` writes when every gate holds.
        frozen: whether the tokenizer is kept on purpose while the corpus changes.

    Raises:
        UserError: a corpus file is missing, extra or altered; the tokenizer did not pass its gates or, unless it is
            frozen, learnt from another corpus.
    """
    manifest = read_corpus_manifest(corpus_folder)
    model = tokenizer_folder / "spiece.model"
    if not model.is_file():
        raise UserError(f"expected the tokenizer {model}, found no such file. Run: dvc repro train_tokenizer")
    tokenizer = Tokenizer.load(model)
    require_passed(passed, tokenizer.sha256)
    if not frozen:
        require_same_corpus(tokenizer_folder / "spiece_config.json", manifest["hash"]["train"])
    return encode_with(tokenizer, corpus_folder, output, layout, cache)


def encode_with(
    tokenizer: Tokenizer, corpus_folder: Path, output: Path, layout: Encode, cache: Cache
) -> list[token_shards.Entry]:
    """`encode_corpus` with whatever tokenizer: it may have learnt from other text, and passed no gates."""
    manifest = read_corpus_manifest(corpus_folder)
    code = (corpus, model_file, symbols, token_shards, tokenizer_module, unit_table, units, sys.modules[__name__])
    namespace = action_key("tokens", tokenizer.sha256, layout.model_dump(), code_key(code, LIBRARIES))
    with files.replaced_folder(output) as partial_output:
        keys = {
            file["path"]: action_key(namespace, file["path"], _checked(corpus_folder, file))
            for file in manifest["files"]
        }
        entries = {path: _copied(cache, key, partial_output) for path, key in keys.items()}
        missing = [path for path, entry in entries.items() if entry is None]
        if missing:
            with _kept_table(tokenizer, cache):
                for path, blocks in _encoded(corpus_folder, missing, tokenizer, layout):
                    entry = _write(partial_output, path, blocks)
                    ids, documents = token_shards.files_of(partial_output, entry.path)
                    cache.put(keys[path], asdict(entry), {"ids": ids, "documents": documents})
                    entries[path] = entry
        whole = [entry for entry in entries.values() if entry]
        token_shards.write_manifest(partial_output, tokenizer.sha256, tokenizer.vocab_size, layout.model_dump(), whole)
    return whole


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


@dataclass(frozen=True)
class Block:
    """Documents of one corpus file: before encoding a corpus table, after it their ids and index."""

    path: str
    documents: pa.Table
    ids: Ids | None = None


@contextmanager
def _kept_table(tokenizer: Tokenizer, cache: Cache) -> Iterator[None]:
    """Take the tokenizer's table of units out of the cache, and put it back with what it learns."""
    table = tokenizer.table
    if table is None:
        console.err.print(
            "note: this tokenizer's scores are not rounded; SentencePiece encodes whole documents, slower"
        )
        yield
        return
    key = action_key("units", tokenizer.sha256, code_key((symbols, tokenizer_module, unit_table, units), LIBRARIES))
    entry = cache.get(key)
    content = entry.read("table") if entry else None
    if content is not None:
        table.restore(content)
    before = len(table)
    yield
    if len(table) > before:
        cache.put(key, None, {"table": table.content()})


def _encoded(
    corpus_folder: Path, paths: Sequence[str], tokenizer: Tokenizer, layout: Encode
) -> Iterator[tuple[str, Iterable[Block]]]:
    """Yield each corpus file with its encoded blocks, in order."""
    blocks = (
        block for path in console.track(paths, "encoding", total=len(paths)) for block in _read(corpus_folder, path)
    )
    with ThreadPoolExecutor(parallel.cores()) as pool:
        done = parallel.ordered_map(pool, partial(_encode_block, tokenizer=tokenizer, layout=layout), blocks)
        yield from groupby(done, key=lambda block: block.path)


def _read(corpus_folder: Path, path: str) -> Iterator[Block]:
    """The documents of a corpus file, in blocks of whole row groups; an empty file is one empty block."""
    file = pq.ParquetFile(corpus_folder / path)
    waiting = [corpus.SCHEMA.empty_table()]
    for group in range(file.num_row_groups):
        waiting.append(file.read_row_group(group).cast(corpus.SCHEMA))
        if sum(table.nbytes for table in waiting) >= unit_table.BLOCK_BYTES[1]:
            yield Block(path, pa.concat_tables(waiting).combine_chunks())
            waiting = []
    if waiting:
        yield Block(path, pa.concat_tables(waiting).combine_chunks())


def _encode_block(block: Block, tokenizer: Tokenizer, layout: Encode) -> Block:
    """The ids of a block's documents, with <bos> and <eos>, and a row of the shard's index for each."""
    [texts] = block.documents["text"].chunks or [pa.array([], pa.large_string())]
    if tokenizer.table is None:
        encoded = tokenizer.encode_batch(texts.to_pylist())
        flat, counts = (
            np.concatenate([np.empty(0, np.int32), *encoded]),
            np.array([len(ids) for ids in encoded], np.int64),
        )
    else:
        flat, counts = tokenizer.table.encode_block(texts)
    tokens = counts + layout.add_bos + layout.add_eos
    ends = np.cumsum(tokens)
    ids = np.empty(tokens.sum(), token_shards.id_dtype(tokenizer.vocab_size))
    is_text = np.ones(len(ids), np.bool_)
    for places, token, wanted in (
        (ends - tokens, tokenizer.bos_id, layout.add_bos),
        (ends - 1, tokenizer.eos_id, layout.add_eos),
    ):
        if wanted:
            ids[places], is_text[places] = token, False
    ids[is_text] = flat
    columns = {"tokens": tokens, "bytes": pc.cast(pc.binary_length(texts), pa.int64())}
    return Block(
        block.path, pa.table(columns | {name: block.documents[name] for name in ("doc", "source", "affect")}), ids
    )


def _write(output: Path, path: str, blocks: Iterable[Block]) -> token_shards.Entry:
    """Write the encoded blocks of one corpus file as one shard."""
    parts, tables = zip(*((block.ids, block.documents) for block in blocks), strict=True)
    documents = pa.concat_tables(tables)
    tokens = documents["tokens"].to_numpy()
    documents = documents.add_column(0, "offset", pa.array(np.cumsum(tokens) - tokens))
    return token_shards.write_shard(output, path.removesuffix(".parquet"), np.concatenate(parts), documents)


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


def tokenizer_is_frozen(pipeline: Path) -> bool:
    """Whether the user has said, with `dvc freeze train_tokenizer`, that the tokenizer stays as the corpus changes."""
    stages = YAML(typ="safe").load(pipeline.read_text(encoding="utf-8"))["stages"]
    return bool(stages["train_tokenizer"].get("frozen", False))


def require_same_corpus(config: Path, corpus_hash: str) -> None:
    """Refuse a tokenizer that learnt from other training documents than those of `corpus_hash`."""
    learnt_from = files.read_json(config, made_by="dvc repro train_tokenizer")["corpus"]["hash"]
    if learnt_from != corpus_hash:
        raise UserError(
            f"{config} says that the tokenizer learnt from the corpus {learnt_from[:16]}…, but the one at hand is "
            f"{corpus_hash[:16]}…. Run: dvc repro train_tokenizer; or, to keep this tokenizer while the corpus "
            "changes: dvc freeze train_tokenizer"
        )
