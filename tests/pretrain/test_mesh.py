"""Sharding changes nothing but rounding: four CPU devices against one, in a process of their own."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.quick_compilation import environment

# Prints, for each mesh and way to compute, the losses and gradient norms of four steps and the bits per byte after.
PROGRAM = """
import json
from dataclasses import replace
from functools import partial
import jax, numpy as np
from aura.pretrain.step.batches import Batches, Source
from aura.tokens.streams import TokenStream
from aura.training.evaluation import HeldOut
from aura.model.mesh import make_mesh
from aura.model.model import Compute, ModelConfig
from aura.pretrain.step.training import batch_layout, initial_state, make_step
from aura.training.steps import train
from aura.tpu.collectives import traffic
from tests.mini_tokens import tiny

stream = TokenStream([(np.arange(3000) ** 2 % 37).astype(np.uint16)])
said = {}
for name, devices, changes in (
    ("one device", 1, {}), ("data", 4, {}), ("fsdp", 4, {"fsdp": 4}), ("tensor", 2, {"tensor": 2}),
    ("all, in parts", 4, {"fsdp": 2, "tensor": 2, "accumulation": 2, "remat": True, "z_loss": 0.0}),
):
    size = {"layers": 3, "width": 32, "heads": 4, "kv_heads": 2, "hidden": 64}  # a turn of two layers, and a rest
    options = tiny(
        size=size, seq_len=16, steps=4, warmup_steps=1, learning_rate=0.01, tied_embeddings=False,
        qk_norm=True, document_masks=True, **changes
    )
    config, compute = ModelConfig.of(options, 40), replace(Compute.of(options, "cpu"), unroll=2)
    mesh = make_mesh(options.fsdp, options.tensor, jax.devices()[:devices])
    layout = batch_layout(options, mesh, affect=False)
    with jax.set_mesh(mesh):
        state = jax.jit(partial(initial_state, options, config, compute))()
        batches = Batches([Source("all", stream)], options.batch_size, 16, 0)
        step = make_step(options, 0).lower(state, layout.shapes()).compile()
        taken = list(train(state, step, batches, layout, 0, 4))
        held_out = HeldOut(stream.windows(np.arange(10), 16), ["a"] * 10, np.full(40, 3, np.int32), 8, 0)
        numbers = [value for outcome in taken for value in outcome.values()]
        cut = str(state["model"].blocks.query[...].sharding.spec)
        sent = {kind.kind: kind.bytes for kind in traffic(step.as_text())}
        said[name] = {"numbers": [*numbers, held_out.bits_per_byte(state["model"])[0]], "query": cut, "sent": sent}
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said() -> dict[str, dict]:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment(devices=4), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("mesh", ["data", "fsdp", "tensor", "all, in parts"])
def test_a_mesh_gives_the_numbers_of_one_device(said: dict[str, dict], mesh: str):
    np.testing.assert_allclose(said[mesh]["numbers"], said["one device"]["numbers"], rtol=2e-5)


def test_weights_are_really_cut(said: dict[str, dict]):
    assert "fsdp" in said["fsdp"]["query"]
    assert "tensor" in said["tensor"]["query"]


def test_gradients_of_cut_weights_are_summed_and_cut_at_once(said: dict[str, dict]):
    """What is left to all-reduce are norms' gradients and single numbers; without fsdp it is every gradient."""
    assert "reduce-scatter" not in said["data"]["sent"]
    for mesh in ("fsdp", "all, in parts"):
        assert said[mesh]["sent"]["reduce-scatter"] > 0
    assert said["fsdp"]["sent"]["all-reduce"] < said["data"]["sent"]["all-reduce"] / 10
