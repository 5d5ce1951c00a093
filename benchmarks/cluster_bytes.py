"""Bytes between a stage and Dask's scheduler, for each stage that a cluster runs: a task must be small to send.

    python benchmarks/cluster_bytes.py TEXTS [--last STAGE]

TEXTS is a folder of .txt files. The program starts a scheduler and two workers on the loopback, and a proxy that
counts what passes. The share is that of the text; aura wants less than 2 % of it, and 10 kB a task.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aura.core import dask_cluster
from aura.encode import encoding
from aura.encode.options import Encode
from aura.extract import extract
from aura.project import whole_params
from aura.select import select
from aura.sources.options import TxtSource
from aura.storage.cache import Cache
from aura.train_tokenizer import artifact, corpus_counts

HOST = "127.0.0.1"
STAGES = ("extract", "select", "counts", "encode")


class Counting:
    """A proxy of a TCP port, in a thread of its own."""

    def __init__(self, port: int) -> None:
        self.bytes, self._target = 0, port
        self._ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()
        self._ready.wait()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, self._target)
        await asyncio.gather(self._passed(reader, far_writer), self._passed(far_reader, writer))

    async def _passed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while block := await reader.read(1 << 16):
                self.bytes += len(block)
                writer.write(block)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@contextmanager
def cluster(folder: Path) -> Iterator[int]:
    """Run a scheduler and two workers; yields the scheduler's port."""
    file, processes = folder / "scheduler.json", []

    def start(*arguments: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.dask_{arguments[0]}", *arguments[1:], "--no-dashboard"]
        log = (folder / "cluster.log").open("ab")
        processes.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))

    try:
        start("scheduler", "--host", HOST, "--port", "0", "--scheduler-file", str(file))
        address = ""
        while not address:  # the file may be there before its content
            time.sleep(0.1)
            address = file.read_text().partition('"address": "')[2].partition('"')[0] if file.exists() else ""
        for _ in range(2):
            start("worker", address, "--nthreads", "1", "--no-nanny", "--host", HOST)
        yield int(address.rpartition(":")[2])
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measured(stage: str, text: int, proxy: Counting, work: Callable[[], object]) -> None:
    """Run a stage and print its row."""
    tasks, before, submit = 0, proxy.bytes, dask_cluster.ClusterExecutor.submit

    def counted(*arguments: object, **named: object) -> object:
        nonlocal tasks
        tasks += 1
        return submit(*arguments, **named)

    dask_cluster.ClusterExecutor.submit = counted
    work()
    dask_cluster.ClusterExecutor.submit = submit
    passed = proxy.bytes - before
    print(f"| {stage} | {tasks} | {passed / 1e3:.0f} | {passed / 1e3 / tasks:.1f} | {passed / text:.2%} |", flush=True)


def main() -> None:
    """Run the stages one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, help="a folder of .txt files")
    parser.add_argument("--last", choices=STAGES, default=STAGES[-1], help="the last stage to run; all of them")
    asked = parser.parse_args()
    texts = asked.texts.resolve()
    params, text = whole_params.load(), sum(file.stat().st_size for file in texts.rglob("*.txt"))
    lexicon = Path(params.extract.lexicon).resolve()
    for module in (extract, select, corpus_counts, encoding):
        module.SMALL = 0
    source, layout = TxtSource(kind="txt", path=str(texts)), Encode(add_bos=True, add_eos=True)
    settings = params.extract.model_copy(update={"lexicon": str(lexicon)})
    chosen = params.select.model_copy(update={"near_duplicates": 0.8})
    options = artifact.with_changes(params.train_tokenizer, vocab_size=4000)
    extracted, corpus, spm, tokens = (Path(folder) for folder in ("extracted", "corpus", "spm", "tokens"))
    with tempfile.TemporaryDirectory() as name, cluster(Path(name)) as port:
        os.chdir(name)
        proxy, cache = Counting(port), Cache(Path("cache"))
        address = f"tcp://{HOST}:{proxy.port}"
        stages: dict[str, Callable[[], object]] = {
            "extract": lambda: extract.extract("mine", source, settings, extracted / "mine", cache, address),
            "select": lambda: select.select(["mine"], chosen, extracted, corpus, cache, cluster=address),
            "counts": lambda: artifact.build_from_corpus(corpus / "train", spm, options, cache, address),
            "encode": lambda: encoding.encode_with(
                encoding.Tokenizer.load(spm / "spiece.model"), corpus, tokens, layout, cache, cluster=address
            ),
        }
        print(f"{text / 1e6:.0f} MB of text\n\n| stage | tasks | kB | kB a task | of the text |\n|---|---|---|---|---|")
        for stage in STAGES[: STAGES.index(asked.last) + 1]:
            measured(stage, text, proxy, stages[stage])


if __name__ == "__main__":
    main()
