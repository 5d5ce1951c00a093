"""Objects read where they are: CPU, memory and requests, against an object store on this machine.

    python benchmarks/sources.py [--megabytes 100] [--objects 600]

Each line is of a process of its own. The network's latency is not in it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measure import machine
from tests.bucket import BUCKET, Bucket, client_environment
from tests.proxy import Proxy

URL = f"gs://{BUCKET}/team"
LARGE = """
with object_reader.stream(f"{url}/large/a.txt", found["a.txt"]) as stream:
    while data := stream.read(1 << 20):
        size += len(data)
"""
SMALL = """
files = [InputFile(name, f"{url}/small", name, state.size, 1, stored=state) for name, state in found.items()]
size = sum(len(file.read()) for file in fetched_ahead(files))
"""
PROGRAM = """
import sys, time
from pathlib import Path
from aura.sources import bucket, object_reader
from aura.sources.input_files import InputFile, fetched_ahead

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1000

url, kind, size = sys.argv[1], sys.argv[2], 0
found = bucket.look(f"{url}/{kind}", bool)
before, cpu, start = peak(), time.process_time(), time.perf_counter()
BODY
cpu = time.process_time() - cpu
print(
    f"{kind}: {len(found):,} objects, {size / 1e6:,.0f} MB: {cpu:.2f} CPU s, {time.perf_counter() - start:.2f} s, "
    f"{cpu / len(found) * 1000:.2f} CPU ms an object, {cpu / size * 1e9:.2f} CPU s a GB, "
    f"{peak() - before:.0f} MB of memory"
)
"""


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--objects", type=int, default=600)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        proxy = Proxy("")
        server = Bucket(Path(folder), proxy)
        try:
            server.overwrite("large/a.txt", (b"a text of sixteen" * 62_500)[:1_000_000] * options.megabytes)
            for number in range(options.objects):
                server.overwrite(f"small/{number:05d}.txt", b"text %d " % number * 500)
            variables = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
            for kind, body in (("large", LARGE), ("small", SMALL)):
                proxy.requests = 0
                command = [sys.executable, "-c", PROGRAM.replace("BODY", body), URL, kind]
                subprocess.run(command, env=variables | client_environment(server.address), check=True)
                print(f"{proxy.requests:,} requests, with the listing", flush=True)
        finally:
            server.stop()
            proxy.stop()


if __name__ == "__main__":
    main()
