"""Plan of a run on a pod: whether it fits, and what it would do. Its real training step is compiled for the pod.

The step is the one that trains (`make_step` of pretrain or of adapt), traced on a mesh of the pod's devices. The
compiler says what memory it needs on each, and its program says what the devices send each other. Time is an estimate
from stated assumptions: no TPU is asked. XLA's own count of arithmetic is not used: it counts a loop's body once.
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
from jax.sharding import Mesh

from aura.adapt import step as adapt_step
from aura.adapt.adapt import adapt_flops_per_token, window_arrays
from aura.adapt.options import Adapt
from aura.core.errors import UserError
from aura.hugging_face import base
from aura.model.mesh import abstract, make_mesh
from aura.model.model import Compute, LanguageModel, ModelConfig
from aura.pretrain.options import Pretrain
from aura.pretrain.step.training import batch_layout, initial_state, make_step
from aura.tokenizer.chat import TOKENS
from aura.tpu import compiler
from aura.tpu.afterwards import bytes_beside_steps
from aura.tpu.collectives import Traffic, traffic
from aura.tpu.topology import GIB, Accelerator
from aura.training.batch_layout import BatchLayout, require_devices
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


START = 1  # stands for the id that begins a document: the program's size does not depend on it


@dataclass(frozen=True)
class Program:
    """A training step, to be compiled for a mesh.

    Attributes:
        step: jitted; it takes `state`, `batch` and what `stays`.
        state: shapes and places of what a step changes, by name.
        batch: those of the arrays of a batch.
        stays: those of what a step reads and leaves as it is.
        held: bytes of one device between steps, by what they hold.
        parameters: of the model.
        flops: floating-point operations of a token, remat not counted.
    """

    step: Any
    state: State
    batch: dict[str, jax.ShapeDtypeStruct]
    stays: tuple[Any, ...]
    held: dict[str, int]
    parameters: int
    flops: float


def plan(
    options: Pretrain,
    vocab_size: int,
    accelerator: Accelerator,
    *,
    fast: bool,
    whole: bool = True,
    adapt: Adapt | None = None,
) -> Plan:
    """Compile a training step for a pod, and what a run of pretraining does beside its steps.

    Arguments:
        options: section pretrain of params.yaml.
        vocab_size: of the tokenizer.
        accelerator: the pod.
        fast: compile without optimisation: seconds instead of minutes, and up to twice the memory for activations.
        whole: also compile evaluation, samples and saving; not of an adaptation.
        adapt: section adapt, whose step is then the one; `options` says the model and the machine, and has the
            batch size and the steps of the adaptation (`adapting`).

    Raises:
        DoesNotFit: a device has too little memory.
        UserError: the compiler is not installed, or refuses the program; or the options do not go with so many devices.
    """
    devices = accelerator.chips_per_slice, accelerator.slices
    section = "adapt" if adapt else "pretrain"
    require_devices(options, options.batch_size, vocab_size, devices, section)
    config = _config_of(options, vocab_size)
    mesh = make_mesh(options.fsdp, options.tensor, compiler.devices(accelerator))
    program = _adapt_program(options, config, mesh, adapt) if adapt else _pretrain_program(options, config, mesh)
    begun = time.process_time()
    with compiler.effort(fast=fast), _worded(options, accelerator, program.held, section), jax.set_mesh(mesh):
        compiled = program.step.lower(program.state, program.batch, *program.stays).compile()
        counts_beside = whole and not adapt
        beside = dict(bytes_beside_steps(options, config, mesh, program.state, _bytes)) if counts_beside else {}
    for name, needed in beside.items():
        if needed > accelerator.generation.hbm_bytes:
            told = f"RESOURCE_EXHAUSTED: {name} needs {needed / GIB:.2f} GiB, though a step fits."
            raise DoesNotFit(_explain(options, accelerator, program.held, section, told))
    compile_seconds = time.process_time() - begun
    memory = compiled.memory_analysis()
    held = program.held | {"batch": _bytes(program.batch)}
    components = held | {
        "padding of these": memory.argument_size_in_bytes - sum(held.values()),
        "activations and gradients": memory.temp_size_in_bytes,
        "results": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        "program": memory.generated_code_size_in_bytes,
    }
    sent = traffic(compiled.as_text())
    flops = program.flops * options.batch_size * options.seq_len
    peak = peak_flops(mesh.devices.flat[0].device_kind)
    assert peak is not None  # noqa: S101 - flops.py knows every generation of topology.py; a test compares
    return Plan(
        accelerator=accelerator,
        options=options,
        parameters=program.parameters,
        components=components,
        hbm=accelerator.generation.hbm_bytes,
        flops=flops,
        peak=peak,
        traffic=sent,
        seconds=_seconds(flops / accelerator.chips / peak, sent, accelerator),
        compile_seconds=compile_seconds,
        beside=beside,
    )


def _config_of(options: Pretrain, vocab_size: int) -> ModelConfig:
    """The shape of the run's model; of one that begins from existing weights, their configuration alone is read."""
    if options.base is None:
        return ModelConfig.of(options, vocab_size)
    config = base.config_of(options.base, vocab_size, affect=options.affect_conditioning)
    base.require_mesh(config, options.fsdp, options.tensor)
    return config


def adapting(options: Pretrain, adapt: Adapt) -> Pretrain:
    """Section pretrain with the batch size and the steps of an adaptation: what `plan` and a report show."""
    return options.model_copy(update={"batch_size": adapt.batch_size, "steps": adapt.steps})


