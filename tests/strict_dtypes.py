"""A fixture for the modules of tests that import it: JAX promotes no dtype silently.

It is not for tests that take an optimiser step: optax raises a float to the power of the step, an integer.
"""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True)
def strict_dtypes() -> Iterator[None]:
    """Any sum or product of two dtypes raises; a Python number takes the dtype of the other operand."""
    with jax.numpy_dtype_promotion("strict"):
        yield
