"""Names of TPUs and their meaning: chips, hosts, shape, memory and speed.

Names follow Google's: `v4-32` and `v5p-128` count TensorCores, two to a chip, `v5e-16` (also `v5litepod-16`) and
`v6e-16` count chips. A device of JAX is a chip in all four. Figures per chip are those of the pages
docs.cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e} (read in 2026); peak arithmetic is in aura/training/flops.py.
"""

import difflib
import functools
import itertools
import math
import re
from dataclasses import dataclass

from aura.core.errors import UserError

GIB = 2**30
NAME = re.compile(r"^(v[0-9]+[a-z]*)-([0-9]{1,9})$")
ELSEWHERE = re.compile(r"^(tpu|v)7x?\b|^ironwood")  # sold through Compute Engine and GKE only
ALIASES = {"v5litepod": "v5e", "v5lite": "v5e"}
CUBE = 64  # chips of a 4x4x4 cube, of which larger v4 and v5p slices are made


@dataclass(frozen=True)
class Generation:
    """A generation of TPUs; speeds and sizes are per chip.

    Attributes:
        name: as in `v4-32`.
        cores: by how many a name's number counts a chip (TensorCores on v4 and v5p, else 1).
        cloud_name: what gcloud's --accelerator-type calls it.
        runtime: the TPU VM image for JAX, by docs.cloud.google.com/tpu/docs/runtimes.
        compiler_name: what libtpu calls its topologies.
        dimensions: of the torus.
        max_chips: of one slice.
        hbm_bytes: memory; the compiler keeps some hundred MiB of it for itself.
        hbm_bandwidth: bytes/s.
        link_bandwidth: bytes/s between chips, both directions together.
    """

    name: str
    cores: int
    cloud_name: str
    runtime: str
    compiler_name: str
    dimensions: int
    max_chips: int
    hbm_bytes: int
    hbm_bandwidth: float
    link_bandwidth: float


GENERATIONS = {
    generation.name: generation
    for generation in (
        Generation("v4", 2, "v4", "tpu-ubuntu2204-base", "v4", 3, 4096, 32 * GIB, 1.2e12, 300e9),
        Generation("v5e", 1, "v5litepod", "v2-alpha-tpuv5-lite", "v5e", 2, 256, 16 * GIB, 0.82e12, 400e9),
        Generation("v5p", 2, "v5p", "v2-alpha-tpuv5", "v5", 3, 6144, 95 * GIB, 2.77e12, 1200e9),
        Generation("v6e", 1, "v6e", "v2-alpha-tpuv6e", "v6e", 2, 256, 32 * GIB, 1.64e12, 800e9),
    )
}
SHAPES: dict[int, dict[int, tuple[int, ...]]] = {
    3: {4: (2, 2, 1), 8: (2, 2, 2), 16: (2, 2, 4), 32: (2, 4, 4)},  # below a cube
    2: {1: (1, 1), 4: (2, 2), 8: (2, 4), 16: (4, 4), 32: (4, 8), 64: (8, 8), 128: (8, 16), 256: (16, 16)},
}


@dataclass(frozen=True)
class Accelerator:
    """One or more equal slices of TPU chips.

    Attributes:
        generation: what its chips are.
        shape: of one slice, in chips.
        slices: how many, joined by the data-centre network.
    """

    generation: Generation
    shape: tuple[int, ...]
    slices: int = 1

    @property
    def chips_per_slice(self) -> int:
        """Chips of one slice."""
        return math.prod(self.shape)

    @property
    def chips(self) -> int:
        """Chips of all slices, and JAX's devices."""
        return self.chips_per_slice * self.slices

    @property
    def hosts_per_slice(self) -> int:
        """TPU VMs of one slice: 4 chips each; up to 8 chips of v5e and v6e are one VM."""
        single_host = 8 if self.generation.dimensions == 2 else 4
        return 1 if self.chips_per_slice <= single_host else self.chips_per_slice // 4

    @property
    def hosts(self) -> int:
        """TPU VMs of all slices, and JAX's processes."""
        return self.hosts_per_slice * self.slices

    @property
    def devices_per_host(self) -> int:
        """Chips of a TPU VM."""
        return self.chips // self.hosts

    @property
    def name(self) -> str:
        """The usual name of a slice: `v4-32`."""
        return f"{self.generation.name}-{self.chips_per_slice * self.generation.cores}"

    @property
    def cloud_type(self) -> str:
        """Return gcloud's name of a slice, for --accelerator-type: `v5litepod-16`."""
        return f"{self.generation.cloud_name}-{self.chips_per_slice * self.generation.cores}"

    @property
    def topology_name(self) -> str:
        """Return libtpu's name of a slice: `v4:2x2x4`."""
        return f"{self.generation.compiler_name}:{'x'.join(map(str, self.shape))}"

    def __str__(self) -> str:
        return self.name if self.slices == 1 else f"{self.slices} x {self.name}"


