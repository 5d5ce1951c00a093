"""How steps are compiled."""

import jax
import jax.numpy as jnp

from aura.training.compiled_programs import compiled


def test_this_jax_takes_the_options_of_a_cpu_and_leaves_products_to_eigen():
    matrix = jax.ShapeDtypeStruct((256, 256), jnp.float32)
    lowered = jax.jit(jnp.matmul).lower(matrix, matrix)
    assert "ynn" not in compiled(lowered).as_text()
    assert "ynn" in lowered.compile().as_text()  # else CPU_OPTIONS changes nothing any more
