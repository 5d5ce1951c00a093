"""Seconds to push and pull 200 objects of 20 kB through a local object server: `aura`, and plain `dvc` beside it.

    python benchmarks/sharing.py [--objects 200]

The claim is at most 15 s for each. Both sides are this machine, so it is the programs that are measured, not a network.
"""

import argparse
import datetime
import os
import platform
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.bucket import Bucket, clone, connect, small_project
from tests.conftest import REPOSITORY, Project


def seconds(project: Project, *command: str) -> tuple[float, float]:
    """Wall and CPU time of a command that must succeed."""
    before, began = os.times(), time.monotonic()
    project.run(*command)
    after = os.times()
    return time.monotonic() - began, sum(after[2:4]) - sum(before[2:4])


def prepared(folder: Path, objects: int, address: str) -> tuple[Project, Project]:
    """A project with that many tracked files, and a clone of it."""
    here = connect(small_project(folder / "here", files=objects), address)
    for number in range(objects):
        path = here.folder / "data" / f"{number:03d}"
        path.unlink()
        path.write_bytes(random.Random(number).randbytes(20_000))  # noqa: S311 - filler
    here.run("dvc", "add", "-q", "data")
    here.run("git", "commit", "-qam", "more")
    here.run("git", "push", "-q", "origin", "main")
    there = clone(here, folder / "there")
    for project in (here, there):
        project.environment["PYTHONPATH"] = str(REPOSITORY)
    return here, there


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=200, help="files to share")
    objects = parser.parse_args().objects
    rows = []
    for program in ("aura", "dvc"):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            bucket = Bucket(folder / "buckets")
            try:
                here, there = prepared(folder, objects, bucket.address)
                rows.append((f"{program} push", *seconds(here, program, "push")))
                rows.append((f"{program} push, nothing to do", *seconds(here, program, "push")))
                rows.append((f"{program} pull", *seconds(there, program, "pull")))
            finally:
                bucket.stop()
    today = datetime.datetime.now(tz=datetime.UTC).date()
    print(f"{today}, {platform.machine()}, {os.cpu_count()} cores; {objects} objects of 20 kB\n")
    print("| command | wall s | CPU s |\n|---|---|---|")
    for name, wall, cpu in rows:
        print(f"| {name} | {wall:.1f} | {cpu:.1f} |")


if __name__ == "__main__":
    main()
