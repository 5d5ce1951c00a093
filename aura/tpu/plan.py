"""Plan of a run on a pod: whether it fits, and what it would do. Its real training step is compiled for the pod.

The step is the one that trains (`training.make_step`), traced on a mesh of the pod's devices; the compiler says what
memory it needs on each, and its program says what the devices send each other. Time is an estimate from
stated assumptions: no TPU is asked. XLA's own count of arithmetic is not used: it counts a loop's body once.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from jax._src import core

from aura.core.errors import UserError
from aura.model.mesh import abstract, make_mesh
from aura.model.model import Compute, ModelConfig
from aura.pretrain.options import Pretrain
from aura.pretrain.step.training import batch_layout, initial_state, make_step
from aura.tpu import compiler
from aura.tpu.afterwards import bytes_beside_steps
from aura.tpu.collectives import Traffic, traffic
from aura.tpu.topology import GIB, Accelerator
from aura.training.batch_layout import require_devices
from aura.training.flops import flops_per_token, peak_flops
from aura.training.steps import State

# What JAX raises, when it traces a program and when libtpu compiles it, for sizes that a kernel or a mesh cannot take.
REFUSALS = (jax.errors.JaxRuntimeError, NotImplementedError, TypeError, ValueError, core.ShardingTypeError)
TRIES = 4  # compilations in search of the largest batch
# Assumptions of the step's time, untested here. Published MFU of dense models on TPUs lies around 30 to 60 % (PaLM,
# arXiv:2204.02311, table 3); at best all sending hides behind arithmetic at the links' full speed, at worst none does,
# at half of it.
BEST_UTILISATION, WORST_UTILISATION = 0.6, 0.3


class DoesNotFit(UserError):
    """The step needs more memory than a device has; the message says how much, and which knobs would help."""


@dataclass(frozen=True)
class Plan:
    """A training step on a pod; bytes and seconds are those of one device.

    Attributes:
        parameters: of the model.
        components: bytes by what they hold.
        hbm: bytes of memory.
        flops: floating-point operations of one step, all devices together (remat not counted).
        peak: FLOP/s of one device.
        traffic: what a device sends in one step.
        seconds: of one step, at best and at worst.
        compile_seconds: what the compilation took here, CPU time.
        beside: bytes during evaluation, samples and saving, by name; empty if only the step was asked for.
    """

    accelerator: Accelerator
    options: Pretrain
    parameters: int
    components: dict[str, int]
    hbm: int
    flops: float
    peak: float
    traffic: list[Traffic]
    seconds: tuple[float, float]
    compile_seconds: float
    beside: dict[str, int]

    @property
    def bytes(self) -> int:
        """All that a device holds at once."""
        return sum(self.components.values())

    @property
    def tokens(self) -> int:
        """Tokens of one step."""
        return self.options.batch_size * self.options.seq_len


def plan(options: Pretrain, vocab_size: int, accelerator: Accelerator, *, fast: bool, whole: bool = True) -> Plan:
    """Compile the training step for a pod, and what a run does beside its steps.

    Arguments:
        options: section pretrain of params.yaml.
        vocab_size: of the tokenizer.
        accelerator: the pod.
        fast: compile without optimisation: seconds instead of minutes, and up to twice the memory for activations.
        whole: also compile evaluation, samples and saving.

    Raises:
        DoesNotFit: a device has too little memory.
        UserError: the compiler is not installed, or refuses the program; or the options do not go with so many devices.
    """
    devices = accelerator.chips_per_slice, accelerator.slices
    require_devices(options, options.batch_size, vocab_size, devices)
    config, compute = ModelConfig.of(options, vocab_size), Compute.of(options, "tpu")
    mesh = make_mesh(options.fsdp, options.tensor, compiler.devices(accelerator))
    state = abstract(partial(initial_state, options, config, compute), mesh)
    batch = batch_layout(options, mesh, affect=options.affect_conditioning).shapes()
    begun = time.process_time()
    with compiler.effort(fast=fast), _worded(options, accelerator, state), jax.set_mesh(mesh):
        step: Any = make_step(options)  # jitted, which its type does not say
        compiled = step.lower(state, batch).compile()
        beside = dict(bytes_beside_steps(options, config, mesh, state, _bytes)) if whole else {}
    for name, needed in beside.items():
        if needed > accelerator.generation.hbm_bytes:
            told = f"RESOURCE_EXHAUSTED: {name} needs {needed / GIB:.2f} GiB, though a step fits."
            raise DoesNotFit(_explain(options, accelerator, state, told))
    compile_seconds = time.process_time() - begun
    memory = compiled.memory_analysis()
    held = {"weights": _bytes(state["model"]), "optimiser": _bytes(state["optimizer"]), "batch": _bytes(batch)}
    components = held | {
        "padding of these": memory.argument_size_in_bytes - sum(held.values()),
        "activations and gradients": memory.temp_size_in_bytes,
        "results": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        "program": memory.generated_code_size_in_bytes,
    }
    sent = traffic(compiled.as_text())
    flops = float(flops_per_token(config, options.seq_len)) * options.batch_size * options.seq_len
    peak = peak_flops(mesh.devices.flat[0].device_kind)
    assert peak is not None  # noqa: S101 - flops.py knows every generation of topology.py; a test compares
    return Plan(
        accelerator=accelerator,
        options=options,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state["model"])),
        components=components,
        hbm=accelerator.generation.hbm_bytes,
        flops=flops,
        peak=peak,
        traffic=sent,
        seconds=_seconds(flops / accelerator.chips / peak, sent, accelerator),
        compile_seconds=compile_seconds,
        beside=beside,
    )


def largest_batch(options: Pretrain, vocab_size: int, accelerator: Accelerator, fits: Plan | None) -> int | None:
    """The largest `batch_size` found to fit by a few fast compilations, or None if none did.

    Memory grows with the sequences per device along a line, which `fits` (a plan that fits) gives a first guess of; the
    search then halves what is left between the largest that fitted and the smallest that did not.
    """
    holders = accelerator.chips // options.tensor * options.accumulation
    given = max(1, options.batch_size // holders)
    low, high, guess = (0, given, given // 2) if fits is None else (given, None, _guess(fits, given))
    for _ in range(TRIES):
        if guess <= low or (high is not None and guess >= high):
            break
        try:
            plan(
                options.model_copy(update={"batch_size": guess * holders}),
                vocab_size,
                accelerator,
                fast=True,
                whole=False,
            )
            low = guess
        except DoesNotFit:
            high = guess
        guess = 2 * low if high is None else (low + high) // 2
    return low * holders or None


def _guess(fits: Plan, rows: int) -> int:
    """Sequences per device that would fill the memory, if what does not belong to the state grows with them."""
    state = fits.components["weights"] + fits.components["optimiser"]
    return max(rows + 1, int(rows * (fits.hbm - state) / (fits.bytes - state)))


def _seconds(arithmetic: float, sent: list[Traffic], accelerator: Accelerator) -> tuple[float, float]:
    """A step at best and at worst; `arithmetic` is its time at a device's peak."""
    sending = sum(kind.bytes for kind in sent) / (accelerator.generation.link_bandwidth / 2)  # one direction
    return max(arithmetic / BEST_UTILISATION, sending), arithmetic / WORST_UTILISATION + 2 * sending


