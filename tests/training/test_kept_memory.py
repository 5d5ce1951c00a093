"""Memory that a step frees stays with the process: no thread of a stage that trains has a heap of its own."""

import os
import platform
import subprocess
import sys
from importlib.util import find_spec

import pytest

# Imports all that a stage imports, has some threads allocate, and lets glibc tell its heaps.
PROGRAM = """
import ctypes, runpy, sys, threading
stage, sys.argv[1:] = sys.argv[1], ["--help"]
try:
    runpy.run_module(f"aura.stages.{stage}", run_name="__main__", alter_sys=True)
except SystemExit:
    pass
library = ctypes.CDLL(None)
threads = [threading.Thread(target=lambda: bytearray(1_000_000)) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
library.malloc_stats()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these heaps")
@pytest.mark.skipif(any(map(find_spec, ("jax_plugins", "libtpu"))), reason="memory is kept where the CPU computes")
@pytest.mark.parametrize("stage", ["pretrain", "adapt"])
def test_a_stage_that_trains_has_one_heap(stage: str):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, stage], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stderr.count("Arena ") == 1, done.stderr
