import jax
import numpy as np
import pytest

from aura.self_teaching_llm.attention import _splash_kernel, causal_attention, implementation_for


@pytest.mark.parametrize(
    ("platform", "seq_len", "dtype", "expected"),
    [
        ("cpu", 1024, "bfloat16", "xla"),
        ("tpu", 1024, "bfloat16", "splash"),
        ("tpu", 1000, "bfloat16", "xla"),
        ("gpu", 1024, "bfloat16", "cudnn"),
        ("gpu", 1024, "float32", "xla"),
    ],
)
def test_each_platform_gets_a_kernel_that_works_there(platform: str, seq_len: int, dtype: str, expected: str):
    assert implementation_for(platform, seq_len=seq_len, dtype=dtype) == expected


def test_the_tpu_kernel_gives_the_numbers_of_the_plain_one():
    """The kernel itself, interpreted; grouped heads included."""
    keys = jax.random.split(jax.random.key(0), 3)
    query = jax.random.normal(keys[0], (1, 128, 4, 128))
    key, value = (jax.random.normal(one, (1, 128, 2, 128)) for one in keys[1:])
    expected = causal_attention(query, key, value, "xla")[0]
    kernel = _splash_kernel(128, 4, interpret=True)
    came = kernel(query[0].swapaxes(0, 1) * 128**-0.5, key[0].swapaxes(0, 1), value[0].swapaxes(0, 1)).swapaxes(0, 1)
    np.testing.assert_allclose(came, expected, atol=2e-5)
