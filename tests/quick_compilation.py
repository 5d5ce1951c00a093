"""Quick compilation, for the tests of a folder whose conftest.py imports this, and for programs that tests start.

XLA's optimiser takes most of these tests' time (93 s of CPU with it, 38 s without, for two of the files) and
decides no property they are about. Programs that tests start on several devices leave out its emitters of fused loops,
too: they take more than half of the rest (a step of Muon with one loop for each matrix, on four devices: 7.6 s of CPU
with them, 3.1 s without).
"""

import os

import jax

from tests.conftest import COMPILED, REPOSITORY

jax.config.update("jax_disable_most_optimizations", True)

# Tripwires: two devices, so that every run cuts its batch, and no silent broadcast from one number of axes to another.
# tests/strict_dtypes.py has a third, which optax does not allow in all tests.
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")

# A model is compiled anew for each run of a test, and nearly always to the same program.
KEPT = f"{COMPILED}-quick"
jax.config.update("jax_compilation_cache_dir", KEPT)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def environment(devices: int) -> dict[str, str]:
    """Variables for a program that compiles as quickly, on so many CPU devices, from this repository's code."""
    return os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false".strip(),
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": KEPT,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PYTHONPATH": str(REPOSITORY),
    }
