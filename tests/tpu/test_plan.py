"""What a plan refuses before it asks a compiler, and how it words what a compiler refuses."""

from pathlib import Path

import jax
import pytest
from jax._src import core

from aura.core.errors import UserError
from aura.tpu import plan
from aura.tpu.topology import accelerator
from aura.training.batch_layout import require_devices
from tests.hugging_face.llamas import LLAMA3, write_llama
from tests.mini_tokens import tiny

REFUSED = [
    ({"tensor": 2}, 50_257, r"pretrain\.tensor \(2\) to divide the vocabulary, got 50257"),
    ({"fsdp": 3}, 50_000, r"fsdp x pretrain\.tensor \(3 x 1\) to divide the number of devices, got 16"),
    ({"batch_size": 24}, 50_000, r"\(24 sequences\) to be divisible by the 16 devices"),
]


@pytest.mark.parametrize(("changes", "pieces", "told"), REFUSED)
def test_a_plan_makes_the_checks_of_a_run_and_needs_no_compiler_for_them(monkeypatch, changes, pieces, told):
    monkeypatch.setenv("TPU_LIBRARY_PATH", "nowhere")
    options = tiny(**({"batch_size": 64} | changes))
    with pytest.raises(UserError, match=told):
        plan.plan(options, pieces, accelerator("v5e-16"), fast=True)
    with pytest.raises(UserError, match=told):
        require_devices(options, options.batch_size, pieces, (16, 1))


@pytest.mark.parametrize("slices", [1, 2])
def test_batches_are_shared_by_the_devices_of_all_slices(slices: int):
    require_devices(tiny(), 16 * slices, 500, (16, slices))
    with pytest.raises(UserError, match=f"the {16 * slices} devices"):
        require_devices(tiny(), 8 * slices, 500, (16, slices))


ERRORS = [
    jax.errors.JaxRuntimeError("INTERNAL: Mosaic failed\nmore"),
    NotImplementedError("head_dim=48"),
    ValueError("not divisible"),
    TypeError("dot_general"),
    core.ShardingTypeError("sharding"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_the_compiler_refuses_is_one_worded_line(error: Exception):
    with (
        pytest.raises(UserError, match=r"cannot be compiled for v5e-16.*Change pretrain\.size") as told,
        plan._worded(tiny(), accelerator("v5e-16"), {}),
    ):
        raise error
    assert str(error).splitlines()[0] in str(told.value)
    assert "\n" not in str(told.value)
    assert not isinstance(told.value, plan.DoesNotFit)


def test_a_plan_of_a_run_that_begins_from_weights_has_their_shape(tmp_path: Path):
    """It reads config.json alone."""
    write_llama(tmp_path, rope_scaling=LLAMA3)
    (tmp_path / "model.safetensors").unlink()
    config = plan._config_of(tiny(**{"from": str(tmp_path)}), 50_000)
    assert (config.vocab_size, config.width, config.rope_factor, config.scaled_embeddings) == (50_000, 16, 8.0, False)
    options = tiny(batch_size=64, tensor=4, **{"from": str(tmp_path)})
    with pytest.raises(UserError, match=r"pretrain\.tensor \(4\) to divide the base's kv_heads \(2\)"):
        plan.plan(options, 50_000, accelerator("v5e-16"), fast=True)
