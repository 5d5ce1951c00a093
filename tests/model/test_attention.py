import jax
import numpy as np
import pytest

from aura.model.attention import _splash_kernel, causal_attention, implementation_for
from tests.strict_dtypes import strict_dtypes  # noqa: F401 - for every test of this module


@pytest.mark.parametrize(
    ("platform", "seq_len", "dtype", "expected"),
    [
        ("cpu", 1024, "bfloat16", "plain"),
        ("tpu", 1024, "bfloat16", "splash"),
        ("tpu", 1000, "bfloat16", "plain"),
        ("gpu", 1024, "bfloat16", "cudnn"),
        ("gpu", 1024, "float32", "plain"),
    ],
)
def test_each_platform_gets_a_kernel_that_works_there(platform: str, seq_len: int, dtype: str, expected: str):
    assert implementation_for(platform, seq_len=seq_len, dtype=dtype) == expected


def test_the_tpu_kernel_gives_the_numbers_of_the_plain_one():
    """The kernel itself, interpreted; grouped heads included."""
    keys = jax.random.split(jax.random.key(0), 3)
    query = jax.random.normal(keys[0], (1, 128, 4, 128))
    key, value = (jax.random.normal(one, (1, 128, 2, 128)) for one in keys[1:])
    expected = causal_attention(query, key, value, "plain")[0]
    kernel = _splash_kernel(128, 4, interpret=True)
    came = kernel(query[0].swapaxes(0, 1) * 128**-0.5, key[0].swapaxes(0, 1), value[0].swapaxes(0, 1)).swapaxes(0, 1)
    np.testing.assert_allclose(came, expected, atol=2e-5)


@pytest.mark.parametrize("seq_len", [5, 64, 100, 300])
def test_the_plain_kernel_gives_the_numbers_of_jax_in_any_number_of_blocks(seq_len: int):
    keys = jax.random.split(jax.random.key(1), 3)
    shapes = ((2, seq_len, 4, 8), (2, seq_len, 2, 8), (2, seq_len, 2, 8))
    inputs = [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]
    expected = jax.nn.dot_product_attention(*inputs, is_causal=True)
    np.testing.assert_allclose(causal_attention(*inputs, "plain"), expected, atol=2e-6)