def _pretrain_program(options: Pretrain, config: ModelConfig, mesh: Mesh) -> Program:
    state = abstract(partial(initial_state, options, config, Compute.of(options, "tpu")), mesh)
    return Program(
        step=make_step(options, START if options.masks_documents else None),
        state=state,
        batch=batch_layout(options, mesh, affect=options.affect_conditioning).shapes(),
        stays=(),
        held={"weights": _bytes(state["model"]), "optimiser": _bytes(state["optimizer"])},
        parameters=_size(state["model"]),
        flops=float(flops_per_token(config, options.seq_len)),
    )


def _adapt_program(options: Pretrain, config: ModelConfig, mesh: Mesh, adapt: Adapt) -> Program:
    """The step that learns from reference answers; of the rows that are trained, only the number matters."""
    rows = tuple(range(min(len(TOKENS), config.vocab_size)))
    compute = adapt_step.compute_of(options, options.seq_len, "tpu")
    base = abstract(lambda: LanguageModel(config, 0, compute), mesh)
    state = abstract(lambda: adapt_step.initial_state(adapt, rows, LanguageModel(config, 0, compute)), mesh)
    arrays = window_arrays(config, options.seq_len)
    teacher = {"teacher": _bytes(state["teacher"])} if "teacher" in state else {}
    return Program(
        step=adapt_step.make_step(adapt),
        state=state,
        batch=BatchLayout(mesh, options.batch_size, options.accumulation, arrays, "adapt").shapes(),
        stays=(base,),
        held={
            "weights": _bytes(base),
            "trained weights": _bytes(state["trained"]),
            "optimiser": _bytes(state["optimizer"]),
            **teacher,
        },
        parameters=_size(base),
        flops=adapt_flops_per_token(adapt, config, options.seq_len),
    )


def largest_batch(
    options: Pretrain, vocab_size: int, accelerator: Accelerator, fits: Plan | None, adapt: Adapt | None = None
) -> int | None:
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
                adapt=adapt,
            )
            low = guess
        except DoesNotFit:
            high = guess
        guess = 2 * low if high is None else (low + high) // 2
    return low * holders or None


def _guess(fits: Plan, rows: int) -> int:
    """Sequences per device that would fill the memory, if what does not belong to the state grows with them."""
    names = ("weights", "trained weights", "optimiser", "teacher")
    state = sum(fits.components.get(name, 0) for name in names)
    return max(rows + 1, int(rows * (fits.hbm - state) / (fits.bytes - state)))


def _seconds(arithmetic: float, sent: list[Traffic], accelerator: Accelerator) -> tuple[float, float]:
    """A step at best and at worst; `arithmetic` is its time at a device's peak."""
    sending = sum(kind.bytes for kind in sent) / (accelerator.generation.link_bandwidth / 2)  # one direction
    return max(arithmetic / BEST_UTILISATION, sending), arithmetic / WORST_UTILISATION + 2 * sending


def _size(tree: Any) -> int:  # noqa: ANN401 - a pytree of jax.ShapeDtypeStruct
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _bytes(tree: Any) -> int:  # noqa: ANN401 - a pytree of jax.ShapeDtypeStruct
    """Bytes that one device holds of arrays placed on a mesh."""
    leaves = jax.tree.leaves(tree)
    return sum(leaf.dtype.itemsize * math.prod(leaf.sharding.shard_shape(leaf.shape)) for leaf in leaves)


@contextmanager
def _worded(
    options: Pretrain, accelerator: Accelerator, held: dict[str, int], section: str = "pretrain"
) -> Iterator[None]:
    """Turn what JAX and the compiler say of a program into one message for the user."""
    try:
        yield
    except REFUSALS as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise DoesNotFit(_explain(options, accelerator, held, section, str(error))) from None
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"the run cannot be compiled for {accelerator}, so it would not start there either. The compiler says: "
            f"{said[:500]} Change pretrain.size, pretrain.seq_len, pretrain.fsdp or pretrain.tensor."
        ) from None


def _explain(options: Pretrain, accelerator: Accelerator, held: dict[str, int], section: str, told: str) -> str:
    """The message of a run that does not fit: the sizes, and the knobs that are not yet turned."""
    holds = " and ".join(f"{size / GIB:.2f} GiB of {name}" for name, size in held.items())
    found = next((line for line in told.splitlines() if "RESOURCE_EXHAUSTED" in line), told)
    spread = accelerator.chips // options.tensor
    knobs = {
        "pretrain.remat: true (activations are computed again instead of kept)": not options.remat,
        "pretrain.precision: bfloat16 (half the activations)": options.precision != "bfloat16",
        f"pretrain.fsdp: {spread} (weights and optimiser spread over {spread} devices)": options.fsdp < spread,
        f"pretrain.accumulation: {2 * options.accumulation} (half the sequences at a time)": True,
        f"{section}.batch_size below {options.batch_size}, or pretrain.seq_len below {options.seq_len}": True,
        "pretrain.tensor above 1 (each layer spread over devices)": options.tensor == 1,
        "a larger accelerator, or one with more memory per chip (v5p: 95 GiB)": True,
    }
    helps = "\n".join(f"  {knob}" for knob, is_left in knobs.items() if is_left)
    return (
        f"the run does not fit on {accelerator}: a device has {accelerator.generation.hbm_bytes / GIB:.0f} GiB; it "
        f"would hold {holds} beside activations of "
        f"{options.batch_size} sequences of {options.seq_len} tokens over {accelerator.chips} devices.\n"
        f"The compiler says: {found.strip()}\nWhat would help:\n{helps}"
    )
