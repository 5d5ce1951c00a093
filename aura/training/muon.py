"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): the momentum of a matrix, orthogonalised.

The update of a matrix is its momentum with all singular values brought near 1. All directions that the gradient knows
move alike, where a plain gradient moves mostly along a few. Polynomials of the matrix do that, by products alone:
five steps of Polar Express (Amsel et al. 2025, arXiv:2505.16932) bring singular values above 0.001 of the norm into
0.85 to 1.15, where Jordan's five leave 0.4 to 1.2.

Each layer of a stack is a matrix of its own. A layer must be whole where it is orthogonalised. On a mesh devices
exchange parts (all-to-all) until each has whole layers, a share of the stack; afterwards they exchange them back. So no
device holds or computes a whole stack, and one sends about twice the bytes of its own part of the weights.

`optax.contrib.muon` maps over the stack too, but has no word on where a stack lies: on a mesh every device would gather
and orthogonalise all of it.

Letters as in model.py; a matrix has I inputs and O outputs.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from aura.model.mesh import axes_of, has_mesh, per_device, placed
from aura.model.model import leaf_name

INPUTS = {"query": 1, "key": 1, "value": 1, "output": 2, "gate": 1, "up": 1, "down": 1}  # axes of inputs, by matrix
MOMENTUM = 0.95  # Jordan's, with Nesterov's look ahead
# Of each step, a, b and c of a s + b s³ + c s⁵ for a singular value s: table 1 of arXiv:2505.16932.
STEPS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845749747, 0.4188073119525673),
)
GRAM_FROM = 1.5  # with more outputs per input, `_by_gram` needs fewer operations: 14 + 4 r < 5 + 10 r
MARGIN = 1.01  # singular values begin below 1 by this, for rounding would throw one above it far away (section 4.4)


def is_matrix(path: tuple[Any, ...]) -> bool:
    """Return whether Muon is for a weight: a matrix of a layer. Tables of pieces and scales are for AdamW."""
    return leaf_name(path).rpartition(".")[2] in INPUTS


def scale_by_muon(dtype: str) -> optax.GradientTransformation:
    """Turn gradients of stacked matrices into orthogonal updates, to be multiplied by a learning rate.

    An update is multiplied by sqrt(max(1, O / I)), so that one rate suits all shapes and widths (Jordan's scale).

    Arguments:
        dtype: of the numbers that devices exchange and multiply: float32 or bfloat16.
    """

    def orthogonal(updates: Any, _: Any) -> Any:  # noqa: ANN401 - a pytree like the model
        def of_leaf(path: Any, leaf: jax.Array) -> jax.Array:  # noqa: ANN401 - a key path of JAX
            return orthogonal_stack(leaf, INPUTS[leaf_name(path).rpartition(".")[2]], dtype)

        return jax.tree_util.tree_map_with_path(of_leaf, updates)

    return optax.chain(optax.trace(MOMENTUM, nesterov=True), optax.stateless(orthogonal))


def orthogonal_stack(stack_Nx: jax.Array, inputs: int, dtype: str) -> jax.Array:
    """Orthogonalise each layer of a stack, which stays where it lies; and scale it by its shape.

    Arguments:
        stack_Nx: of N layers; behind that axis those of the inputs, then those of the outputs.
        inputs: axes of the inputs.
        dtype: of the arithmetic.
    """
    axes = axes_of(stack_Nx)  # of inputs and of outputs, a mesh cuts the first one alone
    I, O = (math.prod(part) for part in (stack_Nx.shape[1 : 1 + inputs], stack_Nx.shape[1 + inputs :]))  # noqa: E741

    def of_device(part_Nx: jax.Array) -> jax.Array:
        shape = part_Nx.shape
        part_NxIxO = part_Nx.reshape(shape[0], math.prod(shape[1 : 1 + inputs]), -1).astype(dtype)
        cuts = ((axes[1], 1), (axes[1 + inputs], 2))
        made_NxIxO = _shared_out(part_NxIxO, tuple(cut for cut in cuts if cut[0] is not None))
        return made_NxIxO.reshape(shape).astype(part_Nx.dtype)

    made_Nx: jax.Array = per_device(of_device, placed(*axes), placed(*axes))(stack_Nx)
    scaled_Nx: jax.Array = max(1.0, O / I) ** 0.5 * made_Nx
    return scaled_Nx


