"""The peers of benchmarks/extract.py, run in the benchmarks' own environment: `extract.py PEER CORPUS OUTPUT AFFECT`.

Each reads every .txt file below CORPUS as a document, drops those under 20 characters, computes the affect vector from
the same lexicon (AFFECT: yes or no) and, but for the plain loader, writes Parquet with zstd. PEER is one of
    plain      a Python loop that returns a list, as the guide's loader does; one process
    datasets   `datasets`: load_dataset("text") and map, with aura's own vectorised affect function, 2 processes
    datatrove  LocalPipelineExecutor with 2 workers; affect by a Python function, document by document
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
EMOTIONS = ("joy", "sadness", "anger", "fear", "disgust", "surprise", "trust", "anticipation")
LEXICON = {
    word: [emotions.split(",").count(emotion) for emotion in EMOTIONS]
    for word, _, emotions in (
        line.partition("\t")
        for line in (REPOSITORY / "aura/ingestion/lexicon.tsv").read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    )
}
LETTERS = re.compile(r"[^\W\d_]+")


def vector(text: str) -> list[float]:
    """A document's affect vector, in plain Python."""
    counts = [0] * len(EMOTIONS)
    for word in LETTERS.findall(text.lower()):
        if word in LEXICON:
            counts = [one + other for one, other in zip(counts, LEXICON[word], strict=True)]
    total = sum(counts)
    return [count / total for count in counts] if total else [0.0] * len(EMOTIONS)


def plain(corpus: str, _: str, *, affect: bool) -> int:
    """Read all into a list."""
    items = []
    for path in sorted(Path(corpus).rglob("*.txt")):
        text = path.read_text(encoding="utf-8").strip()
        if len(text) >= 20:
            items.append((text, vector(text) if affect else None))
    return len(items)


def with_datasets(corpus: str, output: str, *, affect: bool) -> int:
    """`datasets`, with the function that aura uses."""
    import datasets

    sys.path.insert(0, str(REPOSITORY))
    from aura.sources.documents.affect import affect_vectors, read_lexicon

    lexicon = read_lexicon(REPOSITORY / "aura/ingestion/lexicon.tsv")

    def add(batch: dict[str, list[str]]) -> dict[str, list[list[float]]]:
        return {"affect": affect_vectors([text.encode() for text in batch["text"]], lexicon).to_pylist()}

    files = sorted(str(path) for path in Path(corpus).rglob("*.txt"))
    rows = datasets.load_dataset(
        "text", data_files=files, sample_by="document", split="train", cache_dir=f"{output}/cache", num_proc=2
    )
    rows = rows.filter(lambda batch: [len(text) >= 20 for text in batch["text"]], batched=True, num_proc=2)
    if affect:
        rows = rows.map(add, batched=True, num_proc=2)
    rows.to_parquet(f"{output}/rows.parquet")
    return len(rows)


def with_datatrove(corpus: str, output: str, *, affect: bool) -> int:
    """datatrove, with a reader for files of plain text (it brings none)."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers.base import BaseDiskReader
    from datatrove.pipeline.writers import ParquetWriter

    class TextReader(BaseDiskReader):
        name = "text files"

        def read_file(self, filepath: str) -> Iterator[Any]:
            with self.data_folder.open(filepath, "r", encoding="utf-8") as file:
                yield self.get_document_from_dict({"text": file.read(), "id": filepath}, filepath, 0)

    def long_enough(data: Iterable[Any], *_: object) -> Iterator[Any]:
        yield from (document for document in data if len(document.text) >= 20)

    def add(data: Iterable[Any], *_: object) -> Iterator[Any]:
        for document in data:
            document.metadata["affect"] = vector(document.text)
            yield document

    steps = [
        TextReader(corpus, glob_pattern="**/*.txt"),
        long_enough,
        *([add] if affect else []),
        ParquetWriter(f"{output}/rows", compression="zstd"),
    ]
    executor = LocalPipelineExecutor(steps, tasks=2, workers=2, logging_dir=f"{output}/logs")
    executor.run()
    import pyarrow.parquet as pq

    return sum(pq.ParquetFile(path).metadata.num_rows for path in Path(output, "rows").glob("*.parquet"))


if __name__ == "__main__":
    peer, corpus, output, affect = sys.argv[1:]
    run = {"plain": plain, "datasets": with_datasets, "datatrove": with_datatrove}[peer]
    print("documents", run(corpus, output, affect=affect == "yes"))
