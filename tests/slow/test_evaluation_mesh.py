"""Scores on meshes of CPU devices are those of one, in a process of their own."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.quick_compilation import environment

pytestmark = pytest.mark.slow
# Prints for each mesh the scores of one prefix with each piece after it, and of longer sequences.
PROGRAM = """
import json
from functools import partial
import jax, numpy as np
from aura.evaluation.requests import Request
from aura.evaluation.scoring import Scorer
from aura.model.mesh import make_mesh
from aura.model.model import Compute, ModelConfig
from aura.pretrain.step.training import initial_state
from tests.mini_tokens import tiny

random = np.random.default_rng(0)
one = [Request(np.array([1, 2, 3, last], np.int32), 1) for last in range(40)]
others = [Request(random.integers(0, 40, length).astype(np.int32), length // 2) for length in range(2, 128, 9)]
said = {}
for name, devices, changes in (
    ("one device", 1, {}), ("data", 4, {}), ("fsdp", 4, {"fsdp": 4}), ("tensor", 2, {"tensor": 2}),
    ("all", 4, {"fsdp": 2, "tensor": 2}),
):
    options = tiny(seq_len=128, tied_embeddings=False, **changes)
    mesh = make_mesh(options.fsdp, options.tensor, jax.devices()[:devices])
    with jax.set_mesh(mesh):
        state = jax.jit(partial(initial_state, options, ModelConfig.of(options, 40), Compute()))()
        scores = Scorer(128, 4).scores(state["model"], one + others, greedy=True)
    said[name] = {"nats": scores.nats.tolist(), "likeliest": scores.likeliest.tolist()}
print(json.dumps(said))
"""


def test_a_mesh_gives_the_scores_of_one_device():
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment(devices=4), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    for scores in said.values():
        np.testing.assert_allclose(scores["nats"], said["one device"]["nats"], rtol=2e-5)
        assert scores["likeliest"] == said["one device"]["likeliest"]
        assert sum(scores["likeliest"][:40]) == 1
        assert np.argmin(scores["nats"][:40]) == scores["likeliest"].index(True)