def _shared_out(part_NxIxO: jax.Array, cuts: tuple[tuple[Any, int], ...]) -> jax.Array:
    """Orthogonalise a stack of which each device has a part of every layer.

    Arguments:
        part_NxIxO: of this device.
        cuts: names of the mesh's axes along which layers are cut, and the axis of the array that is.
    """
    if not has_mesh():
        return orthogonalised(part_NxIxO)
    N, holders = len(part_NxIxO), math.prod(jax.lax.axis_size(axis) for axis, _ in cuts)
    share = -(-N // holders)  # layers of a device
    copies = jax.lax.axis_size("data") if share > 1 else 1  # the devices that have the same layers share them out, too
    share = -(-share // copies)
    padding = share * copies * holders - N  # layers of zeros, which stay zeros
    layers_NxIxO = jnp.pad(part_NxIxO, ((0, padding), (0, 0), (0, 0)))
    for axis, place in cuts:
        layers_NxIxO = jax.lax.all_to_all(layers_NxIxO, axis, split_axis=0, concat_axis=place, tiled=True)
    if copies > 1:
        begin = jax.lax.axis_index("data") * share
        own_NxIxO = orthogonalised(jax.lax.dynamic_slice_in_dim(layers_NxIxO, begin, share))
        layers_NxIxO = jax.lax.all_gather(own_NxIxO, "data", axis=0, tiled=True)
    else:
        layers_NxIxO = orthogonalised(layers_NxIxO)
    for axis, place in reversed(cuts):
        layers_NxIxO = jax.lax.all_to_all(layers_NxIxO, axis, split_axis=place, concat_axis=0, tiled=True)
    return layers_NxIxO[:N]


def orthogonalised(matrices_NxIxO: jax.Array) -> jax.Array:
    """Bring the singular values of each matrix near 1; a matrix of zeros stays one."""
    if matrices_NxIxO.shape[1] > matrices_NxIxO.shape[2]:  # products of the shorter side are the smaller ones
        return jnp.swapaxes(orthogonalised(jnp.swapaxes(matrices_NxIxO, 1, 2)), 1, 2)
    wide = matrices_NxIxO.astype(jnp.float32)
    norm_Nx1x1 = jnp.sqrt(jnp.sum(jnp.square(wide), axis=(1, 2), keepdims=True))
    x_NxIxO = (wide / (MARGIN * jnp.maximum(norm_Nx1x1, float(np.finfo(np.float32).tiny)))).astype(matrices_NxIxO.dtype)
    if x_NxIxO.dtype == jnp.float32 and x_NxIxO.shape[2] > GRAM_FROM * x_NxIxO.shape[1]:
        # On a CPU alone: others round the factors of float32 products, and a Gram matrix loses far more by that.
        made_NxIxO: jax.Array = jax.lax.platform_dependent(x_NxIxO, cpu=_by_gram, default=_by_steps)
        return made_NxIxO
    return _by_steps(x_NxIxO)


def _by_steps(x_NxIxO: jax.Array) -> jax.Array:
    """Multiply the matrix itself; in a loop, which compiles in half the time of five steps in a row."""
    return jax.lax.scan(_polar_step, x_NxIxO, jnp.array(STEPS, x_NxIxO.dtype))[0]


def _polar_step(x_NxIxO: jax.Array, coefficients: jax.Array) -> tuple[jax.Array, None]:
    a, b, c = coefficients
    gram_NxIxI = jnp.einsum("NIO,NJO->NIJ", x_NxIxO, x_NxIxO)
    by_NxIxI = b * gram_NxIxI + c * jnp.einsum("NIJ,NJK->NIK", gram_NxIxI, gram_NxIxI)
    return a * x_NxIxO + jnp.einsum("NIJ,NJO->NIO", by_NxIxI, x_NxIxO), None


def _by_gram(x_NxIxO: jax.Array) -> jax.Array:
    """The same steps, taken mostly by I x I matrices.

    A step multiplies x by p, a polynomial of the Gram matrix G of x, and G becomes p G p. Rounding errors of G grow
    with each step, most beside the smallest singular values. So the product of the p is multiplied into x after two
    steps, and G is computed from x again. Five steps take 14 products of 2 I³ operations and 4 of 2 I² O; `_by_steps`
    takes 5 and 10. The steps are not a loop, so that XLA computes several weights' matrices at the same time.
    """
    for steps in (STEPS[:2], STEPS[2:]):
        gram_NxIxI = jnp.einsum("NIO,NJO->NIJ", x_NxIxO, x_NxIxO)
        factors_NxIxI = factor_NxIxI = _factor(gram_NxIxI, steps[0])
        for coefficients in steps[1:]:
            gram_NxIxI = factor_NxIxI @ gram_NxIxI @ factor_NxIxI
            factor_NxIxI = _factor(gram_NxIxI, coefficients)
            factors_NxIxI = factors_NxIxI @ factor_NxIxI
        x_NxIxO = factors_NxIxI @ x_NxIxO
    return x_NxIxO


def _factor(gram_NxIxI: jax.Array, coefficients: tuple[float, float, float]) -> jax.Array:
    a, b, c = coefficients
    factor_NxIxI: jax.Array = a * jnp.eye(gram_NxIxI.shape[1])[None] + b * gram_NxIxI + c * (gram_NxIxI @ gram_NxIxI)
    return factor_NxIxI
