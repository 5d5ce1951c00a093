"""Counting over the held-out documents: by source and script, on all cores or a cluster, with examples to look at.

A shard of the corpus is the unit of work. Counts add up in the order of shards, so that the result does not depend on
the number of cores. Of a held-out split above a limit, a sample is measured: the documents whose hash is smallest, so
that a corpus that grows keeps most of its sample. The size of the text is what the shards' columns say, without reading
it; and of a sample, only row groups that hold some of it are read.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from aura.core import console, parallel
from aura.core.errors import UserError
from aura.core.terms import EMOTIONS
from aura.corpus import corpus
from aura.storage.placement import ShardFile, at_once
from aura.tokenizer import opening
from aura.tokenizer.id_arrays import Ids
from aura.tokenizer.opening import AnyTokenizer
from aura.tokenizer.scripts import dominant_script
from aura.validate import measures
from aura.validate.measures import Measurable, Tally

Group = tuple[str, str]  # source, script

SMALL = 4_000_000  # bytes, below which starting processes costs more than it saves
BATCH = 256  # documents encoded at once
MAX_COMPARED = 32_000_000  # bytes of text that are encoded with an extended tokenizer and with its base
LENGTH_BYTES = 4  # that Parquet writes before each text
WORST = 8  # texts kept as examples of the worst compression
WORST_BYTES = 200  # a shorter text says little
EXCERPT = 320  # characters of an example


@dataclass(frozen=True, order=True)
class Passage:
    """A text to look at; they sort by compression, worst first."""

    bytes_per_token: float
    source: str
    script: str
    doc: str
    text: str


@dataclass
class Affect:
    """The affect vectors of documents, counted."""

    strongest: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(EMOTIONS) + 1, np.int64))
    weights: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(EMOTIONS)))

    def count(self, vectors: npt.NDArray[np.float32]) -> None:
        """Count vectors of shape (documents, 8); the last place of `strongest` is for those that are all zero."""
        strongest = np.where(vectors.any(axis=1), vectors.argmax(axis=1), len(EMOTIONS))
        self.strongest += np.bincount(strongest, minlength=len(self.strongest))
        self.weights += vectors.sum(axis=0, dtype=np.float64)

    def add(self, other: "Affect") -> None:
        """Take in what `other` counted."""
        self.strongest += other.strongest
        self.weights += other.weights


@dataclass
class Counted:
    """The counts over documents."""

    tallies: dict[Group, Tally] = field(default_factory=dict)
    affect: Affect = field(default_factory=Affect)
    worst: list[Passage] = field(default_factory=list)  # sorted
    samples: dict[Group, Passage] = field(default_factory=dict)  # the document with the least hash of each group
    sample_hashes: dict[Group, bytes] = field(default_factory=dict)
    failing: str | None = None  # the shortest document that does not decode to itself
    share: float = 1.0  # of the held-out documents, that were measured

    def add(self, other: "Counted") -> None:
        """Take in what `other` counted."""
        for group, tally in other.tallies.items():
            if group in self.tallies:
                self.tallies[group].add(tally)
            else:
                self.tallies[group] = tally
            self._keep_sample(group, other.sample_hashes[group], other.samples[group])
        self.affect.add(other.affect)
        self.worst = heapq.nsmallest(WORST, [*self.worst, *other.worst])
        self._keep_failing(other.failing)

    def count(
        self,
        tokenizer: Measurable,
        texts: Sequence[str],
        sources: Sequence[str],
        docs: Sequence[str],
        hashes: Sequence[bytes],
    ) -> None:
        """Encode documents and count them."""
        encoded = tokenizer.encode_batch(texts)
        failed = measures.round_trip_failures(tokenizer, texts, encoded)
        groups = [(source, dominant_script(text)) for source, text in zip(sources, texts, strict=True)]
        for text, wrong in zip(texts, failed, strict=True):
            self._keep_failing(text if wrong else None)
        for group in sorted(set(groups)):
            places = [place for place, other in enumerate(groups) if other == group]
            tally = measures.count(
                tokenizer, [texts[p] for p in places], [encoded[p] for p in places], [failed[p] for p in places]
            )
            self.tallies.setdefault(group, Tally(np.zeros(tokenizer.vocab_size, np.int64))).add(tally)
            passages = [_passage(group, docs[place], texts[place], encoded[place]) for place in places]
            self.worst = heapq.nsmallest(WORST, [*self.worst, *filter(_is_telling, passages)])
            least = min(range(len(places)), key=lambda place: hashes[places[place]])
            self._keep_sample(group, hashes[places[least]], passages[least])

    def shorten(self, tokenizer: Measurable) -> None:
        """Cut the passages to what is shown of them, so that counts are small to send."""
        self.worst = [worst_passage(tokenizer, passage) for passage in self.worst]
        self.samples = {group: replace(passage, text=passage.text[:EXCERPT]) for group, passage in self.samples.items()}

    def _keep_sample(self, group: Group, text_hash: bytes, passage: Passage) -> None:
        if group not in self.samples or text_hash < self.sample_hashes[group]:
            self.samples[group], self.sample_hashes[group] = passage, text_hash

    def _keep_failing(self, text: str | None) -> None:
        if text is not None and (self.failing is None or (len(text), text) < (len(self.failing), self.failing)):
            self.failing = text


def count_held_out(
    model: Path, tokenizer: AnyTokenizer, folder: Path, max_bytes: float, cluster: str | None = None
) -> Counted:
    """Count over the documents of a corpus split, on this machine's cores or those of a cluster.

    `tokenizer` is the one in `model`, which other processes load.
    """
    shards = corpus.shards(folder)
    size = sum(at_once(_text_bytes, shards))
    share = 1.0 if size <= max_bytes else max_bytes / size
    counted = Counted(share=share)
    work = partial(count_shard, model, tokenizer.sha256, share)
    with parallel.executors(SMALL, cluster) as executor_for:
        done = parallel.ordered_map(executor_for(int(size * share)), work, shards)
        for part in console.track(done, "measuring", total=len(shards)):
            counted.add(part)
    if not counted.tallies:
        raise UserError(
            f"expected held-out documents to measure in {folder}, got none: it holds {console.size(size)} of text. "
            "Raise select.held_out in params.yaml, or add text."
        )
    return counted


def count_shard(model: Path, sha256: str, share: float, shard: ShardFile) -> Counted:
    """Count over that share of one Parquet file's documents whose hashes are smallest; may run in another process."""
    tokenizer, counted = loaded(model, sha256), Counted()
    columns = ["text", "source", "doc", "affect", "text_hash"]
    with shard.opened() if share == 1 else shard.skimmed() as opened:
        file = pq.ParquetFile(opened)
        groups = [group for group in range(file.num_row_groups) if share == 1 or _has_sampled(file, group, share)]
        for batch in corpus.batches(file, columns, BATCH, groups):
            chosen = batch if share == 1 else batch.filter(pa.array(_is_sampled(batch.column("text_hash"), share)))
            if not len(chosen):
                continue
            texts, sources, docs, hashes = (
                chosen.column(name).to_pylist() for name in ("text", "source", "doc", "text_hash")
            )
            counted.count(tokenizer, texts, sources, docs, hashes)
            vectors = chosen.column("affect").flatten().to_numpy(zero_copy_only=False)
            counted.affect.count(vectors.reshape(-1, len(EMOTIONS)))
    counted.shorten(tokenizer)
    return counted


