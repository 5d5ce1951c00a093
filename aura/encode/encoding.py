"""Encoding: the corpus through a validated tokenizer into token shards.

Three things must fit before any work: the corpus is the one its manifest describes, the tokenizer learnt from
it (unless it is frozen), and this very tokenizer passed its gates. One corpus file becomes one shard. Threads encode
blocks of documents, of one file or of several, through the tokenizer's table of units; memory holds two blocks a core,
and the ids of a shard. The action cache keeps shards, so that with one tokenizer only corpus files that changed are
encoded again, and the table, so that those mostly look up and gather.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

from aura.core import checksums, console, files, parallel
from aura.core.errors import UserError
from aura.core.keys import action_key, code_key
from aura.core.terms import SPLITS
from aura.corpus import corpus
from aura.encode import encoding_check
from aura.encode.encoding_check import EncodingCheck
from aura.encode.options import Encode
from aura.storage import placement
from aura.storage.cache import Cache
from aura.storage.placement import THIS_DISK, ShardFile, ShardPlace, at_once, write_lists
from aura.tokenizer import model_file, symbols, unit_table, units
from aura.tokenizer import tokenizer as tokenizer_module
from aura.tokenizer.model_file import Ids
from aura.tokenizer.tokenizer import Tokenizer
from aura.tokens import token_shards

LIBRARIES = ("numpy", "pyarrow", "sentencepiece")


def encode_corpus(
    corpus_folder: Path,
    tokenizer_folder: Path,
    passed: Path,
    output: Path,
    layout: Encode,
    cache: Cache,
    place: ShardPlace = THIS_DISK,
    *,
    frozen: bool = False,
) -> list[token_shards.ShardEntry]:
    """Write the token shards of `corpus_folder` to `output`, all or none, and return what each holds.

    Arguments:
        corpus_folder: what `select` wrote.
        tokenizer_folder: what `train_tokenizer` wrote.
        passed: the file `validate` writes when every gate holds.
        place: whether shards go into `output` or a store.
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
    return encode_with(tokenizer, corpus_folder, output, layout, cache, place)


def encode_with(
    tokenizer: Tokenizer, corpus_folder: Path, output: Path, layout: Encode, cache: Cache, place: ShardPlace = THIS_DISK
) -> list[token_shards.ShardEntry]:
    """`encode_corpus` with whatever tokenizer: it may have learnt from other text, and passed no gates."""
    manifest = read_corpus_manifest(corpus_folder)
    shards = corpus_shards(corpus_folder)
    code = (corpus, encoding_check, model_file, symbols, token_shards, tokenizer_module, unit_table, units)
    namespace = action_key(
        "tokens", tokenizer.encoding_sha256, layout.model_dump(), code_key((*code, sys.modules[__name__]), LIBRARIES)
    )
    check = EncodingCheck(tokenizer, layout)
    with files.replaced_folder(output) as partial_output:
        digests = at_once(lambda file: _checked(shards[file["path"]], file), manifest["files"])
        paths = [file["path"] for file in manifest["files"]]
        keys = {path: action_key(namespace, path, digest) for path, digest in zip(paths, digests, strict=True)}
        targets = {path: _targets(partial_output, path) for path in keys}
        recalled = at_once(lambda path: place.recall(cache, keys[path], targets[path]), list(keys))
        kept = dict(zip(keys, recalled, strict=True))
        missing = [path for path, known in kept.items() if known is None]
        if missing:
            with _kept_table(tokenizer, cache):
                for path, blocks in _encoded(shards, missing, tokenizer, layout, check):
                    entry = _write(partial_output, path, blocks, check)
                    kept[path] = place.keep(cache, keys[path], asdict(entry), targets[path])
        write_lists(filter(None, kept.values()))
        whole = [token_shards.ShardEntry(**known.record) for known in kept.values() if known]
        token_shards.write_manifest(
            partial_output, tokenizer.encoding_sha256, tokenizer.vocab_size, layout.model_dump(), whole
        )
    return whole


def _checked(shard: ShardFile, file: dict[str, Any]) -> str:
    """The SHA-256 of a corpus file, which must be as in the manifest; a stored one's bytes are checked when read."""
    got = shard.sha256()
    if got != file["sha256"]:
        raise checksums.altered(shard.path, file["sha256"], got, corpus.MADE_BY)
    return got


def _targets(output: Path, path: str) -> dict[str, Path]:
    """The files of the token shard that the corpus file `path` becomes."""
    ids, documents = token_shards.files_of(output, path.removesuffix(".parquet"))
    return {"ids": ids, "documents": documents}


