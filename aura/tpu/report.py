"""A plan as tables: memory per device, arithmetic and time, what devices send each other."""

from rich.table import Table

from aura.core import console
from aura.tpu.plan import BEST_UTILISATION, WORST_UTILISATION, Plan
from aura.tpu.topology import GIB

MIB = 2**20


def show(plan: Plan) -> None:
    """Print a plan."""
    accelerator, options = plan.accelerator, plan.options
    console.out.print(
        f"{plan.parameters:,} parameters on {accelerator} ({accelerator.chips} chips, {accelerator.hosts} hosts, "
        f"{accelerator.topology_name}), mesh data {accelerator.chips // options.fsdp // options.tensor} x fsdp "
        f"{options.fsdp} x tensor {options.tensor}: it fits, {plan.bytes / plan.hbm:.0%} of the memory",
        markup=False,
    )
    console.out.print(memory_table(plan))
    if plan.beside:
        told = ", ".join(f"{name} {size / MIB:,.1f} MiB" for name, size in plan.beside.items())
        console.out.print(f"beside the steps a device holds: {told}", markup=False)
    if plan.traffic:
        console.out.print(traffic_table(plan))
    best, worst = plan.seconds
    console.out.print(
        f"a step is {plan.tokens:,} tokens, {plan.flops:.3g} floating-point operations; {best:.3g} to {worst:.3g} s, "
        f"{plan.tokens / worst:,.0f} to {plan.tokens / best:,.0f} tokens/s; {options.steps:,} steps: "
        f"{options.steps * best / 3600:.2g} to {options.steps * worst / 3600:.2g} hours",
        markup=False,
    )
    console.out.print(
        f"assumed: {WORST_UTILISATION:.0%} to {BEST_UTILISATION:.0%} of {plan.peak / 1e12:.0f} TFLOP/s; sending at "
        f"half to all of {accelerator.generation.link_bandwidth / 2e9:.0f} GB/s, unhidden to hidden"
        f"{'; the slower network between slices is not counted' if accelerator.slices > 1 else ''}. "
        f"Compiled in {plan.compile_seconds:.0f} s of CPU",
        markup=False,
    )


def memory_table(plan: Plan) -> Table:
    """Memory of one device by what it holds."""
    table = Table("memory per device", "MiB", "share")
    for name, size in plan.components.items():
        table.add_row(name, f"{size / MIB:,.1f}", f"{size / plan.hbm:.1%}")
    table.add_row("together", f"{plan.bytes / MIB:,.1f}", f"{plan.bytes / plan.hbm:.1%}", style="bold")
    table.add_row("of", f"{plan.hbm / MIB:,.0f}", f"{plan.hbm / GIB:.0f} GiB")
    return table


def traffic_table(plan: Plan) -> Table:
    """Return a table of what one device sends in a step, by kind."""
    table = Table("sent per device and step", "number", "MB")
    for kind in plan.traffic:
        table.add_row(kind.kind, f"{kind.number:,}", f"{kind.bytes / 1e6:,.1f}")
    return table
