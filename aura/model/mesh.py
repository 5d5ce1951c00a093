"""The devices as a mesh of three axes, and where arrays lie on it.

    data    every device along it holds all weights, and its own sequences
    fsdp    weights and optimiser are cut along it (ZeRO-3, arXiv:1910.02054); sequences too
    tensor  heads, SwiGLU features and vocabulary are cut along it (Megatron, arXiv:1909.08053)

Sharding is explicit: the type of an array says where it lies, so a line that would need an unstated
communication is an error when traced, not a surprise when run. Without a mesh the same model code runs on one
device, as sampling, export and most tests do: `placed` then gives None, which JAX takes for "nothing said".
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax.experimental.mesh_utils import create_device_mesh
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from aura.core.errors import UserError

AXES = ("data", "fsdp", "tensor")
BATCH = ("data", "fsdp")  # what sequences are cut along


def make_mesh(fsdp: int, tensor: int, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh over `devices` (all by default) of shape (rest, fsdp, tensor); `UserError` if they do not divide."""
    return Mesh(arranged(fsdp, tensor, devices), AXES, axis_types=(AxisType.Explicit,) * 3)


def arranged(fsdp: int, tensor: int, devices: Sequence[Any] | None = None) -> npt.NDArray[Any]:
    """The devices of `make_mesh`, each in its place on the mesh.

    Slices of TPUs, which a slower network joins, lie along `data` alone: it sends least. An axis of the mesh may take
    a part of a side of the torus: `jax.make_mesh` allows that on v5e alone, and most meshes of other pods need it.
    """
    devices = devices if devices is not None else jax.devices()
    slices = number_of_slices(devices)
    shape = mesh_shape(fsdp, tensor, len(devices) // slices, slices)
    by_slice = sorted(devices, key=_slice) if slices > 1 else list(devices)
    return np.concatenate([_in_slice(shape, of_slice.tolist()) for of_slice in np.split(np.array(by_slice), slices)])


def number_of_slices(devices: Sequence[Any]) -> int:
    """Slices of TPUs that the devices belong to; 1 for other devices."""
    return len({_slice(device) for device in devices})


def _slice(device: Any) -> int:  # noqa: ANN401 - a device of JAX
    return int(getattr(device, "slice_index", 0))


def _in_slice(shape: tuple[int, int, int], devices: Sequence[Any]) -> npt.NDArray[Any]:
    """One slice's devices in the order that JAX finds best; in one of our own where JAX finds none."""
    try:
        return np.asarray(create_device_mesh(shape, devices, allow_split_physical_axes=True))
    except (NotImplementedError, TypeError, ValueError):  # as JAX 0.10.2 does of 320 chips as 4 x 4 x 20
        return _by_factors(shape, devices)


def _by_factors(shape: tuple[int, int, int], devices: Sequence[Any]) -> npt.NDArray[Any]:
    """Devices of a torus on a mesh: `tensor` gets the nearest neighbours, then `fsdp`, then `data`.

    The sides of the torus and the axes of the mesh have the same prime factors, so each factor of an axis finds one.
    """
    origin = np.min([device.coords for device in devices], axis=0)
    sides = np.max([device.coords for device in devices], axis=0) - origin + 1
    torus = np.empty(sides, dtype=object)
    for device in devices:
        torus[tuple(device.coords - origin)] = device
    factors = [factor for side in sides.tolist() for factor in _primes(side)]
    left, taken = list(reversed(range(len(factors)))), list[int]()
    for size in reversed(shape):
        of_axis = list[int]()
        for factor in _primes(size):
            of_axis.append(next(place for place in left if factors[place] == factor))
            left.remove(of_axis[-1])
        taken = sorted(of_axis) + taken
    return torus.reshape(factors).transpose(taken).reshape(shape)


def _primes(number: int) -> Iterator[int]:
    """Prime factors, ascending."""
    factor = 2
    while number > 1:
        while number % factor == 0:
            yield factor
            number //= factor
        factor += 1


def mesh_shape(fsdp: int, tensor: int, per_slice: int, slices: int) -> tuple[int, int, int]:
    """Sizes of the axes in one slice of `per_slice` devices; `UserError` if fsdp x tensor does not divide them."""
    if per_slice % (fsdp * tensor):
        of = f" in each of {slices} slices" if slices > 1 else ""
        raise UserError(
            f"expected pretrain.fsdp x pretrain.tensor ({fsdp} x {tensor}) to divide the number of devices, "
            f"got {per_slice} devices{of}. Lower one of them."
        )
    return per_slice // (fsdp * tensor), fsdp, tensor


def has_mesh() -> bool:
    """Return whether the code runs, or is traced, under `jax.set_mesh`."""
    return not jax.sharding.get_abstract_mesh().empty


def placed(*axes: str | tuple[str, ...] | None) -> PartitionSpec | None:
    """Return the place of an array on the mesh, by axis of the array; None without a mesh."""
    return PartitionSpec(*axes) if has_mesh() else None


def moved(array: jax.Array, *axes: str | tuple[str, ...] | None) -> jax.Array:
    """The same array where `axes` says; whole on every device without any, and unchanged without a mesh."""
    if not has_mesh():
        return array
    elsewhere: jax.Array = jax.sharding.reshard(array, PartitionSpec(*axes))
    return elsewhere


def gathered(weight: jax.Array) -> jax.Array:
    """A weight as a layer needs it: whole along fsdp. One that is not cut along it is returned as it is.

    `reduced` says that its gradient is still to be summed over the devices that share a batch. Turned round, gathering
    is a reduce-scatter (each device gets the sum for its part alone), and what follows an all-reduce of that part.
    """
    axes = axes_of(weight)
    if "fsdp" not in axes:  # as all are without a mesh
        return weight
    cut = axes.index("fsdp")
    whole_axes = (*axes[:cut], None, *axes[cut + 1 :])
    whole: jax.Array
    if jax.sharding.get_abstract_mesh().shape["fsdp"] == 1:
        whole = jax.sharding.reshard(weight, PartitionSpec(*whole_axes))
        return whole

    def gather(part: jax.Array) -> jax.Array:
        part = jax.lax.pcast(part, "data", to="reduced")
        parts: jax.Array = jax.lax.all_gather(part, "fsdp", axis=cut, tiled=True, to="reduced")
        return parts

    whole_spec = PartitionSpec(*whole_axes, reduced=set(BATCH))
    whole = jax.shard_map(gather, in_specs=PartitionSpec(*axes), out_specs=whole_spec)(weight)
    return whole


def gathered_part(part: jax.Array, cut: int) -> jax.Array:
    """In `per_device`, where gradients are written by hand: what `gathered` gives, of an array cut along axis `cut`."""
    if not has_mesh() or jax.lax.axis_size("fsdp") == 1:
        return part
    whole: jax.Array = jax.lax.all_gather(part, "fsdp", axis=cut, tiled=True)
    return whole


def summed_part(slope: jax.Array, cut: int) -> jax.Array:
    """In `per_device`: the gradient for what `gathered_part` was given, from each device's own for the whole."""
    if not has_mesh():
        return slope
    if jax.lax.axis_size("fsdp") > 1:
        slope = jax.lax.psum_scatter(slope, "fsdp", scatter_dimension=cut, tiled=True)
    summed: jax.Array = jax.lax.psum(slope, "data")
    return summed


def axes_of(array: jax.Array) -> tuple[str | tuple[str, ...] | None, ...]:
    """Return the place of an array, as `placed` takes it; None for each of its axes without a mesh."""
    return jax.typeof(array).sharding.spec.partitions if has_mesh() else (None,) * array.ndim


def per_device(function: Callable[..., Any], in_specs: Any, out_specs: Any) -> Callable[..., Any]:  # noqa: ANN401
    """`function` on each device's own part of its arguments; the function itself without a mesh."""
    return jax.shard_map(function, in_specs=in_specs, out_specs=out_specs, check_vma=False) if has_mesh() else function


def abstract(function: Callable[..., Any], mesh: Mesh) -> Any:  # noqa: ANN401 - a pytree of jax.ShapeDtypeStruct
    """Return the shapes, types and places of `function()` on `mesh`, with nothing computed.

    This is the target of a restore, and the arguments of an ahead-of-time compilation.
    """
    with jax.set_mesh(mesh):
        shapes = jax.eval_shape(function)

    def on_mesh(leaf: Any) -> jax.ShapeDtypeStruct:  # noqa: ANN401 - jax.ShapeDtypeStruct
        spec = leaf.sharding.spec if leaf.sharding is not None else PartitionSpec()
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree.map(on_mesh, shapes)
