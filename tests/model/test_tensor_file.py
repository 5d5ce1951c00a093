"""Weights are written in pieces, in the bytes of the library that takes them whole."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from aura.model import tensor_file
from aura.model.tensor_file import Tensor

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


def test_a_file_that_the_library_wrote_can_be_loaded_by_it_again(tmp_path: Path):
    tensor_file.write(tmp_path / "file", {"x": Tensor((2, 2), lambda: iter([(2, np.ones(2)), (0, np.zeros(2))]))})
    np.testing.assert_array_equal(load_file(tmp_path / "file")["x"], [[0, 0], [1, 1]])