@dataclass(frozen=True)
class DocumentBlock:
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
    key = action_key(
        "units", tokenizer.encoding_sha256, code_key((symbols, tokenizer_module, unit_table, units), LIBRARIES)
    )
    entry = cache.get(key)
    content = entry.read("table") if entry else None
    if content is not None:
        table.restore(content)
    before = len(table)
    yield
    if len(table) > before:
        cache.put(key, None, {"table": table.content()})


def _encoded(
    shards: Mapping[str, ShardFile], paths: Sequence[str], tokenizer: Tokenizer, layout: Encode, check: EncodingCheck
) -> Iterator[tuple[str, Iterable[DocumentBlock]]]:
    """Yield each corpus file with its encoded blocks, in order."""
    blocks = (
        block for path in console.track(paths, "encoding", total=len(paths)) for block in _read(shards[path], path)
    )
    with ThreadPoolExecutor(parallel.cores()) as pool:
        encode = partial(_encode_block, tokenizer=tokenizer, layout=layout, check=check)
        done = parallel.ordered_map(pool, encode, blocks)
        yield from groupby(done, key=lambda block: block.path)


def _read(shard: ShardFile, path: str) -> Iterator[DocumentBlock]:
    """The documents of a corpus file, in blocks of whole row groups; an empty file is one empty block."""
    waiting = [corpus.SCHEMA.empty_table()]
    with shard.opened() as opened:
        file = pq.ParquetFile(opened)
        for group in range(file.num_row_groups):
            waiting.append(file.read_row_group(group).cast(corpus.SCHEMA))
            if sum(table.nbytes for table in waiting) >= unit_table.BLOCK_CHARS[1]:
                yield DocumentBlock(path, pa.concat_tables(waiting).combine_chunks())
                waiting = []
    if waiting:
        yield DocumentBlock(path, pa.concat_tables(waiting).combine_chunks())


def _encode_block(block: DocumentBlock, tokenizer: Tokenizer, layout: Encode, check: EncodingCheck) -> DocumentBlock:
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
    check.block(block.path, block.documents, flat, counts)
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
    return DocumentBlock(
        block.path, pa.table(columns | {name: block.documents[name] for name in ("doc", "source", "affect")}), ids
    )


def _write(output: Path, path: str, blocks: Iterable[DocumentBlock], check: EncodingCheck) -> token_shards.ShardEntry:
    """Write the encoded blocks of one corpus file as one shard."""
    parts, tables = zip(*((block.ids, block.documents) for block in blocks), strict=True)
    documents = pa.concat_tables(tables)
    tokens = documents["tokens"].to_numpy()
    ids = np.concatenate(parts)
    check.shard(path, ids, tokens)
    documents = documents.add_column(0, "offset", pa.array(np.cumsum(tokens) - tokens))
    return token_shards.write_shard(output, path.removesuffix(".parquet"), ids, documents)


def read_corpus_manifest(folder: Path) -> dict[str, Any]:
    """The corpus's manifest, verified; the files it lists must be the files in the folder."""
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
    found = set(corpus_shards(folder))
    wrong = [f"{path} is missing" for path in sorted(listed - found)]
    wrong += [f"{path} is not listed" for path in sorted(found - listed)]
    if wrong:
        raise UserError(
            f"expected in {folder} exactly the files its manifest.json lists: {'; '.join(wrong[:5])}. "
            f"{checksums.remedy(corpus.MADE_BY)}"
        )
    return manifest


def corpus_shards(folder: Path) -> dict[str, ShardFile]:
    """The files of both splits, by their paths in the manifest."""
    found = [shard for split in SPLITS for shard in placement.shards(folder / split, corpus.MADE_BY)]
    return {shard.path.relative_to(folder).as_posix(): shard for shard in found if shard.path.suffix == ".parquet"}


def require_passed(passed: Path, tokenizer: str) -> None:
    """Refuse a tokenizer (by its SHA-256) that is not the one whose gates held."""
    got = files.read_object(passed, made_by="dvc repro validate", tokenizer=str)["tokenizer"]
    if got != tokenizer:
        raise UserError(
            f"{passed} is for the tokenizer {got[:16]}…, but the one at hand is {tokenizer[:16]}…. "
            "Run: dvc repro validate"
        )


def tokenizer_is_frozen(pipeline: Path) -> bool:
    """Return whether the user froze the tokenizer (`dvc freeze train_tokenizer`): it stays as the corpus changes."""
    if "frozen" not in files.read_text(pipeline):  # 30 ms less than to parse it
        return False
    shape = {"stages": {"train_tokenizer": dict}}
    return bool(files.read_pipeline(pipeline, **shape)["stages"]["train_tokenizer"].get("frozen", False))


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
