"""Quick compilation, for the tests of a folder whose conftest.py imports this.

XLA's optimiser takes most of these tests' time (93 s of CPU with it, 38 s without, for two of the files) and
decides no property they are about.
"""

import jax

from tests.conftest import COMPILED

jax.config.update("jax_disable_most_optimizations", True)

# Tripwires: two devices, so that every run cuts its batch, and no silent broadcast from one number of axes to another.
# tests/strict_dtypes.py has a third, which optax does not allow in all tests.
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")

# A model is compiled anew for each run of a test, and nearly always to the same program.
jax.config.update("jax_compilation_cache_dir", f"{COMPILED}-unoptimised")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
