"""Encoding a corpus: aura's table of units beside SentencePiece's, Hugging Face's and tiktoken's batch encoders.

    python benchmarks/encode.py CORPUS [--runs 3] [--vocab-size 32000]

CORPUS is a folder of .txt documents, read before any clock starts. A unigram and a BPE tokenizer are trained on every
eighth document; each encoder then gets all documents, as a list of strings, on all cores this process may use.
Encoders take turns within a run, so that a busy machine slows all alike; medians count. Hugging Face's and tiktoken's,
which are slow, run once. "cold" begins without a table of units and includes making it, "warm" has seen the
corpus. tiktoken has no SentencePiece models: it runs
with its own vocabulary of 130,000 pieces, shown for scale. Hugging Face runs on aura's own export, whose ids
are compared, as all ids are. Writes benchmarks/results/encode.json and prints a Markdown table.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aura.project import whole_params
from aura.tokenizer.tokenizer import Tokenizer
from aura.train_tokenizer import artifact

ONCE = ("tokenizers", "tiktoken (other vocabulary)")
RESULT = Path(__file__).parent / "results/encode.json"
Encoder = Callable[[Sequence[str]], Sequence[Sequence[int]]]


def encoders(tokenizer: Tokenizer, folder: Path, cores: int) -> dict[str, Encoder]:
    """What is measured, by name; the first is the reference."""
    import tokenizers
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    hf = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    hf.encode_special_tokens = True
    data = Path(str(__import__("mistral_common").__file__)).parent / "data/tekken_240911.json"
    tiktoken = Tekkenizer.from_file(data)._model

    def cold(texts: Sequence[str]) -> Sequence[Any]:
        tokenizer.__dict__.pop("table", None)
        return tokenizer.encode_batch(texts, cores)

    return {
        "SentencePiece, lists": lambda texts: tokenizer.proc.Encode(texts, num_threads=cores),
        "SentencePiece, arrays": lambda texts: tokenizer.proc.Encode(texts, return_type="numpy", num_threads=cores),
        "aura, cold": cold,
        "aura, warm": lambda texts: tokenizer.encode_batch(texts, cores),
        "tokenizers": lambda texts: [found.ids for found in hf.encode_batch_fast(texts, add_special_tokens=False)],
        "tiktoken (other vocabulary)": lambda texts: tiktoken.encode_ordinary_batch(texts, num_threads=cores),
    }


def measured(encode: Encoder, texts: list[str]) -> tuple[Sequence[Any], float, float]:
    """The ids, and seconds of wall and of all processors."""
    wall, cpu = time.perf_counter(), time.process_time()
    ids = encode(texts)
    return ids, time.perf_counter() - wall, time.process_time() - cpu


def trained(texts: list[str], model_type: str, size: int, folder: Path) -> Tokenizer:
    """A tokenizer of the project's own options."""
    options = whole_params.load().train_tokenizer
    chosen = artifact.with_changes(options, model_type=model_type, vocab_size=size)
    for name, content in artifact.build_from_texts(texts, chosen).files().items():
        (folder / name).write_bytes(content)
    return Tokenizer(folder / "spiece.model")


def differing(found: Sequence[Any], expected: Sequence[Any]) -> int:
    """Documents whose ids differ."""
    return sum(not np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def compare(texts: list[str], model_type: str, size: int, runs: int, cores: int) -> dict[str, dict[str, Any]]:
    """Time every encoder `runs` times, in turns."""
    with tempfile.TemporaryDirectory() as temporary:
        tokenizer = trained(texts[::8], model_type, size, Path(temporary))
        measures: dict[str, dict[str, Any]] = {}
        found = encoders(tokenizer, Path(temporary), cores)
        reference: Sequence[Any] = ()
        for run in range(runs):
            for name, encode in found.items():
                if run and name in ONCE:
                    continue
                ids, wall, cpu = measured(encode, texts)
                if not run:
                    reference = reference or ids
                    same = None if "other" in name else differing(ids, reference)
                    measures[name] = {"wall": [], "cpu": [], "documents_differing": same}
                measures[name]["wall"].append(round(wall, 3))
                measures[name]["cpu"].append(round(cpu, 3))
                print(f"  {model_type} {name}: {wall:.2f} s, {cpu:.2f} s of CPU", flush=True)
                del ids
    return measures


def main() -> None:
    """Measure, write the result and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="folder of .txt documents")
    parser.add_argument("--runs", type=int, default=3, help="runs of each encoder; the median counts")
    parser.add_argument("--vocab-size", type=int, default=32_000, help="pieces of the tokenizers")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ["RAYON_NUM_THREADS"] = str(cores)
    texts = [path.read_text(encoding="utf-8") for path in sorted(arguments.corpus.rglob("*.txt"))]
    size = sum(len(text.encode()) for text in texts)
    result: dict[str, Any] = {
        "date": f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}",
        "machine": f"{platform.machine()}, {cores} cores, Python {platform.python_version()}",
        "corpus": {"folders": sorted({path.name for path in arguments.corpus.iterdir() if path.is_dir()})},
        "vocab_size": arguments.vocab_size,
    }
    result["corpus"] |= {"documents": len(texts), "bytes": size}
    for model_type in ("unigram", "bpe"):
        result[model_type] = compare(texts, model_type, arguments.vocab_size, arguments.runs, cores)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{result['date']}, {result['machine']}; {size / 1e6:.0f} MB; median of {arguments.runs} runs\n")
    print("| encoder | MB/s | MB per CPU second | documents that differ |\n|---|---|---|---|")
    for model_type in ("unigram", "bpe"):
        for name, values in result[model_type].items():
            wall, cpu = (size / 1e6 / statistics.median(values[kind]) for kind in ("wall", "cpu"))
            print(f"| {model_type}, {name} | {wall:.1f} | {cpu:.1f} | {values['documents_differing']} |")


if __name__ == "__main__":
    main()
