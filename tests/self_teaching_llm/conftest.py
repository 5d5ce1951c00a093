"""The mini corpus, tokenizer and token shards for the tests beside this file, and quick compilation.

XLA's optimiser takes most of these tests' time (93 s of CPU with it, 38 s without, for two of the files) and
decides no property they are about.
"""

import jax

from tests.mini_tokens import made, mini

__all__ = ["made", "mini"]

jax.config.update("jax_disable_most_optimizations", True)
