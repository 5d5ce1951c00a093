"""Sharding changes nothing but rounding: two CPU devices against one, in a process of their own."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.quick_compilation import environment

pytestmark = pytest.mark.slow

# Prints, for each mesh and way to train, the outcomes of steps and what is measured of the model after them.
PROGRAM = """
import json
import jax, numpy as np
from tests import quick_compilation
from functools import partial
from aura.adapt.evaluation import HeldOutAnswers, answered
from aura.adapt.exchanges import ExchangeBatches, Exchanges, Room
from aura.adapt.packing import PackedBatches, pack
from aura.adapt.step import Answers, assembled, initial_state, make_own_step, make_step
from aura.model.mesh import make_mesh
from aura.model.model import LanguageModel, ModelConfig
from aura.training.batch_layout import BatchLayout
from tests.adapt.test_own_answers import HINT, conversations
from tests.mini_tokens import PARAMS

config = ModelConfig(vocab_size=24, layers=1, width=8, heads=4, kv_heads=2, hidden=12, tied_embeddings=True)
given, windows = conversations(), pack(conversations(), 17, 0)
exchanges = Exchanges(given, windows, Room.half(17))
arrays = {
    "tokens": ((18,), np.int32), "segments": ((18,), np.int32), "learnt": ((18,), np.bool_),
    "prompts": ((exchanges.room.prompt,), np.int32), "prompt_lengths": ((), np.int32),
    "hinted": ((exchanges.hinted_tokens(HINT),), np.int32), "hinted_lengths": ((), np.int32),
}

class Both:
    def batch(self, step, rows=slice(None)):
        return PackedBatches(windows, 4, 0).batch(step, rows) | ExchangeBatches(exchanges, HINT, 4, 0).batch(step, rows)

said = {}
for name, devices, fsdp, tensor, parts in (
    ("one device", 1, 1, 1, 1), ("data", 2, 1, 1, 2), ("fsdp", 2, 2, 1, 1), ("tensor", 2, 1, 2, 1)
):
    mesh = make_mesh(fsdp, tensor, jax.devices()[:devices])
    layout = BatchLayout(mesh, 4, parts, arrays)
    said[name] = []
    for rank in (2, 0):
        changes = {"steps": 20, "learning_rate": 0.01, "rank": rank, "alpha": 4.0, "teacher_weight": 0.5}
        options = PARAMS.adapt.model_copy(update=changes)
        with jax.set_mesh(mesh):
            base = jax.jit(partial(LanguageModel, config, 0))()
            state = jax.jit(partial(initial_state, options, (1, 3)))(base)
            step, own = make_step(options), make_own_step(options, Answers(exchanges.room.answer, 2))
            numbers = []
            for number in range(3):
                state, outcome = step(state, layout.put(Both(), number), base)
                numbers += [float(value) for value in outcome.values()]
            if parts == 1 and rank:
                state, outcome = own(state, layout.put(Both(), 3), base)
                numbers += [float(value) for value in outcome.values()]
                model = jax.jit(assembled)(base, state["trained"])
                measured = HeldOutAnswers(windows, 17, 1000, 2).measure(model, base, lambda: False)
                numbers += [measured.loss, measured.divergence]
                numbers += np.concatenate(answered(model, exchanges, exchanges.spread(4), 2, 2)).tolist()
        said[name].append(numbers)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said() -> dict[str, list[list[float]]]:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment(devices=2), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("mesh", ["data", "fsdp", "tensor"])
def test_a_mesh_gives_the_numbers_of_one_device(said: dict[str, list[list[float]]], mesh: str):
    """Those of an adapter, and of all weights. Own answers of a batch in parts are others, so `data` has none."""
    for came, expected in zip(said[mesh], said["one device"], strict=True):
        np.testing.assert_allclose(came, expected[: len(came)], rtol=2e-5, atol=1e-6)
