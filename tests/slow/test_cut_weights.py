"""Weights that are cut over a mesh of devices are saved, and sampled, as those of one device are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.hugging_face.llamas import write_llama

pytestmark = pytest.mark.slow

# Prints, for each mesh, whether the file is that of one device, the samples too, and the largest array that was whole.
PROGRAM = """
import json, sys
from pathlib import Path
import jax, numpy as np
jax.config.update("jax_disable_most_optimizations", True)
from contextlib import nullcontext
from safetensors.numpy import save as serialised
from aura.model import weights
from aura.model.mesh import make_mesh
from aura.model.model import Compute, LanguageModel, ModelConfig
from aura.training.optimizer import leaf_name
from aura.training.sampling import drawn

folder, said = Path(sys.argv[1]), {}
weights.PIECE = 3000
whole, gathered = [], weights.gathered_rows
weights.gathered_rows = lambda *given, **named: (whole.append(gathered(*given, **named)), whole[-1])[1]
prompts, key = np.arange(24, dtype=np.int32).reshape(4, 6), jax.random.key(3)
config, expected = ModelConfig(40, 3, 32, 4, 2, 64, False), None
for fsdp, tensor, devices in ((1, 1, 1), (2, 2, 8)):
    mesh = make_mesh(fsdp, tensor, jax.devices()[:devices])
    with jax.set_mesh(mesh):
        model = jax.jit(LanguageModel, static_argnums=(0, 1, 2))(config, 0, Compute())
    weights.save(folder / "cut", model, {})
    leaves = {leaf_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(model)}
    plain = weights.plain(config, model)
    with jax.set_mesh(mesh) if devices > 1 else nullcontext():
        made = drawn(plain, prompts, key, 0.8, tokens=8)
    expected = made if expected is None else expected
    said[f"{fsdp} {tensor} {devices}"] = {
        "same file": (folder / "cut/model.safetensors").read_bytes() == serialised(leaves),
        "same samples": bool((made == expected).all()),
        "largest": max((array.nbytes for array in whole), default=0),
    }
print(json.dumps(said))
"""


def test_a_model_that_is_cut_is_saved_and_sampled_as_a_whole_one_is_and_is_never_whole(tmp_path: Path):
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "8", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for mesh, of_mesh in json.loads(done.stdout.splitlines()[-1]).items():
        assert of_mesh["same file"], mesh
        assert of_mesh["same samples"], mesh
        assert of_mesh["largest"] <= 4 * 32 * 64, mesh  # one layer's largest matrix


# Prints, for each mesh, whether every weight of a base lies where the mesh wants it and has the numbers of one device.
OF_A_BASE = """
import json, sys
from functools import partial
from pathlib import Path
import jax, numpy as np
from aura.core import files
from aura.hugging_face import base
from aura.model.mesh import abstract, make_mesh
from aura.model.model import Compute, LanguageModel, leaf_name

folder, said = Path(sys.argv[1]), {}
class Tokenizer:
    vocab_size, encoding_sha256 = 48, "f" * 64
spelt = [[number, 3, number] for number in range(12)]
files.write_json(folder / "extended.json", {"format": 1, "base_vocab_size": 36, "spelt": spelt})
opened = base.open_base(str(folder), Tokenizer, folder, affect=True)
expected = None
for fsdp, tensor, devices in ((1, 1, 1), (2, 2, 8), (4, 2, 8)):
    mesh = make_mesh(fsdp, tensor, jax.devices()[:devices])
    shapes = abstract(partial(LanguageModel, opened.config, 0, Compute()), mesh)
    leaves = jax.tree_util.tree_leaves_with_path(opened.model(shapes))
    found = {leaf_name(path): np.asarray(leaf) for path, leaf in leaves}
    expected = expected or found
    places = [leaf.sharding == wanted.sharding for (_, leaf), wanted in zip(leaves, jax.tree.leaves(shapes))]
    said[f"{fsdp} {tensor}"] = all(places) and all((found[name] == expected[name]).all() for name in expected)
print(json.dumps(said))
"""


def test_each_device_reads_its_own_part_of_weights_to_begin_from(tmp_path: Path):
    write_llama(tmp_path, dtype="bfloat16", shards=3)
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "8", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", OF_A_BASE, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"1 1": True, "2 2": True, "4 2": True}
