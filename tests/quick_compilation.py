"""Quick compilation, for the tests of a folder whose conftest.py imports this.

XLA's optimiser takes most of these tests' time (93 s of CPU with it, 38 s without, for two of the files) and
decides no property they are about.
"""

import jax

from tests.conftest import COMPILED

jax.config.update("jax_disable_most_optimizations", True)

# A model is compiled anew for each run of a test, and nearly always to the same program.
jax.config.update("jax_compilation_cache_dir", f"{COMPILED}-unoptimised")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
