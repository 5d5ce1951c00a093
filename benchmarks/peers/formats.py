"""datatrove beside benchmarks/formats.py: `formats.py KIND CORPUS OUTPUT WORKERS`, in the benchmarks' own environment.

It reads JSON lines or Parquet, drops documents under 20 characters and writes Parquet with zstd; no affect vectors.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import Any


def long_enough(data: Iterable[Any], *_: object) -> Iterator[Any]:
    """Drop short documents."""
    yield from (document for document in data if len(document.text) >= 20)


def main() -> None:
    """Run the pipeline."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader, ParquetReader
    from datatrove.pipeline.writers import ParquetWriter

    kind, corpus, output, workers = sys.argv[1:]
    reader = ParquetReader if kind == "parquet" else JsonlReader
    steps = [reader(corpus), long_enough, ParquetWriter(f"{output}/rows", compression="zstd")]
    LocalPipelineExecutor(steps, tasks=8, workers=int(workers), logging_dir=f"{output}/logs").run()


if __name__ == "__main__":
    main()