def documents(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield source, name and text of each document of a split, or of a sample of a large one, batch by batch.

    The sample is that of `count_held_out`: the documents with the smallest hashes, of every source.
    """
    shards = corpus.shards(folder)
    share = min(1.0, MAX_COMPARED / max(1, sum(at_once(_text_bytes, shards))))
    for shard in shards:
        with shard.opened() as opened:
            for batch in corpus.batches(pq.ParquetFile(opened), ["source", "doc", "text", "text_hash"], BATCH):
                chosen = batch if share == 1 else batch.filter(pa.array(_is_sampled(batch.column("text_hash"), share)))
                for row in chosen.to_pylist():
                    yield row["source"], row["doc"], row["text"]


def worst_passage(tokenizer: Measurable, passage: Passage) -> Passage:
    """The part of a passage's document, of EXCERPT characters, with the fewest bytes per token."""
    parts = [passage.text[start : start + EXCERPT] for start in range(0, len(passage.text), EXCERPT)]
    parts = [part for part in parts if len(part) >= min(EXCERPT // 2, len(passage.text))]
    encoded = tokenizer.encode_batch(parts)
    worst = min(zip(parts, encoded, strict=True), key=lambda pair: len(pair[0].encode()) / max(len(pair[1]), 1))
    return replace(passage, text=worst[0])


def _passage(group: Group, doc: str, text: str, ids: Ids) -> Passage:
    return Passage(len(text.encode()) / max(len(ids), 1), *group, doc, text[: 64 * EXCERPT])


def _is_telling(passage: Passage) -> bool:
    return len(passage.text.encode()) >= WORST_BYTES


def _is_sampled(hashes: pa.Array, share: float) -> npt.NDArray[np.bool_]:
    """By the half of the hash that does not decide the split, which would be uneven here."""
    return corpus.hash_halves(hashes)[1] < np.uint64(share * 2.0**64)


def _has_sampled(file: pq.ParquetFile, group: int, share: float) -> bool:
    hashes = file.read_row_group(group, columns=["text_hash"]).column("text_hash").combine_chunks()
    return bool(_is_sampled(hashes, share).any())


def _text_bytes(shard: ShardFile) -> int:
    """The size of a shard's text as its columns tell it: to within a hundredth, because pages have headers.

    The shard is not compared here: the task that counts over it does that, whatever this size is.
    """
    try:
        with shard.skimmed(compared=False) as file:
            metadata = pq.read_metadata(file)
        place = metadata.schema.names.index("text")
        columns = [metadata.row_group(group).column(place) for group in range(metadata.num_row_groups)]
        return sum(column.total_uncompressed_size - LENGTH_BYTES * column.num_values for column in columns)
    except (pa.ArrowException, OSError, ValueError, MemoryError):
        shard.verify()  # it says that the file was altered, if it was
        raise


@lru_cache(maxsize=1)
def loaded(model: Path, sha256: str) -> AnyTokenizer:
    """Loaded once per process; another content under the same path is another key."""
    tokenizer = opening.load(model)
    if tokenizer.sha256 != sha256:
        raise ValueError(f"{model} changed while it was measured")
    return tokenizer
