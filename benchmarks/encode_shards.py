"""The stage `encode` alone, from nothing kept: seconds, processor seconds and memory, in whole shards.

    python benchmarks/encode_shards.py CORPUS MODEL [--runs 3]

CORPUS is a folder as `select` writes it (data/corpus), MODEL a spiece.model. Each run is a process of its own, as a
stage is. To compare two commits, run it in both by turns: a busy machine slows all alike.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace


def encode(corpus: Path, model: Path, folder: Path) -> None:
    """Encode once and print a row of the table."""
    from aura.encode.encoding import encode_with
    from aura.encode.options import Encode
    from aura.storage.cache import Cache
    from aura.tokenizer.tokenizer import Tokenizer

    main: ModuleType = sys.modules["__main__"]
    main.__spec__ = SimpleNamespace(name="aura.stages.encode")  # workers of a stage are forked
    tokenizer, began, before = Tokenizer(model), time.perf_counter(), os.times()
    encode_with(tokenizer, corpus, folder / "tokens", Encode(add_bos=True, add_eos=True), Cache(folder / "cache"))
    wall, after = time.perf_counter() - began, os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    peaks = [resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"| {wall:.2f} | {cpu:.2f} | {peaks[0]} | {peaks[1]} |", flush=True)


def main() -> None:
    """Run it several times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="folder with train, held_out and manifest.json")
    parser.add_argument("model", type=Path, help="the tokenizer's spiece.model")
    parser.add_argument("--runs", type=int, default=3, help="processes, one after the other")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of one run
    arguments = parser.parse_args()
    if arguments.folder:
        encode(arguments.corpus, arguments.model, arguments.folder)
        return
    print("| s | CPU s | peak MB of the stage | peak MB of its largest worker |\n|---|---|---|---|", flush=True)
    for _ in range(arguments.runs):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, str(arguments.corpus), str(arguments.model), "--folder", folder]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
