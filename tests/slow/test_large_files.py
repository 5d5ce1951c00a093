"""Files that do not fit into memory: extraction ends, in bounded memory, with everything accounted for."""

from pathlib import Path

import psutil
import pytest

from tests.extract.program import Program

pytestmark = pytest.mark.slow

MB = 1_000_000
LINE = b"a happy line of a very large file, which is long enough to be kept and of which there are many\n"


def peak_rss(program: Program) -> int:
    """Run the program, which must succeed; the most memory that its processes held together, in bytes."""
    peak = 0
    with program.start() as running:
        process = psutil.Process(running.pid)
        while running.poll() is None:
            held = 0
            for one in [process, *process.children(recursive=True)]:
                try:
                    held += one.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak = max(peak, held)
            psutil.wait_procs([process], timeout=0.05)
        assert running.returncode == 0, running.stderr.read()
    return peak


def write(path: Path, part: bytes, size: int, head: bytes = b"", tail: bytes = b"") -> int:
    """Write `part` over and over until there are `size` bytes; returns how often."""
    times = size // len(part)
    block = part * (8 * MB // len(part))
    with path.open("wb") as file:
        file.write(head)
        for _ in range(times // (8 * MB // len(part))):
            file.write(block)
        file.write(part * (times % (8 * MB // len(part))) + tail)
    return times


def test_one_enormous_text_file(tmp_path):
    program = Program(tmp_path, {"kind": "txt"})
    size = 400 * MB
    times = write(program.data / "large.txt", LINE, size)
    assert peak_rss(program) < 1500 * MB
    totals = program.manifest()["totals"]
    assert totals["bytes_decoded"] == totals["bytes_read"] == times * len(LINE)
    assert totals["documents"] == totals["cut"] + 1 == -(-times * len(LINE) // (16 * MB // len(LINE) * len(LINE)))


def test_a_single_array_a_single_line_and_a_deep_nest(tmp_path):
    program = Program(tmp_path, {"kind": "json"})
    record = b'{"text": "%s", "id": 1},' % LINE.strip()
    times = write(program.data / "array.json", record, 120 * MB, head=b"[", tail=record[:-1] + b"]")
    write(program.data / "line.jsonl", b"x" * 1000, 1000 * MB, head=b'{"text": "', tail=b'"}\n' + record[:-1])
    write(program.data / "deep.json", b"[" * 1000, 100 * MB)
    assert peak_rss(program) < 1500 * MB
    assert program.lost() == {
        "deep.json": {"JSON nested too deeply": 1},
        "line.jsonl": {"JSON record of more than 32,000,000 bytes": 1},
    }
    documents = {file["file"]: file["documents"] for file in program.manifest()["files"]}
    assert documents == {"array.json": times + 1, "deep.json": 0, "line.jsonl": 1}
