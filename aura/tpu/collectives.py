"""Traffic between devices in a compiled program, read from its HLO text.

XLA's own analysis counts the body of a loop once; here it counts as often as the loop runs, which its condition
tells (`compare(index, constant(12))`). Sizes are bytes that one device sends, by the ring algorithms (Thakur et al.
2005): of g devices, an all-gather or reduce-scatter sends (g-1)/g of the whole, an all-reduce twice that.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
FUSED_SCATTER = "all-reduce-scatter"  # how TPUs are told to reduce and scatter: a fusion of all-reduce and slice
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4, "u32": 4}
COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[^ ]+) \(.*\) -> .*\{$")
INSTRUCTION = re.compile(rf" = (?P<type>.*?) (?P<kind>{'|'.join((*KINDS, FUSED_SCATTER))})(?P<start>-start)?\(")
ARRAY = re.compile(r"\b(?P<type>[a-z]+[0-9]*)\[(?P<shape>[0-9,]*)\]")
CALLED = re.compile(r"(?:calls|to_apply|called_computations)=\{?%(?P<name>[^ ,}]+)")
WHILE = re.compile(r" while\(.*condition=%(?P<condition>[^ ,]+), body=%(?P<body>[^ ,]+)")
CONSTANT = re.compile(r" = s32\[\][^ ]* constant\((?P<value>[0-9]+)\)")
CHANNEL = re.compile(r"channel_id=[0-9]+")


@dataclass(frozen=True)
class Traffic:
    """Collectives of one kind in one run of a program: how often, and the bytes that one device sends."""

    kind: str
    number: int
    bytes: float


def traffic(hlo: str) -> list[Traffic]:
    """The collectives of a compiled program's text, by kind; those of a group of one device are none."""
    computations = dict(_computations(hlo))
    numbers, sizes = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0.0)
    for line, times in _executed(computations, "ENTRY", 1):
        kind, sent = _sent(line)
        if sent:
            numbers[kind] += times
            sizes[kind] += times * sent
    return [Traffic(kind, numbers[kind], sizes[kind]) for kind in KINDS if numbers[kind]]


def _computations(hlo: str) -> Iterator[tuple[str, list[str]]]:
    """Each computation's lines by its name; the program's entry is called ENTRY."""
    lines: list[str] = []
    for line in hlo.splitlines():
        if head := COMPUTATION.match(line):
            lines = []
            yield "ENTRY" if head["entry"] else head["name"], lines
        else:
            lines.append(line)


def _executed(computations: dict[str, list[str]], name: str, times: int) -> Iterator[tuple[str, int]]:
    """Every collective's line, with how often it is executed."""
    fused: set[str] = set()
    for line in computations.get(name, []):
        if INSTRUCTION.search(line):
            yield line, times
        elif loop := WHILE.search(line):
            yield from _executed(computations, loop["body"], times * _trips(computations[loop["condition"]]))
        else:
            for called in CALLED.finditer(line):
                for inner, inner_times in _executed(computations, called["name"], times):
                    if called["name"].startswith(FUSED_SCATTER):
                        inner = inner.replace(" all-reduce(", f" {FUSED_SCATTER}(")
                    # A collective that runs beside arithmetic is spread over a start, some steps and an end, each a
                    # fusion that names it again with the same channel.
                    channel = CHANNEL.search(inner)
                    if channel is None or channel[0] not in fused:
                        yield inner, inner_times
                    if channel:
                        fused.add(channel[0])


def _trips(condition: list[str]) -> int:
    """Count the turns of a loop: JAX's scans count from 0 up to the one constant of their condition."""
    constants = [int(found["value"]) for line in condition if (found := CONSTANT.search(line))]
    return constants[0] if len(constants) == 1 else 1


def _sent(line: str) -> tuple[str, float]:
    """Kind of a collective, and the bytes that one device sends in it."""
    found = INSTRUCTION.search(line)
    assert found is not None  # noqa: S101 - the caller looked
    arrays = [_size(array) for array in ARRAY.finditer(found["type"])]
    # A started one has its input beside its output, and sometimes flags: the larger half is what counts.
    whole = max(arrays) if found["start"] else sum(arrays)
    group = _group(line)
    if group == 1:
        return found["kind"], 0.0
    share = (group - 1) / group
    if found["kind"] == FUSED_SCATTER:
        return "reduce-scatter", whole * share
    factor = {"all-reduce": 2 * share, "reduce-scatter": group - 1, "collective-permute": 1.0}
    return found["kind"], whole * factor.get(found["kind"], share)


def _size(array: re.Match[str]) -> int:
    shape = [int(side) for side in array["shape"].split(",") if side]
    return BYTES.get(array["type"], 0) * math.prod(shape)


def _group(line: str) -> int:
    """Devices that take part together: replica_groups as a list, as [groups,size], or as axes of a mesh."""
    if "collective-permute" in line:
        return 2  # it has pairs
    if listed := re.search(r"replica_groups=\{\{([0-9,]*)\}", line):
        return len(listed[1].split(","))
    if counted := re.search(r"replica_groups=\[[0-9]+,([0-9]+)\]", line):
        return int(counted[1])
    # Such as mesh['a'=2,'b'=4] {'b'} or mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}.
    mesh = re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", line)
    if mesh is None:
        raise ValueError(f"expected replica_groups in one of the known forms, got: {line.strip()[:300]}")
    sizes = dict(re.findall(r"'([^']+)'=([0-9]+)", mesh[1]))
    return math.prod(int(sizes[axis]) for axis in re.findall(r"'([^']+)'", mesh[2]))