def accelerator(name: str, slices: int = 1) -> Accelerator:
    """Return the accelerator that `name` stands for: `v4-32`, `v5e-16`, `v5litepod-16`, `v5p-128`, `v6e-16`.

    Raises:
        UserError: there is no such TPU; the message names the nearest ones.
    """
    if slices < 1:
        raise UserError(f"slices: expected 1 or more, got {slices}")
    asked = name.strip().lower()
    if ELSEWHERE.match(asked):
        raise UserError(
            _unknown(name, "TPU7x and later are available only through Compute Engine or GKE, which it does not use")
        )
    found = NAME.match(asked)
    if not found:
        raise UserError(_unknown(name, "expected a name such as v4-32, v5e-16, v5p-128 or v6e-16"))
    family, number = ALIASES.get(found[1], found[1]), int(found[2])
    if family not in GENERATIONS:
        close = difflib.get_close_matches(family, GENERATIONS, n=1)
        near = [f"{each}-{number}" for each in close if number in _sizes(GENERATIONS[each])]
        hint = f"; nearest: {near[0]}" if near else ""
        raise UserError(_unknown(name, f"expected one of {_ranges()}{hint}"))
    generation = GENERATIONS[family]
    sizes = _sizes(generation)
    if number not in sizes:
        counted = "TensorCores, two to a chip" if generation.cores == 2 else "chips"
        near_sizes = sorted(sorted(sizes, key=lambda size: abs(size - number))[:2])
        nearest = " and ".join(f"{family}-{size}" for size in near_sizes)
        raise UserError(
            _unknown(name, f"{family} slices have {min(sizes)} to {max(sizes)} {counted}; nearest: {nearest}")
        )
    return Accelerator(generation, _shape(generation, number // generation.cores), slices)


def _unknown(name: str, reason: str) -> str:
    return (
        f"aura knows no TPU called {name[:40]!r}: {reason}. Google's names are listed by: gcloud compute tpus "
        "accelerator-types list"
    )


def _ranges() -> str:
    """The smallest and the largest slice of every generation."""
    sizes = {name: _sizes(generation) for name, generation in GENERATIONS.items()}
    return ", ".join(f"{name}-{min(known)} to {name}-{max(known)}" for name, known in sizes.items())


@functools.cache
def _sizes(generation: Generation) -> tuple[int, ...]:
    """The numbers that may stand in a name of this generation."""
    chips = list(SHAPES[generation.dimensions])
    if generation.dimensions == 3:
        # Google names whole numbers of cubes; of v4, powers of two.
        cubes = range(1, generation.max_chips // CUBE + 1)
        chips += [n * CUBE for n in cubes if generation.name != "v4" or n & (n - 1) == 0]
    return tuple(n * generation.cores for n in chips if _fits(generation, n))


def _fits(generation: Generation, chips: int) -> bool:
    """Return whether so many chips can be a slice: a side of a torus has at most 24, or 28 in one row of cubes."""
    return max(_shape(generation, chips)) <= 28


def _shape(generation: Generation, chips: int) -> tuple[int, ...]:
    """The shape Google gives a slice: cubes in the most even arrangement, the longest side last."""
    small = SHAPES[generation.dimensions].get(chips)
    if small:
        return small
    cubes = chips // CUBE
    sides = (
        (a, b, cubes // (a * b))
        for a, b in itertools.combinations_with_replacement(range(1, cubes + 1), 2)
        if cubes % (a * b) == 0 and cubes // (a * b) >= b
    )
    return tuple(4 * side for side in min(sides, key=lambda abc: (abc[2] - abc[0], abc[2])))
