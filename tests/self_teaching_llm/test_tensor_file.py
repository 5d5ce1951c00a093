"""Weights are written in pieces, in the bytes of the library that takes them whole, from whatever mesh."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from aura.self_teaching_llm import tensor_file
from aura.self_teaching_llm.tensor_file import Tensor
from tests.conftest import REPOSITORY

ARRAYS = {
    f"{name}.é": np.random.default_rng(number).normal(size=shape).astype(np.float32)
    for number, (name, shape) in enumerate({"b": (7, 3), "a": (5,), "long": (40, 2, 3), "one": (1, 1)}.items())
}


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_the_bytes_are_those_of_the_library(tmp_path: Path, metadata: dict[str, str] | None):
    tensor_file.write(tmp_path / "file", {name: Tensor.whole(array) for name, array in ARRAYS.items()}, metadata)
    assert (tmp_path / "file").read_bytes() == save(ARRAYS, metadata=metadata)
    assert tensor_file.shapes(tmp_path / "file") == {name: array.shape for name, array in ARRAYS.items()}


def test_what_is_read_in_pieces_is_written_in_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tensor_file.row_ranges, "__defaults__", (30,))
    (tmp_path / "file").write_bytes(save(ARRAYS))
    stored = {name: tensor_file.stored(tmp_path / "file", name) for name in ARRAYS}
    assert len(list(stored["long.é"].pieces())) == 40
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(stored[name].read(), array)
    tensor_file.write(tmp_path / "copy", stored)
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "file").read_bytes()


# Prints, for each mesh, whether the file is that of one device, the samples too, and the largest array that was whole.
PROGRAM = """
import json, sys
from pathlib import Path
import jax, numpy as np
jax.config.update("jax_disable_most_optimizations", True)
from contextlib import nullcontext
from safetensors.numpy import save as serialised
from aura.self_teaching_llm import weights
from aura.self_teaching_llm.mesh import make_mesh
from aura.self_teaching_llm.model import Compute, LanguageModel, ModelConfig
from aura.self_teaching_llm.optimizer import leaf_name
from aura.self_teaching_llm.sampling import drawn

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


def test_a_file_that_the_library_wrote_can_be_loaded_by_it_again(tmp_path: Path):
    tensor_file.write(tmp_path / "file", {"x": Tensor((2, 2), lambda: iter([(2, np.ones(2)), (0, np.zeros(2))]))})
    np.testing.assert_array_equal(load_file(tmp_path / "file")["x"], [[0, 0], [1, 1]])