def _bytes(tree: Any) -> int:  # noqa: ANN401 - a pytree of jax.ShapeDtypeStruct
    """Bytes that one device holds of arrays placed on a mesh."""
    leaves = jax.tree.leaves(tree)
    return sum(leaf.dtype.itemsize * math.prod(leaf.sharding.shard_shape(leaf.shape)) for leaf in leaves)


@contextmanager
def _worded(options: Pretrain, accelerator: Accelerator, state: State) -> Iterator[None]:
    """Turn what JAX and the compiler say of a program into one message for the user."""
    try:
        yield
    except REFUSALS as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise DoesNotFit(_explain(options, accelerator, state, str(error))) from None
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"the run cannot be compiled for {accelerator}, so it would not start there either. The compiler says: "
            f"{said[:500]} Change pretrain.size, pretrain.seq_len, pretrain.fsdp or pretrain.tensor."
        ) from None


def _explain(options: Pretrain, accelerator: Accelerator, state: State, told: str) -> str:
    """The message of a run that does not fit: the sizes, and the knobs that are not yet turned."""
    weights, optimiser = (_bytes(state[name]) / GIB for name in ("model", "optimizer"))
    found = next((line for line in told.splitlines() if "RESOURCE_EXHAUSTED" in line), told)
    spread = accelerator.chips // options.tensor
    knobs = {
        "pretrain.remat: true (activations are computed again instead of kept)": not options.remat,
        "pretrain.precision: bfloat16 (half the activations)": options.precision != "bfloat16",
        f"pretrain.fsdp: {spread} (weights and optimiser spread over {spread} devices)": options.fsdp < spread,
        f"pretrain.accumulation: {2 * options.accumulation} (half the sequences at a time)": True,
        f"pretrain.batch_size below {options.batch_size}, or pretrain.seq_len below {options.seq_len}": True,
        "pretrain.tensor above 1 (each layer spread over devices)": options.tensor == 1,
        "a larger accelerator, or one with more memory per chip (v5p: 95 GiB)": True,
    }
    helps = "\n".join(f"  {knob}" for knob, is_left in knobs.items() if is_left)
    return (
        f"the run does not fit on {accelerator}: a device has {accelerator.generation.hbm_bytes / GIB:.0f} GiB; it "
        f"would hold {weights:.2f} GiB of weights and {optimiser:.2f} GiB of optimiser beside activations of "
        f"{options.batch_size} sequences of {options.seq_len} tokens over {accelerator.chips} devices.\n"
        f"The compiler says: {found.strip()}\nWhat would help:\n{helps}"
    )
