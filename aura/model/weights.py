"""Trained weights on disk: safetensors beside the config that explains them.

The same weights give the same bytes, so a folder's hash is the model's identity: tensors are named by their
place in the model, and nothing records a time, a path or a host.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.model import tensor_file
from aura.model.mesh import abstract, axes_of, moved, placed
from aura.model.model import Compute, LanguageModel, ModelConfig, leaf_name
from aura.model.tensor_file import PIECE, Piece, Tensor

FORMAT = 2
MADE_BY = "dvc repro pretrain"
LARGEST = 2**31 - 1  # size that a file may state: indices on devices have 32 bits
REALS = ("epsilon", "rope_base", "rope_factor", "rope_low", "rope_high")  # of ModelConfig; JSON may have integers
HIGHEST = 1e15  # base or factor of rotary positions that a file may state


def save(folder: Path, model: LanguageModel, origin: dict[str, Any], *, writes: bool = True) -> None:
    """Put model.safetensors and config.json into `folder`, all or none; `origin` says what the model was made from.

    Of a model that is cut over devices, a piece at a time is gathered, of tensor_file.PIECE bytes or of one matrix.
    With several processes each must call this, and only the one that `writes` writes.
    """
    tensors = {leaf_name(path): tensor_of(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(model)}
    if not writes:
        for name in sorted(tensors):  # in the writer's order: they gather together
            for _ in tensors[name].pieces():
                pass
        return
    parameters = sum(tensor.size for tensor in tensors.values())
    record = {"format": FORMAT, "model": model.config.record(), "parameters": parameters, **origin}
    with files.replaced_folder(folder) as unfinished:
        tensor_file.write(unfinished / "model.safetensors", tensors)
        files.write_json(unfinished / "config.json", record)
        checksums.write(unfinished)


def config(folder: Path, **origin: Any) -> dict[str, Any]:  # noqa: ANN401 - shapes, as `bounded.mismatch` has them
    """Read config.json in `folder`: the model and its origin; an absent, altered or foreign one is an error.

    `origin` has the shape of each key that the caller needs beside the model.
    """
    checksums.verify(folder, MADE_BY, "config.json")
    read = files.read_format(folder / "config.json", MADE_BY, FORMAT, model=ModelConfig, **origin)
    shape_of(read["model"], folder / "config.json", MADE_BY)
    return read


def context_of(record: dict[str, Any]) -> int:
    """Tokens that a trained model reads at once, by its record: of a sequence, or what its base was trained to read."""
    base = record.get("base")
    context = base.get("context") if isinstance(base, dict) else None
    return max(int(record["seq_len"]), context) if isinstance(context, int) else int(record["seq_len"])


def shape_of(values: dict[str, Any], path: Path, made_by: str) -> ModelConfig:
    """The model's shape out of a file's `values`, which have the types of `ModelConfig`; an impossible one is an error.

    Arguments:
        values: by attribute.
        path: the file, for the message.
        made_by: the command that makes such a file.
    """
    values = values | {name: float(values[name]) for name in REALS if name in values}
    sizes = [value for value in values.values() if type(value) is int]
    possible = min(sizes) >= 1 and max(sizes) <= LARGEST
    if not possible or not _fit(values):
        raise UserError(
            f"{path}: expected sizes of 1 to {LARGEST:,}, heads that divide width and kv_heads that divide heads, "
            f"got {values!s:.300}. Run: {made_by}"
        )
    config = ModelConfig(**values)
    if not (0 < config.epsilon < 1 and 1 < config.rope_base < HIGHEST and 1 <= config.rope_factor < HIGHEST):
        raise UserError(
            f"{path}: expected an epsilon between 0 and 1, and a base and a factor of rotary positions above 1, "
            f"got {config.epsilon}, {config.rope_base} and {config.rope_factor}. Run: {made_by}"
        )
    if not 0 < config.rope_low < config.rope_high < HIGHEST:
        raise UserError(
            f"{path}: expected a low factor of rotary positions above 0 and below the high one, got {config.rope_low} "
            f"and {config.rope_high}. Run: {made_by}"
        )
    return config


def _fit(values: dict[str, Any]) -> bool:
    """Return whether heads can share the width, or have an even one of their own: rotary positions turn pairs."""
    own = values.get("own_head_width")
    shared = own % 2 == 0 if own else values["width"] % values["heads"] == 0
    return bool(shared and values["heads"] % values["kv_heads"] == 0)


def load(folder: Path) -> LanguageModel:
    """The model in `folder`; an absent, foreign or misfitting one is a `UserError`."""
    file = checked(folder)
    shapes = _shapes(ModelConfig(**config(folder)["model"]))
    model: LanguageModel = jax.tree_util.tree_map_with_path(
        lambda path, _: jax.numpy.asarray(tensor_file.stored(file, leaf_name(path)).read()), shapes
    )
    return model


def load_on(folder: Path, mesh: Mesh, compute: Compute) -> LanguageModel:
    """The model in `folder` on the devices of a mesh; each reads only its own part. Errors are those of `load`."""
    file = checked(folder)
    shapes = abstract(partial(LanguageModel, ModelConfig(**config(folder)["model"]), 0, compute), mesh)

    def placed_leaf(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:  # noqa: ANN401 - a key path of JAX
        tensor = partial(tensor_file.part, file, leaf_name(path))
        return jax.make_array_from_callback(leaf.shape, leaf.sharding, tensor)

    model: LanguageModel = jax.tree_util.tree_map_with_path(placed_leaf, shapes)
    return model


def checked(folder: Path) -> Path:
    """The file of weights in `folder`, compared with its SHA-256; an altered, foreign or misfitting one is an error.

    Raises:
        UserError: a file is absent or altered, or the weights do not fit their configuration.
    """
    file, shapes = folder / "model.safetensors", _shapes(ModelConfig(**config(folder)["model"]))
    checksums.verify(folder, MADE_BY, file.name)
    expected = {leaf_name(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)}
    got = tensor_file.shapes(file)
    if got != expected:
        wrong = sorted(name for name in got.keys() | expected.keys() if got.get(name) != expected.get(name))
        told = "; ".join(f"{name}: expected {expected.get(name)}, got {got.get(name)}" for name in wrong[:5])
        raise UserError(f"{file} does not fit its config.json: {told}. {checksums.remedy(MADE_BY)}")
    return file


def plain(shape: ModelConfig, model: LanguageModel) -> LanguageModel:
    """A model, however it was trained, as one that computes in float32; its weights stay where they lie.

    On a mesh of one device they become arrays of that device, which need no mesh.
    """
    leaves = [
        leaf.addressable_data(0) if isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) == 1 else leaf
        for leaf in jax.tree.leaves(model)
    ]
    made: LanguageModel = jax.tree.unflatten(jax.tree.structure(_shapes(shape)), leaves)
    return made


def tensor_of(leaf: jax.Array) -> Tensor:
    """A weight as a tensor to be written; if it is cut over devices, all processes must ask for its pieces."""
    shape = tuple(leaf.shape)
    if len(leaf.sharding.device_set) > 1:
        return Tensor(shape, partial(_gathered_pieces, leaf))
    own = leaf.addressable_data(0)
    ranges = partial(tensor_file.row_ranges, shape)
    return Tensor(shape, lambda: ((a * tensor_file.row_size(shape), np.asarray(own[a:b])) for a, b in ranges()))


def _gathered_pieces(leaf: jax.Array) -> Iterator[Piece]:
    """A weight that is cut over a mesh, in pieces of whole rows; every process must ask for all of them."""
    sharding: Any = leaf.sharding  # a NamedSharding, which its type does not say
    mesh, parts = sharding.mesh, parts_of(leaf)
    rows, row = leaf.shape[0] // parts, tensor_file.row_size(leaf.shape)
    count = rows_at_once(leaf)
    for start in range(0, rows, count):
        begin = min(start, rows - count)  # the last one overlaps, so that one shape is compiled
        with jax.set_mesh(mesh):
            piece = gathered_rows(leaf, begin, count=count, parts=parts).block_until_ready()
        for part, of_part in enumerate(np.asarray(piece.addressable_data(0))):
            yield (part * rows + begin) * row, of_part


def rows_at_once(leaf: Any) -> int:  # noqa: ANN401 - a jax.Array or a jax.ShapeDtypeStruct
    """Return the number of rows of each part of a weight that are gathered at once."""
    parts = parts_of(leaf)
    return int(min(leaf.shape[0] // parts, max(1, PIECE // (4 * tensor_file.row_size(leaf.shape) * parts))))


def parts_of(leaf: Any) -> int:  # noqa: ANN401 - a jax.Array or a jax.ShapeDtypeStruct
    """Into how many parts a mesh cuts a weight along its first axis."""
    return int(leaf.shape[0] // leaf.sharding.shard_shape(leaf.shape)[0])


@partial(jax.jit, static_argnames=("count", "parts"))
def gathered_rows(leaf: jax.Array, begin: jax.Array, *, count: int, parts: int) -> jax.Array:
    """Rows `begin` to `begin + count` of each part of a weight along its first axis, whole on every device."""
    first, *others = axes_of(leaf)
    shape = (parts, leaf.shape[0] // parts, *leaf.shape[1:])
    cut = jax.lax.reshape(leaf, shape, out_sharding=placed(first, None, *others))
    return moved(jax.lax.dynamic_slice_in_dim(cut, begin, count, axis=1))


def _shapes(shape: ModelConfig) -> LanguageModel:
    shapes: LanguageModel = jax.eval_shape(lambda: LanguageModel(shape, seed=0))
    return shapes
